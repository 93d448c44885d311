"""The rigs of the held-out test set: real optics, each with a few of the sensors that may sit behind it."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from edfv_ros.simulation.domain import BINS, Domain

RESOLUTION = (346, 260)

MILD_MOTION_PX = (0.3, 3.0)
"""Farthest that a point of the picture moves during a sweep of an item with mild motion."""

_DAVIS_PITCH_UM, _DVXPLORER_PITCH_UM = 18.5, 9.0
_BREATHING_CHANGE = 0.02


def _rig(
    *,
    aperture_mm: float,
    image_distance_mm: float,
    range_dpt: tuple[float, float],
    frequency_hz: float,
    pitch_um: float = _DAVIS_PITCH_UM,
    sine: bool = False,
    breathing: float = 0.0,
    frames: bool = True,
    scanned: bool = False,
    threshold: tuple[float, float] = (0.1, 0.25),
) -> Domain:
    """A domain in which the optics are fixed, and sensor, pupil, lens dynamics and motion are drawn."""
    far_dpt, near_dpt = range_dpt
    slope_px_per_dpt = aperture_mm * 1e-3 * image_distance_mm * 1e-3 / (pitch_um * 1e-6)
    blur_px_per_bin = slope_px_per_dpt * (near_dpt - far_dpt) / BINS
    sensor_width_mm = RESOLUTION[0] * pitch_um * 1e-3
    field_of_view_deg = math.degrees(2.0 * math.atan(0.5 * sensor_width_mm / image_distance_mm))
    return Domain(
        contrast=(1.0, 1.6),
        painted=0.0,
        wanted_supported=(0.6, 0.9),
        blur_px_per_bin=(blur_px_per_bin, blur_px_per_bin),
        farthest_dpt=(far_dpt, far_dpt),
        nearest_dpt=(near_dpt, near_dpt),
        field_of_view_deg=(field_of_view_deg, field_of_view_deg),
        sensor_width_px=(RESOLUTION[0], RESOLUTION[0]),
        axis_offset=(-0.02, 0.02),
        pixel_pitch_um=(pitch_um, pitch_um),
        frequency_hz=(frequency_hz, frequency_hz),
        sine=float(sine),
        breathing_chance=float(breathing != 0.0),
        breathing=(breathing, breathing),
        threshold=threshold,
        scanned=float(scanned),
        moving_things=0.0,
        motion_px=MILD_MOTION_PX,
        frame=float(frames),
    )


HELD_OUT_RIGS: Mapping[str, Domain] = MappingProxyType(
    {
        "example": _rig(aperture_mm=8.0, image_distance_mm=16.0, range_dpt=(0.3, 4.2), frequency_hz=5.0),
        "long": _rig(aperture_mm=12.0, image_distance_mm=25.0, range_dpt=(0.15, 2.15), frequency_hz=4.0),
        "wide": _rig(aperture_mm=6.0, image_distance_mm=12.0, range_dpt=(0.2, 5.0), frequency_hz=10.0, sine=True),
        "breathing": _rig(
            aperture_mm=10.0,
            image_distance_mm=16.0,
            range_dpt=(0.5, 3.0),
            frequency_hz=2.5,
            breathing=_BREATHING_CHANGE,
        ),
        "close": _rig(
            aperture_mm=5.0, image_distance_mm=16.0, range_dpt=(1.0, 6.5), frequency_hz=5.0, threshold=(0.15, 0.3)
        ),
        "sensitive": _rig(
            aperture_mm=9.0, image_distance_mm=16.0, range_dpt=(0.2, 3.2), frequency_hz=8.0, threshold=(0.07, 0.15)
        ),
        "no-frames": _rig(
            aperture_mm=5.7,
            image_distance_mm=8.0,
            range_dpt=(0.4, 4.4),
            frequency_hz=6.0,
            pitch_um=_DVXPLORER_PITCH_UM,
            frames=False,
            scanned=True,
        ),
    }
)
"""Rigs by name, with 346x260 pixels and a blur of 0.6 to 1 px per bin; ``no-frames`` is a part of a DVXplorer's."""
