"""The capture process: nothing lost from files, losses of live sources counted, and nobody outlives anybody."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dv_processing as dv
import numpy as np
import pytest
from test_events_writer import ALL, START_US, all_streams, event_bytes, random_events

from edfv_ros.child_process import start_module
from edfv_ros.errors import OutputError, SourceError
from edfv_ros.events import Aedat4Writer, Capture, NetworkSender, Packet, SourceInfo, open_source
from edfv_ros.events import capture as capture_module
from edfv_ros.nodes.simulated_camera import SimulatedCamera

ROOT = Path(__file__).parents[1]
LIVE = SourceInfo("DAVIS346_SIM", 346, 260, ("events", "triggers"), live=True)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 001 events, three times what a ring of 1 MiB holds, and all other streams."""
    path = tmp_path_factory.mktemp("recording") / "recording.aedat4"
    extras = all_streams()
    with Aedat4Writer(path, ALL) as writer:
        writer.write(Packet(random_events(200_001), extras.triggers, extras.imu, extras.frames))
    return path


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def open_descriptors() -> set[str]:
    return {link.name for link in Path("/proc/self/fd").iterdir() if link.exists() or link.is_symlink()}


def alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def capture_process_of(process_id: int) -> int:
    """The one capture process that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if parent == process_id and b"capture_process" in command:
            found.append(int(folder.name))
    (child,) = found
    return child


def test_file_waits_for_a_slow_reader(recording: Path) -> None:
    held: list[Packet] = []
    content = []
    with Capture(str(recording), ring_mib=1) as capture:
        while (packet := capture.read(10.0)) is not None:
            held.append(packet)
            if sum(len(p.events) for p in held) > 40_000:  # hold more than half of the ring
                time.sleep(0.02)
                content.append(held[0].events.tobytes())
                capture.release(len(held.pop(0).events))
        content.extend(p.events.tobytes() for p in held)
        assert capture.health.problems == {}
    assert b"".join(content) == random_events(200_001).tobytes()


def test_reader_that_holds_the_whole_ring_is_told(recording: Path) -> None:
    with Capture(str(recording), ring_mib=1) as capture, pytest.raises(SourceError, match="use a larger ring"):
        while capture.read(10.0) is not None:
            pass


def test_releasing_more_than_is_held_is_a_bug(recording: Path) -> None:
    with Capture(str(recording)) as capture:
        packet = capture.read(10.0)
        assert packet is not None
        with pytest.raises(ValueError, match="are held"):
            capture.release(len(packet.events) + 1)


def test_live_source_drops_and_counts_what_a_slow_reader_leaves(tmp_path: Path) -> None:
    sent, edges = random_events(300_000), all_streams().triggers
    with (
        NetworkSender(f"unix://{tmp_path}/camera.sock", LIVE) as sender,
        Capture(sender.uri, ring_mib=1, record_to=tmp_path / "all.aedat4") as capture,
    ):
        assert sender.wait_for_receiver(10.0)
        for start in range(0, len(sent), 10_000):
            sender.send(Packet(sent[start : start + 10_000]))
        received = 0
        lost = 0
        sender.send(Packet(triggers=edges))
        triggers: list[tuple[int, int]] = []
        while len(triggers) < len(edges) or received + lost < len(sent):
            packet = capture.read(10.0)
            assert packet is not None
            triggers += packet.triggers.tolist()
            lost += packet.lost_events
            start = received + lost
            assert packet.events.tobytes() == sent[start : start + len(packet.events)].tobytes()
            received += len(packet.events)  # never released
        assert lost > 0
        assert triggers == edges.tolist()
        assert capture.health.problems == {"lost_events": lost}
    assert event_bytes(list(iter(open_source(str(tmp_path / "all.aedat4")).read, None))) == sent.tobytes()


def test_live_source_is_never_held_up_by_a_reader_that_stopped(tmp_path: Path) -> None:
    frame = all_streams().frames[0]
    info = SourceInfo("DAVIS346_SIM", 346, 260, ("events", "frames"), live=True)
    with (
        NetworkSender(f"unix://{tmp_path}/camera.sock", info, stall_timeout_s=5.0) as sender,
        Capture(sender.uri, ring_mib=1) as capture,
    ):
        assert sender.wait_for_receiver(10.0)
        for index in range(1200):  # 108 MB of frames: more than pipe and outbox take
            assert sender.send(Packet(frames=(replace(frame, timestamp_us=START_US + index),)))
        # The counters travel with packets: make room and let one more pass.
        taken = 0
        while (packet := capture.read(0.5)) is not None and packet.frames:
            taken += len(packet.frames)
        sender.send(Packet(random_events(10)))
        assert wait_until(lambda: len(getattr(capture.read(0.1), "events", ())) == 10)
        assert 0 < taken < 1200 and capture.health.lost_others > 0
        assert capture.health.frames + capture.health.lost_others == 1200


def test_timeout_gives_an_empty_packet(tmp_path: Path) -> None:
    with NetworkSender(f"unix://{tmp_path}/camera.sock", LIVE) as sender, Capture(sender.uri) as capture:
        start_s = time.monotonic()
        packet = capture.read(0.05)
        assert packet is not None and not len(packet.events) and not len(packet.triggers)
        assert 0.04 <= time.monotonic() - start_s < 30.0
        assert capture.info == LIVE


def test_end_of_a_network_stream_is_the_end(tmp_path: Path) -> None:
    with NetworkSender(f"unix://{tmp_path}/camera.sock", LIVE) as sender, Capture(sender.uri) as capture:
        assert sender.wait_for_receiver(10.0)
        sender.send(all_streams_of(LIVE))
        sender.close()
        packets = list(iter(lambda: capture.read(10.0), None))
    assert sum(len(p.events) for p in packets) == 25_001 and sum(len(p.triggers) for p in packets) == 10


def all_streams_of(info: SourceInfo) -> Packet:
    packet = all_streams()
    return Packet(packet.events, packet.triggers if "triggers" in info.streams else Packet().triggers)


def test_opening_errors_come_back_and_leave_nothing(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(SourceError, match="no such recording"):
        Capture(str(tmp_path / "missing.aedat4"))
    with pytest.raises(SourceError, match=r"no camera found.*60-edfv.rules.*152a"):
        Capture("camera:")
    assert open_descriptors() == before


def test_recording_that_cannot_be_written_is_told(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write this recording"):
        Capture(str(recording), record_to=tmp_path / "missing" / "copy.aedat4")


def test_child_that_dies_before_it_is_asked_is_an_error(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_and_lose(*arguments: object, **options: object) -> "subprocess.Popen[bytes]":
        process = start_module(*arguments, **options)  # type: ignore[arg-type]
        process.wait(10.0)
        return process

    before = open_descriptors()
    monkeypatch.setattr(capture_module, "start_module", start_and_lose)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SourceError, match=r"recording.aedat4: the capture process ended with code 1; start again"):
        Capture(str(recording))
    assert open_descriptors() == before


def test_close_leaves_nothing_behind(recording: Path) -> None:
    before = open_descriptors()
    capture = Capture(str(recording), ring_mib=1)
    packet = capture.read(10.0)
    assert packet is not None
    content = packet.events.tobytes()
    child = capture_process_of(os.getpid())
    assert alive(child)
    capture.close()
    capture.close()
    assert not alive(child)
    assert capture.read(0.1) is None
    assert packet.events.tobytes() == content  # still held: still there
    del packet
    assert open_descriptors() == before


def test_killed_child_is_an_error_and_its_recording_reads_to_the_last_moment(tmp_path: Path) -> None:
    copy, sent = tmp_path / "copy.aedat4", random_events(50_000)
    with (
        NetworkSender(f"unix://{tmp_path}/camera.sock", LIVE) as sender,
        Capture(sender.uri, record_to=copy) as capture,
    ):
        assert sender.wait_for_receiver(10.0)
        sender.send(Packet(sent))
        received = 0
        while received < len(sent):
            packet = capture.read(10.0)
            assert packet is not None
            received += len(packet.events)
        os.kill(capture_process_of(os.getpid()), signal.SIGKILL)
        with pytest.raises(SourceError, match=r"camera.sock: the capture process was killed by SIGKILL"):
            while True:
                capture.read(10.0)
    stores = iter(dv.io.MonoCameraRecording(str(copy)).getNextEventBatch, None)
    assert b"".join(store.numpy().tobytes() for store in stores) == sent.tobytes()


PARENT = """
import json, sys
from edfv_ros.events import Capture
with Capture(sys.argv[1], record_to=sys.argv[2]) as capture:
    received = 0
    print("open", flush=True)
    while (packet := capture.read(1.0)) is not None:
        received += len(packet.events)
        capture.release(len(packet.events))
        print(json.dumps({"received": received}), flush=True)
"""


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_child_of_a_killed_parent_goes_and_leaves_its_recording(tmp_path: Path, environment: dict[str, str]) -> None:
    copy, sent = tmp_path / "copy.aedat4", random_events(50_000)
    with (
        NetworkSender(f"unix://{tmp_path}/camera.sock", LIVE) as sender,
        subprocess.Popen(
            [sys.executable, "-c", PARENT, sender.uri, str(copy)], stdout=subprocess.PIPE, text=True, env=environment
        ) as parent,
    ):
        assert parent.stdout is not None and parent.stdout.readline() == "open\n"
        child = capture_process_of(parent.pid)
        assert sender.wait_for_receiver(10.0)
        sender.send(Packet(sent))
        while json.loads(parent.stdout.readline())["received"] < len(sent):
            pass
        parent.kill()
        assert wait_until(lambda: not alive(child), 5.0)
    assert event_bytes(list(iter(open_source(str(copy)).read, None))) == sent.tobytes()


def test_interrupt_is_left_to_the_parent(recording: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """Ctrl-C reaches the whole process group of a terminal: the parent ends in order, the child says nothing."""
    with NetworkSender(f"unix://{tmp_path}/camera.sock", LIVE) as sender:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, sender.uri, str(tmp_path / "copy.aedat4")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        child = capture_process_of(process.pid)
        os.kill(child, signal.SIGINT)  # ignored
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=10.0)
    assert errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors  # the parent's own
    assert not alive(child)


def test_child_loads_only_what_it_needs(environment: dict[str, str]) -> None:
    code = "import sys, edfv_ros.events.capture_process; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in modules.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & {"dv_processing", "numba", "rclpy", "torch", "cv2", "onnxruntime", "matplotlib", "pydantic"}


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with modules that kill who imports them, and an interpreter that knows no safe path.

    Python 3.10 is such an interpreter.
    """
    for name in ("queue", "numpy", "edfv_ros"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('wrong {name}')")
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nunset PYTHONSAFEPATH\nexec {shlex.quote(sys.executable)} "$@"\n')
    interpreter.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setenv("PYTHONPATH", os.pathsep)


@pytest.mark.usefixtures("hostile_folder")
def test_working_directory_cannot_get_in_the_way(recording: Path) -> None:
    with Capture(str(recording)) as capture:
        packet = capture.read(10.0)
        assert packet is not None and packet.events["timestamp"][0] >= START_US
        assert isinstance(packet.events, np.ndarray)


@pytest.mark.usefixtures("hostile_folder")
def test_working_directory_cannot_get_in_the_way_of_the_simulated_camera() -> None:
    with pytest.raises(SourceError, match=r"exit code 2: missing.yaml: no such rig file"):
        SimulatedCamera(["--rig", "missing.yaml"]).__enter__()
