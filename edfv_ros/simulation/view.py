"""What a camera at one place sees of a scene: a stack of layers, each with radiance, coverage and depth of its own."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.rig import Camera
from edfv_ros.simulation.geometry import Pose

Image = NDArray[np.float32]

SUPERSAMPLING = 2
"""Layer samples per sensor pixel along each axis."""


class Trajectory(Protocol):
    """How a rigid thing moves through the world."""

    def pose(self, time_s: float) -> Pose:
        """Where a point of the thing that was at ``X`` at time 0 is now: ``pose(t).apply(X)``; identity at time 0."""
        ...


@dataclass(frozen=True)
class Canvas:
    """The camera's pixels and ``margin_px`` more on every side, for what blurs or moves into the picture."""

    camera: Camera
    margin_px: int

    @property
    def width_px(self) -> int:
        return self.camera.width_px + 2 * self.margin_px

    @property
    def height_px(self) -> int:
        return self.camera.height_px + 2 * self.margin_px

    def rays(self, samples: int) -> tuple[Image, Image]:
        """Normalised coordinates x and y at z = 1, distortion undone, of ``samples`` points per pixel and axis."""
        k = self.camera.intrinsics
        columns = (np.arange(self.width_px * samples) + 0.5) / samples - self.margin_px - 0.5
        rows = (np.arange(self.height_px * samples) + 0.5) / samples - self.margin_px - 0.5
        if not any(k.distortion):
            x, y = np.meshgrid((columns - k.cx_px) / k.fx_px, (rows - k.cy_px) / k.fy_px)
            return x.astype(np.float32), y.astype(np.float32)
        pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 1, 2)
        matrix = np.array([[k.fx_px, 0, k.cx_px], [0, k.fy_px, k.cy_px], [0, 0, 1]])
        ideal = cv2.undistortPoints(pixels, matrix, np.array(k.distortion)).reshape(len(rows), len(columns), 2)
        return ideal[..., 0].astype(np.float32), ideal[..., 1].astype(np.float32)

    def sensor(self, image: Image) -> Image:
        """The part of an image of the canvas that lies on the sensor."""
        m = self.margin_px
        return np.ascontiguousarray(image[m : m + self.camera.height_px, m : m + self.camera.width_px])


@dataclass(frozen=True, slots=True)
class Layer:
    """One surface on a box of the canvas; arrays have SUPERSAMPLING samples per pixel and axis.

    Attributes:
        left_px, top_px: the box's corner on the canvas, whole sensor pixels.
        radiance: float32 [h, w], linear light, 1 for a white sheet facing the light; meaningful where ``coverage`` is
            above 0, highlights exceed 1.
        coverage: float32 [h, w] in 0..1, or None for an opaque layer.
        depth_m: float32 [h, w], z along the optical axis, continued smoothly outside the coverage.
        motion: how the surface moves through the world, None if it does not.
    """

    left_px: int
    top_px: int
    radiance: Image
    coverage: Image | None
    depth_m: Image
    motion: Trajectory | None = None


@dataclass(frozen=True)
class View:
    """Layers back to front, as seen from ``camera`` (camera frame to world) at ``time_s``.

    The first layer is opaque and fills the canvas, so that what blurs in from outside the picture is known.

    Attributes:
        known: bool [H, W], the sensor's pixels whose depth is true and not a guess; None where all are.
    """

    canvas: Canvas
    layers: tuple[Layer, ...]
    camera: Pose = field(default_factory=Pose)
    time_s: float = 0.0
    known: NDArray[np.bool_] | None = None

    @cached_property
    def depth_m(self) -> Image:
        """z of the surface that covers most of each pixel, float32 [H, W]."""
        image = np.zeros((self.canvas.height_px, self.canvas.width_px), np.float32)
        for layer in self.layers:
            depth = pixel_mean(layer.depth_m)
            height, width = depth.shape
            box = image[layer.top_px : layer.top_px + height, layer.left_px : layer.left_px + width]
            front = np.ones(depth.shape, bool) if layer.coverage is None else pixel_mean(layer.coverage) >= 0.5
            box[front] = depth[front]
        return self.canvas.sensor(image)

    @cached_property
    def sharp(self) -> Image:
        """The picture of a pinhole in this place: linear radiance, float32 [H, W]."""
        image = np.zeros((self.canvas.height_px, self.canvas.width_px), np.float32)
        for layer in self.layers:
            coverage = np.ones_like(layer.radiance) if layer.coverage is None else layer.coverage
            height, width = (side // SUPERSAMPLING for side in layer.radiance.shape)
            box = image[layer.top_px : layer.top_px + height, layer.left_px : layer.left_px + width]
            box *= 1.0 - pixel_mean(coverage)
            box += pixel_mean(layer.radiance * coverage)
        return self.canvas.sensor(image)


class Scene(Protocol):
    """A world to look at. The same scene gives the same views."""

    @property
    def name(self) -> str: ...

    @property
    def illuminance_lux(self) -> float:
        """Light on a surface of radiance 1."""
        ...

    @property
    def depth_range_m(self) -> tuple[float, float]:
        """Nearest and farthest depth that any view will hold."""
        ...

    def view(self, canvas: Canvas, camera: Pose, time_s: float) -> View:
        """What is seen from ``camera`` at ``time_s``, or from a place near it: the view says from where and when."""
        ...


def pixel_mean(image: Image) -> Image:
    """Mean over each pixel's samples, [h, w] from [h * SUPERSAMPLING, w * SUPERSAMPLING]."""
    height, width = image.shape
    s = SUPERSAMPLING
    return image.reshape(height // s, s, width // s, s).mean(axis=(1, 3), dtype=np.float32)
