"""The edfv command as a whole: help, version, rig, doctor, and how it ends."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import RIG_FILE
from typer.testing import CliRunner

from edfv_ros import __version__
from edfv_ros.cli import app

COMMANDS = ("run", "info", "record", "recover", "simulate", "doctor", "rig show", "rig check")


def edfv(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def process(*arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "edfv_ros.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_version() -> None:
    code, out, _ = edfv("--version")
    assert code == 0 and out.startswith(f"edfv {__version__} ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str) -> None:
    code, out, _ = edfv(*command.split(), "--help")
    assert code == 0
    assert re.search(rf"Examples?:\s+edfv {command}", out), out


def test_every_command_is_in_the_help() -> None:
    code, out, _ = edfv("--help")
    assert code == 0
    for command in COMMANDS:
        assert f" {command.split()[0]} " in out


def test_wrong_usage_ends_with_2() -> None:
    assert edfv("run")[0] == 2
    assert edfv("dance")[0] == 2
    assert edfv("info", "a", "b")[0] == 2


def test_rig_show(tmp_path: Path) -> None:
    picture = tmp_path / "rig.png"
    code, out, _ = edfv("rig", "show", RIG_FILE, "--out", picture)
    assert code == 0
    rows = [line.split() for line in out.splitlines() if re.match(r"\s+[\d.]+\s+[\d.]+\s+6.92\s", line)]
    assert len(rows) >= 8
    at_one_metre = next(row for row in rows if row[0] == "1.000")
    assert at_one_metre[1:4] == ["1.000", "6.92", "0.122"]
    image = cv2.imread(str(picture))
    assert image is not None and image.shape[0] > 300 and np.ptp(image) == 255


def test_rig_show_as_json() -> None:
    code, out, _ = edfv("rig", "show", RIG_FILE, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["blur_slope_px_per_dpt"] == pytest.approx(6.919, abs=1e-3)
    assert report["rows"][-1]["depth_m"] == pytest.approx(1 / 0.3)


def test_rig_check(tmp_path: Path) -> None:
    assert edfv("rig", "check", RIG_FILE)[:2] == (0, f"valid: davis0 in {RIG_FILE}\n")
    doubtful = tmp_path / "doubtful.yaml"
    doubtful.write_text(RIG_FILE.read_text().replace("aperture_mm: 8.0", "aperture_mm: 0.5"))
    code, out, _ = edfv("rig", "check", doubtful)
    assert code == 0 and "doubt" in out and "aperture" in out


@pytest.mark.parametrize("command", ["show", "check"])
def test_bad_rigs_are_one_line(tmp_path: Path, command: str) -> None:
    bad = {
        "empty.yaml": b"",
        "binary.yaml": bytes(range(256)),
        "broken.yaml": b"camera: [\n",
        "list.yaml": b"- 1\n",
        "negative.yaml": RIG_FILE.read_bytes().replace(b"aperture_mm: 8.0", b"aperture_mm: -8.0"),
    }
    paths = [tmp_path / "absent.yaml", tmp_path]
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        paths.append(tmp_path / name)
    for path in paths:
        code, out, error = edfv("rig", command, path)
        assert (code, out) == (2, ""), path
        assert error.startswith(f"edfv: {path}: ") and error.count("\n") == 1, error


def test_rig_picture_where_none_can_be_written(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "rig.png", tmp_path):
        code, _, error = edfv("rig", "show", RIG_FILE, "--out", path)
        assert code == 2 and error.startswith(f"edfv: {path}: ") and error.count("\n") == 1


def test_doctor() -> None:
    code, out, _ = edfv("doctor")
    assert "numpy" in out and "CPU cores" in out
    report = json.loads(edfv("doctor", "--json")[1])
    assert (code == 0) == report["healthy"]
    assert {check["status"] for check in report["checks"]} <= {"ok", "missing", "broken"}


def test_doctor_on_a_broken_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from edfv_ros.doctor import Check

    broken = Check("machine", "/dev/shm", "broken", "1 MiB free", "make room")
    monkeypatch.setattr("edfv_ros.commands.doctor.examine", lambda: [broken])
    code, out, _ = edfv("doctor")
    assert code == 1 and "BROKEN" in out and "-> make room" in out


def test_a_message_of_several_lines_is_printed_as_one(tmp_path: Path) -> None:
    code, _, error = edfv("rig", "check", tmp_path / "two\nlines.yaml")
    assert code == 2 and error.count("\n") == 1


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        ended = subprocess.run(
            [sys.executable, "-m", "edfv_ros.cli", "rig", "show", str(RIG_FILE)],
            stdout=out, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_process_reports_an_error_in_one_line_and_2(tmp_path: Path) -> None:
    ended = process("rig", "check", tmp_path / "absent.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("edfv: ") and ended.stderr.count("\n") == 1


def test_ctrl_c_inside_compiled_code_is_still_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code that is interrupted while it starts raises a SystemError from the KeyboardInterrupt."""

    def interrupted() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as cause:
            raise SystemError("returned a result with an exception set") from cause

    monkeypatch.setattr("edfv_ros.commands.doctor.examine", interrupted)
    assert edfv("doctor")[0] == 130


def test_a_system_error_of_its_own_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise SystemError("broken")

    monkeypatch.setattr("edfv_ros.commands.doctor.examine", broken)
    with pytest.raises(SystemError, match="broken"):
        edfv("doctor")


def test_help_loads_nothing_heavy() -> None:
    """edfv --help must come at once: the camera library, numba and matplotlib are for those who use them."""
    code = (
        "import sys; from edfv_ros.cli import app; "
        "print(sorted({'dv_processing', 'numba', 'matplotlib', 'cv2', 'onnxruntime'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"
