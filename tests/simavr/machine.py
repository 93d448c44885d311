"""The firmware's real binary in libsimavr, stepped in lockstep: exact to the processor's cycle."""

import ctypes
import subprocess
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLOCK_HZ = 16_000_000
CYCLES_PER_US = 16
BYTE_CYCLES = 1360  # on the line: 10 bits of 8 * (16 + 1) cycles
RECEIVE_VECTOR = 18


class Signal(IntEnum):
    SYNC = 0
    STEP = 1
    DIRECTION = 2
    DAC = 3
    SENT = 4


def build_harness(folder: Path) -> ctypes.CDLL:
    """Compile harness.c against libsimavr into ``folder`` and load it."""
    library = folder / "libharness.so"
    source = Path(__file__).with_name("harness.c")
    command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, source, "-lsimavr"]
    subprocess.run(command, check=True, timeout=60)
    harness = ctypes.CDLL(str(library))
    machine = ctypes.c_void_p
    for name, result, arguments in (
        ("open", machine, [ctypes.c_char_p]),
        ("close", None, [machine]),
        ("receive", None, [machine, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]),
        ("run", ctypes.c_bool, [machine, ctypes.c_uint64]),
        ("cycle", ctypes.c_uint64, [machine]),
        ("signal_count", ctypes.c_size_t, [machine, ctypes.c_int]),
        ("signal_copy", None, [machine, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]),
        ("longest_wait", ctypes.c_uint64, [machine, ctypes.c_uint8]),
        ("data", ctypes.c_uint8, [machine, ctypes.c_uint16]),
        ("stack_left", ctypes.c_uint16, [machine, ctypes.c_uint16]),
        ("put_motor", None, [machine, ctypes.c_int32, ctypes.c_int32]),
        ("motor", ctypes.c_int32, [machine]),
    ):
        function = getattr(harness, f"machine_{name}")
        function.restype, function.argtypes = result, arguments
    return harness


class Machine:
    """One microcontroller that runs ``elf``, from its reset on."""

    def __init__(self, harness: ctypes.CDLL, elf: Path) -> None:
        self._harness = harness
        self._machine = harness.machine_open(str(elf).encode())
        assert self._machine, f"{elf} cannot be loaded"
        self._line_free_cycle = 0
        self._taken = 0

    def close(self) -> None:
        self._harness.machine_close(self._machine)

    @property
    def cycle(self) -> int:
        return self._harness.machine_cycle(self._machine)

    def run_cycles(self, cycles: int) -> None:
        assert self._harness.machine_run(self._machine, self.cycle + cycles), "the processor stopped"

    def run_ms(self, milliseconds: float) -> None:
        self.run_cycles(round(milliseconds * 1000 * CYCLES_PER_US))

    def send(self, data: bytes, load: float = 0.9) -> int:
        """Put bytes on the line to the device, one after the other at this load; the cycle of the last one."""
        spacing = round(BYTE_CYCLES / load)
        first = max(self.cycle + spacing, self._line_free_cycle)
        cycles = first + spacing * np.arange(len(data), dtype=np.uint64)
        self._harness.machine_receive(self._machine, data, cycles.ctypes.data, len(data))
        self._line_free_cycle = int(cycles[-1]) + spacing
        return int(cycles[-1])

    def signal(self, signal: Signal, first: int = 0) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """When a signal changed, and to what: cycles, and levels, converter frames or bytes."""
        count = max(self._harness.machine_signal_count(self._machine, signal) - first, 0)
        cycles, values = np.empty(count, np.uint64), np.empty(count, np.uint32)
        self._harness.machine_signal_copy(self._machine, signal, first, cycles.ctypes.data, values.ctypes.data)
        return cycles, values

    def take_sent(self) -> bytes:
        """Bytes the device has sent since the last call."""
        _, values = self.signal(Signal.SENT, self._taken)
        self._taken += len(values)
        return values.astype(np.uint8).tobytes()

    def longest_wait(self, vector: int) -> int:
        """Most cycles that an interrupt ever had to wait for its turn."""
        return self._harness.machine_longest_wait(self._machine, vector)

    def data(self, address: int) -> int:
        return self._harness.machine_data(self._machine, address)

    def stack_left(self, first_free: int) -> int:
        return self._harness.machine_stack_left(self._machine, first_free)

    def put_motor(self, motor: int, home_below: int) -> None:
        """Where the mechanics are, in steps, and the position below which the home switch closes."""
        self._harness.machine_put_motor(self._machine, motor, home_below)

    @property
    def motor(self) -> int:
        return self._harness.machine_motor(self._machine)
