"""From packets to volumes and depth: every event counted once, nothing kept, nothing stuck, nothing silent."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from recordings import small_rig as rig_of_32_bins
from sweeping_pixels import bumps, fire

from edfv_ros.depth import DepthEstimate
from edfv_ros.errors import LensError, RigError, SourceError
from edfv_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, Frame, Packet, SourceInfo, TriggerType
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sync import SweepSource, TrackSweeps, TriggerSweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.lens.waveform import sweep_between
from edfv_ros.pipeline import DepthOutput, DepthPipeline, make_assembler, snapshots
from edfv_ros.pipeline_assembly import SweepAssembler
from edfv_ros.pipeline_slot import NewestSlot
from edfv_ros.rig import Rig, load_rig
from edfv_ros.volume import SweepSnapshot, VolumeRing

T0 = 1_700_000_000_000_000
SWEEP_US = 100_000
SIZE = (24, 16)
WAIT_S = 20.0


def small_rig() -> Rig:
    rig = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
    return rig.model_copy(
        update={
            "camera": rig.camera.model_copy(update={"width_px": SIZE[0], "height_px": SIZE[1]}),
            "volume": rig.volume.model_copy(update={"bins": 8}),
        }
    )


RIG = small_rig()


def random_events(count: int, first_us: int, last_us: int, seed: int = 0) -> NDArray[np.void]:
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    events["timestamp"] = np.sort(rng.integers(first_us, last_us + 1, count))
    events["timestamp"][[0, -1]] = first_us, last_us
    events["x"], events["y"] = rng.integers(0, SIZE[0], count), rng.integers(0, SIZE[1], count)
    events["polarity"] = rng.integers(0, 2, count)
    return events


def track(sweeps: int) -> LensTrack:
    times = T0 + SWEEP_US * np.arange(sweeps + 1.0)
    return LensTrack(times, np.where(np.arange(sweeps + 1) % 2, 4.2, 0.3))


def edges(count: int) -> NDArray[np.void]:
    return np.array([(T0 + SWEEP_US * i, TriggerType.RISING_EDGE) for i in range(count)], TRIGGER_DTYPE)


def counted(events: NDArray[np.void], sweep: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """dI/dv and event count of a sweep of the triangle, counted without the code under test."""
    start = T0 + sweep * SWEEP_US
    part = events[(events["timestamp"] >= start) & (events["timestamp"] < start + SWEEP_US)]
    segment = (part["timestamp"] - start) * RIG.volume.bins // SWEEP_US
    up = sweep % 2 == 0
    bin_index = segment if up else RIG.volume.bins - 1 - segment
    sign = np.where(part["polarity"] == 1, 1, -1) * (1 if up else -1)
    counts = np.zeros((RIG.volume.bins, SIZE[1], SIZE[0]), np.int64)
    np.add.at(counts, (bin_index, part["y"], part["x"]), sign)
    total = np.zeros((SIZE[1], SIZE[0]), np.int64)
    np.add.at(total, (part["y"], part["x"]), 1)
    return counts, total


class PacketCapture:
    """Gives packets the way the capture process does: views into memory that is reused once it is released.

    A packet waits while the memory is full; what is released is overwritten, so that reading it later shows.
    """

    def __init__(self, packets: list[Packet], *, capacity: int = 10**9, forever: bool = False) -> None:
        self.info = SourceInfo("test", *SIZE, ("events", "triggers"), live=False)
        self.health = SimpleNamespace(events=0)
        self.capacity_events = capacity
        self.released = 0
        self.held = 0
        self.timeouts = 0
        self._forever = forever
        self._packets = deque(packets)
        self._memory: deque[NDArray[np.void]] = deque()

    def __enter__(self) -> "PacketCapture":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def read(self, timeout_s: float) -> Packet | None:
        if not self._packets:
            if not self._forever:
                return None
            time.sleep(min(timeout_s, 0.01))
            return Packet()
        if self.held + len(self._packets[0].events) > self.capacity_events:
            self.timeouts += 1
            assert self.timeouts < 100, "the pipeline waits for ever"
            return Packet()
        packet = self._packets.popleft()
        events = packet.events.copy()
        self.held += len(events)
        if len(events):
            self._memory.append(events)
        return Packet(events, packet.triggers, packet.imu, packet.frames, packet.lost_events)

    def release(self, count: int) -> None:
        self.released += count
        self.held -= count
        assert self.held >= 0
        while count:
            part = self._memory[0][:count]
            part["x"], part["y"], part["timestamp"] = 0, 0, T0
            count -= len(part)
            self._memory[0] = self._memory[0][len(part) :]
            if not len(self._memory[0]):
                self._memory.popleft()


def packets(events: NDArray[np.void], cuts_us: list[int], triggers: NDArray[np.void] | None = None) -> list[Packet]:
    """Cut events and triggers at the same times."""
    parts = np.split(events, np.searchsorted(events["timestamp"], cuts_us))
    triggers = np.empty(0, TRIGGER_DTYPE) if triggers is None else triggers
    edge_parts = np.split(triggers, np.searchsorted(triggers["timestamp"], cuts_us))
    return [Packet(events=part, triggers=edge) for part, edge in zip(parts, edge_parts, strict=True)]


def make_ring(slots: int = 6) -> VolumeRing:
    return VolumeRing(RIG.bins, SIZE, slots=slots)


def volumes(
    capture: PacketCapture, sweeps: SweepSource
) -> list[tuple[int, int, NDArray[np.int16], NDArray[np.uint16]]]:
    result = []
    for snapshot in snapshots(RIG, capture, sweeps, ring=make_ring()):
        latest = snapshot.latest
        result.append((snapshot.index, latest.sweep.direction, latest.counts.copy(), latest.event_count.copy()))
        snapshot.release()
    return result


@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(-20_000, 450_000), max_size=12).map(sorted),
    source=st.sampled_from(["track", "trigger"]),
)
@settings(max_examples=60, deadline=None)
def test_every_event_of_a_sweep_is_counted_once(seed: int, cuts: list[int], source: str) -> None:
    events = random_events(3000, T0 - 20_000, T0 + 4 * SWEEP_US + 20_000, seed)
    capture = PacketCapture(packets(events, [T0 + cut for cut in cuts], edges(5)))
    sweeps = TrackSweeps(track(4), RIG) if source == "track" else TriggerSweeps(RIG)
    found = volumes(capture, sweeps)
    assert [index for index, *_ in found] == [0, 1, 2, 3]
    for index, direction, counts, event_count in found:
        expected, total = counted(events, index)
        assert direction == (1 if index % 2 == 0 else -1)
        np.testing.assert_array_equal(counts, expected)
        np.testing.assert_array_equal(event_count, total)
    if source == "track":
        assert capture.held == 0


def test_events_wait_unreleased_until_their_sweep_is_known_and_no_longer() -> None:
    events = random_events(4000, T0, T0 + 4 * SWEEP_US)
    capture = PacketCapture(packets(events, [T0 + 10_000 * i for i in range(1, 41)], edges(5)))
    most = 0
    for snapshot in snapshots(RIG, capture, TriggerSweeps(RIG), ring=make_ring()):
        most = max(most, capture.held)
        snapshot.release()
    assert most < 250  # those of the packet that closed the sweep


def test_a_snapshot_brings_the_sweep_before_it_and_the_newest_frame_within() -> None:
    events = random_events(2000, T0, T0 + 3 * SWEEP_US)
    image = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    frames = tuple(Frame(T0 + at, 8_000, image) for at in (-5_000, 50_000, 95_000, 150_000, 198_000))
    capture = PacketCapture([Packet(events=events, frames=frames)])
    seen = []
    for snapshot in snapshots(RIG, capture, TrackSweeps(track(3), RIG), ring=make_ring()):
        opposite = snapshot.opposite.sweep.start_us - T0 if snapshot.opposite else None
        seen.append((opposite, snapshot.frame.timestamp_us - T0 if snapshot.frame else None))
        snapshot.release()
    assert seen == [(None, 50_000), (0, 150_000), (SWEEP_US, 198_000)]


def assemble(
    capture: PacketCapture, sweeps: SweepSource, ring: VolumeRing | None = None
) -> tuple[list[int], SweepAssembler]:
    """Indices of the whole sweeps, and the assembler with its counters."""
    assembler = make_assembler(RIG, capture, sweeps, ring or make_ring())  # type: ignore[arg-type]
    indices = []

    def keep(closed: Iterator) -> None:  # type: ignore[type-arg]
        for one in closed:
            indices.append(one.snapshot.index)
            one.snapshot.release()

    while (packet := capture.read(0.0)) is not None:
        keep(assembler.push(packet, time.monotonic()))
    keep(assembler.finish())
    assembler.close()
    return indices, assembler


@pytest.mark.parametrize("source", ["track", "trigger"])
@pytest.mark.parametrize(("part", "left"), [(4, [0, 2, 3, 4]), (5, [0, 3, 4]), (0, [0, 1, 2, 3, 4])])
def test_a_sweep_with_lost_events_is_dropped_and_counted(source: str, part: int, left: list[int]) -> None:
    events = random_events(5000, T0, T0 + 5 * SWEEP_US)
    parts = packets(events, [T0 + 30_000 + 35_000 * i for i in range(13)], edges(6))  # 4: 135 to 170 ms
    whole = parts[part]
    parts[part] = Packet(whole.events if part == 0 else whole.events[:0], whole.triggers)
    after = parts[part + 1] if part else parts[0]
    parts[part + 1 if part else 0] = Packet(after.events, after.triggers, lost_events=len(whole.events))
    sweeps = TrackSweeps(track(5), RIG) if source == "track" else TriggerSweeps(RIG)
    indices, assembler = assemble(PacketCapture(parts), sweeps)
    assert indices == left
    assert assembler.dropped_sweeps["events lost inside the sweep"] == 5 - len(left)
    assert assembler.lost_events == len(whole.events)


def test_a_sweep_that_the_events_cover_in_part_is_dropped_and_counted() -> None:
    events = random_events(3000, T0 + 30_000, T0 + 3 * SWEEP_US + 50_000)
    indices, assembler = assemble(PacketCapture([Packet(events=events)]), TrackSweeps(track(4), RIG))
    assert indices == [1, 2]
    assert assembler.dropped_sweeps == {"events begin inside the sweep": 1, "events end inside the sweep": 1}


def test_a_full_ring_without_a_sweep_neither_blocks_nor_goes_unsaid(caplog: pytest.LogCaptureFixture) -> None:
    events = random_events(10_000, T0, T0 + 5 * SWEEP_US)
    parts = packets(events, [T0 + 5_000 * i for i in range(1, 100)], edges(6))
    indices, assembler = assemble(PacketCapture(parts, capacity=1500), TriggerSweeps(RIG))
    assert indices == []
    assert assembler.unplaced_events > 0
    assert assembler.dropped_sweeps == {"ring full before the sweep was known": 5}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


class ToldSweeps:
    """A source that gives the sweeps it is told to."""

    def __init__(self) -> None:
        self.discard_before_us = 0
        self.counters: dict[str, int] = {}
        self.timing: dict[str, float] = {}
        self.ready: deque[FocusSweep] = deque()

    def observe(self, packet: Packet) -> None:
        return None

    def take(self) -> FocusSweep | None:
        return self.ready.popleft() if self.ready else None

    def finish(self) -> None:
        return None


def test_why_a_sweep_is_late_is_told_sweep_by_sweep() -> None:
    told = ToldSweeps()
    assembler = SweepAssembler(told, make_ring(), lambda count: None, capacity_events=2000)
    early, first, third, fourth = (
        sweep_between(RIG, T0 + at * SWEEP_US, T0 + (at + 1) * SWEEP_US, 1) for at in (-0.5, 0, 2, 3)
    )

    def push(from_us: int, until_us: int, count: int) -> list[int]:
        closed = list(assembler.push(Packet(random_events(count, T0 + from_us, T0 + until_us)), 0.0))
        return [one.snapshot.latest.sweep.start_us - T0 for one in closed]

    push(0, 190_000, 1800)
    assert assembler.unplaced_events > 0
    told.ready += [early, first]
    push(190_001, 290_000, 10)
    told.discard_before_us = T0 + 290_000
    push(290_001, 299_000, 10)
    told.ready += [third, fourth]
    assert push(300_000, 401_000, 100) == [300_000]
    assert assembler.dropped_sweeps == {
        "events begin inside the sweep": 1,
        "ring full before the sweep was known": 1,
        "sweep known too late": 1,
    }
    assembler.close()


def test_a_sweep_s_index_is_its_number_whatever_was_missed() -> None:
    events = random_events(3000, T0, T0 + 10 * SWEEP_US + 50_000)
    seen = np.delete(edges(11), 4)
    capture = PacketCapture(packets(events, [T0 + 10_000 * i for i in range(1, 100)], seen))
    assert assemble(capture, TriggerSweeps(RIG))[0] == [0, 1, 2, 5, 6, 7, 8, 9]
    late = events[events["timestamp"] >= T0 + 3 * SWEEP_US]
    assert assemble(PacketCapture([Packet(events=late)]), TrackSweeps(track(10), RIG))[0] == list(range(3, 10))


def test_volumes_that_nobody_releases_cost_sweeps_and_not_the_pipeline() -> None:
    events = random_events(3000, T0, T0 + 8 * SWEEP_US)
    held = []
    capture = PacketCapture(packets(events, [T0 + 10_000 * i for i in range(1, 80)]))
    assembler = make_assembler(RIG, capture, TrackSweeps(track(8), RIG), make_ring(3))  # type: ignore[arg-type]
    while (packet := capture.read(0.0)) is not None:
        held += list(assembler.push(packet, 0.0))
    held += list(assembler.finish())
    assert len(held) == 3 and assembler.dropped_sweeps == {"all volumes are held": 5}
    assert capture.held == 0


def test_volumes_go_back_to_the_ring_when_all_is_done() -> None:
    ring = make_ring(4)
    events = random_events(3000, T0, T0 + 8 * SWEEP_US)
    for _ in range(3):
        assert assemble(PacketCapture([Packet(events=events)]), TrackSweeps(track(8), RIG), ring)[0] == list(range(8))
    early = snapshots(RIG, PacketCapture([Packet(events=events)]), TrackSweeps(track(8), RIG), ring=ring)
    next(early).release()
    early.close()
    assert [ring.open(track(1).sweeps(RIG.bins)[0]) and ring.close() is not None for _ in range(4)] == [True] * 4


def test_a_camera_of_another_size_than_the_rig_s_is_an_error() -> None:
    capture = PacketCapture([])
    capture.info = SourceInfo("DVXplorer", 640, 480, ("events",), live=False)
    with pytest.raises(RigError, match=r"24 x 16.*640 x 480.*DVXplorer"):
        next(snapshots(RIG, capture, TriggerSweeps(RIG), ring=make_ring()))  # type: ignore[arg-type]


def test_events_without_sweeps_end_in_the_sweep_source_s_error() -> None:
    capture = PacketCapture([Packet(events=random_events(100, T0, T0 + 50_000))])
    with pytest.raises(LensError, match="no trigger edge"):
        volumes(capture, TriggerSweeps(RIG))


class BlankEstimator:
    """An estimator that waits for a permit before each estimate."""

    def __init__(self, *, permits: threading.Semaphore | None = None, error: Exception | None = None) -> None:
        self._permits = permits
        self._error = error

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        if self._permits is not None:
            assert self._permits.acquire(timeout=WAIT_S)
        if self._error is not None:
            raise self._error
        blank = np.full(snapshot.latest.event_count.shape, np.nan, np.float32)
        return DepthEstimate(blank, blank, blank, blank)


def pipeline(
    open_capture: Callable[[], PacketCapture],
    on_depth: Callable[[DepthOutput], None],
    *,
    estimator: BlankEstimator | None = None,
    sweeps: int = 4,
) -> DepthPipeline:
    return DepthPipeline(
        RIG,
        open_capture,  # type: ignore[arg-type]
        lambda: TrackSweeps(track(sweeps), RIG),
        estimator or BlankEstimator(),
        on_depth,
    )


def test_live_depth_comes_with_its_sweep_and_its_latency() -> None:
    outputs: list[DepthOutput] = []
    events = random_events(4000, T0, T0 + 4 * SWEEP_US)
    live = pipeline(lambda: PacketCapture([Packet(events=events[:1500]), Packet(events=events[1500:])]), outputs.append)
    live.start()
    assert live.wait(WAIT_S) and not live.is_running
    statistics = live.statistics()
    assert outputs and outputs[-1].index == 3 and outputs[-1].sweep.direction == -1
    assert outputs[-1].events == np.count_nonzero(events["timestamp"] >= T0 + 3 * SWEEP_US) - 1
    assert statistics.error is None and statistics.sweeps == 4 and statistics.events == 4000
    assert statistics.depths == len(outputs) == 4 - statistics.dropped_sweeps.get("estimator busy", 0)
    assert 0 < statistics.latency_ms["p50"] <= statistics.latency_ms["max"] < WAIT_S * 1e3


def test_a_slow_estimator_gets_the_newest_sweep_and_the_others_are_counted() -> None:
    outputs: list[DepthOutput] = []
    permits = threading.Semaphore(0)
    events = random_events(8000, T0, T0 + 20 * SWEEP_US)
    capture = PacketCapture(packets(events, [T0 + 20_000 * i for i in range(1, 100)]))
    live = pipeline(lambda: capture, outputs.append, estimator=BlankEstimator(permits=permits), sweeps=20)
    live.start()
    deadline = time.monotonic() + WAIT_S
    while live.statistics().sweeps < 20 and time.monotonic() < deadline:
        time.sleep(0.005)
    permits.release(20)
    assert live.wait(WAIT_S)
    statistics = live.statistics()
    assert statistics.error is None and outputs[-1].index == 19
    assert statistics.depths + statistics.dropped_sweeps["estimator busy"] == 20
    assert statistics.depths <= 3


@pytest.mark.parametrize("where", ["capture", "read", "estimator", "consumer"])
def test_an_error_in_either_thread_stops_both_and_is_told(where: str) -> None:
    def fail(*_: object) -> None:
        raise SourceError("the camera\nis gone") if where != "consumer" else ZeroDivisionError("a bug")

    class Unplugged(PacketCapture):
        def read(self, timeout_s: float) -> Packet | None:
            packet = super().read(timeout_s)
            if packet is None or not len(packet.events):
                fail()
            return packet

    events = random_events(4000, T0, T0 + 4 * SWEEP_US)
    parts = [Packet(events=events)]
    kind = Unplugged if where == "read" else PacketCapture
    live = pipeline(
        fail if where == "capture" else lambda: kind(parts, forever=True),  # type: ignore[arg-type]
        fail if where == "consumer" else lambda output: None,
        estimator=BlankEstimator(error=SourceError("the camera is gone") if where == "estimator" else None),
    )
    live.start()
    assert live.wait(WAIT_S)
    expected = "internal error: ZeroDivisionError: a bug" if where == "consumer" else "the camera is gone"
    assert live.statistics().error == expected


def test_stopping_is_prompt_even_where_no_event_comes() -> None:
    live = pipeline(lambda: PacketCapture([], forever=True), lambda output: None)
    live.start()
    assert live.is_running
    assert live.stop(WAIT_S)
    assert live.statistics().error is None


def test_a_thread_that_does_not_end_in_time_is_named(caplog: pytest.LogCaptureFixture) -> None:
    entered, permit = threading.Event(), threading.Event()

    def hang(output: DepthOutput) -> None:
        entered.set()
        assert permit.wait(WAIT_S)

    events = random_events(4000, T0, T0 + 4 * SWEEP_US)
    live = pipeline(lambda: PacketCapture([Packet(events=events)], forever=True), hang)
    live.start()
    assert entered.wait(WAIT_S)
    assert not live.stop(0.3)
    permit.set()
    assert live.wait(WAIT_S)
    assert "edfv-estimate did not end within 0.3 s" in caplog.text


def test_stopping_from_the_consumer_does_not_wait_for_itself() -> None:
    done = threading.Event()

    def stop_now(output: DepthOutput) -> None:
        live.stop(WAIT_S)
        done.set()

    events = random_events(4000, T0, T0 + 4 * SWEEP_US)
    live = pipeline(lambda: PacketCapture([Packet(events=events)], forever=True), stop_now)
    live.start()
    assert done.wait(WAIT_S) and live.wait(WAIT_S)


def test_the_slot_keeps_the_newest_and_hands_back_the_rest() -> None:
    slot = NewestSlot[int]()
    assert slot.put(1) is None and slot.put(2) == 1
    assert slot.take() == 2
    slot.put(3)
    slot.close()
    assert slot.put(4) == 4
    assert slot.take() == 3 and slot.take() is None


@pytest.mark.parametrize("correct_lag", [True, False])
def test_the_lag_of_the_events_is_told_and_taken_out_of_the_sweeps_to_come_where_asked(correct_lag: bool) -> None:
    rig, lag_us, sweeps = rig_of_32_bins(96, 80), 2_000.0, 7
    signal = bumps(rig, 0)
    events = fire(rig, lambda sweep: signal, sweeps, lag_us)
    assert int(events["timestamp"][0]) >= T0
    outputs: list[DepthOutput] = []

    class Paced(PacketCapture):
        """Gives a sweep's events once there is depth of what came before, and from the fifth on a lag."""

        given = 0

        def read(self, timeout_s: float) -> Packet | None:
            deadline = time.monotonic() + WAIT_S
            while time.monotonic() < deadline and not self.is_due():
                time.sleep(0.002)
            self.given += 1
            return super().read(timeout_s)

        def is_due(self) -> bool:
            now = live.statistics()
            return now.depths >= self.given - 1 and (self.given < 5 or now.lag.measurements >= 2)

    capture = Paced(packets(events, [T0 + SWEEP_US * i for i in range(1, sweeps)]))
    capture.info = SourceInfo("TEST", *rig.camera.resolution, ("events",), live=True)
    live = DepthPipeline(
        rig,
        lambda: capture,  # type: ignore[arg-type, return-value]
        lambda: TrackSweeps(track(sweeps), rig),
        BlankEstimator(),
        outputs.append,
        correct_lag=correct_lag,
    )
    live.start()
    assert live.wait(2 * WAIT_S)
    statistics = live.statistics()
    assert statistics.error is None and statistics.timing == {}
    tolerance_us = 0.2 * SWEEP_US / rig.bins.count
    assert statistics.lag.lag is not None and statistics.lag.lag.lag_us == pytest.approx(lag_us, abs=tolerance_us)
    assert outputs[0].sweep.lag_us == 0.0
    assert outputs[-1].sweep.lag_us == (pytest.approx(lag_us, abs=tolerance_us) if correct_lag else 0.0)
