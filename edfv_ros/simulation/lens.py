"""How a virtual lens moves: sweeps, jumps and stops as a sequence of monotone moves."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.errors import SimulationError
from edfv_ros.lens.edges import FAR_TURN_PULSE_US, NEAR_TURN_PULSE_US
from edfv_ros.rig import Rig, Sweep

_FLYBACK_US = 1.0  # of a sawtooth, whose sweep lasts the whole period
_SLEW_US = 25_000.0  # across the whole range of the lens


@dataclass(frozen=True, slots=True)
class LensMove:
    """A monotone change of focus.

    Attributes:
        pulse_us: width of the trigger pulse that its start raises, 0 for none.
        harmonic: half a cosine instead of a constant speed.
    """

    start_us: float
    end_us: float
    start_dpt: float
    end_dpt: float
    pulse_us: int = 0
    harmonic: bool = False

    @property
    def direction(self) -> int:
        return 1 if self.end_dpt > self.start_dpt else -1

    def vergence_dpt(self, time_us: ArrayLike) -> NDArray[np.float64]:
        """Focus at times within the move, clamped to it."""
        phase = np.clip((np.asarray(time_us, float) - self.start_us) / (self.end_us - self.start_us), 0.0, 1.0)
        if self.harmonic:
            phase = (1.0 - np.cos(np.pi * phase)) / 2.0
        return self.start_dpt + (self.end_dpt - self.start_dpt) * phase

    def time_us(self, vergence_dpt: ArrayLike) -> NDArray[np.float64]:
        """Inverse of :meth:`vergence_dpt`."""
        part = np.clip((np.asarray(vergence_dpt, float) - self.start_dpt) / (self.end_dpt - self.start_dpt), 0.0, 1.0)
        if self.harmonic:
            part = np.arccos(1.0 - 2.0 * part) / np.pi
        return self.start_us + part * (self.end_us - self.start_us)

    @property
    def is_flyback(self) -> bool:
        return self.end_us - self.start_us <= _FLYBACK_US


def sweep_moves(sweep: Sweep, start_us: float) -> Iterator[LensMove]:
    """The endless moves of a sweep that is at its far turn at ``start_us``."""
    low, high = sweep.vergence_min_dpt, sweep.vergence_max_dpt
    harmonic = sweep.waveform == "sine"
    number = 0
    while True:  # times from the count, so that rounding does not add up
        begin, end = (start_us + (number + i) * sweep.duration_us for i in (0, 1))
        if sweep.waveform == "sawtooth":
            yield LensMove(begin, end - _FLYBACK_US, low, high, FAR_TURN_PULSE_US)
            yield LensMove(end - _FLYBACK_US, end, high, low)
        elif number % 2 == 0:
            yield LensMove(begin, end, low, high, FAR_TURN_PULSE_US, harmonic)
        else:
            yield LensMove(begin, end, high, low, NEAR_TURN_PULSE_US, harmonic)
        number += 1


@dataclass(frozen=True, slots=True)
class LensStep:
    """The part of a move between two calls of :meth:`MoveFollower.advance`; ``begins`` where it starts the move."""

    move: LensMove
    start_us: float
    end_us: float
    begins: bool


class MoveFollower:
    """A focus that goes through moves one after the other. Times are microseconds and must not decrease."""

    def __init__(self, start_us: float, position_dpt: float) -> None:
        self._now_us = start_us
        self._position_dpt = position_dpt
        self._move: LensMove | None = None
        self._begun = False
        self._coming: Iterator[LensMove] = iter(())

    @property
    def position_dpt(self) -> float:
        return self._position_dpt

    @property
    def moving(self) -> bool:
        return self._move is not None

    def follow(self, moves: Iterable[LensMove], *, begun: bool = False) -> None:
        """Leave what it was doing for moves in ascending time; it rests in the pauses between them.

        Args:
            moves: they may be endless; they are taken one by one as time passes.
            begun: whether the first one has begun before.
        """
        self._coming = iter(moves)
        self._move, self._begun = next(self._coming, None), begun

    def advance(self, to_us: float) -> list[LensStep]:
        """Move on in time; return what moved since the last call, in order, without the pauses."""
        steps = []
        while self._move is not None and max(self._now_us, self._move.start_us) < to_us:
            begin, end = max(self._now_us, self._move.start_us), min(to_us, self._move.end_us)
            steps.append(LensStep(self._move, begin, end, not self._begun))
            self._begun = True
            self._now_us = end
            self._position_dpt = float(self._move.vergence_dpt(end))
            if end >= self._move.end_us:
                self._move, self._begun = next(self._coming, None), False
        self._now_us = max(self._now_us, to_us)
        return steps


class VirtualLens(MoveFollower):
    """A lens that obeys commands. Times are microseconds and must not decrease from call to call."""

    def __init__(self, rig: Rig, start_us: float) -> None:
        super().__init__(start_us, rig.sweep.vergence_min_dpt)
        self._range = rig.lens.calibration.range_dpt

    def sweep(self, sweep: Sweep) -> None:
        """Go to the far end and sweep from there.

        Raises:
            SimulationError: the sweep leaves the range of the lens.
        """
        self._require(sweep.vergence_min_dpt)
        self._require(sweep.vergence_max_dpt)
        approach = self._slew(sweep.vergence_min_dpt)
        begin = approach[0].end_us if approach else self._now_us
        self.follow(chain(approach, sweep_moves(sweep, begin)))

    def go_to(self, vergence_dpt: float) -> None:
        """Go there as fast as the lens can and stay.

        Raises:
            SimulationError: that is out of the range of the lens.
        """
        self._require(vergence_dpt)
        self.follow(self._slew(vergence_dpt))

    def stop(self) -> None:
        """Stay where it is."""
        self.follow([])

    def _slew(self, to_dpt: float) -> list[LensMove]:
        distance = abs(to_dpt - self._position_dpt)
        if distance < 1e-9:
            return []
        duration = max(1.0, _SLEW_US * distance / (self._range[1] - self._range[0]))
        return [LensMove(self._now_us, self._now_us + duration, self._position_dpt, to_dpt)]

    def _require(self, vergence_dpt: float) -> None:
        low, high = self._range
        if not (math.isfinite(vergence_dpt) and low - 1e-9 <= vergence_dpt <= high + 1e-9):
            raise SimulationError(f"focus {vergence_dpt:g} dpt is out of the lens's range, {low:g} to {high:g} dpt")
