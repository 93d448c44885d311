"""What can be wrong with a controller or its wire, on demand."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import yaml

from edfv_ros.errors import SimulationError


@dataclass(slots=True)
class Faults:
    """Faults of an emulated controller; they may be changed while it runs.

    Attributes:
        silent: it takes commands in and does not act or answer.
        wrong_check: its answers have a wrong checksum, or a wrong character where there is none.
        half_frames: its answers break off in the middle.
        stray: bytes that nobody asked for come before each answer.
        error: every command is refused with this error of its protocol (LD4: 1 to 4; elsewhere any number).
        slow_ms: answers come this much later.
        every: wrong_check, half_frames and stray befall every ``every``-th answer only.
        temperature_c_per_s: drift of the measured temperature.
        focus_dpt_per_s: drift of the focus at the same control value, seen from move to move.
    """

    silent: bool = False
    wrong_check: bool = False
    half_frames: bool = False
    stray: bool = False
    error: int = 0
    slow_ms: float = 0.0
    every: int = 1
    temperature_c_per_s: float = 0.0
    focus_dpt_per_s: float = 0.0

    def set(self, words: Sequence[str]) -> None:
        """Change some, given as ``name=value``, or as ``name`` for one that is on or off.

        Raises:
            SimulationError: there is no such fault, or it cannot have this value.
        """
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for word in words:
            name, _, text = word.partition("=")
            if name not in kinds:
                raise SimulationError(f"lens fault {name!r} is not known; choose among {', '.join(kinds)}")
            value = yaml.safe_load(text) if text else True
            if kinds[name] is float and type(value) is int:
                value = float(value)
            lowest = {"every": 1, "error": 0, "slow_ms": 0.0}.get(name)
            if type(value) is not kinds[name] or (lowest is not None and value < lowest):
                least = "" if lowest is None else f", at least {lowest}"
                raise SimulationError(f"lens fault {name} = {text!r}: give a {kinds[name].__name__}{least}")
            setattr(self, name, value)

    def heal(self) -> None:
        """No faults any more."""
        healthy = Faults()
        for field in fields(self):
            setattr(self, field.name, getattr(healthy, field.name))
