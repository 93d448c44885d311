"""A procedural scene: things and planes in a world, lit, and what a camera sees of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edfv_ros.simulation.geometry import Pose
from edfv_ros.simulation.scenes.casting import cast_planes, cast_shape, nearer_samples
from edfv_ros.simulation.scenes.shading import shade
from edfv_ros.simulation.scenes.shapes import Shape
from edfv_ros.simulation.scenes.surfaces import Surface
from edfv_ros.simulation.view import SUPERSAMPLING, Canvas, Image, Layer, Trajectory, View

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing in the world.

    Attributes:
        shape: its form.
        pose: of the shape's axes in the world at time 0.
        surface: its material.
        motion: how it moves, None if it stands still.
    """

    shape: Shape
    pose: Pose
    surface: Surface
    motion: Trajectory | None = None


@dataclass(frozen=True, slots=True)
class Wall:
    """An unbounded plane of the world, which does not move.

    Attributes:
        coefficients: float64 [3]; the plane holds the points with ``coefficients . P = 1``, so that its vergence at
            the image point ``(x, y)`` of the camera's first place is ``coefficients . (x, y, 1)``.
        surface: its material.
    """

    coefficients: Vector
    surface: Surface

    def axes(self) -> Vector:
        """[2, 3]: unit vectors in the plane, the first as level as can be."""
        away = self.coefficients / np.linalg.norm(self.coefficients)
        helper = np.array([0.0, 1.0, 0.0]) if abs(away[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
        first = np.cross(helper, away)
        first /= np.linalg.norm(first)
        return np.stack([first, np.cross(away, first)])


@dataclass(frozen=True, slots=True)
class Lamp:
    """Light from far away.

    Attributes:
        direction: float64 [3], unit vector of the world towards the lamp.
        intensity: radiance of a white sheet that faces it.
    """

    direction: Vector
    intensity: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """The soft shadow that a thing throws on the walls where it touches them.

    Attributes:
        centre_m: float64 [3] in the world.
        radius_m: where the shadow has fallen to 1/e.
        strength: 0 to 1, light that it takes at its centre.
    """

    centre_m: Vector
    radius_m: float
    strength: float


@dataclass(frozen=True, slots=True)
class Lighting:
    """All light of a scene; ``up`` is where an even sky is brightest, a unit vector of the world."""

    ambient: float
    up: Vector
    lamps: tuple[Lamp, ...]


@dataclass(frozen=True)
class ProceduralScene:
    """Things in front of walls that together fill any picture taken near the world's origin.

    Attributes:
        name: for files and messages.
        illuminance_lux: light on a surface of radiance 1.
        depth_range_m: nearest and farthest depth of any view; nearer things are cut away, farther walls end there.
        walls: planes that enclose the scene; of several the nearest is seen.
        things: in any order.
        lighting, shadows: of the scene.
    """

    name: str
    illuminance_lux: float
    depth_range_m: tuple[float, float]
    walls: tuple[Wall, ...]
    things: tuple[Thing, ...]
    lighting: Lighting
    shadows: tuple[Shadow, ...] = field(default=())

    def with_motions(self, motions: Mapping[int, Trajectory]) -> "ProceduralScene":
        """The scene with the things of the given indices moving."""
        things = tuple(replace(thing, motion=motions.get(i, thing.motion)) for i, thing in enumerate(self.things))
        return replace(self, things=things)

    def view(self, canvas: Canvas, camera: Pose, time_s: float) -> View:
        """What is seen from ``camera`` at ``time_s``: the walls as one layer, then each thing that meets the canvas."""
        x, y = canvas.rays(SUPERSAMPLING)
        world = camera.inverse()
        light = _Light(self.lighting, world)
        background = self._background(x, y, camera, world, light)
        windows = _Windows(x, y)
        cast = []
        for thing in self.things:
            moved = thing.pose if thing.motion is None else thing.motion.pose(time_s) @ thing.pose
            layer = self._layer(thing, world @ moved, x, y, windows, background.depth_m, light)
            if layer is not None:
                cast.append(layer)
        return View(canvas, (background, *_back_to_front(cast)), camera, time_s)

    def _background(self, x: Image, y: Image, camera: Pose, world: Pose, light: "_Light") -> Layer:
        hits = _Hits(x.shape)
        hits.coverage[:] = 1.0
        nearest, farthest = self.depth_range_m
        cast_planes(
            np.array([wall.coefficients for wall in self.walls]),
            np.array([wall.axes() for wall in self.walls]),
            camera.position_m,
            np.ascontiguousarray(camera.rotation),
            x,
            y,
            nearest,
            farthest,
            hits.depth,
            hits.u,
            hits.v,
            hits.normal,
            hits.patch,
        )
        shadows = np.array(
            [(*world.apply(shadow.centre_m), shadow.radius_m, shadow.strength) for shadow in self.shadows]
        ).reshape(-1, 5)
        radiance = np.zeros_like(x)
        for number in np.flatnonzero(np.bincount(hits.patch.ravel(), minlength=len(self.walls))):
            light.fall_on(hits, self.walls[number].surface, x, y, 0, 0, radiance, shadows, only=int(number))
        return Layer(0, 0, radiance, None, hits.depth)

    def _layer(
        self, thing: Thing, pose: Pose, x: Image, y: Image, windows: "_Windows", behind_m: Image, light: "_Light"
    ) -> Layer | None:
        nearest, farthest = self.depth_range_m
        window = windows.around(thing.shape, pose, nearest, farthest)
        if window is None:
            return None
        top, bottom, left, right = window
        hits = _Hits((bottom - top, right - left))
        _, deepest = cast_shape(
            thing.shape.CODE,
            thing.shape.numbers(),
            pose.position_m,
            np.ascontiguousarray(pose.rotation),
            x,
            y,
            top,
            left,
            behind_m,
            nearest,
            hits.coverage,
            hits.depth,
            hits.u,
            hits.v,
            hits.normal,
            hits.patch,
        )
        if deepest == 0.0:
            return None
        radiance = np.zeros_like(hits.depth)
        light.fall_on(hits, thing.surface, x, y, top, left, radiance, np.empty((0, 5)))
        s = SUPERSAMPLING
        rows, columns = (np.flatnonzero((hits.coverage > 0).any(axis=axis)) // s for axis in (1, 0))
        box = (slice(rows[0] * s, (rows[-1] + 1) * s), slice(columns[0] * s, (columns[-1] + 1) * s))
        return Layer(
            left // s + int(columns[0]),
            top // s + int(rows[0]),
            np.ascontiguousarray(radiance[box]),
            np.ascontiguousarray(hits.coverage[box]),
            np.ascontiguousarray(hits.depth[box]),
            thing.motion,
        )


class _Hits:
    """Where the rays of a box meet a surface; see :mod:`edfv_ros.simulation.scenes.casting`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.coverage, self.depth, self.u, self.v = (np.empty(shape, np.float32) for _ in range(4))
        self.normal = np.empty((*shape, 3), np.float32)
        self.patch = np.empty(shape, np.int8)


class _Light:
    """The lighting in a camera's frame."""

    def __init__(self, lighting: Lighting, world: Pose) -> None:
        self._ambient = lighting.ambient
        self._up = world.rotation @ lighting.up
        directions = np.array([lamp.direction for lamp in lighting.lamps]).reshape(-1, 3)
        self._directions = directions @ world.rotation.T
        self._intensities = np.array([lamp.intensity for lamp in lighting.lamps], np.float64)

    def fall_on(
        self,
        hits: _Hits,
        surface: Surface,
        x: Image,
        y: Image,
        top: int,
        left: int,
        radiance: Image,
        shadows: NDArray[np.float64],
        only: int = -1,
    ) -> None:
        """Write the radiance of what is hit, of the patch ``only`` alone unless that is negative."""
        shade(
            only,
            top,
            left,
            x,
            y,
            hits.coverage,
            hits.depth,
            hits.u,
            hits.v,
            hits.normal,
            hits.patch,
            surface.coarse.pyramid(),
            surface.coarse.matrix(),
            surface.coarse.contrast,
            surface.fine.pyramid(),
            surface.fine.matrix(),
            surface.fine.contrast,
            surface.tone,
            surface.gloss,
            surface.shininess,
            surface.glow,
            self._ambient,
            self._up,
            self._directions,
            self._intensities,
            shadows,
            radiance,
        )


class _Windows:
    """Finds the box of samples in which a thing can be seen."""

    def __init__(self, x: Image, y: Image) -> None:
        self._size = x.shape
        self._columns = x.min(axis=0), x.max(axis=0)
        self._rows = y.min(axis=1), y.max(axis=1)

    def around(self, shape: Shape, pose: Pose, nearest_m: float, farthest_m: float) -> tuple[int, int, int, int] | None:
        """Top, bottom, left and right in samples, whole pixels; None where nothing can be seen."""
        corners = np.array(np.meshgrid(*[(-half, half) for half in shape.half_sides_m], indexing="ij")).reshape(3, 8).T
        points = pose.apply(corners)
        depth = points[:, 2]
        if depth.max() <= nearest_m or depth.min() >= farthest_m:
            return None
        if depth.min() > 0.5 * nearest_m:
            spans = (
                [(points[:, axis] / depth).min() for axis in (0, 1)],
                [(points[:, axis] / depth).max() for axis in (0, 1)],
            )
            columns = np.flatnonzero((self._columns[1] >= spans[0][0]) & (self._columns[0] <= spans[1][0]))
            rows = np.flatnonzero((self._rows[1] >= spans[0][1]) & (self._rows[0] <= spans[1][1]))
            if not rows.size or not columns.size:
                rows, columns = self._between(spans)
        else:  # it reaches behind the camera
            rows, columns = np.arange(self._size[0]), np.arange(self._size[1])
        if not rows.size or not columns.size:
            return None
        s = SUPERSAMPLING
        edges = []
        for found, size in ((rows, self._size[0]), (columns, self._size[1])):
            edges += [max(int(found[0]) // s - 1, 0) * s, min(int(found[-1]) // s + 2, size // s) * s]
        return edges[0], edges[1], edges[2], edges[3]

    def _between(self, spans: tuple[list[float], list[float]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The nearest rows and columns to something thinner than a sample; empty where it lies outside."""
        found = []
        for (low, high), a, b in ((self._rows, spans[0][1], spans[1][1]), (self._columns, spans[0][0], spans[1][0])):
            middle = 0.5 * (a + b)
            step = float(high[1] - high[0]) if len(high) > 1 else float(np.inf)
            inside = low.min() - step <= b and high.max() + step >= a
            hit = np.flatnonzero((high >= a) & (low <= b))
            if not hit.size and inside:
                hit = np.array([np.abs(0.5 * (low + high) - middle).argmin()])
            found.append(hit)
        return found[0], found[1]


def _back_to_front(layers: list[Layer]) -> list[Layer]:
    """Layers in an order in which each hides those it stands before where they overlap, as far as there is one."""
    count = len(layers)
    medians = np.array([float(np.median(layer.depth_m[layer.coverage > 0])) for layer in layers])  # type: ignore[operator]
    s = SUPERSAMPLING
    behind = np.zeros((count, count), bool)  # [a, b]: a stands behind b
    for a in range(count):
        for b in range(a + 1, count):
            first, second = layers[a], layers[b]
            votes = nearer_samples(
                first.depth_m,
                first.coverage,
                first.top_px * s,
                first.left_px * s,
                second.depth_m,
                second.coverage,
                second.top_px * s,
                second.left_px * s,
            )
            behind[a, b], behind[b, a] = votes > 0, votes < 0
    order, left = [], np.ones(count, bool)
    while left.any():
        free = left & ~(behind & left[:, None]).any(axis=0)  # nothing left stands behind these
        candidates = free if free.any() else left  # things that hide one another in a ring
        chosen = int(np.argmax(np.where(candidates, medians, -np.inf)))
        order.append(chosen)
        left[chosen] = False
    return [layers[number] for number in order]
