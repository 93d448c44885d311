"""Depth that flickers less: each sweep mixed with what the same pixels showed in the sweeps before."""

from typing import Final

import numba as nb
import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.estimator import DepthEstimate
from edfv_ros.lens.sweep import FocusSweep

AGREEMENT_SIGMAS: Final = 1.0
"""How far, in standard deviations of their difference, depth may be from what was there before and still be mixed with
it. Most of an estimator's error is the same in every sweep of a still scene: 99 of 100 differences of a simulated one
were below 0.5, so what is above 1 has moved."""

LONGEST_GAP_SWEEPS: Final = 4.0
"""After a longer pause nothing of before is mixed in."""

MAX_STRENGTH: Final = 0.95
"""Of the filter: with 1 a pixel would stay as it was for ever."""


class TemporalFilter:
    """Per pixel, an exponential filter of vergence in which each sweep also counts by its certainty.

    Where the new depth is unknown, or disagrees with the old one by more than AGREEMENT_SIGMAS, the pixel starts anew,
    so that nothing of what has gone lingers. Vergence is what is mixed because its error is even over the range.
    """

    def __init__(self) -> None:
        self._last_us: int | None = None
        self._vergence_dpt = self._sigma_dpt = np.empty((0, 0), np.float32)
        nothing = np.full((1, 1), np.nan, np.float32)
        _mix(nothing, nothing, nothing.copy(), nothing.copy(), np.float32(0.0))  # compiled before the first sweep

    def __call__(self, estimate: DepthEstimate, sweep: FocusSweep, strength: float) -> DepthEstimate:
        """Filter the depth of one sweep; the estimate is left as it is.

        Args:
            estimate: the newest one.
            sweep: when it was.
            strength: 0 (off) to MAX_STRENGTH, part of the old depth in the mixture where both are equally certain.

        Returns:
            With another vergence, depth and sigma; confidence is that of the newest sweep. Sigma is mixed as the
            vergence is and gets no smaller: errors that repeat from sweep to sweep do not average out.
        """
        if not strength:
            self._last_us = None
            return estimate
        if not self._continues(sweep) or self._vergence_dpt.shape != estimate.vergence_dpt.shape:
            self._vergence_dpt = np.full_like(estimate.vergence_dpt, np.nan)
            self._sigma_dpt = np.full_like(estimate.sigma_dpt, np.nan)
        self._last_us = sweep.end_us
        _mix(estimate.vergence_dpt, estimate.sigma_dpt, self._vergence_dpt, self._sigma_dpt, np.float32(strength))
        vergence_dpt, sigma_dpt = self._vergence_dpt.copy(), self._sigma_dpt.copy()
        return DepthEstimate(vergence_dpt, 1.0 / vergence_dpt, estimate.confidence, sigma_dpt)

    def _continues(self, sweep: FocusSweep) -> bool:
        """Whether a sweep follows the last one, and not the end of a recording that is played again or a long pause."""
        if self._last_us is None:
            return False
        duration_us = sweep.end_us - sweep.start_us
        return self._last_us < sweep.end_us and sweep.start_us - self._last_us <= LONGEST_GAP_SWEEPS * duration_us


@nb.njit(nogil=True, cache=True)
def _mix(
    vergence_dpt: NDArray[np.float32],
    sigma_dpt: NDArray[np.float32],
    kept_dpt: NDArray[np.float32],
    kept_sigma_dpt: NDArray[np.float32],
    strength: np.float32,
) -> None:
    """Mix new vergence, float32 [H, W], NaN where unknown, into what is kept, in place."""
    rows, columns = vergence_dpt.shape
    for row in range(rows):
        for column in range(columns):
            new, sigma = vergence_dpt[row, column], sigma_dpt[row, column]
            old, old_sigma = kept_dpt[row, column], kept_sigma_dpt[row, column]
            variance, old_variance = sigma * sigma, old_sigma * old_sigma
            apart = new - old
            # false where either is unknown
            agrees = apart * apart <= np.float32(AGREEMENT_SIGMAS**2) * (variance + old_variance)
            if agrees and variance + old_variance > 0:
                old_weight = strength * variance  # both weights times both variances, so that neither divides by 0
                new_weight = (np.float32(1.0) - strength) * old_variance
                part = old_weight / (old_weight + new_weight)
                new -= part * apart
                sigma += part * (old_sigma - sigma)
            kept_dpt[row, column] = new
            kept_sigma_dpt[row, column] = sigma
