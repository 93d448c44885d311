"""Scenes whose views tests write down by hand."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edfv_ros.rig import Rig
from edfv_ros.simulation import Canvas, Layer, View
from edfv_ros.simulation.geometry import Pose


@dataclass(frozen=True)
class StillScene:
    """Layers that are made for a canvas, seen from the origin only."""

    layers: Callable[[Canvas], tuple[Layer, ...]]
    depth_range_m: tuple[float, float]
    illuminance_lux: float = 500.0
    name: str = "test"

    def view(self, canvas: Canvas, camera: Pose, time_s: float) -> View:
        return View(canvas, self.layers(canvas))


def filled(canvas: Canvas, value: float = 0.0) -> np.ndarray:
    return np.full((2 * canvas.height_px, 2 * canvas.width_px), value, np.float32)


def dotted_plane(depth_m: float) -> StillScene:
    """A fronto-parallel plane of random dots of 2 pixels."""

    def layers(canvas: Canvas) -> tuple[Layer, ...]:
        cells = np.random.default_rng(5).uniform(0.1, 0.9, (canvas.height_px // 2 + 1, canvas.width_px // 2 + 1))
        radiance = np.kron(cells, np.ones((4, 4))).astype(np.float32)[: 2 * canvas.height_px, : 2 * canvas.width_px]
        return (Layer(0, 0, np.ascontiguousarray(radiance), None, np.full(radiance.shape, depth_m, np.float32)),)

    return StillScene(layers, (depth_m, depth_m))


@dataclass(frozen=True)
class WavyPlane:
    """The plane ``coefficients . P = 1`` of the world under sinusoids of many directions; exact from everywhere."""

    coefficients: np.ndarray
    depth_range_m: tuple[float, float]
    waves_per_m: float
    motion: object = None
    illuminance_lux: float = 500.0
    name: str = "plane"

    def radiance(self, u_m: np.ndarray, v_m: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(0)
        waves = rng.uniform(-2 * np.pi, 2 * np.pi, (24, 2)) * self.waves_per_m
        total = np.zeros_like(u_m)
        for (a, b), phase, height in zip(waves, rng.uniform(0, 7, 24), rng.uniform(0.02, 0.12, 24), strict=True):
            total += height * np.sin(a * u_m + b * v_m + phase)
        return (0.3 * np.exp(total)).astype(np.float32)

    def view(self, canvas: Canvas, camera: Pose, time_s: float) -> View:
        x, y = (rays.astype(float) for rays in canvas.rays(2))
        to_scene = camera if self.motion is None else self.motion.pose(time_s).inverse() @ camera
        p = to_scene.rotation.T @ self.coefficients / (1 - self.coefficients @ to_scene.position_m)
        depth_m = 1.0 / (p[0] * x + p[1] * y + p[2])
        points = to_scene.apply(np.stack([x * depth_m, y * depth_m, depth_m], axis=-1))
        radiance = self.radiance(points[..., 0], points[..., 1])
        layer = Layer(0, 0, radiance, None, depth_m.astype(np.float32), self.motion)
        return View(canvas, (layer,), camera, time_s)


def changed(rig: Rig, part: str, **values: object) -> Rig:
    data = rig.model_dump()
    data[part] |= values
    return Rig.model_validate(data)


def shifted(scene: WavyPlane, **values: object) -> WavyPlane:
    return replace(scene, **values)
