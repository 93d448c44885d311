"""What a focus sweep can resolve in depth, before any picture is taken."""

import math
from dataclasses import dataclass

from edfv_ros.optics.bins import VergenceBins
from edfv_ros.optics.thin_lens import ThinLens, depth_step_m

TEXTURED_PIXEL_SNR = 5.0
"""Peak focus signal over its noise that a well textured pixel reaches; the assumption behind a "best" error."""


@dataclass(frozen=True, slots=True)
class DepthResolution:
    """Resolution of a rig for a point at ``depth_m``.

    Attributes:
        depth_m: distance along the optical axis.
        vergence_dpt: ``1 / depth_m``, 0 for a point at infinity.
        bin_width_m: depth that one vergence bin centred here spans, ``inf`` where it reaches infinity.
        field_near_m, field_far_m: limits of the depth of field (blur up to one pixel) when focused here.
        best_error_m: standard deviation of depth expected for a well textured pixel in one sweep.
    """

    depth_m: float
    vergence_dpt: float
    bin_width_m: float
    field_near_m: float
    field_far_m: float
    best_error_m: float


def best_vergence_error_dpt(optics: ThinLens, bins: VergenceBins, snr: float = TEXTURED_PIXEL_SNR) -> float:
    """Smallest standard deviation of a focus vergence read from one binned sweep, in dioptres.

    The focus signal of a pixel peaks at its vergence. Let the peak ``g`` be a Gaussian with standard deviation ``s``,
    sampled every bin width ``w`` in white noise. The Cramér-Rao bound for the variance of its position is then
    ``1 / (snr**2 * sum(g'**2))``, and with the sum taken as an integral, ``2 w s / (sqrt(pi) snr**2)``. (For the bound
    on sampled peaks see Winick, "Cramér-Rao lower bounds on the performance of charge-coupled-device optical position
    estimators", JOSA A 3(11), 1986.) The peak is as wide as the depth of field, whose full width at half maximum is
    2 px of blur over the blur slope, smeared by the bin that integrates it: ``s**2 = (dof / 2.355)**2 + w**2 / 12``.
    """
    width_dpt = bins.width_dpt
    focus_dpt = optics.depth_of_field_dpt() / (2.0 * math.sqrt(2.0 * math.log(2.0)))
    peak_dpt = math.hypot(focus_dpt, width_dpt / math.sqrt(12.0))
    return math.sqrt(2.0 * width_dpt * peak_dpt / math.sqrt(math.pi)) / snr


def depth_resolution(optics: ThinLens, bins: VergenceBins, depth_m: float) -> DepthResolution:
    """Resolution of a sweep for a point at ``depth_m``, which may be ``inf``."""
    vergence_dpt = 1.0 / depth_m
    half_dpt = bins.width_dpt / 2.0
    reaches_infinity = vergence_dpt <= half_dpt
    bin_width_m = math.inf if reaches_infinity else 1.0 / (vergence_dpt - half_dpt) - 1.0 / (vergence_dpt + half_dpt)
    field_near_m, field_far_m = optics.depth_of_field_m(depth_m)
    return DepthResolution(
        depth_m=depth_m,
        vergence_dpt=vergence_dpt,
        bin_width_m=bin_width_m,
        field_near_m=field_near_m,
        field_far_m=field_far_m,
        best_error_m=float(depth_step_m(depth_m, best_vergence_error_dpt(optics, bins))),
    )


def round_depths_m(near_m: float, far_m: float) -> list[float]:
    """The two limits of a range and the round depths (1, 1.5, 2, 3, 5, 7 and their tenfolds) between them.

    An infinite ``far_m`` ends in round depths up to a hundred times ``near_m``, then ``inf``.
    """
    last_m = far_m if math.isfinite(far_m) else 100.0 * near_m
    first_decade, last_decade = math.floor(math.log10(near_m)), math.ceil(math.log10(last_m))
    steps = [step * 10.0**decade for decade in range(first_decade, last_decade + 1) for step in (1, 1.5, 2, 3, 5, 7)]
    between = [round(step, 9) for step in steps if near_m * 1.05 < step < last_m / 1.05]
    return [near_m, *between, far_m]
