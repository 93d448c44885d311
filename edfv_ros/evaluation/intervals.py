"""Times between the events of a pixel, and the steps of the clock that stamps them."""

import math

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

_EXACT_BITS = 11
_EXACT = 1 << _EXACT_BITS  # intervals below this have a cell each
_HALF = _EXACT // 2
_CELLS = _EXACT + (63 - _EXACT_BITS) * _HALF


class IntervalHistogram:
    """Times between consecutive events of a pixel, of either polarity, over all pixels.

    Cells are a microsecond wide up to 2 ms and at most 0.1 % of their value beyond (as in HdrHistogram), so quantiles
    are that exact whatever the length of the recording.

    Args:
        resolution: sensor width and height in pixels.
    """

    def __init__(self, resolution: tuple[int, int]) -> None:
        self._width, height = resolution
        self._last_us = np.full(self._width * height, -1, np.int64)
        self._cells = np.zeros(_CELLS, np.int64)

    def add(self, events: NDArray[np.void]) -> None:
        """Take in EVENT_DTYPE [N], ascending in time, within the resolution."""
        _count_intervals(events.view(np.int64).reshape(-1, 2), self._last_us, self._cells, self._width)

    def quantiles_us(self, levels: ArrayLike) -> NDArray[np.float64]:
        """Intervals at the levels (0 to 1), microseconds; NaN where no pixel fired twice."""
        levels = np.asarray(levels, np.float64)
        total = int(self._cells.sum())
        if not total:
            return np.full(levels.shape, np.nan)
        ranks = np.maximum(np.ceil(levels * total), 1)
        return _middle_us(np.searchsorted(np.cumsum(self._cells), ranks))

    def shares(self, edges_us: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the intervals between consecutive edges [N + 1], float64 [N]; what lies outside joins the ends."""
        filled = np.flatnonzero(self._cells)
        inside = np.clip(_middle_us(filled), edges_us[0], np.nextafter(edges_us[-1], 0.0))
        counts, _ = np.histogram(inside, edges_us, weights=self._cells[filled])
        return counts / max(int(self._cells.sum()), 1)


class TimeStamps:
    """The step of the clock, and how many events share a time stamp.

    A camera that reads out rows or columns in turn, as the DVXplorer does, stamps many events alike.
    """

    def __init__(self) -> None:
        self._last_us = -1
        self._step_us = 0
        self._distinct = 0
        self._events = 0

    def add(self, events: NDArray[np.void]) -> None:
        """Take in EVENT_DTYPE [N], ascending in time."""
        if not len(events):
            return
        times_us = events.view(np.int64).reshape(-1, 2)[:, 0]
        self._step_us, distinct = _clock_step(times_us, self._last_us, self._step_us)
        self._last_us = int(times_us[-1])
        self._distinct += distinct
        self._events += len(events)

    @property
    def step_us(self) -> float:
        """Greatest common divisor of all steps between time stamps, microseconds; NaN where all are equal."""
        return float(self._step_us) if self._step_us else math.nan

    @property
    def events_each(self) -> float:
        """Mean number of events with the same time stamp; NaN without events."""
        return self._events / self._distinct if self._distinct else math.nan


def _middle_us(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Middle of the cells, microseconds, rounded down to what an interval can be."""
    cells = np.asarray(cells, np.int64)
    shift = np.maximum(cells // _HALF - 1, 0)
    start = (cells - shift * _HALF) << shift
    return (start + ((np.int64(1) << shift) - 1) // 2).astype(np.float64)


@nb.njit(nogil=True, cache=True)
def _count_intervals(
    words: NDArray[np.int64], last_us: NDArray[np.int64], cells: NDArray[np.int64], width: int
) -> None:
    for i in range(len(words)):
        time_us = words[i, 0]
        pixel = ((words[i, 1] >> 16) & 0xFFFF) * width + (words[i, 1] & 0xFFFF)
        if last_us[pixel] >= 0:
            interval_us = time_us - last_us[pixel]
            shift = 0
            while interval_us >> shift >= _EXACT:
                shift += 1
            cells[shift * _HALF + (interval_us >> shift)] += 1
        last_us[pixel] = time_us


@nb.njit(nogil=True, cache=True)
def _clock_step(times_us: NDArray[np.int64], last_us: int, step_us: int) -> tuple[int, int]:
    """Common divisor of the steps so far and of the new ones, and the number of new time stamps."""
    distinct = 0
    for time_us in times_us:
        if time_us == last_us:
            continue
        distinct += 1
        if last_us >= 0 and step_us != 1:
            a, b = step_us, time_us - last_us
            while b:
                a, b = b, a % b
            step_us = a
        last_us = time_us
    return step_us, distinct
