"""Defocus of a thin lens with a fixed sensor: everything is linear in vergence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ThinLens:
    """A lens of variable focal power in front of a fixed sensor.

    With the sensor at distance ``s`` behind the lens and an aperture of diameter ``A``, similar triangles give a
    circle of confusion of diameter ``A * s * |v - 1/z|`` on the sensor for a point at depth ``z`` while the lens is
    focused at vergence ``v`` (e.g. Subbarao, "Parallel depth recovery by changing camera parameters", ICCV 1988).
    """

    aperture_m: float
    image_distance_m: float
    pixel_pitch_m: float

    @property
    def blur_slope_px_per_dpt(self) -> float:
        """Growth of the circle of confusion's diameter, in pixels per dioptre of defocus."""
        return self.aperture_m * self.image_distance_m / self.pixel_pitch_m

    def blur_diameter_px(self, focus_vergence_dpt: ArrayLike, depth_m: ArrayLike) -> NDArray[np.float64]:
        """Diameter of the circle of confusion in pixels; arguments broadcast, ``depth_m`` may be ``inf``."""
        defocus_dpt = np.asarray(focus_vergence_dpt, float) - 1.0 / np.asarray(depth_m, float)
        return self.blur_slope_px_per_dpt * np.abs(defocus_dpt)

    def depth_of_field_dpt(self, circle_of_confusion_px: float = 1.0) -> float:
        """Full width in vergence over which the blur stays within ``circle_of_confusion_px``."""
        return 2.0 * circle_of_confusion_px / self.blur_slope_px_per_dpt

    def depth_of_field_m(self, depth_m: float, circle_of_confusion_px: float = 1.0) -> tuple[float, float]:
        """Nearest and farthest depth that are as sharp as ``circle_of_confusion_px`` when focused at ``depth_m``.

        The far limit is ``inf`` beyond the hyperfocal distance.
        """
        half_dpt = self.depth_of_field_dpt(circle_of_confusion_px) / 2.0
        vergence_dpt = 1.0 / depth_m
        far_m = 1.0 / (vergence_dpt - half_dpt) if vergence_dpt > half_dpt else float("inf")
        return 1.0 / (vergence_dpt + half_dpt), far_m


def depth_step_m(depth_m: ArrayLike, vergence_step_dpt: float) -> NDArray[np.float64]:
    """Depth change that a small vergence change causes at ``depth_m``: ``dz = z**2 * dv``."""
    return np.asarray(depth_m, float) ** 2 * vergence_step_dpt
