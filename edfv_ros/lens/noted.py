"""Sweeps that somebody else is told of, too."""

from collections.abc import Callable

from edfv_ros.events.types import Packet
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sync import SweepSource


class NotedSweeps:
    """The sweeps of another source, as they are.

    Args:
        sweeps: the source.
        on_sweep: called with each sweep when it is taken; must not block for long.
    """

    def __init__(self, sweeps: SweepSource, on_sweep: Callable[[FocusSweep], None]) -> None:
        self._sweeps = sweeps
        self._on_sweep = on_sweep

    @property
    def discard_before_us(self) -> int:
        """Events before this time belong to no sweep to come."""
        return self._sweeps.discard_before_us

    @property
    def counters(self) -> dict[str, int]:
        return self._sweeps.counters

    @property
    def timing(self) -> dict[str, float]:
        return self._sweeps.timing

    def observe(self, packet: Packet) -> None:
        """Show the source a packet."""
        self._sweeps.observe(packet)

    def take(self) -> FocusSweep | None:
        """The source's next sweep."""
        sweep = self._sweeps.take()
        if sweep is not None:
            self._on_sweep(sweep)
        return sweep

    def finish(self) -> None:
        """The source ended."""
        self._sweeps.finish()
