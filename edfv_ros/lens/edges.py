"""Clean edges from trigger records: bounces removed, the width of each pulse known."""

from collections import deque
from dataclasses import dataclass

FAR_TURN_PULSE_US = 1000
"""Nominal width of the pulse at the far turn, where an up-sweep begins."""

NEAR_TURN_PULSE_US = 500
"""Nominal width of the pulse at the near turn, where a down-sweep begins."""

_FAR_FROM_US = (FAR_TURN_PULSE_US + NEAR_TURN_PULSE_US) / 2
_SHORTEST_PULSE_US = 250
_LONGEST_PULSE_US = 2500
_BOUNCE_RATIO = 0.1  # of a sweep: edges closer than that are one edge


@dataclass(slots=True)
class Edge:
    """A rising edge; ``far`` says which turning point it marks, None where that is not known."""

    time_us: int
    pulse_us: int | None = None
    far: bool | None = None


class EdgeDetector:
    """Takes rising and falling edges as they come and gives out the rising ones once their pulse is over.

    Args:
        sweep_us: nominal time between turning points.

    Attributes:
        edges: rising edges found.
        sees_falling: whether falling edges are recorded, so that pulses have a width.
    """

    def __init__(self, sweep_us: float) -> None:
        self._bounce_us = _BOUNCE_RATIO * sweep_us
        self._window_us = min(_LONGEST_PULSE_US, sweep_us / 4)
        self._last: Edge | None = None
        self._waiting: deque[Edge] = deque()
        self.edges = 0
        self.sees_falling = False

    @property
    def oldest_us(self) -> int | None:
        """Time of the oldest edge not given out yet."""
        return self._waiting[0].time_us if self._waiting else None

    def rising(self, time_us: int) -> bool:
        """Take a rising edge in; false where it is a bounce of the one before and left out."""
        if self._last is not None and time_us - self._last.time_us < self._bounce_us:
            return False
        self._last = Edge(time_us)
        self._waiting.append(self._last)
        self.edges += 1
        return True

    def falling(self, time_us: int) -> None:
        """Take a falling edge in; the last one within the window ends the pulse, since pulses bounce too."""
        if self._last is not None and 0 < time_us - self._last.time_us <= self._window_us:
            self._last.pulse_us = time_us - self._last.time_us
            self.sees_falling = True

    def take(self, now_us: int | None) -> Edge | None:
        """The next edge whose pulse is over at ``now_us``; with None, the next one as it is.

        Where no falling edge follows the first rising one, there are no pulses to wait for.
        """
        if not self._waiting:
            return None
        rising_only = self.edges > 1 and not self.sees_falling
        if now_us is not None and now_us <= self._waiting[0].time_us + self._window_us and not rising_only:
            return None
        edge = self._waiting.popleft()
        if edge.pulse_us is not None and edge.pulse_us >= _SHORTEST_PULSE_US:
            edge.far = edge.pulse_us >= _FAR_FROM_US
        return edge
