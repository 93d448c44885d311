"""Turning points of a sampled focus motion, and the monotone sweeps between them."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.optics import VergenceBins

MIN_COVERAGE = 0.8
"""Part of the bins' range that a monotone run must cross to be a sweep."""

FLY_BACK_RATIO = 1 / 3
"""A run that takes less than this part of a neighbour's time is a sawtooth flying back, not a sweep."""

JUMP_US = 1.0
"""A run no longer than this is a jump, whatever its neighbours: lens.csv has one where the focus is not known."""

DWELL_BINS = 0.1
"""Motion at a turning point that counts as standing still, in bins."""

DWELL_RATIO = 0.05
"""Standing still at a turning point for more than this part of the run is cut off."""


@dataclass(frozen=True, slots=True)
class SweepSearch:
    """What a stretch of focus motion holds.

    Attributes:
        sweeps: complete sweeps in time order.
        partial: runs between turning points that cross too little of the bins' range.
        fly_backs: runs left out for their haste.
        open_from: row at which the last, perhaps unfinished run begins.
    """

    sweeps: tuple[FocusSweep, ...]
    partial: int
    fly_backs: int
    open_from: int


def find_sweeps(
    timestamps_us: NDArray[np.float64], vergence_dpt: NDArray[np.float64], bins: VergenceBins, *, complete: bool
) -> SweepSearch:
    """Find the sweeps in rows of strictly ascending time.

    A reversal smaller than about a bin is noise and is smoothed away; a larger one is a turning point.

    Args:
        timestamps_us: float64 [N], strictly ascending.
        vergence_dpt: float64 [N].
        bins: the range a sweep must cross.
        complete: whether the last row ends the last run; otherwise that run is left for later.
    """
    pivots = _turning_points(vergence_dpt, _hysteresis_dpt(bins))
    runs = [_trim_dwell(timestamps_us, vergence_dpt, a, b, bins) for a, b in pairwise(pivots)]
    closed = runs if complete else runs[:-1]
    covers = [_coverage(vergence_dpt[first], vergence_dpt[last], bins) >= MIN_COVERAGE for first, last in closed]
    durations = [timestamps_us[last] - timestamps_us[first] for first, last in closed]
    sweeps, fly_backs = [], 0
    for index, (first, last) in enumerate(closed):
        if not covers[index]:
            continue
        neighbours = [durations[i] for i in (index - 1, index + 1) if 0 <= i < len(closed) and covers[i]]
        if durations[index] <= max(JUMP_US, FLY_BACK_RATIO * max(neighbours, default=0.0)):
            fly_backs += 1
            continue
        rows = slice(first, last + 1)
        sweeps.append(_strictly_monotone(timestamps_us[rows], vergence_dpt[rows], bins))
    return SweepSearch(tuple(sweeps), covers.count(False), fly_backs, pivots[-2] if len(pivots) > 1 else 0)


def _hysteresis_dpt(bins: VergenceBins) -> float:
    """Reversal that makes a turn: a bin, within 2 to 5 % of the range so that few or many bins stay sensible."""
    range_dpt = bins.max_dpt - bins.min_dpt
    return float(np.clip(bins.width_dpt, 0.02 * range_dpt, 0.05 * range_dpt))


def _turning_points(vergence_dpt: NDArray[np.float64], hysteresis_dpt: float) -> list[int]:
    """Rows of the extremes, the beginning of the first run and the end of the last one included."""
    values = vergence_dpt.tolist()
    pivots: list[int] = []
    low = high = 0
    rising: bool | None = None
    for row, value in enumerate(values):
        if value > values[high]:
            high = row
        if value < values[low]:
            low = row
        if rising is not False and values[high] - value >= hysteresis_dpt:
            pivots.append(high)
            rising, low = False, row
        elif rising is not True and value - values[low] >= hysteresis_dpt:
            pivots.append(low)
            rising, high = True, row
    if rising is not None:
        pivots.append(high if rising else low)
    return pivots


def _trim_dwell(
    timestamps_us: NDArray[np.float64], vergence_dpt: NDArray[np.float64], first: int, last: int, bins: VergenceBins
) -> tuple[int, int]:
    """Move the ends of a run inwards past the time during which the focus stands at the turning points."""
    values = vergence_dpt[first : last + 1]
    first, last = first + _standing(values, 0.0), last - _standing(values[::-1], 0.0)
    values = vergence_dpt[first : last + 1]
    tolerance_dpt = DWELL_BINS * bins.width_dpt
    longest_us = DWELL_RATIO * (timestamps_us[last] - timestamps_us[first])
    begin, end = first + _standing(values, tolerance_dpt), last - _standing(values[::-1], tolerance_dpt)
    return (
        begin if timestamps_us[begin] - timestamps_us[first] > longest_us else first,
        end if timestamps_us[last] - timestamps_us[end] > longest_us else last,
    )


def _standing(vergence_dpt: NDArray[np.float64], tolerance_dpt: float) -> int:
    """Rows from a turning point to the last one at which the focus still stands there."""
    return int(np.argmax(np.abs(vergence_dpt - vergence_dpt[0]) > tolerance_dpt)) - 1


def _coverage(first_dpt: float, last_dpt: float, bins: VergenceBins) -> float:
    """Part of the bins' range between two vergences."""
    low, high = sorted((first_dpt, last_dpt))
    return (min(high, bins.max_dpt) - max(low, bins.min_dpt)) / (bins.max_dpt - bins.min_dpt)


def _strictly_monotone(
    timestamps_us: NDArray[np.float64], vergence_dpt: NDArray[np.float64], bins: VergenceBins
) -> FocusSweep:
    """The run as a sweep: noise averaged between its upper and lower monotone envelope, stops given a tiny slope."""
    sign = 1.0 if vergence_dpt[-1] > vergence_dpt[0] else -1.0
    rising = sign * vergence_dpt
    if not np.all(np.diff(rising) > 0):
        rising = (np.maximum.accumulate(rising) + np.minimum.accumulate(rising[::-1])[::-1]) / 2.0
        progress = (timestamps_us - timestamps_us[0]) / (timestamps_us[-1] - timestamps_us[0])
        rising = rising + 1e-6 * bins.width_dpt * progress
    return FocusSweep(timestamps_us, sign * rising)
