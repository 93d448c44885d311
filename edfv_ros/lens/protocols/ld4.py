"""Protocol of the Optotune Lens Driver 4 and 4i.

Binary, big-endian, CRC-16/ARC over all bytes before it, sent low byte first. Replies end with CR LF; the direction to
the device has neither a length nor an end, and Set commands are answered only where they fail. Source: Lens Driver 4
manual (30.3.2016) and its protocol spreadsheet; where the two contradict each other, both readings are accepted.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType

HANDSHAKE = b"Start"
"""Sent without a CRC; answered by ``Ready``. It also sets the current to 0 and clears the device's input."""

TICKS_PER_DPT = 200
TYPE_A_OFFSET_DPT = 5.0
"""Focal power is coded as ``(D + 5) * 200`` by firmware of type A and as ``D * 200`` by the others."""

CURRENT_CODES = 4095
NO_SENSOR = 4095
DEGREES_PER_TICK = 0.0625
FOCAL_POWER_MODE = 5

STATUS_WORDS = (
    "no lens connected",
    "no or faulty lens memory",
    "no temperature limits set",
    "focal power not reachable",
    "inverted",
    "temperature out of specification",
    "out of the guaranteed range",
    "out of the user's range",
)
"""Bits of the first status byte, lowest first."""

ERROR_WORDS: Mapping[int, str] = MappingProxyType(
    {
        1: "wrong CRC",
        2: "not available in its firmware type",
        3: "unknown command",
        4: "lens not compatible",
    }
)

_COMMANDS: dict[str, tuple[bytes, str]] = {
    "firmware_type": (b"H", ""),
    "firmware_branch": (b"F", ""),
    "part_number": (b"J", ""),
    "version": (b"V", ""),
    "version_padded": (b"V\0", ""),
    "lens_serial": (b"X", ""),
    "device_id": (b"IR", "8x"),
    "set_current": (b"Aw", "h"),
    "current": (b"Ar", "2x"),
    "set_max_current": (b"CwMA", "h"),
    "max_current": (b"CrMA", "2x"),
    "set_upper_soft_limit": (b"CwUA", "h"),
    "upper_soft_limit": (b"CrUA", "2x"),
    "set_lower_soft_limit": (b"CwLA", "h"),
    "lower_soft_limit": (b"CrLA", "2x"),
    "sine_mode": (b"MwSA", ""),
    "square_mode": (b"MwQA", ""),
    "triangle_mode": (b"MwTA", ""),
    "current_mode": (b"MwDA", ""),
    "analog_mode": (b"MwAA", ""),
    "focal_power_mode": (b"MwCA", ""),
    "mode": (b"MMA", ""),
    "set_generator_upper": (b"PwUA", "h2x"),
    "generator_upper": (b"PrUA", "2x"),
    "set_generator_lower": (b"PwLA", "h2x"),
    "generator_lower": (b"PrLA", "2x"),
    "set_generator_frequency": (b"PwFA", "I"),
    "generator_frequency": (b"PrFA", "4x"),
    "set_temperature_limits": (b"PwTA", "hh"),
    "temperature_limits": (b"PrTA", "4x"),
    "set_focal_power": (b"PwDA", "h2x"),
    "focal_power": (b"PrDA", "4x"),
    "temperature": (b"TCA", ""),
    "analog_input": (b"GAA", ""),
    "status": (b"Sr", ""),
    "set_drift_gain": (b"Ow", "H"),
    "drift_gain": (b"Or", "2x"),
    "write_memory": (b"Zw", "BB"),
    "read_memory": (b"Zr", "B"),
    "dump_memory": (b"D", "2x"),
    "interpolation": (b"Y", "4s"),
    "firmware_update": (b"RESET", ""),
}
"""Prefix and arguments of every command by name."""

NEVER_SENT = frozenset({"firmware_update", "write_memory", "set_upper_soft_limit", "set_lower_soft_limit"})
"""Commands that this project does not send: one makes the device wait for new firmware, the others write its EEPROM,
which bears 100 000 writes. They are here so that they are known when seen."""

_REPLIES: dict[bytes, tuple[str, str]] = {
    b"H": ("firmware_type", "c"),
    b"F": ("firmware_branch", "B"),
    b"J": ("part_number", "3s"),
    b"V": ("version", "BBHH"),
    b"X": ("lens_serial", "8s"),
    b"IR": ("device_id", "8s"),
    b"A": ("current", "h"),
    b"CMA": ("max_current", "h"),
    b"CUA": ("upper_soft_limit", "h"),
    b"CLA": ("lower_soft_limit", "h"),
    b"MSA": ("sine_mode", ""),
    b"MQA": ("square_mode", ""),
    b"MTA": ("triangle_mode", ""),
    b"MDA": ("current_mode", ""),
    b"MAA": ("analog_mode", ""),
    b"MCA": ("focal_power_mode", "Bhh"),
    b"MMA": ("mode", "B"),
    b"PUA": ("generator_upper", "h"),
    b"PLA": ("generator_lower", "h"),
    b"PFA": ("generator_frequency", "I"),
    b"PT": ("temperature_limits", "Bhh"),
    b"PTA": ("temperature_limits", "Bhh"),
    b"PD": ("focal_power", "h"),
    b"PDA": ("focal_power", "h"),
    b"TCA": ("temperature", "h"),
    b"GAA": ("analog_input", "H"),
    b"S": ("status", "4s"),
    b"Ow": ("drift_gain", "Bhh"),
    b"O": ("drift_gain", "Bhh"),
}
_END = b"\r\n"
_CRC_OF_BYTE = tuple(
    reduce(lambda crc, _: crc >> 1 ^ (0xA001 if crc & 1 else 0), range(8), byte) for byte in range(256)
)
_LONGEST_REPLY = 16
_KEPT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: the name of what it tells and its values. ``ready`` and ``error`` (id 0 where none came) are two."""

    name: str
    values: tuple[int | bytes, ...] = ()

    @property
    def integers(self) -> tuple[int, ...]:
        """Those of the values that are numbers."""
        return tuple(value for value in self.values if isinstance(value, int))


def crc16(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0x8005 reflected, start 0. Over data and its CRC it is 0."""
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC_OF_BYTE[(crc ^ byte) & 0xFF]
    return crc


def with_crc(payload: bytes) -> bytes:
    """A frame to the device."""
    return payload + crc16(payload).to_bytes(2, "little")


def encode(name: str, *values: int) -> bytes:
    """The frame of a command by its name; ValueError where it is never sent."""
    if name in NEVER_SENT:
        raise ValueError(f"{name} is never sent")
    prefix, layout = _COMMANDS[name]
    return with_crc(prefix + struct.pack(">" + layout, *values))


def decode(frame: bytes) -> tuple[str, tuple[int | bytes, ...]] | None:
    """Name and values of the command in a frame to the device; None where it is none."""
    if crc16(frame):
        return None
    payload = frame[:-2]
    for name, (prefix, layout) in _COMMANDS.items():
        if payload.startswith(prefix) and len(payload) == len(prefix) + struct.calcsize(">" + layout):
            return name, struct.unpack(">" + layout, payload[len(prefix) :])
    return None


def take_reply(received: bytearray) -> Reply | None:
    """Take the first reply from what the device sent, with whatever stray bytes are before it.

    A payload may hold CR LF, so that only a right CRC tells where a reply ends. None where none is complete.
    """
    end = received.find(_END)
    while end >= 0:
        for start in range(max(0, end - _LONGEST_REPLY), end):
            alone = start == 0 or received[start - 1] == _END[-1]
            if (reply := _parse(bytes(received[start:end]), alone=alone)) is not None:
                del received[: end + len(_END)]
                return reply
        end = received.find(_END, end + 1)
    del received[:-_KEPT_BYTES]
    return None


def _parse(body: bytes, *, alone: bool) -> Reply | None:
    if body == b"Ready":
        return Reply("ready")
    if body == b"N" and alone:
        return Reply("error", (0,))
    if len(body) < 3 or crc16(body):
        return None
    payload = body[:-2]
    if payload[:1] == b"E" and len(payload) == 2:
        number = payload[1]
        return Reply("error", (number - ord("0") if number >= ord("0") else number,))
    if payload == b"N":
        return Reply("error", (0,))
    for prefix, (name, layout) in _REPLIES.items():
        if payload.startswith(prefix) and len(payload) == len(prefix) + struct.calcsize(">" + layout):
            return Reply(name, struct.unpack(">" + layout, payload[len(prefix) :]))
    return None


def focal_power_code(power_dpt: float, firmware_type: str) -> int:
    """Code of a focal power in dioptres for a firmware type, ``A``, ``B``, ``C`` or ``E``."""
    return round((power_dpt + (TYPE_A_OFFSET_DPT if firmware_type == "A" else 0.0)) * TICKS_PER_DPT)


def focal_power_dpt(code: int, firmware_type: str) -> float:
    """Focal power in dioptres of a code from a firmware type."""
    return code / TICKS_PER_DPT - (TYPE_A_OFFSET_DPT if firmware_type == "A" else 0.0)


def status_words(status: int) -> tuple[str, ...]:
    """The first status byte in words; an inverted polarity is nothing to complain of."""
    return tuple(word for bit, word in enumerate(STATUS_WORDS) if status >> bit & 1 and word != "inverted")
