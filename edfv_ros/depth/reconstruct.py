"""From signed counts back to the change of log intensity they report."""

import numba as nb
import numpy as np
from numpy.typing import NDArray


@nb.njit(nogil=True, cache=True)
def add_intensity_change(
    counts: NDArray[np.int16], direction: int, spread_bins: float, gain: float, out: NDArray[np.float32]
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
        out: float32 [H, W, bins], changed in place.
    """
    bins, height, width = counts.shape
    previous = np.empty(width, np.float32)
    for y in range(height):
        previous[:] = -1e9
        for step in range(bins):
            b = step if direction > 0 else bins - 1 - step
            for x in range(width):
                count = counts[b, y, x]
                if count == 0:
                    continue
                end = np.float32(step)
                start = max(previous[x], end - spread_bins, np.float32(-0.5))
                density = gain * count / (end - start)
                first = int(np.floor(start + 0.5))
                for s in range(first, step + 1):
                    overlap = min(end, s + 0.5) - max(start, s - 0.5)
                    if overlap > 0:
                        out[y, x, s if direction > 0 else bins - 1 - s] += density * overlap
                previous[x] = end
