"""The compiled CPU kernels that count events into vergence bins.

Events come in the order of time and bins are stretches of time, so one bin is open at a time. Its counts are gathered
in a tile of two bytes a pixel, brighter events in the low byte and darker ones in the high byte: one access to memory
gives the signed sum and the total, and the tile of a sensor of a megapixel still fits into the second-level cache. When
the next bin begins, the tile is poured into the volume in one vectorised pass (:func:`close_bin`).
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

COUNT_MAX = 32767
EVENT_COUNT_MAX = 65535

BLOCK_EVENTS = 64
"""Events whose addresses are worked out together, in vector instructions, before they are counted one by one.

Between blocks no byte of the tile is above 127, so none of at most 128 events can make it overflow.
"""

_FULL = 0x8080


@nb.njit(nogil=True, cache=True)
def find_segments(words: NDArray[np.uint64], edges_us: NDArray[np.int64], segments: NDArray[np.int64]) -> None:
    """Find the first event at or after each time, as ``np.searchsorted`` does, without making an array.

    Args:
        words: uint64 [N, 2], raw 16-byte events, ascending in time, which is the first word.
        edges_us: int64 [bins + 1], ascending.
        segments: int64 [bins + 1], overwritten.
    """
    low = 0
    for edge in range(edges_us.shape[0]):
        high = words.shape[0]
        while low < high:
            middle = (low + high) // 2
            if np.int64(words[middle, 0]) < edges_us[edge]:
                low = middle + 1
            else:
                high = middle
        segments[edge] = low


@nb.njit(nogil=True, cache=True)
def accumulate(
    words: NDArray[np.uint64],
    segments: NDArray[np.int64],
    direction: int,
    open_bin: int,
    tile: NDArray[np.uint16],
    counts: NDArray[np.int16],
    event_count: NDArray[np.uint16],
    written: NDArray[np.bool_],
    addresses: NDArray[np.uint32],
    increments: NDArray[np.uint16],
    width: int,
    height: int,
) -> tuple[int, int]:
    """Add events to the volume, each touched once; counts saturate instead of wrapping round.

    Args:
        words: uint64 [N, 2], raw 16-byte events; the second word is x | y << 16 | polarity << 32 | padding.
        segments: int64 [bins + 1], index of the first event of each segment of the sweep, in order of time.
        direction: +1 where segment 0 is bin 0 (up-sweep), -1 where it is the last bin and polarity is negated.
        open_bin: the bin that the tile holds, -1 where it is empty.
        tile: uint16 [height * width + 1], changed in place; its last cell takes the events outside the sensor.
        counts: int16 [bins, height * width], changed in place.
        event_count: uint16 [parts, height * width], changed in place; each part of the bins has a plane.
        written: bool [bins], which planes of ``counts`` hold this sweep, changed in place.
        addresses, increments: uint32 and uint16 [BLOCK_EVENTS], scratch.
        width: sensor width in pixels.
        height: sensor height in pixels.

    Returns:
        The number of events outside the sensor, which are left out, and the bin that the tile holds now.
    """
    w = np.uint32(width)
    h = np.uint32(height)
    beyond = w * h
    low16 = np.uint32(0xFFFF)
    bins = counts.shape[0]
    outside = 0
    for segment in range(bins):
        last = segments[segment + 1]
        if segments[segment] == last:
            continue
        b = segment if direction > 0 else bins - 1 - segment
        if b != open_bin:
            close_bin(open_bin, direction, tile, counts, event_count, written)
            open_bin = b
        for first in range(segments[segment], last, BLOCK_EVENTS):
            n = min(BLOCK_EVENTS, last - first)
            for i in range(n):
                word = words[first + i, 1]
                place = np.uint32(word)
                x = place & low16
                y = place >> np.uint32(16)
                addresses[i] = y * w + x if (x < w) & (y < h) else beyond
                increments[i] = np.uint16(256) >> np.uint16((word >> np.uint64(29)) & np.uint64(8))
            seen = np.uint16(0)
            for i in range(n):
                pixel = addresses[i]
                cell = np.uint16(tile[pixel] + increments[i])
                tile[pixel] = cell
                seen |= cell
            outside += int(tile[beyond] & np.uint16(0xFF)) + int(tile[beyond] >> np.uint16(8))
            tile[beyond] = 0
            if seen & np.uint16(_FULL):
                _spill(addresses[:n], b, direction, tile, counts, event_count, written)
    return outside, open_bin


@nb.njit(nogil=True, cache=True)
def close_bin(
    b: int,
    direction: int,
    tile: NDArray[np.uint16],
    counts: NDArray[np.int16],
    event_count: NDArray[np.uint16],
    written: NDArray[np.bool_],
) -> None:
    """Pour the tile into bin ``b`` of the volume and empty it; nothing where ``b`` is -1. See :func:`accumulate`."""
    if b < 0:
        return
    plane = counts[b]
    totals = event_count[b * event_count.shape[0] // counts.shape[0]]
    sign = np.int32(direction)
    if not written[b]:  # the usual case, and twice as fast
        written[b] = True
        for pixel in range(plane.shape[0]):
            brighter = np.int32(tile[pixel] & np.uint16(0xFF))
            darker = np.int32(tile[pixel] >> np.uint16(8))
            tile[pixel] = 0
            plane[pixel] = np.int16((brighter - darker) * sign)
            totals[pixel] = np.uint16(min(np.int32(totals[pixel]) + brighter + darker, np.int32(EVENT_COUNT_MAX)))
        return
    for pixel in range(plane.shape[0]):
        brighter = np.int32(tile[pixel] & np.uint16(0xFF))
        darker = np.int32(tile[pixel] >> np.uint16(8))
        tile[pixel] = 0
        change = np.int32(plane[pixel]) + (brighter - darker) * sign
        plane[pixel] = np.int16(min(max(change, np.int32(-COUNT_MAX)), np.int32(COUNT_MAX)))
        totals[pixel] = np.uint16(min(np.int32(totals[pixel]) + brighter + darker, np.int32(EVENT_COUNT_MAX)))


@nb.njit(nogil=True, cache=True)
def _spill(
    addresses: NDArray[np.uint32],
    b: int,
    direction: int,
    tile: NDArray[np.uint16],
    counts: NDArray[np.int16],
    event_count: NDArray[np.uint16],
    written: NDArray[np.bool_],
) -> None:
    """Pour those of the addressed cells of the tile that are half full into bin ``b``."""
    plane = counts[b]
    totals = event_count[b * event_count.shape[0] // counts.shape[0]]
    if not written[b]:
        plane[:] = 0
        written[b] = True
    for pixel in addresses:
        if tile[pixel] & np.uint16(_FULL):
            brighter = np.int32(tile[pixel] & np.uint16(0xFF))
            darker = np.int32(tile[pixel] >> np.uint16(8))
            tile[pixel] = 0
            change = np.int32(plane[pixel]) + (brighter - darker) * np.int32(direction)
            plane[pixel] = np.int16(min(max(change, np.int32(-COUNT_MAX)), np.int32(COUNT_MAX)))
            totals[pixel] = np.uint16(min(np.int32(totals[pixel]) + brighter + darker, np.int32(EVENT_COUNT_MAX)))
