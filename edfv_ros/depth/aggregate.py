"""Semi-global aggregation: neighbours agree on a depth unless the evidence says otherwise.

Hirschmueller, "Stereo processing by semiglobal matching and mutual information", PAMI 2008, on vergence labels.
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.workers import Workers

SMALL_STEP_COST = 0.3
JUMP_COST = 1.0

_LANES = 16  # rows that go through the labels side by side, in vector instructions
_NO_LABEL = np.float32(1e30)  # cost of labels beyond the first and the last
_SHARE = np.float32(0.125)  # of a direction


def aggregate(
    score: NDArray[np.float32], small_step: float, jump: float, total: NDArray[np.float32], workers: Workers
) -> None:
    """Mean of the cheapest path costs from eight directions, where a label costs its negative score.

    Args:
        score: float32 [labels, H, W].
        small_step: cost of a change by one label between neighbours.
        jump: cost of any larger change.
        total: float32 [2, labels, H, W]; the result is the sum of both halves.
        workers: threads to do it with.
    """
    costs = np.float32(small_step), np.float32(jump)
    workers.share(lambda first, last: _along_rows(score, *costs, first, last, total[0]), score.shape[1], _LANES)
    workers.do(lambda down: _along_columns(score, *costs, down, total[0 if down else 1]), (True, False))


@nb.njit(nogil=True, cache=True, fastmath=True)
def _along_rows(
    score: NDArray[np.float32],
    small_step: np.float32,
    jump: np.float32,
    first_row: int,
    last_row: int,
    total: NDArray[np.float32],
) -> None:
    """Paths from the left and from the right; their costs are written to ``total``."""
    labels, _, width = score.shape
    turned = np.zeros((width, labels, _LANES), np.float32)
    summed = np.empty((width, labels, _LANES), np.float32)
    before = np.empty((labels + 2, _LANES), np.float32)
    here = np.empty((labels + 2, _LANES), np.float32)
    before_least = np.empty(_LANES, np.float32)
    least = np.empty(_LANES, np.float32)
    for block in range(first_row, last_row, _LANES):
        rows = min(_LANES, last_row - block)
        for c in range(labels):
            for lane in range(rows):
                for x in range(width):
                    turned[x, c, lane] = score[c, block + lane, x]
        for direction in range(2):
            before[:] = np.float32(0.0)
            before_least[:] = np.float32(0.0)
            for outer in (0, labels + 1):
                before[outer], here[outer] = _NO_LABEL, _NO_LABEL
            for step in range(width):
                x = step if direction == 0 else width - 1 - step
                least[:] = _NO_LABEL
                for c in range(labels):
                    for lane in range(_LANES):
                        one_off = min(before[c, lane], before[c + 2, lane]) + small_step
                        best = min(min(before[c + 1, lane], one_off) - before_least[lane], jump)
                        cost = best - turned[x, c, lane]
                        here[c + 1, lane] = cost
                        least[lane] = min(least[lane], cost)
                        if direction == 0:
                            summed[x, c, lane] = cost
                        else:
                            summed[x, c, lane] += cost
                before, here = here, before
                before_least, least = least, before_least
        for c in range(labels):
            for lane in range(rows):
                for x in range(width):
                    total[c, block + lane, x] = _SHARE * summed[x, c, lane]


@nb.njit(nogil=True, cache=True, fastmath=True)
def _along_columns(
    score: NDArray[np.float32], small_step: np.float32, jump: np.float32, down: bool, total: NDArray[np.float32]
) -> None:
    """Paths straight and slanted, from above or from below.

    Their costs are added to ``total`` if they come from above, and written to it if from below.
    """
    labels, height, width = score.shape
    before = np.zeros((3, labels + 2, width + 2), np.float32)  # with a column on either side from which paths begin
    here = np.zeros((3, labels + 2, width + 2), np.float32)
    for outer in (0, labels + 1):
        before[:, outer], here[:, outer] = _NO_LABEL, _NO_LABEL
    before_least = np.zeros((3, width + 2), np.float32)
    least = np.zeros((3, width + 2), np.float32)
    for step in range(height):
        y = step if down else height - 1 - step
        least[:, 1 : width + 1] = _NO_LABEL
        for c in range(labels):
            for slant in range(3):
                for x in range(width):
                    one_off = min(before[slant, c, x + slant], before[slant, c + 2, x + slant]) + small_step
                    best = min(min(before[slant, c + 1, x + slant], one_off) - before_least[slant, x + slant], jump)
                    cost = best - score[c, y, x]
                    here[slant, c + 1, x + 1] = cost
                    least[slant, x + 1] = min(least[slant, x + 1], cost)
                    if slant > 0 or down:
                        total[c, y, x] += _SHARE * cost
                    else:
                        total[c, y, x] = _SHARE * cost
        before, here = here, before
        before_least, least = least, before_least
