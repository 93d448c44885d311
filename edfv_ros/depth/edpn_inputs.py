"""What the network is given, the same at run time and in training: arrays that no rig's sizes or units are left in."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.aggregate import JUMP_COST, SMALL_STEP_COST, aggregate
from edfv_ros.depth.likelihood import CELL_PX
from edfv_ros.depth.workers import Workers, shared_workers
from edfv_ros.volume.same import neighbourhood_events, robust_unit, same_mask

BINS = 32
"""Vergence bins of the volume that the network sees, whatever the rig's."""

CANDIDATES = 2 * BINS + 1
"""Candidate vergences: the edges and the centres of the bins, from the far end of the sweep to the near one."""

SCORED = BINS + 1
"""Candidates that the likelihood is worked out for, the edges of the bins; it is smooth enough for the centres to be
interpolated: by a cubic, the median error over 34 sweeps grows from 0.259 to 0.262 bin."""

SCORE_FLOOR = -4.0
"""Scores further below the best candidate's than this say no more."""

NORMALISING_SIGMA_PX = 8.0
"""The volume is divided by its own strength in this neighbourhood, which takes contrast and threshold out of it."""

DOUBTED_EVENTS = 8.0
"""Events a pixel at which a volume, whatever it says, counts half: normalised, a handful would look like many."""

DENSITY_UNIT = 4.0
"""A density of e^4 - 1 = 54 events a pixel is 1 to the network."""

_WEAKEST = 0.02  # share of the picture's mean square that counts as no signal
_LARGEST = 4.0


@dataclass(frozen=True, slots=True)
class Guide:
    """Places of the guide channels.

    ``DENSITY`` is the logarithm of the number of events, ``SAME`` the mask of pixels with texture and events, ``IMAGE``
    the frame and ``PRIOR`` the relative vergence, both from -0.5 to 0.5 and 0 where there is none, as the flags
    ``HAS_IMAGE`` and ``HAS_PRIOR`` tell.
    """

    DENSITY: ClassVar[int] = 0
    SAME: ClassVar[int] = 1
    IMAGE: ClassVar[int] = 2
    HAS_IMAGE: ClassVar[int] = 3
    PRIOR: ClassVar[int] = 4
    HAS_PRIOR: ClassVar[int] = 5
    COUNT: ClassVar[int] = 6


CONDITIONS = 3
"""How many: log2 of the blur slope in pixels per bin of 32, whether there is an up-sweep, and whether a down-sweep."""


def score_input(score: NDArray[np.float32], workers: Workers | None = None) -> NDArray[np.float32]:
    """The evidence after neighbours have been made to agree, for the network.

    Semi-global aggregation carries depth over any distance, which a network of some ten convolutions does not: into
    plain surfaces, of which only the rims tell anything.

    Args:
        score: float32 [SCORED, rows, columns], see :class:`~edfv_ros.depth.evidence.Evidence`.
        workers: threads to do it with.

    Returns:
        float32 [CANDIDATES, rows, columns], by how much a candidate's aggregated score is below that of the best.
    """
    workers = workers or shared_workers()
    out = np.empty((CANDIDATES, *score.shape[1:]), np.float32)
    workers.share(lambda first, last: _with_centres(score, first, last, out), score.shape[1])
    cost = np.empty((2, *out.shape), np.float32)
    aggregate(out, SMALL_STEP_COST, JUMP_COST, cost, workers)
    floor = np.float32(SCORE_FLOOR)
    workers.share(lambda first, last: _below_best(cost, floor, first, last, out), score.shape[1])
    return out


def guide_input(
    event_count: NDArray[np.uint16],
    image: NDArray[np.uint8] | None,
    prior: NDArray[np.float32] | None,
    rows: int,
    columns: int,
) -> NDArray[np.float32]:
    """What may steer the filling in.

    Args:
        event_count: uint16 [H, W], events of all sweeps that the evidence is of.
        image: uint8 [H, W], a frame in any focus, or None.
        prior: float32 [H, W], relative vergence from 0 (far) to 1 (near), or None.
        rows, columns: cells; what lies beyond the image is 0.

    Returns:
        float32 [Guide.COUNT, rows * CELL_PX, columns * CELL_PX].
    """
    height, width = event_count.shape
    out = np.zeros((Guide.COUNT, rows * CELL_PX, columns * CELL_PX), np.float32)
    inside = out[:, :height, :width]
    inside[Guide.DENSITY] = np.log1p(neighbourhood_events(event_count)) / np.float32(DENSITY_UNIT)
    inside[Guide.SAME] = same_mask(event_count, image)
    if image is not None:
        inside[Guide.IMAGE] = robust_unit(np.sqrt(image.astype(np.float32))) - np.float32(0.5)
        inside[Guide.HAS_IMAGE] = 1.0
    if prior is not None:
        inside[Guide.PRIOR] = np.clip(prior, 0.0, 1.0) - np.float32(0.5)
        inside[Guide.HAS_PRIOR] = 1.0
    return out


def volume_input(change: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The intensity change of the sweep in units of its own strength.

    Args:
        change: float32 [BINS, CELL_PX * rows, CELL_PX * columns], see :class:`~edfv_ros.depth.evidence.Evidence`.
        height, width: of the image; what lies beyond it is 0.

    Returns:
        float32 like ``change``.
    """
    out = np.zeros_like(change)
    _normalise(change, _normalising_gain(change, height, width, shared_workers()), np.float32(_LARGEST), out)
    return out


def cell_volume(
    change: NDArray[np.float32],
    guide: NDArray[np.float32],
    height: int,
    width: int,
    workers: Workers | None = None,
) -> NDArray[np.float32]:
    """What the network sees of :func:`volume_input`: means of cells, as far as there are events to believe them.

    A volume's weight goes from 0 to 1 with the number of events, as Wiener's filter would for a constant noise.

    Args:
        change, height, width: as of :func:`volume_input`.
        guide: float32 [Guide.COUNT, rows * CELL_PX, columns * CELL_PX], of :func:`guide_input`.
        workers: threads to do it with.

    Returns:
        float32 [BINS, rows, columns].
    """
    workers = workers or shared_workers()
    out = np.empty((len(change), guide.shape[1] // CELL_PX, guide.shape[2] // CELL_PX), np.float32)
    gain, weight = _normalising_gain(change, height, width, workers), _weight_of_events(guide)
    largest = np.float32(_LARGEST)
    workers.share(lambda first, last: _mean_of_cells(change, gain, weight, largest, first, last, out), out.shape[1])
    return out


def pooled_volume(volume: NDArray[np.float32], guide: NDArray[np.float32]) -> NDArray[np.float32]:
    """:func:`cell_volume` of what :func:`volume_input` has made, as training keeps it for several networks.

    Args:
        volume: float32 [BINS, rows * CELL_PX, columns * CELL_PX].
        guide: as of :func:`cell_volume`.

    Returns:
        float32 [BINS, rows, columns].
    """
    bins, height, width = volume.shape
    cells = (volume * _weight_of_events(guide)).reshape(bins, height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX)
    pooled: NDArray[np.float32] = cells.mean((2, 4))
    return pooled


def conditions_input(slope_px_per_bin: float, *, up: bool, down: bool) -> NDArray[np.float32]:
    """The conditions, float32 [CONDITIONS].

    Args:
        slope_px_per_bin: growth of the blur's diameter over one of 32 bins.
        up, down: which sweeps the evidence is of.
    """
    return np.array([np.log2(slope_px_per_bin), up, down], np.float32)


def _weight_of_events(guide: NDArray[np.float32]) -> NDArray[np.float32]:
    events = np.expm1(np.float32(DENSITY_UNIT) * guide[Guide.DENSITY])
    weight: NDArray[np.float32] = events / (events + np.float32(DOUBTED_EVENTS))
    return weight


def _normalising_gain(change: NDArray[np.float32], height: int, width: int, workers: Workers) -> NDArray[np.float32]:
    """One over the strength of each pixel's neighbourhood, 0 beyond the image, float32 like ``change`` without bins."""
    energy = np.empty((height, width), np.float32)
    workers.share(lambda first, last: _mean_square(change, first, last, energy), height)
    weakest = _WEAKEST * float(energy.mean()) + 1e-12
    energy = cv2.GaussianBlur(energy, (0, 0), NORMALISING_SIGMA_PX) + np.float32(weakest)
    gain = np.zeros(change.shape[1:], np.float32)
    gain[:height, :width] = 1.0 / np.sqrt(energy)
    return gain


@nb.njit(nogil=True, cache=True, fastmath=True)
def _with_centres(score: NDArray[np.float32], first_row: int, last_row: int, out: NDArray[np.float32]) -> None:
    """Edges of bins, and their centres by the cubic through the two edges on either side."""
    scored, _, columns = score.shape
    near, far = np.float32(9.0 / 16.0), np.float32(1.0 / 16.0)
    for edge in range(scored):
        for y in range(first_row, last_row):
            out[2 * edge, y] = score[edge, y]
    for edge in range(scored - 1):
        for y in range(first_row, last_row):
            low, high, between = score[edge, y], score[edge + 1, y], out[2 * edge + 1, y]
            lower = score[max(edge - 1, 0), y]
            higher = score[min(edge + 2, scored - 1), y]
            # Beyond the ends it goes on as straight as it came.
            first, last = edge == 0, edge == scored - 2
            for x in range(columns):
                before = np.float32(2.0) * low[x] - high[x] if first else lower[x]
                after = np.float32(2.0) * high[x] - low[x] if last else higher[x]
                between[x] = near * (low[x] + high[x]) - far * (before + after)


@nb.njit(nogil=True, cache=True, fastmath=True)
def _below_best(
    cost: NDArray[np.float32], floor: np.float32, first_row: int, last_row: int, out: NDArray[np.float32]
) -> None:
    """Costs are the sums of two halves, [2, CANDIDATES, rows, columns]."""
    _, candidates, _, columns = cost.shape
    least = np.empty(columns, np.float32)
    for y in range(first_row, last_row):
        least[:] = np.float32(1e30)
        for c in range(candidates):
            for x in range(columns):
                out[c, y, x] = cost[0, c, y, x] + cost[1, c, y, x]
                least[x] = min(least[x], out[c, y, x])
        for c in range(candidates):
            for x in range(columns):
                out[c, y, x] = max(least[x] - out[c, y, x], floor)


@nb.njit(nogil=True, cache=True, fastmath=True)
def _mean_square(change: NDArray[np.float32], first_row: int, last_row: int, out: NDArray[np.float32]) -> None:
    bins, width = change.shape[0], out.shape[1]
    share = np.float32(1.0 / bins)
    for y in range(first_row, last_row):
        for x in range(width):
            out[y, x] = np.float32(0.0)
        for b in range(bins):
            for x in range(width):
                out[y, x] += share * change[b, y, x] * change[b, y, x]


@nb.njit(nogil=True, cache=True, fastmath=True)
def _normalise(
    change: NDArray[np.float32], gain: NDArray[np.float32], largest: np.float32, out: NDArray[np.float32]
) -> None:
    bins, height, width = change.shape
    for b in range(bins):
        for y in range(height):
            for x in range(width):
                out[b, y, x] = min(max(gain[y, x] * change[b, y, x], -largest), largest)


@nb.njit(nogil=True, cache=True, fastmath=True)
def _mean_of_cells(
    change: NDArray[np.float32],
    gain: NDArray[np.float32],
    weight: NDArray[np.float32],
    largest: np.float32,
    first_row: int,
    last_row: int,
    out: NDArray[np.float32],
) -> None:
    bins, _, columns = out.shape
    share = np.float32(1.0 / (CELL_PX * CELL_PX))
    line = np.empty(CELL_PX * columns, np.float32)
    for row in range(first_row, last_row):
        for b in range(bins):
            line[:] = np.float32(0.0)
            for y in range(CELL_PX * row, CELL_PX * (row + 1)):
                for x in range(CELL_PX * columns):
                    line[x] += weight[y, x] * min(max(gain[y, x] * change[b, y, x], -largest), largest)
            for column in range(columns):
                out[b, row, column] = share * (line[CELL_PX * column] + line[CELL_PX * column + 1])
