"""The way of the data: capture, sweeps, volumes, depth. No ROS, no devices, no numerics of its own."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing

import numpy as np

from edfv_ros.depth import DepthEstimator
from edfv_ros.errors import EdfvError
from edfv_ros.events import Packet, SourceInfo
from edfv_ros.events.source import PacketReader
from edfv_ros.lag_check import LagCheck
from edfv_ros.lens.sync import SweepSource
from edfv_ros.pipeline_assembly import ClosedSweep, SweepAssembler
from edfv_ros.pipeline_outputs import DepthOutput, PipelineStatistics
from edfv_ros.pipeline_rolling import parts_for
from edfv_ros.pipeline_slot import NewestSlot
from edfv_ros.recording import check_resolution
from edfv_ros.rig import Rig
from edfv_ros.volume import SweepSnapshot, VolumeRing

__all__ = ["DepthOutput", "DepthPipeline", "PipelineStatistics", "assembled", "make_assembler", "snapshots"]

READ_TIMEOUT_S = 0.1
_LATENCIES_KEPT = 256

logger = logging.getLogger(__name__)


def snapshots(
    rig: Rig, capture: PacketReader, sweeps: SweepSource, *, ring: VolumeRing
) -> Generator[SweepSnapshot, None, None]:
    """Read a capture to its end and yield every whole sweep; the caller releases each snapshot.

    Nothing is skipped: the next sweep is read when it is asked for. A snapshot's index is the number of its sweep, so
    sweeps that were missed or not whole leave a gap in it.

    Raises:
        SourceError, LensError, RigError: the source broke, there are no sweeps, the camera is not the rig's.
    """
    assembler = make_assembler(rig, capture, sweeps, ring)
    with closing(assembled(capture, assembler)) as sweeps_in_turn:
        for closed in sweeps_in_turn:
            yield closed.snapshot


def make_assembler(rig: Rig, capture: PacketReader, sweeps: SweepSource, ring: VolumeRing) -> SweepAssembler:
    """Join a capture with the lens's sweeps, where they fit the rig; ``assembled`` runs it."""
    check_resolution(rig, capture.info, "the source")
    return SweepAssembler(sweeps, ring, capture.release, capture.capacity_events)


def assembled(
    capture: PacketReader,
    assembler: SweepAssembler,
    stop: threading.Event | None = None,
    on_packet: Callable[[Packet], None] = lambda packet: None,
) -> Generator[ClosedSweep, None, None]:
    """Read, accumulate, close: until the source ends or ``stop`` is set. Closing it lets go of what it holds.

    ``on_packet`` is shown every packet before it is used; its events are not to be kept.
    """
    try:
        while stop is None or not stop.is_set():
            packet = capture.read(READ_TIMEOUT_S)
            if packet is None:
                yield from assembler.finish()
                return
            on_packet(packet)
            yield from assembler.push(packet, time.monotonic())
    finally:
        assembler.close()


class DepthPipeline:
    """Live depth: one thread reads and accumulates, another estimates the newest sweep there is.

    Where the estimator is slower than the lens, sweeps between are dropped and counted, so latency does not grow.

    Args:
        rig: camera, lens and sweep.
        open_capture: makes the capture, a context manager; called in the reading thread.
        open_sweeps: makes the sweep source; called in the reading thread once the capture is open.
        estimator: used by the estimating thread only.
        on_depth: called in the estimating thread; must not block for long.
        device: where volumes are kept, ``cpu`` or a torch device.
        rate_hz: depth images a second that there are to be, between turning points too; 0 for one a sweep.
        correct_lag: whether the lag between lens and events that is found is taken out of the sweeps to come.
        find_lag: whether it is looked for at all; not where much of the scene lies outside of the sweep, as what is
            never in focus seems to move by bins between up and down.
        on_packet: called in the reading thread with every packet; must not block for long.
    """

    def __init__(
        self,
        rig: Rig,
        open_capture: Callable[[], PacketReader],
        open_sweeps: Callable[[], SweepSource],
        estimator: DepthEstimator,
        on_depth: Callable[[DepthOutput], None],
        *,
        device: str = "cpu",
        rate_hz: float = 0.0,
        correct_lag: bool = False,
        find_lag: bool = True,
        on_packet: Callable[[Packet], None] = lambda packet: None,
    ) -> None:
        self._rig = rig
        self._on_packet = on_packet
        self._lag = LagCheck(rig, corrects=correct_lag and find_lag)
        self._find_lag = find_lag
        self._open_capture = open_capture
        self._open_sweeps = open_sweeps
        self._estimator = estimator
        self._on_depth = on_depth
        self._device = device
        self._rate_hz = rate_hz
        self._stop = threading.Event()
        self._slot = NewestSlot[ClosedSweep]()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"edfv-{name}", daemon=True)
            for name, work in (("accumulate", self._accumulate), ("estimate", self._estimate))
        ]
        self._lock = threading.Lock()
        self._capture: PacketReader | None = None
        self._sweeps: SweepSource | None = None
        self._assembler: SweepAssembler | None = None
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._depths = 0
        self._busy = 0
        self._error: str | None = None

    def start(self) -> None:
        """Start both threads. A pipeline runs once; make another to run again."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Stop both threads and wait; false where one has not ended in time."""
        self._stop.set()
        self._slot.close()
        ended = self.wait(timeout_s)
        late = [
            thread.name for thread in self._threads if thread.is_alive() and thread is not threading.current_thread()
        ]
        if late:
            logger.warning("%s did not end within %g s and goes on", " and ".join(late), timeout_s)
        return ended

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the source, an error or :meth:`stop`; false where it has not come in time."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        return not self.is_running

    @property
    def is_open(self) -> bool:
        """Whether the source has been opened and fits the rig; stays true when it has ended."""
        return self._assembler is not None

    @property
    def source_info(self) -> SourceInfo | None:
        """What the source says of itself; None before it opened."""
        return self._capture.info if self._capture else None

    @property
    def newest_us(self) -> int:
        """Time of the newest event that was read, unix microseconds on the camera's clock; -1 before the first."""
        return self._assembler.newest_us if self._assembler else -1

    @property
    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def statistics(self) -> PipelineStatistics:
        """Counters so far; cheap, from any thread."""
        assembler, capture, sweeps = self._assembler, self._capture, self._sweeps
        dropped = dict(assembler.dropped_sweeps) if assembler else {}
        with self._lock:
            latencies_ms = list(self._latencies_ms)
            if self._busy:
                dropped["estimator busy"] = self._busy
        percentiles = np.percentile(latencies_ms, (50, 95, 100)).tolist() if latencies_ms else []
        return PipelineStatistics(
            events=assembler.events if assembler else 0,
            lost_events=assembler.lost_events if assembler else 0,
            unplaced_events=assembler.unplaced_events if assembler else 0,
            sweeps=assembler.sweeps if assembler else 0,
            depths=self._depths,
            dropped_sweeps=dropped,
            lens=sweeps.counters if sweeps else {},
            timing=sweeps.timing if sweeps else {},
            lag=self._lag.report,
            latency_ms=dict(zip(("p50", "p95", "max"), percentiles, strict=False)),
            health=capture.health if capture else None,
            error=self._error,
        )

    def _accumulate(self) -> None:
        rig = self._rig
        parts = parts_for(self._rate_hz, rig.sweep.duration_us, rig.bins.count)
        ring = VolumeRing(rig.bins, rig.camera.resolution, device=self._device, parts=parts)
        with self._open_capture() as capture:
            self._capture = capture
            self._sweeps = self._lag.corrected(self._open_sweeps())
            self._assembler = make_assembler(self._rig, capture, self._sweeps, ring)
            for closed in assembled(capture, self._assembler, self._stop, self._on_packet):
                displaced = self._slot.put(closed)
                if displaced is not None:
                    displaced.snapshot.release()
                    with self._lock:
                        self._busy += 1
        self._slot.close()

    def _estimate(self) -> None:
        while (closed := self._slot.take()) is not None:
            snapshot = closed.snapshot
            if self._stop.is_set():
                snapshot.release()
                return
            try:
                estimate = self._estimator.estimate(snapshot)
                latency_ms = (time.monotonic() - closed.received_s) * 1e3
                latest = snapshot.latest
                output = DepthOutput(
                    snapshot.index, latest.sweep, estimate, snapshot.frame, latest.events, latency_ms, snapshot
                )
                with self._lock:
                    self._depths += 1
                    self._latencies_ms.append(latency_ms)
                self._on_depth(output)
                if self._find_lag and not snapshot.part:
                    self._lag.look(snapshot)  # when the depth is out: nobody waits for it
            finally:
                snapshot.release()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run a thread; whatever ends it early ends the other one too, and the first of it is what is reported."""
        try:
            work()
        except Exception as error:
            with self._lock:
                first = self._error is None and not self._stop.is_set()
                if first:
                    self._error = _one_line(error)
            self._stop.set()
            self._slot.close()
            if first and not isinstance(error, EdfvError):
                logger.exception("internal error in the depth pipeline")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, EdfvError) else f"internal error: {type(error).__name__}: {text}"
