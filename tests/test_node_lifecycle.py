"""Every transition of the depth node, run in the test's process."""

import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_process import Observer, ros_context
from rcl_interfaces.msg import ParameterType
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from recordings import write_small_recording

from edfv_ros.nodes import depth_devices, depth_setup
from edfv_ros.nodes.depth_node import DepthNode
from edfv_ros.nodes.parameters import FIELDS, DepthParameters
from edfv_ros.running_recording import RunningRecording

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
ROOT = Path(__file__).parents[1]
NOBODY = "tcp://127.0.0.1:9"


@pytest.fixture
def context():
    with ros_context() as (context, _):
        yield context


@pytest.fixture
def make_node(context):
    nodes = []

    def make(namespace="/", **values):
        values.setdefault("autostart", False)
        values.setdefault("rig", str(ROOT / "config/rig.yaml"))
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(DepthNode(context=context, namespace=namespace, parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        with suppress(RuntimeError):  # the test has shut it down
            node.trigger_shutdown()
        node.destroy_node()


def own_threads():
    """Without those that work on all depth of the process, and stay."""
    return [thread for thread in threading.enumerate() if not thread.name.startswith("depth worker")]


def test_configure_opens_no_device_and_cleanup_allows_it_again(make_node):
    node = make_node(source="network", path=NOBODY)
    before = own_threads()
    for _ in range(3):
        assert node.trigger_configure() is SUCCESS
        assert node.trigger_cleanup() is SUCCESS
    assert own_threads() == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rig": "/nowhere/rig.yaml"}, "/nowhere/rig.yaml: no such rig file"),
        ({"rig": ""}, "the parameter rig is empty"),
        ({"source": "network"}, "the parameter path is empty"),
        ({"source": "network", "path": "127.0.0.1"}, "127.0.0.1: not an address of a camera stream"),
        ({"source": "file", "path": "/nowhere"}, "/nowhere: no such recording"),
        ({"source": "camara"}, "source = 'camara': allowed is camera, file, network, sim"),
        ({"near_m": 2.0, "far_m": 1.0}, "far_m = 1 must be above near_m = 2"),
        ({"device": "gpu"}, "device = 'gpu': allowed is cpu, cuda"),
    ],
)
def test_what_is_wrong_is_one_line_in_the_diagnostics(context, make_node, values, message):
    node = make_node(**values)
    assert node.trigger_configure() is FAILURE
    observer = Observer(context)
    observer.subscribe(DiagnosticArray, "/diagnostics", 10)
    observer.spin_also(node)
    assert observer.wait_for(lambda: observer.received["/diagnostics"], timeout_s=10.0)
    (status,) = observer.received["/diagnostics"][-1].status
    assert status.level == DiagnosticStatus.ERROR
    assert status.message.startswith(message)
    assert "\n" not in status.message


def test_a_corrected_parameter_lets_it_configure(make_node):
    node = make_node(rig="/nowhere/rig.yaml", source="network", path=NOBODY)
    assert node.trigger_configure() is FAILURE
    (result,) = node.set_parameters([Parameter("rig", value=str(ROOT / "config/rig.yaml"))])
    assert result.successful
    assert node.trigger_configure() is SUCCESS


def test_activation_without_a_source_fails_and_leaves_the_node_inactive(make_node):
    node = make_node(source="network", path=NOBODY)
    assert node.trigger_configure() is SUCCESS
    assert node.trigger_activate() is FAILURE
    assert node.trigger_cleanup() is SUCCESS


@pytest.fixture
def statuses(context):
    """Spin a node until it has published its next statuses, and return the last."""
    observer = Observer(context)
    observer.subscribe(DiagnosticArray, "/diagnostics", 10)
    received = observer.received["/diagnostics"]

    def after(count, node=None):
        if node is not None:
            observer.spin_also(node)
        wanted = len(received) + count
        assert observer.wait_for(lambda: len(received) >= wanted, timeout_s=20.0)
        return received[-1].status[0]

    return after


@pytest.mark.parametrize("transition", ["shutdown", "cleanup"])
def test_autostart_leaves_a_node_alone_that_somebody_else_has_taken_over(make_node, statuses, transition):
    node = make_node(source="network", path=NOBODY, autostart=True)
    assert statuses(1, node).level == DiagnosticStatus.ERROR
    assert getattr(node, f"trigger_{transition}")() is SUCCESS
    status = statuses(2)  # a retry would have come after the first, and raised where the node is finalised
    assert (status.level, status.message) == (DiagnosticStatus.OK, "not configured")


def test_autostart_does_not_activate_again_what_somebody_else_has_deactivated(make_node, statuses, tmp_path):
    recording = write_small_recording(tmp_path / "recording")
    node = make_node(source="file", path=str(recording), rig="", loop=True, autostart=True)
    for transition in (node.trigger_configure, node.trigger_activate, node.trigger_deactivate):
        assert transition() is SUCCESS
    status = statuses(2, node)
    assert (status.level, status.message) == (DiagnosticStatus.OK, "configured, not active")


def test_autostart_configures_and_activates(make_node, statuses, tmp_path):
    recording = write_small_recording(tmp_path / "recording")
    node = make_node(source="file", path=str(recording), rig="", loop=True, autostart=True)
    statuses(2, node)
    assert node.trigger_deactivate() is SUCCESS


def test_a_gpu_that_is_not_there_is_one_line(make_node, statuses, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed: the gpu extra")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    node = make_node(source="network", path=NOBODY, device="cuda")
    assert node.trigger_configure() is FAILURE
    message = statuses(1, node).message
    assert message.startswith(f"device = cuda: torch {torch.__version__} finds no GPU: pip install 'edfv_ros[gpu]'")
    assert "\n" not in message


def test_torch_that_is_not_there_is_one_line(make_node, statuses, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    node = make_node(source="network", path=NOBODY, device="cuda")
    assert node.trigger_configure() is FAILURE
    message = statuses(1, node).message
    assert message.startswith("device = cuda: torch does not load") and "pip install 'edfv_ros[gpu]'" in message
    (corrected,) = node.set_parameters([Parameter("device", value="cpu")])
    assert corrected.successful and node.trigger_configure() is SUCCESS


def test_each_pipeline_has_an_estimator_and_the_device_asked_for(monkeypatch):
    made = []
    monkeypatch.setattr(depth_devices, "DepthPipeline", lambda *given, device, **_: made.append((given[3], device)))
    monkeypatch.setattr(depth_setup, "_require_device", lambda device: None)
    rig = str(ROOT / "config/rig.yaml")
    setup = depth_setup.prepare(DepthParameters(source="network", path=NOBODY, rig=rig, device="cuda"))
    for _ in range(2):
        with ExitStack() as stack:
            devices = setup.open_devices(RunningRecording(print), stack, threading.Event())
            devices.make_pipeline(setup.parameters, lambda output: None)
    (first, first_device), (second, second_device) = made
    assert first is not second, "the thread of a pipeline left behind may still be using the first"
    assert (first_device, second_device) == ("cuda", "cuda")


def test_every_parameter_is_declared_with_description_and_limits(make_node):
    node = make_node()
    for name in FIELDS:
        descriptor = node.describe_parameter(name)
        assert descriptor.description
    assert node.describe_parameter("source").additional_constraints.startswith("One of: camera, file, network, sim")
    (limits,) = node.describe_parameter("confidence_threshold").floating_point_range
    assert (limits.from_value, limits.to_value) == (0.0, 1.0)
    assert node.describe_parameter("loop").type == ParameterType.PARAMETER_BOOL


def test_runtime_parameters_change_at_any_time_and_others_only_before_configure(make_node):
    node = make_node(source="network", path=NOBODY)
    assert node.trigger_configure() is SUCCESS
    (changed,) = node.set_parameters([Parameter("confidence_threshold", value=0.8)])
    assert changed.successful
    (refused,) = node.set_parameters([Parameter("camera_name", value="left")])
    assert not refused.successful
    assert "clean up the node first" in refused.reason
    assert node.trigger_cleanup() is SUCCESS
    (accepted,) = node.set_parameters([Parameter("camera_name", value="left")])
    assert accepted.successful


def test_quality_of_service_can_be_overridden(make_node):
    node = make_node(**{"qos_overrides./depth.publisher.reliability": "best_effort"})
    (depth,) = node.get_publishers_info_by_topic("/depth")
    (points,) = node.get_publishers_info_by_topic("/points")
    assert depth.qos_profile.reliability is ReliabilityPolicy.BEST_EFFORT
    assert points.qos_profile.reliability is ReliabilityPolicy.RELIABLE


def test_values_that_contradict_each_other_are_refused_together_or_alone(make_node):
    node = make_node()
    (alone,) = node.set_parameters([Parameter("near_m", value=2.0)])
    assert alone.successful
    (refused,) = node.set_parameters([Parameter("far_m", value=1.0)])
    assert refused.reason == "far_m = 1 must be above near_m = 2, or 0 for no limit"
    together = node.set_parameters_atomically([Parameter("near_m", value=0.5), Parameter("far_m", value=1.0)])
    assert together.successful, together.reason


def test_topics_move_with_the_namespace(make_node):
    node = make_node(namespace="/robot", source="network", path=NOBODY)
    names = {name for name, _ in node.get_publisher_names_and_types_by_node("depth_node", "/robot")}
    own = {f"/robot/{name}" for name in ("depth", "camera_info", "points", "confidence", "guide", "lens/state")}
    assert own | {"/diagnostics"} <= names
