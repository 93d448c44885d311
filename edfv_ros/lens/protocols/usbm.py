"""Protocol of the Corning Varioptic USB-M Flexiboard: register reads and writes with a sum over all bytes before."""

from dataclasses import dataclass

START, WRITE, READ = 0x02, 0x37, 0x38
ACKNOWLEDGED = 0x06
FOCUS_REGISTER = 0x00
PROBED_REGISTER = 0x05
MOST_REGISTERS = 12
LOWEST_V, HIGHEST_CODE = 24.0, 0xB3B0
CODES_PER_V = 1000.0
HIGHEST_V = LOWEST_V + HIGHEST_CODE / CODES_PER_V

_KEPT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The answer to a write: whether it was taken."""

    done: bool


def encode_write(address: int, data: bytes) -> bytes:
    """Write registers from ``address`` on; 1 to 12 bytes."""
    return _with_sum(bytes([START, WRITE, address, len(data)]) + data)


def encode_read(address: int, count: int) -> bytes:
    """Read ``count`` registers from ``address`` on."""
    return _with_sum(bytes([START, READ, address, count]))


def focus_code(voltage_v: float) -> int:
    """Register value of an effective voltage, ``V_rms = 24 + code / 1000``."""
    return round((voltage_v - LOWEST_V) * CODES_PER_V)


def encode_focus(voltage_v: float) -> bytes:
    """Set the effective voltage. Both bytes in one write, low one first: the output changes with the high one."""
    return encode_write(FOCUS_REGISTER, focus_code(voltage_v).to_bytes(2, "little"))


def take_acknowledgement(received: bytearray) -> Acknowledged | None:
    """Take the answer to a write, with stray bytes before it; None where it is not complete."""
    body = _take(received, WRITE, 1)
    return None if body is None else Acknowledged(body[0] == ACKNOWLEDGED)


def take_registers(received: bytearray, count: int) -> bytes | None:
    """Take the answer to a read of ``count`` registers, with stray bytes before it; None where it is not complete."""
    return _take(received, READ, count)


def _take(received: bytearray, kind: int, count: int) -> bytes | None:
    length = 2 + count + 1
    start = received.find(bytes([START, kind]))
    while start >= 0:
        frame = bytes(received[start : start + length])
        if len(frame) == length and sum(frame[:-1]) & 0xFF == frame[-1]:
            del received[: start + length]
            return frame[2:-1]
        start = received.find(bytes([START, kind]), start + 1)
    del received[:-_KEPT_BYTES]
    return None


def _with_sum(frame: bytes) -> bytes:
    return frame + bytes([sum(frame) & 0xFF])
