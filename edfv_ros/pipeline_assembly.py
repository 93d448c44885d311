"""From packets of events to closed sweeps: what the pipeline does with each event, once."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.types import Frame, Packet, timestamps_us
from edfv_ros.lens.sweep import FocusSweep, is_pair
from edfv_ros.lens.sync import SweepSource
from edfv_ros.pipeline_rolling import RollingWindow
from edfv_ros.volume import SweepSnapshot, SweepVolume, VolumeRing

UNCOVERED_RATIO = 0.1
"""A sweep whose first or last part, more than this, lies outside the events is not whole."""

FULL_RATIO = 0.75
"""Part of the capture's ring that may wait for a sweep before the oldest half is given up."""

_KEPT_FRAMES = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClosedSweep:
    """A snapshot, and when (monotonic seconds) the packet with its last event was received.

    It is of a sweep that has been closed or, where the ring of volumes has parts, of a part of a running one.
    """

    snapshot: SweepSnapshot
    received_s: float


class SweepAssembler:
    """Accumulates events into the sweeps they belong to, and gives their space back.

    Events wait where the capture put them until a sweep covers them; each is accumulated once, straight from there.

    Attributes:
        events: events received.
        lost_events: events that the source dropped.
        sweeps: snapshots made.
        dropped_sweeps: sweeps that were not whole, by reason.
        unplaced_events: events given up because the ring was full before a sweep was known.
    """

    def __init__(
        self, sweeps: SweepSource, ring: VolumeRing, release: Callable[[int], None], capacity_events: int | None
    ) -> None:
        self._sweeps = sweeps
        self._ring = ring
        self._held = _HeldEvents(release)
        self._capacity_events = capacity_events
        self._frames: deque[Frame] = deque(maxlen=_KEPT_FRAMES)
        self._losses = _Losses()
        self._open: FocusSweep | None = None
        self._received_s = 0.0
        self._pushed_s = 0.0
        self._previous: SweepVolume | None = None
        self._rolling = RollingWindow(ring) if ring.parts > 1 else None
        self._given_up_until_us = 0
        self.events = 0
        self.lost_events = 0
        self.sweeps = 0
        self.dropped_sweeps = Counter[str]()
        self.unplaced_events = 0

    @property
    def newest_us(self) -> int:
        """Time of the newest event, -1 before the first."""
        return self._held.newest_us

    def push(self, packet: Packet, received_s: float) -> Iterator[ClosedSweep]:
        """Take a packet in and yield the sweeps that it completes."""
        self.events += len(packet.events)
        self.lost_events += packet.lost_events
        self._losses.note(packet, self._held.newest_us)
        self._held.append(packet.events, received_s)
        self._pushed_s = received_s
        self._frames.extend(packet.frames)
        self._sweeps.observe(packet)
        yield from self._assemble(ended=False)
        self._make_room()

    def finish(self) -> Iterator[ClosedSweep]:
        """The source ended: yield what is whole of the sweeps that were waiting for more."""
        self._sweeps.finish()
        yield from self._assemble(ended=True)

    def close(self) -> None:
        """Let go of every view and volume."""
        self._held.clear()
        if self._rolling is not None:
            self._rolling.close()
        self._ring.discard()
        self._open = None
        if self._previous is not None:
            self._previous.release()
            self._previous = None

    def _assemble(self, *, ended: bool) -> Iterator[ClosedSweep]:
        yield from self._roll()
        while (sweep := self._open or self._next_sweep()) is not None:
            for events, received_s in self._held.take_until(sweep.end_us):
                self._ring.accumulate(events)
                self._received_s = received_s
            if self._held.newest_us < sweep.end_us and not ended:
                return
            self._open = None
            if self._is_whole(sweep):
                yield self._snapshot(self._ring.close())
                yield from self._roll()
            else:
                self._ring.discard()
        self._held.drop_until(self._sweeps.discard_before_us)

    def _next_sweep(self) -> FocusSweep | None:
        """Open the next sweep whose beginning the events cover."""
        while (sweep := self._sweeps.take()) is not None:
            self._held.drop_until(sweep.start_us)
            if self._held.covered_from_us > sweep.start_us + UNCOVERED_RATIO * (sweep.end_us - sweep.start_us):
                self.dropped_sweeps[self._why_late(sweep)] += 1
            elif not self._ring.open(sweep):
                self.dropped_sweeps["all volumes are held"] += 1
            else:
                self._open = sweep
                return sweep
        return None

    def _why_late(self, sweep: FocusSweep) -> str:
        if sweep.start_us < self._held.first_us:
            return "events begin inside the sweep"
        if sweep.start_us < self._given_up_until_us:
            return "ring full before the sweep was known"
        return "sweep known too late"

    def _is_whole(self, sweep: FocusSweep) -> bool:
        if self._losses.within(sweep):
            self.dropped_sweeps["events lost inside the sweep"] += 1
            return False
        if self._held.newest_us < sweep.end_us - UNCOVERED_RATIO * (sweep.end_us - sweep.start_us):
            self.dropped_sweeps["events end inside the sweep"] += 1
            return False
        return True

    def _snapshot(self, latest: SweepVolume) -> ClosedSweep:
        previous, self._previous = self._previous, latest.hold()
        opposite = None
        if previous is not None:
            if is_pair(previous.sweep, latest.sweep):
                opposite = previous.hold()
            previous.release()
        first = latest.sweep if opposite is None else opposite.sweep
        self.sweeps += 1
        if self._rolling is not None:
            self._rolling.follow(latest)
        snapshot = SweepSnapshot(
            latest.sweep.number, latest, opposite, self._frame_within(first.start_us, latest.sweep.end_us)
        )
        return ClosedSweep(snapshot, self._received_s)

    def _roll(self) -> Iterator[ClosedSweep]:
        """Count the running sweep with the events that wait, and yield what is due of it."""
        if self._rolling is None:
            return
        for number, events in self._held.numbered():
            self._rolling.count(events, number)
        for part, volume in self._rolling.take():
            opposite = self._rolling.newest
            if volume is None or opposite is None:
                self.dropped_sweeps["all volumes are held, between turns"] += 1
            elif self._losses.touch(opposite.sweep.end_us, volume.sweep.end_us):
                volume.release()
                self.dropped_sweeps["events lost, between turns"] += 1
            else:
                frame = self._frame_within(opposite.sweep.start_us, volume.sweep.end_us)
                snapshot = SweepSnapshot(volume.sweep.number, volume, opposite.hold(), frame, part)
                yield ClosedSweep(snapshot, self._pushed_s)

    def _frame_within(self, start_us: int, end_us: int) -> Frame | None:
        """The newest frame exposed between two times; older ones are forgotten."""
        while self._frames and self._frames[0].timestamp_us < start_us:
            self._frames.popleft()
        inside = [frame for frame in self._frames if start_us <= frame.timestamp_us <= end_us - frame.exposure_us]
        return max(inside, key=lambda frame: frame.timestamp_us, default=None)

    def _make_room(self) -> None:
        """Give up the older half of the waiting events where the source could write no more for want of space."""
        if self._capacity_events is None or self._held.count < FULL_RATIO * self._capacity_events:
            return
        if not self.unplaced_events:
            logger.warning(
                "%d events wait and no sweep is known for them: the ring of the capture is too small for a sweep, or "
                "the lens gives no turning points; events are given up",
                self._held.count,
            )
        first_us = self._held.oldest_us
        self.unplaced_events += self._held.drop_oldest(self._held.count // 2)
        self._given_up_until_us = self._held.oldest_us
        self._losses.add(first_us, self._given_up_until_us)


class _HeldEvents:
    """Views into the capture's ring whose space has not been given back, oldest first."""

    def __init__(self, release: Callable[[int], None]) -> None:
        self._release = release
        self._views: deque[tuple[NDArray[np.void], float]] = deque()
        self._released = 0
        self.count = 0
        self.first_us = -1
        self.newest_us = -1
        self.covered_from_us = 0

    @property
    def oldest_us(self) -> int:
        return int(timestamps_us(self._views[0][0])[0]) if self._views else self.newest_us

    def append(self, events: NDArray[np.void], received_s: float) -> None:
        if not len(events):
            return
        if self.newest_us < 0:
            self.first_us = self.covered_from_us = int(timestamps_us(events)[0])
        self.newest_us = int(timestamps_us(events)[-1])
        self._views.append((events, received_s))
        self.count += len(events)

    def numbered(self) -> Iterator[tuple[int, NDArray[np.void]]]:
        """Yield what waits, with the number of each view's first event among all that ever came."""
        number = self._released
        for events, _ in self._views:
            yield number, events
            number += len(events)

    def take_until(self, end_us: int) -> Iterator[tuple[NDArray[np.void], float]]:
        """Yield the events before ``end_us`` and give back the space of each view once it has been dealt with."""
        while self._views:
            events, received_s = self._views[0]
            times_us = timestamps_us(events)
            cut = len(events) if times_us[-1] < end_us else int(np.searchsorted(times_us, end_us))
            if cut:
                yield events[:cut], received_s
                self.covered_from_us = int(times_us[cut - 1])
                self._pop(cut)
            if cut < len(events):
                return

    def drop_until(self, end_us: int) -> int:
        """Give back the events before ``end_us`` unused; how many there were."""
        return sum(len(events) for events, _ in self.take_until(end_us))

    def drop_oldest(self, count: int) -> int:
        """Give back ``count`` events unused, and with them the rest of their last moment."""
        left = count
        for events, _ in self._views:
            if left < len(events):
                return self.drop_until(int(timestamps_us(events)[left]) + 1)
            left -= len(events)
        return self.drop_until(self.newest_us + 1)

    def clear(self) -> None:
        self._views.clear()
        self.count = 0

    def _pop(self, cut: int) -> None:
        events, received_s = self._views.popleft()
        if cut < len(events):
            self._views.appendleft((events[cut:], received_s))
        self.count -= cut
        self._released += cut
        self._release(cut)


class _Losses:
    """Stretches of time in which events were lost."""

    def __init__(self) -> None:
        self._stretches_us: list[tuple[int, int]] = []
        self._since_us: int | None = None

    def note(self, packet: Packet, newest_us: int) -> None:
        """Learn of a packet's lost events: they lie between the newest event before it and its first one."""
        if packet.lost_events and self._since_us is None:
            self._since_us = newest_us
        if self._since_us is not None and len(packet.events):
            self.add(self._since_us, int(timestamps_us(packet.events)[0]))
            self._since_us = None

    def add(self, first_us: int, last_us: int) -> None:
        self._stretches_us.append((first_us, last_us))

    def within(self, sweep: FocusSweep) -> bool:
        """Whether a sweep was hit; forgets what lies before it."""
        self._stretches_us = [stretch for stretch in self._stretches_us if stretch[1] > sweep.start_us]
        return self.touch(sweep.start_us, sweep.end_us)

    def touch(self, start_us: int, end_us: int) -> bool:
        """Whether anything was lost between two times."""
        hit = any(first_us < end_us and last_us > start_us for first_us, last_us in self._stretches_us)
        return hit or (self._since_us is not None and self._since_us < end_us)
