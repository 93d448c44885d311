"""The services of the depth node in a process of its own, on the virtual rig."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from camera_node import ANSWER_S, running_camera
from lifecycle_msgs.msg import Transition

from edfv_ros.nodes.messages import image_array
from edfv_ros.offline import compute_depth
from edfv_ros.outputs.run_folder import RunFolder
from edfv_ros.recording import open_recording
from edfv_ros.sweep_range import SweepRange


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    with running_camera(tmp_path_factory.mktemp("rig")) as camera:
        yield camera


def test_a_single_shot_of_a_sweeping_camera_names_an_image_that_was_published(camera):
    answer = camera.ask("single_shot")
    assert answer.success and answer.message.endswith("% of the pixels")
    camera.wait_for_depth()
    stamps = {
        f"stamp {message.header.stamp.sec}.{message.header.stamp.nanosec // 1000:06d} s" for message in camera.depth
    }
    assert answer.message.split(",")[0] in stamps


def test_the_self_test_looks_at_every_link(camera):
    for _ in range(3):  # a busy machine may hold the simulated camera up
        answer = camera.ask("self_test")
        if answer.success:
            break
    lines = answer.message.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "pass source", "pass events", "pass lens", "pass sweeps", "pass estimator", "pass clock",
    ], answer.message  # fmt: skip
    assert answer.success


def test_a_parked_camera_publishes_what_is_asked_for_and_nothing_else(camera):
    assert camera.ask("park").success
    camera.settle()
    del camera.depth[:]
    camera.listen(1.0)
    assert camera.depth == [], "the lens stands still"
    refused = camera.ask("self_test")
    assert not refused.success and "the lens is parked" in refused.message
    assert camera.ask("single_shot").success
    assert camera.observer.wait_for(lambda: camera.depth, ANSWER_S)
    camera.settle()
    assert len(camera.depth) == 1
    assert camera.ask("sweep", True).success
    camera.wait_for_depth(2)
    assert camera.ask("sweep", False).message == "parked"
    assert camera.ask("sweep", True).message == "sweeping"
    camera.wait_for_depth()


def test_a_region_sets_the_sweep_and_goes_back_to_the_rigs(camera):
    camera.wait_for_turns({0.3, 4.2})
    assert camera.set(region_near_m=0.4, region_far_m=0.8).successful
    camera.wait_for_turn(2.5)
    camera.wait_for_turns({1.25, 2.5})
    del camera.depth[:]
    camera.wait_for_depth(2)
    vergence_dpt = 1.0 / image_array(camera.depth[-1])
    half_bin_dpt = 1.25 / 32 / 2
    assert np.nanmin(vergence_dpt) >= 1.25 - half_bin_dpt and np.nanmax(vergence_dpt) <= 2.5 + half_bin_dpt
    refused = camera.set(region_near_m=0.1)
    assert not refused.successful and "is not within what the lens is calibrated for" in refused.reason
    refused = camera.set(sweep_frequency_hz=400.0)
    assert not refused.successful and "100 Hz works" in refused.reason
    camera.wait_for_turns({1.25, 2.5})  # what is refused changes nothing
    assert camera.set(region_near_m=0.0, region_far_m=0.0).successful
    camera.wait_for_turn(4.2)
    camera.wait_for_turns({0.3, 4.2})


def test_no_image_is_of_two_sweeps(camera):
    """Each lens state belongs to one image, and its speed says which sweep it is of."""
    del camera.lens[:]
    for near_m, turn_dpt in ((0.4, 2.5), (0.0, 4.2), (0.4, 2.5), (0.0, 4.2)):
        assert camera.set(region_near_m=near_m).successful
        camera.wait_for_turn(turn_dpt)
        camera.wait_for_depth(2)
    turns_dpt = {round(message.position[0], 2) for message in camera.lens}
    assert turns_dpt == {0.3, 2.5, 4.2}
    for message in camera.lens:
        turn_dpt, speed = message.position[0], abs(message.velocity[0])
        span_dpt = {2.5: (2.2,), 4.2: (3.9,), 0.3: (2.2, 3.9)}[round(turn_dpt, 2)]
        assert any(speed == pytest.approx(10.0 * span, rel=0.02) for span in span_dpt), "two sweeps a period of 0.2 s"


@pytest.mark.parametrize("name", ["desk", "desk.mcap"])
def test_what_is_recorded_can_be_played(camera, tmp_path, name):
    assert camera.set(record_to="").successful
    refused = camera.ask("record", True)
    assert not refused.success and "record_to is empty" in refused.message
    path = tmp_path / name
    assert camera.set(record_to=str(path)).successful
    assert camera.ask("record", True).message == f"recording to {path}"
    assert not camera.ask("record", True).success
    for _ in range(3):  # each of a sweep that begins, and ends, while it is recorded
        assert camera.ask("single_shot").success
    refused = camera.set(region_near_m=0.4)
    assert not refused.successful and "a recording has one sweep" in refused.reason
    answer = camera.ask("record", False)
    assert answer.success and answer.message.startswith(f"{path}: ") and "lost" not in answer.message
    assert not camera.ask("record", False).success
    opened = open_recording(path)
    out = RunFolder(tmp_path / "out", opened.rig)
    report = compute_depth(opened, out, estimator="reversal", wanted=SweepRange())
    assert len(report.sweeps) >= 2


def test_what_is_asked_of_an_inactive_node_is_refused(camera):
    assert camera.change(Transition.TRANSITION_DEACTIVATE)
    for name, on in (("sweep", True), ("single_shot", None), ("park", None), ("reset", None), ("self_test", None)):
        answer = camera.ask(name, on)
        assert not answer.success and answer.message == "the node is not active: configure and activate it first"
    assert camera.change(Transition.TRANSITION_ACTIVATE)
    camera.wait_for_depth()


def test_a_shot_that_waits_holds_up_nobody_and_fails_when_the_lens_is_parked(camera):
    """At 0.01 Hz a sweep takes 50 s: long enough for others to be answered meanwhile."""
    assert camera.set(sweep_frequency_hz=0.01).successful
    shot = camera.start("single_shot")
    for _ in range(3):
        refused = camera.ask("record", False)
        assert refused.message == "nothing is being recorded" and not shot.done()
    another = camera.ask("single_shot")
    assert not another.success and "another image is being taken" in another.message
    assert camera.ask("park").success
    assert camera.observer.wait_for(shot.done, ANSWER_S)
    assert not shot.result().success and shot.result().message == "the lens was parked"
    assert camera.set(sweep_frequency_hz=0.0).successful
    assert camera.ask("sweep", True).success
    camera.wait_for_depth()


def test_a_reset_opens_everything_anew(camera):
    assert camera.ask("reset").message == "opened anew"
    camera.wait_for_depth(2)


def test_an_end_during_a_shot_and_a_recording_is_in_order(camera, tmp_path):
    """The last one: the fixture ends the node, and looks at how it does."""
    assert camera.set(sweep_frequency_hz=0.01, record_to=str(tmp_path / "desk")).successful
    assert camera.ask("record", True).success
    shot = camera.start("single_shot")
    camera.listen(0.5)
    assert not shot.done()
