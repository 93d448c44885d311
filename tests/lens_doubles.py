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
