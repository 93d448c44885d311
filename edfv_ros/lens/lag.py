"""How far the events lag behind the focus track: filtered over sweeps, and taken out where somebody asks for it."""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edfv_ros.events.types import Packet
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sync import SweepSource
from edfv_ros.rig import Rig

LONGEST_LAG_SWEEPS = 1 / 8
"""Longest lag that is looked for and taken out, in sweeps; a longer one is no residue but a wrong ``lens.delay_ms``."""

_KEPT = 7
_CORRECTS_FROM = 2  # one sweep pair in each order: what approaches shifts them in opposite directions
_MAD_TO_SIGMA = 1.4826
_MEDIAN_TO_MEAN = 1.2533  # standard error of a median over that of a mean, of normal scatter


@dataclass(frozen=True, slots=True)
class Lag:
    """How far events lag behind the focus.

    Attributes:
        lag_us: positive where the events come late.
        sigma_us: one standard deviation.
    """

    lag_us: float
    sigma_us: float


class _Measured(NamedTuple):
    lag_us: float
    sigma_us: float


class LagFilter:
    """Median of the last few measurements: it follows a drift, and a wrong one does not move it.

    Written by one thread, read by any.

    Args:
        rig: its sweep bounds the correction.
    """

    def __init__(self, rig: Rig) -> None:
        self.longest_us = LONGEST_LAG_SWEEPS * rig.sweep.duration_us
        self._measured: deque[_Measured] = deque(maxlen=_KEPT)
        self._lag: Lag | None = None
        self._correction_us = 0.0

    @property
    def lag(self) -> Lag | None:
        """The lag, None before the first measurement."""
        return self._lag

    @property
    def correction_us(self) -> float:
        """By how much sweeps are to be moved: 0 until it is sure, and never more than ``longest_us``."""
        return self._correction_us

    def add(self, lag_us: float, sigma_us: float) -> None:
        """Take in a measurement of the whole lag: what two sweeps showed, and what had been taken out of them."""
        self._measured.append(_Measured(lag_us, sigma_us))
        lags_us = np.array([measured.lag_us for measured in self._measured])
        median_us = float(np.median(lags_us))
        scatter_us = _MAD_TO_SIGMA * float(np.median(np.abs(lags_us - median_us)))
        own_us = float(np.median([measured.sigma_us for measured in self._measured]))
        self._lag = Lag(median_us, float(np.hypot(own_us, _MEDIAN_TO_MEAN * scatter_us / np.sqrt(len(lags_us)))))
        if len(lags_us) >= _CORRECTS_FROM:
            self._correction_us = float(np.clip(median_us, -self.longest_us, self.longest_us))


class LagCorrectedSweeps:
    """The sweeps of another source, moved by what a filter says at the moment they are taken.

    Args:
        sweeps: the source.
        lag: somebody else feeds it.
    """

    def __init__(self, sweeps: SweepSource, lag: LagFilter) -> None:
        self._sweeps = sweeps
        self._lag = lag

    @property
    def discard_before_us(self) -> int:
        """Events before this time belong to no sweep to come, however far it will be moved."""
        return self._sweeps.discard_before_us - int(np.ceil(self._lag.longest_us))

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
        """The source's next sweep, moved."""
        sweep = self._sweeps.take()
        return None if sweep is None else sweep.later(self._lag.correction_us)

    def finish(self) -> None:
        """The source ended."""
        self._sweeps.finish()
