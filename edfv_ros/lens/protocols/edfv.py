"""Protocol of the open lens firmware, version 1, as ``firmware/PROTOCOL.md`` defines it. Little-endian."""

import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

VERSION_MAJOR = 1
MAGIC = b"EDFV"
HIGHEST_CODE = 65535
NO_NEAR_TURN = 0xFFFF
SYNC = b"\xed\xf1"
REPLY_BIT = 0x80
ERROR_TYPE, BOOT_TYPE, RECORD_TYPE = 0xFF, 0xC0, 0xC1
POINTS_PER_CHUNK = 31
PERIOD_US = (10_000, 60_000_000)
TURN_US = 4_000
TELEMETRY_MS = 10

_HEAD, _CRC = 5, 2
_LONGEST_PAYLOAD = 64

ERROR_WORDS: Mapping[int, str] = MappingProxyType(
    {
        1: "no such request",
        2: "payload of the wrong length",
        3: "a value that is not allowed",
        4: "a code outside of its limits",
        5: "busy",
        6: "not configured: open the lens again",
        7: "not homed: open the lens again",
        8: "no table",
        9: "points of the table are missing",
        10: "the table was damaged on its way",
        11: "fault, steps were lost or homing failed: open the lens again, which homes it",
    }
)


class Request(IntEnum):
    """Types of requests."""

    IDENTIFY = 0x01
    CONFIGURE = 0x02
    HOME = 0x04
    GOTO = 0x05
    TABLE_BEGIN = 0x06
    TABLE_DATA = 0x07
    TABLE_END = 0x08
    START = 0x09
    STOP = 0x0A
    TIME = 0x0C
    STATUS = 0x0D
    TELEMETRY = 0x0E


class Lens(IntEnum):
    """What the controller drives."""

    ANALOGUE = 1
    STEPPER = 2


class State(IntEnum):
    """What the controller does."""

    MOVING = 2
    HOMING = 3
    WAITING = 4
    SWEEPING = 5
    FAULT = 7


class Kind(IntEnum):
    """What a record is about; others are samples and arrivals."""

    FAR_TURN = 1
    NEAR_TURN = 2
    HOMING_FAILED = 18
    WATCHDOG = 19
    STEPS_LOST = 20


@dataclass(frozen=True, slots=True)
class Frame:
    """A message either way."""

    type: int
    sequence: int
    payload: bytes = b""


class Identity(NamedTuple):
    """The reply to IDENTIFY, which BOOT repeats."""

    magic: bytes
    major: int
    minor: int
    firmware_major: int
    firmware_minor: int
    firmware_patch: int
    hardware: int
    capabilities: int
    table_points: int
    set_point_us: int
    highest_steps_per_s: int
    start_reason: int


class Configuration(NamedTuple):
    """What CONFIGURE sends and its reply returns as it is in force. Units as in the protocol."""

    lens: int
    flags: int
    lowest: int
    highest: int
    park: int
    watchdog_ms: int
    steps_per_s: int
    steps_per_s2: int
    homing_steps_per_s: int
    tolerance_steps: int


class Status(NamedTuple):
    """The reply to STATUS."""

    state: int
    flags: int
    set_point: int
    position: int
    device_us: int
    wrong_crc: int
    wrong_length: int
    lost_bytes: int
    lost_records: int
    watchdog_parks: int
    lost_steps: int
    turns: int
    late_set_points: int
    skipped_bytes: int


class Record(NamedTuple):
    """What the controller reports unasked."""

    number: int
    device_us: int
    kind: int
    direction: int
    set_point: int
    position: int
    detail: int


_IDENTITY = struct.Struct("<4s6B4HBx")
_CONFIGURATION = struct.Struct("<BB5HIHH2x")
_STATUS = struct.Struct("<BBHHQ5HhIHH")
_RECORD = struct.Struct("<IQBbHHh")
_TIMES = struct.Struct("<QQ")


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, start 0xFFFF; of ``123456789`` it is 0x29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def encode(frame: Frame) -> bytes:
    """Bytes of a frame."""
    body = bytes([len(frame.payload), frame.type, frame.sequence]) + frame.payload
    return SYNC + body + crc16(body).to_bytes(2, "little")


def take_frame(received: bytearray, *, stalled: bool = False) -> Frame | None:
    """Take the first good frame. A wrong one costs one byte, and what follows is looked at again.

    Args:
        received: taken from at its front.
        stalled: nothing more will come, so that an incomplete frame is a wrong one.

    Returns:
        None where no frame is complete.
    """
    while True:
        start = received.find(SYNC)
        if start < 0:
            del received[: len(received) - received.endswith(SYNC[:1])]
            return None
        del received[:start]
        length = received[2] if len(received) > 2 else 0
        whole = _HEAD + length + _CRC
        if len(received) < whole and length <= _LONGEST_PAYLOAD and not stalled:
            return None
        frame = bytes(received[:whole])
        if (
            length <= _LONGEST_PAYLOAD
            and len(frame) == whole
            and crc16(frame[2:-2]) == int.from_bytes(frame[-2:], "little")
        ):
            del received[:whole]
            return Frame(frame[3], frame[4], frame[_HEAD:-_CRC])
        del received[:1]


def parse_identity(payload: bytes) -> Identity | None:
    """The reply to IDENTIFY; None where it is not one. Of a later version it may be longer, as all replies."""
    if len(payload) < _IDENTITY.size:
        return None
    identity = Identity(*_IDENTITY.unpack_from(payload))
    return identity if identity.magic == MAGIC else None


def encode_configuration(configuration: Configuration) -> bytes:
    """Payload of CONFIGURE."""
    return _CONFIGURATION.pack(*configuration)


def parse_configuration(payload: bytes) -> Configuration | None:
    """The configuration in a reply; None where it is too short."""
    return Configuration(*_CONFIGURATION.unpack_from(payload)) if len(payload) >= _CONFIGURATION.size else None


def parse_status(payload: bytes) -> Status | None:
    """The reply to STATUS; None where it is too short."""
    return Status(*_STATUS.unpack_from(payload)) if len(payload) >= _STATUS.size else None


def parse_record(payload: bytes) -> Record | None:
    """A record; None where it is too short."""
    return Record(*_RECORD.unpack_from(payload)) if len(payload) >= _RECORD.size else None


def parse_times(payload: bytes) -> tuple[int, int] | None:
    """Device times in the reply to TIME: taken in and answered; None where it is too short."""
    return _TIMES.unpack_from(payload) if len(payload) >= _TIMES.size else None


def table_payloads(codes: Sequence[int], near_turn: int | None) -> list[tuple[Request, bytes]]:
    """The requests that upload one period of a waveform, point 0 being the far turn.

    Args:
        codes: 2 to 256 points.
        near_turn: index of the near turn; None for a sawtooth.
    """
    points = struct.pack(f"<{len(codes)}H", *codes)
    begin = struct.pack("<HHH", len(codes), NO_NEAR_TURN if near_turn is None else near_turn, crc16(points))
    chunks = [
        (Request.TABLE_DATA, first.to_bytes(2, "little") + points[2 * first : 2 * (first + POINTS_PER_CHUNK)])
        for first in range(0, len(codes), POINTS_PER_CHUNK)
    ]
    return [(Request.TABLE_BEGIN, begin), *chunks, (Request.TABLE_END, b"")]
