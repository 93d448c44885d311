"""The compiled CPU kernel that counts events into vergence bins."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

COUNT_MAX = 32767
EVENT_COUNT_MAX = 65535


@nb.njit(nogil=True, cache=True)
def accumulate(
    words: NDArray[np.uint64],
    segments: NDArray[np.int64],
    direction: int,
    counts: NDArray[np.int16],
    event_count: NDArray[np.uint16],
    width: int,
    height: int,
) -> int:
    """Add events to the volume, each touched once; counts saturate instead of wrapping round.

    Args:
        words: uint64 [N, 2], raw 16-byte events; the second word is x | y << 16 | polarity << 32 | padding.
        segments: int64 [bins + 1], index of the first event of each segment of the sweep, in order of time.
        direction: +1 where segment 0 is bin 0 (up-sweep), -1 where it is the last bin and polarity is negated.
        counts: int16 [bins, height * width], changed in place.
        event_count: uint16 [height * width], changed in place.
        width: sensor width in pixels.
        height: sensor height in pixels.

    Returns:
        The number of events outside the sensor, which are left out.
    """
    w = np.uint64(width)
    h = np.uint64(height)
    low16 = np.uint64(0xFFFF)
    bins = counts.shape[0]
    outside = 0
    for segment in range(bins):
        plane = counts[segment if direction > 0 else bins - 1 - segment]
        for i in range(segments[segment], segments[segment + 1]):
            word = words[i, 1]
            x = word & low16
            y = (word >> np.uint64(16)) & low16
            if x >= w or y >= h:
                outside += 1
                continue
            pixel = y * w + x
            sign = np.int64((word >> np.uint64(31)) & np.uint64(2)) - 1
            total = plane[pixel] + sign * direction
            if -COUNT_MAX <= total <= COUNT_MAX:
                plane[pixel] = np.int16(total)
            if event_count[pixel] < EVENT_COUNT_MAX:
                event_count[pixel] += np.uint16(1)
    return outside
