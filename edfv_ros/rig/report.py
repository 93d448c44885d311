"""What a rig can do: the numbers of `edfv rig show` and the doubts of `edfv rig check`."""

import math
from dataclasses import dataclass

from edfv_ros.optics.resolution import (
    DepthResolution,
    best_vergence_error_dpt,
    depth_resolution,
    round_depths_m,
)
from edfv_ros.rig.model import Rig

TEMPERATURE_DRIVERS = ("optotune_ld4", "optotune_icc")
"""Drivers of controllers that measure the lens's temperature."""

MIN_BIN_DURATION_US = 500.0
MIN_BLUR_OVER_SWEEP_PX = 5.0


@dataclass(frozen=True, slots=True)
class RigReport:
    """The optics of a rig in numbers.

    Attributes:
        blur_slope_px_per_dpt: growth of the blur circle's diameter with defocus; the same at every depth.
        blur_over_sweep_px: blur of the nearest point when focus is farthest.
        bin_width_dpt: one vergence bin.
        depth_of_field_dpt: full width in vergence with a blur up to one pixel.
        best_error_dpt: best expected standard deviation of vergence, one sweep, one well textured pixel.
        near_m, far_m: limits of the sweep; ``far_m`` may be ``inf``.
        sweep_duration_ms: one pass of the focus.
        field_of_view_deg: horizontal and vertical.
        rows: resolution at round depths, ascending.
    """

    blur_slope_px_per_dpt: float
    blur_over_sweep_px: float
    bin_width_dpt: float
    depth_of_field_dpt: float
    best_error_dpt: float
    near_m: float
    far_m: float
    sweep_duration_ms: float
    field_of_view_deg: tuple[float, float]
    rows: tuple[DepthResolution, ...]


def rig_report(rig: Rig) -> RigReport:
    """Work out what a rig resolves over the range it sweeps."""
    optics, bins = rig.optics, rig.bins
    near_m = 1.0 / bins.max_dpt
    far_m = 1.0 / bins.min_dpt if bins.min_dpt > 0.0 else math.inf
    return RigReport(
        blur_slope_px_per_dpt=optics.blur_slope_px_per_dpt,
        blur_over_sweep_px=optics.blur_slope_px_per_dpt * (bins.max_dpt - bins.min_dpt),
        bin_width_dpt=bins.width_dpt,
        depth_of_field_dpt=optics.depth_of_field_dpt(),
        best_error_dpt=best_vergence_error_dpt(optics, bins),
        near_m=near_m,
        far_m=far_m,
        sweep_duration_ms=rig.sweep.duration_us * 1e-3,
        field_of_view_deg=_field_of_view_deg(rig),
        rows=tuple(depth_resolution(optics, bins, depth_m) for depth_m in round_depths_m(near_m, far_m)),
    )


def rig_doubts(rig: Rig) -> list[str]:
    """Things that are allowed but rarely meant, one line each, most harmful first."""
    report = rig_report(rig)
    doubts = []
    if report.blur_over_sweep_px < MIN_BLUR_OVER_SWEEP_PX:
        doubts.append(
            f"the blur changes by only {report.blur_over_sweep_px:.1f} px over the whole sweep, too little to tell "
            "depths apart: open the aperture, lengthen image_distance_mm or widen the sweep"
        )
    focal_mm = rig.camera.intrinsics.fx_px * rig.camera.pixel_pitch_um * 1e-3
    if not 0.8 <= focal_mm / rig.lens.image_distance_mm <= 1.25:
        doubts.append(
            f"camera.intrinsics.fx_px x pixel_pitch_um puts the sensor {focal_mm:.1f} mm behind the lens, but "
            f"lens.image_distance_mm = {rig.lens.image_distance_mm:g}: one of the three is off"
        )
    bin_us = rig.sweep.duration_us / rig.volume.bins
    if bin_us < MIN_BIN_DURATION_US:
        doubts.append(
            f"one bin lasts {bin_us:.0f} us, finer than an event camera's timing under load (0.2 to 1 ms): lower "
            "sweep.frequency_hz or volume.bins"
        )
    if report.bin_width_dpt > report.depth_of_field_dpt:
        doubts.append(
            f"a bin ({report.bin_width_dpt:.3f} dpt) is wider than the depth of field ({report.depth_of_field_dpt:.3f} "
            f"dpt), so focus peaks fall between bins: set volume.bins to {_bins_for_depth_of_field(rig)} or more"
        )
    if rig.lens.driver != "virtual" and not rig.lens.port:
        doubts.append(f"lens.driver = {rig.lens.driver} has no lens.port: set it, e.g. /dev/ttyACM0")
    if not rig.lens.breathing.is_constant:
        doubts.append("lens.breathing changes the image scale over the sweep, which is not corrected yet")
    if rig.lens.temperature_coefficient_dpt_per_c and rig.lens.driver not in TEMPERATURE_DRIVERS:
        doubts.append(
            f"lens.temperature_coefficient_dpt_per_c is not 0, but lens.driver = {rig.lens.driver} measures no "
            "temperature: nothing is compensated"
        )
    return doubts


def _bins_for_depth_of_field(rig: Rig) -> int:
    span_dpt = rig.bins.max_dpt - rig.bins.min_dpt
    return min(math.ceil(span_dpt / rig.optics.depth_of_field_dpt()), 256)


def _field_of_view_deg(rig: Rig) -> tuple[float, float]:
    intrinsics = rig.camera.intrinsics

    def angle_deg(centre_px: float, size_px: int, focal_px: float) -> float:
        before, after = (centre_px + 0.5) / focal_px, (size_px - 0.5 - centre_px) / focal_px
        return math.degrees(math.atan(before) + math.atan(after))

    return (
        angle_deg(intrinsics.cx_px, rig.camera.width_px, intrinsics.fx_px),
        angle_deg(intrinsics.cy_px, rig.camera.height_px, intrinsics.fy_px),
    )
