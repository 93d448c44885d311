"""What /diagnostics says of a session, without a node."""

import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from diagnostic_msgs.msg import DiagnosticStatus

from edfv_ros.events import StreamHealth
from edfv_ros.lag_check import LagReport
from edfv_ros.lens.lag import Lag
from edfv_ros.nodes.depth_session import SessionState, SessionStatus
from edfv_ros.nodes.diagnostics import DepthDiagnostics
from edfv_ros.pipeline import PipelineStatistics

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def running(
    depths=0,
    events=0,
    *,
    lost=0,
    dropped=None,
    state=SessionState.RUNNING,
    error="",
    health=None,
    opened_s=0.0,
    lag=None,
):
    statistics = PipelineStatistics(
        events=events,
        lost_events=lost,
        unplaced_events=7,
        sweeps=depths + sum((dropped or {}).values()),
        depths=depths,
        dropped_sweeps=dropped or {},
        lens={"missed_edges": 2},
        timing={"clock_drift_ppm": -37.5, "edges": 12},
        lag=lag or LagReport(None, None, 0, {}, None),
        latency_ms={"p50": 12.5},
        health=health or StreamHealth(),
        error=None,
    )
    return SessionStatus(state, error, 0, statistics, opened_s)


def values(status):
    return {item.key: item.value for item in status.values}


@pytest.fixture
def diagnostics():
    return DepthDiagnostics("/robot/depth_node")


def test_without_a_session_the_problem_decides(diagnostics):
    idle = diagnostics.update(None, None, "")
    assert (idle.name, idle.level, idle.message) == ("robot/depth_node: depth", OK, "not configured")
    failed = diagnostics.update(None, None, "rig.yaml: no such rig file")
    assert (failed.level, failed.message) == (ERROR, "rig.yaml: no such rig file")


def test_rates_are_of_the_time_since_the_last_look(diagnostics):
    diagnostics.update(None, running(10, 1_000_000), "", now_s=100.0)
    status = diagnostics.update(None, running(15, 3_000_000), "", now_s=100.5)
    assert (status.level, status.message) == (OK, "measuring depth")
    found = values(status)
    assert (found["depth rate (Hz)"], found["event rate (Mev/s)"]) == ("10", "4")
    assert (found["latency p50 (ms)"], found["lens: missed edges"]) == ("12.5", "2")


def test_a_pipeline_opened_anew_has_no_rate_yet_whatever_its_counters_are(diagnostics):
    diagnostics.update(None, running(3, 5_000_000), "", now_s=1.0)
    reconnected = diagnostics.update(None, running(3, 100_000, opened_s=1.5), "", now_s=2.0)
    assert (reconnected.level, reconnected.message) == (OK, "measuring depth")
    assert not [key for key in values(reconnected) if "rate" in key]
    later = values(diagnostics.update(None, running(5, 2_100_000, opened_s=1.5), "", now_s=3.0))
    assert (later["depth rate (Hz)"], later["event rate (Mev/s)"]) == ("2", "2")


def test_silence_is_a_warning_within_two_seconds_and_says_what_is_missing(diagnostics):
    diagnostics.update(None, running(10, 1000), "", now_s=100.0)
    assert diagnostics.update(None, running(10, 1000), "", now_s=101.0).level == OK
    silent = diagnostics.update(None, running(10, 1000), "", now_s=102.0)
    assert (silent.level, silent.message) == (WARN, "no depth for 2 s; no events arrive")
    no_sweeps = diagnostics.update(None, running(10, 5000), "", now_s=103.0)
    assert (no_sweeps.level, no_sweeps.message) == (WARN, "no depth for 3 s; events arrive")
    assert diagnostics.update(None, running(11, 6000), "", now_s=104.0).level == OK


def test_new_losses_are_a_warning_and_old_ones_are_not(diagnostics):
    diagnostics.update(None, running(1), "", now_s=0.0)
    lossy = running(2, lost=500, dropped={"estimator busy": 1})
    status = diagnostics.update(None, lossy, "", now_s=1.0)
    assert (status.level, status.message) == (WARN, "losing 500 events, 1 sweeps")
    assert values(status)["dropped sweeps: estimator busy"] == "1"
    later = diagnostics.update(None, running(3, lost=500, dropped={"estimator busy": 1}), "", now_s=2.0)
    assert later.level == OK


def test_a_broken_source_is_an_error_and_a_played_recording_is_not(diagnostics):
    waiting = diagnostics.update(None, running(state=SessionState.WAITING, error="camera unplugged"), "", now_s=0.0)
    assert (waiting.level, waiting.message) == (ERROR, "camera unplugged")
    ended = diagnostics.update(None, running(state=SessionState.ENDED), "", now_s=99.0)
    assert (ended.level, ended.message) == (OK, "end of the recording")


def test_problems_of_the_stream_are_listed(diagnostics):
    status = diagnostics.update(None, running(health=StreamHealth(time_reversals=3)), "", now_s=0.0)
    assert values(status)["events: time reversals"] == "3"


def test_how_the_focus_is_bound_to_time_is_told(diagnostics):
    found = values(diagnostics.update(None, running(1), "", now_s=0.0))
    assert (found["timing: clock drift (ppm)"], found["timing: edges"]) == ("-37.5", "12")
    assert found["lag: measurements"] == "0" and "lag (ms)" not in found
    lag = LagReport(Lag(1234.0, 56.0), 0.5, 3, {"too few events": 2}, correction_us=1200.0)
    found = values(diagnostics.update(None, running(1, lag=lag), "", now_s=1.0))
    assert (found["lag (ms)"], found["lag: uncertainty (ms)"], found["lag: in bins"]) == ("1.234", "0.056", "0.5")
    assert (found["lag: taken out (ms)"], found["lag: not known, too few events"]) == ("1.2", "2")
