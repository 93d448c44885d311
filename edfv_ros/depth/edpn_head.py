"""The network's last steps, from what its convolutions say to a position and a scale for each pixel, fused for CPUs.

A runtime takes a pass over memory for each sum, product and exponential of 65 candidates in each cell, and longer for
those than for all convolutions. Here a row of cells stays in the cache from its logits to its position. The same in
torch, for training and for GPUs, is :meth:`edfv_ros.training.edpn.network.Edpn.head`.
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES
from edfv_ros.depth.likelihood import CELL_PX
from edfv_ros.depth.vector_math import exp_row
from edfv_ros.depth.workers import Workers

READOUT = (2, CANDIDATES, 9 * CELL_PX**2, CELL_PX**2)
"""Channels of a readout: logarithms of the gains of the evidence and of the coarser logits; correction of the logits;
logits of the shares that the 3x3 cells around have in each pixel of a cell; shift of each pixel."""

WINDOW = 3
"""Candidates on either side of the median that the expectation is taken over: a bimodal distribution has no surface at
its mean. Where the network does not know, its median errs less than its most probable candidate, and by the same
choice in vergence, in depth and in the logarithm of either."""

LARGEST_SHIFT_BINS = 1.0
"""What the expectation may be off: where a doubtful surface lies near an end of the sweep, half of its distribution is
missing."""

FIRST_GAIN = 6.0
"""Log likelihood per bin to log probability, before training."""

LOG_GAINS = (-4.0, 3.0)
"""Least and largest logarithm of a gain."""

LOG_SCALES = (-4.0, 4.0)
"""Least and largest logarithm of the scale of an error in bins."""

STEP_BINS = BINS / (CANDIDATES - 1)
FIRST_BINS = -0.5
LAST_BINS = BINS - 0.5


class Head:
    """The last steps, on several threads.

    Args:
        mass_gain: float32 [CELL_PX ** 2], how much of the logarithm of a cell's mass about its median the logarithm of
            the scale of each of its pixels gets.
        workers: threads to do it with.
    """

    def __init__(self, mass_gain: NDArray[np.float32], workers: Workers) -> None:
        self._mass_gain = mass_gain
        self._workers = workers

    def __call__(
        self,
        score: NDArray[np.float32],
        coarse: NDArray[np.float32],
        readout: NDArray[np.float32],
        doubt: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Finish what the convolutions began.

        Args:
            score: float32 [CANDIDATES, rows, columns], see :func:`~edfv_ros.depth.edpn_inputs.score_input`.
            coarse: float32 [CANDIDATES, rows / 2, columns / 2], rounded up; logits of the next coarser scale.
            readout: float32 [sum(READOUT), rows, columns].
            doubt: float32 [CELL_PX ** 2, rows, columns], logarithms of scales in bins, but for the mass's part.

        Returns:
            Position in bins and scale of its Laplace distributed error in bins, both float32
            [CELL_PX * rows, CELL_PX * columns].
        """
        _, rows, columns = score.shape
        middle = np.empty((rows, columns), np.float32)
        log_mass = np.empty((rows, columns), np.float32)
        position = np.empty((CELL_PX * rows, CELL_PX * columns), np.float32)
        scale = np.empty_like(position)
        gains, correction, detail, shift = np.split(readout, np.cumsum(READOUT)[:-1])
        self._workers.share(
            lambda first, last: _find_middle(score, coarse, gains, correction, first, last, middle, log_mass), rows
        )
        self._workers.share(
            lambda first, last: _sharpen(
                middle, log_mass, detail, shift, doubt, self._mass_gain, first, last, position, scale
            ),
            rows,
        )
        return position, scale


@nb.njit(nogil=True, cache=True, fastmath=True)
def _doubled_row(
    coarse: NDArray[np.float32], row: int, other_row: int, line: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """A row of an image twice as large, linearly interpolated, the outer cells continued."""
    near, far = np.float32(0.75), np.float32(0.25)
    columns = coarse.shape[1]
    for k in range(columns):
        line[k + 1] = near * coarse[row, k] + far * coarse[other_row, k]
    line[0], line[columns + 1] = line[1], line[columns]
    for k in range(columns):
        out[2 * k] = near * line[k + 1] + far * line[k]
        out[2 * k + 1] = near * line[k + 1] + far * line[k + 2]


@nb.njit(nogil=True, cache=True, fastmath=True)
def _find_middle(
    score: NDArray[np.float32],
    coarse: NDArray[np.float32],
    gains: NDArray[np.float32],
    correction: NDArray[np.float32],
    first_row: int,
    last_row: int,
    middle: NDArray[np.float32],
    log_mass: NDArray[np.float32],
) -> None:
    """Expectation about the median candidate, in bins, and the log probability of being there."""
    candidates, _, columns = score.shape
    _, coarse_rows, coarse_columns = coarse.shape
    share = np.empty((candidates, columns), np.float32)
    below = np.empty((candidates, columns), np.float32)
    line = np.empty(coarse_columns + 2, np.float32)
    doubled = np.empty(2 * coarse_columns, np.float32)
    gain = np.empty((2, columns), np.float32)
    largest = np.empty(columns, np.float32)
    median = np.empty(columns, np.int32)
    bits = np.empty(columns, np.int32)
    least_gain, most_gain = np.float32(LOG_GAINS[0]), np.float32(LOG_GAINS[1])
    for y in range(first_row, last_row):
        for which in range(2):
            for x in range(columns):
                gain[which, x] = min(max(gains[which, y, x], least_gain), most_gain)
            exp_row(gain[which], bits, gain[which])
        for x in range(columns):
            gain[0, x] *= np.float32(FIRST_GAIN)
        largest[:] = np.float32(-1e30)
        other_row = min(max(y // 2 + 2 * (y % 2) - 1, 0), coarse_rows - 1)
        for c in range(candidates):
            _doubled_row(coarse[c], y // 2, other_row, line, doubled)
            logits = share[c]
            for x in range(columns):
                logits[x] = correction[c, y, x] + gain[0, x] * score[c, y, x] + gain[1, x] * doubled[x]
                largest[x] = max(largest[x], logits[x])
        for c in range(candidates):
            for x in range(columns):
                share[c, x] = max(share[c, x] - largest[x], np.float32(-80.0))
            exp_row(share[c], bits, share[c])
            if c == 0:
                below[0] = share[0]
            else:
                for x in range(columns):
                    below[c, x] = below[c - 1, x] + share[c, x]
        everything = below[candidates - 1]
        median[:] = 0
        for c in range(candidates):
            for x in range(columns):
                median[x] += below[c, x] < np.float32(0.5) * everything[x]
        for x in range(columns):
            total, moment = np.float32(0.0), np.float32(0.0)
            for c in range(max(median[x] - WINDOW, 0), min(median[x] + WINDOW + 1, candidates)):
                total += share[c, x]
                moment += share[c, x] * np.float32(c - median[x])
            place = np.float32(median[x]) + moment / total
            middle[y, x] = np.float32(FIRST_BINS) + np.float32(STEP_BINS) * place
            log_mass[y, x] = np.log(total / everything[x])


@nb.njit(nogil=True, cache=True, fastmath=True)
def _sharpen(
    middle: NDArray[np.float32],
    log_mass: NDArray[np.float32],
    detail: NDArray[np.float32],
    shift: NDArray[np.float32],
    doubt: NDArray[np.float32],
    mass_gain: NDArray[np.float32],
    first_row: int,
    last_row: int,
    position: NDArray[np.float32],
    scale: NDArray[np.float32],
) -> None:
    """Pixels from cells: each is a convex combination of the 3x3 cells around its own, shifted.

    Teed and Deng, "RAFT", ECCV 2020, section 3.2.
    """
    rows, columns = middle.shape
    around = np.empty((3, columns + 2), np.float32)
    weight = np.empty(columns, np.float32)
    largest = np.empty(columns, np.float32)
    total = np.empty(columns, np.float32)
    moment = np.empty(columns, np.float32)
    value = np.empty(columns, np.float32)
    bits = np.empty(columns, np.int32)
    pixels = CELL_PX * CELL_PX
    least_scale, most_scale = np.float32(LOG_SCALES[0]), np.float32(LOG_SCALES[1])
    for y in range(first_row, last_row):
        for dy in range(3):
            row = middle[min(max(y + dy - 1, 0), rows - 1)]
            around[dy, 1 : columns + 1] = row
            around[dy, 0], around[dy, columns + 1] = row[0], row[columns - 1]
        for pixel in range(pixels):
            for x in range(columns):
                largest[x] = detail[pixel, y, x]
            for n in range(1, 9):
                for x in range(columns):
                    largest[x] = max(largest[x], detail[n * pixels + pixel, y, x])
            total[:] = np.float32(0.0)
            moment[:] = np.float32(0.0)
            for n in range(9):
                for x in range(columns):
                    weight[x] = max(detail[n * pixels + pixel, y, x] - largest[x], np.float32(-80.0))
                exp_row(weight, bits, weight)
                for x in range(columns):
                    total[x] += weight[x]
                    moment[x] += weight[x] * around[n // 3, x + n % 3]
            for x in range(columns):
                value[x] = min(max(np.float32(2.0) * shift[pixel, y, x], np.float32(-40.0)), np.float32(40.0))
            exp_row(value, bits, value)
            out = position[CELL_PX * y + pixel // CELL_PX]
            for x in range(columns):
                moved = moment[x] / total[x] + np.float32(LARGEST_SHIFT_BINS) * (
                    np.float32(1.0) - np.float32(2.0) / (value[x] + np.float32(1.0))  # the hyperbolic tangent
                )
                out[CELL_PX * x + pixel % CELL_PX] = min(max(moved, np.float32(FIRST_BINS)), np.float32(LAST_BINS))
            for x in range(columns):
                said = doubt[pixel, y, x] + mass_gain[pixel] * log_mass[y, x]
                value[x] = min(max(said, least_scale), most_scale)
            exp_row(value, bits, value)
            out = scale[CELL_PX * y + pixel // CELL_PX]
            for x in range(columns):
                out[CELL_PX * x + pixel % CELL_PX] = value[x]
