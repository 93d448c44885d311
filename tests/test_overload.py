"""Events that come faster than they are used: whole sweeps go, what is delivered is whole, and all of it is counted."""

from collections import deque
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from edfv_ros.events import EVENT_DTYPE, Packet, SourceInfo
from edfv_ros.events.capture_process import CaptureProcess
from edfv_ros.events.messages import Batch, Ended
from edfv_ros.events.opening import CheckedSource
from edfv_ros.events.ring import EventRing
from edfv_ros.lens.sync import TrackSweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.pipeline_assembly import ClosedSweep, SweepAssembler
from edfv_ros.rig import Rig, load_rig
from edfv_ros.volume import VolumeRing

T0 = 1_700_000_000_000_000
SWEEPS = 60
SWEEP_US = 100_000
PACKETS_PER_SWEEP = 20
RING_EVENTS = 40_000


@pytest.fixture
def rig() -> Rig:
    rig = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
    return rig.model_copy(update={"camera": rig.camera.model_copy(update={"width_px": 24, "height_px": 16})})


class Reader:
    """A pipeline that takes ``speed`` packets for each one that the camera sends."""

    def __init__(self, rig: Rig, descriptor: int, pipe, speed: float) -> None:  # type: ignore[no-untyped-def]
        turns = T0 + SWEEP_US * np.arange(SWEEPS + 1.0)
        focus = np.where(np.arange(SWEEPS + 1) % 2, rig.sweep.vergence_max_dpt, rig.sweep.vergence_min_dpt)
        self.ring = EventRing(descriptor)
        volumes = VolumeRing(rig.bins, rig.camera.resolution)
        self.sweeps = TrackSweeps(LensTrack(turns, focus), rig)
        self.assembler = SweepAssembler(self.sweeps, volumes, self.ring.release, RING_EVENTS)
        self.whole: dict[int, int] = {}
        self.most_waiting = 0
        self._pipe = pipe
        self._waiting: deque[Batch] = deque()
        self._speed = speed
        self._strength = 0.0
        self._arrived = 0

    def work(self, written: int) -> None:
        """Wait for all that is under way, so that no clock decides anything, and use what there is strength for."""
        while self._arrived < written:
            for message in self._pipe.recv():
                self._waiting.append(message)
                self._arrived += message.count
        self.most_waiting = max(self.most_waiting, sum(message.count for message in self._waiting))
        self._strength += self._speed
        while self._waiting and (self._strength >= 1.0 or not self._waiting[0].count):
            message = self._waiting.popleft()
            self._strength -= 1.0 if message.count else 0.0
            self._use(message)

    def finish(self) -> None:
        while not isinstance(self._waiting[-1] if self._waiting else None, Ended):
            self._waiting.extend(self._pipe.recv())
        while isinstance(message := self._waiting.popleft(), Batch):
            self._use(message)
        self._note(self.assembler.finish())
        self.assembler.close()

    def _use(self, message: Batch) -> None:
        packet = Packet(self.ring.view(message.start, message.count), lost_events=message.lost_events)
        self._note(self.assembler.push(packet, 0.0))

    def _note(self, closed_sweeps) -> None:  # type: ignore[no-untyped-def]
        for closed in closed_sweeps:
            self._check(closed)

    def _check(self, closed: ClosedSweep) -> None:
        latest = closed.snapshot.latest
        number = (latest.sweep.start_us - T0) // SWEEP_US
        self.whole[number] = int(latest.event_count.sum())
        assert latest.events == self.whole[number]
        closed.snapshot.release()


class Camera:
    """Sends a packet each time it is asked, and lets the reader work in between. Sweep n has 4000 + 20 n events."""

    info = SourceInfo("test", 24, 16, ("events",), live=True)

    def __init__(self, reader: Reader, writer: EventRing) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = 0
        self._draw = np.random.default_rng(3)

    def read(self) -> Packet | None:
        self._reader.work(self._writer.written)
        if self._sent == SWEEPS * PACKETS_PER_SWEEP:
            return None
        sweep = self._sent // PACKETS_PER_SWEEP
        events = np.zeros((4000 + 20 * sweep) // PACKETS_PER_SWEEP, EVENT_DTYPE)
        span_us = SWEEP_US // PACKETS_PER_SWEEP
        events["timestamp"] = T0 + self._sent * span_us + np.sort(self._draw.integers(0, span_us, len(events)))
        events["x"], events["y"] = self._draw.integers(0, 24, len(events)), self._draw.integers(0, 16, len(events))
        self._sent += 1
        return Packet(events)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0])
def test_overload_sheds_whole_sweeps_and_spoils_none(rig: Rig, speed: float) -> None:
    here, theirs = Pipe()
    descriptor = EventRing.create(RING_EVENTS)
    writer = EventRing(descriptor)
    reader = Reader(rig, descriptor, here, speed)
    source = CheckedSource(Camera(reader, writer))
    CaptureProcess(theirs, writer, source, None).run()
    reader.finish()

    assembler = reader.assembler
    sent = sum(4000 + 20 * sweep for sweep in range(SWEEPS))
    assert assembler.events + assembler.lost_events == sent
    assert source.health.lost_events == assembler.lost_events
    assert all(events == 4000 + 20 * number for number, events in reader.whole.items()), "what is delivered is whole"
    assert len(reader.whole) == assembler.sweeps
    told = sum(assembler.dropped_sweeps.values()) + reader.sweeps.counters.get("sweeps_without_events", 0)
    assert assembler.sweeps + told == SWEEPS, "and the rest is counted"
    assert reader.most_waiting <= RING_EVENTS, "nothing grows beyond the ring"
    if speed == 1.0:
        assert assembler.sweeps == SWEEPS and not assembler.dropped_sweeps
    else:
        assert assembler.dropped_sweeps["events lost inside the sweep"] > 0
        # Each stretch of loss costs one sweep that was begun and one that it ends in, at most.
        assert assembler.sweeps >= (speed - 0.25) * SWEEPS
