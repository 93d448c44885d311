"""From signed counts back to the change of log intensity they report."""

import numba as nb
import numpy as np
from numpy.typing import NDArray


@nb.njit(nogil=True, cache=True, fastmath=True)
def add_intensity_change(
    counts: NDArray[np.int16],
    direction: int,
    spread_bins: float,
    gain: float,
    out: NDArray[np.float32],
    first_row: int,
    last_row: int,
) -> None:
    """Add the intensity change of one sweep to ``out``, in contrast thresholds per bin.

    An event says that log intensity has changed by one threshold *since the pixel's previous event*: placed where it
    fired, every change comes late, by up to a bin, in the direction of the sweep. So each count is laid evenly over
    the time back to the previous one, at most ``spread_bins``, since a pixel that was silent for long was usually
    still and not slow.

    Args:
        counts: int16 [bins, H, W], dI/dv of the sweep.
        direction: +1 where time runs with the bins, -1 against them.
        spread_bins: longest way back, in bins.
        gain: factor on the counts.
        out: float32 [bins, at least H, at least W], changed in place.
        first_row, last_row: rows to do; several threads may do some each.
    """
    bins, _, width = counts.shape
    longest, share = np.float32(spread_bins), np.float32(gain)
    reach = int(np.ceil(spread_bins - 0.5))  # bins back that the spread touches beside its own
    previous = np.empty(width, np.float32)
    start = np.empty(width, np.float32)
    density = np.empty(width, np.float32)
    half = np.float32(0.5)
    for y in range(first_row, last_row):
        previous[:] = np.float32(-1e9)
        for step in range(bins):
            b = step if direction > 0 else bins - 1 - step
            end = np.float32(step)
            earliest = max(end - longest, -half)
            row = counts[b, y]
            for x in range(width):
                count = np.float32(row[x])
                last = previous[x]
                start[x] = max(last, earliest)
                density[x] = share * count / (end - start[x])
                previous[x] = end if count != np.float32(0.0) else last
            for back in range(min(reach, step) + 1):
                before = step - back
                low, high = np.float32(before) - half, min(end, np.float32(before) + half)
                line = out[before if direction > 0 else bins - 1 - before, y]
                for x in range(width):
                    line[x] += density[x] * max(high - max(start[x], low), np.float32(0.0))
