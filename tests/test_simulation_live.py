"""The live virtual rig as its clients see it: a dv network reader and a serial port."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import dv_processing as dv
import numpy as np
import pytest
import serial
from recordings import small_rig, write_rig

TIMEOUT_S = 60.0


class Live:
    """A running virtual rig."""

    def __init__(self, folder: Path, *options: str) -> None:
        rig_file = write_rig(small_rig(), folder / "rig.yaml")
        command = [sys.executable, "-m", "edfv_ros.simulation.live", "--rig", str(rig_file), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ready, _, _ = select.select([self.process.stdout], [], [], TIMEOUT_S)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            pytest.fail(f"the virtual rig did not start: {self.process.stderr.read()}")
        self.ready = json.loads(line)

    def readers(self):
        """dv readers of events, triggers and frames."""
        uri = self.ready["uri"]
        if uri.startswith("unix://"):
            path = uri.removeprefix("unix://")
            return [dv.io.NetworkReader(f"{path}{suffix}") for suffix in ("", ".triggers", ".frames")]
        port = int(uri.rsplit(":", 1)[1])
        return [dv.io.NetworkReader("127.0.0.1", port + offset) for offset in (0, 1, 2)]

    def stop(self, signal_number=signal.SIGTERM):
        """End it and return its exit code."""
        self.process.send_signal(signal_number)
        try:
            return self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()


@contextlib.contextmanager
def running(folder, *options):
    live = Live(folder, *options)
    try:
        yield live
    finally:
        if live.process.poll() is None:
            live.stop()
        live.process.stdout.close()
        live.process.stderr.close()


def collect(reader, seconds):
    """Events of the next ``seconds`` of stream time."""
    parts, first = [], None
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        batch = reader.getNextEventBatch()
        if batch is None:
            time.sleep(0.001)
            continue
        parts.append(batch.numpy())
        first = parts[0]["timestamp"][0] if first is None else first
        if parts[-1]["timestamp"][-1] - first >= seconds * 1e6:
            break
    return np.concatenate(parts)


def ask(port, command, *beginnings):
    """Send a command and return the first line that begins as expected."""
    port.write(command.encode() + b"\n")
    return next_line(port, *(beginnings or ("OK", "ERR")))


def next_line(port, *beginnings):
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        line = port.readline().decode().strip()
        if line.startswith(beginnings):
            return line
    pytest.fail(f"the lens sent no line that begins with {beginnings}")


def test_streams_in_real_time_and_obeys_the_lens_port(tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("pixels:\n  shot_noise_hz: 1.0\n")  # at the usual 5 Hz, noise is a tenth of the sweep's events
    options = ("--out", str(tmp_path / "truth"), "--kind", "cards", "--settings", str(settings))
    with running(tmp_path, *options) as live:
        assert np.load(live.ready["depth_gt"]).shape == (48, 64)
        assert Path(live.ready["picture"]).read_bytes().startswith(b"\x89PNG")
        events_reader, triggers_reader, frames_reader = live.readers()
        events = collect(events_reader, 0.6)
        assert abs(events["timestamp"][-1] - time.time() * 1e6) < 5e6
        assert (np.diff(events["timestamp"]) >= 0).all()
        sweeping_hz = len(events) / np.ptp(events["timestamp"]) * 1e6

        triggers = []
        while (batch := triggers_reader.getNextTriggerBatch()) is not None:
            triggers += [(t.timestamp, int(t.type)) for t in batch]
        rises = np.array([t for t, kind in triggers if kind == 1])
        falls = np.array([t for t, kind in triggers if kind == 2])
        assert len(rises) >= 5
        assert np.diff(rises) == pytest.approx(np.full(len(rises) - 1, 100_000.0), abs=1.0)
        widths = falls[np.searchsorted(falls, rises[:-1])] - rises[:-1]
        assert set(widths) == {500, 1000}
        assert (np.diff(widths) != 0).all()
        frame = frames_reader.getNextFrame()
        assert frame.image.shape == (48, 64)

        with serial.Serial(live.ready["lens_port"], timeout=1.0) as port:
            assert ask(port, "ID") == "OK edfv-virtual-lens 1"
            samples = [next_line(port, "S ").split() for _ in range(60)]
            steps = np.diff([int(sample[1]) for sample in samples[1:]])
            assert set(steps) == {1}
            vergences = [float(sample[3]) for sample in samples]
            assert 0.3 <= min(vergences) < max(vergences) <= 4.2

            assert ask(port, "STOP") == "OK"
            stopped_us = time.time_ns() // 1000
            rest = collect(events_reader, 0.5)
            rest = rest[rest["timestamp"] > stopped_us + 20_000]
            while not len(rest) or np.ptp(rest["timestamp"]) < 200_000:
                more = collect(events_reader, 0.3)
                rest = np.concatenate([rest, more[more["timestamp"] > stopped_us + 20_000]])
            resting_hz = len(rest) / np.ptp(rest["timestamp"]) * 1e6
            assert resting_hz < 0.1 * sweeping_hz  # noise goes on
            assert 0.1 * 64 * 48 < resting_hz < 6 * 64 * 48  # the background noise of the pixels

            assert ask(port, "GOTO 2.5") == "OK"
            while float(next_line(port, "S ").split()[3]) != 2.5:
                pass
            assert ask(port, "GOTO 9") == "ERR focus 9 dpt is out of the lens's range, 0.3 to 4.2 dpt"
            assert ask(port, "SWEEP 1.0 2.0 sine 10") == "OK"
            while float(next_line(port, "S ").split()[3]) != 1.0:
                pass
            vergences = [float(next_line(port, "S ").split()[3]) for _ in range(40)]
            assert min(vergences) == 1.0
            assert max(vergences) == 2.0
            before_us = time.time_ns() // 1000
            first = int(ask(port, "TIME", "T ").split()[1])
            second = int(ask(port, "TIME", "T ").split()[1])
            assert 0 <= second - first <= time.time_ns() // 1000 - before_us
            for nonsense in ("DANCE", "SWEEP 1", "SWEEP 2 1 sine 5", "SWEEP 1 2 square 5", "GOTO far", "GOTO nan"):
                assert ask(port, nonsense).startswith("ERR "), nonsense
        assert live.stop() == 0


def test_waits_for_a_command_and_serves_clients_one_after_another(tmp_path):
    socket_path = tmp_path / "rig.sock"
    with running(tmp_path, "--wait", "--unix", str(socket_path)) as live:
        assert live.ready["uri"] == f"unix://{socket_path}"
        assert live.ready["depth_gt"] is None
        readers = live.readers()
        resting = collect(readers[0], 0.3)
        del readers
        with serial.Serial(live.ready["lens_port"], timeout=1.0) as port:
            assert ask(port, "SWEEP 0.3 4.2 triangle 5") == "OK"
        readers = live.readers()
        sweeping = collect(readers[0], 0.3)
        assert len(sweeping) > 5 * len(resting)
        assert live.stop(signal.SIGINT) == 0
    assert not list(tmp_path.glob("rig.sock*"))


def test_ends_with_its_parent(tmp_path):
    rig_file = write_rig(small_rig(), tmp_path / "rig.yaml")
    parent = (
        "import subprocess, sys; "
        f"p = subprocess.Popen([sys.executable, '-m', 'edfv_ros.simulation.live', '--rig', {str(rig_file)!r}], "
        "stdout=subprocess.PIPE, text=True); print(p.pid, p.stdout.readline(), flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    child = int(done.stdout.split()[0])
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.02)
    assert not _alive(child)


def _alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kind", "attic"), "scene kind 'attic' is not known"),
        (("--rig", "missing.yaml"), "missing.yaml: no such rig file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, options, message):
    rig_file = write_rig(small_rig(), tmp_path / "rig.yaml")
    command = [sys.executable, "-m", "edfv_ros.simulation.live", "--rig", str(rig_file), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
