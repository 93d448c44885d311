"""Aedat4Writer against dv-processing as an independent reader."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dv_processing as dv
import numpy as np
import pytest

from edfv_ros.errors import OutputError
from edfv_ros.events import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Aedat4Writer, Frame, Packet, SourceInfo, open_source
from edfv_ros.events.aedat4_writer import EVENTS_PER_PACKET

START_US = 1_700_000_000_000_000
ALL = SourceInfo("DAVIS346_<&>1", 346, 260, ("events", "frames", "imu", "triggers"), live=False)


def random_events(count: int, seed: int = 0, size: tuple[int, int] = (346, 260)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    events["timestamp"] = START_US + np.sort(rng.integers(0, max(1, count // 2), count))
    events["x"], events["y"] = rng.integers(0, size[0], count), rng.integers(0, size[1], count)
    events["polarity"] = rng.integers(0, 2, count)
    return events


def all_streams(seed: int = 0) -> Packet:
    rng = np.random.default_rng(seed)
    triggers = np.zeros(10, TRIGGER_DTYPE)
    triggers["timestamp"], triggers["type"] = START_US + 100 * np.arange(10), np.arange(10)
    imu = np.zeros(7, IMU_DTYPE)
    imu["timestamp"] = START_US + 1000 * np.arange(7)
    imu["accelerometer_g"], imu["gyroscope_deg_s"] = rng.normal(size=(2, 7, 3))
    frames = tuple(
        Frame(START_US + 40_000 * index, 5000 + index, rng.integers(0, 256, (260, 346)).astype(np.uint8))
        for index in range(3)
    )
    return Packet(random_events(25_001, seed), triggers, imu, frames)


def event_bytes(packets: list[Packet]) -> bytes:
    return b"".join(packet.events.tobytes() for packet in packets)


def batches(get_next) -> list:
    return list(iter(get_next, None))


def test_dv_reads_back_every_bit(tmp_path: Path) -> None:
    path, packet = tmp_path / "recording.aedat4", all_streams()
    with Aedat4Writer(path, ALL) as writer:
        writer.write(packet)

    recording = dv.io.MonoCameraRecording(str(path))

    assert recording.getCameraName() == ALL.camera
    assert recording.getEventResolution() == recording.getFrameResolution() == (346, 260)
    assert sorted(recording.getStreamNames()) == sorted(ALL.streams)
    first_us, last_us = recording.getTimeRange()
    assert (first_us, last_us) == (START_US, packet.frames[-1].timestamp_us)
    read = batches(recording.getNextEventBatch)
    assert [store.size() for store in read] == [EVENTS_PER_PACKET, EVENTS_PER_PACKET, 5001]
    assert b"".join(store.numpy().tobytes() for store in read) == packet.events.tobytes()
    triggers = [(t.timestamp, int(t.type)) for batch in batches(recording.getNextTriggerBatch) for t in batch]
    assert triggers == packet.triggers.tolist()
    imu = [sample for batch in batches(recording.getNextImuBatch) for sample in batch]
    assert [sample.timestamp for sample in imu] == packet.imu["timestamp"].tolist()
    for axis, (acceleration, rate) in enumerate(
        [("accelerometerX", "gyroscopeX"), ("accelerometerY", "gyroscopeY"), ("accelerometerZ", "gyroscopeZ")]
    ):
        assert [getattr(s, acceleration) for s in imu] == packet.imu["accelerometer_g"][:, axis].tolist()
        assert [getattr(s, rate) for s in imu] == packet.imu["gyroscope_deg_s"][:, axis].tolist()
    frames = batches(recording.getNextFrame)
    for ours, theirs in zip(packet.frames, frames, strict=True):
        assert theirs.timestamp == ours.timestamp_us
        assert theirs.exposure.microseconds == ours.exposure_us
        assert np.array_equal(theirs.image, ours.image)


def test_dv_seeks_by_time(tmp_path: Path) -> None:
    path, events = tmp_path / "recording.aedat4", random_events(50_000)
    with Aedat4Writer(path, ALL) as writer:
        writer.write_events(events)
    times_us = events["timestamp"]

    recording = dv.io.MonoCameraRecording(str(path))

    found = recording.getEventsTimeRange(START_US + 3000, START_US + 9000)
    assert found.size() == np.count_nonzero((times_us >= START_US + 3000) & (times_us < START_US + 9000))


def test_file_source_reads_back_what_was_written(tmp_path: Path) -> None:
    path, packet = tmp_path / "recording.aedat4", all_streams()
    with Aedat4Writer(path, ALL) as writer:
        writer.write(packet)

    source = open_source(str(path))
    packets = list(iter(source.read, None))

    assert source.info == ALL
    assert event_bytes(packets) == packet.events.tobytes()
    assert np.concatenate([p.triggers for p in packets]).tolist() == packet.triggers.tolist()
    assert np.array_equal(np.concatenate([p.imu for p in packets]), packet.imu)
    frames = [frame for p in packets for frame in p.frames]
    assert [(f.timestamp_us, f.exposure_us) for f in frames] == [(f.timestamp_us, f.exposure_us) for f in packet.frames]
    assert all(np.array_equal(ours.image, theirs.image) for ours, theirs in zip(frames, packet.frames, strict=True))


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_file_source_reads_what_dv_writes(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "dv.aedat4"
    config = dv.io.MonoCameraWriter.Config("DVXplorer_X", getattr(dv.CompressionType, compression))
    config.addEventStream((640, 480))
    config.addFrameStream((640, 480))
    config.addTriggerStream()
    config.addImuStream()
    writer = dv.io.MonoCameraWriter(str(path), config)
    store = dv.EventStore()
    for index in range(1000):
        store.push_back(START_US + index, index % 640, index % 480, index % 3 == 0)
    writer.writeEvents(store)
    writer.writeTrigger(dv.Trigger(START_US + 5, dv.TriggerType.TIMESTAMP_RESET))
    colour = np.full((480, 640, 3), (0, 0, 255), np.uint8)  # red, in BGR
    writer.writeFrame(dv.Frame(START_US + 7, 11, 0, 0, colour, dv.FrameSource.SENSOR))
    writer.writeFrame(dv.Frame(START_US + 8, np.full((480, 640), 0.5, np.float32)))
    writer.writeImu(dv.IMU(START_US + 9, 20.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0))
    del writer

    source = open_source(str(path))
    packets = list(iter(source.read, None))

    assert np.concatenate([p.events for p in packets]).tolist() == store.numpy().tolist()
    assert np.concatenate([p.triggers for p in packets]).tolist() == [(START_US + 5, 0)]
    (sample,) = np.concatenate([p.imu for p in packets])
    assert sample["timestamp"] == START_US + 9
    assert sample["accelerometer_g"].tolist() + sample["gyroscope_deg_s"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    red, half = [frame for p in packets for frame in p.frames]
    assert (red.timestamp_us, red.exposure_us, red.image.shape) == (START_US + 7, 11, (480, 640))
    assert np.all(red.image == 76) and np.all(half.image == 128)


def test_any_cut_leaves_the_whole_packets(tmp_path: Path) -> None:
    path, cut = tmp_path / "recording.aedat4", tmp_path / "cut.aedat4"
    events = random_events(30)
    with Aedat4Writer(path, ALL) as writer:
        ends = [path.stat().st_size]
        for start in range(0, 30, 10):
            writer.write_events(events[start : start + 10])
            ends.append(path.stat().st_size)
    content = path.read_bytes()
    for size in range(ends[1] - 9, ends[2] + 9):
        cut.write_bytes(content[:size])
        whole = sum(end <= size for end in ends[1:])
        source = open_source(str(cut))
        assert sum(len(packet.events) for packet in iter(source.read, None)) == 10 * whole
        assert (
            sum(store.size() for store in batches(dv.io.MonoCameraRecording(str(cut)).getNextEventBatch)) == 10 * whole
        )


def test_killed_writer_leaves_everything_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "killed.aedat4"
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_events_writer import ALL, random_events
from edfv_ros.events import Aedat4Writer
writer = Aedat4Writer({str(path)!r}, ALL)
writer.write_events(random_events(123_456))
print("written", flush=True)
sys.stdin.read()
"""
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)

    recording = dv.io.MonoCameraRecording(str(path))
    content = b"".join(store.numpy().tobytes() for store in batches(recording.getNextEventBatch))
    assert content == random_events(123_456).tobytes()


def test_bad_places_are_told_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "recording.aedat", tmp_path / "missing" / "recording.aedat4"):
        with pytest.raises(OutputError) as caught:
            Aedat4Writer(path, ALL)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_undeclared_streams_and_wrong_arrays_are_bugs(tmp_path: Path) -> None:
    events_only = SourceInfo("X", 346, 260, ("events",), live=False)
    with Aedat4Writer(tmp_path / "recording.aedat4", events_only) as writer:
        with pytest.raises(ValueError, match="without triggers"):
            writer.write_triggers(all_streams().triggers)
        with pytest.raises(ValueError, match="expected an array"):
            writer.write_events(np.zeros(3))
        with pytest.raises(ValueError, match="uint8"):
            writer.write_frame(Frame(0, 0, np.zeros((2, 2))))
