"""The signal generator of an Optotune Lens Driver 4, and its trigger output."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edfv_ros.simulation.lens import LensMove

Shape = Literal["sine", "triangle", "rectangle"]
Trigger = Literal["turns", "period", "square"]

_PULSE_US = 100


@dataclass(frozen=True, slots=True)
class Generator:
    """A periodic current, in terms of the focal power it makes. At ``epoch_us`` it is at its lower limit and rises.

    Attributes:
        low: at the lower limit.
        high: at the upper limit.
        frequency_mhz: in thousandths of a hertz, as the protocol has it.
        trigger: a short pulse at each turning point, one at each beginning of a period, or high while the current
            rises. The documents say that there is a trigger output and not what it looks like.
        edge_us: how long the lens takes through a step of a rectangle.
    """

    shape: Shape
    low: float
    high: float
    frequency_mhz: int
    epoch_us: float
    trigger: Trigger
    edge_us: float

    @property
    def half_us(self) -> float:
        """Half a period."""
        return 5e8 / self.frequency_mhz

    def phase(self, now_us: float) -> float:
        """Periods since the epoch, without the whole ones."""
        return (now_us - self.epoch_us) / (2 * self.half_us) % 1.0

    def moves(self, from_us: float) -> Iterator[LensMove]:
        """The endless moves of the current, beginning with the one that ``from_us`` lies in."""
        number = max(0, int((from_us - self.epoch_us) // self.half_us))
        while True:  # times from the count, so that rounding does not add up
            begin, end = (self.epoch_us + (number + i) * self.half_us for i in (0, 1))
            rises = number % 2 == 0
            if self.shape == "rectangle":
                end = min(end, begin + self.edge_us)
            ends = (self.low, self.high) if rises else (self.high, self.low)
            yield LensMove(begin, end, *ends, self._pulse_us(rises), self.shape == "sine")
            number += 1

    def _pulse_us(self, rises: bool) -> int:
        if self.trigger == "square":
            return round(self.half_us) if rises else 0
        return round(min(_PULSE_US, self.half_us / 2)) if rises or self.trigger == "turns" else 0
