"""edfv record on loopback streams and the live virtual rig: ended well, ended by force, never begun."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import RIG_FILE, START_US, SWEEP_US, random_events, small_rig, write_rig
from test_cli_basics import edfv

from edfv_ros import live_recording
from edfv_ros.errors import SourceError
from edfv_ros.events import TRIGGER_DTYPE, NetworkSender, Packet, SourceInfo, TriggerType
from edfv_ros.lens.track import LensTrack

TICK_US = 10_000
EVENTS_PER_TICK = 400


class Camera:
    """A live source: random events and a rising edge at every turning point, faster than real time."""

    def __init__(self, *, triggers: bool = True) -> None:
        self._triggers = triggers
        self.rig = small_rig()
        width_px, height_px = self.rig.camera.resolution
        info = SourceInfo("LOOPBACK_1", width_px, height_px, ("events", "triggers"), live=True)
        self._sender = NetworkSender("tcp://127.0.0.1:0", info)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    @property
    def uri(self) -> str:
        return self._sender.uri

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._sender.close()

    def _send(self) -> None:
        tick = 0
        while not self._stop.wait(0.002):
            if not self._sender.wait_for_receiver(0.05):
                continue
            now_us = START_US + tick * TICK_US
            events = random_events(EVENTS_PER_TICK, self.rig, TICK_US, seed=tick)
            events["timestamp"] += now_us - START_US
            at_turn = self._triggers and (now_us - START_US) % SWEEP_US == 0
            edges = [(now_us, TriggerType.RISING_EDGE)] if at_turn else []
            self._sender.send(Packet(events, np.array(edges, TRIGGER_DTYPE)))
            tick += 1


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.close()


@pytest.fixture
def camera_without_triggers() -> Iterator[Camera]:
    camera = Camera(triggers=False)
    yield camera
    camera.close()


@contextmanager
def recording(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A running `edfv record`, ended by force where the test has not ended it."""
    running = subprocess.Popen(
        [sys.executable, "-m", "edfv_ros.cli", "record", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def wait_until(condition: Callable[[], bool], running: "subprocess.Popen[str]", timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline_s, "it takes too long"
        time.sleep(0.02)


def has_lines(path: Path, count: int) -> bool:
    return path.exists() and path.read_text().count("\n") >= count


def has_bytes(path: Path, count: int) -> bool:
    return path.exists() and path.stat().st_size >= count


def summary_of(folder: Path) -> dict[str, Any]:
    code, out, _ = edfv("info", folder, "--json")
    assert code == 0
    return json.loads(out)


def interrupt(running: "subprocess.Popen[str]") -> tuple[str, str]:
    """End a recording as Ctrl-C does; what it printed."""
    running.send_signal(signal.SIGINT)
    return running.communicate(timeout=60)


def test_a_recording_has_all_its_parts(camera: Camera, tmp_path: Path) -> None:
    rig = write_rig(camera.rig, tmp_path / "rig.yaml")
    folder = tmp_path / "new" / "desk"
    with recording(camera.uri, "--rig", rig, "--out", folder) as running:
        wait_until(lambda: has_lines(folder / "lens.csv", 4), running)
        out, error = interrupt(running)
    assert (running.returncode, error) == (0, "")
    assert "events" in out and "sweeps" in out
    assert sorted(path.name for path in folder.iterdir()) == ["lens.csv", "recording.aedat4", "rig.yaml"]
    assert (folder / "rig.yaml").read_text() == rig.read_text()
    summary = summary_of(folder)
    assert summary["camera"] == "LOOPBACK_1" and summary["streams"]["events"]["count"] > 10 * EVENTS_PER_TICK
    assert summary["sweeps_from"] == "lens.csv" and len(summary["sweeps"]) >= 2
    for sweep in summary["sweeps"]:
        assert sweep["end_us"] - sweep["start_us"] == pytest.approx(SWEEP_US, abs=2)
        assert (sweep["start_us"] - START_US) % SWEEP_US == pytest.approx(0, abs=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_well(camera: Camera, tmp_path: Path, number: int) -> None:
    rig = write_rig(camera.rig, tmp_path / "rig.yaml")
    folder = tmp_path / "desk"
    with recording(camera.uri, "--rig", rig, "--out", folder) as running:
        wait_until(lambda: has_lines(folder / "lens.csv", 4), running)
        running.send_signal(number)
        out, error = running.communicate(timeout=30)
    assert (running.returncode, error) == (0, ""), error
    assert "sweeps" in out
    summary = summary_of(folder)
    assert summary["problems"] == [] and len(summary["sweeps"]) >= 2


def test_a_killed_recording_reads_up_to_its_last_moment(camera: Camera, tmp_path: Path) -> None:
    rig = write_rig(camera.rig, tmp_path / "rig.yaml")
    folder = tmp_path / "desk"
    events = folder / "recording.aedat4"
    with recording(camera.uri, "--rig", rig, "--out", folder) as running:
        wait_until(lambda: has_lines(folder / "lens.csv", 8), running)
        written_bytes = events.stat().st_size
        running.kill()
        running.communicate(timeout=30)
    assert running.returncode == -signal.SIGKILL
    wait_for_quiet(events)
    summary = summary_of(folder)
    count = summary["streams"]["events"]["count"]
    assert count % EVENTS_PER_TICK == 0, "whole packets"
    assert events.stat().st_size >= written_bytes
    assert 0.8 < count * 16 / events.stat().st_size < 1.0, "all that was written is read"
    assert len(summary["sweeps"]) >= 6
    assert edfv("run", folder, "--out", tmp_path / "depth", "--sweeps", "1")[0] == 0


def wait_for_quiet(path: Path, timeout_s: float = 10.0) -> None:
    """The capture process notices the death of its parent and ends; its last write makes the file."""
    deadline_s = time.monotonic() + timeout_s
    size = -1
    while (now := path.stat().st_size) != size:
        assert time.monotonic() < deadline_s, "it is written after its recorder was killed"
        size = now
        time.sleep(0.5)


def test_without_a_rig_there_is_no_track(camera: Camera, tmp_path: Path) -> None:
    with recording(camera.uri, "--out", tmp_path / "desk", "--seconds", 1) as running:
        _, error = running.communicate(timeout=60)
    assert running.returncode == 0 and "no rig" in error
    assert [path.name for path in (tmp_path / "desk").iterdir()] == ["recording.aedat4"]


def test_a_silent_lens_costs_the_track_and_not_the_events(camera_without_triggers: Camera, tmp_path: Path) -> None:
    rig = write_rig(camera_without_triggers.rig, tmp_path / "rig.yaml")
    folder = tmp_path / "desk"
    with recording(camera_without_triggers.uri, "--rig", rig, "--out", folder) as running:
        wait_until(lambda: has_bytes(folder / "recording.aedat4", 150 * EVENTS_PER_TICK * 16), running)  # 1.5 s
        _, error = interrupt(running)
    assert running.returncode == 0 and error.startswith("! ") and "trigger" in error and error.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["recording.aedat4", "rig.yaml"]
    assert summary_of(folder)["streams"]["events"]["count"] > 100 * EVENTS_PER_TICK


def test_the_end_of_the_stream_ends_the_recording(tmp_path: Path) -> None:
    camera = Camera()
    rig = write_rig(camera.rig, tmp_path / "rig.yaml")
    folder = tmp_path / "desk"
    try:
        with recording(camera.uri, "--rig", rig, "--out", folder) as running:
            wait_until(lambda: has_lines(folder / "lens.csv", 4), running)
            camera.close()
            _, error = running.communicate(timeout=30)
    finally:
        camera.close()
    assert running.returncode in (0, 2) and error.count("\n") <= 1 and "Traceback" not in error
    assert len(summary_of(folder)["sweeps"]) >= 2


def test_where_the_source_breaks_the_last_sweep_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = small_rig()
    events = random_events(EVENTS_PER_TICK, rig, 2 * SWEEP_US)
    pulses = [(START_US + i * SWEEP_US + at, kind) for i in range(3) for at, kind in ((0, 1), (1000 - i % 2 * 500, 2))]
    packets = deque([Packet(events, np.array(pulses[:-1], TRIGGER_DTYPE))])  # the last pulse is not over

    class Unplugged:
        info = SourceInfo("LOOPBACK_1", *rig.camera.resolution, ("events", "triggers"), live=True)

        def read(self, timeout_s: float) -> Packet:
            if not packets:
                raise SourceError("the camera is gone")
            return packets.popleft()

        def release(self, count: int) -> None:
            return None

    monkeypatch.setattr(live_recording, "Capture", lambda uri, record_to: nullcontext(Unplugged()))
    rig_path = write_rig(rig, tmp_path / "rig.yaml")
    with pytest.raises(SourceError, match="gone"):
        live_recording.record("camera:", tmp_path / "desk", rig_path=rig_path, stop=threading.Event())
    assert len(LensTrack.from_csv(tmp_path / "desk" / "lens.csv").sweeps(rig.bins)) == 2


def test_what_is_reported_in_the_end_is_what_the_files_hold(camera: Camera, tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    stop = threading.Event()
    received = 0

    def stop_and_record_on(status: live_recording.RecordingStatus) -> None:
        """The capture process has written more by the time it hears of the end."""
        nonlocal received
        if status.sweeps >= 2 and not stop.is_set():
            stop.set()
            received = status.events
            written_bytes = (folder / "recording.aedat4").stat().st_size
            deadline_s = time.monotonic() + 30.0
            while not has_bytes(folder / "recording.aedat4", written_bytes + 10 * EVENTS_PER_TICK * 16):
                assert time.monotonic() < deadline_s, "nothing more is recorded"
                time.sleep(0.01)

    rig = write_rig(camera.rig, tmp_path / "rig.yaml")
    status = live_recording.record(camera.uri, folder, rig_path=rig, stop=stop, on_progress=stop_and_record_on)
    summary = summary_of(folder)
    assert status.events == summary["streams"]["events"]["count"] > received
    assert status.triggers == summary["streams"]["triggers"]["count"]
    assert status.sweeps == len(summary["sweeps"]) >= 2


def test_the_virtual_lens_reports_its_track(tmp_path: Path) -> None:
    """Live rig in a process, its lens on a pseudo-terminal, telemetry through the clock model into lens.csv."""
    rig = small_rig(sync="telemetry")
    rig_file = write_rig(rig, tmp_path / "rig.yaml")
    with subprocess.Popen(
        [sys.executable, "-m", "edfv_ros.simulation.live", "--rig", str(rig_file), "--kind", "cards"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as live:  # fmt: skip
        try:
            assert live.stdout is not None
            ready = json.loads(live.stdout.readline())
            lens = rig.lens.model_copy(update={"port": ready["lens_port"]})
            write_rig(rig.model_copy(update={"lens": lens}), rig_file)
            with recording(ready["uri"], "--rig", rig_file, "--out", tmp_path / "desk") as running:
                wait_until(lambda: has_lines(tmp_path / "desk" / "lens.csv", 300), running)  # 20 rows a sweep
                out, error = interrupt(running)
            assert (running.returncode, error) == (0, ""), error
        finally:
            live.terminate()
            live.communicate(timeout=30)
    summary = summary_of(tmp_path / "desk")
    assert summary["sweeps_from"] == "lens.csv" and len(summary["sweeps"]) >= 10, (out, summary)
    directions = [sweep["direction"] for sweep in summary["sweeps"]]
    assert directions == (["up", "down"] * len(directions))[directions[0] == "down" :][: len(directions)]
    assert edfv("run", tmp_path / "desk", "--out", tmp_path / "depth", "--sweeps", "4:5")[0] == 0


def fails(*arguments: object) -> str:
    code, out, error = edfv("record", *arguments)
    assert (code, out) == (2, ""), (out, error)
    assert error.startswith("edfv: ") and error.count("\n") == 1, error
    return error


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{min(free.getsockname()[1], 65000)}"


def test_what_cannot_be_recorded(tmp_path: Path, closed_port: str) -> None:
    out = tmp_path / "out"
    assert "not a live source" in fails(tmp_path / "x.aedat4", "--out", out)
    assert "not a live source" in fails("webcam", "--out", out)
    assert "address" in fails("tcp://nonsense", "--out", out)
    assert closed_port in fails(closed_port, "--out", out)
    assert "x.sock" in fails(f"unix://{tmp_path}/x.sock", "--out", out)
    assert "camera" in fails("camera:NOSUCHSERIAL", "--out", out)
    assert "--seconds" in fails(closed_port, "--out", out, "--seconds", 0)
    assert "no such rig" in fails(closed_port, "--out", out, "--rig", tmp_path / "absent.yaml")
    assert not out.exists(), "nothing is left behind"


def test_rigs_that_do_not_fit(camera: Camera, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with recording(camera.uri, "--rig", RIG_FILE, "--out", out) as running:
        printed, error = running.communicate(timeout=60)
    assert (running.returncode, printed) == (2, "")
    assert "64 x 48" in error and error.count("\n") == 1
    no_lens = camera.rig.lens.model_copy(update={"port": str(tmp_path / "ttyNONE")})
    rig = write_rig(camera.rig.model_copy(update={"lens": no_lens}), tmp_path / "rig.yaml")
    assert "ttyNONE" in fails(camera.uri, "--rig", rig, "--out", out)
    assert not out.exists(), "nothing is left behind"


def test_recordings_are_not_overwritten(tmp_path: Path, closed_port: str) -> None:
    for name in ("recording.aedat4", "lens.csv", "rig.yaml", "depth_gt.npy"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("precious")
        assert "recording already" in fails(closed_port, "--out", folder)
        assert (folder / name).read_text() == "precious"
    (tmp_path / "file").write_text("")
    assert "in the way" in fails(closed_port, "--out", tmp_path / "file")


def test_a_folder_of_other_things_is_left_as_it_was(tmp_path: Path, closed_port: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    shutil.copy(RIG_FILE, tmp_path / "my_rig.yaml")
    fails(closed_port, "--out", tmp_path, "--rig", tmp_path / "my_rig.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_rig.yaml", "notes.txt"]
