"""Sweeps from what the lens reports while it moves."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from edfv_ros.errors import LensError
from edfv_ros.events.types import Packet, TriggerType
from edfv_ros.lens.clock import ClockModel, RoundTrip
from edfv_ros.lens.delay import optical_time_us
from edfv_ros.lens.driver import LensSample
from edfv_ros.lens.patience import patience_us
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sweep_search import find_sweeps
from edfv_ros.rig import Rig

_FIRST_QUERIES = 8
_QUERY_EVERY_S = 0.5
_QUERY_AFTER_FAILURE_S = 10.0  # a lens that hangs costs a time-out each time
_LONGEST_HOLE_RATIO = 0.25  # of a sweep: a hole in the telemetry longer than this breaks the sweep
_FLY_BACK_RATIO = 0.5  # of a sweep: a run shorter than this is a fly-back
_KEPT_SWEEPS = 10
_LATENESS_US = 200_000


class ReportingLens(Protocol):
    """What is asked of a lens here; every :class:`~edfv_ros.lens.driver.LensDriver` has it."""

    garbled_lines: int

    def telemetry(self) -> list[LensSample]: ...

    def query_clock(self) -> RoundTrip: ...


class TelemetrySweeps:
    """Sweeps between turning points that the lens's telemetry shows, on the host's clock.

    The camera's time is unix time as the host's is; the lens's clock is fitted to it by round trips. The commanded
    set points are delayed by ``lens.delay_ms``.

    Attributes:
        clock: the fit of the lens's clock.
        counters: ``lost_samples`` (jumps in the sequence), ``samples_out_of_order``, ``partial_sweeps``,
            ``fly_backs``, ``broken_sweeps`` (cut by a hole in the telemetry), ``garbled_lines``, ``clock_restarts``.
        timing: ``samples``, and of the present fit of the lens's clock to the host's ``clock_drift_ppm``,
            ``clock_uncertainty_us`` and ``clock_round_trip_us`` (the quickest of the last ones).

    Args:
        rig: its sweep and delay.
        driver: the open lens.
        monotonic_s: the time that paces the queries of the lens's clock.
        advice: what to do where the lens reports nothing.
    """

    def __init__(
        self,
        rig: Rig,
        driver: ReportingLens,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        advice: str = "start its sweep, or use sweep.sync: trigger",
    ) -> None:
        self._rig = rig
        self._advice = advice
        self._monotonic_s = monotonic_s
        self._driver = driver
        self.clock = ClockModel()
        self._times_us: list[float] = []
        self._vergence_dpt: list[float] = []
        self._holes_us: list[tuple[float, float]] = []
        self._last: LensSample | None = None
        self._next_query_s = -np.inf
        self._ready: deque[FocusSweep] = deque()
        self._newest: FocusSweep | None = None
        self._counts = Counter[str]()
        self._first_event_us: int | None = None
        self._now_us = 0
        self._samples = 0
        self._discard_before_us = 0

    @property
    def counters(self) -> dict[str, int]:
        counts = {
            **self._counts,
            "garbled_lines": self._driver.garbled_lines,
            "clock_restarts": self.clock.restarts,
        }
        return {name: count for name, count in counts.items() if count}

    @property
    def timing(self) -> dict[str, float]:
        timing: dict[str, float] = {"samples": self._samples}
        if self.clock.ready:
            timing["clock_drift_ppm"] = self.clock.drift_ppm
            timing["clock_uncertainty_us"] = self.clock.uncertainty_us
            timing["clock_round_trip_us"] = self.clock.round_trip_us
        return timing

    @property
    def discard_before_us(self) -> int:
        """Events before this time belong to no sweep to come."""
        return self._discard_before_us

    def observe(self, packet: Packet) -> None:
        """Take in the telemetry that has come, and how far the packet's events have got.

        Raises:
            LensError: the lens went away, or reports nothing; the camera's clock was reset.
        """
        if np.any(packet.triggers["type"] == TriggerType.TIMESTAMP_RESET) and self._first_event_us is not None:
            raise LensError(
                "the camera's clock was reset, so it is no longer the host's and telemetry cannot be matched with the "
                "events: open the camera again, or use sweep.sync: trigger"
            )
        if len(packet.events):
            self._now_us = int(packet.events["timestamp"][-1])
            if self._first_event_us is None:
                self._first_event_us = int(packet.events["timestamp"][0])
        self._query_clock()
        if self._take_in_samples():
            self._find_sweeps(complete=False)
        self._complain_of_silence()
        self._update_discard()

    def take(self) -> FocusSweep | None:
        """The next sweep whose second turning point has been reported."""
        sweep = self._ready.popleft() if self._ready else None
        self._update_discard()
        return sweep

    def finish(self) -> None:
        """The source ended: the last sweep ends with the last sample."""
        self._take_in_samples()
        self._find_sweeps(complete=True)
        self._update_discard()

    def _query_clock(self) -> None:
        if self._monotonic_s() < self._next_query_s:
            return
        pause_s = _QUERY_AFTER_FAILURE_S
        try:
            for _ in range(1 if self.clock.ready else _FIRST_QUERIES):
                self.clock.add(self._driver.query_clock())
            pause_s = _QUERY_EVERY_S
        finally:
            self._next_query_s = self._monotonic_s() + pause_s

    def _take_in_samples(self) -> int:
        known = len(self._times_us)
        for sample in self._driver.telemetry():
            last, self._last = self._last, sample
            self._samples += 1
            if last is not None and (sample.device_us, sample.vergence_dpt) == (last.device_us, last.vergence_dpt):
                continue  # a turning point, reported as an end and as a beginning
            time_us = optical_time_us(self.clock.host_us(sample.device_us), self._rig)
            ahead = last is None or sample.sequence > last.sequence
            if not ahead or (self._times_us and time_us <= self._times_us[-1]):
                self._counts["samples_out_of_order"] += 1
                continue
            if last is not None and sample.sequence > last.sequence + 1:
                self._counts["lost_samples"] += sample.sequence - last.sequence - 1
                if self._times_us:
                    self._holes_us.append((self._times_us[-1], time_us))
            self._times_us.append(time_us)
            self._vergence_dpt.append(sample.vergence_dpt)
        return len(self._times_us) - known

    def _find_sweeps(self, *, complete: bool) -> None:
        if len(self._times_us) < 2:
            return
        times_us, vergence_dpt = np.array(self._times_us), np.array(self._vergence_dpt)
        duration_us = self._rig.sweep.duration_us
        found = find_sweeps(times_us, vergence_dpt, self._rig.bins, complete=complete)
        for sweep in found.sweeps:
            start_us, end_us = sweep.timestamps_us[0], sweep.timestamps_us[-1]
            if end_us - start_us < _FLY_BACK_RATIO * duration_us:
                self._counts["fly_backs"] += 1
            elif any(self._breaks(hole, start_us, end_us) for hole in self._holes_us):
                self._counts["broken_sweeps"] += 1
            else:
                self._newest = replace(sweep, number=self._number_of(sweep))
                self._ready.append(self._newest)
        self._counts["partial_sweeps"] += found.partial
        self._counts["fly_backs"] += found.fly_backs
        oldest = int(np.searchsorted(times_us, times_us[-1] - _KEPT_SWEEPS * duration_us))
        kept_from = len(times_us) if complete else max(found.open_from, oldest)
        del self._times_us[:kept_from], self._vergence_dpt[:kept_from]
        self._holes_us = [hole for hole in self._holes_us if hole[1] >= times_us[min(kept_from, len(times_us) - 1)]]

    def _number_of(self, sweep: FocusSweep) -> int:
        """Number of the sweep after the newest one; what fits in between has been missed."""
        if self._newest is None:
            return 0
        missed = round((sweep.timestamps_us[0] - self._newest.timestamps_us[-1]) / self._rig.sweep.duration_us)
        return self._newest.number + 1 + missed

    def _breaks(self, hole_us: tuple[float, float], start_us: float, end_us: float) -> bool:
        """Whether lost samples leave a sweep uncertain: too many of them, or where it turned."""
        first_us, last_us = hole_us
        if last_us < start_us or first_us > end_us:
            return False
        long = last_us - first_us > _LONGEST_HOLE_RATIO * self._rig.sweep.duration_us
        return long or first_us <= start_us or last_us >= end_us

    def _complain_of_silence(self) -> None:
        if self._samples or self._first_event_us is None:
            return
        silent_us = self._now_us - self._first_event_us
        if silent_us > patience_us(self._rig.sweep.duration_us):
            raise LensError(f"the lens has reported no motion in {silent_us / 1e6:.2g} s of events: {self._advice}")

    def _update_discard(self) -> None:
        if self._ready:
            before_us = self._ready[0].start_us
        elif self._times_us and self._now_us - self._times_us[0] < 2 * self._rig.sweep.duration_us + _LATENESS_US:
            before_us = int(self._times_us[0])
        else:
            before_us = self._now_us - _LATENESS_US
        self._discard_before_us = max(self._discard_before_us, before_us)
