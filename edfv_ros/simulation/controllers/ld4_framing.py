"""Frames of an Optotune Lens Driver 4, which have no length and no delimiter: prefix, data, CRC."""

from dataclasses import dataclass

HANDSHAKE = b"Start"
"""The only command without a CRC."""

BAD_CRC, UNKNOWN_COMMAND = 1, 3


def _shifted_out(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0xA001 if byte & 1 else 0)
    return byte


_SHIFTED_OUT = tuple(_shifted_out(byte) for byte in range(256))


def crc16_arc(data: bytes) -> int:
    """CRC-16/ARC: reflected polynomial 0xA001, initially 0, no final xor. It is 0 over a frame and its CRC."""
    crc = 0
    for byte in data:
        crc = (crc >> 8) ^ _SHIFTED_OUT[(crc ^ byte) & 0xFF]
    return crc


def with_crc(data: bytes) -> bytes:
    """Data and its CRC, low byte first."""
    return data + crc16_arc(data).to_bytes(2, "little")


DATA_LENGTHS: dict[bytes, tuple[int, ...]] = {
    b"H": (0,),  # firmware type, branch, part number, lens serial
    b"F": (0,),
    b"J": (0,),
    b"X": (0,),
    b"V": (0, 1),  # version; V and V, 0
    b"IR": (8,),  # device id
    b"A": (2,),  # current, old form
    b"Aw": (2,),
    b"Ar": (2,),
    b"CwMA": (2,),  # maximum current, soft limits
    b"CrMA": (2, 4),
    b"CwUA": (2, 4),
    b"CrUA": (2, 4),
    b"CwLA": (2, 4),
    b"CrLA": (2, 4),
    b"MwSA": (0,),  # modes
    b"MwQA": (0,),
    b"MwTA": (0,),
    b"MwDA": (0,),
    b"MwAA": (0,),
    b"MwCA": (0,),
    b"MMA": (0,),
    b"PwUA": (2, 4),  # generator
    b"PrUA": (2, 4),
    b"PwLA": (2, 4),
    b"PrLA": (2, 4),
    b"PwFA": (4,),
    b"PrFA": (4,),
    b"PwTA": (4,),  # temperature limits
    b"PrTA": (4,),
    b"PwDA": (4,),  # focal power
    b"PrDA": (4,),
    b"TCA": (0,),  # temperature, analogue input, status
    b"GAA": (0,),
    b"Sr": (0,),
    b"Ow": (2,),  # drift gain
    b"Or": (2,),
    b"Zw": (2,),  # EEPROM
    b"Zr": (1,),
    b"D": (2,),
    b"Y": (4,),  # interpolation
    b"RESET": (0,),  # to the boot loader
}
"""Commands by prefix, with the lengths of data that follow it in one dialect or another."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command whose CRC was right."""

    prefix: bytes
    data: bytes


class FrameParser:
    """Finds commands byte by byte: a prefix, a length of data that it may have, and a CRC residue of 0.

    What has become too long for its prefix has a wrong CRC. What begins like no command is passed over until the line
    has been quiet for the time-out, as is half a frame; the handshake is seen even there.

    Args:
        timeout_us: longest pause within a frame.
    """

    def __init__(self, timeout_us: float) -> None:
        self._timeout_us = timeout_us
        self._frame = bytearray()
        self._last_us = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget what has come."""
        self._frame.clear()
        self._possible = list(DATA_LENGTHS)  # prefixes that the frame may be of
        self._lost = False  # within bytes that begin like no command

    def time_out(self, now_us: float) -> int | None:
        """The error that a pause ends in, if the line has been quiet for long enough within a frame."""
        if not self._frame or now_us - self._last_us < self._timeout_us:
            return None
        error = UNKNOWN_COMMAND if self._lost else BAD_CRC
        self.reset()
        return error

    def take(self, byte: int, now_us: float) -> Command | int | None:
        """Take the next byte in; a command or an error where it ends one."""
        self._last_us = now_us
        self._frame.append(byte)
        if self._frame.endswith(HANDSHAKE) and (self._lost or len(self._frame) == len(HANDSHAKE)):
            self.reset()
            return Command(HANDSHAKE, b"")
        if self._lost:
            del self._frame[: -len(HANDSHAKE)]
            return None
        frame = bytes(self._frame)
        if HANDSHAKE.startswith(frame):
            return None
        possible = [prefix for prefix in self._possible if prefix.startswith(frame) or _begins(frame, prefix)]
        self._possible = possible
        if not possible:
            self._lost = True
            return None
        for prefix in possible:
            if len(frame) - len(prefix) - 2 in DATA_LENGTHS[prefix] and crc16_arc(frame) == 0:
                self.reset()
                return Command(prefix, frame[len(prefix) : -2])
        if len(frame) >= max(len(prefix) + DATA_LENGTHS[prefix][-1] + 2 for prefix in possible):
            self.reset()
            return BAD_CRC
        return None


def _begins(frame: bytes, prefix: bytes) -> bool:
    """Whether a frame is one of this prefix: the old current command has no letter after the A."""
    return frame.startswith(prefix) and not (prefix == b"A" and frame[1:2] in (b"w", b"r"))
