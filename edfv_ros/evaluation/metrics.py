"""Depth metrics in metres and bins, with explicit masks and no epsilons."""

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth import DepthEstimate
from edfv_ros.evaluation.boundaries import boundary_f1
from edfv_ros.evaluation.uncertainty import ause, share_within
from edfv_ros.optics import VergenceBins
from edfv_ros.volume.same import neighbourhood_events, same_mask

CONFIDENT = 0.5
SUPPORTED_EVENTS = 4.0

RANGE_SLACK_BINS = 0.5
"""What lies this far beyond the ends of the sweep is still in its range."""

TALK_UNIT_M = 30.0
"""The talk on EDPN (Li et al., NeurIPS 2025) gives RMSE of depth over 30 m."""


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


def comparison_metrics(
    vergence_dpt: NDArray[np.float32],
    sigma_dpt: NDArray[np.float32],
    truth_m: NDArray[np.float32],
    bins: VergenceBins,
    same: NDArray[np.bool_],
) -> dict[str, float]:
    """Score an estimate so that estimators can be compared that know different parts of an image.

    All scores but the last ones are over *every* pixel with truth in the sweep's range: a pixel without an estimate is
    given the middle of the sweep's vergence, the best answer of one who saw nothing, so that silence never improves a
    score. ``known_fraction`` says how many had one. Contours and uncertainties are exceptions: an unknown pixel has
    none, so it is a missed contour, and no part of the calibration.

    Args:
        vergence_dpt: float32 [H, W], NaN where unknown.
        sigma_dpt: float32 [H, W], its standard deviation; NaN where unknown, all NaN where an estimator tells none.
        truth_m: float32 [H, W], z-depth in metres, NaN where unknown.
        bins: the vergence axis.
        same: bool [H, W], the SAME mask of the sweep.

    Returns:
        ``known_fraction``; ``abs_rel``, ``rmse_m``, ``rmse_talk`` (over 30 m), ``log10``, ``delta1`` to ``delta3`` and
        ``median_error_bins``; ``same_median_error_bins`` on the SAME mask; ``boundary_f1``
        (:func:`~edfv_ros.evaluation.boundaries.boundary_f1`); ``within_1_sigma`` and ``within_2_sigma``, shares of the
        known pixels by their error in vergence, and ``ause`` of AbsRel over these, ordered by ``sigma_dpt /
        vergence_dpt``, which is the standard deviation of the relative depth error; then ``known_abs_rel`` and
        ``known_delta1``, over the pixels with an estimate alone. NaN where there is nothing to score.
    """
    in_range = in_sweep_range(truth_m, bins)
    known = in_range & np.isfinite(vergence_dpt) & (vergence_dpt > 0)
    answered_dpt = np.where(known, vergence_dpt, 0.5 * (bins.min_dpt + bins.max_dpt)).astype(np.float64)
    true_m = truth_m.astype(np.float64)

    def scores(mask: NDArray[np.bool_]) -> dict[str, float]:
        return _scores(1.0 / answered_dpt[mask], true_m[mask], bins.width_dpt)

    known_scores = scores(known)
    metrics = {"known_fraction": _fraction(known, in_range), **scores(in_range)}
    metrics["rmse_talk"] = metrics["rmse_m"] / TALK_UNIT_M
    metrics["same_median_error_bins"] = scores(in_range & same)["median_error_bins"]
    metrics["boundary_f1"] = boundary_f1(
        np.divide(1.0, vergence_dpt, out=np.full_like(vergence_dpt, np.nan), where=known), truth_m, in_range
    )
    known_dpt, known_sigma_dpt = answered_dpt[known], sigma_dpt[known]
    error_dpt = known_dpt - 1.0 / true_m[known]
    metrics["within_1_sigma"] = share_within(error_dpt, known_sigma_dpt, 1.0)
    metrics["within_2_sigma"] = share_within(error_dpt, known_sigma_dpt, 2.0)
    relative_error = np.abs(1.0 / known_dpt - true_m[known]) / true_m[known]
    metrics["ause"] = ause(relative_error, known_sigma_dpt / known_dpt)
    metrics["known_abs_rel"] = known_scores["abs_rel"]
    metrics["known_delta1"] = known_scores["delta1"]
    return metrics


def in_sweep_range(truth_m: NDArray[np.float32], bins: VergenceBins) -> NDArray[np.bool_]:
    """Pixels, bool [H, W], with a true depth that the sweep's focus reaches, to half a bin."""
    slack_dpt = RANGE_SLACK_BINS * bins.width_dpt
    valid = np.isfinite(truth_m) & (truth_m > 0)
    true_dpt = np.divide(1.0, truth_m, out=np.full(truth_m.shape, np.nan), where=valid)
    return (true_dpt >= bins.min_dpt - slack_dpt) & (true_dpt <= bins.max_dpt + slack_dpt)


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
