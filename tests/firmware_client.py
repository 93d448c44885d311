"""A minimal client of the lens firmware, written from firmware/PROTOCOL.md alone."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

SYNC = b"\xed\xf1"
BOOT, RECORD, REFUSAL = 0xC0, 0xC1, 0xFF


class Request(IntEnum):
    IDENTIFY = 1
    CONFIGURE = 2
    GET_CONFIGURATION = 3
    HOME = 4
    GOTO = 5
    TABLE_BEGIN = 6
    TABLE_DATA = 7
    TABLE_END = 8
    START = 9
    STOP = 10
    PARK = 11
    TIME = 12
    STATUS = 13
    TELEMETRY = 14
    SAMPLE = 15


class State(IntEnum):
    UNCONFIGURED = 0
    HOLDING = 1
    MOVING = 2
    HOMING = 3
    WAITING = 4
    SWEEPING = 5
    PARKED = 6
    FAULT = 7


class Kind(IntEnum):
    SAMPLE = 0
    FAR_TURN = 1
    NEAR_TURN = 2
    ARRIVED = 16
    HOMED = 17
    HOMING_FAILED = 18
    WATCHDOG = 19
    STEPS_LOST = 20


@dataclass(frozen=True)
class Frame:
    type: int
    sequence: int
    payload: bytes


@dataclass(frozen=True)
class Record:
    number: int
    time_us: int
    kind: int
    direction: int
    set_point: int
    position: int
    detail: int


@dataclass(frozen=True)
class Status:
    state: int
    flags: int
    set_point: int
    position: int
    time_us: int
    wrong_crcs: int
    wrong_lengths: int
    overruns: int
    records_lost: int
    watchdog_trips: int
    steps_lost: int
    turns: int
    late_ticks: int
    skipped: int


def crc16(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def encode(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    body = bytes([len(payload), kind, sequence & 0xFF]) + payload
    return SYNC + body + struct.pack("<H", crc16(body))


def configure_analogue(low: int = 0, high: int = 65535, park: int = 32768, watchdog_ms: int = 1000) -> bytes:
    return struct.pack("<BBHHHHHIHHH", 1, 0, low, high, park, watchdog_ms, 0, 0, 0, 0, 0)


def configure_stepper(
    *,
    high: int,
    park: int,
    speed: int,
    acceleration: int,
    homing_speed: int,
    low: int = 0,
    tolerance: int = 8,
    watchdog_ms: int = 60000,
) -> bytes:
    return struct.pack(
        "<BBHHHHHIHHH", 2, 0, low, high, park, watchdog_ms, speed, acceleration, homing_speed, tolerance, 0
    )


def upload(points: list[int], near_turn: int) -> Iterator[tuple[int, bytes]]:
    """The requests that upload a table: types and payloads."""
    data = struct.pack(f"<{len(points)}H", *points)
    yield Request.TABLE_BEGIN, struct.pack("<HHH", len(points), near_turn, crc16(data))
    for first in range(0, len(points), 31):
        yield Request.TABLE_DATA, struct.pack("<H", first) + data[2 * first : 2 * first + 62]
    yield Request.TABLE_END, b""


class Parser:
    """Takes bytes in, gives frames out; counts what was skipped."""

    def __init__(self) -> None:
        self._received = bytearray()
        self.skipped = 0

    def feed(self, data: bytes) -> list[Frame]:
        self._received += data
        frames = []
        while len(self._received) >= 7:
            length = self._received[2]
            if self._received[:2] != SYNC or length > 64:
                self._skip()
                continue
            if len(self._received) < length + 7:
                break
            body, crc = self._received[2 : length + 5], self._received[length + 5 : length + 7]
            if crc16(body) != int.from_bytes(crc, "little"):
                self._skip()
                continue
            frames.append(Frame(body[1], body[2], bytes(body[3:])))
            del self._received[: length + 7]
        return frames

    def _skip(self) -> None:
        del self._received[0]
        self.skipped += 1


def record_of(payload: bytes) -> Record:
    return Record(*struct.unpack_from("<IQBbHHh", payload))


def status_of(payload: bytes) -> Status:
    return Status(*struct.unpack_from("<BBHHQHHHHHhIHH", payload))
