"""`edfv lens` and the detection behind it, over real pseudo-terminals."""

import json
import os
import pty
import tty
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from lens_doubles import (
    EdfvDouble,
    IccDouble,
    Ld4Double,
    LineDouble,
    PtyDevice,
    Scf4Double,
    UsbmDouble,
    VirtualDouble,
    look_patiently,
)
from typer.testing import CliRunner

from edfv_ros.cli import app
from edfv_ros.lens.detection import QUESTIONS, look_at
from edfv_ros.lens.opening import DRIVERS
from edfv_ros.rig import load_rig

RIG_FILE = Path(__file__).parents[1] / "config" / "rig.yaml"
RIG = load_rig(RIG_FILE)
CONTROL = {
    "optotune_ld4": (-1.9, 2.9),
    "optotune_icc": (-1.9, 2.9),
    "scf4": (32100.0, 32200.0),
    "varioptic_usbm": (25.0, 65.0),
}


def edfv(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["lens", *map(str, arguments)])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


def rig_file(folder: Path, driver: str, port: str) -> Path:
    data = yaml.safe_load(RIG_FILE.read_text())
    data["lens"] |= {"driver": driver, "port": port}
    data["sweep"] |= {"sync": "telemetry"}
    if driver in CONTROL:
        data["lens"]["calibration"] = {"control": list(CONTROL[driver]), "vergence_up_dpt": [0.3, 4.2]}
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


# detection

DOUBLES: dict[str, Callable[[], PtyDevice]] = {
    "optotune_ld4": Ld4Double,
    "optotune_icc": IccDouble,
    "scf4": Scf4Double,
    "varioptic_usbm": UsbmDouble,
    "edfv": EdfvDouble,
}


def test_every_driver_can_be_detected_and_the_safe_order_is_kept() -> None:
    order = [question.driver for question in QUESTIONS]
    assert set(order) == set(DRIVERS)
    documented = ["optotune_ld4", "optotune_icc", "scf4", "varioptic_usbm"]
    assert [driver for driver in order if driver in documented] == documented


@pytest.mark.parametrize("driver", DOUBLES)
def test_a_controller_is_detected_whatever_was_asked_before(driver: str) -> None:
    with DOUBLES[driver]() as double:
        found = look_patiently(double.port)
        assert found.driver == driver and found.finding


def test_the_virtual_lens_is_detected() -> None:
    with VirtualDouble() as emulator:
        found = look_patiently(emulator.port, ["virtual"])
        assert (found.driver, found.finding) == ("virtual", "virtual lens 1")


class Modem(LineDouble):
    """Something at a serial port that is no lens."""

    def reply(self, line: str) -> str:
        return "NO CARRIER"


def test_absence_silence_and_wrong_answers_are_told_apart(tmp_path: Path) -> None:
    assert "there is no such port" in look_at(str(tmp_path / "ttyNONE")).finding
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        silent = look_at(os.ttyname(slave), drivers=["optotune_ld4", "optotune_icc", "scf4"], timeout_s=0.05)
    finally:
        os.close(master)
        os.close(slave)
    assert silent.driver == "" and silent.finding.startswith("silent")
    with Modem() as modem:
        other = look_patiently(modem.port, ["optotune_icc", "scf4"])
        assert other.driver == "" and "'NO CARRIER'" in other.finding


# commands


def test_scan_prints_what_it_finds_and_what_it_does() -> None:
    with Ld4Double() as double:
        code, out, error = edfv("scan", double.port, "/dev/ttyNONE")
        assert code == 0 and "optotune_ld4" in out and "there is no such port" in out
        assert "sets the current of an Optotune Lens Driver 4 to 0" in " ".join(error.split())
        code, out, _ = edfv("scan", double.port, "--json")
        assert json.loads(out)[0]["driver"] == "optotune_ld4"


def test_info_tells_range_and_abilities(tmp_path: Path) -> None:
    with Ld4Double() as double:
        rig = rig_file(tmp_path, "optotune_ld4", double.port)
        code, out, _ = edfv("info", "--rig", rig)
        assert code == 0 and "AQAA1234" in out and "0.3 to 4.2 dpt" in out and "25.0 °C" in out
        code, out, _ = edfv("info", "--rig", rig, "--json")
        assert json.loads(out)["capabilities"]["generator"] == ["sine", "triangle"]


def test_goto_clamps_only_when_asked_and_says_so(tmp_path: Path) -> None:
    with UsbmDouble() as double:
        rig = rig_file(tmp_path, "varioptic_usbm", double.port)
        assert edfv("goto", "2.25", "--rig", rig)[0] == 0
        assert double.control == pytest.approx(45.0)
        code, _, error = edfv("goto", "9", "--rig", rig)
        assert code == 2 and "9 dpt is outside the lens's range, 0.3 to 4.2 dpt" in error
        assert double.control == pytest.approx(45.0)
        code, out, error = edfv("goto", "9", "--clamp", "--rig", rig)
        assert code == 0 and "clamped to 4.2 dpt" in error and out.startswith("4.2 dpt, 0.238 m")
        assert double.control == pytest.approx(65.0)


def test_sweep_moves_prints_a_line_a_second_and_stops(tmp_path: Path) -> None:
    with VirtualDouble() as emulator:
        rig = rig_file(tmp_path, "virtual", "")
        code, out, error = edfv("sweep", "--rig", rig, "--port", emulator.port, "--hz", "8", "--seconds", "0.5")
        assert code == 0 and "sweeping" in out.splitlines()[0] and "samples, 0 lost" in out.splitlines()[-1]
        assert "triangle, 0.3 to 4.2 dpt, 8 Hz" in error
        assert [command for command in emulator.requests if command != "TIME"][-2:] == [
            "SWEEP 0.300000 4.200000 triangle 8.000000",
            "STOP",
        ]


def test_a_sweep_that_the_lens_cannot_follow_is_refused(tmp_path: Path) -> None:
    with IccDouble() as double:
        rig = rig_file(tmp_path, "optotune_icc", double.port)
        code, _, error = edfv("sweep", "--rig", rig, "--hz", "30")
        assert code == 2 and "7.81 Hz works" in error


def test_monitor_leaves_the_lens_as_it_is(tmp_path: Path) -> None:
    with VirtualDouble() as emulator:
        rig = rig_file(tmp_path, "virtual", emulator.port)
        code, out, _ = edfv("monitor", "--rig", rig, "--seconds", "0.3")
        assert code == 0 and "standing" in out and {*emulator.requests} == {"ID", "TIME"}


def test_a_lens_that_goes_away_is_one_line_and_2(tmp_path: Path) -> None:
    with IccDouble() as double:
        rig = rig_file(tmp_path, "optotune_icc", double.port)
        port = double.port
    code, _, error = edfv("info", "--rig", rig)
    assert code == 2 and port in error and error.strip().count("\n") == 0


def test_a_sweep_has_the_turns_that_its_track_supposes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edfv_ros.lens.drivers.edfv._REPLY_S", 10.0)  # a double on a busy machine may answer late
    with EdfvDouble() as double:
        rig = rig_file(tmp_path, "edfv", double.port)
        data = yaml.safe_load(rig.read_text())
        data["lens"] |= {
            "calibration": {"control": [1000, 61000], "vergence_up_dpt": [0.0, 6.0]},
            "response": {"resonance_hz": 80.0, "damping": 0.4},
        }
        data["sweep"] |= {"sync": "trigger"}
        rig.write_text(yaml.safe_dump(data))
        steps = []
        for how in ([], ["--sharp"]):
            code, _, error = edfv("sweep", "--rig", rig, "--seconds", "0.1", *how)
            assert code == 0 and ("turns rounded over 3" in error) == (not how)
            steps.append(abs(double.points[1] - double.points[0]))
        assert 0 < steps[0] < 0.2 * steps[1]  # it sets out slowly from a rounded turn
