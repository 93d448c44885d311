"""Streams over sockets, with dv-processing at the other end and without."""

import errno
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_events_capture import open_descriptors
from test_events_writer import START_US, all_streams, event_bytes, random_events

from edfv_ros.errors import SourceError
from edfv_ros.events import NetworkSender, Packet, SourceInfo, open_source
from edfv_ros.events.aedat4_encoding import event_packet, network_header, network_message
from edfv_ros.events.opening import CheckedSource

ROOT = Path(__file__).parents[1]
INFO = SourceInfo("DAVIS346_SIM", 346, 260, ("events", "triggers", "frames", "imu"), live=True)
EVENTS_ONLY = SourceInfo("DVXplorer_SIM", 640, 480, ("events",), live=True)


def addresses(tmp_path: Path) -> dict[str, str]:
    return {"tcp": "tcp://localhost:0", "unix": f"unix://{tmp_path}/camera.sock"}


def read_all(source: CheckedSource, timeout_s: float = 20.0) -> list[Packet]:
    packets = []
    deadline_s = time.monotonic() + timeout_s
    while (packet := source.read()) is not None:
        assert time.monotonic() < deadline_s, "the stream does not end"
        packets.append(packet)
    return packets


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_all_streams_arrive_bit_by_bit(tmp_path: Path, kind: str) -> None:
    sent = all_streams()
    sender = NetworkSender(addresses(tmp_path)[kind], INFO)
    source = open_source(sender.uri)
    assert source.info == INFO
    assert sender.wait_for_receiver(5.0)
    closing = threading.Thread(target=lambda: (sender.send(sent), sender.close()))
    closing.start()
    packets = read_all(source)
    closing.join()

    assert event_bytes(packets) == sent.events.tobytes()
    assert np.concatenate([p.triggers for p in packets]).tolist() == sent.triggers.tolist()
    assert np.array_equal(np.concatenate([p.imu for p in packets]), sent.imu)
    frames = [frame for packet in packets for frame in packet.frames]
    assert [(f.timestamp_us, f.exposure_us) for f in frames] == [(f.timestamp_us, f.exposure_us) for f in sent.frames]
    assert all(np.array_equal(ours.image, theirs.image) for ours, theirs in zip(frames, sent.frames, strict=True))
    assert source.health.problems == {}
    source.close()
    assert list(tmp_path.iterdir()) == []


def test_streams_that_are_not_served_are_absent(tmp_path: Path) -> None:
    with NetworkSender(addresses(tmp_path)["unix"], EVENTS_ONLY) as sender:
        source = open_source(sender.uri)
        assert source.info == EVENTS_ONLY
        source.close()


def test_sender_without_receiver_and_with_several(tmp_path: Path) -> None:
    with NetworkSender(addresses(tmp_path)["unix"], EVENTS_ONLY) as sender:
        assert not sender.wait_for_receiver(0.01)
        assert not sender.send(Packet(random_events(10)))
        sources = [open_source(sender.uri) for _ in range(2)]
        sender_sees = [sender.wait_for_receiver(5.0)]
        deadline_s = time.monotonic() + 5.0
        later = random_events(100)
        received = [b"", b""]
        while not all(received) and time.monotonic() < deadline_s:
            sender.send(Packet(later))
            for index, source in enumerate(sources):
                packet = source.read()
                received[index] += packet.events.tobytes() if packet is not None else b""
        assert sender_sees == [True] and all(received)
        sources[0].close()
        deadline_s = time.monotonic() + 5.0
        while sender.send(Packet(later)) and time.monotonic() < deadline_s:
            sources[1].close()
        assert not sender.send(Packet(later))


def test_receiver_that_stalls_is_disconnected(tmp_path: Path) -> None:
    with NetworkSender(addresses(tmp_path)["unix"], EVENTS_ONLY, stall_timeout_s=0.1) as sender:
        source = open_source(sender.uri)
        assert sender.wait_for_receiver(5.0)
        start_s = time.monotonic()
        while sender.send(Packet(random_events(10_000))):
            assert time.monotonic() - start_s < 10.0
        source.close()


DV_READER = """
import json, sys, time
import dv_processing as dv
address = json.loads(sys.argv[1])
readers = [dv.io.NetworkReader(*place) for place in address]
print(json.dumps([readers[0].getCameraName(), *readers[0].getEventResolution()]), flush=True)
events, found = [], {"triggers": [], "frames": [], "imu": []}
while readers[0].isRunning():
    busy = False
    while (store := readers[0].getNextEventBatch()) is not None:
        events.append(store.numpy().tobytes().hex())
        busy = True
    while (batch := readers[1].getNextTriggerBatch()) is not None:
        found["triggers"] += [(t.timestamp, int(t.type)) for t in batch]
    while (frame := readers[2].getNextFrame()) is not None:
        found["frames"].append((frame.timestamp, int(frame.image.sum())))
    while (batch := readers[3].getNextImuBatch()) is not None:
        found["imu"] += [(s.timestamp, s.accelerometerZ, s.gyroscopeX) for s in batch]
    if not busy:
        time.sleep(0.0005)
print(json.dumps({"events": "".join(events), **found}))
"""


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_dv_reads_what_we_send(tmp_path: Path, kind: str) -> None:
    sent = all_streams()
    sender = NetworkSender(addresses(tmp_path)[kind], INFO)
    if kind == "tcp":
        port = int(sender.uri.rsplit(":", 1)[1])
        address: list[list[str | int]] = [["127.0.0.1", port + offset] for offset in range(4)]
    else:
        address = [[f"{tmp_path}/camera.sock{suffix}"] for suffix in ("", ".triggers", ".frames", ".imu")]
    with subprocess.Popen(
        [sys.executable, "-c", DV_READER, json.dumps(address)], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert json.loads(reader.stdout.readline()) == ["DAVIS346_SIM", 346, 260]
        assert sender.wait_for_receiver(10.0)
        sender.send(sent)
        sender.close()
        output, _ = reader.communicate(timeout=20.0)
    found = json.loads(output)
    assert found["events"] == sent.events.tobytes().hex()
    assert found["triggers"] == [list(row) for row in sent.triggers.tolist()]
    assert found["frames"] == [[frame.timestamp_us, int(frame.image.sum())] for frame in sent.frames]
    expected = [[int(s["timestamp"]), float(s["accelerometer_g"][2]), float(s["gyroscope_deg_s"][0])] for s in sent.imu]
    assert found["imu"] == expected


# A NetworkWriter that had a client must never be deleted (its destructor hangs), hence os._exit.
DV_WRITER = """
import os, sys, time
import dv_processing as dv
path, start_us = sys.argv[1], int(sys.argv[2])
def stream(factory, name, *size):
    definition = factory(0, name, "DAVIS346_DV", *size)
    definition.setCompression(dv.CompressionType.LZ4)
    return definition
events = dv.io.NetworkWriter(path, stream(dv.io.Stream.EventStream, "events", (346, 260)))
triggers = dv.io.NetworkWriter(path + ".triggers", stream(dv.io.Stream.TriggerStream, "triggers"))
print("ready", flush=True)
while not (events.getClientCount() and triggers.getClientCount()):
    time.sleep(0.001)
edge = dv.Trigger(start_us + 7, dv.TriggerType.EXTERNAL_SIGNAL_RISING_EDGE)
triggers.writeTriggers(dv.TriggerPacket.TriggersVector([edge]))
for first in range(0, 3000, 1000):
    store = dv.EventStore()
    for index in range(first, first + 1000):
        store.push_back(start_us + index, index % 346, index % 260, index % 2 == 0)
    events.writeEvents(store)
sys.stdin.read()
os._exit(0)
"""


def test_we_read_what_dv_sends(tmp_path: Path) -> None:
    path = f"{tmp_path}/dv.sock"
    with subprocess.Popen(
        [sys.executable, "-c", DV_WRITER, path, str(START_US)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as writer:  # fmt: skip
        assert writer.stdin is not None and writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        source = open_source(f"unix://{path}")
        assert source.info == SourceInfo("DAVIS346_DV", 346, 260, ("events", "triggers"), live=True)
        packets: list[Packet] = []
        deadline_s = time.monotonic() + 30.0
        while sum(len(p.events) + len(p.triggers) for p in packets) < 3001 and time.monotonic() < deadline_s:
            packet = source.read()
            assert packet is not None
            packets.append(packet)
        writer.stdin.close()
        packets += read_all(source)
    events = np.concatenate([p.events for p in packets])
    index = np.arange(3000)
    assert np.array_equal(events["timestamp"], START_US + index)
    assert np.array_equal(events["x"], index % 346) and np.array_equal(events["y"], index % 260)
    assert np.array_equal(events["polarity"], index % 2 == 0)
    assert np.concatenate([p.triggers for p in packets]).tolist() == [(START_US + 7, 1)]


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("tcp://127.0.0.1", "not an address"),
        ("tcp://:1", "not an address"),
        ("tcp://127.0.0.1:x", "not an address"),
        ("tcp://127.0.0.1:70000", "not an address"),
        ("tcp://127.0.0.1:65535", "no room"),
        ("tcp://no-such-host.invalid:1000", "cannot be found"),
        ("unix://", "path is missing"),
        ("unix:///nowhere/camera.sock", "nobody serves events"),
        ("unix:///" + 200 * "x", "cannot connect"),
        ("tcp://127.0.0.1:1", "nobody serves events"),
    ],
)
def test_bad_addresses_are_told_in_one_line(uri: str, problem: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(uri)
    assert str(caught.value).startswith(uri) and problem in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("greeting", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a dv event stream"),
        (b"", "hangs up"),
        (struct.pack("<I", 100) + bytes(100), "not a dv event stream"),
        (network_header(INFO, "triggers"), "it offers triggers"),
    ],
)
def test_other_servers_are_told_in_one_line(tmp_path: Path, greeting: bytes, problem: str) -> None:
    with serve_once(tmp_path, greeting) as uri, pytest.raises(SourceError, match=problem) as caught:
        open_source(uri)
    assert "\n" not in str(caught.value)


def test_dead_peers_are_asked_for_on_every_tcp_stream() -> None:
    before = open_descriptors()
    with NetworkSender("tcp://127.0.0.1:0", INFO) as sender:
        source = open_source(sender.uri)
        asked = []
        for descriptor in open_descriptors() - before:
            if not Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(descriptor))) as connection:
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                    asked.append([connection.getsockopt(socket.IPPROTO_TCP, option) for option in options])
        source.close()
    assert asked == [[2, 1, 3]] * 4


def test_peer_that_died_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unanswered(socket.socket):
        """A socket whose peer answers no more once it has greeted, as the system tells it."""

        def recv(self, size: int, flags: int = 0) -> bytes:
            if self.gettimeout() == 0.0:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            return super().recv(size, flags)

    with serve_once(tmp_path, network_header(EVENTS_ONLY, "events")) as uri:
        monkeypatch.setattr(socket, "socket", Unanswered)
        source = open_source(uri)
        with pytest.raises(SourceError, match="the connection broke off: Connection timed out; check the network"):
            read_all(source)
        source.close()


@pytest.mark.parametrize("message", [struct.pack("<ii", 0, -5), struct.pack("<ii", 0, 40) + bytes(40)])
def test_damaged_streams_are_told_in_one_line(tmp_path: Path, message: bytes) -> None:
    good = network_message(event_packet(random_events(5)))
    with serve_once(tmp_path, network_header(EVENTS_ONLY, "events") + good + message) as uri:
        source = open_source(uri)
        with pytest.raises(SourceError, match="the events are damaged") as caught:
            read_all(source)
        source.close()
    assert "\n" not in str(caught.value)


class serve_once:
    """A server that says one thing to its first client and hangs up."""

    def __init__(self, folder: Path, greeting: bytes) -> None:
        self._path = str(folder / "other.sock")
        self._greeting = greeting
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen()
        self._listener.settimeout(10.0)
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with self._listener.accept()[0] as client:
            client.sendall(self._greeting)

    def __enter__(self) -> str:
        self._thread.start()
        return f"unix://{self._path}"

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()


def test_addresses_in_use_are_told_and_stale_sockets_replaced(tmp_path: Path) -> None:
    uri = addresses(tmp_path)["unix"]
    with NetworkSender(uri, EVENTS_ONLY), pytest.raises(SourceError, match="cannot serve events here"):
        NetworkSender(uri, EVENTS_ONLY)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "camera.sock"))
    with NetworkSender(uri, EVENTS_ONLY) as sender:
        open_source(sender.uri).close()
    (tmp_path / "camera.sock").write_text("precious")
    with pytest.raises(SourceError, match="cannot serve events here"):
        NetworkSender(uri, EVENTS_ONLY)
    assert (tmp_path / "camera.sock").read_text() == "precious"


def test_sender_leaves_no_descriptors(tmp_path: Path) -> None:
    before = open_descriptors()
    with NetworkSender("tcp://127.0.0.1:0", INFO) as sender:
        open_source(sender.uri).close()
    assert open_descriptors() == before
