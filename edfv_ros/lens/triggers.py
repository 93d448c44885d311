"""Sweeps from trigger edges: the lens marks its turning points, the waveform fills in between."""

from collections import Counter, deque
from dataclasses import replace
from itertools import pairwise
from statistics import fmean, median

from edfv_ros.errors import LensError
from edfv_ros.events.types import Packet, TriggerType
from edfv_ros.lens.delay import optical_time_us
from edfv_ros.lens.edges import Edge, EdgeDetector
from edfv_ros.lens.patience import patience_us
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.waveform import sweep_between
from edfv_ros.rig import Rig

_JITTER_RATIO = 0.1  # of a sweep: how far an edge may lie from where it is due
_RIG_ERROR_RATIO = 0.1  # how wrong the rig's frequency may be before the triggers have shown their own
_FREQUENCY_ERROR_RATIO = 0.2  # from here on the rig's frequency and the triggers contradict each other
_MEASURED_FROM = 3  # spacings
_STABILITY = 1e-3  # of the lens's own frequency
_EDGES_BEFORE_JUDGEMENT = 8
_LATENESS_US = 100_000  # triggers may come this much later than events of the same time


class TriggerSweeps:
    """Sweeps between consecutive turning points, each marked by a rising edge.

    Where falling edges are recorded too, the width of the pulse says which turn it is. With rising edges only, the
    first edge (and the first after a clock break) is taken for a far turn, and which turn a later one is follows from
    the time since, across missed edges too. A sawtooth turns at both ends at once: one edge per period.

    A sweep is delivered only between two neighbouring turning points that are both certain. Missed edges, edges out of
    rhythm and pulses that contradict their place cost the sweeps they touch, and are counted.

    Attributes:
        counters: ``missed_edges``, ``doubled_edges`` (bounces removed), ``edges_out_of_rhythm``,
            ``contradicting_pulses``, ``dropped_sweeps`` (what these cost), ``clock_breaks``.
        timing: ``edges``, and once there is a rhythm ``edge_spacing_us`` (mean of the last ones), ``edge_jitter_us``
            (the farthest of them from it) and ``frequency_error_ppm`` (of the lens against the rig file, on the
            camera's clock).
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._nominal_us = rig.sweep.duration_us
        self._first_event_us: int | None = None
        self._now_us: int | None = None
        self._edges = 0
        self._falling_edges = 0
        self._sweeps_ever = 0
        self._ready: deque[FocusSweep] = deque()
        self._discard_before_us = 0
        self._counts = Counter[str]()
        self._timing: dict[str, float] = {}
        self._start_over()

    @property
    def counters(self) -> dict[str, int]:
        return {name: count for name, count in dict(self._counts).items() if count}

    @property
    def timing(self) -> dict[str, float]:
        return dict(self._timing)

    @property
    def discard_before_us(self) -> int:
        """Events before this time belong to no sweep to come."""
        return self._discard_before_us

    def observe(self, packet: Packet) -> None:
        """Learn the packet's edges and how far its events have got.

        Raises:
            LensError: no trigger comes at all, the triggers' frequency is not the rig's, or it can no longer be told
                which turning point an edge marks.
        """
        if len(packet.events):
            if self._first_event_us is None:
                self._first_event_us = int(packet.events["timestamp"][0])
            self._advance_to(int(packet.events["timestamp"][-1]))
        for time_us, kind in packet.triggers.tolist():
            if kind == TriggerType.TIMESTAMP_RESET:
                self._judge_edges(None)
                self._counts["clock_breaks"] += self._anchor is not None
                self._start_over()
            elif kind == TriggerType.RISING_EDGE:
                self._advance_to(time_us)
                self._counts["doubled_edges"] += not self._detector.rising(time_us)
            elif kind == TriggerType.FALLING_EDGE:
                self._advance_to(time_us)
                self._falling_edges += 1
                self._detector.falling(time_us)
        self._judge_edges(self._now_us)
        self._timing = self._find_timing()  # as a whole, since other threads read it
        self._complain_of_silence()
        self._update_discard()

    def take(self) -> FocusSweep | None:
        """The next sweep whose both turning points are known."""
        sweep = self._ready.popleft() if self._ready else None
        self._update_discard()
        return sweep

    def finish(self) -> None:
        """The source ended.

        Raises:
            LensError: it held no trigger, or none that make a sweep.
        """
        self._judge_edges(None)
        self._update_discard()
        if self._first_event_us is None or self._sweeps_ever:
            return
        if not self._edges:
            raise LensError(f"there is no {self._what_is_missing()}")
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in dict(self._counts).items() if count)
        raise LensError(
            f"the {self._edges} trigger edges make no complete sweep of {self._nominal_us / 1000:g} ms"
            f"{f' ({counts})' if counts else ''}: a sweep needs an edge at both its turning points"
        )

    def _start_over(self) -> None:
        self._detector = EdgeDetector(self._nominal_us)
        self._anchor: Edge | None = None
        self._strays: list[Edge] = []
        self._undirected = 0
        self._spacings_us: deque[float] = deque(maxlen=16)
        self._recent_us: deque[int] = deque(maxlen=_EDGES_BEFORE_JUDGEMENT)

    def _advance_to(self, time_us: int) -> None:
        self._now_us = time_us if self._now_us is None else max(self._now_us, time_us)

    def _judge_edges(self, now_us: int | None) -> None:
        while (edge := self._detector.take(now_us)) is not None:
            self._judge(edge)

    def _judge(self, edge: Edge) -> None:
        """Find the place of an edge in the rhythm of the ones before it."""
        self._edges += 1
        self._recent_us.append(edge.time_us)
        self._complain_of_frequency()
        if self._anchor is None:
            self._anchor = edge
            edge.far = True if edge.far is None else edge.far
            return
        period_us, instability = self._rhythm()
        step_us = edge.time_us - self._anchor.time_us
        steps = max(1, round(step_us / period_us))
        allowed = _JITTER_RATIO + steps * instability
        if allowed >= 0.5:
            self._anchor_anew(edge)
        elif abs(step_us / period_us - steps) > allowed:
            self._out_of_rhythm(edge)
        else:
            self._in_rhythm(edge, step_us, steps)

    def _rhythm(self) -> tuple[float, float]:
        """Duration of a sweep, and the part of it by which that may be wrong."""
        if len(self._spacings_us) < _MEASURED_FROM:
            return self._nominal_us, _RIG_ERROR_RATIO
        period_us = fmean(self._spacings_us)
        spread = max(abs(spacing - period_us) for spacing in self._spacings_us) / period_us
        return period_us, _STABILITY + spread / len(self._spacings_us)

    def _find_timing(self) -> dict[str, float]:
        timing: dict[str, float] = {"edges": self._edges}
        if len(self._spacings_us) >= _MEASURED_FROM:
            spacing_us = fmean(self._spacings_us)
            timing["edge_spacing_us"] = spacing_us
            timing["edge_jitter_us"] = max(abs(spacing - spacing_us) for spacing in self._spacings_us)
            timing["frequency_error_ppm"] = (self._nominal_us / spacing_us - 1.0) * 1e6
        return timing

    def _in_rhythm(self, edge: Edge, step_us: int, steps: int) -> None:
        anchor, strays = self._anchor, self._strays
        assert anchor is not None
        self._anchor, self._strays = edge, []
        due = self._turn_after(anchor, steps)
        contradicts = edge.far is not None and due is not None and edge.far != due
        if contradicts:
            self._counts["contradicting_pulses"] += 1
            edge.far = None
        else:
            edge.far = due if edge.far is None else edge.far
        if steps > 1:
            self._counts["missed_edges"] += steps - 1
        if steps > 1 or strays or anchor.far is None or edge.far is None:
            self._counts["dropped_sweeps"] += steps
            if steps == 1 and edge.far is None:
                self._complain_of_direction(anchor.time_us)
            return
        self._undirected = 0
        self._spacings_us.append(step_us)
        direction = 1 if anchor.far else -1
        start_us, end_us = (optical_time_us(time_us, self._rig) for time_us in (anchor.time_us, edge.time_us))
        number = self._sweeps_ever + self._counts["dropped_sweeps"]
        self._ready.append(replace(sweep_between(self._rig, start_us, end_us, direction), number=number))
        self._sweeps_ever += 1
        self._recent_us.clear()

    def _turn_after(self, anchor: Edge, steps: int) -> bool | None:
        if self._rig.sweep.waveform == "sawtooth":
            return True
        return None if anchor.far is None else anchor.far ^ bool(steps % 2)

    def _out_of_rhythm(self, edge: Edge) -> None:
        """Leave a stray edge out; where two of them have a rhythm of their own, the lens was stopped and started."""
        self._counts["edges_out_of_rhythm"] += 1
        self._strays.append(edge)
        if len(self._strays) < 2 or not self._spacings_us:
            return
        period_us, _ = self._rhythm()
        if abs((edge.time_us - self._strays[-2].time_us) / period_us - 1.0) <= _JITTER_RATIO:
            self._anchor_anew(edge)

    def _anchor_anew(self, edge: Edge) -> None:
        """Begin a new rhythm at an edge that has no certain place in the old one."""
        assert self._anchor is not None
        lost = (edge.time_us - self._anchor.time_us) / self._nominal_us
        self._counts["dropped_sweeps"] += max(1, round(lost))
        if self._rig.sweep.waveform == "sawtooth":
            edge.far = True
        self._anchor, self._strays = edge, []
        self._spacings_us.clear()

    def _complain_of_direction(self, start_us: int) -> None:
        """Raise where whole sweeps pass by and nothing says which way they go."""
        self._undirected += 1
        if self._undirected > (_EDGES_BEFORE_JUDGEMENT if self._detector.sees_falling else 0):
            raise LensError(
                f"after the gap in the trigger edges before {start_us} us nothing tells a far turn from a near one: "
                "restart the sweep, or record falling edges too, whose pulse width tells"
            )

    def _complain_of_frequency(self) -> None:
        """Raise where a number of edges in a row made no sweep and their spacing is not the rig's."""
        if len(self._recent_us) < _EDGES_BEFORE_JUDGEMENT:
            return
        times_us = list(self._recent_us)
        spacing_us = median(after - before for before, after in pairwise(times_us))
        if abs(spacing_us / self._nominal_us - 1.0) <= _FREQUENCY_ERROR_RATIO:
            return
        frequency_hz = self._rig.sweep.frequency_hz
        raise LensError(
            f"the rig says {frequency_hz:.3g} Hz, the triggers say {frequency_hz * self._nominal_us / spacing_us:.3g} "
            f"Hz (an edge every {spacing_us / 1000:.4g} ms, not {self._nominal_us / 1000:.4g} ms): correct "
            "sweep.frequency_hz or sweep.waveform in the rig file, or the lens"
        )

    def _complain_of_silence(self) -> None:
        if self._edges or self._first_event_us is None or self._now_us is None:
            return
        silent_us = self._now_us - self._first_event_us
        if silent_us > patience_us(self._nominal_us):
            raise LensError(f"in {silent_us / 1e6:.2g} s of events there is no {self._what_is_missing()}")

    def _what_is_missing(self) -> str:
        if not self._falling_edges:
            return f"trigger edge: {_NO_TRIGGER_ADVICE}"
        return (
            f"rising trigger edge, only falling ones ({self._falling_edges}): one must mark each turning point: "
            "invert the lens's sync signal, or switch the camera's detection of rising edges on"
        )

    def _update_discard(self) -> None:
        if self._now_us is None:
            return
        before_us, waiting_us = self._now_us - _LATENESS_US, self._detector.oldest_us
        if self._ready:
            before_us = self._ready[0].start_us
        elif self._anchor is not None:
            longest_us = self._nominal_us * (1 + _FREQUENCY_ERROR_RATIO) + _LATENESS_US
            if waiting_us is not None or self._now_us <= self._anchor.time_us + longest_us:
                before_us = self._anchor.time_us
        elif waiting_us is not None:
            before_us = waiting_us
        self._discard_before_us = max(self._discard_before_us, before_us)


_NO_TRIGGER_ADVICE = (
    "wire the lens's sync output to the camera's signal input (check the level), switch its edge detector on, or give "
    "the focus track as lens.csv (header timestamp_us,vergence_dpt) or set sweep.sync: telemetry"
)
