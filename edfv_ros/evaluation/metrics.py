"""Depth metrics in metres and bins, with explicit masks and no epsilons."""

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth import DepthEstimate
from edfv_ros.optics import VergenceBins
from edfv_ros.volume.same import neighbourhood_events, same_mask

CONFIDENT = 0.5
SUPPORTED_EVENTS = 4.0


def depth_metrics(
    estimate: DepthEstimate,
    truth_m: NDArray[np.float32],
    bins: VergenceBins,
    event_count: NDArray[np.uint16],
    guide: NDArray[np.uint8] | None = None,
) -> dict[str, float]:
    """Compare an estimate with ground truth.

    Masks: *dense* is every pixel with both an estimate and truth; *same* those of the SAME mask; *supported* are pixels
    with at least four events in their 2 px Gaussian neighbourhood, whatever the estimator thinks of them; *confident*
    are supported pixels with a confidence above 0.5. A supported pixel without an estimate counts as wrong in
    ``supported_delta1``.

    Args:
        estimate: the estimate, arrays [H, W].
        truth_m: float32 [H, W], z-depth in metres, NaN where unknown.
        bins: the vergence axis; errors in bins are differences of vergence over the bin width.
        event_count: uint16 [H, W], events of all sweeps that the estimate used.
        guide: uint8 [H, W], the camera's frame for the SAME mask, where there is one.

    Returns:
        Coverage (``known_fraction`` of pixels with truth, ``supported_fraction`` of these, ``confident_fraction`` of
        the supported ones), then for each mask ``median_error_bins``, ``abs_rel``, ``rmse_m``, ``log10``, ``delta1``,
        ``delta2`` and ``delta3``; NaN where a mask is empty.
    """
    valid = np.isfinite(truth_m) & (truth_m > 0)
    known = valid & np.isfinite(estimate.depth_m) & (estimate.depth_m > 0)
    supported = valid & (neighbourhood_events(event_count) >= SUPPORTED_EVENTS)
    confident = supported & known & (estimate.confidence > CONFIDENT)
    metrics = {
        "known_fraction": _fraction(known, valid),
        "supported_fraction": _fraction(supported, valid),
        "confident_fraction": _fraction(confident, supported),
    }
    depth_m = estimate.depth_m.astype(np.float64)
    same = known & same_mask(event_count, guide)
    for name, mask in (("dense", known), ("same", same), ("supported", supported & known), ("confident", confident)):
        scores = _scores(depth_m[mask], truth_m[mask].astype(np.float64), bins.width_dpt)
        metrics.update({f"{name}_{key}": value for key, value in scores.items()})
    metrics["supported_delta1"] *= _fraction(supported & known, supported)
    return metrics


def _fraction(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(whole)
    return np.count_nonzero(part) / total if total else float("nan")


def _scores(depth_m: NDArray[np.float64], truth_m: NDArray[np.float64], width_dpt: float) -> dict[str, float]:
    names = ("median_error_bins", "abs_rel", "rmse_m", "log10", "delta1", "delta2", "delta3")
    if not len(depth_m):
        return dict.fromkeys(names, float("nan"))
    error_m = depth_m - truth_m
    ratio = np.maximum(depth_m / truth_m, truth_m / depth_m)
    values = (
        np.median(np.abs(1.0 / depth_m - 1.0 / truth_m)) / width_dpt,
        np.mean(np.abs(error_m) / truth_m),
        np.sqrt(np.mean(error_m**2)),
        np.mean(np.abs(np.log10(depth_m / truth_m))),
        *(np.mean(ratio < 1.25**power) for power in (1, 2, 3)),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}
