"""What passes a tap is what is in the recording, whatever ends it."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from recordings import START_US, SWEEP_US, random_events, small_rig

from edfv_ros import running_recording
from edfv_ros.bags.contents import read_lens_track
from edfv_ros.errors import OutputError
from edfv_ros.events import TRIGGER_DTYPE, Packet, SourceInfo, TriggerType, open_source
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.recording import open_recording
from edfv_ros.running_recording import RunningRecording

RIG = small_rig()
INFO = SourceInfo("TESTCAM_1", RIG.camera.width_px, RIG.camera.height_px, ("events", "triggers"), live=True)
EVENTS = random_events(20_000, RIG, 4 * SWEEP_US)
TRIGGERS = np.array([(START_US + SWEEP_US * turn, TriggerType.RISING_EDGE) for turn in range(4)], TRIGGER_DTYPE)
SWEEPS = [
    FocusSweep(
        np.array([START_US + SWEEP_US * number, START_US + SWEEP_US * (number + 1)], np.float64),
        np.array([0.3, 4.2] if number % 2 == 0 else [4.2, 0.3]),
        number,
    )
    for number in range(3)
]
DEPTH_M = np.full((RIG.camera.height_px, RIG.camera.width_px), 0.8, np.float32)
ESTIMATE = SimpleNamespace(depth_m=DEPTH_M, confidence=np.ones_like(DEPTH_M), sigma_m=0.01 * DEPTH_M)
SNAPSHOT = SimpleNamespace(event_count=lambda: np.full(DEPTH_M.shape, 7, np.uint16))


def pass_all(recording):
    """Everything, in order, as a pipeline shows it."""
    for number, events in enumerate(np.array_split(EVENTS, 4)):
        recording.on_packet(Packet(events, TRIGGERS[number : number + 1]))
        if number:
            sweep = SWEEPS[number - 1]
            recording.on_sweep(sweep)
            recording.on_depth(SimpleNamespace(sweep=sweep, estimate=ESTIMATE, frame=None, snapshot=SNAPSHOT))


def read_back(path):
    packets = []
    source = open_source(str(path))
    while (packet := source.read()) is not None:
        packets.append((packet.events.copy(), packet.triggers.copy()))
    return (np.concatenate(part) for part in zip(*packets, strict=True))


@pytest.mark.parametrize("name", ["desk", "desk.mcap"])
def test_what_passed_is_what_is_read_again(tmp_path, name):
    path, errors = tmp_path / name, []
    recording = RunningRecording(errors.append)
    pass_all(recording)
    recording.start(path, INFO, RIG)
    pass_all(recording)
    assert recording.status.path == path
    status = recording.stop()
    assert (status.events, status.lost_events, status.sweeps, status.error) == (len(EVENTS), 0, 3, "")
    assert recording.status is None and recording.stop() is None and errors == []
    pass_all(recording)
    opened = open_recording(path)
    assert opened.rig == RIG
    events, triggers = read_back(opened.files.events)
    np.testing.assert_array_equal(events, EVENTS)
    np.testing.assert_array_equal(triggers, TRIGGERS)
    track = read_lens_track(path) if name.endswith(".mcap") else None
    if track is None:
        rows = np.loadtxt(path / "lens.csv", delimiter=",", skiprows=1)
    else:
        rows = np.stack([track.timestamps_us, track.vergence_dpt], axis=1)
    expected = [(START_US + SWEEP_US * turn, (0.3, 4.2)[turn % 2]) for turn in range(4)]
    np.testing.assert_array_equal(rows, expected)


def test_a_bag_has_the_depth_too(tmp_path):
    reader = pytest.importorskip("mcap.reader")
    decoder = pytest.importorskip("mcap_ros2.decoder")
    recording = RunningRecording(print)
    recording.start(tmp_path / "desk.mcap", INFO, RIG)
    pass_all(recording)
    recording.stop()
    topics = ["/depth", "/confidence", "/points", "/camera_info"]
    found = {topic: [] for topic in topics}
    with (tmp_path / "desk.mcap").open("rb") as file:
        messages = reader.make_reader(file, decoder_factories=[decoder.DecoderFactory()])
        for _, channel, _, message in messages.iter_decoded_messages(topics):
            found[channel.topic].append(message)
    assert [len(found[topic]) for topic in topics] == [3, 3, 3, 3]
    for sweep, image, cloud in zip(SWEEPS, found["/depth"], found["/points"], strict=True):
        for message in (image, cloud):
            stamp = message.header.stamp
            assert stamp.sec * 1_000_000 + stamp.nanosec // 1000 == sweep.middle_us
        depth_m = np.frombuffer(image.data, np.float32)
        np.testing.assert_array_equal(depth_m, DEPTH_M.reshape(-1))
        points = np.frombuffer(cloud.data, np.float32).reshape(-1, 6)
        np.testing.assert_array_equal(points[:, 2], depth_m)
        assert np.unique(points[:, 3:], axis=0) == pytest.approx(np.array([[7.0, 1.0, 0.008]]))


def test_nothing_is_overwritten_and_one_is_made_at_a_time(tmp_path):
    recording = RunningRecording(print)
    recording.start(tmp_path / "desk", INFO, RIG)
    with pytest.raises(OutputError, match=r"already recording to .*desk"):
        recording.start(tmp_path / "other", INFO, RIG)
    recording.stop()
    for path, reason in (
        (tmp_path / "desk", "there is a recording already"),
        (tmp_path / "nowhere" / "desk.mcap", "there is no folder"),
        (Path("/proc/desk"), "not writable|cannot be"),
    ):
        with pytest.raises(OutputError, match=reason):
            recording.start(path, INFO, RIG)
        assert recording.status is None


def test_events_that_the_disk_is_too_slow_for_are_counted(tmp_path, monkeypatch):
    """The writing thread stands still until the last packet has been shown; half of the events fit."""
    go_on = threading.Event()
    monkeypatch.setattr(running_recording, "WAITING_MIB", 1)
    big = random_events(3 << 16, RIG, SWEEP_US)  # 16 bytes each: 3 MiB
    write = running_recording.Aedat4Writer.write
    monkeypatch.setattr(
        running_recording.Aedat4Writer, "write", lambda writer, packet: (go_on.wait(20.0), write(writer, packet))
    )
    recording = RunningRecording(print)
    recording.start(tmp_path / "desk", INFO, RIG)
    for events in np.array_split(big, 48):
        recording.on_packet(Packet(events))
    go_on.set()
    status = recording.stop()
    assert status.events == 1 << 16 and status.lost_events == 2 << 16
    events, _ = read_back(tmp_path / "desk" / "recording.aedat4")
    np.testing.assert_array_equal(events, big[: 1 << 16])


def test_time_that_goes_back_ends_a_recording(tmp_path):
    told = threading.Event()
    errors = []
    recording = RunningRecording(lambda error: (errors.append(error), told.set()))
    recording.start(tmp_path / "desk", INFO, RIG)
    pass_all(recording)
    pass_all(recording)
    assert told.wait(10.0)
    assert "time went back" in errors[0] and "time went back" in recording.status.error
    assert recording.stop().events == len(EVENTS)
    events, _ = read_back(tmp_path / "desk" / "recording.aedat4")
    np.testing.assert_array_equal(events, EVENTS)


def test_a_disk_that_is_full_ends_a_recording(tmp_path, monkeypatch):
    told = threading.Event()

    def fail(writer, packet):
        raise OutputError("recording.aedat4: cannot go on recording: No space left on device")

    monkeypatch.setattr(running_recording.Aedat4Writer, "write", fail)
    recording = RunningRecording(lambda error: told.set())
    recording.start(tmp_path / "desk", INFO, RIG)
    pass_all(recording)
    assert told.wait(10.0)
    pass_all(recording)
    assert "No space left" in recording.stop().error


CHILD = """
import sys, time
sys.path.insert(0, {tests!r})
from test_running_recording import *
recording = RunningRecording(print)
recording.start(Path({path!r}), INFO, RIG)
pass_all(recording)
deadline_s = time.monotonic() + 30.0
while recording._writing._waiting_bytes and time.monotonic() < deadline_s:
    time.sleep(0.01)
print("written", flush=True)
time.sleep(60.0)
"""


@pytest.mark.parametrize("name", ["desk", "desk.mcap"])
def test_a_killed_process_leaves_a_recording_that_reads(tmp_path, name):
    path = tmp_path / name
    code = CHILD.format(tests=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
        child.wait(20.0)
    opened = open_recording(path)
    assert opened.rig == RIG
    events, _ = read_back(opened.files.events)
    kept = len(events)
    np.testing.assert_array_equal(events, EVENTS[:kept])
    # All, or for a bag all but the last quarter of a second, of 0.4 s.
    assert events["timestamp"][-1] - START_US >= (4 * SWEEP_US - 1 if name == "desk" else 4 * SWEEP_US - 250_000)
