"""A ring of focus volumes: one is being filled, the last ones serve the estimator."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.types import Frame
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.optics import VergenceBins
from edfv_ros.volume.hot_pixels import hot_pixels
from edfv_ros.volume.kernels import EVENT_COUNT_MAX, find_segments
from edfv_ros.volume.slots import Slot, make_slot


class SweepVolume:
    """The closed volume of one sweep, held once; it keeps its place in the ring until every holder has released it."""

    def __init__(self, slot: Slot, sweep: FocusSweep, events: int, hot_pixels: int, give_back: Callable[[Slot], None]):
        self.slot = slot
        self.sweep = sweep
        self.events = events
        self.hot_pixels = hot_pixels
        self._give_back = give_back
        self._holders = 1
        self._lock = threading.Lock()

    @property
    def counts(self) -> NDArray[np.int16]:
        """dI/dv in signed events, int16 [bins, H, W]; the sign already follows the sweep direction."""
        return self.slot.counts()

    @property
    def event_count(self) -> NDArray[np.uint16]:
        """Events of either polarity over the sweep, uint16 [H, W]."""
        return self.slot.event_count()

    def hold(self) -> "SweepVolume":
        """Count one more holder, who releases it in the end."""
        with self._lock:
            self._holders += 1
        return self

    def release(self) -> None:
        """Count one holder less; after the last one the arrays must not be read any more."""
        with self._lock:
            self._holders -= 1
            free = self._holders == 0
        if free:
            self._give_back(self.slot)


@dataclass(frozen=True, slots=True, eq=False)
class SweepSnapshot:
    """What a depth estimator gets when a sweep closes.

    Attributes:
        index: number of the sweep since the start.
        latest: the sweep to estimate depth for.
        opposite: the nearest sweep in time that ran in the other direction, if there is one.
        frame: the newest intensity image exposed during these sweeps, if the camera has one.
        part: 0 for a whole sweep. While sweep ``index`` still ran, how many of its parts were over: ``latest`` holds
            these, and for its other bins what the last sweep of that direction gave.
    """

    index: int
    latest: SweepVolume
    opposite: SweepVolume | None
    frame: Frame | None
    part: int = 0

    @property
    def volumes(self) -> tuple[SweepVolume, ...]:
        """The latest sweep, and the opposite one where there is one."""
        return (self.latest,) if self.opposite is None else (self.latest, self.opposite)

    def event_count(self) -> NDArray[np.uint16]:
        """Events of all its sweeps, uint16 [H, W], at most 65535."""
        total = sum(volume.event_count.astype(np.uint32) for volume in self.volumes)
        return np.minimum(total, EVENT_COUNT_MAX).astype(np.uint16)

    def release(self) -> None:
        """Give the volumes back to the ring; their arrays must not be read afterwards."""
        for volume in self.volumes:
            volume.release()


class VolumeRing:
    """Preallocated volumes, reused so that no sweep allocates.

    A volume that somebody holds is never overwritten: where all slots are held, opening a sweep reports it.

    Args:
        bins: the vergence axis.
        resolution: sensor width and height in pixels.
        slots: volumes kept; two held by the estimator, two waiting for it and one being filled need five.
        device: ``cpu``, or a torch device such as ``cuda``.
        parts: equal parts of a sweep after each of which depth may be asked for (:meth:`joined`); that takes three
            slots more.
    """

    def __init__(
        self,
        bins: VergenceBins,
        resolution: tuple[int, int],
        slots: int = 6,
        device: str = "cpu",
        parts: int = 1,
    ) -> None:
        self.bins = bins
        self.resolution = resolution
        self.parts = parts
        self._device = device
        # taken and given back by different threads; a deque's ends are safe
        self._free = deque(self.new_slot() for _ in range(slots if parts == 1 else slots + 3))
        self._slot: Slot | None = None
        self._sweep: FocusSweep | None = None
        self._edge_times_us = np.empty(0, np.int64)
        self._segments = np.zeros(bins.count + 1, np.int64)
        self._events = 0
        self.outside = 0

    def open(self, sweep: FocusSweep) -> bool:
        """Begin to fill a volume; false, and nothing begun, where every slot is still held."""
        assert self._slot is None, "close or discard the open sweep first"
        try:
            self._slot = self._free.pop()
        except IndexError:
            return False
        self._slot.clear()
        self._sweep = sweep
        self._edge_times_us = sweep.bin_edge_times_us(self.bins)
        self._events = 0
        return True

    def accumulate(self, events: NDArray[np.void]) -> None:
        """Count a batch of the open sweep's events: EVENT_DTYPE [N], ascending in time; others are left out."""
        assert self._slot is not None and self._sweep is not None, "no sweep is open"
        if not len(events):
            return
        segments = self._segments
        find_segments(events.view(np.uint64).reshape(-1, 2), self._edge_times_us, segments)
        self.outside += self._slot.add(events, segments, self._sweep.direction)
        self._events += int(segments[-1] - segments[0])

    def close(self) -> SweepVolume:
        """End the open sweep and hand its volume out, held once."""
        assert self._slot is not None and self._sweep is not None, "no sweep is open"
        slot, self._slot = self._slot, None
        return self._handed_out(slot, self._sweep, self._events)

    def new_slot(self) -> Slot:
        """A slot of the same kind, which is not one of the ring's."""
        return make_slot(self.bins.count, *self.resolution, self._device, self.parts)

    def joined(self, first: Slot, second: Slot, cut: int, sweep: FocusSweep) -> SweepVolume | None:
        """Copy the parts of two sweeps into one volume, held once; None where every slot is still held.

        Args:
            first: gives the parts before ``cut``, counted in order of vergence.
            second: gives the others.
            cut: 0 to ``parts``.
            sweep: what the volume is to be taken for.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        slot.join((first, second), cut)
        return self._handed_out(slot, sweep, int(slot.event_count().sum()))

    def _handed_out(self, slot: Slot, sweep: FocusSweep, events: int) -> SweepVolume:
        hot = hot_pixels(slot.event_count())
        hot_count = int(np.count_nonzero(hot))
        if hot_count:
            slot.suppress(hot)
        return SweepVolume(slot, sweep, events, hot_count, self._free.append)

    def discard(self) -> None:
        """Drop the open sweep, if there is one."""
        if self._slot is not None:
            self._free.append(self._slot)
            self._slot = None
