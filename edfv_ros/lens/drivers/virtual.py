"""Driver of the virtual lens: ASCII lines over a serial port, usually a pseudo-terminal.

The host sends ``ID``, ``SWEEP <min> <max> <waveform> <hz>``, ``GOTO <dpt>``, ``STOP`` or ``TIME``; the lens answers
``OK ...`` or ``ERR <text>``, and ``T <device_us>`` to ``TIME``. While it moves it sends ``S <seq> <device_us>
<vergence_dpt>`` unasked. All of it is in vergence: the rig's calibration only gives the range.
"""

import re
import threading
import time
from collections import deque
from types import TracebackType

from edfv_ros.errors import LensError
from edfv_ros.lens.clock import RoundTrip
from edfv_ros.lens.driver import LensCapabilities, LensLimits, LensSample, LensState
from edfv_ros.lens.faults import LensRefused
from edfv_ros.lens.plan import SweepPlan, check_plan
from edfv_ros.lens.protocols.lines import take_line
from edfv_ros.lens.response import RESPONSES
from edfv_ros.lens.serial_port import REPLY_TIMEOUT_S, SerialPort
from edfv_ros.rig import Rig

BAUD = 115200
DEVICE = "virtual lens"
_RESPONSE = RESPONSES["virtual"]
_KEPT_SAMPLES = 4096
_REST_OF_TELEMETRY = re.compile(r"[ \d.-]+")  # of a line whose beginning was dropped before a question


def identify_at(port: SerialPort) -> str:
    """Ask for its name at an open port.

    Raises:
        LensError: something else answers, or nobody.
    """

    def take(received: bytearray) -> str | None:
        while (line := take_line(received)) is not None:
            if not line.startswith("S "):
                return line
        return None

    line = port.query(b"ID\n", take, "ID")
    if not line.startswith("OK "):
        raise port.wrong_answer("ID", line)
    return line.removeprefix("OK").strip()


class VirtualLens:
    """The virtual lens at ``rig.lens.port``. See :class:`edfv_ros.lens.driver.LensDriver`.

    Attributes:
        garbled_lines: lines of telemetry that made no sense.
    """

    def __init__(self, rig: Rig, *, reply_timeout_s: float = REPLY_TIMEOUT_S) -> None:
        low_dpt, high_dpt = rig.lens.calibration.range_dpt
        self._limits = LensLimits(low_dpt, high_dpt, _RESPONSE.practical_hz or 0.0)
        self._port = SerialPort(rig.lens.port, BAUD, DEVICE, timeout_s=reply_timeout_s)
        self._lock = threading.RLock()
        self._samples: deque[LensSample] = deque(maxlen=_KEPT_SAMPLES)
        self._last: LensSample | None = None
        self._sweeping = False
        self.garbled_lines = 0

    def open(self) -> None:
        with self._lock:
            self._port.open()
            try:
                self.identify()
            except LensError:
                self._port.close()
                raise

    def identify(self) -> str:
        return self._command("ID")

    def limits(self) -> LensLimits:
        return self._limits

    def capabilities(self) -> LensCapabilities:
        return LensCapabilities("controller", "reported", ("triangle", "sine", "sawtooth"), trigger_output=True)

    def state(self) -> LensState:
        with self._lock:
            self._receive()
            return LensState(self._sweeping, self._last)

    def goto(self, vergence_dpt: float) -> None:
        self._limits.check_vergence(vergence_dpt)
        self._command(f"GOTO {vergence_dpt:.6f}")
        self._sweeping = False

    def check(self, plan: SweepPlan) -> None:
        self._limits.check_vergence(plan.min_dpt)
        self._limits.check_vergence(plan.max_dpt)
        check_plan(plan, _RESPONSE)

    def run(self, plan: SweepPlan) -> None:
        self.check(plan)
        self.stop()
        self.telemetry()  # of what it did before, which is no sweep of ours
        self._last = None
        self._command(f"SWEEP {plan.min_dpt:.6f} {plan.max_dpt:.6f} {plan.waveform} {plan.frequency_hz:.6f}")
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
            self._receive()
            send_us = time.time_ns() // 1000
            answer = self._ask("TIME", "T ")
            receive_us = time.time_ns() // 1000
        try:
            return RoundTrip(send_us, int(answer), receive_us)
        except ValueError:
            raise LensError(f"lens port {self._port.path}: answered T {answer!r} to TIME, not a number") from None

    def close(self) -> None:
        with self._lock:
            self._port.close()

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
        name = command.split()[0]
        with self._lock:
            self._receive()  # what came unasked is no answer
            line = self._port.query(command.encode() + b"\n", self._take_answer, name, drain=False)
        if line.startswith(expected):
            return line.removeprefix(expected)
        if line.startswith("ERR"):
            reason = line.removeprefix("ERR").strip() or "it gave no reason"
            raise LensRefused(f"lens port {self._port.path}: the lens refused {command!r}: {reason}")
        raise self._port.wrong_answer(name, line)

    def _take_answer(self, received: bytearray) -> str | None:
        """Take the next line that is no telemetry, which is put away."""
        while (line := take_line(received)) is not None:
            if not self._keep(line):
                return line
        return None

    def _receive(self) -> None:
        """Put telemetry away that has come; other lines are answers that nobody waits for any more."""
        self._port.receive()
        while self._take_answer(self._port.received) is not None:
            continue

    def _keep(self, line: str) -> bool:
        if not line.startswith("S "):
            return _REST_OF_TELEMETRY.fullmatch(line) is not None
        try:
            _, sequence, device_us, vergence_dpt = line.split()
            self._last = LensSample(int(sequence), int(device_us), float(vergence_dpt))
            self._samples.append(self._last)
        except ValueError:
            self.garbled_lines += 1
        return True
