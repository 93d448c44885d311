"""Lens controllers on pseudo-terminals, each as small as the tests of its driver need it, with faults on demand."""

import os
import pty
import select
import struct
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ClassVar

import pytest

from edfv_ros.lens.detection import Finding, look_at


class PtyDevice:
    """Answers requests at ``port`` until it is unplugged.

    A subclass takes one request after another from the front of ``received`` in :meth:`take`, and answers them in
    :meth:`answer`.

    Attributes:
        fault: what is done to an answer before it is sent; returns b"" to say nothing.
        requests: what was asked.
    """

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.received = bytearray()
        self.requests: list[object] = []
        self.fault: Callable[[bytes], bytes] = sound
        self._unplugged = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def take(self) -> object | None:
        raise NotImplementedError

    def answer(self, request: object) -> bytes:
        raise NotImplementedError

    def tick(self) -> None:
        """Called about every millisecond."""

    def send(self, data: bytes) -> None:
        os.write(self._master, data)

    def unplug(self) -> None:
        if not self._unplugged.is_set():
            self._unplugged.set()
            self._thread.join(timeout=5)
            os.close(self._slave)
            os.close(self._master)

    def __enter__(self) -> "PtyDevice":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def _serve(self) -> None:
        while not self._unplugged.is_set():
            if select.select([self._master], [], [], 0.001)[0]:
                self.received += os.read(self._master, 4096)
            while (request := self.take()) is not None:
                self.requests.append(request)
                if answer := self.fault(self.answer(request)):
                    self.send(answer)
            self.tick()


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "silence": lambda answer: b"",
    "half": lambda answer: answer[: len(answer) // 2],
    "damaged": lambda answer: bytes(byte ^ 0x15 for byte in answer[:-2]) + answer[-2:],
}
"""Faults that any answer may have."""


class Held:
    """A fault: answers are kept back."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def __call__(self, answer: bytes) -> bytes:
        self.answers.append(answer)
        return b""


def sound(answer: bytes) -> bytes:
    """No fault."""
    return answer


WAIT_S = 60.0  # for what a busy machine may put off


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.005)


def wait_for_error(use: Callable[[], object], kind: type[Exception], match: str) -> None:
    """Use something until it is noticed that it cannot be used."""

    def fails() -> bool:
        try:
            use()
        except kind:
            return True
        return False

    def again() -> None:
        wait_for(fails)
        use()

    with pytest.raises(kind, match=match):
        again()


@contextmanager
def impatient(lens: Any) -> Iterator[None]:
    """Wait for answers that will not come no longer than need be.

    Sound answers get all the time that a driver gives them: on a busy machine a double may be late.
    """
    kept = lens._port._timeout_s
    lens._port._timeout_s = 0.1
    yield
    lens._port._timeout_s = kept


def look_patiently(port: str, drivers: Sequence[str] = ()) -> Finding:
    """Ask what is there, with more patience where nothing was found: on a busy machine answers come late.

    Where only few drivers ask, something that is no lens is found, too.
    """
    for timeout_s in (0.1, 1.0, 10.0):
        found = look_at(port, drivers=drivers, timeout_s=timeout_s)
        if found.driver or (drivers and not found.finding.startswith("silent")):
            break
    return found


def crc_arc(data: bytes) -> bytes:
    """CRC-16/ARC, low byte first, bit by bit from its definition (reflected 0x8005, start 0)."""
    register = 0
    for bit in (byte >> place & 1 for byte in data for place in range(8)):
        register = (register >> 1) ^ (0xA001 if (register ^ bit) & 1 else 0)
    return bytes([register & 255, register >> 8])


class Ld4Double(PtyDevice):
    """A Lens Driver 4 with firmware of type A and a lens of -2 to 3 dpt, 40 mA per dioptre."""

    LENGTHS: ClassVar = {
        b"Start": 5, b"MMA": 5, b"Mw": 6, b"PwTA": 10, b"PwDA": 10, b"PwUA": 10, b"PwLA": 10, b"PwFA": 10,
        b"H": 3, b"V": 3, b"X": 3, b"TCA": 5, b"Sr": 4, b"Ar": 6,
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.mode = 1
        self.temperature_code = 400  # 25 degrees
        self.range_codes = (8 * 200, 3 * 200)  # highest, lowest
        self.focal_power_code = 1000
        self.refuse: dict[bytes, bytes] = {}
        self.generator: dict[bytes, bytes] = {}
        self.unknown = 0

    @property
    def focal_power_dpt(self) -> float:
        return self.focal_power_code / 200 - 5

    @property
    def control(self) -> float:
        return self.focal_power_dpt

    def take(self) -> object | None:
        for prefix, length in self.LENGTHS.items():
            if self.received.startswith(prefix) and len(self.received) >= length:
                frame = bytes(self.received[:length])
                del self.received[:length]
                if prefix == b"Start":
                    return prefix
                assert crc_arc(frame[:-2]) == frame[-2:]
                return frame[:-2]
        if self.received and not any(
            p.startswith(self.received[: len(p)]) or self.received.startswith(p) for p in self.LENGTHS
        ):
            self.unknown += 1
            del self.received[:1]
        return None

    def answer(self, request: object) -> bytes:
        assert isinstance(request, bytes)
        for prefix, error in self.refuse.items():
            if request.startswith(prefix):
                return error
        if request == b"Start":
            return b"Ready\r\n"
        payload = self._payload(request)
        return payload + crc_arc(payload) + b"\r\n" if payload else b""

    def _payload(self, request: bytes) -> bytes:
        high, low = (code.to_bytes(2, "big", signed=True) for code in self.range_codes)
        if request[:2] == b"Mw":
            self.mode = {b"S": 2, b"T": 3, b"C": 5}[request[2:3]]
            return b"M" + request[2:] + (b"\0" + high + low if self.mode == 5 else b"")
        if request[:4] == b"PwDA":
            self.focal_power_code = int.from_bytes(request[4:6], "big", signed=True)
            return b""
        if request[:4] == b"PwTA":
            return b"PT\0" + high + low
        if request[:2] == b"Pw":
            self.generator[request[2:3]] = request[4:]
            return b""
        current = round(self.focal_power_dpt * 40 * 4095 / 292.84)
        return {
            b"H": b"HA",
            b"V": b"V\x01\x07\x00\x0d\x0a\x01",  # its end looks like the end of a line
            b"X": b"XAQAA1234",
            b"MMA": b"MMA" + bytes([self.mode]),
            b"TCA": b"TCA" + self.temperature_code.to_bytes(2, "big"),
            b"Sr": b"S\x00\x00\x00\x00",
            b"Ar\0\0": b"A" + current.to_bytes(2, "big", signed=True),
        }[request]


class LineDouble(PtyDevice):
    """Something that answers lines by lines."""

    end = b"\r\n"

    def take(self) -> object | None:
        end = self.received.find(b"\n")
        if end < 0:
            return None
        line = self.received[:end].decode().strip()
        del self.received[: end + 1]
        return line

    def answer(self, request: object) -> bytes:
        return self.reply(str(request)).encode() + self.end

    def reply(self, line: str) -> str:
        raise NotImplementedError


class VirtualDouble(LineDouble):
    """A virtual lens, whose telemetry comes every 5 ms while it sweeps.

    Args:
        clock_us: the device's clock.
        replies: answers to use in place of the right ones, by command word; None answers nothing.
        lose: whether to leave the telemetry line with this sequence number out.
    """

    end = b"\n"

    def __init__(
        self,
        *,
        clock_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
        replies: dict[str, str | None] | None = None,
        lose: Callable[[int], bool] = lambda sequence: False,
    ) -> None:
        super().__init__()
        self.control = 0.0
        self._clock_us = clock_us
        self._replies = replies or {}
        self._lose = lose
        self._sweep: tuple[float, float, float] | None = None
        self._began_us = self._sent_us = self._sequence = 0

    def vergence_at(self, elapsed_us: float) -> float:
        """Vergence of the triangle that was asked for, this long after the answer."""
        assert self._sweep is not None
        low, high, hz = self._sweep
        return low + (high - low) * (1 - abs(2 * (elapsed_us * 1e-6 * hz % 1) - 1))

    def turn_us(self, index: int) -> float:
        """Device time of a turning point."""
        assert self._sweep is not None
        return self._began_us + index * 5e5 / self._sweep[2]

    def answer(self, request: object) -> bytes:
        command, *arguments = str(request).split()
        reply: str | None = f"T {self._clock_us()}" if command == "TIME" else "OK virtual lens 1"
        if command == "SWEEP":
            low, high, hz = (float(arguments[i]) for i in (0, 1, 3))
            self._sweep, self._began_us = (low, high, hz), self._clock_us()
            self._sent_us = self._began_us - 5_000
        elif command in ("STOP", "GOTO"):
            self._sweep = None
            self.control = float(arguments[0]) if arguments else self.control
        reply = self._replies.get(command, reply)
        return b"" if reply is None else reply.encode() + self.end

    def tick(self) -> None:
        while self._sweep is not None and self._sent_us + 5_000 <= self._clock_us():
            self._sent_us += 5_000
            if not self._lose(self._sequence):
                vergence_dpt = self.vergence_at(self._sent_us - self._began_us)
                self.send(f"S {self._sequence} {self._sent_us} {vergence_dpt:.6f}\n".encode())
            self._sequence += 1


class IccDouble(LineDouble):
    """An ICC-1C in simple mode with a lens of -2 to 3 dpt; it refuses its own lower limit."""

    def __init__(self) -> None:
        super().__init__()
        self.control = 0.0
        self.temperature = "25.0"
        self.range = ("-2.0", "3.0")
        self.refusal = ""

    def reply(self, line: str) -> str:
        command, _, value = line.upper().partition("=")
        if command == "SETFP":
            if self.refusal:
                return self.refusal
            if not -2.0 < float(value) <= 3.0:
                return "OL" if float(value) < 0 else "OU"
            self.control = float(value)
            return "OK"
        known = {"START": "OK", "GETDEVICESN": "AB123", "GETTEMP": self.temperature}
        known |= {"GETFPMIN": self.range[0], "GETFPMAX": self.range[1]}
        return known.get(command, "ERROR")


class UsbmDouble(PtyDevice):
    """A USB-M board."""

    def __init__(self) -> None:
        super().__init__()
        self.control = 0.0
        self.acknowledge = 0x06

    def take(self) -> object | None:
        frame = self.received
        while len(frame) > 1 and (frame[0] != 0x02 or frame[1] not in (0x37, 0x38)):
            del frame[:1]
        if len(frame) < 5:
            return None
        length = 5 if frame[1] == 0x38 else 5 + frame[3]
        if len(frame) < length:
            return None
        request = bytes(frame[:length])
        assert request[0] == 0x02 and sum(request[:-1]) % 256 == request[-1]
        del frame[:length]
        return request

    def answer(self, request: object) -> bytes:
        assert isinstance(request, bytes)
        body = bytes([0x02, 0x38, 0x77]) if request[1] == 0x38 else bytes([0x02, 0x37, self.acknowledge])
        if request[1] == 0x37 and self.acknowledge == 0x06:
            self.control = 24 + int.from_bytes(request[4:6], "little") / 1000
        return body + bytes([sum(body) % 256])


class Scf4Double(LineDouble):
    """An SCF4 whose focus motor covers its photo-interrupter below a hidden position.

    Attributes:
        haste: how much faster it is than told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 700.0  # true position; the counter is another matter
        self.edge = 0.0
        self.counter_offset = 0
        self.relative = False
        self.speed = 600
        self._target = self.hidden
        self._moved_s = time.monotonic()
        self.haste = 200.0
        self.covered_above = False
        self.stuck = False
        self.refusal = ""

    @property
    def counter(self) -> int:
        return round(self.hidden) + self.counter_offset

    @property
    def control(self) -> float:
        return float(self.counter)

    def tick(self) -> None:
        now_s = time.monotonic()
        reach = (now_s - self._moved_s) * self.speed * self.haste
        self._moved_s = now_s
        if not self.stuck:
            self.hidden += max(-reach, min(reach, self._target - self.hidden))

    def reply(self, line: str) -> str:
        self.tick()
        word, _, argument = line.partition(" ")
        number = int(argument[1:]) if argument else 0
        if word == "$S":
            return "SCF4 test, SN 1"
        if word == "!1":
            covered = int((self.hidden > self.edge) == self.covered_above)
            moving = int(self.hidden != self._target and not self.stuck)
            return f"{self.counter}, 0, 0, {covered}, 0, 0, {moving}, 0, 0"
        if self.refusal and word == "G0":
            return self.refusal
        if word in ("G90", "G91"):
            self.relative = word == "G91"
        elif word == "G0":
            self._target = self._target + number if self.relative else number - self.counter_offset
        elif word == "G92":
            self.counter_offset = number - round(self.hidden)
        elif word == "M240":
            self.speed = number
        elif word == "M0":
            self._target = self.hidden
        elif word not in ("M230", "M238", "$B2"):
            return f"unknown {word}"
        return "OK"


def crc_ccitt(data: bytes) -> bytes:
    """CRC-16/IBM-3740, low byte first, bit by bit from its definition (0x1021, start 0xFFFF)."""
    register = 0xFFFF
    for bit in (byte >> place & 1 for byte in data for place in reversed(range(8))):
        register = ((register << 1) ^ (0x1021 if (register >> 15) ^ bit else 0)) & 0xFFFF
    return bytes([register & 255, register >> 8])


def edfv_frame(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    body = bytes([len(payload), kind, sequence]) + payload
    return b"\xed\xf1" + body + crc_ccitt(body)


class EdfvDouble(PtyDevice):
    """A controller with our firmware and an analogue lens that is where it is told to be, or a stepper.

    Attributes:
        lose: whether to leave a record out, by its number.
        quiet: how many requests it does not answer, though it obeys.
    """

    def __init__(self) -> None:
        super().__init__()
        self.configured: bytes | None = None
        self.version = 1
        self.control = 0.0
        self.points: list[int] = []
        self.near_turn = 0
        self.state = 0
        self.lose: Callable[[int], bool] = lambda number: False
        self.quiet = 0
        self.clock_offset_us = 12_345
        self._table = bytearray()
        self._number = self._unasked = 0
        self._began_us = self._period_us = self._turn = 0
        self._sampled_us = self._every_us = 0

    def now_us(self) -> int:
        return time.monotonic_ns() // 1000 + self.clock_offset_us

    def turn_us(self, index: int) -> float:
        return self._began_us + index * self._period_us / 2

    def take(self) -> object | None:
        frame = self.received
        del frame[: max(0, frame.find(b"\xed\xf1") if b"\xed\xf1" in frame else len(frame) - 1)]
        if len(frame) < 7 or len(frame) < 7 + frame[2]:
            return None
        length = 7 + frame[2]
        request = bytes(frame[:length])
        assert request[:2] == b"\xed\xf1" and crc_ccitt(request[2:-2]) == request[-2:]
        del frame[:length]
        return request[3], request[4], request[5:-2]

    def answer(self, request: object) -> bytes:
        assert isinstance(request, tuple)
        kind, sequence, payload = request
        result = self._obey(kind, payload)
        if self.quiet:
            self.quiet -= 1
            return b""
        if isinstance(result, int):
            return edfv_frame(0xFF, sequence, bytes([kind, result]))
        return edfv_frame(kind | 0x80, sequence, result)

    def _obey(self, kind: int, payload: bytes) -> bytes | int:
        if kind == 0x01:
            return b"EDFV" + struct.pack("<6B4HBx", self.version, 0, 1, 2, 3, 1, 7, 256, 500, 7000, 1)
        if kind == 0x0C:
            return struct.pack("<QQ", self.now_us(), self.now_us() + 40)
        if kind == 0x0E:
            self._every_us = 1000 * int.from_bytes(payload, "little")
            return b""
        if kind == 0x02:
            self.configured, self.state = payload, 1
            return payload
        if kind == 0x0D:
            code = round(self.control)
            return struct.pack("<BBHHQ5HhIHH", self.state, 3, code, code, self.now_us(), 0, 0, 0, 0, 0, 0, 0, 0, 0)
        if self.configured is None:
            return 6
        low, high = struct.unpack_from("<HH", self.configured, 2)
        if kind == 0x05:
            code = int.from_bytes(payload, "little")
            if not low <= code <= high:
                return 4
            self.control, self.state = code, 1
            self.record(16, 0, code)
        elif kind == 0x04:
            self.record(17, 0, 0)
        elif kind == 0x06:
            count, self.near_turn, self._crc = struct.unpack("<HHH", payload)
            self._table, self.points = bytearray(2 * count), []
        elif kind == 0x07:
            first = 2 * int.from_bytes(payload[:2], "little")
            self._table[first : first + len(payload) - 2] = payload[2:]
        elif kind == 0x08:
            if int.from_bytes(crc_ccitt(bytes(self._table)), "little") != self._crc:
                return 10
            self.points = list(struct.unpack(f"<{len(self._table) // 2}H", self._table))
        elif kind == 0x09:
            if self.state == 5:
                return 5
            self._period_us, lead_ms = struct.unpack("<IH", payload)
            self._began_us, self._turn, self.state = self.now_us() + 1000 * lead_ms, 0, 5
        elif kind == 0x0A:
            self.state = 1
        return b""

    def record(self, kind: int, direction: int, code: int, time_us: int | None = None, detail: int = 0) -> None:
        time_us = self.now_us() if time_us is None else time_us
        payload = struct.pack("<IQBbHHh", self._number, time_us, kind, direction, code, code, detail)
        if not self.lose(self._number):
            self.send(edfv_frame(0xC1, self._unasked, payload))
            self._unasked = (self._unasked + 1) % 256
        self._number += 1

    def tick(self) -> None:
        now_us = self.now_us()
        while self.state == 5 and now_us >= self.turn_us(self._turn):
            far = self._turn % 2 == 0
            code = self.points[0 if far else self.near_turn]
            self.record(1 if far else 2, 1 if far else -1, code, round(self.turn_us(self._turn)))
            self._turn += 1
        if self._every_us and now_us >= self._sampled_us + self._every_us:
            self._sampled_us = now_us
            direction = 0
            if self.state == 5 and self._turn:
                place = (now_us - self._began_us) / self._period_us % 1 * len(self.points)
                before, after = self.points[int(place)], self.points[(int(place) + 1) % len(self.points)]
                self.control = before + (after - before) * (place % 1)
                direction = 1 if self._turn % 2 else -1
            self.record(0, direction, round(self.control), now_us)
