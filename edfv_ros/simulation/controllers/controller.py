"""What every emulated controller is: bytes in, bytes out, and a focus over time."""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, replace
from typing import ClassVar

from edfv_ros.simulation.controllers.faults import Faults
from edfv_ros.simulation.controllers.focus import FocusActuator, FocusCurve
from edfv_ros.simulation.lens import LensStep
from edfv_ros.yaml_model import Part

_KEPT_STEPS = 4096
_STRAY = b"\xa5\x00"


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes that leave the controller at a time."""

    at_us: float
    data: bytes


class Controller(ABC):
    """A pure state machine: it opens nothing and knows no clock but the times it is given, which must not decrease.

    Args:
        settings: dialect and lens.
        curve: control value to focus; the controller's own lens if None.
        faults: what is wrong with it; may be changed while it runs.
        now_us: when it gets its power.

    Attributes:
        faults: see above.
        curve: control value to focus.
        commands: how many commands it has understood.
        eeprom_writes: how often it has written memory that wears out.
    """

    Settings: ClassVar[type[Part]]
    baud: ClassVar[int]
    """Rate at which its documents want to be spoken to; a pseudo-terminal takes any."""

    def __init__(self, settings: Part, curve: FocusCurve | None, faults: Faults | None, now_us: float = 0.0) -> None:
        self.faults = faults or Faults()
        self.curve = curve or self.own_curve(settings)
        self.commands = 0
        self.eeprom_writes = 0
        self._steps: deque[LensStep] = deque(maxlen=_KEPT_STEPS)
        self._replies = 0
        self._made_us = now_us
        self._now_us = now_us
        self._actuator = FocusActuator(self.curve, self._resting_control(settings), now_us)

    @classmethod
    @abstractmethod
    def own_curve(cls, settings: Part) -> FocusCurve:
        """The curve of the lens it has where nobody gives it another."""

    @abstractmethod
    def power_on(self, now_us: float) -> None:
        """Lose what a controller without power loses; memory that wears out stays."""

    @property
    def position_dpt(self) -> float:
        """Focus now."""
        return self._actuator.vergence_dpt

    @property
    def control(self) -> float:
        """Control value of the lens now."""
        return self._actuator.control

    def receive(self, data: bytes, now_us: float) -> list[Reply]:
        """Take bytes in, or none where only time has passed; return what it answers, and when."""
        self._move_on(now_us)
        if self.faults.silent:
            return []
        return [self._spoilt(reply) for reply in self._receive(data, now_us)]

    def advance(self, to_us: float) -> list[LensStep]:
        """What the focus has done since the last call, without pauses; a trigger pulse is that of its move."""
        self._move_on(to_us)
        steps = list(self._steps)
        self._steps.clear()
        return steps

    @property
    def temperature_drift_c(self) -> float:
        """By how much it measures more than at the start."""
        return self.faults.temperature_c_per_s * (self._now_us - self._made_us) * 1e-6

    @abstractmethod
    def _resting_control(self, settings: Part) -> float:
        """Control value at power-on."""

    @abstractmethod
    def _receive(self, data: bytes, now_us: float) -> list[Reply]:
        """Parse, obey, answer."""

    def _damaged(self, data: bytes) -> bytes:
        """An answer with a wrong checksum; here, of a protocol without one, with a wrong first character."""
        return bytes([data[0] ^ 0x01]) + data[1:]

    def _spoilt(self, reply: Reply) -> Reply:
        self._replies += 1
        at_us = reply.at_us + self.faults.slow_ms * 1e3
        data = reply.data
        if self._replies % self.faults.every == 0:
            if self.faults.wrong_check:
                data = self._damaged(data)
            if self.faults.half_frames:
                data = data[: len(data) // 2]
            if self.faults.stray:
                data = _STRAY + data
        return replace(reply, at_us=at_us, data=data)

    def _move_on(self, to_us: float) -> None:
        self._now_us = max(self._now_us, to_us)
        if self.faults.focus_dpt_per_s:
            drifted_s = (self._now_us - self._made_us) * 1e-6
            self._actuator.curve = self.curve.shifted(self.faults.focus_dpt_per_s * drifted_s)
        self._steps.extend(self._actuator.advance(self._now_us))
