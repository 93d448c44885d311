"""Whether an estimator's standard deviations mean what they say, and whether they put the worst pixels last."""

import numpy as np
from numpy.typing import NDArray


def share_within(error: NDArray[np.floating], sigma: NDArray[np.floating], times: float) -> float:
    """Share of the pixels whose error is at most so many of their own standard deviations.

    An honest Gaussian has 0.683 within one and 0.954 within two; more is too cautious, less is too bold.

    Args:
        error: float [N], in whatever unit.
        sigma: float [N], standard deviations in the same unit; pixels without one (NaN) are left out.
        times: how many.

    Returns:
        NaN where no pixel has a standard deviation.
    """
    told = np.isfinite(sigma)
    return float(np.mean(np.abs(error[told]) <= times * sigma[told])) if told.any() else float("nan")


def ause(error: NDArray[np.floating], uncertainty: NDArray[np.floating]) -> float:
    """Area under the sparsification error curve (Ilg et al., ECCV 2018, section 5.1).

    Pixels are removed one by one, the most uncertain first; the curve is the mean error of those that are left. Its
    distance from the curve of an oracle, which removes the largest error first, is averaged over the removed share from
    0 to 1. Pixels of equal uncertainty are removed in no particular order: each counts as their mean. The area is not
    divided by the mean error, so it is in the unit of the error (as in Poggi et al., CVPR 2020).

    Args:
        error: float [N], not negative.
        uncertainty: float [N], in any unit; pixels without one (NaN) are left out.

    Returns:
        0 for a perfect order; NaN where no pixel has an uncertainty.
    """
    told = np.isfinite(uncertainty)
    if not told.any():
        return float("nan")
    errors = error[told].astype(np.float64)
    _, group, sizes = np.unique(uncertainty[told], return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=errors) / sizes
    by_uncertainty = np.repeat(means, sizes)  # groups are ascending
    kept = np.arange(1, len(errors) + 1)
    return float(np.mean((np.cumsum(by_uncertainty) - np.cumsum(np.sort(errors))) / kept))
