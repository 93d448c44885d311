"""What it costs in depth how the focus is bound to time: perfect timing, trigger edges and telemetry on one scene.

The lens of the virtual rig answers its commands late, by a lag that the rig file does not know, and its controller's
clock drifts. Triggers and telemetry go through the code that a live camera goes through: the edge detector, the clock
model with round trips that are held up now and then, the search for turning points in telemetry.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth import DepthEstimate
from edfv_ros.depth.reversal import PolarityReversal
from edfv_ros.errors import SimulationError
from edfv_ros.evaluation.metrics import CONFIDENT
from edfv_ros.events import Packet
from edfv_ros.events.types import timestamps_us
from edfv_ros.lag_check import LagCheck
from edfv_ros.lens.clock import RoundTrip
from edfv_ros.lens.driver import LensSample
from edfv_ros.lens.lag import Lag
from edfv_ros.lens.sync import SweepSource, TrackSweeps
from edfv_ros.lens.telemetry import TelemetrySweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.lens.triggers import TriggerSweeps
from edfv_ros.pipeline_assembly import SweepAssembler
from edfv_ros.rig import Rig
from edfv_ros.simulation.event_model import join_events
from edfv_ros.simulation.lens_plan import LensPlan, plan_sweeps
from edfv_ros.simulation.lens_response import LensResponse
from edfv_ros.simulation.recording import START_US
from edfv_ros.simulation.scenes import make_scene
from edfv_ros.simulation.settings import SimulationSettings
from edfv_ros.simulation.virtual_rig import VirtualRig
from edfv_ros.volume import SweepSnapshot, VolumeRing

TRIGGER_LIMIT_BINS = 0.1
TELEMETRY_LIMIT_BINS = 0.5

Binding = Literal["perfect", "trigger", "telemetry"]

_BINDINGS: tuple[Binding, ...] = ("perfect", "trigger", "telemetry")
_LIMITS_BINS = {"perfect": None, "trigger": TRIGGER_LIMIT_BINS, "telemetry": TELEMETRY_LIMIT_BINS}
_PACKET_US = 10_000
_BLOCK_ROWS = 32
_WARM_UP_US = 20_000_000  # that the lens has been sweeping and the clock been fitted for before the events count
_WARM_UP_STEP_US = 20_000
_SAMPLE_EVERY_US = 10_000
_CLOCK_AHEAD_US = 3_600_000_000
_QUICKEST_WAY_US = 150.0  # of a round trip, there or back
_MEAN_WAIT_US = 400.0
_HELD_UP_SHARE = 0.05
_HELD_UP_US = 8_000.0


@dataclass(frozen=True, slots=True)
class TimingRow:
    """Depth under one kind of timing. Differences are of vergence, in bins, over confident pixels.

    Attributes:
        binding: what told the focus.
        corrected: whether the self-check's lag was taken out.
        lag: as the self-check found it before anything was taken out.
        sweeps: how many became depth.
        error_bins: median distance from the truth, depth from both directions as usual.
        from_perfect_bins: median distance from the depth of the same sweeps with perfect timing.
        one_way_bins:         limit_bins: what ``from_perfect_bins`` must not exceed, None where nothing is asked of it.
    """

    binding: Binding
    corrected: bool
    lag: Lag | None
    sweeps: int
    error_bins: float
    from_perfect_bins: float
    one_way_bins: float
    limit_bins: float | None

    @property
    def passes(self) -> bool:
        """Whether the limit is kept; NaN keeps none."""
        return self.limit_bins is None or self.from_perfect_bins <= self.limit_bins


@dataclass(frozen=True, slots=True)
class TimingTrial:
    """Result of :func:`try_timing`.

    Attributes:
        rows: each binding, as it is and with the lag taken out.
        clock: what the telemetry's clock model said at the end (:attr:`TelemetrySweeps.timing`).
        bin_ms: time the focus takes for a bin.
    """

    rows: tuple[TimingRow, ...]
    clock: dict[str, float]
    bin_ms: float

    @property
    def passes(self) -> bool:
        return all(row.passes for row in self.rows)


def try_timing(
    rig: Rig,
    *,
    kind: str,
    seed: int,
    sweeps: int,
    lag_ms: float,
    drift_ppm: float,
    progress: Callable[[float], None] = lambda fraction: None,
) -> TimingTrial:
    """Simulate sweeps over a scene, and compute their depth under each kind of timing.

    Args:
        rig: camera, lens and sweep; its ``lens.delay_ms`` is what it knows of the lens's lag.
        kind: of the scene, one of ``SCENE_KINDS``.
        seed: of scene, sensor and round trips.
        sweeps: at least 4.
        lag_ms: how much later than the rig knows the optics follow their command.
        drift_ppm: how much the lens's clock loses on the camera's.
        progress: called with the fraction that is done.

    Raises:
        SimulationError: there is no such kind of scene, or a number is impossible.
    """
    if sweeps < 4:
        raise SimulationError(f"sweeps = {sweeps}: up-sweeps and down-sweeps are compared, give at least 4")
    steps = 1 + 2 * len(_BINDINGS)
    recorded = _Recorded.simulate(rig, kind, seed, sweeps, lag_ms)
    progress(1 / steps)
    rows: list[TimingRow] = []
    clock: dict[str, float] = {}
    perfect: dict[int, _Depth] = {}
    for binding in _BINDINGS:
        check = LagCheck(rig, corrects=True)
        for corrected in (False, True):
            source, pass_time = _source(binding, recorded, drift_ppm, seed)
            if corrected:
                found = _depths(recorded, check.corrected(source), pass_time, None)
            else:
                found = _depths(recorded, source, pass_time, check)
            if isinstance(source, TelemetrySweeps):
                clock = source.timing
            perfect = perfect or found
            rows.append(_row(binding, corrected, check.report.lag, found, perfect, recorded))
            progress((len(rows) + 1) / steps)
    return TimingTrial(tuple(rows), clock, rig.sweep.duration_us * 1e-3 / rig.bins.count)


@dataclass(frozen=True, slots=True, eq=False)
class _Recorded:
    """What the virtual rig saw, and the truth."""

    rig: Rig
    plan: LensPlan
    events: NDArray[np.void]
    triggers: NDArray[np.void]
    truth_dpt: NDArray[np.float32]

    @classmethod
    def simulate(cls, rig: Rig, kind: str, seed: int, sweeps: int, lag_ms: float) -> "_Recorded":
        settings = SimulationSettings(lens_response=LensResponse(delay_ms=lag_ms))
        plan = plan_sweeps(rig, settings.lens_response, sweeps=sweeps, seed=seed)
        virtual = VirtualRig.of_scene(rig, make_scene(kind, seed, rig), settings, plan=plan, seed=seed)
        fired = []
        for first in range(0, len(plan.times_us) - 1, _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS + 1)
            fired.append(virtual.events(plan.vergence_dpt[rows], plan.times_us[rows]))
        events, triggers = join_events(fired), plan.triggers.copy()
        timestamps_us(events)[:] += START_US
        triggers["timestamp"] += START_US
        return cls(rig, plan, events, triggers, 1.0 / virtual.source.depth_m(0.0))

    def packets(self) -> Iterator[tuple[float, Packet]]:
        """What a camera delivers, and when its last event was (camera time)."""
        end_us = START_US + self.plan.duration_us
        edges_us = np.arange(START_US, end_us + _PACKET_US, _PACKET_US)
        event_cuts = np.searchsorted(timestamps_us(self.events), edges_us)
        trigger_cuts = np.searchsorted(self.triggers["timestamp"], edges_us)
        for index, until_us in enumerate(edges_us[1:]):
            yield (
                float(until_us),
                Packet(
                    self.events[event_cuts[index] : event_cuts[index + 1]],
                    self.triggers[trigger_cuts[index] : trigger_cuts[index + 1]],
                ),
            )


class _ReportingLens:
    """A controller that reports its set points every 10 ms and at each turn, on a clock of its own.

    It has been sweeping since long before the events, with the same period. A round trip takes both ways at random,
    and some are held up.

    Attributes:
        now_us: present time of camera and host.
    """

    def __init__(self, recorded: _Recorded, drift_ppm: float, seed: int) -> None:
        plan, sweep = recorded.plan, recorded.rig.sweep
        period_rows = plan.sweep_rows[1 if sweep.waveform == "sawtooth" else 2] + 1
        self._times_us, self._command_dpt = plan.times_us[:period_rows], plan.command_dpt[:period_rows]
        turns_us = plan.times_us[list(plan.sweep_rows)]
        regular_us = np.arange(0.0, self._times_us[-1], _SAMPLE_EVERY_US)
        self._due_us = np.union1d(regular_us, turns_us[turns_us < self._times_us[-1]])
        self._delay_us = recorded.rig.lens.delay_ms * 1e3
        self._drift = drift_ppm * 1e-6
        self._random = np.random.default_rng([seed, 0x717E])
        self.now_us: float = START_US - _WARM_UP_US
        self._reported_us: float = self.now_us
        self._sequence = 0
        self.garbled_lines = 0

    def telemetry(self) -> list[LensSample]:
        """The samples since the last call."""
        begin_us, self._reported_us = self._reported_us, self.now_us
        elapsed_us = np.array([begin_us, self.now_us]) - START_US + self._delay_us
        period_us = self._times_us[-1]
        periods = np.arange(np.floor(elapsed_us[0] / period_us), np.floor(elapsed_us[1] / period_us) + 1)
        due_us = (periods[:, None] * period_us + self._due_us).ravel()
        due_us = due_us[(due_us > elapsed_us[0]) & (due_us <= elapsed_us[1])]
        samples = []
        for at_us, vergence_dpt in zip(
            due_us, np.interp(due_us % period_us, self._times_us, self._command_dpt), strict=True
        ):
            device_us = self._device_us(START_US + at_us - self._delay_us)
            samples.append(LensSample(self._sequence, device_us, round(vergence_dpt, 6)))
            self._sequence += 1
        return samples

    def query_clock(self) -> RoundTrip:
        """A round trip from now on."""
        there_us, back_us = _QUICKEST_WAY_US + self._random.exponential(_MEAN_WAIT_US, 2)
        there_us += _HELD_UP_US * (self._random.random() < _HELD_UP_SHARE)
        now_us = int(self.now_us)
        return RoundTrip(now_us, self._device_us(now_us + there_us), now_us + round(there_us + back_us))

    def _device_us(self, time_us: float) -> int:
        elapsed_us = time_us - START_US
        return round(_CLOCK_AHEAD_US + elapsed_us * (1.0 - self._drift))


@dataclass(frozen=True, slots=True, eq=False)
class _Depth:
    """Vergence of one sweep in dpt, float32 [H, W], NaN where the estimator is not confident.

    Attributes:
        direction: of the sweep.
        paired: from it and its partner.
        alone: from it alone.
    """

    direction: int
    paired: NDArray[np.float32]
    alone: NDArray[np.float32]


def _source(
    binding: Binding, recorded: _Recorded, drift_ppm: float, seed: int
) -> tuple[SweepSource, Callable[[float], None]]:
    """The sweeps as the binding tells them, and how to let time pass for them."""
    if binding == "perfect":
        plan = recorded.plan
        return TrackSweeps(LensTrack(START_US + plan.times_us, plan.vergence_dpt), recorded.rig), lambda now_us: None
    if binding == "trigger":
        return TriggerSweeps(recorded.rig), lambda now_us: None
    lens = _ReportingLens(recorded, drift_ppm, seed)
    source = TelemetrySweeps(recorded.rig, lens, monotonic_s=lambda: lens.now_us * 1e-6)

    def pass_time(now_us: float) -> None:
        lens.now_us = now_us

    for now_us in np.arange(lens.now_us, START_US, _WARM_UP_STEP_US):
        pass_time(float(now_us))
        source.observe(Packet())
        while source.take() is not None:
            continue
    return source, pass_time


def _depths(
    recorded: _Recorded, sweeps: SweepSource, pass_time: Callable[[float], None], check: LagCheck | None
) -> dict[int, _Depth]:
    """Depth of every sweep after one of the other direction, by its place in time; ``check`` is shown them, too."""
    rig = recorded.rig
    estimator = PolarityReversal(rig.optics, rig.bins)
    assembler = SweepAssembler(sweeps, VolumeRing(rig.bins, rig.camera.resolution), lambda count: None, None)
    found = {}
    with closing(assembler):
        for snapshot in _snapshots(recorded, assembler, pass_time):
            try:
                if snapshot.opposite is None:
                    continue
                if check is not None:
                    check.look(snapshot, often=True)
                paired = _confident(estimator.estimate(snapshot))
                alone = _confident(estimator.estimate(replace(snapshot, opposite=None)))
                sweep = snapshot.latest.sweep
                place = int((sweep.middle_us - START_US) // rig.sweep.duration_us)
                found[place] = _Depth(sweep.direction, paired, alone)
            finally:
                snapshot.release()
    return found


def _snapshots(
    recorded: _Recorded, assembler: SweepAssembler, pass_time: Callable[[float], None]
) -> Iterator[SweepSnapshot]:
    for now_us, packet in recorded.packets():
        pass_time(now_us)
        for closed in assembler.push(packet, now_us * 1e-6):
            yield closed.snapshot
    for closed in assembler.finish():
        yield closed.snapshot


def _confident(estimate: DepthEstimate) -> NDArray[np.float32]:
    return np.where(estimate.confidence > CONFIDENT, estimate.vergence_dpt, np.float32(np.nan))


def _row(
    binding: Binding,
    corrected: bool,
    lag: Lag | None,
    found: dict[int, _Depth],
    perfect: dict[int, _Depth],
    recorded: _Recorded,
) -> TimingRow:
    width_dpt = recorded.rig.bins.width_dpt
    common = sorted(found.keys() & perfect.keys())
    return TimingRow(
        binding=binding,
        corrected=corrected,
        lag=lag,
        sweeps=len(found),
        error_bins=_median([np.abs(depth.paired - recorded.truth_dpt) for depth in found.values()]) / width_dpt,
        from_perfect_bins=_median([np.abs(found[at].paired - perfect[at].paired) for at in common]) / width_dpt,
        one_way_bins=_median([depth.direction * (depth.alone - recorded.truth_dpt) for depth in found.values()])
        / width_dpt,
        limit_bins=_LIMITS_BINS[binding],
    )


def _median(images: Sequence[NDArray[np.floating]]) -> float:
    """Median over the pixels of all images that are known; NaN where there is none."""
    values = np.concatenate([np.empty(0, np.float32), *(image[np.isfinite(image)] for image in images)])
    return float(np.median(values)) if len(values) else float("nan")
