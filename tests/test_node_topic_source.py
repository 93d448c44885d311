"""The depth node with another driver's topics as its source: three processes."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from interface_build import EVENT_CAMERA_MSGS, environment_with, interface_folder
from node_process import NodeProcess, Observer, ros_context
from sensor_msgs.msg import Image

from edfv_ros.nodes.messages import image_array
from edfv_ros.offline import compute_depth
from edfv_ros.outputs.run_folder import RunFolder
from edfv_ros.recording import open_recording
from edfv_ros.rig import load_rig
from edfv_ros.simulation import make_scene, write_recording
from edfv_ros.simulation.aps import FrameModel
from edfv_ros.simulation.settings import SimulationSettings
from edfv_ros.sweep_range import SweepRange

TESTS = Path(__file__).parent
WIDTH, HEIGHT = 64, 48
START_S = 60.0  # for the slowest machine
SWEEPS = 4  # up and down: then the end joins the beginning
SWEEP_US = 100_000
T0_US = 1_700_000_000_000_000
ALL_DEPTH = {"confidence_threshold": 0.0, "estimator": "reversal"}


@pytest.fixture(scope="module")
def rig_path(tmp_path_factory):
    data = yaml.safe_load((TESTS.parent / "config/rig.yaml").read_text(encoding="utf-8"))
    data["camera"] |= {"width_px": WIDTH, "height_px": HEIGHT}
    data["camera"]["intrinsics"] |= {"cx_px": (WIDTH - 1) / 2, "cy_px": (HEIGHT - 1) / 2}
    path = tmp_path_factory.mktemp("rig") / "rig.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def recording(rig_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    rig = load_rig(rig_path)
    without_frames = SimulationSettings(frames=FrameModel(rate_hz=0.0))
    write_recording(folder, rig, make_scene("tabletop", 0, rig), sweeps=SWEEPS, settings=without_frames, start_us=T0_US)
    return folder


@pytest.fixture(scope="module")
def recording_with_triggers_only(recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triggers") / "recording"
    shutil.copytree(recording, folder)
    (folder / "lens.csv").unlink()
    return folder


def depth_of_run(recording, out):
    """What ``edfv run`` makes of a recording: depth float32 [H, W] of each sweep."""
    opened = open_recording(recording, None)
    report = compute_depth(opened, RunFolder(out, opened.rig), estimator="reversal", wanted=SweepRange())
    assert [sweep.start_us - T0_US for sweep in report.sweeps] == [SWEEP_US * index for index in range(SWEEPS)]
    return [np.load(out / f"depth_{index:04d}.npy") for index in range(SWEEPS)]


def check_depth(received, expected):
    """Each image must be that of its sweep; the recording comes again and again."""
    for message in received:
        elapsed_us = message.header.stamp.sec * 1_000_000 + message.header.stamp.nanosec // 1000 - T0_US
        number, rest_us = divmod(elapsed_us, SWEEP_US)
        assert rest_us == SWEEP_US // 2, "the middle of a sweep"
        if number % SWEEPS:  # the first sweep of the recording has none before it, but had when it came again
            np.testing.assert_array_equal(image_array(message), expected[number % SWEEPS])


@pytest.fixture(scope="module")
def folder():
    return interface_folder("event_camera_msgs", EVENT_CAMERA_MSGS)


@pytest.fixture
def ros(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment_with(folder)["PYTHONPATH"])
    with ros_context() as (context, domain_id):
        observer = Observer(context)
        observer.subscribe(DiagnosticArray, "/diagnostics", 10)
        yield observer, domain_id


@contextmanager
def replayed(recording, domain_id, *options):
    """Both drivers, as a process."""
    environment = dict(
        os.environ,
        ROS_DOMAIN_ID=str(domain_id),
        PYTHONPATH=os.pathsep.join([str(TESTS.parent), os.environ["PYTHONPATH"]]),
        FASTRTPS_DEFAULT_PROFILES_FILE=str(TESTS.parent / "config/fastdds.xml"),
    )
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "topic_replay.py"), str(recording), *options], env=environment
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def topics(rig_path, **others):
    return {"source": "topic", "rig": str(rig_path), "events_topic": "dvs/events", **ALL_DEPTH, **others}


def last_status(observer):
    arrays = observer.received["/diagnostics"]
    return arrays[-1].status[0] if arrays else DiagnosticStatus(level=DiagnosticStatus.STALE)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--encoding", "libcaer"), id="libcaer"),
        pytest.param(
            ("--encoding", "mono", "--camera-epoch-us", str(T0_US - 5_000_000)), id="a camera since its start"
        ),
    ],
)
def test_depth_is_that_of_the_recording_to_the_bit(ros, rig_path, recording, tmp_path, options):
    observer, domain_id = ros
    expected = depth_of_run(recording, tmp_path / "out")
    observer.subscribe(Image, "/depth", 50)
    with (
        NodeProcess(domain_id, topics(rig_path, lens_topic="/lens/set_point")) as node,
        replayed(recording, domain_id, *options),
    ):
        received = observer.received["/depth"]
        assert observer.wait_for(lambda: len(received) >= 2 * SWEEPS, START_S), node.log
        assert node.stop() == 0
        assert node.leftover_processes() == []
        assert "Traceback" not in node.log
    check_depth(received, expected)


def test_images_of_a_topic_are_the_guide(ros, rig_path, recording):
    observer, domain_id = ros
    observer.subscribe(Image, "/guide", 50)
    parameters = topics(rig_path, lens_topic="/lens/set_point", guide_topic="dvs/image_raw")
    with NodeProcess(domain_id, parameters) as node, replayed(recording, domain_id):
        assert observer.wait_for(lambda: observer.received["/guide"], START_S), node.log
    rising = np.linspace(0, 255, WIDTH).astype(np.uint8)
    np.testing.assert_array_equal(image_array(observer.received["/guide"][0]), np.tile(rising, (HEIGHT, 1)))


def test_triggers_on_a_topic_tell_the_sweeps(ros, rig_path, recording, recording_with_triggers_only, tmp_path):
    observer, domain_id = ros
    expected = depth_of_run(recording_with_triggers_only, tmp_path / "out")
    observer.subscribe(Image, "/depth", 50)
    parameters = topics(rig_path, triggers_topic="dvs/triggers")
    with NodeProcess(domain_id, parameters) as node, replayed(recording, domain_id, "--no-lens"):
        received = observer.received["/depth"]
        assert observer.wait_for(lambda: len(received) >= 2 * SWEEPS, START_S), node.log
    check_depth(received, expected)


def test_silence_of_camera_or_lens_is_told_in_one_line(ros, rig_path, recording):
    observer, domain_id = ros
    with NodeProcess(domain_id, topics(rig_path, lens_topic="/lens/set_point")) as node:
        assert observer.wait_for(lambda: last_status(observer).level == DiagnosticStatus.WARN, START_S), node.log
        assert "no events for" in last_status(observer).message
        assert {"source": "/dvs/events"}.items() <= {v.key: v.value for v in last_status(observer).values}.items()
        with replayed(recording, domain_id, "--no-lens"):
            advice = "of events: /lens/set_point must carry the joint focus in dioptres"
            assert observer.wait_for(lambda: advice in last_status(observer).message, START_S), node.log
            assert "\n" not in last_status(observer).message
        assert node.stop() == 0
        assert "Traceback" not in node.log
