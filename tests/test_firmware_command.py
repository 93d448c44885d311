"""`edfv firmware`, with an avrdude that is not there to harm anything."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edfv_ros.cli import app
from edfv_ros.commands import firmware

IN_SYNC = "avrdude: stk500_getsync() attempt 10 of 10: not in sync: resp=0x00\nexit 1"


def edfv(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["firmware", *map(str, arguments)])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole search path."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def port(tmp_path: Path) -> Path:
    path = tmp_path / "port"
    path.touch()
    return path


@pytest.fixture
def hex_file(tmp_path: Path) -> Path:
    path = tmp_path / "lens.hex"
    path.write_text(":00000001FF\n")
    return path


def install_avrdude(tools: Path, body: str) -> None:
    program = tools / "avrdude"
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    program.chmod(0o755)


def one_line(error: str) -> str:
    (line,) = error.strip().splitlines()
    return line


def test_flashing_calls_avrdude_for_the_board(tools: Path, port: Path, hex_file: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    install_avrdude(tools, f"open({str(seen)!r}, 'w').write(' '.join(sys.argv[1:]))")
    code, out, _ = edfv("flash", "--port", port, "--board", "nano-old", "--hex", hex_file)
    assert code == 0 and "flashed and verified" in out
    words = seen.read_text()
    assert "-p m328p -c arduino -b 57600" in words
    assert f"-P {port}" in words and f"-U flash:w:{hex_file}:i" in words


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (IN_SYNC, "try --board nano-old"),
        ("avrdude: ser_open(): can't open device: Device or resource busy", "another program uses the port"),
        ("avrdude: verification error, first mismatch at byte 0x0000", "read back"),
        ("avrdude: something else", "avrdude failed: something else"),
    ],
)
def test_what_avrdude_says_becomes_one_line(
    tools: Path, port: Path, hex_file: Path, output: str, expected: str
) -> None:
    install_avrdude(tools, f"sys.stderr.write({output!r})\nsys.exit(1)")
    code, _, error = edfv("flash", "--port", port, "--hex", hex_file)
    assert code == 2
    assert expected in error and str(port) in error


def test_without_avrdude_it_says_what_to_install(tools: Path, port: Path) -> None:
    code, _, error = edfv("flash", "--port", port)
    assert code == 2 and "apt-get install avrdude" in one_line(error)


def test_without_a_compiler_it_says_what_to_install(tools: Path) -> None:
    (tools / "make").symlink_to("/bin/true")
    code, _, error = edfv("build")
    assert code == 2 and "apt-get install gcc-avr" in one_line(error)


def test_a_port_that_is_not_there(tools: Path) -> None:
    install_avrdude(tools, "")
    code, _, error = edfv("flash", "--port", "/dev/no_such_port")
    assert code == 2 and "there is no such port" in one_line(error)


def test_a_port_that_may_not_be_opened(
    tools: Path, port: Path, hex_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_avrdude(tools, "")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(port))
    code, _, error = edfv("flash", "--port", port, "--hex", hex_file)
    assert code == 2 and "usermod -aG" in error


@pytest.mark.parametrize(
    ("found", "expected"),
    [([], "no USB serial port"), (["/dev/ttyUSB1", "/dev/ttyUSB0"], "/dev/ttyUSB0, /dev/ttyUSB1")],
)
def test_no_port_or_several(tools: Path, monkeypatch: pytest.MonkeyPatch, found: list[str], expected: str) -> None:
    from serial.tools import list_ports
    from serial.tools.list_ports_common import ListPortInfo

    def port_info(device: str) -> ListPortInfo:
        info = ListPortInfo(device)
        info.vid = 0x2341
        return info

    install_avrdude(tools, "")
    monkeypatch.setattr(list_ports, "comports", lambda: [port_info(device) for device in found])
    code, _, error = edfv("flash")
    assert code == 2 and expected in error


def test_without_the_sources_it_asks_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware, "SOURCES", tmp_path)
    code, _, error = edfv("build")
    assert code == 2 and "--hex FILE" in error


@pytest.mark.skipif(shutil.which("avr-gcc") is None, reason="avr-gcc is missing: apt-get install gcc-avr avr-libc")
def test_it_builds_what_fits_the_chip() -> None:
    code, out, error = edfv("build")
    assert code == 0 and "Program:" in error
    image = Path(out.strip().replace("\n", "")).read_text().splitlines()
    assert image[0].startswith(":10000000") and image[-1] == ":00000001FF"
