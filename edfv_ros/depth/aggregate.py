"""Semi-global aggregation: neighbours agree on a depth unless the evidence says otherwise.

Hirschmueller, "Stereo processing by semiglobal matching and mutual information", PAMI 2008, on vergence labels.
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

SMALL_STEP_COST = 0.3
JUMP_COST = 1.0


@nb.njit(nogil=True, cache=True, fastmath=True)
def aggregate(score: NDArray[np.float32], small_step: float, jump: float, total: NDArray[np.float32]) -> None:
    """Mean of the cheapest path costs from eight directions, where a label costs its negative score.

    Args:
        score: float32 [H, W, labels].
        small_step: cost of a change by one label between neighbours.
        jump: cost of any larger change.
        total: float32 [H, W, labels], overwritten with the result.
    """
    height, width, labels = score.shape
    p1, p2 = np.float32(small_step), np.float32(jump)
    total[:] = 0.0
    for direction in range(8):
        dx = (1, -1, 0, 0, 1, -1, 1, -1)[direction]
        dy = (0, 0, 1, -1, 1, -1, -1, 1)[direction]
        above = np.zeros((width, labels), np.float32)
        row = np.zeros((width, labels), np.float32)
        above_least = np.zeros(width, np.float32)
        row_least = np.zeros(width, np.float32)
        for step_y in range(height):
            y = step_y if dy >= 0 else height - 1 - step_y
            for step_x in range(width):
                x = step_x if dx >= 0 else width - 1 - step_x
                from_x = x - dx
                inside = 0 <= from_x < width and 0 <= y - dy < height
                if not inside:
                    for c in range(labels):
                        row[x, c] = -score[y, x, c]
                else:
                    source = row[from_x] if dy == 0 else above[from_x]
                    least = row_least[from_x] if dy == 0 else above_least[from_x]
                    row[x, 0] = min(source[0] - least, source[1] - least + p1, p2) - score[y, x, 0]
                    last = labels - 1
                    row[x, last] = min(source[last] - least, source[last - 1] - least + p1, p2) - score[y, x, last]
                    for c in range(1, last):
                        step = min(source[c - 1], source[c + 1]) + p1
                        row[x, c] = min(min(source[c], step) - least, p2) - score[y, x, c]
                smallest = row[x, 0]
                for c in range(labels):
                    smallest = min(smallest, row[x, c])
                    total[y, x, c] += np.float32(0.125) * row[x, c]
                row_least[x] = smallest
            if dy != 0:
                above, row = row, above
                above_least, row_least = row_least, above_least
