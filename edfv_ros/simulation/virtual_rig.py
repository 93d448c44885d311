"""A rig in front of a scene: what its sensor sees at any focus."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.events import Frame
from edfv_ros.rig import Rig
from edfv_ros.simulation.event_model import EventSensor, PixelModel
from edfv_ros.simulation.render import DefocusRenderer
from edfv_ros.simulation.scene import Scene

_ILLUMINANCE_LUX = 500.0  # an office
_WHITE = 235.0  # grey level of the brightest half percent of the scene
_READ_NOISE = 1.2  # grey levels


class VirtualRig:
    """Camera and lens of ``rig`` looking at ``scene``; the same seed gives the same sensor."""

    def __init__(self, rig: Rig, scene: Scene, *, pixels: PixelModel | None = None, seed: int = 0) -> None:
        self.rig = rig
        self.scene = scene
        self.illuminance_lux = float(getattr(scene, "illuminance_lux", _ILLUMINANCE_LUX))
        self.pixels = pixels or PixelModel()
        self.sensor = EventSensor(rig.camera.resolution, self.pixels, seed)
        self._rng = np.random.default_rng([seed, 0xF7A3E])

    @cached_property
    def _renderer(self) -> DefocusRenderer:
        return DefocusRenderer(self.scene, self.rig.optics, self.rig.lens.calibration.range_dpt)

    def pictures(self, vergences_dpt: ArrayLike) -> NDArray[np.float32]:
        """Linear radiance on the sensor at each focus, float32 [K, H, W], lens breathing included."""
        vergences = np.asarray(vergences_dpt, float)
        stack = self._renderer.render_stack(vergences)
        breathing, camera = self.rig.lens.breathing, self.rig.camera
        scales = np.interp(vergences, breathing.vergence_dpt, breathing.scale)
        centre = np.array([camera.intrinsics.cx_px, camera.intrinsics.cy_px])
        for picture, scale in zip(stack, scales, strict=True):
            if scale != 1.0:
                inverse = np.hstack([np.eye(2) / scale, (centre * (1.0 - 1.0 / scale))[:, None]])
                flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
                warped = cv2.warpAffine(picture, inverse, camera.resolution, None, flags, cv2.BORDER_REFLECT)
                picture[:] = np.maximum(warped, 1e-4)
        return stack

    def frame(self, timestamp_us: int, exposure_us: int, exposed: NDArray[np.float32]) -> Frame:
        """A camera frame from the mean radiance [H, W] over its exposure."""
        grey = exposed * np.float32(_WHITE / self._white_radiance)
        grey = grey + np.float32(_READ_NOISE) * self._rng.standard_normal(grey.shape, np.float32)
        return Frame(timestamp_us, exposure_us, np.clip(np.round(grey), 0, 255).astype(np.uint8))

    @cached_property
    def _white_radiance(self) -> float:
        return float(np.percentile(self.scene.sharp, 99.5))


def mean_picture(
    pictures: NDArray[np.float32], grid: NDArray[np.float64], vergences: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Mean over ``vergences`` of the pictures, linear between those on the grid."""
    position = np.interp(vergences, grid, np.arange(len(grid)))
    low = np.minimum(position.astype(int), len(grid) - 2)
    weights = np.zeros(len(grid), np.float32)
    np.add.at(weights, low, (1.0 - (position - low)) / len(position))
    np.add.at(weights, low + 1, (position - low) / len(position))
    mean = np.zeros(pictures.shape[1:], np.float32)
    for index in np.flatnonzero(weights):
        mean += weights[index] * pictures[index]
    return mean
