"""A virtual lens on a pseudo-terminal, as small as a test needs it, with faults on demand."""

import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable
from types import TracebackType

TELEMETRY_EVERY_US = 5_000


class LensEmulator:
    """Answers the virtual lens's protocol at ``port`` until it is unplugged.

    Args:
        clock_us: the device's clock.
        replies: answers to use in place of the right ones, by command word; None answers nothing.
        lose: whether to leave the telemetry line with this sequence number out.
    """

    def __init__(
        self,
        *,
        clock_us: Callable[[], int] | None = None,
        replies: dict[str, str | None] | None = None,
        lose: Callable[[int], bool] = lambda sequence: False,
    ) -> None:
        self._clock_us = clock_us or (lambda: time.monotonic_ns() // 1000)
        self._replies = replies or {}
        self._lose = lose
        self.commands: list[str] = []
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._sweep: tuple[float, float, float] | None = None
        self._began_us = self._sent_us = self._sequence = 0
        self._unplugged = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "LensEmulator":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def unplug(self) -> None:
        if not self._unplugged.is_set():
            self._unplugged.set()
            self._thread.join(timeout=5)
            os.close(self._slave)
            os.close(self._master)

    def send(self, line: str) -> None:
        os.write(self._master, line.encode() + b"\n")

    def vergence_at(self, elapsed_us: float) -> float:
        """Vergence of the triangle that was asked for, this long after the answer."""
        assert self._sweep is not None
        low, high, hz = self._sweep
        return low + (high - low) * (1 - abs(2 * (elapsed_us * 1e-6 * hz % 1) - 1))

    def turn_us(self, index: int) -> float:
        """Device time of a turning point."""
        assert self._sweep is not None
        return self._began_us + index * 5e5 / self._sweep[2]

    def _serve(self) -> None:
        received = b""
        while not self._unplugged.is_set():
            if select.select([self._master], [], [], 0.002)[0]:
                received += os.read(self._master, 4096)
                *lines, received = received.split(b"\n")
                for line in lines:
                    self._answer(line.decode())
            self._send_telemetry()

    def _answer(self, line: str) -> None:
        self.commands.append(line)
        command, *arguments = line.split()
        reply: str | None = f"T {self._clock_us()}" if command == "TIME" else "OK virtual lens 1"
        if command == "SWEEP":
            low, high, hz = (float(arguments[i]) for i in (0, 1, 3))
            self._sweep, self._began_us = (low, high, hz), self._clock_us()
            self._sent_us = self._began_us - TELEMETRY_EVERY_US
        if command in ("STOP", "GOTO"):
            self._sweep = None
        reply = self._replies.get(command, reply)
        if reply is not None:
            self.send(reply)

    def _send_telemetry(self) -> None:
        while self._sweep is not None and self._sent_us + TELEMETRY_EVERY_US <= self._clock_us():
            self._sent_us += TELEMETRY_EVERY_US
            if not self._lose(self._sequence):
                vergence_dpt = self.vergence_at(self._sent_us - self._began_us)
                self.send(f"S {self._sequence} {self._sent_us} {vergence_dpt:.6f}")
            self._sequence += 1
