"""What /diagnostics says of a session, without a node."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from diagnostic_msgs.msg import DiagnosticStatus

from edfv_ros.depth.onnx_session import PROVIDERS, OpenedNetwork
from edfv_ros.events import StreamHealth
from edfv_ros.lag_check import LagReport
from edfv_ros.lens.driver import LensState
from edfv_ros.lens.lag import Lag
from edfv_ros.nodes import diagnostics as diagnostics_module
from edfv_ros.nodes.depth_session import SessionState, SessionStatus
from edfv_ros.nodes.depth_setup import DepthSetup, prepare
from edfv_ros.nodes.diagnostics import DIAGNOSTICS_PERIOD_S, DepthDiagnostics
from edfv_ros.nodes.gpu import GpuState
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.pipeline import PipelineStatistics
from edfv_ros.rig import load_rig
from edfv_ros.running_recording import RunningRecordingStatus

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
    latency_ms=12.5,
    lens=None,
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
        latency_ms={"p50": 12.5, "max": latency_ms},
        health=health or StreamHealth(),
        error=None,
    )
    return SessionStatus(state, error, 0, statistics, opened_s, lens)


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


def test_silence_is_a_warning_within_two_seconds(diagnostics):
    """Worst case: the last event comes right after a look, so that the next one still takes it for new."""
    jitter_s = np.random.default_rng(0).uniform(0.0, 0.2 * DIAGNOSTICS_PERIOD_S, 8)
    looks_s = 100.0 + DIAGNOSTICS_PERIOD_S * np.arange(8) + jitter_s
    diagnostics.update(None, running(10, 1000), "", now_s=looks_s[0])
    found = [diagnostics.update(None, running(11, 2000), "", now_s=now_s) for now_s in looks_s[1:]]
    assert found[0].level == OK
    first = next(index for index, status in enumerate(found) if status.level == WARN)
    assert looks_s[1 + first] - looks_s[0] <= 2.0
    assert found[first].message.endswith(" s: check the camera and its connection")


def test_a_recording_that_has_been_read_is_not_silent(diagnostics):
    """Its events are read faster than they become depth."""
    setup = DepthSetup(DepthParameters(), load_rig("config/rig.yaml"), Path(), "sweep", Path("sweep"))
    diagnostics.update(setup, running(10, 1000), "", now_s=0.0)
    assert diagnostics.update(setup, running(12, 1000), "", now_s=5.0).level == OK


def test_events_without_depth_are_a_warning_that_says_so(diagnostics):
    diagnostics.update(None, running(10, 1000), "", now_s=100.0)
    assert diagnostics.update(None, running(10, 2000), "", now_s=100.9).level == OK
    no_sweeps = diagnostics.update(None, running(10, 5000), "", now_s=101.5)
    assert (no_sweeps.level, no_sweeps.message) == (WARN, "no depth for 1.5 s, though events arrive")
    assert diagnostics.update(None, running(11, 6000), "", now_s=102.0).level == OK


@pytest.mark.parametrize("at_runtime", [False, True])
def test_slow_sweeps_slow_estimators_and_the_beginning_have_more_time(diagnostics, at_runtime):
    rig = load_rig("config/rig.yaml")
    slow = rig.model_copy(update={"sweep": rig.sweep.model_copy(update={"frequency_hz": 0.25})})  # 2 s a sweep
    setup = DepthSetup(DepthParameters(), slow, Path(), "camera:", None)
    if at_runtime:
        setup = DepthSetup(DepthParameters(sweep_frequency_hz=0.25), rig, Path(), "camera:", None)
    diagnostics.update(setup, running(10, 1000), "", now_s=0.0)
    assert diagnostics.update(setup, running(10, 2000), "", now_s=5.9).level == OK
    assert diagnostics.update(setup, running(10, 3000), "", now_s=6.1).level == WARN
    beginning = DepthDiagnostics("/depth_node")
    beginning.update(None, running(0, 1000), "", now_s=0.0)
    assert beginning.update(None, running(0, 2000), "", now_s=2.9).level == OK
    assert beginning.update(None, running(0, 3000), "", now_s=3.1).level == WARN
    estimating = DepthDiagnostics("/depth_node")
    estimating.update(None, running(1, 1000, latency_ms=800.0), "", now_s=0.0)
    assert estimating.update(None, running(1, 2000, latency_ms=800.0), "", now_s=2.3).level == OK
    assert estimating.update(None, running(1, 3000, latency_ms=800.0), "", now_s=2.5).level == WARN


def test_new_losses_are_a_warning_and_old_ones_are_not(diagnostics):
    diagnostics.update(None, running(1), "", now_s=0.0)
    lossy = running(2, 1000, lost=500, dropped={"estimator busy": 1})
    status = diagnostics.update(None, lossy, "", now_s=1.0)
    assert (status.level, status.message) == (WARN, "losing 500 events, 1 sweeps")
    assert values(status)["dropped sweeps: estimator busy"] == "1"
    later = diagnostics.update(None, running(3, 2000, lost=500, dropped={"estimator busy": 1}), "", now_s=2.0)
    assert later.level == OK


def test_a_broken_source_is_a_warning_and_a_played_recording_is_not(diagnostics):
    waiting = diagnostics.update(None, running(state=SessionState.WAITING, error="camera unplugged"), "", now_s=0.0)
    assert (waiting.level, waiting.message) == (WARN, "camera unplugged; trying again")
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


def test_networks_are_told_with_precision_and_provider_and_a_gpu_with_its_memory(diagnostics, monkeypatch):
    states = [GpuState(0, 1024, 8192, 47), GpuState(1, 10, 4096, None)]
    monkeypatch.setattr(diagnostics_module, "GpuMonitor", lambda: SimpleNamespace(states=lambda: states))
    rig = load_rig("config/rig.yaml")

    def told(provider, device="cpu"):
        networks = (OpenedNetwork("edpn_int8.onnx", "int8", provider),)
        setup = DepthSetup(DepthParameters(device=device), rig, Path(), "camera:", None, networks)
        return values(diagnostics.update(setup, None, ""))

    on_cpu = told("CPU")
    assert on_cpu["network: edpn_int8.onnx"] == "int8 on CPU"
    assert not [key for key in on_cpu if "GPU" in key]
    for found in (told("CUDA"), told("CPU", device="cuda")):
        assert (found["GPU 0: memory used (MiB)"], found["GPU 0: memory (MiB)"]) == ("1024", "8192")
        assert found["GPU 0: temperature (C)"] == "47" and "GPU 1: temperature (C)" not in found


def test_configuring_notes_the_networks_that_run():
    setup = prepare(DepthParameters(source="network", path="tcp://127.0.0.1:9", rig="config/rig.yaml"))
    (network,) = setup.networks
    assert network.name.endswith(".onnx") and network.precision in ("int8", "float32")
    assert f"{network.provider}ExecutionProvider" in PROVIDERS


def test_a_recording_has_a_status_of_its_own(diagnostics):
    status = diagnostics.of_recording(RunningRecordingStatus(Path("desk.mcap"), 2.5, 1000, 0, 24))
    assert (status.name, status.level, status.message) == ("robot/depth_node: recording", OK, "recording")
    expected = {"path": "desk.mcap", "duration (s)": "2.5", "events": "1000", "lost events": "0", "sweeps": "24"}
    assert values(status) == expected
    lossy = diagnostics.of_recording(RunningRecordingStatus(Path("desk"), 2.5, 1000, 3, 24))
    assert (lossy.level, lossy.message) == (WARN, "losing events: the disk is too slow")
    ended = diagnostics.of_recording(RunningRecordingStatus(Path("desk"), error="No space left on device"))
    assert (ended.level, ended.message) == (ERROR, "ended: No space left on device")


def test_the_lens_is_told_with_its_temperature_and_complaints(diagnostics):
    warm = diagnostics.update(None, running(1, lens=LensState(True, None, 41.5)), "", now_s=0.0)
    assert warm.level == OK and values(warm)["lens: temperature (C)"] == "41.5"
    hot = diagnostics.update(None, running(2, 1000, lens=LensState(True, None, 81.0, ("too hot",))), "", now_s=0.5)
    assert (hot.level, hot.message) == (WARN, "the lens complains: too hot")
    untold = diagnostics.update(None, running(3, 2000, lens=LensState(True, None)), "", now_s=1.0)
    assert untold.level == OK and "lens: temperature (C)" not in values(untold)
