"""How often pixels fire without a reason, told from the events alone."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

WINDOW_US = 5_000
"""Events nearer than this in time, and at most one pixel away, make an event explainable."""

_NEVER = -1
# columns of a pixel's state: one row is one cache line's half, and nine rows are touched per event
_COVERED_UNTIL, _PENDING, _COVERED, _ISOLATED = range(4)


class NoiseFloor:
    """Rate of isolated events, corrected for the chance that noise falls where it cannot be told from signal.

    An event is *isolated* where no other event lies within 1 px (the pixel itself and its eight neighbours) and
    WINDOW_US before or after it: what a background-activity filter removes (Delbruck, Frame-free dynamic digital
    vision, 2008; Guo and Delbruck, Low cost and latency event camera background activity denoising, TPAMI 2022), made
    symmetric in time so that the first event of an edge does not count as noise.

    Isolated events alone are too few, since noise near signal, or near other noise, is not isolated. An event that
    comes at random is isolated with the probability that the place and time where it comes is *quiet*: without any
    event within 1 px and WINDOW_US. So the rate is the number of isolated events over the quiet time, summed over the
    pixels; for Poisson noise this is exact at any rate, beside signal too (Slivnyak's theorem). Sparse signal
    (a faint edge that gives a pixel one event) counts as noise: the figure is an upper bound.

    Args:
        resolution: sensor width and height in pixels.
    """

    def __init__(self, resolution: tuple[int, int]) -> None:
        width, height = resolution
        self._shape = (height + 2, width + 2)  # a rim, so that no neighbour needs a check
        self._state = np.zeros((self._shape[0] * self._shape[1], 4), np.int64)
        self._state[:, _PENDING] = _NEVER
        self._first_us = self._last_us = _NEVER

    def add(self, events: NDArray[np.void]) -> None:
        """Take in EVENT_DTYPE [N], ascending in time, within the resolution."""
        if not len(events):
            return
        words = events.view(np.int64).reshape(-1, 2)
        if self._first_us == _NEVER:
            self._first_us = int(words[0, 0])
            self._state[:, _COVERED_UNTIL] = self._first_us - 1
        self._last_us = int(words[-1, 0])
        _observe(words, self._state, self._shape[1], WINDOW_US)

    def isolated(self) -> NDArray[np.int64]:
        """Isolated events so far, int64 [H, W]."""
        return self._inner(self._state[:, _ISOLATED] + (self._state[:, _PENDING] != _NEVER))

    def quiet_s(self) -> NDArray[np.float64]:
        """Time during which an event would have been isolated, between the first and the last event, [H, W]."""
        overhang_us = np.maximum(self._state[:, _COVERED_UNTIL] - self._last_us, 0)
        covered_us = self._inner(self._state[:, _COVERED] - overhang_us)
        return (self._last_us - self._first_us - covered_us) * np.float64(1e-6)

    def rate_hz(self, excluded: NDArray[np.bool_]) -> float:
        """Noise events per pixel and second, over all pixels but the excluded, bool [H, W]; NaN without quiet time."""
        quiet_s = float(self.quiet_s()[~excluded].sum())
        return int(self.isolated()[~excluded].sum()) / quiet_s if quiet_s > 0.0 else float("nan")

    def _inner(self, column: NDArray[np.int64]) -> NDArray[np.int64]:
        return column.reshape(self._shape)[1:-1, 1:-1]


@nb.njit(nogil=True, cache=True)
def _observe(words: NDArray[np.int64], state: NDArray[np.int64], stride: int, window_us: int) -> None:
    """Cover the neighbourhood of every event, and keep events that nothing explains pending until something does."""
    for i in range(len(words)):
        time_us = words[i, 0]
        x = words[i, 1] & 0xFFFF
        y = (words[i, 1] >> 16) & 0xFFFF
        own = (y + 1) * stride + x + 1
        alone = state[own, _COVERED_UNTIL] < time_us
        for row in range(own - stride, own + stride + 1, stride):
            for pixel in range(row - 1, row + 2):
                pending_us = state[pixel, _PENDING]
                if pending_us != _NEVER:
                    if pending_us < time_us - window_us:
                        state[pixel, _ISOLATED] += 1
                    state[pixel, _PENDING] = _NEVER
                covered_until_us = state[pixel, _COVERED_UNTIL]
                state[pixel, _COVERED] += time_us + window_us - max(covered_until_us, time_us - window_us)
                state[pixel, _COVERED_UNTIL] = time_us + window_us
        if alone:
            state[own, _PENDING] = time_us
