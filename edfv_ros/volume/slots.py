"""Where the counts of one sweep are kept: host memory (numba) or a GPU (torch), with equal results."""

import importlib.util
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edfv_ros.volume.kernels import (
    BLOCK_EVENTS,
    COUNT_MAX,
    EVENT_COUNT_MAX,
    accumulate,
    close_bin,
)


class Slot(Protocol):
    """Counts of one sweep, reused from sweep to sweep.

    The bins fall into ``parts`` equal parts, each with its own number of events, so that parts of two sweeps can be
    joined (:meth:`join`).
    """

    def clear(self) -> None: ...

    def add(self, events: NDArray[np.void], segments: NDArray[np.int64], direction: int) -> int:
        """Count events (EVENT_DTYPE [N]) whose bin segments start at ``segments`` [bins + 1]; return those outside.

        Between two calls of :meth:`clear` the direction stays the same.
        """
        ...

    def counts(self) -> NDArray[np.int16]:
        """Signed counts, int16 [bins, H, W], in host memory."""
        ...

    def event_count(self) -> NDArray[np.uint16]:
        """Events of either polarity, uint16 [H, W], in host memory."""
        ...

    def suppress(self, pixels: NDArray[np.bool_]) -> None:
        """Zero the given pixels, bool [H, W]."""
        ...

    def join(self, sweeps: "tuple[Slot, Slot]", cut: int) -> None:
        """Become a copy of the parts before ``cut`` of the first sweep, and of the others of the second one.

        Both are slots of the same kind and size as this one.
        """
        ...


class HostSlot:
    """Host memory and the compiled kernel. The arrays handed out are views: they change with the slot."""

    def __init__(self, bins: int, width: int, height: int, parts: int = 1) -> None:
        self._counts = np.zeros((bins, height, width), np.int16)
        self._totals = np.zeros((parts, height, width), np.uint16)
        self._event_count = self._totals[0] if parts == 1 else np.zeros((height, width), np.uint16)
        self._tile = np.zeros(height * width + 1, np.uint16)
        self._scratch = np.zeros(BLOCK_EVENTS, np.uint32), np.zeros(BLOCK_EVENTS, np.uint16)
        self._written = np.zeros(bins, np.bool_)
        self._planes = self._counts.reshape(bins, -1), self._totals.reshape(parts, -1), self._written
        self._open_bin = -1
        self._direction = 1
        self._complete = False

    def clear(self) -> None:
        if self._open_bin >= 0:
            self._tile.fill(0)
        self._open_bin = -1
        self._written.fill(False)
        self._totals.fill(0)
        self._complete = False

    def add(self, events: NDArray[np.void], segments: NDArray[np.int64], direction: int) -> int:
        _, height, width = self._counts.shape
        words = events.view(np.uint64).reshape(-1, 2)
        outside, self._open_bin = accumulate(
            words, segments, direction, self._open_bin, self._tile, *self._planes, *self._scratch, width, height
        )
        self._direction = direction
        self._complete = False
        return outside

    def counts(self) -> NDArray[np.int16]:
        self._settle()
        return self._counts

    def event_count(self) -> NDArray[np.uint16]:
        self._settle()
        return self._event_count

    def suppress(self, pixels: NDArray[np.bool_]) -> None:
        self._settle()
        self._counts[:, pixels] = 0
        self._totals[:, pixels] = 0
        self._event_count[pixels] = 0

    def join(self, sweeps: tuple[Slot, Slot], cut: int) -> None:
        first, second = (cast(HostSlot, sweep) for sweep in sweeps)
        parts, bins = len(self._totals), len(self._counts)
        cut_bin = first_bin_of_part(cut, parts, bins)
        for sweep, of_bins, of_parts in (
            (first, slice(0, cut_bin), slice(0, cut)),
            (second, slice(cut_bin, bins), slice(cut, parts)),
        ):
            sweep._settle_bins(of_bins)
            self._counts[of_bins] = sweep._counts[of_bins]
            self._totals[of_parts] = sweep._totals[of_parts]
        self._open_bin = -1
        self._written.fill(True)
        self._complete = False
        self._settle()

    def _settle(self) -> None:
        """Make the arrays tell all that was added; nothing is left to do where a sweep has been closed."""
        if self._complete:
            return
        self._settle_bins(slice(0, len(self._counts)))
        if len(self._totals) > 1:
            np.minimum(self._totals.sum(0, dtype=np.uint32), EVENT_COUNT_MAX, out=self._event_count, casting="unsafe")
        self._complete = True

    def _settle_bins(self, bins: slice) -> None:
        """Make the planes of some bins tell all that was added, and the number of events of their parts."""
        if bins.start <= self._open_bin < bins.stop:
            close_bin(self._open_bin, self._direction, self._tile, *self._planes)
            self._open_bin = -1
        for b in bins.start + np.flatnonzero(~self._written[bins]):
            self._counts[b] = 0
        self._written[bins] = True


def first_bin_of_part(part: int, parts: int, bins: int) -> int:
    """The first bin of a part; ``bins`` where ``part`` is the number of parts."""
    return -(-part * bins // parts)


class TorchSlot:
    """Memory of a torch device (needs the ``gpu`` extra). Sums are kept in int32 and saturated when read.

    On a CUDA device one kernel does it all (:mod:`~edfv_ros.volume.fused`), if Triton is there, as it is with torch's
    own builds for Linux; elsewhere a dozen of torch's operations do.
    """

    def __init__(self, bins: int, width: int, height: int, device: str, parts: int = 1) -> None:
        import torch

        self._torch = torch
        self._shape = (bins, height, width)
        self._device = torch.device(device)
        self._sums = torch.zeros(bins * height * width, dtype=torch.int32, device=self._device)
        self._totals = torch.zeros(parts * height * width, dtype=torch.int32, device=self._device)
        self._parts = parts
        self._is_fused = self._device.type == "cuda" and importlib.util.find_spec("triton") is not None

    def clear(self) -> None:
        self._sums.zero_()
        self._totals.zero_()

    def add(self, events: NDArray[np.void], segments: NDArray[np.int64], direction: int) -> int:
        first, last = int(segments[0]), int(segments[-1])
        words = self._torch.from_numpy(events[first:last].view(np.int64).reshape(-1, 2)).to(self._device)
        if self._is_fused:
            return self.add_fused(words, segments - first, direction)
        return self._add_by_operations(words, segments, direction)

    def add_fused(self, words: Any, segments: NDArray[np.int64], direction: int) -> int:
        """Count int64 [N, 2], events of the sweep alone and on the device already, with one kernel; see :meth:`add`."""
        from edfv_ros.volume import fused

        if not len(words):
            return 0
        bounds = self._torch.from_numpy(segments).to(self._device)
        outside = self._torch.zeros(1, dtype=self._torch.int32, device=self._device)
        fused.count(words, bounds, direction, self._sums, self._totals, outside, self._shape)
        return int(outside)

    def _add_by_operations(self, words: Any, segments: NDArray[np.int64], direction: int) -> int:
        torch = self._torch
        bins, height, width = self._shape
        first, last = int(segments[0]), int(segments[-1])
        bounds = torch.from_numpy(segments).to(self._device)
        index = torch.arange(first, last, device=self._device)
        plane = torch.searchsorted(bounds, index, right=True) - 1
        if direction < 0:
            plane = bins - 1 - plane
        word = words[:, 1]
        x, y = word & 0xFFFF, (word >> 16) & 0xFFFF
        inside = (x < width) & (y < height)
        pixel = (y * width + x)[inside]
        sign = (((word >> 31) & 2) - 1)[inside].to(torch.int32) * direction
        self._sums.index_add_(0, plane[inside] * (height * width) + pixel, sign)
        part = plane[inside] * self._parts // bins
        self._totals.index_add_(0, part * (height * width) + pixel, torch.ones_like(sign))
        return int((~inside).sum())

    def device_counts(self) -> Any:
        """Signed counts as an int16 tensor [bins, H, W] on the device, for estimators that stay there."""
        return self._sums.clamp(-COUNT_MAX, COUNT_MAX).to(self._torch.int16).view(self._shape)

    def counts(self) -> NDArray[np.int16]:
        return self.device_counts().cpu().numpy()

    def event_count(self) -> NDArray[np.uint16]:
        totals = self._totals.view(self._parts, -1).clamp(max=EVENT_COUNT_MAX).sum(0)
        totals = totals.clamp(max=EVENT_COUNT_MAX).cpu().numpy()
        return totals.astype(np.uint16).reshape(self._shape[1:])

    def suppress(self, pixels: NDArray[np.bool_]) -> None:
        mask = self._torch.from_numpy(pixels.reshape(-1)).to(self._device)
        self._sums.view(self._shape[0], -1)[:, mask] = 0
        self._totals.view(self._parts, -1)[:, mask] = 0

    def join(self, sweeps: tuple[Slot, Slot], cut: int) -> None:
        first, second = (cast(TorchSlot, sweep) for sweep in sweeps)
        pixels = self._shape[1] * self._shape[2]
        of_bins, of_parts = first_bin_of_part(cut, self._parts, self._shape[0]) * pixels, cut * pixels
        self._sums[:of_bins], self._sums[of_bins:] = first._sums[:of_bins], second._sums[of_bins:]
        self._totals[:of_parts], self._totals[of_parts:] = first._totals[:of_parts], second._totals[of_parts:]


def make_slot(bins: int, width: int, height: int, device: str, parts: int = 1) -> Slot:
    """Make a slot in host memory (``cpu``) or on a torch device (e.g. ``cuda``)."""
    if device == "cpu":
        return HostSlot(bins, width, height, parts)
    return TorchSlot(bins, width, height, device, parts)
