"""What a depth camera says of itself on /diagnostics."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from edfv_ros.lag_check import LagReport
from edfv_ros.nodes.depth_session import SessionState, SessionStatus
from edfv_ros.nodes.depth_setup import DepthSetup
from edfv_ros.nodes.gpu import GpuMonitor
from edfv_ros.pipeline import PipelineStatistics
from edfv_ros.running_recording import RunningRecordingStatus

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
DIAGNOSTICS_PERIOD_S = 0.5
SILENT_AFTER_S = 0.8
"""A sensor behind a moving focus is never silent. This is less than two periods, so that a silence is told at the third
look after the last event, 1.5 s at most, whatever the looks' own timing."""

_PATIENCE_S = 1.0
_PATIENCE_SWEEPS = 3.0
_PATIENCE_LATENCIES = 3.0
_FIRST_DEPTH_S = 3.0  # a lens that has begun to sweep needs some to be understood
_UNITS = ("us", "ppm")


@dataclass(frozen=True, slots=True)
class _Sample:
    time_s: float
    opened_s: float
    statistics: PipelineStatistics


class DepthDiagnostics:
    """Turns the node's state into a status; keeps the last counters, so that rates and new losses show.

    Args:
        node_name: fully qualified name of the node.
    """

    def __init__(self, node_name: str) -> None:
        self._name = f"{node_name.lstrip('/')}: depth"
        self._last: _Sample | None = None
        self._events_seen_s = 0.0
        self._depth_seen_s = 0.0
        self._gpus: GpuMonitor | None = None

    def update(
        self, setup: DepthSetup | None, session: SessionStatus | None, problem: str, now_s: float | None = None
    ) -> DiagnosticStatus:
        """Make the status of this moment.

        Args:
            setup: None while the node is not configured.
            session: None while the node is not active.
            problem: the last error, empty where all is well.
            now_s: time on a monotonic clock, for tests.
        """
        now_s = time.monotonic() if now_s is None else now_s
        status = DiagnosticStatus(name=self._name)
        values: dict[str, object] = {}
        if setup is not None:
            status.hardware_id = setup.rig.camera.serial or setup.rig.camera.name
            values |= {"source": setup.source_name, "estimator": setup.parameters.estimator}
            values |= {f"network: {one.name}": f"{one.precision} on {one.provider}" for one in setup.networks}
            if setup.parameters.device != "cpu" or any(one.provider == "CUDA" for one in setup.networks):
                values |= self._gpu_values()
        if session is None or session.statistics is None:
            self._last = None
            status.level, status.message = (ERROR, problem) if problem else (OK, _state_without(setup))
        else:
            status.level, status.message = self._judge(setup, session, session.statistics, values, now_s)
        status.values = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
        return status

    def of_recording(self, recording: RunningRecordingStatus) -> DiagnosticStatus:
        """Make the status of a recording in progress, an entry of its own."""
        status = DiagnosticStatus(
            name=f"{self._name.removesuffix(': depth')}: recording", level=OK, message="recording"
        )
        if recording.error:
            status.level, status.message = ERROR, f"ended: {recording.error}"
        elif recording.lost_events:
            status.level, status.message = WARN, "losing events: the disk is too slow"
        values = {
            "path": recording.path,
            "duration (s)": recording.seconds,
            "events": recording.events,
            "lost events": recording.lost_events,
            "sweeps": recording.sweeps,
        }
        status.values = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
        return status

    def _gpu_values(self) -> dict[str, object]:
        if self._gpus is None:
            self._gpus = GpuMonitor()
        values: dict[str, object] = {}
        for gpu in self._gpus.states():
            values |= {
                f"GPU {gpu.index}: memory used (MiB)": gpu.used_mib,
                f"GPU {gpu.index}: memory (MiB)": gpu.total_mib,
            }
            if gpu.temperature_c is not None:
                values[f"GPU {gpu.index}: temperature (C)"] = gpu.temperature_c
        return values

    def _judge(
        self,
        setup: DepthSetup | None,
        session: SessionStatus,
        now: PipelineStatistics,
        values: dict[str, object],
        now_s: float,
    ) -> tuple[bytes, str]:
        """Level and message of a session, filling ``values`` with its counters."""
        last, self._last = self._last, _Sample(now_s, session.opened_s, now)
        if last is None or session.opened_s != last.opened_s:  # the first look at this pipeline
            last = None
            self._events_seen_s = self._depth_seen_s = now_s
        values |= {"state": session.state.value, "reconnects": session.reconnects}
        values |= _counters(now)
        lens = session.lens
        if lens is not None and lens.temperature_c is not None:
            values["lens: temperature (C)"] = lens.temperature_c
        lost: list[str] = []
        if last is not None:
            elapsed_s = now_s - last.time_s
            before = last.statistics
            if now.events > before.events:
                self._events_seen_s = now_s
            if now.depths > before.depths:
                self._depth_seen_s = now_s
            values |= {
                "depth rate (Hz)": (now.depths - before.depths) / elapsed_s,
                "sweep rate (Hz)": (now.sweeps - before.sweeps) / elapsed_s,
                "event rate (Mev/s)": (now.events - before.events) / elapsed_s * 1e-6,
            }
            lost = _new_losses(before, now)
        if session.state is SessionState.WAITING:
            return WARN, f"{session.error}; trying again"
        if session.state is not SessionState.RUNNING:
            return OK, session.state.value
        silent_s = now_s - self._events_seen_s
        recorded = setup is not None and setup.recording is not None  # read ahead of what it becomes
        if silent_s >= SILENT_AFTER_S and not recorded:
            return WARN, f"no events for {silent_s:.1f} s: check the camera and its connection"
        without_depth_s = now_s - self._depth_seen_s
        if without_depth_s >= _patience_s(setup, now):
            return WARN, f"no depth for {without_depth_s:.1f} s, though events arrive"
        if lens is not None and lens.warnings:
            return WARN, f"the lens complains: {', '.join(lens.warnings)}"
        return (WARN, "losing " + ", ".join(lost)) if lost else (OK, "measuring depth")


def _patience_s(setup: DepthSetup | None, now: PipelineStatistics) -> float:
    """How long no depth may come while events do, before that is worth a warning."""
    sweeps_s = _PATIENCE_SWEEPS * setup.sweep_s if setup is not None else 0.0
    latencies_s = _PATIENCE_LATENCIES * now.latency_ms.get("max", 0.0) * 1e-3
    return max(_PATIENCE_S, sweeps_s, latencies_s, 0.0 if now.depths else _FIRST_DEPTH_S)


def _counters(statistics: PipelineStatistics) -> dict[str, object]:
    values: dict[str, object] = {"sweeps": statistics.sweeps, "depth images": statistics.depths}
    values |= {"events": statistics.events, "lost events": statistics.lost_events}
    values |= {"events outside sweeps": statistics.unplaced_events}
    values |= {f"latency {name} (ms)": value for name, value in statistics.latency_ms.items()}
    values |= _named("dropped sweeps", statistics.dropped_sweeps)
    values |= _named("lens", statistics.lens)
    values |= {f"timing: {_with_unit(name)}": value for name, value in statistics.timing.items()}
    values |= _lag_values(statistics.lag)
    return values | _named("events", statistics.health.problems if statistics.health is not None else {})


def _lag_values(report: LagReport) -> dict[str, object]:
    """How far events lag behind the focus, as comparing up-sweeps with down-sweeps shows."""
    values: dict[str, object] = {"lag: measurements": report.measurements}
    if report.lag is not None and report.bins is not None:
        values |= {"lag (ms)": report.lag.lag_us * 1e-3, "lag: uncertainty (ms)": report.lag.sigma_us * 1e-3}
        values["lag: in bins"] = report.bins
    if report.correction_us is not None:
        values["lag: taken out (ms)"] = report.correction_us * 1e-3
    return values | {f"lag: not known, {reason}": count for reason, count in report.rejected.items()}


def _with_unit(name: str) -> str:
    """``clock_drift_ppm`` as ``clock drift (ppm)``."""
    words, _, unit = name.rpartition("_")
    return f"{words.replace('_', ' ')} ({unit})" if unit in _UNITS else name.replace("_", " ")


def _new_losses(before: PipelineStatistics, now: PipelineStatistics) -> list[str]:
    """What was lost since the last look."""
    losses = []
    if now.lost_events > before.lost_events:
        losses.append(f"{now.lost_events - before.lost_events} events")
    dropped = sum(now.dropped_sweeps.values()) - sum(before.dropped_sweeps.values())
    if dropped > 0:
        losses.append(f"{dropped} sweeps")
    return losses


def _state_without(setup: DepthSetup | None) -> str:
    return "not configured" if setup is None else "configured, not active"


def _named(prefix: str, counters: Mapping[str, int]) -> dict[str, object]:
    return {f"{prefix}: {name.replace('_', ' ')}": count for name, count in counters.items()}


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
