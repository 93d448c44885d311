"""Simple mode of the Optotune ECC-1C and ICC-1C: lines of ASCII, case-insensitive, at most 64 characters."""

from collections.abc import Mapping
from types import MappingProxyType

HANDSHAKE = "START"
DONE = "OK"

ERROR_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "NO": "not possible now",
        "OL": "below its lower limit",
        "OU": "above its upper limit",
        "ERROR": "no such command or value",
    }
)


def encode(command: str, value: float | None = None) -> bytes:
    """A line to the device: ``GETFP`` or, with a value, ``SETFP=1.2500``."""
    return (command if value is None else f"{command}={value:.4f}").encode("ascii") + b"\r\n"


def error_of(line: str) -> str | None:
    """What a reply refuses, in words; None where it refuses nothing."""
    return ERROR_WORDS.get(line.upper())


def value_of(line: str) -> float | None:
    """The number in a reply; None where there is none."""
    try:
        return float(line)
    except ValueError:
        return None
