"""Depth between two turning points: the newest counts of every bin, while the sweep still runs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edfv_ros.lens.sweep import FocusSweep, is_pair
from edfv_ros.volume import SweepVolume, VolumeRing
from edfv_ros.volume.kernels import find_segments
from edfv_ros.volume.slots import first_bin_of_part


def parts_for(rate_hz: float, sweep_us: float, bins: int) -> int:
    """Parts of a sweep after each of which depth is due so that there are at least ``rate_hz`` a second.

    At most one for each bin, and one where the rate is 0 or the sweeps are fast enough themselves.
    """
    return int(np.clip(np.ceil(rate_hz * sweep_us * 1e-6 - 1e-6), 1, bins))


class RollingWindow:
    """Counts the running sweep as its events come, and joins it with the one before of the same direction.

    Which sweep runs is known for sure only when it is over; until then it is taken to be the last but one, once more.
    The events are counted again when the sweep is known: what is counted here serves the depth in between alone.

    The volume given out is of one direction as that of a whole sweep is: the bins that the focus has passed are of the
    running sweep, the others of the last one that ran this way. With the sweep that lies between these two it makes a
    pair that holds the two newest counts of every bin, as the pair at a turning point does; an estimator sees no
    difference.

    Args:
        ring: with two parts or more.
    """

    def __init__(self, ring: VolumeRing) -> None:
        self._ring = ring
        self._slot = ring.new_slot()
        self._segments = np.zeros(ring.bins.count + 1, np.int64)
        self._before: SweepVolume | None = None
        self._newest: SweepVolume | None = None
        self._sweep: FocusSweep | None = None
        self._edges_us = self._segments
        self._part = 0
        self._counted_until = 0
        self._newest_us = -1

    @property
    def newest(self) -> SweepVolume | None:
        """The sweep that closed last, which is the running one's opposite."""
        return self._newest

    def follow(self, closed: SweepVolume) -> None:
        """A sweep closed: the next one begins, where this one and that before are a pair."""
        if self._before is not None:
            self._before.release()
        self._before, self._newest = self._newest, closed.hold()
        self._sweep = None
        if self._before is not None and is_pair(self._before.sweep, closed.sweep):
            self._sweep = expected_after(self._before.sweep, closed.sweep)
            self._edges_us = self._sweep.bin_edge_times_us(self._ring.bins)
            self._slot.clear()
            self._part = 0
            self._counted_until = 0
            self._newest_us = -1

    def count(self, events: NDArray[np.void], number: int) -> None:
        """Count what is new of EVENT_DTYPE [N], ascending, whose first event is the ``number``-th of all."""
        new = events[max(0, self._counted_until - number) :]
        if self._sweep is None or not len(new):
            return
        words = new.view(np.uint64).reshape(-1, 2)
        find_segments(words, self._edges_us, self._segments)
        self._slot.add(new, self._segments, self._sweep.direction)
        self._counted_until = number + len(events)
        self._newest_us = int(words[-1, 0])

    def take(self) -> Iterator[tuple[int, SweepVolume | None]]:
        """What is due: the number of parts that are over, and the volume; None where all volumes are held."""
        while self._sweep is not None and self._part + 1 < self._ring.parts:
            cut = self._part + 1 if self._sweep.direction > 0 else self._ring.parts - self._part - 1
            cut_bin = first_bin_of_part(cut, self._ring.parts, self._ring.bins.count)
            passed = cut_bin if self._sweep.direction > 0 else self._ring.bins.count - cut_bin
            if self._newest_us < self._edges_us[passed]:
                return
            self._part += 1
            yield self._part, self._joined(cut, passed)

    def close(self) -> None:
        """Let go of the sweeps."""
        for volume in (self._before, self._newest):
            if volume is not None:
                volume.release()
        self._before = self._newest = self._sweep = None

    def _joined(self, cut: int, passed: int) -> SweepVolume | None:
        assert self._sweep is not None and self._before is not None and self._newest is not None
        mine, others = self._slot, self._before.slot
        first, second = (mine, others) if self._sweep.direction > 0 else (others, mine)
        return self._ring.joined(first, second, cut, self._window(passed))

    def _window(self, passed: int) -> FocusSweep:
        """A sweep in place of the window: its end is that of the newest bin, its middle the mean time of every bin.

        Of each bin that is when it was counted last, in the running sweep or, on the way to it, in the one before.
        """
        assert self._sweep is not None and self._newest is not None
        edges_us = self._newest.sweep.bin_edge_times_us(self._ring.bins)
        edges_us = np.concatenate([edges_us[: len(edges_us) - passed], self._edges_us[: passed + 1]])
        starts_us, ends_us = np.delete(edges_us[:-1], -passed - 1), np.delete(edges_us[1:], -passed - 1)
        end_us = float(self._edges_us[passed])
        middle_us = float(np.mean(starts_us - end_us) + np.mean(ends_us - end_us)) / 2.0 + end_us
        times_us = self._sweep.timestamps_us - self._sweep.timestamps_us[0]
        scale = 2.0 * (end_us - middle_us) / times_us[-1]
        return replace(self._sweep, timestamps_us=end_us + (times_us - times_us[-1]) * scale)


def expected_after(before: FocusSweep, newest: FocusSweep) -> FocusSweep:
    """The sweep that follows a pair: the first of them again, after the same pause as between the two."""
    pause_us = newest.timestamps_us[0] - before.timestamps_us[-1]
    later_us = newest.timestamps_us[-1] + pause_us - before.timestamps_us[0]
    return replace(before, timestamps_us=before.timestamps_us + later_us, number=newest.number + 1)
