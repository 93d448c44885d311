"""What the sensor sees of a scene at any focus and any time, while the camera and the scene move."""

import math
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.rig import Rig
from edfv_ros.simulation.blender.stack import FocusStack
from edfv_ros.simulation.imaging import Imaging, focus_shift_dpt
from edfv_ros.simulation.lens_plan import LensPlan
from edfv_ros.simulation.motion import CameraTrajectory, displacement_px
from edfv_ros.simulation.render import DefocusRenderer
from edfv_ros.simulation.view import Canvas, Image, Scene, View

_MOST_DISPLACEMENT_PX = 24.0  # between a picture and the view that it is rendered from
_LONGEST_VIEW_S = 0.25  # for which one view serves where something moves
_SHORTEST_VIEW_S = 2e-3
_FADE = 0.25  # share of the time between two views in which one fades into the other
_SPARE_PX = 6


class PictureSource(Protocol):
    """A camera's pictures, before its pixels make events of them."""

    @property
    def illuminance_lux(self) -> float:
        """Light on a surface of radiance 1."""
        ...

    @property
    def white_radiance(self) -> float:
        """Radiance of the brightest half percent of the scene."""
        ...

    @property
    def sharp(self) -> Image:
        """The picture of a pinhole at time 0, float32 [H, W]."""
        ...

    @property
    def moves(self) -> bool:
        """Whether pictures depend on time."""
        ...

    def pictures(self, vergences_dpt: ArrayLike, times_s: ArrayLike) -> Image:
        """Radiance on the sensor, float32 [K, H, W], at each focus [K] and time [K], ascending."""
        ...

    def depth_m(self, time_s: float) -> Image:
        """z of what each pixel sees, float32 [H, W], NaN where unknown."""
        ...


class ScenePictures:
    """Pictures of a scene through the rig's lens, along a trajectory. See :class:`PictureSource`.

    A view serves as long as the picture moves little from where it was taken; then one taken where the camera is by
    then takes over gradually, so that nothing jumps.

    Args:
        rig: camera and lens.
        scene: what it looks at.
        imaging: how the lens departs from an ideal one.
        trajectory: of the camera.
        plan: of the lens; the focus positions that will be asked for are those of the plan. Without one the camera
            has to stand still, and any focus of the lens may be asked for.
    """

    def __init__(
        self,
        rig: Rig,
        scene: Scene,
        imaging: Imaging,
        trajectory: CameraTrajectory,
        plan: LensPlan | None = None,
    ) -> None:
        self._rig = rig
        self._scene = scene
        self._imaging = imaging
        self._trajectory = trajectory
        self._plan = plan
        self._range = rig.lens.calibration.range_dpt if plan is None else plan.range_dpt
        self._view_at = lru_cache(maxsize=2)(self._take_view)
        self._renderer_of = lru_cache(maxsize=3)(self._make_renderer)
        self._canvas = Canvas(rig.camera, self._margin_px())
        first_view = self._view_at(0.0)
        self.moves = trajectory.moves or any(layer.motion is not None for layer in first_view.layers)
        self.illuminance_lux = scene.illuminance_lux
        self.white_radiance = float(np.percentile(first_view.sharp, 99.5))
        self.sharp = first_view.sharp
        self._view_times_s = self._plan_views(0.0 if plan is None else plan.duration_us * 1e-6)

    def pictures(self, vergences_dpt: ArrayLike, times_s: ArrayLike) -> Image:
        vergences, times = np.broadcast_arrays(np.asarray(vergences_dpt, float), np.asarray(times_s, float))
        pictures = np.zeros((len(times), self._rig.camera.height_px, self._rig.camera.width_px), np.float32)
        weights = self._weights(times)
        for number, weight in enumerate(weights.T):
            used = np.flatnonzero(weight)
            if used.size:
                renderer = self._renderer_of(number)
                cameras = [self._trajectory.pose(t) for t in times[used]] if self.moves else None
                rendered = renderer.render_stack(vergences[used], cameras, times[used] if self.moves else None)
                whole = len(used) == len(times) and bool(np.all(weight == 1.0))
                if whole:
                    return rendered
                pictures[used] += weight[used, None, None].astype(np.float32) * rendered
        return pictures

    def depth_m(self, time_s: float) -> Image:
        number = int(self._weights(np.array([time_s]))[0].argmax())
        view = self._view_at(self._view_times_s[number])
        if not self.moves:
            depth = view.depth_m.copy()
        else:
            depth = self._renderer_of(number).depth_m(self._trajectory.pose(time_s), time_s)
        if view.known is not None:
            depth[~view.known] = np.nan
        return depth

    def _margin_px(self) -> int:
        """Blur reach, and what the picture moves by."""
        nearest, farthest = (1.0 / z for z in self._scene.depth_range_m)
        shift = focus_shift_dpt(self._rig.camera, self._imaging)
        low, high = self._range[0] + float(shift.min()), self._range[1] + float(shift.max())
        change = 1.15 if self._trajectory.moves else 1.0
        blur_px = self._rig.optics.blur_slope_px_per_dpt * change * max(high - farthest, nearest - low)
        breathing = max(abs(scale - 1.0) for scale in self._rig.lens.breathing.scale) * max(self._rig.camera.resolution)
        moved_px = 1.3 * _MOST_DISPLACEMENT_PX if self._trajectory.moves else 0.0
        return self._imaging.reach_px(blur_px) + math.ceil(breathing + moved_px) + _SPARE_PX

    def _plan_views(self, duration_s: float) -> NDArray[np.float64]:
        """Times of the views: one in the middle where that is near enough to all, else as few as may be."""
        if not self.moves:
            return np.zeros(1)
        middle_s = duration_s / 2.0
        if self._near_enough(middle_s, 0.0) and self._near_enough(middle_s, duration_s):
            return np.array([middle_s])
        times = [0.0]
        while times[-1] < duration_s:
            step_s = _LONGEST_VIEW_S
            while step_s > _SHORTEST_VIEW_S and not self._near_enough(times[-1], times[-1] + step_s):
                step_s /= 1.3
            times.append(times[-1] + step_s)
        return np.array(times)

    def _near_enough(self, from_s: float, to_s: float) -> bool:
        if abs(to_s - from_s) > _LONGEST_VIEW_S:
            return False
        between = np.linspace(from_s, to_s, 9)[1:]
        camera, depths = self._rig.camera, self._scene.depth_range_m
        return all(
            displacement_px(self._trajectory, camera, depths, from_s, t) <= _MOST_DISPLACEMENT_PX for t in between
        )

    def _weights(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Part of each view in the picture at each time, [K, views]."""
        number = len(self._view_times_s)
        position = np.interp(times_s, self._view_times_s, np.arange(number)) if number > 1 else np.zeros(len(times_s))
        before = np.minimum(position.astype(int), max(number - 2, 0))
        later = np.clip((position - before - 0.5) / _FADE + 0.5, 0.0, 1.0)
        weights = np.zeros((len(times_s), number))
        rows = np.arange(len(times_s))
        weights[rows, before] = 1.0 - later
        if number > 1:
            weights[rows, before + 1] = later
        return weights

    def _take_view(self, time_s: float) -> View:
        return self._scene.view(self._canvas, self._trajectory.pose(time_s), time_s)

    def _make_renderer(self, number: int) -> DefocusRenderer:
        view = self._view_at(float(self._view_times_s[number]))
        return DefocusRenderer(view, self._rig, self._focus_during(number), self._imaging, moving=self.moves)

    def _focus_during(self, number: int) -> tuple[float, float]:
        """Lowest and highest focus while a view is in use."""
        if self._plan is None or len(self._view_times_s) == 1:
            return self._range
        times_s, vergences = self._plan.times_us * 1e-6, self._plan.vergence_dpt
        used = np.flatnonzero(self._weights(times_s)[:, number])
        rows = slice(max(used[0] - 1, 0), used[-1] + 2)  # in between the focus is linear
        return float(vergences[rows].min()), float(vergences[rows].max())


class StackPictures:
    """Pictures between those of a focus stack of a still scene, by interpolation. See :class:`PictureSource`."""

    def __init__(self, stack: FocusStack, illuminance_lux: float = 500.0) -> None:
        self._stack = stack
        self.illuminance_lux = illuminance_lux
        self.sharp = stack.sharp
        self.white_radiance = float(np.percentile(stack.sharp, 99.5))
        self.moves = False

    def pictures(self, vergences_dpt: ArrayLike, times_s: ArrayLike) -> Image:
        return self._stack.pictures_at(np.broadcast_arrays(vergences_dpt, times_s)[0])

    def depth_m(self, time_s: float) -> Image:
        return self._stack.depth_m
