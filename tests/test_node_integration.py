"""The depth node in a process of its own, and a subscriber in the test's."""

import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_process import NodeProcess, Observer, ros_context
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2

from edfv_ros.nodes.messages import cloud_array, image_array
from edfv_ros.nodes.simulated_camera import SimulatedCamera
from edfv_ros.rig import load_rig
from edfv_ros.simulation import make_scene, write_recording

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 128, 96
START_S = 40.0
KINDS = {
    "depth": Image,
    "camera_info": CameraInfo,
    "points": PointCloud2,
    "confidence": Image,
    "guide": Image,
    "lens/state": JointState,
}
FRAME = "left_optical_frame"


@pytest.fixture(scope="module")
def rig_path(tmp_path_factory):
    data = yaml.safe_load((ROOT / "config/rig.yaml").read_text(encoding="utf-8"))
    data["camera"] |= {"width_px": WIDTH, "height_px": HEIGHT}
    data["camera"]["intrinsics"] |= {"cx_px": (WIDTH - 1) / 2, "cy_px": (HEIGHT - 1) / 2}
    path = tmp_path_factory.mktemp("rig") / "rig.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def recording(rig_path, tmp_path_factory):
    rig = load_rig(rig_path)
    folder = tmp_path_factory.mktemp("recording")
    write_recording(folder, rig, make_scene("tabletop", 0, rig), sweeps=4)
    return folder


@pytest.fixture
def ros():
    with ros_context() as (context, domain_id):
        yield Observer(context), domain_id


def subscribe_to_all(observer, namespace=""):
    """Reliable subscriptions, and a best-effort one to the points."""
    best_effort = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    for name, kind in KINDS.items():
        observer.subscribe(kind, f"{namespace}/{name}", best_effort if name == "points" else 10)


def last_status(observer):
    arrays = observer.received["/diagnostics"]
    return arrays[-1].status[0] if arrays else DiagnosticStatus(level=DiagnosticStatus.STALE)


def test_a_recording_becomes_every_topic(ros, recording):
    observer, domain_id = ros
    subscribe_to_all(observer, "/robot")
    observer.subscribe(DiagnosticArray, "/diagnostics", 10)
    parameters = {"source": "file", "path": str(recording), "loop": True, "camera_name": "left"}
    with NodeProcess(domain_id, parameters, "-r", "__ns:=/robot") as node:
        everything = [observer.received[f"/robot/{name}"] for name in KINDS]
        assert observer.wait_for(lambda: all(len(messages) >= 4 for messages in everything), START_S), node.log
        assert observer.wait_for(lambda: last_status(observer).level == DiagnosticStatus.OK, 10.0), node.log
        values = {item.key: item.value for item in last_status(observer).values}
        parameters = AsyncParameterClient(observer.node, "/robot/depth_node")
        assert observer.wait_for(parameters.services_are_ready, 10.0)
        changed = parameters.set_parameters([Parameter("near_m", value=100.0)])
        assert observer.wait_for(changed.done, 10.0)
        depth = observer.received["/robot/depth"]
        assert observer.wait_for(lambda: np.isneginf(image_array(depth[-1])).any(), 10.0), "takes effect while it runs"
        last_near = next(i for i, message in enumerate(depth) if np.isneginf(image_array(message)).any())
        del depth[last_near:]
        assert node.stop(signal.SIGINT) == 0
        assert node.leftover_processes() == []
        assert "Traceback" not in node.log

    assert values["source"] == str(recording)
    assert {"state", "depth images", "lost events", "events"} <= values.keys()
    depth, info, cloud = (observer.received[f"/robot/{name}"] for name in ("depth", "camera_info", "points"))
    assert {message.header.frame_id for message in (*depth, *info, *cloud)} == {FRAME}
    middles_us = {message.header.stamp.sec * 1_000_000 + message.header.stamp.nanosec // 1000 for message in depth}
    track = np.loadtxt(recording / "lens.csv", delimiter=",", skiprows=1)
    turns_us = track[[0, *(1 + np.flatnonzero(np.diff(np.sign(np.diff(track[:, 1]))))), -1], 0]
    expected_us = (turns_us[1:] + turns_us[:-1]) / 2
    assert all(np.abs(expected_us - middle).min() <= 1000 for middle in middles_us), "the middle of a sweep"

    assert (info[0].width, info[0].height) == (WIDTH, HEIGHT)
    matching = next(message for message in cloud if message.header.stamp == depth[-1].header.stamp)
    depth_m = image_array(depth[-1])
    np.testing.assert_array_equal(cloud_array(matching)[..., 2], depth_m)
    truth_m = np.load(recording / "depth_gt.npy").reshape(-1, HEIGHT, WIDTH)[0]
    known = np.isfinite(depth_m)
    assert known.mean() > 0.3
    assert np.median(np.abs(1 / depth_m[known] - 1 / truth_m[known])) < 0.5 * 3.9 / 32
    states = [message.position[0] for message in observer.received["/robot/lens/state"]]
    assert {round(state, 1) for state in states} == {0.3, 4.2}


def test_transitions_over_services_stop_and_start_the_messages(ros, recording):
    observer, domain_id = ros
    observer.subscribe(Image, "/depth", 10)
    parameters = {"source": "file", "path": str(recording), "loop": True, "autostart": False}
    with NodeProcess(domain_id, parameters) as node:
        client = observer.node.create_client(ChangeState, "/depth_node/change_state")
        assert observer.wait_for(client.service_is_ready, START_S), node.log

        def ask_for(transition):
            return client.call_async(ChangeState.Request(transition=Transition(id=transition)))

        def change(transition):
            future = ask_for(transition)
            assert observer.wait_for(future.done, START_S), node.log
            return future.result().success

        ask_for(Transition.TRANSITION_ACTIVATE)  # it is not configured yet: rclpy gives no answer, but it must survive
        assert change(Transition.TRANSITION_CONFIGURE)
        for _ in range(2):
            observer.received["/depth"].clear()
            assert change(Transition.TRANSITION_ACTIVATE)
            assert observer.wait_for(lambda: observer.received["/depth"], 20.0), node.log
            assert change(Transition.TRANSITION_DEACTIVATE)
            assert len(node.leftover_processes()) == 1, "the capture process is gone"
        assert change(Transition.TRANSITION_CLEANUP)
        assert node.stop() == 0


def test_the_simulated_camera_runs_and_leaves_nothing_behind(ros, rig_path):
    observer, domain_id = ros
    subscribe_to_all(observer)
    with NodeProcess(domain_id, {"source": "sim", "rig": str(rig_path)}) as node:
        assert observer.wait_for(lambda: len(observer.received["/depth"]) >= 3, START_S), node.log
        assert node.stop(signal.SIGTERM) == 0
        assert node.leftover_processes() == []
        assert "Traceback" not in node.log


def test_it_ends_at_once_while_the_source_is_still_opening(ros, rig_path):
    observer, domain_id = ros
    with NodeProcess(domain_id, {"source": "sim", "rig": str(rig_path)}) as node:
        assert observer.wait_for(lambda: "configured" in node.log, START_S), node.log
        assert node.stop(signal.SIGINT, timeout_s=30.0) == 0
        assert node.leftover_processes() == []
        assert "ERROR" not in node.log
        assert "Traceback" not in node.log


def test_a_camera_that_vanishes_is_reported_and_comes_back(ros, rig_path):
    observer, domain_id = ros
    observer.subscribe(Image, "/depth", 10)
    observer.subscribe(DiagnosticArray, "/diagnostics", 10)
    with SimulatedCamera(["--rig", str(rig_path)]) as camera:
        uri = camera.uri
        node = NodeProcess(domain_id, {"source": "network", "path": uri, "rig": str(rig_path)})
        assert observer.wait_for(lambda: observer.received["/depth"], START_S), node.log
    with node:
        assert observer.wait_for(lambda: last_status(observer).message.endswith("; trying again"), 15.0), node.log
        assert last_status(observer).level == DiagnosticStatus.WARN and "\n" not in last_status(observer).message
        count = len(observer.received["/depth"])
        with SimulatedCamera(["--rig", str(rig_path), "--port", uri.rpartition(":")[2]]):
            assert observer.wait_for(lambda: len(observer.received["/depth"]) > count + 1, START_S), node.log
            assert observer.wait_for(lambda: last_status(observer).level == DiagnosticStatus.OK, 10.0), node.log
        assert node.stop() == 0
        assert "Traceback" not in node.log


def test_an_absent_camera_is_one_line_and_is_tried_again(ros, rig_path):
    observer, domain_id = ros
    observer.subscribe(DiagnosticArray, "/diagnostics", 10)
    parameters = {"source": "network", "path": "tcp://127.0.0.1:9", "rig": str(rig_path)}
    with NodeProcess(domain_id, parameters) as node:
        assert observer.wait_for(lambda: last_status(observer).level == DiagnosticStatus.ERROR, START_S), node.log
        message = last_status(observer).message
        assert "tcp://127.0.0.1:9" in message
        assert "\n" not in message
        assert node.stop() == 0
        errors = [line for line in node.log.splitlines() if "[ERROR]" in line]
        assert len(errors) == 1, node.log
        assert "Traceback" not in node.log


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"confidence_threshold": 3.0}, "out of range"), ({"far_m": "two"}, "expecting type 'DOUBLE'")],
)
def test_a_value_that_cannot_be_is_one_line_and_exit_code_2(parameters, words):
    with NodeProcess(1, parameters) as node:
        assert node.process.wait(START_S) == 2
        (line,) = [line for line in node.log.splitlines() if line.strip()]
        assert words in line
