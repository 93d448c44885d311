"""The focus over a recording: what the lens is told, and what the optics do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import SimulationError
from edfv_ros.events import TRIGGER_DTYPE, TriggerType
from edfv_ros.lens.plan import plan_of
from edfv_ros.rig import Rig
from edfv_ros.simulation.lens import LensMove, sweep_moves
from edfv_ros.simulation.lens_response import LensResponse

STEPS_PER_SWEEP = 128
"""Rows of a plan for a sweep: pictures this near in focus are as good as a film."""

_SETTLING_PERIODS = 2  # that a lens with a response of its own has been sweeping for when a recording begins


@dataclass(frozen=True, slots=True)
class LensPlan:
    """The focus from time 0, the start of the first sweep, to the end of the last one.

    Attributes:
        times_us: float64 [N], whole microseconds, ascending from 0; the focus is linear in between.
        command_dpt: float64 [N], what the lens was told, ``lens.delay_ms`` earlier.
        vergence_dpt: float64 [N], the optical focus.
        sweep_rows: the row at which each sweep begins, and the last row.
        triggers: TRIGGER_DTYPE [M], a pulse at each turn of the command when it is given, times from 0.
    """

    times_us: NDArray[np.float64]
    command_dpt: NDArray[np.float64]
    vergence_dpt: NDArray[np.float64]
    sweep_rows: tuple[int, ...]
    triggers: NDArray[np.void]

    @property
    def sweeps(self) -> int:
        return len(self.sweep_rows) - 1

    @property
    def duration_us(self) -> int:
        return int(self.times_us[-1])

    @property
    def sweep_middles_us(self) -> list[float]:
        """The time halfway through each sweep."""
        turns = self.times_us[list(self.sweep_rows)]
        middles: list[float] = ((turns[:-1] + turns[1:]) / 2.0).tolist()
        return middles

    @property
    def range_dpt(self) -> tuple[float, float]:
        """Lowest and highest optical focus."""
        return float(self.vergence_dpt.min()), float(self.vergence_dpt.max())


def plan_sweeps(
    rig: Rig, response: LensResponse, *, sweeps: int, steps_per_sweep: int = STEPS_PER_SWEEP, seed: int = 0
) -> LensPlan:
    """Plan ``sweeps`` of the rig's sweeps, from a far turn on, with turns rounded as the rig's driver rounds them.

    Args:
        rig: its lens and sweep.
        response: of the optics, beyond the delay that the rig knows of.
        sweeps: how many.
        steps_per_sweep: rows of the plan for each.
        seed: of the response's jitter.

    Raises:
        SimulationError: ``sweeps`` or ``steps_per_sweep`` is too small.
    """
    if sweeps < 1 or steps_per_sweep < 8:
        raise SimulationError(f"sweeps = {sweeps}, steps per sweep = {steps_per_sweep}: give at least 1 and 8")
    period_sweeps = 1 if rig.sweep.waveform == "sawtooth" else 2
    before = 0 if response.is_ideal else _SETTLING_PERIODS * period_sweeps
    moves = _moves_of(rig, -before * rig.sweep.duration_us, before + sweeps + 1)
    rows = _rows(moves[:-1], steps_per_sweep)
    wanted = plan_of(rig)
    if wanted.turn_s:
        rows[:, 1] = wanted.min_dpt + wanted.range_dpt * wanted.level(rows[:, 0] * 1e-6 * wanted.frequency_hz)
    times, command_dpt = rows[:, 0], rows[:, 1]
    optical = response.track(
        times, command_dpt, seed, temperature_coefficient_dpt_per_c=rig.lens.temperature_coefficient_dpt_per_c
    )
    recorded = times >= 0.0
    starts = [move.start_us for move in moves if move.pulse_us and move.start_us >= 0.0]
    sweep_rows = tuple(int(row) for row in np.searchsorted(times[recorded], np.round(starts)))
    delay_us = round(rig.lens.delay_ms * 1e3)
    return LensPlan(times[recorded], command_dpt[recorded], optical[recorded], sweep_rows, _triggers(moves, delay_us))


def _moves_of(rig: Rig, start_us: float, sweeps: int) -> list[LensMove]:
    """The moves of some sweeps from a far turn at ``start_us``, up to the start of the last one."""
    moves: list[LensMove] = []
    for move in sweep_moves(rig.sweep, start_us):
        moves.append(move)
        if sum(m.pulse_us > 0 for m in moves) == sweeps:
            return moves
    raise AssertionError("a sweep has no end")


def _rows(moves: list[LensMove], steps: int) -> NDArray[np.float64]:
    """Whole microseconds and vergence [N, 2], close enough for straight lines between rows."""
    rows = [(np.round(moves[0].start_us), moves[0].start_dpt)]
    for move in moves:
        phase = np.arange(1, (1 if move.is_flyback else steps) + 1) / (1 if move.is_flyback else steps)
        times = np.round(move.start_us + phase * (move.end_us - move.start_us))
        rows += zip(times, move.vergence_dpt(times), strict=True)
    return np.array(rows)


def _triggers(moves: list[LensMove], delay_us: int) -> NDArray[np.void]:
    """A pulse at the start of every recorded sweep and of the one after them."""
    edges = []
    for move in moves:
        if move.pulse_us and move.start_us >= 0.0:
            rise = round(move.start_us) - delay_us
            edges += [(rise, TriggerType.RISING_EDGE), (rise + move.pulse_us, TriggerType.FALLING_EDGE)]
    return np.array(edges, TRIGGER_DTYPE)
