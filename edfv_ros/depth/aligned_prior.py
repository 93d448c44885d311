"""The model-free estimate where the sweep shows depth, an aligned monocular prior elsewhere."""

import logging

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.alignment import INLIER_SIGMAS, Alignment, Refusal, align, local_correction
from edfv_ros.depth.estimator import DepthEstimate, DepthEstimator
from edfv_ros.depth.prior import MonocularPrior
from edfv_ros.optics import VergenceBins
from edfv_ros.volume import SweepSnapshot
from edfv_ros.volume.same import neighbourhood_events

POINT_CONFIDENCE = 0.6
"""Pixels of at least this confidence hold the prior."""

POINT_EVENTS = 2.0
"""And this many events per pixel around them: elsewhere the model-free estimate is itself a guess from its rims."""

ERROR_AREA_PX = 150.0
"""Neighbouring pixels that err together: one window of the model-free estimator."""

CORRECTION_RADIUS = 0.08
"""Standard deviation of the local correction's neighbourhood, as part of the image's width."""

CORRECTION_WEIGHT = 0.05
"""Mean weight of points at which half of a local correction is believed."""

RIGHT_SIGMA_BINS = (0.13, 0.75)
"""Standard deviation of a model-free estimate that is right, in bins, and what doubt adds to it. Its own standard
deviation is another thing: that of the whole posterior, the wrong answers included. Measured on four sweeps."""

LEAST_VARIANCE = 0.1
"""Of the aligned prior's variance, what no correction takes away."""

UNSUPPORTED_CONFIDENCE = 0.5
"""Factor on the model-free confidence where there are no events to support it."""

logger = logging.getLogger(__name__)


class AlignedPrior:
    """Dense metric depth from a sparse metric one and a relative dense one.

    The prior's relative vergence gets scale and shift from the confident pixels of the model-free estimate
    (:mod:`~edfv_ros.depth.alignment`) and loses its slow bends. Then each pixel weighs four hypotheses, each estimate
    being right or not: a right one errs by its standard deviation, a wrong one is anywhere in the sweep. Where both are
    most likely right their mean is taken, weighted by inverse variances; else the one that is. So no pixel floats
    between two surfaces on which they disagree.

    Without a frame young enough, or where the prior cannot be aligned, the model-free estimate is returned as it is.

    Args:
        sparse: makes the metric estimate.
        prior: makes the relative one.
        bins: the vergence axis.
    """

    def __init__(self, sparse: DepthEstimator, prior: MonocularPrior, bins: VergenceBins) -> None:
        self._sparse = sparse
        self._prior = prior
        self._bins = bins
        self._refused = False

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        sparse = self._sparse.estimate(snapshot)
        relative = self._prior.at(snapshot.latest.sweep.end_us, snapshot.frame)
        if relative is None:
            return sparse
        support = np.minimum(neighbourhood_events(snapshot.event_count()) / np.float32(POINT_EVENTS), np.float32(1))
        fused = fuse(sparse, relative, support, self._bins)
        if isinstance(fused, DepthEstimate):
            self._refused = False
            return fused
        if not self._refused:
            logger.warning("depth without the prior: %s", fused.reason)
        self._refused = True
        return sparse


def fuse(
    sparse: DepthEstimate, relative: NDArray[np.float32], support: NDArray[np.float32], bins: VergenceBins
) -> DepthEstimate | Refusal:
    """Align a prior to an estimate and put both together.

    Args:
        sparse: the metric estimate, arrays [H, W].
        relative: float32 [H, W], relative vergence.
        support: float32 [H, W] in 0..1, events around each pixel as part of what makes it a point to align with.
        bins: the vergence axis.

    Returns:
        Both together, or why the prior cannot be aligned. Depth is unknown only where the aligned vergence is not
        positive; the confidence says how far to believe it.
    """
    points = (sparse.confidence >= POINT_CONFIDENCE) & (support >= 1.0)
    sigma_dpt = _right_sigma_dpt(sparse.confidence, bins)
    fit = align(relative[points], sparse.vergence_dpt[points], sigma_dpt[points], points_per_error=ERROR_AREA_PX)
    if isinstance(fit, Refusal):
        return fit
    prior_dpt, prior_sigma_dpt = _corrected(fit, sparse, sigma_dpt, relative, points)
    trusted = sparse.confidence * (UNSUPPORTED_CONFIDENCE + (1.0 - UNSUPPORTED_CONFIDENCE) * support)
    return _most_likely(sparse, sigma_dpt, trusted, prior_dpt, prior_sigma_dpt, fit.inliers, bins)


def _right_sigma_dpt(confidence: NDArray[np.float32], bins: VergenceBins) -> NDArray[np.float32]:
    least, doubt = RIGHT_SIGMA_BINS
    return np.float32(bins.width_dpt) * (np.float32(least) + np.float32(doubt) * (1 - confidence))


def _corrected(
    fit: Alignment,
    sparse: DepthEstimate,
    sigma_dpt: NDArray[np.float32],
    relative: NDArray[np.float32],
    points: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The aligned prior without its slow bends, and its standard deviation, both float32 [H, W] in dioptres."""
    aligned_dpt = fit.vergence_dpt(relative)
    own_variance = np.float32(fit.sigma_dpt**2)
    residual_dpt = np.where(points, sparse.vergence_dpt - aligned_dpt, np.float32(0))
    inliers = points & (residual_dpt**2 <= INLIER_SIGMAS**2 * (own_variance + sigma_dpt**2))
    weight = np.where(inliers, sparse.confidence, np.float32(0))
    radius_px = CORRECTION_RADIUS * relative.shape[1]
    correction_dpt = local_correction(residual_dpt, weight, radius_px, CORRECTION_WEIGHT)
    # What the correction leaves tells how good it is here; far from all points it does nothing.
    gained = (residual_dpt - correction_dpt) ** 2 - own_variance
    variance = own_variance + local_correction(gained, weight, radius_px, CORRECTION_WEIGHT)
    variance = np.maximum(variance, LEAST_VARIANCE * own_variance) + fit.extrapolation_variance(relative)
    return aligned_dpt + correction_dpt, np.sqrt(variance)


def _most_likely(
    sparse: DepthEstimate,
    sigma_dpt: NDArray[np.float32],
    trusted: NDArray[np.float32],
    prior_dpt: NDArray[np.float32],
    prior_sigma_dpt: NDArray[np.float32],
    prior_right: float,
    bins: VergenceBins,
) -> DepthEstimate:
    """Choose between both right, only the sparse estimate and only the prior, by their posterior probabilities."""
    known = np.isfinite(sparse.vergence_dpt)
    sparse_dpt = np.where(known, sparse.vergence_dpt, prior_dpt)
    sparse_variance, prior_variance = sigma_dpt**2, prior_sigma_dpt**2
    anywhere = 1.0 / (bins.max_dpt - bins.min_dpt)
    both_variance = sparse_variance + prior_variance
    agreement = np.exp(-0.5 * (sparse_dpt - prior_dpt) ** 2 / both_variance) / np.sqrt(2 * np.pi * both_variance)
    right = np.where(known, trusted, np.float32(0))
    both = right * prior_right * agreement
    only_sparse = right * (1 - prior_right) * anywhere
    only_prior = (1 - right) * prior_right * anywhere
    total = both + only_sparse + only_prior + (1 - right) * (1 - prior_right) * anywhere
    share = prior_variance / both_variance
    mean_dpt = share * sparse_dpt + (1 - share) * prior_dpt
    likeliest = np.argmax(np.stack([both, only_sparse, only_prior]), axis=0)
    vergence_dpt = np.choose(likeliest, (mean_dpt, sparse_dpt, prior_dpt)).astype(np.float32)
    variance = np.choose(likeliest, (share * sparse_variance, sparse_variance, prior_variance)).astype(np.float32)
    # right within a bin: by whichever hypothesis gives this answer, or one that agrees with it
    of_sparse = (both + only_sparse) / total
    of_prior = (both + only_prior) / total * _within(bins.width_dpt / prior_sigma_dpt)
    confidence = np.choose(likeliest, (np.maximum(of_sparse, of_prior), of_sparse, of_prior)).astype(np.float32)
    unknown = vergence_dpt <= 0.0
    vergence_dpt[unknown] = np.nan
    return DepthEstimate(
        vergence_dpt=vergence_dpt,
        depth_m=1.0 / vergence_dpt,
        confidence=np.where(unknown, np.float32(0), np.minimum(confidence, np.float32(1))),
        sigma_dpt=np.where(unknown, np.float32(np.nan), np.sqrt(variance)),
    )


def _within(sigmas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of a Gaussian within so many standard deviations, to 0.01: Polya's approximation (1945)."""
    return np.sqrt(1.0 - np.exp(np.float32(-2.0 / np.pi) * sigmas**2))
