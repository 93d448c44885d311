"""`edfv firmware`: build the lens controller's firmware and put it onto a board."""

import os
import shutil
import subprocess
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edfv_ros.commands.terminal import notices, results
from edfv_ros.errors import EdfvError

firmware_app = typer.Typer(
    help="Build the lens controller's firmware and put it onto a board.", no_args_is_help=True, rich_markup_mode="rich"
)
SOURCES = Path(__file__).resolve().parents[2] / "firmware"
_LONGEST_S = 120.0


class Board(str, Enum):
    """Boards with an ATmega328P at 16 MHz, by their boot loader."""

    UNO = "uno"
    NANO = "nano"
    NANO_OLD = "nano-old"


_BOOT_LOADER_BAUD = {Board.UNO: 115200, Board.NANO: 115200, Board.NANO_OLD: 57600}


class FirmwareError(EdfvError):
    """The firmware cannot be built, or not be put onto the board."""


@firmware_app.command()
def build() -> None:
    """Build the firmware with gcc-avr and say how much of the chip it takes.

    \b
    Example:
      edfv firmware build
    """
    results().print(str(build_hex()))


@firmware_app.command()
def flash(
    port: Annotated[
        str, typer.Option("--port", metavar="PORT", help="The board's serial port; by default the only USB one.")
    ] = "",
    board: Annotated[
        Board, typer.Option("--board", help="Which board; nano-old has the boot loader from before 2018.")
    ] = Board.UNO,
    hex_file: Annotated[
        Path | None, typer.Option("--hex", metavar="FILE", help="Firmware to use, in place of building it.")
    ] = None,
) -> None:
    """Put the firmware onto an Arduino Uno or Nano with avrdude, and read it back.

    The lens must be able to bear that the board's outputs float for some
    seconds. What to wire to which pin: firmware/README.md.

    \b
    Examples:
      edfv firmware flash
      edfv firmware flash --port /dev/ttyUSB0 --board nano
    """
    avrdude = _find("avrdude", "avrdude")
    path = check_port(port) if port else only_usb_port()
    if hex_file is not None and not hex_file.is_file():
        raise FirmwareError(f"--hex {hex_file}: there is no such file")
    firmware = hex_file or build_hex()
    notices().print(f"flashing {firmware} onto the {board.value} at {path}")
    command = [avrdude, "-q", "-p", "m328p", "-c", "arduino", "-b", str(_BOOT_LOADER_BAUD[board]), "-P", path]
    try:
        done = subprocess.run(
            [*command, "-D", "-U", f"flash:w:{firmware}:i"], capture_output=True, text=True, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired:
        raise FirmwareError(
            f"{path}: avrdude did not end within {_LONGEST_S:g} s: unplug the board, try again"
        ) from None
    if done.returncode != 0:
        raise FirmwareError(f"{path}: {_why_not_flashed(done.stdout + done.stderr, board)}")
    results().print(f"flashed and verified; look for the lens with: edfv lens scan {path}")


def build_hex() -> Path:
    """Build the firmware; the file to flash.

    Raises:
        FirmwareError: the sources or a tool are missing, or the build failed.
    """
    if not (SOURCES / "Makefile").is_file():
        raise FirmwareError(
            f"the firmware's sources are not at {SOURCES}: run this from a checkout, or give --hex FILE"
        )
    make = _find("make", "make")
    _find("avr-gcc", "gcc-avr avr-libc")
    done = subprocess.run([make, "-C", SOURCES], capture_output=True, text=True, timeout=_LONGEST_S)
    if done.returncode != 0:
        output = (done.stderr or done.stdout).strip().splitlines() or ["make failed"]
        raise FirmwareError(f"the firmware does not build: {output[0]}")
    sizes = [line for line in done.stdout.splitlines() if line.startswith(("Program:", "Data:"))]
    for line in sizes:
        notices().print(line)
    return SOURCES / "build" / "edfv_lens.hex"


def only_usb_port() -> str:
    """The only USB serial port there is, checked.

    Raises:
        FirmwareError: there is none, or more than one.
    """
    from serial.tools.list_ports import comports

    ports = sorted(port.device for port in comports() if port.vid is not None)
    if not ports:
        raise FirmwareError(
            "no USB serial port is there: plug the board in (with a cable that carries data), or give --port"
        )
    if len(ports) > 1:
        raise FirmwareError(f"there are several USB serial ports: say which one with --port: {', '.join(ports)}")
    return check_port(ports[0])


def check_port(port: str) -> str:
    """The port, where it exists and may be opened.

    Raises:
        FirmwareError: it does not, or may not.
    """
    if not Path(port).exists():
        raise FirmwareError(f"--port {port}: there is no such port: is the board plugged in?")
    if not os.access(port, os.R_OK | os.W_OK):
        raise FirmwareError(
            f"--port {port}: no permission: sudo usermod -aG {Path(port).group()} $USER, and log in again"
        )
    return port


def _find(tool: str, packages: str) -> str:
    found = shutil.which(tool)
    if found is None:
        raise FirmwareError(f"{tool} is not installed: sudo apt-get install {packages}")
    return found


def _why_not_flashed(output: str, board: Board) -> str:
    if "not in sync" in output or "not responding" in output:
        other = Board.NANO if board is Board.NANO_OLD else Board.NANO_OLD
        return f"no {board.value} answers there: is the port free, and is it that board? Else try --board {other.value}"
    if "busy" in output:
        return "another program uses the port: close it"
    if "verification" in output and "error" in output:
        return "what was read back is not what was written: try again, then another cable or board"
    lines = [line.removeprefix("avrdude: ") for line in output.splitlines() if line.strip()]
    return f"avrdude failed: {lines[-1] if lines else 'it gave no reason'}"
