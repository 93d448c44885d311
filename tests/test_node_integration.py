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
from node_process import NodeProcess, Observer, last_status, ros_context, stamp_us
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
    "uncertainty": Image,
    "guide": Image,
    "event_image": Image,
    "volume/slice": Image,
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


def set_parameters(observer, node, client, **values):
    """Set parameters of a node, all or none; returns what it answered."""
    answer = client.set_parameters_atomically([Parameter(name, value=value) for name, value in values.items()])
    assert observer.wait_for(answer.done, 20.0), node.log
    return answer.result().result


def test_a_recording_becomes_every_topic(ros, recording):
    observer, domain_id = ros
    subscribe_to_all(observer, "/robot")
    observer.subscribe(DiagnosticArray, "/diagnostics", 10)
    received = {name: observer.received[f"/robot/{name}"] for name in KINDS}
    parameters = {"source": "file", "path": str(recording), "loop": True, "camera_name": "left"}
    with NodeProcess(domain_id, parameters, "-r", "__ns:=/robot") as node:
        assert observer.wait_for(lambda: all(len(messages) >= 4 for messages in received.values()), START_S), node.log
        assert observer.wait_for(lambda: last_status(observer).level == DiagnosticStatus.OK, 10.0), node.log
        values = {item.key: item.value for item in last_status(observer).values}
        first = {name: list(messages) for name, messages in received.items()}
        client = AsyncParameterClient(observer.node, "/robot/depth_node")
        assert observer.wait_for(client.services_are_ready, 10.0)
        refused = set_parameters(observer, node, client, points_stride=2, volume_slice_bin=32)
        assert (refused.successful, refused.reason) == (
            False, "volume_slice_bin = 32: the volumes have 32 bins: allowed is 0 to 31"
        )  # fmt: skip
        assert set_parameters(observer, node, client, points_organised=False, points_stride=2).successful
        points = received["points"]
        assert observer.wait_for(lambda: points[-1].is_dense, 20.0), "takes effect while it runs"
        assert len(points[-1].data) > 0 and np.isfinite(cloud_array(points[-1])).all()
        assert set_parameters(observer, node, client, near_m=100.0).successful
        assert observer.wait_for(lambda: points[-1].width == 0, 20.0), "without depth there are no points"
        depth = received["depth"]
        assert observer.wait_for(lambda: np.isneginf(image_array(depth[-1])).any(), 20.0)
        assert node.stop(signal.SIGINT) == 0
        assert node.leftover_processes() == []
        assert "Traceback" not in node.log

    assert values["source"] == str(recording)
    assert {"state", "depth images", "lost events", "events"} <= values.keys()
    states = first.pop("lens/state")
    assert {message.header.frame_id for messages in first.values() for message in messages} == {FRAME}
    assert {message.header.frame_id for message in states} == {"left_link"}
    assert {round(message.position[0], 1) for message in states} == {0.3, 4.2}
    track = np.loadtxt(recording / "lens.csv", delimiter=",", skiprows=1)
    turns_us = track[[0, *(1 + np.flatnonzero(np.diff(np.sign(np.diff(track[:, 1]))))), -1], 0]
    expected_us = (turns_us[1:] + turns_us[:-1]) / 2
    stamps_us = {stamp_us(message) for messages in first.values() for message in messages}
    assert all(np.abs(expected_us - stamp).min() <= 1000 for stamp in stamps_us), "the middle of a sweep"

    one = one_sweep(first)
    assert {name: message.encoding for name, message in one.items() if isinstance(message, Image)} == {
        "depth": "32FC1",
        "confidence": "32FC1",
        "uncertainty": "32FC1",
        "guide": "mono8",
        "event_image": "rgb8",
        "volume/slice": "32FC1",
    }
    sizes = {(message.width, message.height) for message in one.values()}
    assert sizes == {(WIDTH, HEIGHT)}, "of images, camera_info and the organised cloud"
    depth_m, cloud = image_array(one["depth"]), cloud_array(one["points"])
    known = np.isfinite(depth_m)
    np.testing.assert_array_equal(cloud[..., 2], depth_m)
    np.testing.assert_array_equal(cloud[..., 3], image_array(one["guide"]), "intensity")
    np.testing.assert_array_equal(cloud[..., 4], image_array(one["confidence"]))
    np.testing.assert_array_equal(cloud[..., 5], image_array(one["uncertainty"]))
    uncertainty_m = image_array(one["uncertainty"])
    np.testing.assert_array_equal(np.isfinite(uncertainty_m), known)
    assert (uncertainty_m[known] > 0).all()
    events = image_array(one["event_image"])
    assert events[..., 0].any() and events[..., 2].any() and not events[..., 1].any()
    counts = image_array(one["volume/slice"])
    assert counts.any() and (counts == np.rint(counts)).all()
    truth_m = np.load(recording / "depth_gt.npy").reshape(-1, HEIGHT, WIDTH)[0]
    assert known.mean() > 0.3
    assert np.median(np.abs(1 / depth_m[known] - 1 / truth_m[known])) < 0.5 * 3.9 / 32


def one_sweep(received):
    """The messages of one sweep, by topic: the newest stamp that all topics have."""
    common = set.intersection(*({stamp_us(message) for message in messages} for messages in received.values()))
    assert common, "one stamp for all that is made of a sweep"
    newest = max(common)
    return {
        name: next(message for message in messages if stamp_us(message) == newest)
        for name, messages in received.items()
    }


def test_two_nodes_at_once_share_nothing(ros, recording):
    observer, domain_id = ros
    for side in ("left", "right"):
        observer.subscribe(Image, f"/{side}/depth", 10)
    observer.subscribe(DiagnosticArray, "/diagnostics", 10)
    base = {"source": "file", "path": str(recording), "loop": True, "estimator": "reversal"}
    with (
        NodeProcess(domain_id, {**base, "camera_name": "left"}, "-r", "__ns:=/left") as left,
        NodeProcess(
            domain_id, {**base, "camera_name": "right", "depth_encoding": "16UC1"}, "-r", "__ns:=/right"
        ) as right,
    ):
        depth, depth_mm = observer.received["/left/depth"], observer.received["/right/depth"]

        def seen_by_both():
            return {stamp_us(image) for image in depth} & {stamp_us(image) for image in depth_mm}

        def names():
            return {status.name for array in observer.received["/diagnostics"] for status in array.status}

        assert observer.wait_for(seen_by_both, 2 * START_S), left.log + right.log
        assert observer.wait_for(lambda: names() == {"left/depth_node: depth", "right/depth_node: depth"}, 20.0)
        assert left.stop(signal.SIGINT) == 0
        count = len(depth_mm)
        assert observer.wait_for(lambda: len(depth_mm) > count + 2, 20.0), "goes on alone"
        assert right.stop(signal.SIGINT) == 0
        assert left.leftover_processes() == right.leftover_processes() == []
    for side, encoding in (("left", "32FC1"), ("right", "16UC1")):
        images = observer.received[f"/{side}/depth"]
        assert {image.header.frame_id for image in images} == {f"{side}_optical_frame"}
        assert {image.encoding for image in images} == {encoding}
    stamp = max(seen_by_both())
    depth_m, depth_mm = (
        next(image_array(message) for message in messages if stamp_us(message) == stamp)
        for messages in (depth, depth_mm)
    )
    known = np.isfinite(depth_m)
    np.testing.assert_array_equal(depth_mm > 0, known)
    np.testing.assert_allclose(depth_mm[known], 1e3 * depth_m[known], atol=0.501)


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
            assert len(node.leftover_processes()) == 2, "the node and its capture process"
            assert change(Transition.TRANSITION_DEACTIVATE)
            assert len(node.leftover_processes()) == 1, "the capture process is gone"
        assert change(Transition.TRANSITION_CLEANUP)
        assert node.stop() == 0


def test_the_simulated_camera_runs_and_leaves_nothing_behind(ros, rig_path):
    observer, domain_id = ros
    subscribe_to_all(observer)
    there_before = set(Path("/dev/shm").iterdir())
    with NodeProcess(domain_id, {"source": "sim", "rig": str(rig_path)}) as node:
        assert observer.wait_for(lambda: len(observer.received["/depth"]) >= 3, START_S), node.log
        own = node.shared_memory() - there_before
        assert node.stop(signal.SIGTERM) == 0
        assert node.leftover_processes() == []
        assert not {segment for segment in own if segment.exists()}
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
