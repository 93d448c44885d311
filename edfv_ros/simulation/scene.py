"""A scene as an ordered stack of layers, each with radiance, coverage and its own depth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.shapes import Box, Card, Cylinder, Ellipsoid, Hits, Image, Planes, Pose, Shape
from edfv_ros.simulation.textures import Texture

SUPERSAMPLING = 2
"""Layer samples per sensor pixel along each axis."""

_MASK_SAMPLES = 2  # hit tests per layer sample along each axis
_FARTHEST_M = 3.0  # of a generated scene, where the rig focuses beyond it
_LIGHT = np.array([-0.45, -0.75, -0.48])


@dataclass(frozen=True, slots=True)
class Layer:
    """One surface on a box of the canvas; arrays have SUPERSAMPLING samples per pixel and axis.

    Attributes:
        left_px, top_px: the box's corner on the canvas, whole sensor pixels.
        radiance: float32 [h, w], linear light; meaningful where ``coverage`` is above 0.
        coverage: float32 [h, w] in 0..1, or None for an opaque layer.
        depth_m: float32 [h, w], z along the optical axis, continued smoothly outside the coverage.
    """

    left_px: int
    top_px: int
    radiance: Image
    coverage: Image | None
    depth_m: Image


@dataclass(frozen=True)
class Scene:
    """Layers back to front on a canvas that exceeds the sensor by ``margin_px`` on every side.

    The first layer is opaque and fills the canvas, so that what blurs in from outside the picture is known.
    """

    name: str
    width_px: int
    height_px: int
    margin_px: int
    layers: tuple[Layer, ...]

    @cached_property
    def depth_m(self) -> Image:
        """Ground truth: z of the surface that covers most of each pixel, float32 [H, W]."""
        canvas = np.zeros((self.height_px + 2 * self.margin_px, self.width_px + 2 * self.margin_px), np.float32)
        for layer in self.layers:
            depth = _pixel_mean(layer.depth_m)
            height, width = depth.shape
            box = canvas[layer.top_px : layer.top_px + height, layer.left_px : layer.left_px + width]
            front = np.ones(depth.shape, bool) if layer.coverage is None else _pixel_mean(layer.coverage) >= 0.5
            box[front] = depth[front]
        return self._sensor(canvas)

    @cached_property
    def sharp(self) -> Image:
        """The picture of a pinhole in this place: linear radiance, float32 [H, W]."""
        canvas = np.zeros((self.height_px + 2 * self.margin_px, self.width_px + 2 * self.margin_px), np.float32)
        for layer in self.layers:
            coverage = np.ones_like(layer.radiance) if layer.coverage is None else layer.coverage
            height, width = (side // SUPERSAMPLING for side in layer.radiance.shape)
            box = canvas[layer.top_px : layer.top_px + height, layer.left_px : layer.left_px + width]
            box *= 1.0 - _pixel_mean(coverage)
            box += _pixel_mean(layer.radiance * coverage)
        return self._sensor(canvas)

    def _sensor(self, canvas: Image) -> Image:
        m = self.margin_px
        return np.ascontiguousarray(canvas[m : m + self.height_px, m : m + self.width_px])


def _pixel_mean(image: Image) -> Image:
    height, width = image.shape
    s = SUPERSAMPLING
    return image.reshape(height // s, s, width // s, s).mean(axis=(1, 3), dtype=np.float32)


@dataclass(frozen=True)
class _Studio:
    """The view of a rig: rays of the canvas and the range of depths that a scene may use."""

    rig: Rig
    rng: np.random.Generator
    margin_px: int = field(init=False)
    near_dpt: float = field(init=False)
    far_dpt: float = field(init=False)

    def __post_init__(self) -> None:
        sweep = self.rig.sweep
        span = sweep.vergence_max_dpt - sweep.vergence_min_dpt
        far = max(sweep.vergence_min_dpt + 0.01 * span, 1.0 / _FARTHEST_M)
        if far > sweep.vergence_max_dpt - 0.3 * span:
            far = sweep.vergence_min_dpt + 0.05 * span
        focus_low, focus_high = self.rig.lens.calibration.range_dpt
        near = sweep.vergence_max_dpt - 0.12 * (sweep.vergence_max_dpt - far)
        farthest_defocus = max(focus_high - far / 1.02, sweep.vergence_max_dpt - focus_low)
        radius_px = self.rig.optics.blur_slope_px_per_dpt * farthest_defocus / 2.0
        object.__setattr__(self, "far_dpt", far)
        object.__setattr__(self, "near_dpt", near)
        object.__setattr__(self, "margin_px", int(np.ceil(radius_px)) + 6)

    def limited(self, depth_m: Image) -> Image:
        """Depths kept within what the sweep can focus, which the margin's size relies on."""
        sweep = self.rig.sweep
        return np.clip(depth_m, 1.0 / sweep.vergence_max_dpt, 1.0 / max(self.far_dpt / 1.02, sweep.vergence_min_dpt))

    @cached_property
    def half_extent(self) -> tuple[float, float]:
        """Half width and height of the view at depth 1."""
        camera = self.rig.camera
        return camera.width_px / 2 / camera.intrinsics.fx_px, camera.height_px / 2 / camera.intrinsics.fy_px

    @property
    def focal_px(self) -> float:
        return self.rig.camera.intrinsics.fx_px

    def rays(self, samples: int) -> tuple[Image, Image]:
        """Normalised coordinates of the canvas with ``samples`` per pixel and axis, undistorted."""
        camera, k = self.rig.camera, self.rig.camera.intrinsics
        columns = (np.arange((camera.width_px + 2 * self.margin_px) * samples) + 0.5) / samples - self.margin_px - 0.5
        rows = (np.arange((camera.height_px + 2 * self.margin_px) * samples) + 0.5) / samples - self.margin_px - 0.5
        if not any(k.distortion):
            x, y = np.meshgrid((columns - k.cx_px) / k.fx_px, (rows - k.cy_px) / k.fy_px)
            return x.astype(np.float32), y.astype(np.float32)
        pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 1, 2)
        matrix = np.array([[k.fx_px, 0, k.cx_px], [0, k.fy_px, k.cy_px], [0, 0, 1]])
        ideal = cv2.undistortPoints(pixels, matrix, np.array(k.distortion)).reshape(len(rows), len(columns), 2)
        return ideal[..., 0].astype(np.float32), ideal[..., 1].astype(np.float32)

    @cached_property
    def fine_rays(self) -> tuple[Image, Image]:
        return self.rays(SUPERSAMPLING * _MASK_SAMPLES)

    @cached_property
    def layer_rays(self) -> tuple[Image, Image]:
        return self.rays(SUPERSAMPLING)

    def texture(self, names: tuple[str, ...], depth_m: float) -> Texture:
        """A random one of ``names`` whose pattern is 180 to 320 pixels wide at ``depth_m``."""
        tile_m = self.rng.uniform(180.0, 320.0) * depth_m / self.focal_px
        return Texture.random(str(self.rng.choice(names)), self.rng, tile_m)

    def vergences(self, count: int) -> NDArray[np.float64]:
        """``count`` vergences spread over the usable range, far to near, one per equal part of it."""
        low = self.far_dpt + 0.12 * (self.near_dpt - self.far_dpt)
        edges = np.linspace(low, self.near_dpt, count + 1)
        return self.rng.uniform(edges[:-1], edges[1:])


_LIVELY = ("grain", "wood", "checks", "speckle", "bricks", "print", "weave")
_WALLS = ("posters", "posters", "posters", "bricks", "speckle", "print", "grain")
_THINGS = (*_LIVELY, "print", "speckle", "bricks", "plain", "plain", "plain")
_GROUND = ("grain", "wood", "weave", "speckle", "grain", "plain")


def make_scene(kind: str, seed: int, rig: Rig) -> Scene:
    """Make the scene called ``kind`` (see :data:`SCENE_KINDS`) in front of the rig's camera.

    The same arguments give the same scene. Depths lie within the rig's sweep, at most about 3 m.

    Raises:
        SimulationError: there is no such kind, or the seed is negative.
    """
    if kind not in SCENE_KINDS:
        raise SimulationError(f"scene kind {kind!r} is not known: choose one of {', '.join(SCENE_KINDS)}")
    if seed < 0:
        raise SimulationError(f"scene seed {seed} is negative: give 0 or more")
    studio = _Studio(rig, np.random.default_rng([seed, list(SCENE_KINDS).index(kind)]))
    layers = SCENE_KINDS[kind](studio)
    return Scene(f"{kind}-{seed}", rig.camera.width_px, rig.camera.height_px, studio.margin_px, tuple(layers))


def _tabletop(studio: _Studio) -> list[Layer]:
    """A table seen from above its edge, a wall behind it, things standing on it."""
    rng = studio.rng
    half_width, half_height = studio.half_extent
    wall_line = -half_height * rng.uniform(0.15, 0.45)
    front_dpt = studio.near_dpt * rng.uniform(0.85, 0.95)
    turn_dpt = rng.uniform(-0.2, 0.2) * studio.far_dpt  # of the wall, from its middle to its edge in the picture
    wall_dpt = studio.far_dpt * rng.uniform(1.05, 1.2) + abs(turn_dpt)
    slope = (front_dpt - wall_dpt) / (half_height - wall_line)
    table = np.array([0.0, slope, wall_dpt - slope * wall_line])
    wall = np.array([turn_dpt / half_width, 0.0, wall_dpt])
    up = -table / np.linalg.norm(table)

    stands = []
    for vergence in studio.vergences(int(rng.integers(6, 9))):
        y = (vergence - table[2]) / slope
        x = rng.uniform(-0.85, 0.85) * half_width
        foot = np.array([x, y, 1.0]) / vergence
        size_m = rng.uniform(45.0, 90.0) / studio.focal_px / vergence * (0.75 + 0.5 * (vergence < 1.5))
        stands.append((foot, size_m))
    layers = [_planes_layer(studio, [wall, table], (_WALLS, _GROUND), shadows=stands)]
    layers += [_shape_layer(studio, _standing(studio, foot, up, size_m)) for foot, size_m in stands]
    return layers


def _cards(studio: _Studio) -> list[Layer]:
    """Cards and discs hanging at all depths in front of a slanted wall."""
    rng = studio.rng
    half_width, half_height = studio.half_extent
    turn_dpt = rng.uniform(-0.35, 0.35, 2) * studio.far_dpt
    wall_dpt = studio.far_dpt + np.abs(turn_dpt).sum()
    wall = np.array([turn_dpt[0] / half_width, turn_dpt[1] / half_height, wall_dpt])
    layers = [_planes_layer(studio, [wall], (_WALLS,))]
    for vergence in studio.vergences(int(rng.integers(7, 11))):
        x = rng.uniform(-0.9, 0.9) * half_width
        y = rng.uniform(-0.9, 0.9) * half_height
        size_m = rng.uniform(22.0, 48.0) / studio.focal_px / vergence
        pose = Pose(np.array([x, y, 1.0]) / vergence, _rotation(*rng.uniform(-0.6, 0.6, 3)))
        shape = Card(pose, size_m * rng.uniform(0.8, 1.4), size_m, round=bool(rng.random() < 0.4))
        layers.append(_shape_layer(studio, shape))
    return layers


def _room(studio: _Studio) -> list[Layer]:
    """Into a small room: floor, ceiling, side walls and a back wall, with furniture and balls."""
    rng = studio.rng
    half_width, half_height = studio.half_extent
    back_dpt = studio.far_dpt * rng.uniform(1.0, 1.15)
    near_dpt = studio.near_dpt
    floor = np.array([0.0, near_dpt / half_height * rng.uniform(0.6, 0.8), 0.0])
    ceiling = np.array([0.0, -near_dpt / half_height * rng.uniform(0.35, 0.55), 0.0])
    left = np.array([-near_dpt / half_width * rng.uniform(0.35, 0.6), 0.0, 0.0])
    right = np.array([near_dpt / half_width * rng.uniform(0.35, 0.6), 0.0, 0.0])
    back = np.array([0.0, 0.0, back_dpt])
    up = np.array([0.0, -1.0, 0.0])

    stands, balls = [], []
    for vergence in studio.vergences(int(rng.integers(6, 9))):
        room_left, room_right = -vergence / -left[0], vergence / right[0]
        x = rng.uniform(max(room_left * 0.7, -half_width * 0.9), min(room_right * 0.7, half_width * 0.9))
        size_m = rng.uniform(45.0, 85.0) / studio.focal_px / vergence
        foot_y = vergence / floor[1]
        if rng.random() < 0.3:
            balls.append((np.array([x, rng.uniform(-0.3, 0.2) * half_height, 1.0]) / vergence, size_m))
        else:
            stands.append((np.array([x, foot_y, 1.0]) / vergence, size_m))
    names = (_WALLS, _GROUND, ("plain", "grain", "wood"), _WALLS, _WALLS)
    layers = [_planes_layer(studio, [back, floor, ceiling, left, right], names, shadows=stands)]
    things = [(foot[2], _standing(studio, foot, up, size_m)) for foot, size_m in stands]
    for centre, size_m in balls:
        radii = tuple(size_m * rng.uniform(0.35, 0.5, 3))
        things.append((centre[2], Ellipsoid(Pose(centre, _rotation(*rng.uniform(-1.0, 1.0, 3))), radii)))
    things.sort(key=lambda thing: -thing[0])
    return layers + [_shape_layer(studio, shape) for _, shape in things]


SCENE_KINDS: dict[str, Callable[[_Studio], list[Layer]]] = {"tabletop": _tabletop, "cards": _cards, "room": _room}
"""The scenes that :func:`make_scene` knows, by name."""


def _rotation(pitch: float, yaw: float, roll: float) -> NDArray[np.float64]:
    (cp, cy, cr), (sp, sy, sr) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _standing(studio: _Studio, foot: NDArray[np.float64], up: NDArray[np.float64], size_m: float) -> Shape:
    """A solid of about ``size_m`` whose underside rests on ``foot``."""
    rng = studio.rng
    yaw = rng.uniform(-0.9, 0.9)
    side = np.cross(-up, np.array([np.sin(yaw), 0.0, np.cos(yaw)]))
    side /= np.linalg.norm(side)
    rotation = np.stack([side, -up, np.cross(side, -up)], axis=1)  # local y points down, as in the camera frame
    half = size_m / 2 * rng.uniform(0.6, 1.0, 3)
    kind = rng.choice(["box", "can", "ball", "card"])
    if kind == "card":
        half[1] *= 1.3
    pose = Pose(foot + up * half[1], rotation)
    if kind == "box":
        return Box(pose, tuple(half))
    if kind == "can":
        return Cylinder(pose, float(half[0] * 0.75), float(half[1]))
    if kind == "ball":
        return Ellipsoid(pose, tuple(half))
    return Card(pose, float(half[0]), float(half[1]))


def _planes_layer(
    studio: _Studio,
    coefficients: list[NDArray[np.float64]],
    names: tuple[tuple[str, ...], ...],
    shadows: Sequence[tuple[NDArray[np.float64], float]] = (),
) -> Layer:
    planes = Planes(np.array(coefficients))
    x, y = studio.layer_rays
    hits, index = planes.intersect(x, y), planes.nearest(x, y)
    radiance = np.zeros_like(hits.depth_m)
    for number in range(len(coefficients)):
        here = index == number
        if here.any():
            texture = studio.texture(names[number], float(np.median(hits.depth_m[here])))
            radiance[here] = _shade(studio, hits, texture)[here]
    point = np.stack([x * hits.depth_m, y * hits.depth_m, hits.depth_m], axis=-1)
    for foot, size_m in shadows:
        distance = np.linalg.norm(point - foot.astype(np.float32), axis=-1) / (0.55 * size_m)
        radiance *= 1.0 - 0.55 * np.exp(-(distance**2))
    return Layer(0, 0, radiance, None, studio.limited(hits.depth_m))


def _shape_layer(studio: _Studio, shape: Shape) -> Layer:
    """Cast rays at a shape; its coverage comes from finer hit tests than its radiance."""
    x, y = studio.layer_rays
    s, n = SUPERSAMPLING, _MASK_SAMPLES
    left, top, right, bottom = _pixel_box(shape.intersect(x[::s, ::s], y[::s, ::s]).hit)
    box = (slice(top * s, bottom * s), slice(left * s, right * s))
    hits = shape.intersect(x[box], y[box])
    fine_box = (slice(top * s * n, bottom * s * n), slice(left * s * n, right * s * n))
    fine_x, fine_y = studio.fine_rays
    fine_hit = shape.intersect(fine_x[fine_box], fine_y[fine_box]).hit
    height, width = hits.hit.shape
    coverage = fine_hit.reshape(height, n, width, n).mean(axis=(1, 3), dtype=np.float32)
    depth = studio.limited(_continued(hits.depth_m, hits.hit))
    median_depth = float(np.median(depth[hits.hit])) if hits.hit.any() else 1.0
    texture = studio.texture(_THINGS, median_depth)
    radiance = _continued(_shade(studio, hits, texture), hits.hit)
    return Layer(left, top, radiance, coverage, depth)


def _pixel_box(hit: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is hit, with a pixel to spare; a corner pixel where nothing is."""
    rows, columns = np.flatnonzero(hit.any(axis=1)), np.flatnonzero(hit.any(axis=0))
    if not rows.size:
        return 0, 0, 1, 1
    height, width = hit.shape
    return (
        max(int(columns[0]) - 1, 0),
        max(int(rows[0]) - 1, 0),
        min(int(columns[-1]) + 2, width),
        min(int(rows[-1]) + 2, height),
    )


def _continued(values: Image, known: NDArray[np.bool_]) -> Image:
    """Values of the nearest known sample wherever none is known."""
    if not known.any() or known.all():
        return values if known.any() else np.full(values.shape, 1.0, np.float32)
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    lookup = np.zeros(int(labels.max()) + 1, np.float32)
    lookup[labels[known]] = values[known]
    return lookup[labels]


def _shade(studio: _Studio, hits: Hits, texture: Texture) -> Image:
    """Radiance of a matt surface under one lamp and daylight from everywhere."""
    facing = np.maximum(0.15, -hits.normal[..., 2])
    footprint = (hits.depth_m / (studio.focal_px * SUPERSAMPLING * np.sqrt(facing))).astype(np.float32)
    albedo = texture.sample(hits.u_m, hits.v_m, footprint)
    light = (_LIGHT / np.linalg.norm(_LIGHT)).astype(np.float32)
    shaded: Image = albedo * (0.45 + 0.6 * np.maximum(0.0, hits.normal @ light)).astype(np.float32)
    return shaded
