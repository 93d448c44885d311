"""A relative vergence map given scale and shift by a sparse metric one, robustly."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_POINTS = 200
"""Fewer pixels of known vergence tell nothing of a whole image."""

MOST_POINTS = 8192
"""Of more, a subset is used."""

BALANCE_BINS = 16

LEAST_RELIEF = 0.02
"""Smallest range (5 % to 95 %) of the prior over the known pixels, in units of its range over the image."""

LEAST_INLIERS = 0.5
MOST_UNEXPLAINED = 0.6
"""Largest misfit of the line as part of a constant's: more, and the prior may as well be of another scene."""

TUNING = 4.685
"""Of Tukey's biweight, in standard deviations: 95 % efficiency for Gaussian errors."""

INLIER_SIGMAS = 3.0

_HYPOTHESES = 300  # one pair without outliers among them is as good as certain with up to 60 % outliers
_START_POINTS = 1024
_ITERATIONS = 30
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Alignment:
    """``vergence = scale * relative + shift``, with what is known of its errors.

    Attributes:
        scale: in dioptres per unit of the relative vergence, positive.
        shift_dpt: vergence at the relative vergence 0.
        sigma_dpt: standard deviation of the residuals without the outliers and without what the points' own errors
            explain: the error of the aligned prior.
        inliers: part of the points within three standard deviations.
        covariance: float64 [2, 2], of scale and shift.
    """

    scale: float
    shift_dpt: float
    sigma_dpt: float
    inliers: float
    covariance: NDArray[np.float64]

    def vergence_dpt(self, relative: NDArray[np.float32]) -> NDArray[np.float32]:
        """The metric vergence of relative ones, of any shape."""
        return relative * np.float32(self.scale) + np.float32(self.shift_dpt)

    def extrapolation_variance(self, relative: NDArray[np.float32]) -> NDArray[np.float32]:
        """Variance in squared dioptres that the uncertainty of scale and shift adds, of any shape."""
        (scale, both), (_, shift) = self.covariance
        return np.float32(scale) * relative**2 + np.float32(2 * both) * relative + np.float32(shift)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no alignment, in one line."""

    reason: str


def align(
    relative: NDArray[np.float32],
    vergence_dpt: NDArray[np.float32],
    sigma_dpt: NDArray[np.float32],
    *,
    points_per_error: float = 1.0,
) -> Alignment | Refusal:
    """Fit scale and shift by weighted least squares, outliers apart.

    It starts from the line through two points that leaves the least median residual (Rousseeuw, "Least median of
    squares regression", JASA 1984), then reweights with Tukey's biweight; each step is solved in closed form. The
    weights are the inverse of the points' variances plus the prior's own, which is estimated along the way. Points
    count by the square root of how many there are of their relative vergence.

    Args:
        relative: float32 [N], relative vergence, see :mod:`~edfv_ros.depth.prior`.
        vergence_dpt: float32 [N], metric vergence of the same pixels.
        sigma_dpt: float32 [N], its standard deviation.
        points_per_error: how many points err together, as neighbouring pixels do; widens ``covariance``.

    Returns:
        The fit, or why there is none: too few points, no relief among them, a line that explains hardly more than
        a constant or descends, or most of them off any line. The same points give the same fit.
    """
    count = len(relative)
    if count < LEAST_POINTS:
        return Refusal(f"vergence is known for {count} pixels; at least {LEAST_POINTS} are needed")
    some = _balanced(relative)
    x, y, sigma = (values[some].astype(np.float64) for values in (relative, vergence_dpt, sigma_dpt))
    relief = float(np.subtract(*np.quantile(x, (0.95, 0.05))))
    if relief < LEAST_RELIEF:
        return Refusal(f"the prior is flat where vergence is known: its range there is {relief:.3f} of its whole range")
    line = _least_median(x, y, 0.1 * relief)
    own_sigma = 0.0
    for _ in range(_ITERATIONS):
        residual = y - x * line[0] - line[1]
        spread = _MAD_TO_SIGMA * float(np.median(np.abs(residual)))
        own_sigma = max(spread**2 - float(np.median(sigma)) ** 2, (0.1 * spread) ** 2, 1e-12) ** 0.5
        total = np.sqrt(sigma**2 + own_sigma**2)
        weight = (1.0 - _misfit(residual / total)) ** (2.0 / 3.0) / total**2
        solved = _weighted_line(x, y, weight)
        if solved is None:
            return Refusal("the pixels that agree on a line all have the same relative vergence")
        line, before = solved, line
        if np.allclose(line, before, rtol=1e-9, atol=1e-12):
            break
    residual = (y - x * line[0] - line[1]) / total
    inliers = float(np.mean(np.abs(residual) <= INLIER_SIGMAS))
    constant = min(_misfit((y - level) / total).mean() for level in np.quantile(y, np.linspace(0.05, 0.95, 19)))
    if _misfit(residual).mean() > MOST_UNEXPLAINED * constant:
        return Refusal("the prior explains the vergence hardly better than no relief at all would")
    if line[0] <= 0.0:
        return Refusal(f"the prior runs against the vergence: its scale would be {line[0]:.3g} dpt")
    if inliers < LEAST_INLIERS:
        return Refusal(f"{inliers:.0%} of the pixels agree on a line; at least {LEAST_INLIERS:.0%} are needed")
    design = np.stack([x, np.ones_like(x)])
    covariance = np.linalg.inv((design * weight) @ design.T) * points_per_error * len(x) / count
    return Alignment(float(line[0]), float(line[1]), float(own_sigma), inliers, covariance)


def _balanced(relative: NDArray[np.float32]) -> NDArray[np.int64]:
    """Indices of points, those of a relative vergence that is rare more often than others: a wall behind everything
    holds most pixels and tells nothing of the scale. Where all are equally frequent, of each point one."""
    low, high = float(relative.min()), float(relative.max())
    place = ((relative - low) * ((BALANCE_BINS - 1e-3) / max(high - low, 1e-9))).astype(np.int64)
    often = np.bincount(place, minlength=BALANCE_BINS)
    until = np.cumsum(1.0 / np.sqrt(often[place]))
    wanted = min(len(relative), MOST_POINTS)
    return np.searchsorted(until, (np.arange(wanted) + 0.5) * (until[-1] / wanted))


def _misfit(sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tukey's biweight loss of residuals in standard deviations: a square for small ones, 1 for outliers."""
    return 1.0 - np.clip(1.0 - (sigmas / TUNING) ** 2, 0.0, None) ** 3


def _least_median(x: NDArray[np.float64], y: NDArray[np.float64], apart: float) -> NDArray[np.float64]:
    """Slope and offset of the line through two points, ``apart`` at least in x, with the least median residual."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(x), (2, 20 * _HYPOTHESES))
    far = np.flatnonzero(np.abs(x[first] - x[second]) > apart)[:_HYPOTHESES]
    first, second = first[far], second[far]
    slope = (y[first] - y[second]) / (x[first] - x[second])
    offset = y[first] - slope * x[first]
    some = rng.permutation(len(x))[:_START_POINTS]
    misfit = np.median(np.abs(y[some] - slope[:, None] * x[some] - offset[:, None]), axis=1)
    best = int(np.argmin(misfit))
    return np.array([slope[best], offset[best]])


def _weighted_line(
    x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Slope and offset of the weighted least squares line, None where no slope can be told."""
    total = weight.sum()
    if total <= 0.0:
        return None
    mean_x, mean_y = (weight @ x) / total, (weight @ y) / total
    variance = (weight @ (x - mean_x) ** 2) / total
    if variance < (0.1 * LEAST_RELIEF) ** 2:
        return None
    slope = (weight @ ((x - mean_x) * (y - mean_y))) / total / variance
    return np.array([slope, mean_y - slope * mean_x])


def local_correction(
    residual_dpt: NDArray[np.float32], weight: NDArray[np.float32], sigma_px: float, prior_weight: float
) -> NDArray[np.float32]:
    """A smooth field of what an aligned prior is off by, float32 [H, W]: 0 far from every known pixel.

    The weighted mean of the residuals in a Gaussian neighbourhood, drawn towards 0 (normalised convolution: Knutsson
    and Westin, CVPR 1993), so that the prior keeps its edges and details and loses its slow bends.

    Args:
        residual_dpt: float32 [H, W], known minus aligned vergence; anything finite where the weight is 0.
        weight: float32 [H, W], at least 0.
        sigma_px: standard deviation of the neighbourhood.
        prior_weight: mean weight around a pixel at which half the correction is believed.
    """
    step = max(1, int(sigma_px // 4))
    height, width = residual_dpt.shape
    size = (-(-width // step), -(-height // step))
    sums = np.stack([residual_dpt * weight, weight], axis=-1)
    small = cv2.GaussianBlur(
        cv2.resize(sums, size, interpolation=cv2.INTER_AREA), (0, 0), sigma_px / step, borderType=cv2.BORDER_REFLECT
    )
    correction = small[..., 0] / (small[..., 1] + np.float32(prior_weight))
    return cv2.resize(correction, (width, height), interpolation=cv2.INTER_LINEAR)
