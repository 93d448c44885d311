"""Lens controllers on pseudo-terminals, each as small as the tests of its driver need it, with faults on demand."""

import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar


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
        self.fault: Callable[[bytes], bytes] = lambda answer: answer
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


def late(seconds: float) -> Callable[[bytes], bytes]:
    """A fault: the answer comes late."""

    def wait(answer: bytes) -> bytes:
        time.sleep(seconds)
        return answer

    return wait


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
        elif word not in ("M230", "M231", "$B2"):
            return f"unknown {word}"
        return "OK"
