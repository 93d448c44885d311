"""Builds the firmware and its simulator for tests, once a session; skips where the tools are missing."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from simavr.machine import Machine, build_harness

FIRMWARE = Path(__file__).resolve().parents[1] / "firmware"
PACKAGES = "gcc libc6-dev make gcc-avr avr-libc libsimavr-dev libelf-dev"


def _need(found: object, what: str) -> None:
    if not found:
        pytest.skip(f"{what} is missing: apt-get install {PACKAGES}")


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="edfv_firmware_"))


def make(target: str) -> Path:
    """Build a target of firmware/Makefile in a folder of this session and return the folder."""
    for tool in ("make", "gcc" if target == "host" else "avr-gcc"):
        _need(shutil.which(tool), tool)
    done = subprocess.run(
        ["make", "-C", FIRMWARE, target, f"BUILD={_folder()}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return _folder()


@functools.cache
def elf() -> Path:
    return make("all") / "edfv_lens.elf"


@functools.cache
def _harness() -> ctypes.CDLL:
    _need(shutil.which("gcc"), "gcc")
    program = "#include <simavr/sim_avr.h>\nint main(void) { return !avr_make_mcu_by_name; }"
    command = ["gcc", "-x", "c", "-", "-o", str(_folder() / "try"), "-lsimavr"]
    _need(subprocess.run(command, input=program, text=True, capture_output=True).returncode == 0, "libsimavr")
    return build_harness(_folder())


def new_machine() -> Machine:
    """A microcontroller with the firmware, just reset."""
    return Machine(_harness(), elf())


def first_free_address() -> int:
    """Address in RAM after the firmware's variables."""
    symbols = subprocess.run(["avr-nm", elf()], capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[0], 16) & 0xFFFF for line in symbols.splitlines() if line.endswith(" _end"))
