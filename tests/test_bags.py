"""Bags: the same recording in another form, whatever happens to the writer; and bags of others."""

import json
import subprocess
import sys
import textwrap
import threading
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from recordings import START_US, SWEEP_US, random_events, small_rig, write_rig, write_small_recording
from test_cli_basics import edfv
from test_cli_record import Camera
from test_cli_run import fails

from edfv_ros import live_recording
from edfv_ros.bags.contents import read_lens_track
from edfv_ros.bags.definitions import EVENT_PACKET, JOINT_STATE, definition
from edfv_ros.bags.messages import EventPacket, Header, event_packet, focus_state
from edfv_ros.bags.packing import pack, unpack
from edfv_ros.bags.records import BagFile
from edfv_ros.bags.writer import BagWriter
from edfv_ros.errors import OutputError, SourceError
from edfv_ros.events import IMU_DTYPE, TRIGGER_DTYPE, Aedat4Writer, Frame, Packet, SourceInfo, open_source
from edfv_ros.events.opening import open_file
from edfv_ros.lens.track import LensTrack
from edfv_ros.recording import find_recording

INFO = SourceInfo("TESTCAM_1", 64, 48, ("events", "frames", "triggers", "imu"), live=False)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sweeps of random events. Not to be changed."""
    return write_small_recording(tmp_path_factory.mktemp("data") / "sweep")


@pytest.fixture(scope="module")
def bag(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a bag. Not to be changed."""
    path = tmp_path_factory.mktemp("bags") / "sweep.mcap"
    pack(sweep, path)
    return path


def everything(path: Path) -> dict[str, list[object]]:
    """All items of a source, stream by stream."""
    streams: dict[str, list[object]] = {"events": [], "triggers": [], "imu": [], "frames": [], "lost": []}
    with closing(open_file(path)) as source:
        while (packet := source.read()) is not None:
            streams["events"] += packet.events[["timestamp", "x", "y", "polarity"]].tolist()
            streams["triggers"] += packet.triggers.tolist()
            streams["imu"] += [sample.tobytes() for sample in packet.imu]
            streams["frames"] += [(f.timestamp_us, f.exposure_us, f.image.tobytes()) for f in packet.frames]
            streams["lost"] += [packet.lost_events] if packet.lost_events else []
    return streams


def depths(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".npy", ".ply")}


def run(*arguments: object) -> None:
    code, _, error = edfv(*arguments)
    assert code == 0, error


@pytest.mark.parametrize("lens, triggers", [(True, True), (False, True)])
def test_depth_of_a_bag_is_that_of_the_recording(tmp_path: Path, lens: bool, triggers: bool) -> None:
    recording = write_small_recording(tmp_path / "sweep", lens=lens, triggers=triggers)
    run("bag", "pack", recording, "--out", tmp_path / "x.mcap")
    run("run", recording, "--out", tmp_path / "depth")
    run("run", tmp_path / "x.mcap", "--out", tmp_path / "played")
    expected = depths(tmp_path / "depth")
    assert len(expected) == 3 * 3
    assert depths(tmp_path / "played") == expected
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("depth", "played")]
    for report in reports:
        report["sweeps"] = [{**sweep, "latency_ms": 0} for sweep in report["sweeps"]]
    for key in ("camera", "sweeps", "mean_metrics", "dropped_sweeps", "health", "lens", "rig"):
        assert reports[0][key] == reports[1][key], key


def test_info_of_a_bag_is_that_of_the_recording(sweep: Path, bag: Path) -> None:
    said = [json.loads(edfv("info", path, "--json")[1]) for path in (sweep, bag)]
    for key in ("camera", "width_px", "streams", "trigger_kinds", "lens", "sweeps", "rig", "depth_gt", "problems"):
        assert said[0][key] == said[1][key], key


def write_all_streams(path: Path) -> Path:
    """A recording with frames and inertial samples, too; its lens track has fractions of a microsecond."""
    path.mkdir()
    rig = small_rig()
    random = np.random.default_rng(5)
    imu = np.zeros(40, IMU_DTYPE)
    imu["timestamp"] = START_US + 5000 * np.arange(40)
    imu["accelerometer_g"] = random.normal(size=(40, 3))
    imu["gyroscope_deg_s"] = random.normal(size=(40, 3)) * 50
    with Aedat4Writer(path / "recording.aedat4", INFO) as writer:
        writer.write_triggers(np.array([(START_US + 10 * kind, kind) for kind in range(1, 10)], TRIGGER_DTYPE))
        writer.write_events(random_events(20_000, rig, 2 * SWEEP_US))
        writer.write_imu(imu)
        for at in range(4):
            image = random.integers(0, 255, (48, 64), np.uint8)
            writer.write_frame(Frame(START_US + 40_000 * at, 8_000 + at, image))
    turns_us = START_US + SWEEP_US * np.arange(3) + 0.25
    rows = [f"{turn!r},{focus!r}" for turn, focus in zip(turns_us.tolist(), (0.3, 4.2, 0.1 + 0.2), strict=True)]
    (path / "lens.csv").write_text("\n".join(["timestamp_us,vergence_dpt", *rows, ""]))
    write_rig(rig, path / "rig.yaml")
    return path


def test_every_stream_there_and_back(tmp_path: Path) -> None:
    recording = write_all_streams(tmp_path / "all")
    pack(recording, tmp_path / "all.mcap")
    expected = everything(recording)
    assert [len(items) for items in expected.values()] == [20_000, 9, 40, 4, 0]
    assert everything(tmp_path / "all.mcap") == expected
    track, played = LensTrack.from_csv(recording / "lens.csv"), read_lens_track(tmp_path / "all.mcap")
    assert played is not None
    np.testing.assert_array_equal(played.timestamps_us, track.timestamps_us)
    np.testing.assert_array_equal(played.vergence_dpt, track.vergence_dpt)

    unpack(tmp_path / "all.mcap", tmp_path / "back")
    assert everything(tmp_path / "back") == expected
    again = LensTrack.from_csv(tmp_path / "back" / "lens.csv")
    np.testing.assert_array_equal(again.timestamps_us, track.timestamps_us)
    np.testing.assert_array_equal(again.vergence_dpt, track.vergence_dpt)
    assert (tmp_path / "back" / "rig.yaml").read_bytes() == (recording / "rig.yaml").read_bytes()


def test_players_find_topics_types_and_order(bag: Path) -> None:
    """As Foxglove and ros2 bag play read it: profile, encodings, definitions, an index, times that ascend."""
    with bag.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None and summary.chunk_indexes
        assert {channel.topic for channel in summary.channels.values()} == {"/events", "/triggers", "/lens/state"}
        assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}
        for schema in summary.schemas.values():
            assert (schema.encoding, schema.data.decode()) == ("ros2msg", definition(schema.name))
        times_ns = [message.log_time for _, _, message in reader.iter_messages(topics="/events")]
    assert times_ns == sorted(times_ns)
    assert times_ns[-1] == (START_US + 3 * SWEEP_US - 1) * 1000


def test_lost_events_are_remembered(tmp_path: Path) -> None:
    rig = small_rig()
    events = random_events(300, rig, SWEEP_US)
    with BagWriter(tmp_path / "lossy.mcap", INFO) as writer:
        writer.write_packet(Packet(events[:100]))
        writer.write_packet(Packet(lost_events=30))
        writer.write_packet(Packet(events[100:200], lost_events=12))
        writer.write_packet(Packet(events[200:]))
    assert everything(tmp_path / "lossy.mcap")["lost"] == [42]


def test_a_killed_writer_leaves_all_but_the_last_moment(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from recordings import START_US, random_events, small_rig
        from edfv_ros.bags.writer import BagWriter
        from edfv_ros.events import Packet, SourceInfo
        rig = small_rig()
        events = random_events(20_000, rig, 2_000_000)
        info = SourceInfo("TESTCAM_1", 64, 48, ("events",), live=False)
        writer = BagWriter(Path(sys.argv[2]), info, rig.camera, {"rig.yaml": b"x"})
        for start in range(0, len(events), 100):
            writer.write_packet(Packet(events[start : start + 100]))
        os.kill(os.getpid(), 9)
        """
    )
    path = tmp_path / "killed.mcap"
    done = subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent), str(path)], timeout=60)
    assert done.returncode == -9
    written = random_events(20_000, small_rig(), 2_000_000)
    read = everything(path)["events"]
    assert read == written[["timestamp", "x", "y", "polarity"]].tolist()[: len(read)]
    assert read[-1][0] >= START_US + 2_000_000 - 300_000  # type: ignore[index]
    with BagFile(path) as opened:
        summary = opened.summary()
    assert not summary.is_closed and summary.attachments == ("rig.yaml",)
    assert [topic.name for topic in summary.counts] == ["/events"]


def test_a_bag_that_is_cut_anywhere_reads_up_to_there(bag: Path, tmp_path: Path) -> None:
    whole, expected = bag.read_bytes(), everything(bag)["events"]
    cut = tmp_path / "cut.mcap"
    counts = []
    for part in (0.3, 0.6, 0.9):
        cut.write_bytes(whole[: int(len(whole) * part)])
        try:
            read = everything(cut)["events"]
        except SourceError:  # there is not even one chunk
            read = []
        assert read == expected[: len(read)]
        counts.append(len(read))
    assert counts == sorted(counts) and counts[-1] > 0


def test_damage_is_one_line_and_never_wrong_events(bag: Path, tmp_path: Path) -> None:
    whole, expected = bag.read_bytes(), everything(bag)["events"]
    damaged = tmp_path / "damaged.mcap"
    random = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        content[random.integers(8, len(content))] ^= 1 << random.integers(0, 8)
        damaged.write_bytes(content)
        try:
            assert everything(damaged)["events"] == expected
        except SourceError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 30, "most of a bag is events"


def test_no_chunk_vanishes(bag: Path, tmp_path: Path) -> None:
    """Each bit of what says that a chunk begins, and of its length."""
    whole, expected = bag.read_bytes(), everything(bag)
    with bag.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    damaged = tmp_path / "damaged.mcap"
    for chunk in (summary.chunk_indexes[0], summary.chunk_indexes[-1]):
        for bit in range(9 * 8):
            content = bytearray(whole)
            content[chunk.chunk_start_offset + bit // 8] ^= 1 << bit % 8
            damaged.write_bytes(content)
            with suppress(SourceError):
                assert everything(damaged) == expected


def test_bad_input_is_one_line(bag: Path, sweep: Path, tmp_path: Path) -> None:
    empty, text, folder = tmp_path / "empty.mcap", tmp_path / "text.mcap", tmp_path / "out"
    empty.write_bytes(b"")
    text.write_text("SQLite format 3 and so on")
    assert "it is empty" in fails("run", empty, "--out", folder)
    assert "not an MCAP file" in fails("run", text, "--out", folder)
    assert "no such" in fails("bag", "unpack", tmp_path / "none.mcap", "--out", folder)
    assert "suffix .mcap" in fails("bag", "unpack", sweep, "--out", folder)
    assert "suffix .mcap" in fails("bag", "pack", sweep, "--out", tmp_path / "x.bag")
    assert "not an MCAP file" in fails("bag", "topics", text)
    assert "make it first" in fails("bag", "pack", sweep, "--out", tmp_path / "no" / "x.mcap")
    run("bag", "unpack", bag, "--out", folder)
    assert "there is a recording already" in fails("bag", "unpack", bag, "--out", folder)


def test_a_run_writes_what_it_read_and_what_came_of_it(sweep: Path, tmp_path: Path) -> None:
    run("run", sweep, "--out", tmp_path / "depth", "--bag", tmp_path / "run.mcap")
    assert everything(tmp_path / "run.mcap") == everything(sweep)
    run("run", tmp_path / "run.mcap", "--out", tmp_path / "played")
    assert depths(tmp_path / "played") == depths(tmp_path / "depth")
    with BagFile(tmp_path / "run.mcap") as opened:
        found = [(topic.name, message) for topic, message in opened.messages(lambda topic: topic.name == "/depth")]
        counts = {topic.name: count for topic, count in opened.summary().counts.items()}
    assert {counts[name] for name in ("/depth", "/confidence", "/points", "/camera_info")} == {3}
    for index, (_, message) in enumerate(found):
        depth_m = np.load(tmp_path / "depth" / f"depth_{index:04d}.npy")
        assert message.data.endswith(depth_m.tobytes())
        assert message.log_time == (START_US + (index + 1) * SWEEP_US) * 1000
    assert "there is a bag already" in fails("run", sweep, "--out", tmp_path / "again", "--bag", tmp_path / "run.mcap")


def test_a_bag_is_recorded_beside_a_live_recording(tmp_path: Path) -> None:
    camera = Camera()
    stop = threading.Event()

    def stop_after_three_sweeps(status: live_recording.RecordingStatus) -> None:
        if status.sweeps >= 3:
            stop.set()

    try:
        rig = write_rig(camera.rig, tmp_path / "rig.yaml")
        live_recording.record(
            camera.uri,
            tmp_path / "live",
            rig_path=rig,
            bag_path=tmp_path / "live.mcap",
            stop=stop,
            on_progress=stop_after_three_sweeps,
        )
    finally:
        camera.close()
    recorded, bagged = everything(tmp_path / "live"), everything(tmp_path / "live.mcap")
    for stream in ("events", "triggers"):  # the capture process records until it is told to end
        assert bagged[stream] == recorded[stream][: len(bagged[stream])]
    assert len(bagged["events"]) > 1000 and not bagged["lost"]
    track, played = LensTrack.from_csv(tmp_path / "live" / "lens.csv"), read_lens_track(tmp_path / "live.mcap")
    assert played is not None
    np.testing.assert_array_equal(played.timestamps_us, track.timestamps_us)
    np.testing.assert_array_equal(played.vergence_dpt, track.vergence_dpt)
    run("run", tmp_path / "live.mcap", "--out", tmp_path / "depth", "--sweeps", 1)


def test_statistics_of_a_bag(bag: Path) -> None:
    code, out, error = edfv("statistics", bag)
    assert code == 0, error
    assert "30,000" in out


def test_topics_are_listed(bag: Path) -> None:
    code, out, _ = edfv("bag", "topics", bag)
    assert code == 0
    assert "/events" in out and "event_camera_msgs/msg/EventPacket" in out and "depth_gt.npy" in out
    listed = json.loads(edfv("bag", "topics", bag, "--json")[1])
    assert listed["closed"] and {"topic": "/lens/state", "type": JOINT_STATE, "messages": 4} in listed["topics"]


def foreign_bag(path: Path, topics: dict[str, list[bytes]], kind: str = EVENT_PACKET) -> Path:
    """A bag that says nothing about its camera, as ros2 bag record makes them."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        for topic, contents in topics.items():
            kind = JOINT_STATE if topic.endswith("state") else kind
            schema = writer.register_schema(kind, "ros2msg", definition(kind).encode())
            channel = writer.register_channel(topic, "cdr", schema)
            for number, data in enumerate(contents):
                writer.add_message(channel, number, data, number)
        writer.finish()
    return path


def libcaer_packet(time_us: int, x: int, y: int, encoding: str = "libcaer") -> bytes:
    words = np.array([x << 17 | y << 2 | 1 << 1 | 1, 0], "<u4").view(np.uint8)
    return event_packet(EventPacket(Header(0, "event_camera"), 48, 64, 0, time_us * 1000, encoding, words))


def test_events_of_libcaer_driver(tmp_path: Path) -> None:
    path = foreign_bag(tmp_path / "driver.mcap", {"/event_camera/events": [libcaer_packet(77, 12, 34)]})
    assert everything(path)["events"] == [(77, 12, 34, 1)]
    with closing(open_source(str(path))) as source:
        assert (source.info.width_px, source.info.height_px) == (64, 48)
        assert source.info.camera == "/event_camera/events"


def test_bags_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    packet = libcaer_packet(77, 1, 1)
    two = foreign_bag(tmp_path / "two.mcap", {"/left/events": [packet], "/right/events": [packet]})
    with pytest.raises(SourceError, match="several cameras: /left/events, /right/events"):
        open_source(str(two))
    lens = foreign_bag(tmp_path / "lens.mcap", {"/lens/state": [focus_state(Header(0, ""), 1.0)]})
    with pytest.raises(SourceError, match="no events in this bag"):
        open_source(str(lens))
    packed = foreign_bag(tmp_path / "evt3.mcap", {"/events": [libcaer_packet(77, 1, 1, "evt3")]})
    with closing(open_source(str(packed))) as source, pytest.raises(SourceError, match="evt3"):
        source.read()
    garbled = foreign_bag(tmp_path / "garbled.mcap", {"/events": [packet, b"\0\1\0\0garbled"]})
    with closing(open_source(str(garbled))) as source, pytest.raises(SourceError, match="topic /events"):
        while source.read() is not None:
            pass


def test_two_lenses_are_refused(tmp_path: Path) -> None:
    states = {
        name: [focus_state(Header(1000 * at, ""), 1.0 + at) for at in range(3)] for name in ("/a/state", "/b/state")
    }
    path = foreign_bag(tmp_path / "lenses.mcap", states)
    with pytest.raises(Exception, match="several lenses: /a/state, /b/state"):
        read_lens_track(path)


def test_a_bag_is_never_half_written(tmp_path: Path) -> None:
    """What breaks while packing leaves no bag that looks like a whole one."""
    events = random_events(1000, small_rig(), SWEEP_US)
    events["timestamp"][-1] = 2**31 * 1_000_000  # the year 2038, where the time of ROS 2 ends
    with Aedat4Writer(tmp_path / "late.aedat4", INFO) as writer:
        writer.write_events(events)
    with pytest.raises(OutputError, match="2038"):
        pack(tmp_path / "late.aedat4", tmp_path / "x.mcap")
    assert not list(tmp_path.glob("*.mcap")) and not list(tmp_path.glob(".*.mcap"))
    with pytest.raises(OutputError, match=r"suffix \.mcap"):
        BagWriter(tmp_path / "x.bag", INFO)


def test_a_bag_names_what_it_holds(bag: Path) -> None:
    files = find_recording(bag)
    assert files.lens == files.rig == files.depth_gt == files.events == bag
