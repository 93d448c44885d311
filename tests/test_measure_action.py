"""The action ~/measure_depth: its package built on the spot, the node in a process of its own."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")


from camera_node import ANSWER_S, running_camera
from interface_build import environment_with, interface_folder
from lifecycle_msgs.msg import Transition
from node_process import ROOT
from rclpy.action import ActionClient
from rclpy.action.client import GoalStatus

from edfv_ros.nodes.messages import image_array

ACTION = "action/MeasureDepth.action"


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    text = (ROOT / "interfaces" / ACTION).read_text(encoding="utf-8")
    folder = interface_folder("edfv_interfaces", {ACTION: text})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment_with(folder)["PYTHONPATH"])
        with running_camera(tmp_path_factory.mktemp("rig")) as camera:
            yield camera


@pytest.fixture(scope="module")
def measure(camera):
    """Send a goal: its handle, the future of its result, and the feedback so far."""
    from edfv_interfaces.action import MeasureDepth

    client = ActionClient(camera.observer.node, MeasureDepth, "/depth_node/measure_depth")
    assert camera.observer.wait_for(client.server_is_ready, ANSWER_S), camera.process.log

    def send(near_m=0.0, far_m=0.0):
        feedback = []
        sent = client.send_goal_async(
            MeasureDepth.Goal(near_m=near_m, far_m=far_m), lambda message: feedback.append(message.feedback)
        )
        assert camera.observer.wait_for(sent.done, ANSWER_S), camera.process.log
        return sent.result(), sent.result().get_result_async(), feedback

    yield send
    client.destroy()


def finished(camera, future):
    assert camera.observer.wait_for(future.done, ANSWER_S), camera.process.log
    return future.result().status, future.result().result


def test_a_parked_camera_measures_once(camera, measure):
    assert camera.ask("park").success
    camera.settle()
    del camera.depth[:]
    _, result, feedback = measure()
    status, image = finished(camera, result)
    assert status == GoalStatus.STATUS_SUCCEEDED, image.message
    assert camera.observer.wait_for(lambda: camera.depth, ANSWER_S)
    camera.settle()
    (published,) = camera.depth
    assert published.header.stamp == image.stamp == image.depth.header.stamp == image.camera_info.header.stamp
    np.testing.assert_array_equal(image_array(image.depth), image_array(published))
    assert (image.depth.width, image.depth.height, image.camera_info.k[2]) == (96, 64, 47.5)
    assert image.coverage == pytest.approx(np.isfinite(image_array(published)).mean())
    confidence = image_array(image.confidence)
    assert confidence.shape == (64, 96) and confidence.min() >= 0.0 and confidence.max() <= 1.0
    assert camera.observer.wait_for(lambda: feedback[-1].progress == 1.0, ANSWER_S)
    progress = [message.progress for message in feedback]
    assert progress == sorted(progress) and progress[0] == 0.0 and progress[-1] == 1.0
    assert (feedback[0].phase, feedback[-1].phase) == ("preparing", "done")
    assert camera.ask("sweep", True).success
    camera.wait_for_depth()


def test_a_region_is_swept_once_and_then_the_sweep_is_as_before(camera, measure):
    _, result, _ = measure(0.4, 0.8)
    status, image = finished(camera, result)
    assert status == GoalStatus.STATUS_SUCCEEDED, image.message
    vergence_dpt = 1.0 / image_array(image.depth)
    half_bin_dpt = 1.25 / 32 / 2
    assert np.nanmin(vergence_dpt) >= 1.25 - half_bin_dpt and np.nanmax(vergence_dpt) <= 2.5 + half_bin_dpt
    camera.wait_for_turn(4.2)
    camera.wait_for_turn(0.3)
    assert [message.position[0] for message in camera.lens if 2.4 < message.position[0] < 2.6][1:] == []


@pytest.mark.parametrize(
    ("region", "reason"),
    [((0.1, 0.5), "is not within what the lens is calibrated for"), ((0.8, 0.4), "give 0 <= near_m < far_m")],
)
def test_a_region_that_cannot_be_aborts(camera, measure, region, reason):
    _, result, _ = measure(*region)
    status, image = finished(camera, result)
    assert status == GoalStatus.STATUS_ABORTED and reason in image.message
    assert image.depth.height == 0
    camera.wait_for_depth()


def test_a_cancelled_goal_ends_and_leaves_the_camera_as_it_was(camera, measure):
    """At 0.01 Hz a sweep takes 50 s: nobody is that late."""
    assert camera.ask("park").success
    assert camera.set(sweep_frequency_hz=0.01).successful
    goal, result, feedback = measure()
    assert camera.observer.wait_for(lambda: "sweeping" in [message.phase for message in feedback], ANSWER_S)
    cancelled = goal.cancel_goal_async()
    assert camera.observer.wait_for(cancelled.done, ANSWER_S)
    assert len(cancelled.result().goals_canceling) == 1
    status, image = finished(camera, result)
    assert status == GoalStatus.STATUS_CANCELED and image.message == "cancelled"
    assert camera.set(sweep_frequency_hz=0.0).successful
    assert camera.ask("sweep", True).success
    camera.wait_for_depth()
    status, image = finished(camera, measure()[1])
    assert status == GoalStatus.STATUS_SUCCEEDED, image.message


def test_an_inactive_node_aborts_with_the_reason(camera, measure):
    assert camera.change(Transition.TRANSITION_DEACTIVATE)
    status, image = finished(camera, measure()[1])
    assert status == GoalStatus.STATUS_ABORTED and "the node is not active" in image.message
    assert camera.change(Transition.TRANSITION_ACTIVATE)
    camera.wait_for_depth()


def test_an_end_while_a_goal_is_pursued_is_in_order(camera, measure):
    """The last one: the fixture ends the node, and looks at how it does."""
    assert camera.set(sweep_frequency_hz=0.01).successful
    _, result, feedback = measure()
    assert camera.observer.wait_for(lambda: feedback, ANSWER_S)
    assert not result.done()
