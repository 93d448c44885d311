"""Where a scene is made: the depths and the picture of a rig, a source of chance, and tools to place things."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edfv_ros.rig import Rig
from edfv_ros.simulation.geometry import Pose, rotation_about
from edfv_ros.simulation.scenes.objects import Lamp, Lighting, ProceduralScene, Shadow, Thing, Wall
from edfv_ros.simulation.scenes.shapes import Shape
from edfv_ros.simulation.scenes.surfaces import THINGS, Surface, log_uniform, random_surface

Vector = NDArray[np.float64]

FARTHEST_M = 30.0
NEAREST_M = 0.05
_BEYOND = 0.08  # of the sweep's span, how far a scene may reach beyond the nearest and farthest focus


@dataclass
class Studio:
    """Collects what a scene is made of.

    Vergences run from ``far_dpt``, where walls may stand, to ``near_dpt``. The picture's coordinates run from -1 to 1
    on both axes. Where ``beyond`` is set, some scenes reach a little beyond what the sweep can focus.
    """

    rig: Rig
    rng: np.random.Generator
    beyond: bool = False
    things: list[Thing] = field(default_factory=list)
    walls: list[Wall] = field(default_factory=list)
    shadows: list[Shadow] = field(default_factory=list)

    def __post_init__(self) -> None:
        sweep, camera, k = self.rig.sweep, self.rig.camera, self.rig.camera.intrinsics
        low, high = sweep.vergence_min_dpt, sweep.vergence_max_dpt
        reach = _BEYOND * (high - low) if self.beyond else 0.0
        self.limits_dpt = max(low - reach, 1.0 / FARTHEST_M), min(high + reach, 1.0 / NEAREST_M)
        beyond = self.beyond and self.rng.random() < 0.3
        far = max(low, 1.0 / FARTHEST_M)
        self.far_dpt = float(self.rng.uniform(self.limits_dpt[0], far)) if beyond else far + 0.02 * (high - far)
        self.near_dpt = high - 0.02 * (high - self.far_dpt)
        self.focal_px = float(np.sqrt(k.fx_px * k.fy_px))
        self.left, self.right = -(k.cx_px + 0.5) / k.fx_px, (camera.width_px - 0.5 - k.cx_px) / k.fx_px
        self.top, self.bottom = -(k.cy_px + 0.5) / k.fy_px, (camera.height_px - 0.5 - k.cy_px) / k.fy_px

    @property
    def half_extent(self) -> tuple[float, float]:
        """Half width and height of the picture at depth 1."""
        return 0.5 * (self.right - self.left), 0.5 * (self.bottom - self.top)

    def vergences(self, count: int, low: float = 0.08, high: float = 1.0) -> NDArray[np.float64]:
        """``count`` vergences far to near, one per equal part of the range between the fractions ``low`` and ``high``.

        Of the scenes that may, one in five reaches a little nearer than the nearest focus.
        """
        near = self.near_dpt
        if self.beyond and high == 1.0 and self.rng.random() < 0.2:
            near += 0.7 * (self.limits_dpt[1] - near)
        span = near - self.far_dpt
        edges = self.far_dpt + span * np.linspace(low, high, count + 1)
        return self.rng.uniform(edges[:-1], edges[1:])

    def point(self, across: float, down: float, vergence_dpt: float) -> Vector:
        """The point of the world at picture coordinates -1 to 1 and a vergence."""
        x = 0.5 * ((1 - across) * self.left + (1 + across) * self.right)
        y = 0.5 * ((1 - down) * self.top + (1 + down) * self.bottom)
        return np.array([x, y, 1.0]) / vergence_dpt

    def pixel_m(self, vergence_dpt: float) -> float:
        """Width of a pixel at a vergence."""
        return 1.0 / (self.focal_px * vergence_dpt)

    def size_m(self, vergence_dpt: float, low: float, high: float) -> float:
        """A length of ``low`` to ``high`` of the picture's shorter side, but at least 4 pixels."""
        camera = self.rig.camera
        pixels = max(log_uniform(self.rng, low, high) * min(camera.width_px, camera.height_px), 4.0)
        return pixels * self.pixel_m(vergence_dpt)

    def surface(self, vergence_dpt: float, names: Sequence[str] = THINGS, **ranges: tuple[float, float]) -> Surface:
        """A random surface for what stands at a vergence; see :func:`random_surface`."""
        return random_surface(self.rng, names, self.pixel_m(vergence_dpt), **ranges)

    def lamp(self, vergence_dpt: float, radiance: float) -> Surface:
        """The surface of something that shines."""
        return replace(self.surface(vergence_dpt, ("clouds",)), glow=float(radiance))

    def add(self, shape: Shape, position: Vector, rotation: Vector, surface: Surface) -> None:
        self.things.append(Thing(shape, Pose(np.asarray(position, float), rotation), surface))

    def wall(self, slope_x: float, slope_y: float, vergence_dpt: float, names: Sequence[str], at_dpt: float) -> None:
        """A plane whose vergence is ``slope_x x + slope_y y + vergence_dpt``, its texture scaled for ``at_dpt``."""
        self.walls.append(Wall(np.array([slope_x, slope_y, vergence_dpt]), self.surface(at_dpt, names)))

    def shadow(self, foot: Vector, size_m: float) -> None:
        self.shadows.append(Shadow(foot, 0.55 * size_m, float(self.rng.uniform(0.3, 0.65))))

    def turned(self, most_rad: float) -> Vector:
        """A random rotation about each axis of at most ``most_rad``."""
        return rotation_about(self.rng.uniform(-most_rad, most_rad, 3))

    def lighting(self) -> Lighting:
        """A lamp above the camera, sometimes one more, and a sky."""
        rng = self.rng
        ambient = rng.uniform(0.25, 0.6)
        main = np.array([rng.uniform(-0.9, 0.9), -rng.uniform(0.3, 1.0), -rng.uniform(0.3, 0.9)])
        lamps = [Lamp(main / np.linalg.norm(main), 1.0 - 0.8 * ambient)]
        if rng.random() < 0.4:
            other = np.array(
                [-np.sign(main[0]) * rng.uniform(0.3, 1.0), rng.uniform(-0.8, 0.2), -rng.uniform(0.2, 0.9)]
            )
            lamps.append(Lamp(other / np.linalg.norm(other), rng.uniform(0.1, 0.4)))
        return Lighting(float(ambient), np.array([0.0, -1.0, 0.0]), tuple(lamps))

    def scene(self, name: str, illuminance_lux: float) -> ProceduralScene:
        """The scene of what was collected."""
        low, high = self.limits_dpt
        return ProceduralScene(
            name,
            illuminance_lux,
            (1.0 / high, 1.0 / low),
            tuple(self.walls),
            tuple(self.things),
            self.lighting(),
            tuple(self.shadows),
        )
