"""The depth node in a process of its own, whose camera falls silent and whose lens is unplugged."""

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_process import NodeProcess, Observer, last_status, ros_context, stamp_us
from recordings import small_rig, write_rig
from sensor_msgs.msg import Image

from edfv_ros.nodes.simulated_camera import SimulatedCamera
from edfv_ros.simulation.controllers import EmulatedController

START_S = 60.0


@pytest.fixture
def ros():
    with ros_context() as (context, domain_id):
        observer = Observer(context)
        observer.subscribe(Image, "/depth", 10)
        observer.subscribe(DiagnosticArray, "/diagnostics", 10)
        yield observer, domain_id


@pytest.fixture
def rig_path(tmp_path):
    return write_rig(small_rig(), tmp_path / "rig.yaml")


def children():
    """Processes of this one; other tests may have left helpers of Python's own."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_silence_is_told_and_no_old_depth_gets_a_new_stamp(ros, rig_path):
    observer, domain_id = ros
    depth = observer.received["/depth"]
    others = children()
    with SimulatedCamera(["--rig", str(rig_path)]) as camera:
        parameters = {"source": "network", "path": camera.uri, "rig": str(rig_path), "estimator": "reversal"}
        (simulator,) = children() - others
        with NodeProcess(domain_id, parameters) as node:
            assert observer.wait_for(lambda: len(depth) >= 3, START_S), node.log
            os.kill(simulator, signal.SIGSTOP)  # it stays connected and says nothing
            try:
                silent_us = time.time_ns() // 1000
                told = observer.wait_for(lambda: last_status(observer).message.startswith("no events for"), 20.0)
                assert told and last_status(observer).level == DiagnosticStatus.WARN, node.log
                count = len(depth)
                observer.wait_for(lambda: False, 1.0)
                assert len(depth) == count, "nothing is made of nothing"
                assert all(stamp_us(message) < silent_us for message in depth)
            finally:
                os.kill(simulator, signal.SIGCONT)
            assert observer.wait_for(lambda: len(depth) > count + 2, START_S), node.log
            assert observer.wait_for(lambda: last_status(observer).level == DiagnosticStatus.OK, 20.0), node.log
            assert node.stop() == 0
    stamps_us = [stamp_us(message) for message in depth]
    assert stamps_us == sorted(set(stamps_us)), "each sweep once, in order"


def test_a_lens_that_is_unplugged_is_reported_and_comes_back(ros, rig_path, tmp_path):
    observer, domain_id = ros
    depth, port = observer.received["/depth"], tmp_path / "lens"
    data = yaml.safe_load(rig_path.read_text(encoding="utf-8"))
    calibration = {"control": [-1.9, 2.9], "vergence_up_dpt": [0.3, 4.2]}
    data["lens"] |= {"driver": "optotune_icc", "port": str(port), "calibration": calibration}
    data["sweep"] |= {"sync": "telemetry", "frequency_hz": 2.0}
    rig = tmp_path / "with_lens.yaml"
    rig.write_text(yaml.safe_dump(data), encoding="utf-8")
    with EmulatedController.of("optotune_icc", link=port) as lens, SimulatedCamera(["--rig", str(rig_path)]) as camera:
        parameters = {"source": "network", "path": camera.uri, "rig": str(rig), "estimator": "reversal"}
        before = len(depth)  # of the other test
        with NodeProcess(domain_id, parameters) as node:
            assert observer.wait_for(lambda: len(depth) >= before + 2, START_S), node.log
            lens.unplug()
            assert observer.wait_for(lambda: "; trying again" in last_status(observer).message, 20.0), node.log
            assert last_status(observer).level == DiagnosticStatus.WARN and str(port) in last_status(observer).message
            count = len(depth)
            lens.replug()
            assert observer.wait_for(lambda: len(depth) > count + 1, START_S), node.log
            assert observer.wait_for(lambda: last_status(observer).level == DiagnosticStatus.OK, 20.0), node.log
            assert node.stop() == 0
            assert node.leftover_processes() == [] and "Traceback" not in node.log
