"""Pictures of a view through a real lens at any focus, from the view's place and from places near it.

Each layer is blurred once at a ladder of blur diameters; a picture lays the layers behind one another, front to back,
with blurred coverage, so that a blurred rim lets through what is behind it and a sharp thing bleeds into nothing.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.rig import Rig
from edfv_ros.simulation import compositing
from edfv_ros.simulation.geometry import Pose
from edfv_ros.simulation.imaging import Imaging, focus_shift_dpt, illumination
from edfv_ros.simulation.ladder import RUNG_PX, BlurLadder, blur_ladder
from edfv_ros.simulation.view import Image, Layer, Trajectory, View

_CHANGE_OF_DEPTH = 1.15  # most that a move away from the view's place may change a depth by, as a factor
_SPARE_PX = 2
_WINDOW_POINTS = 6  # of a layer, along each axis, that say where it has moved
_NEAREST_M = 0.05  # of a layer whose place in the picture can be foreseen


class DefocusRenderer:
    """Renders one view.

    Args:
        view: what to look at; its margin must hold the largest blur and whatever the picture moves by.
        rig: camera, lens and breathing.
        vergence_range_dpt: lowest and highest focus that will be asked for.
        imaging: how the lens departs from an ideal one.
        moving: whether pictures from other places and times than the view's will be asked for.
    """

    def __init__(
        self,
        view: View,
        rig: Rig,
        vergence_range_dpt: tuple[float, float],
        imaging: Imaging,
        *,
        moving: bool = False,
    ) -> None:
        self._view = view
        self._camera = rig.camera
        self._breathing = rig.lens.breathing
        self._slope = rig.optics.blur_slope_px_per_dpt
        self._range = vergence_range_dpt
        self._moving = moving
        self._focus_shift_dpt = focus_shift_dpt(rig.camera, imaging)
        self._illumination = illumination(rig.camera, imaging)
        self._rays = view.canvas.rays(1)
        self._ladders = [blur_ladder(layer, view.canvas, self._diameters_px(layer), imaging) for layer in view.layers]
        self._straight = not any(rig.camera.intrinsics.distortion)
        self._filled = [
            compositing.filled_rungs(ladder.radiance, ladder.coverage, ladder.rungs_px) for ladder in self._ladders
        ]
        self._rungs_below = [_rungs_below(ladder.rungs_px) for ladder in self._ladders]

    def _diameters_px(self, layer: Layer) -> tuple[float, float]:
        """Signed blur diameters that pictures of a layer may need."""
        low, high = self._range
        change = _CHANGE_OF_DEPTH if self._moving else 1.0
        nearest, farthest = change / float(layer.depth_m.min()), 1.0 / (change * float(layer.depth_m.max()))
        shift_low, shift_high = float(self._focus_shift_dpt.min()), float(self._focus_shift_dpt.max())
        spare_px = 0.01 + (change - 1.0) * self._slope * max(abs(low - nearest), abs(high - farthest))
        least, most = low + shift_low - nearest, high + shift_high - farthest
        return self._slope * least - spare_px, self._slope * most + spare_px

    def render(self, vergence_dpt: float) -> Image:
        """Linear radiance, float32 [H, W], from the view's place with the lens focused at ``vergence_dpt``.

        Raises:
            ValueError: the focus lies outside the range the renderer was made for.
        """
        picture: Image = self.render_stack([vergence_dpt])[0]
        return picture

    def render_stack(
        self, vergences_dpt: ArrayLike, cameras: Sequence[Pose] | None = None, times_s: ArrayLike | None = None
    ) -> Image:
        """Pictures at several focus positions, float32 [K, H, W].

        Args:
            vergences_dpt: focus of each picture, [K].
            cameras: where the camera is (camera frame to world), [K]; the view's place if None.
            times_s: when, [K], for what moves in the scene; the view's time if None.

        Raises:
            ValueError: a focus lies outside the range the renderer was made for.
        """
        vergences = np.asarray(vergences_dpt, float)
        low, high = self._range
        if vergences.min() < low - 1e-5 or vergences.max() > high + 1e-5:
            raise ValueError(f"focus {vergences.min():g} to {vergences.max():g} dpt exceeds {low:g} to {high:g} dpt")
        cameras = [self._view.camera] * len(vergences) if cameras is None else cameras
        times = np.full(len(vergences), self._view.time_s) if times_s is None else np.asarray(times_s, float)
        scales = np.interp(vergences, self._breathing.vergence_dpt, self._breathing.scale).astype(np.float32)
        camera, canvas, slope = self._camera, self._view.canvas, np.float32(self._slope)
        pictures = np.zeros((len(vergences), camera.height_px, camera.width_px), np.float32)
        through = np.ones_like(pictures)
        still_motions = np.stack([self._motion(None, c, t) for c, t in zip(cameras, times, strict=True)])
        for number in reversed(range(len(self._ladders))):
            layer, ladder = self._view.layers[number], self._ladders[number]
            filled, rungs_below = self._filled[number], self._rungs_below[number]
            motions = still_motions
            if layer.motion is not None:
                motions = np.stack([self._motion(layer.motion, c, t) for c, t in zip(cameras, times, strict=True)])
            moving = not np.allclose(motions, np.eye(3, 4), atol=1e-9)
            compositing.lay_under(
                pictures,
                through,
                ladder.radiance,
                ladder.coverage,
                filled,
                ladder.depth_m,
                ladder.rungs_px,
                rungs_below,
                np.float32(RUNG_PX),
                ladder.signed,
                ladder.left_px,
                ladder.top_px,
                *self._rays,
                self._straight,
                canvas.margin_px,
                np.float32(camera.intrinsics.fx_px),
                np.float32(camera.intrinsics.cx_px),
                np.float32(camera.intrinsics.cy_px),
                motions.astype(np.float32),
                moving,
                self._windows(ladder, motions, scales),
                (self._slope * vergences).astype(np.float32),
                (self._slope * self._focus_shift_dpt).astype(np.float32),
                slope,
                scales,
            )
        if not np.all(self._illumination == 1.0):
            pictures *= self._illumination
        return pictures

    def depth_m(self, camera: Pose | None = None, time_s: float | None = None) -> Image:
        """z of the surface that covers most of each pixel, float32 [H, W], from a place near the view's."""
        camera = self._view.camera if camera is None else camera
        time_s = self._view.time_s if time_s is None else time_s
        image = np.zeros((self._camera.height_px, self._camera.width_px), np.float32)
        for layer, ladder in zip(self._view.layers, self._ladders, strict=True):
            motion = self._motion(layer.motion, camera, time_s)
            compositing.lay_depth(
                image,
                ladder.coverage,
                ladder.depth_m,
                int(np.abs(ladder.rungs_px).argmin()),
                ladder.left_px,
                ladder.top_px,
                *self._rays,
                self._straight,
                self._view.canvas.margin_px,
                np.float32(self._camera.intrinsics.fx_px),
                motion.astype(np.float32),
                self._windows(ladder, motion[None], np.ones(1, np.float32))[0],
            )
        return image

    def _motion(self, thing: Trajectory | None, camera: Pose, time_s: float) -> NDArray[np.float64]:
        """[3, 4]: points of a thing in the view's camera frame to the frame of ``camera`` at ``time_s``."""
        moved = Pose()
        if thing is not None and time_s != self._view.time_s:
            moved = thing.pose(time_s) @ thing.pose(self._view.time_s).inverse()
        motion = camera.inverse() @ moved @ self._view.camera
        return np.hstack([motion.rotation, motion.position_m[:, None]])

    def _windows(
        self, ladder: BlurLadder, motions: NDArray[np.float64], scales: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """First and last row and column of the sensor that a ladder can reach after each motion, [K, 4]."""
        camera, k = self._camera, self._camera.intrinsics
        whole = np.array([0, camera.height_px - 1, 0, camera.width_px - 1])
        if ladder.coverage.size == 0:
            return np.tile(whole, (len(motions), 1))
        height, width = ladder.depth_m.shape
        rows = ladder.top_px + np.linspace(0, height - 1, _WINDOW_POINTS).astype(int)[:, None]
        columns = ladder.left_px + np.linspace(0, width - 1, _WINDOW_POINTS).astype(int)
        x, y = (np.tile(rays[rows, columns].ravel().astype(float), 2) for rays in self._rays)
        depths = np.repeat([ladder.depth_m.min(), ladder.depth_m.max()], x.size // 2)
        points = motions[:, :, :3] @ (np.stack([x, y, np.ones_like(x)]) * depths) + motions[:, :, 3:]
        ahead = points[:, 2].min(axis=1) >= _NEAREST_M
        points[~ahead] = 1.0
        dx = (points[:, 0] / points[:, 2] - x) * k.fx_px
        dy = (points[:, 1] / points[:, 2] - y) * k.fy_px
        left, top = ladder.left_px - self._view.canvas.margin_px, ladder.top_px - self._view.canvas.margin_px
        spare = _SPARE_PX + np.abs(scales - 1.0) * max(camera.resolution)
        bounds = np.stack(
            [
                np.maximum(np.floor(top + dy.min(axis=1) - spare), 0),
                np.minimum(np.ceil(top + height + dy.max(axis=1) + spare), camera.height_px - 1),
                np.maximum(np.floor(left + dx.min(axis=1) - spare), 0),
                np.minimum(np.ceil(left + width + dx.max(axis=1) + spare), camera.width_px - 1),
            ],
            axis=1,
        ).astype(np.int64)
        bounds[~ahead] = whole
        return bounds


def _rungs_below(rungs_px: NDArray[np.float32]) -> NDArray[np.int32]:
    """For each multiple of RUNG_PX from the first rung on, the last rung that is not above it."""
    first, last = float(rungs_px[0]), float(rungs_px[-1])
    multiples = first + np.arange(math.ceil((last - first) / RUNG_PX) + 1) * RUNG_PX
    return (np.searchsorted(rungs_px, multiples + 1e-4) - 1).astype(np.int32)
