"""Where the counts of one sweep are kept: host memory (numba) or a GPU (torch), with equal results."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edfv_ros.volume.kernels import COUNT_MAX, EVENT_COUNT_MAX, accumulate


class Slot(Protocol):
    """Counts of one sweep, reused from sweep to sweep."""

    def clear(self) -> None: ...

    def add(self, events: NDArray[np.void], segments: NDArray[np.int64], direction: int) -> int:
        """Count events (EVENT_DTYPE [N]) whose bin segments start at ``segments`` [bins + 1]; return those outside."""
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


class HostSlot:
    """Host memory and the compiled kernel. The arrays handed out are views: they change with the slot."""

    def __init__(self, bins: int, width: int, height: int) -> None:
        self._counts = np.zeros((bins, height, width), np.int16)
        self._event_count = np.zeros((height, width), np.uint16)

    def clear(self) -> None:
        self._counts.fill(0)
        self._event_count.fill(0)

    def add(self, events: NDArray[np.void], segments: NDArray[np.int64], direction: int) -> int:
        bins, height, width = self._counts.shape
        return accumulate(
            events.view(np.uint64).reshape(-1, 2),
            segments,
            direction,
            self._counts.reshape(bins, -1),
            self._event_count.reshape(-1),
            width,
            height,
        )

    def counts(self) -> NDArray[np.int16]:
        return self._counts

    def event_count(self) -> NDArray[np.uint16]:
        return self._event_count

    def suppress(self, pixels: NDArray[np.bool_]) -> None:
        self._counts[:, pixels] = 0
        self._event_count[pixels] = 0


class TorchSlot:
    """Memory of a torch device (needs the ``gpu`` extra). Sums are kept in int32 and saturated when read."""

    def __init__(self, bins: int, width: int, height: int, device: str) -> None:
        import torch

        self._torch = torch
        self._shape = (bins, height, width)
        self._device = torch.device(device)
        self._sums = torch.zeros(bins * height * width, dtype=torch.int32, device=self._device)
        self._totals = torch.zeros(height * width, dtype=torch.int32, device=self._device)

    def clear(self) -> None:
        self._sums.zero_()
        self._totals.zero_()

    def add(self, events: NDArray[np.void], segments: NDArray[np.int64], direction: int) -> int:
        torch = self._torch
        bins, height, width = self._shape
        first, last = int(segments[0]), int(segments[-1])
        words = torch.from_numpy(events[first:last].view(np.int64).reshape(-1, 2)).to(self._device)
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
        self._totals.index_add_(0, pixel, torch.ones_like(sign))
        return int((~inside).sum())

    def device_counts(self) -> Any:
        """Signed counts as an int16 tensor [bins, H, W] on the device, for estimators that stay there."""
        return self._sums.clamp(-COUNT_MAX, COUNT_MAX).to(self._torch.int16).view(self._shape)

    def counts(self) -> NDArray[np.int16]:
        return self.device_counts().cpu().numpy()

    def event_count(self) -> NDArray[np.uint16]:
        totals = self._totals.clamp(max=EVENT_COUNT_MAX).cpu().numpy()
        return totals.astype(np.uint16).reshape(self._shape[1:])

    def suppress(self, pixels: NDArray[np.bool_]) -> None:
        mask = self._torch.from_numpy(pixels.reshape(-1)).to(self._device)
        self._sums.view(self._shape[0], -1)[:, mask] = 0
        self._totals[mask] = 0


def make_slot(bins: int, width: int, height: int, device: str) -> Slot:
    """Make a slot in host memory (``cpu``) or on a torch device (e.g. ``cuda``)."""
    return HostSlot(bins, width, height) if device == "cpu" else TorchSlot(bins, width, height, device)
