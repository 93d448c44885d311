"""A lens's serial port: exclusive, drained of stray bytes, and clear about what is wrong."""

import errno
import os
import select
import time
from collections.abc import Callable
from typing import TypeVar

import serial

from edfv_ros.lens.faults import LensGone, LensSilent, WrongAnswer

Answer = TypeVar("Answer")

REPLY_TIMEOUT_S = 1.0
_READ_SIZE = 65536
_LONGEST_UNREAD = 4096  # bytes kept that nobody could make sense of
_SHOWN_BYTES = 40
_QUIET_S = 0.05  # after a late answer
_LONGEST_DRAIN_S = 0.5


class SerialPort:
    """One serial port, 8N1. Not safe for several threads: its driver locks.

    Args:
        path: device of the port.
        baud: its speed.
        device: what ought to be there, for messages, e.g. ``Optotune Lens Driver 4``.
        timeout_s: how long to wait for an answer.

    Attributes:
        received: bytes that came and were not taken yet; a parser takes from its front.
    """

    def __init__(self, path: str, baud: int, device: str, *, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        self.path = path
        self.received = bytearray()
        self._baud = baud
        self._device = device
        self._timeout_s = timeout_s
        self._serial: serial.Serial | None = None
        self._answer_due = False

    def open(self) -> None:
        """Open the port, anew where it is open.

        Raises:
            LensGone: there is no such port, or it may not or cannot be opened.
        """
        self.close()
        if not self.path:
            raise LensGone("lens.port is empty in the rig file: name the lens's port (edfv lens scan finds it)")
        try:
            self._serial = serial.Serial(
                self.path, self._baud, timeout=0, write_timeout=self._timeout_s, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise LensGone(f"lens port {self.path}: {_why_not_opened(error)}") from None
        self.received.clear()
        self._answer_due = False

    def close(self) -> None:
        if self._serial is not None:
            self._serial.close()
            self._serial = None

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            LensGone: the port is not open, or went away.
            LensSilent: nobody takes them.
        """
        port = self._opened()
        try:
            port.write(data)
        except serial.SerialTimeoutException:
            raise LensSilent(f"lens port {self.path}: the lens takes no commands (write timed out)") from None
        except OSError:
            raise self._unplugged() from None

    def receive(self, wait_s: float = 0.0) -> bool:
        """Put what has come behind ``received``, waiting for some if told to; whether anything came.

        Raises:
            LensGone: the port is not open, or went away.
        """
        port = self._opened()
        try:
            if not select.select([port], [], [], wait_s)[0]:
                return False
            self.received += port.read(_READ_SIZE)
        except OSError:
            raise self._unplugged() from None
        del self.received[:-_LONGEST_UNREAD]
        return True

    def drain(self, quiet_s: float = 0.0) -> None:
        """Drop what has come and what still comes until the line has been quiet for a time."""
        deadline_s = time.monotonic() + _LONGEST_DRAIN_S
        while self.receive(quiet_s) and time.monotonic() < deadline_s:
            continue
        self.received.clear()

    def query(
        self,
        request: bytes,
        take: Callable[[bytearray], Answer | None],
        name: str,
        *,
        timeout_s: float | None = None,
        drain: bool = True,
    ) -> Answer:
        """Ask and wait for the answer.

        Args:
            request: what to send.
            take: takes the answer from the front of ``received``, or returns None while it is incomplete.
            name: the question in words, for messages.
            timeout_s: how long to wait; the port's own time where it is None.
            drain: drop first what came unasked.

        Raises:
            LensGone: the port went away.
            LensSilent: nothing came in time.
            WrongAnswer: something came, and ``take`` could make no answer of it.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        if self._answer_due:
            self.receive(timeout_s)  # an answer that comes late is not that to this question
            self.drain(_QUIET_S)
        elif drain:
            self.drain()
        self.write(request)
        self._answer_due = True
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            self.receive(left_s)
            if (answer := take(self.received)) is not None:
                self._answer_due = False
                return answer
        if self.received:
            raise self.wrong_answer(name, bytes(self.received))
        raise LensSilent(
            f"lens port {self.path}: no answer to {name} within {timeout_s:g} s: is the lens running, and is this its "
            "port?"
        )

    def wrong_answer(self, name: str, answer: bytes | str) -> WrongAnswer:
        """The error for an answer that makes no sense."""
        shown = answer[:_SHOWN_BYTES]
        return WrongAnswer(
            f"lens port {self.path}: answered {shown!r} to {name}: this is no {self._device}, or its answer was damaged"
        )

    def _opened(self) -> serial.Serial:
        if self._serial is None:
            raise LensGone(f"lens port {self.path}: the lens is not open")
        return self._serial

    def _unplugged(self) -> LensGone:
        return LensGone(f"lens port {self.path}: the lens went away: was it unplugged or its program ended?")


def _why_not_opened(error: OSError | ValueError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return "there is no such port: is the lens plugged in or its program running?"
    if number == errno.EACCES:
        return "no permission: add yourself to the group that owns it (often dialout) and log in again"
    if number in (errno.EBUSY, errno.EAGAIN):
        return "another program uses it"
    return os.strerror(number) if number else str(error).splitlines()[0]
