"""Whether a camera that measures depth does so: link by link, so that the first that fails says why. No ROS in here."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from edfv_ros.doctor import Check
from edfv_ros.errors import LensError
from edfv_ros.lens.driver import LensDriver
from edfv_ros.nodes.depth_session import DepthSession, SessionState, SessionStatus
from edfv_ros.pipeline import PipelineStatistics
from edfv_ros.rig import Rig

GROUP = "self-test"
SWEEPS = 4
"""Sweeps to look at, at the rig's frequency."""

_LONGEST_FACTOR = 4.0  # of the time that these take
_LEAST_S = 2.0
_POLL_S = 0.031  # no part of a usual period, so that the lens is seen all over its way
_MOVED_RATIO = 0.5  # of the sweep's range
_OF_A_SLOW_ESTIMATOR = ("estimator busy", "all volumes are held")  # which takes the newest sweep that there is
_MOST_BINS = 1.0  # that the focus may be off by, for its time


@dataclass(slots=True)
class _Lens:
    """What the lens said while it was looked at."""

    seen_dpt: list[float] = field(default_factory=list)
    error: str = ""

    def look(self, lens: LensDriver) -> None:
        try:
            last = lens.state().last
        except LensError as error:
            self.error = str(error)
            return
        if last is not None:
            self.seen_dpt.append(last.vergence_dpt)


def self_test(session: DepthSession, rig: Rig, source_name: str) -> list[Check]:
    """Look at a running session for some sweeps.

    Args:
        session: may be in any state.
        rig: with the sweep that is being made.
        source_name: for the findings.

    Returns:
        Source, events, lens, sweeps, estimator and clock; ``broken`` is what does not work, ``missing`` what there is
        not here.
    """
    source = _check_source(session.status, source_name)
    before = session.status.statistics
    if source.status != "ok" or before is None:
        return [source]
    began_s, lens = time.monotonic(), _Lens()
    enough_s = SWEEPS * rig.sweep.duration_us * 1e-6
    after = before
    while session.status.state is SessionState.RUNNING:
        elapsed_s = time.monotonic() - began_s
        driver = session.lens
        if driver is not None:
            lens.look(driver)
        after = session.status.statistics or before
        has_all = min(after.sweeps - before.sweeps, after.depths - before.depths) >= 1
        if (elapsed_s > enough_s and has_all) or elapsed_s > max(_LEAST_S, _LONGEST_FACTOR * enough_s):
            break
        time.sleep(_POLL_S)
    elapsed_s = time.monotonic() - began_s
    return [
        _check_source(session.status, source_name),
        _check_events(before, after, elapsed_s),
        _check_lens(session.lens is not None, lens, rig),
        _check_sweeps(before, after, elapsed_s),
        _check_estimator(before, after),
        _check_clock(after.timing, rig),
    ]


def _check_source(status: SessionStatus, source_name: str) -> Check:
    if status.state is SessionState.RUNNING:
        return _passed("source", source_name)
    if status.state is SessionState.PARKED:
        return _failed("source", "the lens is parked, and nothing is read", "start the sweep first")
    return _failed("source", status.error or status.state.value)


def _check_events(before: PipelineStatistics, after: PipelineStatistics, elapsed_s: float) -> Check:
    events, lost = after.events - before.events, after.lost_events - before.lost_events
    if not events:
        return _failed("events", f"none in {elapsed_s:.1f} s", "take off the lens cap, switch the light on")
    finding = f"{events / elapsed_s * 1e-6:.2f} Mev/s"
    if lost:
        return _failed("events", f"{finding}, {lost} lost", "raise the contrast thresholds, or give it more cores")
    return _passed("events", finding)


def _check_lens(driven: bool, lens: _Lens, rig: Rig) -> Check:
    if not driven:
        return Check(GROUP, "lens", "missing", "this node does not drive it")
    if lens.error:
        return _failed("lens", lens.error)
    if not lens.seen_dpt:
        return _failed("lens", "answers, but reports no set point")
    low_dpt, high_dpt = min(lens.seen_dpt), max(lens.seen_dpt)
    finding = f"moves from {low_dpt:.2f} to {high_dpt:.2f} dpt"
    if high_dpt - low_dpt < _MOVED_RATIO * (rig.bins.max_dpt - rig.bins.min_dpt):
        return _failed("lens", f"{finding}, not over {rig.bins.min_dpt:.2f} to {rig.bins.max_dpt:.2f} dpt")
    return _passed("lens", finding)


def _check_sweeps(before: PipelineStatistics, after: PipelineStatistics, elapsed_s: float) -> Check:
    sweeps = after.sweeps - before.sweeps
    dropped = _new(before.dropped_sweeps, after.dropped_sweeps)
    dropped = {reason: count for reason, count in dropped.items() if reason not in _OF_A_SLOW_ESTIMATOR}
    if sweeps and not dropped:
        return _passed("sweeps", f"{sweeps} in {elapsed_s:.1f} s")
    reasons = dropped or _new(before.lens, after.lens)
    why = f" ({', '.join(f'{count} {name}' for name, count in reasons.items())})" if reasons else ""
    return _failed("sweeps", f"{sweeps} in {elapsed_s:.1f} s{why}")


def _check_estimator(before: PipelineStatistics, after: PipelineStatistics) -> Check:
    depths = after.depths - before.depths
    if not depths:
        return _failed("estimator", f"no depth of {after.sweeps - before.sweeps} sweeps")
    return _passed("estimator", f"{depths} depth images, {after.latency_ms.get('p50', 0.0):.0f} ms after their sweep")


def _check_clock(timing: Mapping[str, float], rig: Rig) -> Check:
    """How surely the focus is known at a time, against how long it stays in a bin."""
    bin_us = rig.sweep.duration_us / rig.bins.count
    known = {"clock_uncertainty_us": "fit of the lens's clock", "edge_jitter_us": "jitter of the triggers"}
    for name, what in known.items():
        if name in timing:
            finding = f"{what} {timing[name]:.0f} us, a bin lasts {bin_us:.0f} us"
            return _passed("clock", finding) if timing[name] <= _MOST_BINS * bin_us else _failed("clock", finding)
    if timing:
        return _failed("clock", "no rhythm yet of what marks the turning points")
    return Check(GROUP, "clock", "missing", "the focus is as it was recorded")


def _new(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    counts = {name.replace("_", " "): count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in counts.items() if count > 0}


def _passed(name: str, finding: str) -> Check:
    return Check(GROUP, name, "ok", finding)


def _failed(name: str, finding: str, advice: str = "") -> Check:
    return Check(GROUP, name, "broken", finding, advice)
