"""Genuine recordings, and files that are none."""

import random
import re
import struct
from collections.abc import Callable
from pathlib import Path

import dv_processing as dv
import lz4.frame
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli_basics import edfv
from test_events_writer import ALL, Aedat4Writer, all_streams, event_bytes, random_events

from edfv_ros.errors import EdfvError, OutputError, SourceError
from edfv_ros.events import Capture, Packet, aedat4_decoding, open_source, recover, time_range_us
from edfv_ros.events.health import MAX_US
from edfv_ros.inspection import inspect

# Events, frames, inertial samples, triggers: two independent readers agree on these.
GENUINE = {
    "faery_davis346.aedat4": (78_830, 59, 2363, 236),
    "aestream_davis.aedat4": (117_667, 3, 130, 15),
    "tonic_sample.aedat4": (111_954, 0, 475, 0),
}


def counts(packets: list[Packet]) -> tuple[int, int, int, int]:
    return (
        sum(len(p.events) for p in packets),
        sum(len(p.frames) for p in packets),
        sum(len(p.imu) for p in packets),
        sum(len(p.triggers) for p in packets),
    )


@pytest.mark.parametrize("name", GENUINE)
def test_genuine_recording_through_the_file_source(aedat4_dir: Path, name: str) -> None:
    source = open_source(str(aedat4_dir / name))
    packets = list(iter(source.read, None))

    assert counts(packets) == GENUINE[name]
    assert source.health.problems == {}
    assert max(len(p.events) for p in packets) <= 10_000
    dv_recording = dv.io.MonoCameraRecording(str(aedat4_dir / name))
    dv_events = b"".join(store.numpy().tobytes() for store in iter(dv_recording.getNextEventBatch, None))
    assert event_bytes(packets) == dv_events
    frames = [frame for p in packets for frame in p.frames]
    dv_frames = list(iter(dv_recording.getNextFrame, None)) if frames else []
    assert [(f.timestamp_us, f.exposure_us) for f in frames] == [
        (f.timestamp, f.exposure.microseconds) for f in dv_frames
    ]
    assert all(np.array_equal(ours.image, theirs.image) for ours, theirs in zip(frames, dv_frames, strict=True))


@pytest.mark.parametrize("name", GENUINE)
def test_genuine_recording_through_capture_process_and_ring(aedat4_dir: Path, name: str) -> None:
    path = str(aedat4_dir / name)
    expected = event_bytes(list(iter(open_source(path).read, None)))
    packets, events = [], []
    with Capture(path, ring_mib=1) as capture:  # the ring goes round
        while (packet := capture.read(timeout_s=10.0)) is not None:
            packets.append(packet)
            events.append(packet.events.tobytes())
            capture.release(len(packet.events))
        health = capture.health

    assert counts(packets) == GENUINE[name]
    assert b"".join(events) == expected
    assert health.problems == {}
    assert (health.events, health.frames, health.imu, health.triggers) == GENUINE[name]


def test_streams_are_interleaved_in_time(aedat4_dir: Path) -> None:
    newest_us = 0
    for packet in iter(open_source(str(aedat4_dir / "faery_davis346.aedat4")).read, None):
        times_us = [*packet.triggers["timestamp"], *packet.imu["timestamp"], *packet.events["timestamp"][:1]]
        ended_us = [frame.timestamp_us + frame.exposure_us for frame in packet.frames]
        assert all(time_us >= newest_us - 1 for time_us in times_us + ended_us)
        assert max(times_us + ended_us) - min(times_us + ended_us) <= 10_000
        newest_us = max(newest_us, *times_us, *ended_us)


def test_real_time_replay_takes_as_long_as_the_recording(aedat4_dir: Path) -> None:
    import time

    source = open_source(str(aedat4_dir / "tonic_sample.aedat4"), real_time=True)
    start_s = time.monotonic()
    packets = list(iter(source.read, None))
    assert counts(packets)[0] == 111_954
    assert 0.55 <= time.monotonic() - start_s <= 30.0  # it holds 0.59 s


def closed_recording(path: Path) -> bytes:
    """What DV itself leaves behind: compressed, with a data table."""
    config = dv.io.MonoCameraWriter.Config("DAVIS346_X", dv.CompressionType.LZ4)
    config.addEventStream((346, 260))
    writer = dv.io.MonoCameraWriter(str(path), config)
    writer.setPackagingCount(100)
    rng = random.Random(0)
    for start in range(0, 2000, 100):
        store = dv.EventStore()
        for index in range(start, start + 100):
            store.push_back(1000 + index, rng.randrange(346), rng.randrange(260), bool(rng.randrange(2)))
        writer.writeEvents(store)
    del writer
    return path.read_bytes()


def problem(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        list(iter(open_source(str(path)).read, None))
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and "Stacktrace" not in message
    return message


def test_truncated_recording_says_how_to_recover_it(tmp_path: Path) -> None:
    path = tmp_path / "x.aedat4"
    content = closed_recording(path)
    path.write_bytes(content[: len(content) // 2])

    assert "cut off" in problem(path)
    assert problem(path).endswith(f"edfv recover {path} recovered.aedat4")
    with pytest.raises(OutputError, match=r"whole.bag: name the new file with the suffix .aedat4"):
        recover(path, tmp_path / "whole.bag")
    assert not (tmp_path / "whole.bag").exists()
    assert recover(path, tmp_path / "whole.aedat4") > 0

    recovered = open_source(str(tmp_path / "whole.aedat4"))
    events = np.concatenate([p.events for p in iter(recovered.read, None)])
    assert 700 <= len(events) <= 1300 and np.all(events["timestamp"] == 1000 + np.arange(len(events)))
    dv_recording = dv.io.MonoCameraRecording(str(tmp_path / "whole.aedat4"))
    assert sum(store.size() for store in iter(dv_recording.getNextEventBatch, None)) == len(events)


def test_corrupt_recording_loses_only_the_damaged_packet(tmp_path: Path) -> None:
    path = tmp_path / "x.aedat4"
    content = bytearray(closed_recording(path))
    middle = len(content) // 2
    content[middle : middle + 64] = random.Random(1).randbytes(64)
    path.write_bytes(content)

    assert "damaged at byte" in problem(path)
    assert recover(path, tmp_path / "whole.aedat4") > 0
    events = np.concatenate([p.events for p in iter(open_source(str(tmp_path / "whole.aedat4")).read, None)])
    assert len(events) == 1900 and events["timestamp"][-1] == 2999


def test_time_range_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.aedat4"
    content = bytearray(closed_recording(path))
    assert time_range_us(path) == (1000, 2999)
    first_packet = content.index(b"\x04\x22\x4d\x18")  # LZ4
    content[first_packet : first_packet + 4] = bytes(4)
    path.write_bytes(content)
    assert time_range_us(path) is None
    with Aedat4Writer(tmp_path / "none.aedat4", ALL) as writer:
        writer.write(Packet(triggers=all_streams().triggers))
    assert time_range_us(tmp_path / "none.aedat4") is None


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd_high": lambda content: (
        (stream := zstandard.ZstdCompressor().compressobj()).compress(content) + stream.flush()
    ),  # which does not say its size
}


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_packets_are_decompressed_up_to_a_bound(compression: str) -> None:
    compress, decompress = COMPRESSORS[compression], aedat4_decoding.decompress
    largest = random.Random(0).randbytes(1280 * 3 * 4) * 720  # a frame in float RGB
    assert decompress(compress(largest), compression) == largest
    with pytest.raises(aedat4_decoding.DamagedError, match="ends early"):
        decompress(compress(largest)[:-8], compression)
    with pytest.raises(aedat4_decoding.DamagedError, match=r"64 MiB|does not decompress"):
        decompress(compress(bytes((64 << 20) + 1)), compression)


BAD_FILES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "empty": ("x.aedat4", lambda good: b"", "empty"),
    "foreign": ("x.aedat4", lambda good: b"\x89PNG\r\n\x1a\n" * 100, "not an AEDAT4"),
    "wrong suffix": ("x.aedat", lambda good: good, "suffix"),
    "magic only": ("x.aedat4", lambda good: good[:14], "header"),
    "half a header": ("x.aedat4", lambda good: good[:300], "header"),
    "huge header": ("x.aedat4", lambda good: good[:14] + b"\xff\xff\xff\x7f" + good[18:], "header"),
    "scrambled header": ("x.aedat4", lambda good: good[:22] + bytes(range(200)) + good[222:], "header"),
    "no streams": ("x.aedat4", lambda good: good.replace(b"EVTS", b"XXXX"), "no event stream"),
    "no resolution": ("x.aedat4", lambda good: good.replace(b"sizeX", b"sizeQ"), "resolution"),
    "unfinished table": ("x.aedat4", lambda good: good[:54] + struct.pack("<q", 1 << 40) + good[62:], "cut off"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_told_in_one_line(tmp_path: Path, case: str) -> None:
    name, spoil, expected = BAD_FILES[case]
    path = tmp_path / name
    with Aedat4Writer(tmp_path / "good.aedat4", ALL) as writer:
        writer.write(all_streams())
    path.write_bytes(spoil((tmp_path / "good.aedat4").read_bytes()))

    assert expected in problem(path)
    with pytest.raises(SourceError) as caught, Capture(str(path)) as capture:
        while capture.read(10.0) is not None:
            pass
    assert str(caught.value) == problem(path)


def test_missing_and_unknown_sources(tmp_path: Path) -> None:
    assert "no such recording" in problem(tmp_path / "missing.aedat4")
    assert "folder without recording.aedat4" in problem(tmp_path)
    with pytest.raises(SourceError, match=r"http://x: unknown kind of source"):
        open_source("http://x")


def test_sweep_recording_folder(tmp_path: Path) -> None:
    with Aedat4Writer(tmp_path / "recording.aedat4", ALL) as writer:
        writer.write_events(random_events(10))
    assert counts(list(iter(open_source(str(tmp_path)).read, None)))[0] == 10


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_never_does_more_than_raise(tmp_path: Path, data: st.DataObject) -> None:
    good = tmp_path / "good.aedat4"
    if not good.exists():
        with Aedat4Writer(good, ALL) as writer:
            packet = all_streams()
            writer.write(Packet(packet.events[:50], packet.triggers, packet.imu))
    content = bytearray(good.read_bytes())
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(14, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        content[position] = value
    path = tmp_path / "bad.aedat4"
    path.write_bytes(content[: data.draw(st.integers(14, len(content)))])
    try:
        source = open_source(str(path))
        for packet in iter(source.read, None):
            times_us = packet.events["timestamp"]
            assert np.all(times_us[1:] >= times_us[:-1])
    except EdfvError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_a_recording_without_damage_is_copied_whole(tmp_path: Path, aedat4_dir: Path) -> None:
    for name in GENUINE:
        code, out, _ = edfv("recover", aedat4_dir / name, tmp_path / name)
        assert code == 0 and "no damage was found" in out and "left out" not in out
        assert counts(list(iter(open_source(str(tmp_path / name)).read, None))) == GENUINE[name]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("name", ["own", *GENUINE])
def test_what_was_recovered_reads_to_its_end(tmp_path: Path, aedat4_dir: Path, name: str, seed: int) -> None:
    good = aedat4_dir / name
    if name == "own":  # not compressed, so that flips get through to the contents
        good = tmp_path / "good.aedat4"
        with Aedat4Writer(good, ALL) as writer:
            writer.write(all_streams())
    content, rng = bytearray(good.read_bytes()), random.Random(seed)
    header_too = seed % 5 == 0
    first = 14 if header_too else 18 + struct.unpack_from("<I", content, 14)[0]
    contents = [match.start() for match in re.finditer(rb"EVTS|FRME|IMUS|TRIG|\x04\x22\x4d\x18", content)]
    for _ in range(1 << (seed % 8)):  # anywhere, and where it hurts most: where packets begin
        for position in (rng.randrange(first, len(content)), rng.choice(contents) + rng.randrange(-24, 48)):
            if first <= position < len(content):
                content[position] ^= 1 << rng.randrange(8)
    path, whole, again = (tmp_path / f"{stem}.aedat4" for stem in ("bad", "whole", "again"))
    path.write_bytes(content)
    try:
        recover(path, whole)
    except SourceError as error:
        assert header_too and str(error).startswith(str(path)) and not whole.exists()
        return
    list(iter(open_source(str(whole)).read, None))
    assert recover(whole, again) == 0
    assert again.read_bytes() == whole.read_bytes()


def test_impossible_times_are_counted_and_do_not_stretch_a_recording(tmp_path: Path) -> None:
    path, packet = tmp_path / "x.aedat4", all_streams()
    first_us, last_us = packet.events["timestamp"][[0, -1]].tolist()
    packet.events["timestamp"][[10, 20, -5]] = -3_597_675_348_654_686_141, 2**62, MAX_US + 1
    packet.triggers["timestamp"][4] = -1
    with Aedat4Writer(path, ALL) as writer:
        writer.write(packet)

    summary = inspect(path)
    events, triggers = summary.streams["events"], summary.streams["triggers"]
    assert (events.count, events.first_us, events.last_us) == (24_998, first_us, last_us)
    assert (triggers.count, triggers.first_us) == (9, packet.triggers["timestamp"][0])
    assert summary.counters == {"out_of_range": 4}
