"""How sharp the occluding contours of a depth image are, against ground truth."""

import numpy as np
from numpy.typing import NDArray

THRESHOLDS_PERCENT = np.linspace(5.0, 25.0, 10)
"""Steps in depth, t, that make two neighbours an occluding contour."""


def boundary_f1(
    depth_m: NDArray[np.floating], truth_m: NDArray[np.floating], mask: NDArray[np.bool_] | None = None
) -> float:
    """Agreement of the occluding contours of a depth image with the true ones.

    Neighbours i, j form a contour where ``d(j) / d(i) > 1 + t / 100``; a predicted one is right where the true depths
    of the same two pixels form one in the same direction (Bochkovskii et al., Depth Pro, ICLR 2025, section 3.2).
    Precision and recall pool horizontal and vertical neighbours; F1 is averaged over :data:`THRESHOLDS_PERCENT` with
    weights proportional to t. Nothing is dilated: a contour one pixel off is a wrong one and a missed one.

    Args:
        depth_m: float [H, W]. Where it is unknown (NaN) no contour is predicted.
        truth_m: float [H, W]; pairs with an unknown pixel (NaN) do not count.
        mask: bool [H, W], pixels to consider, all if None.

    Returns:
        0 to 1. Thresholds at which there is neither a true nor a predicted contour are left out; NaN where that is so
        of all.
    """
    valid = np.isfinite(truth_m) & (truth_m > 0)
    if mask is not None:
        valid &= mask
    with np.errstate(divide="ignore", invalid="ignore"):
        log_depth = np.log(np.asarray(depth_m, np.float64))
        log_truth = np.log(np.where(valid, truth_m, 1.0).astype(np.float64))
    edges = np.concatenate([np.log1p(THRESHOLDS_PERCENT / 100.0), [np.inf]])
    totals = np.zeros((3, len(THRESHOLDS_PERCENT)), np.int64)  # predicted, true, both
    for axis in (0, 1):
        first, second = _neighbours(axis)
        pairs = valid[first] & valid[second]
        predicted = np.nan_to_num((log_depth[second] - log_depth[first])[pairs], nan=0.0, posinf=0.0, neginf=0.0)
        true = (log_truth[second] - log_truth[first])[pairs]
        both = np.where(predicted * true > 0, np.minimum(np.abs(predicted), np.abs(true)), 0.0)
        for row, steps in enumerate((np.abs(predicted), np.abs(true), both)):
            between = np.histogram(steps, edges)[0]
            totals[row] += np.cumsum(between[::-1])[::-1]  # steps above each threshold
    predicted_count, true_count, both_count = totals
    any_count = predicted_count + true_count
    used = any_count > 0
    if not used.any():
        return float("nan")
    f1 = 2.0 * both_count[used] / any_count[used]  # the harmonic mean of precision and recall
    return float(np.average(f1, weights=THRESHOLDS_PERCENT[used]))


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Indices of all pixels but the last, and of all but the first, along an axis."""
    every = slice(None)
    first, second = [every, every], [every, every]
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    return tuple(first), tuple(second)
