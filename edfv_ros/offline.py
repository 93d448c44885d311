"""Depth from a recording: the same way of the data as live, to the recording's end, with results in a folder."""

import math
import platform
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from edfv_ros import __version__
from edfv_ros.bags.run_bag import RunBag
from edfv_ros.depth import ESTIMATORS, DepthEstimate, DepthEstimator, check_estimator, check_streams, open_estimator
from edfv_ros.errors import EdfvError, LensError
from edfv_ros.evaluation.metrics import CONFIDENT, depth_metrics
from edfv_ros.events import Capture, Packet
from edfv_ros.events.health import StreamHealth
from edfv_ros.inspection import DIRECTION_NAMES, count_sweeps
from edfv_ros.lag_check import LagCheck, LagReport
from edfv_ros.lens.sweep import is_pair
from edfv_ros.lens.sync import SweepSource, TrackSweeps, open_sweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.outputs.run_folder import RunFolder
from edfv_ros.pipeline import assembled, make_assembler, snapshots
from edfv_ros.pipeline_rolling import parts_for
from edfv_ros.recording import (
    SweepRecording,
    check_resolution,
    depth_gt_of_sweep,
    load_depth_gt,
    recorded_time_range_us,
)
from edfv_ros.rig import Rig
from edfv_ros.sweep_range import SweepRange
from edfv_ros.volume import SweepSnapshot, VolumeRing

_CALIBRATION_SLACK = 0.05  # of the calibrated range, which an overshooting lens may leave
_LAG_SWEEPS = 16  # of the recording's beginning, from which its lag is found before it is taken out
_HOLE_RATIO = 10.0  # a step this many times the usual one is a hole
_LENS_DOUBTS = ("partial_sweeps", "ms_of_events_without_track", "missed_edges", "edges_out_of_rhythm")


@dataclass(frozen=True, slots=True)
class SweepReport:
    """One entry of ``sweeps`` in ``report.json``.

    Attributes:
        index: number of the sweep in the recording, from 0; the number in the file names.
        part: 0 for a whole sweep; while it ran, the number of its parts that were over.
        start_us, end_us: unix microseconds on the camera's clock.
        direction: ``up`` (towards nearer) or ``down``.
        events: events counted in this sweep.
        paired: whether a sweep of the other direction helped.
        latency_ms: time the estimator took.
        known: part of the pixels with a depth.
        confident: part of the pixels with a confidence above one half.
        metrics: errors against ground truth, None where there is none.
    """

    index: int
    part: int
    start_us: int
    end_us: int
    direction: str
    events: int
    paired: bool
    latency_ms: float
    known: float
    confident: float
    metrics: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class RunReport:
    """What becomes ``report.json``.

    Attributes:
        recording, estimator: as asked for.
        camera: as the events file says.
        sweeps: one entry for each sweep that became depth.
        mean_metrics: of the sweeps with ground truth, None without any.
        doubts: what makes the result less sure than it looks, one line each.
        dropped_sweeps: sweeps that were not whole, by reason.
        health: counters of the events, as they came and what was wrong with them.
        lens: counters of what tells the focus.
        timing: how the focus was bound to time.
        lag: how far the events lagged behind the focus.
        rig: the rig file as it was understood.
        seconds: time the run took.
        versions: of what took part.
    """

    recording: str
    camera: str
    estimator: str
    sweeps: list[SweepReport]
    mean_metrics: dict[str, float] | None
    doubts: list[str]
    dropped_sweeps: dict[str, int]
    health: dict[str, int]
    lens: dict[str, int]
    timing: dict[str, float]
    lag: LagReport
    rig: dict[str, Any]
    seconds: float
    versions: dict[str, str]


def compute_depth(
    recording: SweepRecording,
    out: RunFolder,
    *,
    estimator: str,
    wanted: SweepRange,
    prior: Path | None = None,
    model: Path | None = None,
    rate_hz: float = 0.0,
    correct_lag: bool = False,
    bag: Path | None = None,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> RunReport:
    """Estimate depth for the wanted sweeps of a recording and write the results as they come.

    Args:
        recording: the events, their rig and truth.
        out: where the results go; ``report.json`` last.
        estimator: one of :data:`edfv_ros.depth.ESTIMATORS`.
        wanted: the sweeps to compute.
        prior: the prior file, for an estimator that takes one.
        model: the network file, for an estimator that takes one.
        rate_hz: depth images a second that there are to be, between turning points too; 0 for one a sweep. Those in
            between go to files alone, not into the bag.
        correct_lag: whether to find the lag between lens and events in the first sweeps, and take it out of all.
        bag: a bag to write what was read and what came of it to, as it goes on; see :mod:`edfv_ros.bags`.
        on_progress: called with the fraction of the recording's time that is done.

    Raises:
        EdfvError: the recording, its lens or the estimator cannot be used, or a result cannot be written.
    """
    rig, files = recording.rig, recording.files
    began_s = time.monotonic()
    # The quick checks come first: a user who mistyped something waits for nothing.
    if estimator not in ESTIMATORS:
        raise EdfvError(f"--estimator {estimator}: there is none of that name; choose from: {', '.join(ESTIMATORS)}")
    check_estimator(estimator, prior, model)
    period_us = recorded_time_range_us(files.events)
    sweeps = open_sweeps(rig, files.path)
    if wanted != SweepRange():
        with _naming(files.path):
            wanted.check(count_sweeps(recording))
    reports: list[SweepReport] = []
    lag = LagCheck(rig, corrects=correct_lag)
    if correct_lag:
        _find_lag(recording, lag)
    with ExitStack() as stack:
        stack.enter_context(_naming(files.path))
        capture = stack.enter_context(Capture(str(files.events)))
        parts = parts_for(rate_hz, rig.sweep.duration_us, rig.bins.count)
        ring = VolumeRing(rig.bins, rig.camera.resolution, parts=parts)
        check_resolution(rig, capture.info, files.events)
        check_streams(estimator, capture.info.streams, str(files.events), prior=prior)
        truth_m = load_depth_gt(files.depth_gt, rig) if files.depth_gt else None
        depth_estimator = open_estimator(estimator, rig, prior=prior, model=model)
        assembler = make_assembler(rig, capture, lag.corrected(sweeps), ring)
        kept = stack.enter_context(RunBag(bag, recording, capture.info)) if bag else None
        in_turn = (
            closed.snapshot
            for closed in assembled(capture, assembler, on_packet=kept.write_packet if kept else _ignore)
        )
        with closing(assembler), closing(pair_ahead(in_turn)) as paired:
            for snapshot in paired:
                try:
                    if wanted.is_past(snapshot.index):
                        break
                    if snapshot.index in wanted:
                        estimate, latency_ms = _timed(depth_estimator, snapshot)
                        out.write_sweep(snapshot.index, estimate.depth_m, estimate.confidence, part=snapshot.part)
                        if kept and not snapshot.part:
                            kept.write_depth(snapshot, estimate)
                        reports.append(_report(snapshot, estimate, latency_ms, rig, truth_m))
                        if not snapshot.part:
                            lag.look(snapshot)
                    if period_us is not None:
                        done_us = snapshot.latest.sweep.end_us - period_us[0]
                        on_progress(done_us / max(period_us[1] - period_us[0], 1))
                finally:
                    snapshot.release()
        camera, health = capture.info.camera, capture.health
    if not reports:
        reasons = "; ".join(f"{count} dropped: {reason}" for reason, count in assembler.dropped_sweeps.items())
        raise LensError(f"{files.path}: no whole focus sweep among the events{f' ({reasons})' if reasons else ''}")
    report = RunReport(
        recording=str(files.path),
        camera=camera,
        estimator=estimator,
        sweeps=reports,
        mean_metrics=_mean([report.metrics for report in reports if report.metrics]),
        doubts=_doubts(sweeps, rig, health),
        dropped_sweeps=dict(assembler.dropped_sweeps),
        health={"events": health.events, **health.problems},
        lens=sweeps.counters,
        timing=sweeps.timing,
        lag=lag.report,
        rig=rig.model_dump(mode="json"),
        seconds=time.monotonic() - began_s,
        versions=_versions(),
    )
    out.write_report(report)
    return report


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in which recording the lens could not be followed; what follows it knows no names."""
    try:
        yield
    except LensError as error:
        raise error if str(path) in str(error) else LensError(f"{path}: {error}") from None


def _find_lag(recording: SweepRecording, lag: LagCheck) -> None:
    """Measure the lag in the first sweeps of a recording, without depth."""
    rig, files = recording.rig, recording.files
    with _naming(files.path), Capture(str(files.events)) as capture:
        ring = VolumeRing(rig.bins, rig.camera.resolution)
        with closing(snapshots(rig, capture, open_sweeps(rig, files.path), ring=ring)) as found:
            for snapshot in islice(found, _LAG_SWEEPS):
                lag.look(snapshot, often=True)
                snapshot.release()


def pair_ahead(snapshots: Iterable[SweepSnapshot]) -> Generator[SweepSnapshot, None, None]:
    """Let a sweep without an earlier partner wait for the next sweep, and pair it with that where it fits.

    Live there is no time for it; here it gives the first sweep of a recording, and the first after a gap, both sweep
    directions. The caller releases each snapshot.
    """
    pending: deque[SweepSnapshot] = deque()
    try:
        for snapshot in snapshots:
            if pending:
                pending[0] = _paired(pending[0], snapshot)
            pending.append(snapshot)
            while len(pending) > 1 or (pending and pending[0].opposite is not None):
                yield pending.popleft()
        while pending:
            yield pending.popleft()
    finally:
        for snapshot in pending:
            snapshot.release()


def _paired(first: SweepSnapshot, second: SweepSnapshot) -> SweepSnapshot:
    """The first sweep with the second as its partner, where that is the opposite sweep right after it."""
    if not is_pair(first.latest.sweep, second.latest.sweep):
        return first
    return replace(first, opposite=second.latest.hold(), frame=first.frame or second.frame)


def _ignore(packet: Packet) -> None:
    """Nobody looks at the packets."""


def _timed(estimator: DepthEstimator, snapshot: SweepSnapshot) -> tuple[DepthEstimate, float]:
    """The estimate, and the milliseconds it took."""
    began_s = time.perf_counter()
    estimate = estimator.estimate(snapshot)
    return estimate, (time.perf_counter() - began_s) * 1e3


def _report(
    snapshot: SweepSnapshot,
    estimate: DepthEstimate,
    latency_ms: float,
    rig: Rig,
    truth_m: NDArray[np.float32] | None,
) -> SweepReport:
    sweep = snapshot.latest.sweep
    return SweepReport(
        index=snapshot.index,
        part=snapshot.part,
        start_us=sweep.start_us,
        end_us=sweep.end_us,
        direction=DIRECTION_NAMES[sweep.direction],
        events=snapshot.latest.events,
        paired=snapshot.opposite is not None,
        latency_ms=latency_ms,
        known=float(np.isfinite(estimate.depth_m).mean()),
        confident=float((estimate.confidence > CONFIDENT).mean()),
        metrics=_metrics(estimate, snapshot, rig, truth_m),
    )


def _metrics(
    estimate: DepthEstimate, snapshot: SweepSnapshot, rig: Rig, truth_m: NDArray[np.float32] | None
) -> dict[str, float] | None:
    truth_of_sweep_m = depth_gt_of_sweep(truth_m, _nearest_sweep(snapshot)) if truth_m is not None else None
    if truth_of_sweep_m is None:
        return None
    guide = snapshot.frame.image if snapshot.frame is not None else None
    return depth_metrics(estimate, truth_of_sweep_m, rig.bins, snapshot.event_count(), guide)


def _nearest_sweep(snapshot: SweepSnapshot) -> int:
    """The number of the whole sweep whose middle is nearest to that of what the snapshot holds."""
    latest, last = snapshot.latest.sweep, snapshot.opposite
    if not snapshot.part or last is None:
        return snapshot.index
    return snapshot.index if latest.middle_us > last.sweep.end_us else last.sweep.number


def _doubts(sweeps: SweepSource, rig: Rig, health: StreamHealth) -> list[str]:
    doubts = track_doubts(sweeps.track, rig) if isinstance(sweeps, TrackSweeps) else []
    of_lens = {name: count for name, count in sweeps.counters.items() if name in _LENS_DOUBTS}
    doubts += [f"{name.replace('_', ' ')} of the lens: {count}" for name, count in of_lens.items()]
    of_events = {name: count for name, count in health.problems.items() if name != "non_alternating_edges"}
    doubts += [f"{name.replace('_', ' ')} of the events: {count}" for name, count in of_events.items()]
    return doubts


def track_doubts(track: LensTrack, rig: Rig) -> list[str]:
    """What speaks against a lens track for a rig: another lens, other units, missing rows."""
    doubts = []
    low_dpt, high_dpt = rig.lens.calibration.range_dpt
    first_dpt, last_dpt = float(track.vergence_dpt.min()), float(track.vergence_dpt.max())
    slack_dpt = _CALIBRATION_SLACK * (high_dpt - low_dpt)
    if first_dpt < low_dpt - slack_dpt or last_dpt > high_dpt + slack_dpt:
        doubts.append(
            f"lens.csv goes from {first_dpt:g} to {last_dpt:g} dpt, beyond the rig's calibration, {low_dpt:g} to "
            f"{high_dpt:g} dpt: is it of this lens, and in dioptres?"
        )
    steps_us, steps_dpt = np.diff(track.timestamps_us), np.abs(np.diff(track.vergence_dpt))
    widest = int(np.argmax(steps_us))
    if steps_us[widest] > _HOLE_RATIO * np.median(steps_us) and steps_dpt[widest] > 2 * rig.bins.width_dpt:
        doubts.append(
            f"lens.csv has no row for {steps_us[widest] * 1e-3:.0f} ms from {track.timestamps_us[widest]:.0f} us on: "
            "the focus is taken as moving evenly there"
        )
    return doubts


def _mean(metrics: list[dict[str, float]]) -> dict[str, float] | None:
    """Mean over the sweeps, key by key, of what is finite."""
    if not metrics:
        return None
    means = {}
    for name in metrics[0]:
        values = [values[name] for values in metrics if math.isfinite(values[name])]
        means[name] = sum(values) / len(values) if values else math.nan
    return means


def _versions() -> dict[str, str]:
    packages = {"numpy": np.__version__, "numba": numba.__version__, "opencv": cv2.__version__}
    return {"edfv_ros": __version__, "python": platform.python_version(), **packages}
