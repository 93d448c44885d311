"""Parameters that change while the node measures: taken whole with the next sweep, or refused with a reason."""

from contextlib import suppress

import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_process import Observer, last_status, ros_context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from recordings import write_small_recording

from edfv_ros.nodes.depth_node import DepthNode

SUCCESS = TransitionCallbackReturn.SUCCESS


@pytest.fixture
def measuring(tmp_path):
    """A node that plays a recording again and again, and who listens to its diagnostics."""
    recording = write_small_recording(tmp_path / "recording")
    values = {"source": "file", "path": str(recording), "loop": True, "autostart": False, "estimator": "edpn"}
    with ros_context() as (context, _):
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = DepthNode(context=context, parameter_overrides=overrides)
        observer = Observer(context)
        observer.subscribe(DiagnosticArray, "/diagnostics", 10)
        observer.spin_also(node)
        assert node.trigger_configure() is SUCCESS
        assert node.trigger_activate() is SUCCESS
        yield node, observer
        with suppress(RuntimeError):
            node.trigger_shutdown()
        node.destroy_node()


def told(observer):
    return {item.key: item.value for item in last_status(observer).values}


def test_the_estimator_changes_while_it_measures(measuring):
    node, observer = measuring
    assert observer.wait_for(lambda: told(observer).get("estimator") == "edpn", 20.0)
    assert [key for key in told(observer) if key.startswith("network: ")]
    (changed,) = node.set_parameters([Parameter("estimator", value="reversal")])
    assert changed.successful, changed.reason
    assert observer.wait_for(lambda: told(observer).get("estimator") == "reversal", 20.0)
    assert not [key for key in told(observer) if key.startswith("network: ")]
    assert observer.wait_for(lambda: int(told(observer).get("depth images", 0)) > 0, 20.0), "and measures"
    assert last_status(observer).level == DiagnosticStatus.OK


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"estimator": "aligned_prior"}, "the estimator aligned_prior needs a prior"),
        ({"model": "/nowhere.onnx"}, "/nowhere.onnx: no such ONNX file"),
        ({"estimator": "reversal", "model": "/nowhere.onnx"}, "the estimator reversal uses no model"),
        ({"volume_slice_bin": 32, "near_m": 0.5}, "volume_slice_bin = 32"),
        ({"near_m": 2.0, "far_m": 1.0}, "far_m = 1 must be above near_m = 2"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason_and_changes_nothing(measuring, values, words):
    node, observer = measuring
    before = {name: node.get_parameter(name).value for name in values}
    refused = node.set_parameters_atomically([Parameter(name, value=value) for name, value in values.items()])
    assert not refused.successful and words in refused.reason and "\n" not in refused.reason
    assert {name: node.get_parameter(name).value for name in values} == before
    assert observer.wait_for(lambda: told(observer).get("estimator") == "edpn", 20.0)
