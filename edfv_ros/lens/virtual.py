"""Driver of the virtual lens: ASCII lines over a serial port, usually a pseudo-terminal.

The host sends ``ID``, ``SWEEP <min> <max> <waveform> <hz>``, ``GOTO <dpt>``, ``STOP`` or ``TIME``; the lens answers
``OK ...`` or ``ERR <text>``, and ``T <device_us>`` to ``TIME``. While it moves it sends ``S <seq> <device_us>
<vergence_dpt>`` unasked.
"""

import errno
import os
import select
import threading
import time
from collections import deque
from types import TracebackType

import serial

from edfv_ros.errors import LensError
from edfv_ros.lens.clock import RoundTrip
from edfv_ros.lens.driver import LensLimits, LensSample, LensState
from edfv_ros.rig import Rig

BAUD = 115200
REPLY_TIMEOUT_S = 1.0
MAX_FREQUENCY_HZ = 100.0
_KEPT_SAMPLES = 4096
_LONGEST_LINE = 256
_READ_SIZE = 65536


class VirtualLens:
    """The virtual lens at ``rig.lens.port``. See :class:`edfv_ros.lens.driver.LensDriver`.

    Attributes:
        garbled_lines: lines of telemetry that made no sense.
    """

    def __init__(self, rig: Rig, *, reply_timeout_s: float = REPLY_TIMEOUT_S) -> None:
        low_dpt, high_dpt = rig.lens.calibration.range_dpt
        self._limits = LensLimits(low_dpt, high_dpt, MAX_FREQUENCY_HZ)
        self._port = rig.lens.port
        self._reply_timeout_s = reply_timeout_s
        self._serial: serial.Serial | None = None
        self._lock = threading.RLock()
        self._received = bytearray()
        self._samples: deque[LensSample] = deque(maxlen=_KEPT_SAMPLES)
        self._last: LensSample | None = None
        self._sweeping = False
        self.garbled_lines = 0

    def open(self) -> None:
        if not self._port:
            raise LensError("lens.port is empty in the rig file: name the port that the virtual lens printed")
        try:
            self._serial = serial.Serial(
                self._port, BAUD, timeout=0, write_timeout=self._reply_timeout_s, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise LensError(f"lens port {self._port}: {_why_not_opened(error)}") from None
        self._received.clear()
        try:
            self.identify()
        except LensError:
            self.close()
            raise

    def identify(self) -> str:
        return self._command("ID")

    def limits(self) -> LensLimits:
        return self._limits

    def state(self) -> LensState:
        with self._lock:
            self._receive()
            return LensState(self._sweeping, self._last)

    def goto(self, vergence_dpt: float) -> None:
        self._limits.check_vergence(vergence_dpt)
        self._command(f"GOTO {vergence_dpt:.6f}")
        self._sweeping = False

    def run_sweep(self, min_dpt: float, max_dpt: float, waveform: str, frequency_hz: float) -> None:
        self._limits.check_vergence(min_dpt)
        self._limits.check_vergence(max_dpt)
        self._limits.check_frequency(frequency_hz)
        if min_dpt >= max_dpt:
            raise LensError(f"a sweep goes from the far turn to the near one, not from {min_dpt:g} to {max_dpt:g} dpt")
        self.stop()
        self.telemetry()  # of what it did before, which is no sweep of ours
        self._command(f"SWEEP {min_dpt:.6f} {max_dpt:.6f} {waveform} {frequency_hz:.6f}")
        self._sweeping = True

    def stop(self) -> None:
        self._command("STOP")
        self._sweeping = False

    def telemetry(self) -> list[LensSample]:
        with self._lock:
            self._receive()
            samples = list(self._samples)
            self._samples.clear()
            return samples

    def query_clock(self) -> RoundTrip:
        with self._lock:
            send_us = time.time_ns() // 1000
            answer = self._ask("TIME", "T ")
            receive_us = time.time_ns() // 1000
        try:
            return RoundTrip(send_us, int(answer), receive_us)
        except ValueError:
            raise LensError(f"lens port {self._port}: answered T {answer!r} to TIME, not a number") from None

    def close(self) -> None:
        with self._lock:
            if self._serial is not None:
                self._serial.close()
                self._serial = None

    def __enter__(self) -> "VirtualLens":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _command(self, command: str) -> str:
        return self._ask(command, "OK").strip()

    def _ask(self, command: str, expected: str) -> str:
        """Send a command and return the rest of the answer that begins with ``expected``."""
        with self._lock:
            self._receive()  # what came unasked is no answer
            self._send(command)
            deadline_s = time.monotonic() + self._reply_timeout_s
            while (left_s := deadline_s - time.monotonic()) > 0:
                for line in self._receive(wait_s=left_s):
                    if line.startswith(expected):
                        return line.removeprefix(expected)
                    raise self._unexpected(command, line)
        raise LensError(
            f"lens port {self._port}: no answer to {command.split()[0]} within {self._reply_timeout_s:g} s: is the "
            "lens running, and is this its port?"
        )

    def _unexpected(self, command: str, line: str) -> LensError:
        if line.startswith("ERR"):
            reason = line.removeprefix("ERR").strip() or "it gave no reason"
            return LensError(f"lens port {self._port}: the lens refused {command!r}: {reason}")
        return LensError(
            f"lens port {self._port}: answered {line[:60]!r} to {command.split()[0]}: this is no virtual lens"
        )

    def _send(self, command: str) -> None:
        port = self._opened()
        try:
            port.write(command.encode() + b"\n")
        except serial.SerialTimeoutException:
            raise LensError(f"lens port {self._port}: the lens takes no commands (write timed out)") from None
        except OSError:
            raise self._unplugged() from None

    def _receive(self, wait_s: float = 0.0) -> list[str]:
        """Take what has come, waiting for some if told to; telemetry is put away, other lines are returned."""
        port = self._opened()
        try:
            if select.select([port], [], [], wait_s)[0]:
                self._received += port.read(_READ_SIZE)
        except OSError:
            raise self._unplugged() from None
        *lines, rest = self._received.split(b"\n")
        self._received = bytearray(rest[-_LONGEST_LINE:])
        return [line for raw in lines if (line := raw.decode("ascii", "replace").strip()) and not self._keep(line)]

    def _keep(self, line: str) -> bool:
        if not line.startswith("S "):
            return False
        try:
            _, sequence, device_us, vergence_dpt = line.split()
            self._last = LensSample(int(sequence), int(device_us), float(vergence_dpt))
            self._samples.append(self._last)
        except ValueError:
            self.garbled_lines += 1
        return True

    def _opened(self) -> serial.Serial:
        if self._serial is None:
            raise LensError(f"lens port {self._port}: the lens is not open")
        return self._serial

    def _unplugged(self) -> LensError:
        return LensError(f"lens port {self._port}: the lens went away: was it unplugged or its program ended?")


def _why_not_opened(error: OSError | ValueError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return "there is no such port: is the lens plugged in or its program running?"
    if number == errno.EACCES:
        return "no permission: add yourself to the group that owns it (often dialout) and log in again"
    if number in (errno.EBUSY, errno.EAGAIN):
        return "another program uses it"
    return os.strerror(number) if number else str(error).splitlines()[0]
