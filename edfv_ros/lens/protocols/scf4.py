"""Protocol of the Kurokesu SCF4: G-code, one command outstanding, one line of answer each."""

import re
from dataclasses import dataclass

IDENTIFY = "$S"
RESET_DRIVER = "$B2"
ABSOLUTE, RELATIVE = "G90", "G91"
NORMAL_MOVES = "M230"
INTERRUPTER_LIGHT = "M238"
STOP = "M0"
ASK_STATUS = "!1"
DONE = "OK"
HIGHEST_COUNT = 65535

_NUMBER = re.compile(r"-?\d+")
_STATUS_NUMBERS = 9


@dataclass(frozen=True, slots=True)
class MotorStatus:
    """What ``!1`` tells of one motor.

    Attributes:
        position: of the step counter.
        interrupted: whether its photo-interrupter is covered.
        moving: whether it moves.
    """

    position: int
    interrupted: bool
    moving: bool


def encode(command: str) -> bytes:
    """A line to the device."""
    return command.encode("ascii") + b"\n"


def move(steps: int) -> str:
    """Move the focus motor to a count, or by one while moves are relative; answered when parsed, not when arrived."""
    return f"G0 A{steps:d}"


def set_counter(count: int) -> str:
    """Set the counter of the focus motor without moving it."""
    return f"G92 A{count:d}"


def set_speed(steps_per_s: int) -> str:
    """Speed of the focus motor."""
    return f"M240 A{steps_per_s:d}"


def parse_status(line: str, motor: int = 0) -> MotorStatus | None:
    """The status of a motor (0 is the focus) from an answer to ``!1``: three positions, three photo-interrupters and
    three moving flags. None where the line does not hold nine numbers.
    """
    numbers = [int(number) for number in _NUMBER.findall(line)]
    if len(numbers) != _STATUS_NUMBERS:
        return None
    return MotorStatus(numbers[motor], bool(numbers[3 + motor]), bool(numbers[6 + motor]))
