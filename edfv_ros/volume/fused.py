"""The same counting in one kernel on a GPU (Triton): bin, sign, bounds and scatter of raw events."""

from typing import Any

import triton
import triton.language as tl

_BLOCK_EVENTS = 1024


@triton.jit(do_not_specialize=["count", "direction", "parts"])
def _count(
    words: tl.tensor,
    segments: tl.tensor,
    sums: tl.tensor,
    totals: tl.tensor,
    outside: tl.tensor,
    count: tl.tensor,
    direction: tl.tensor,
    parts: tl.tensor,
    width: tl.tensor,
    height: tl.tensor,
    BINS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = index < count
    word = tl.load(words + 2 * index + 1, mask=here, other=0)
    segment = tl.zeros([BLOCK], tl.int32)
    for edge in range(1, BINS):
        segment += (index >= tl.load(segments + edge)).to(tl.int32)
    plane = tl.where(direction > 0, segment, BINS - 1 - segment)
    x = (word & 0xFFFF).to(tl.int32)
    y = ((word >> 16) & 0xFFFF).to(tl.int32)
    inside = here & (x < width) & (y < height)
    pixel = y * width + x
    sign = (((word >> 31) & 2).to(tl.int32) - 1) * direction
    tl.atomic_add(sums + plane * (width * height) + pixel, sign, mask=inside)
    tl.atomic_add(totals + (plane * parts // BINS) * (width * height) + pixel, 1, mask=inside)
    tl.atomic_add(outside, tl.sum((here & ~inside).to(tl.int32), 0))


def count(
    words: Any, segments: Any, direction: int, sums: Any, totals: Any, outside: Any, size: tuple[int, int, int]
) -> None:
    """Add events to sums and totals; nothing waits for the GPU.

    Args:
        words: int64 tensor [N, 2], raw 16-byte events of the sweep alone.
        segments: int64 tensor [bins + 1], index of the first event of each segment, the first of them 0.
        direction: as for :func:`~edfv_ros.volume.kernels.accumulate`.
        sums: int32 tensor [bins * height * width], changed in place.
        totals: int32 tensor [parts * height * width], changed in place.
        outside: int32 tensor [1], to which the number of events outside the sensor is added.
        size: bins, height and width.
    """
    bins, height, width = size
    number = words.shape[0]
    parts = totals.shape[0] // (height * width)
    grid = (triton.cdiv(number, _BLOCK_EVENTS),)
    _count[grid](
        words, segments, sums, totals, outside, number, direction, parts, width, height, BINS=bins, BLOCK=_BLOCK_EVENTS
    )
