"""Sweep plans: how the focus is to move, and whether a lens can."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import LensError
from edfv_ros.lens.focus_curve import FocusCurve
from edfv_ros.lens.response import LensResponse
from edfv_ros.lens.waveform import LEVELS
from edfv_ros.rig import Rig

SET_POINTS_PER_SWEEP = 16
"""A sweep of fewer set points is a staircase."""

_FLY_BACK_SHARE = 0.25  # of a sawtooth's period that the transient of its fly-back may take
_SINE_RESONANCE_SHARE = 0.5  # of the resonance: below it a lens follows a sine nearly as it is
_ROUNDED_SHARE = 0.5  # of a sweep that its turns may take
_TURN_TABLE = 4096
_ERROR_ROWS = 257


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A periodic sweep between two vergences, beginning at the far turn.

    Attributes:
        min_dpt, max_dpt: vergence of the far and the near turn.
        waveform: ``triangle``, ``sine`` or ``sawtooth``.
        frequency_hz: whole periods a second.
        shape: what has that waveform: the ``vergence`` (a triangle then has a constant vergence rate: every bin gets
            the same time) or the ``control`` value (what a generator in a controller makes, whatever the calibration).
        turn_s: time over which a turn is rounded; 0 for sharp turns. The mean over one period of a lens's resonance
            has nothing left at that frequency, so that the lens comes out of a turn without ringing.

    Raises:
        LensError: no such sweep.
    """

    min_dpt: float
    max_dpt: float
    waveform: str
    frequency_hz: float
    shape: str = "vergence"
    turn_s: float = 0.0

    def __post_init__(self) -> None:
        if not -math.inf < self.min_dpt < self.max_dpt < math.inf:
            raise LensError(
                f"a sweep goes from the far turn to the near one, not from {self.min_dpt:g} to {self.max_dpt:g} dpt"
            )
        if self.waveform not in LEVELS:
            raise LensError(f"waveform {self.waveform}: give {', '.join(LEVELS)}")
        if self.shape not in ("vergence", "control"):
            raise LensError(f"shape {self.shape}: give vergence or control")
        if not 0 < self.frequency_hz < math.inf:
            raise LensError(f"{self.frequency_hz:g} Hz is no sweep frequency: give one above 0")
        if not 0 <= self.turn_s <= _ROUNDED_SHARE * self.sweep_s + 1e-9:
            raise LensError(
                f"turns rounded over {self.turn_s * 1e3:g} ms do not fit a sweep of {self.sweep_s * 1e3:.3g} ms"
            )

    @property
    def sweeps_per_period(self) -> int:
        """Up and down, or only up for a sawtooth."""
        return 1 if self.waveform == "sawtooth" else 2

    @property
    def sweep_s(self) -> float:
        """Duration of one sweep."""
        return 1.0 / (self.frequency_hz * self.sweeps_per_period)

    @property
    def range_dpt(self) -> float:
        return self.max_dpt - self.min_dpt

    @property
    def fastest_dpt_per_s(self) -> float:
        """The highest vergence rate on the way up of a sweep with sharp turns."""
        steepness = {"triangle": 1.0, "sine": math.pi / 2, "sawtooth": 1.0}[self.waveform]
        return steepness * self.range_dpt / self.sweep_s

    def levels(self, points: int) -> NDArray[np.float64]:
        """Position between the turns, 0 (far) to 1 (near), float64 [points], evenly spaced over a period.

        Row 0 is the far turn. The mean of the rounded waveform is stretched so that it reaches both turns.
        """
        level = LEVELS[self.waveform]
        phase = np.arange(points) / points
        width = self.turn_s * self.frequency_hz
        if not width:
            return level(phase)
        # The mean over a window is the rise of the integral across it; the integral is straight beyond one period.
        fine = np.arange(_TURN_TABLE + 1) / _TURN_TABLE
        middle = level((fine[:-1] + fine[1:]) / 2)
        integral = np.concatenate([[0.0], np.cumsum(middle) / _TURN_TABLE])

        def mean(at: NDArray[np.float64]) -> NDArray[np.float64]:
            first, last = (
                np.floor(edge) * integral[-1] + np.interp(edge % 1.0, fine, integral)
                for edge in (at - width / 2, at + width / 2)
            )
            result: NDArray[np.float64] = (last - first) / width
            return result

        table = mean(fine)
        lowest = int(np.argmin(table[:-1]))
        rounded = mean(phase + fine[lowest])
        result: NDArray[np.float64] = np.clip((rounded - table.min()) / np.ptp(table), 0.0, 1.0)
        return result


@dataclass(frozen=True, slots=True)
class SetPoints:
    """One period of a plan, point by point.

    Attributes:
        vergence_dpt: float64 [N], evenly spaced in time; row 0 is the far turn.
        direction: int64 [N], +1 on the way up and -1 on the way down: the calibration's branch.
        turns: rows that must not be left out, ascending.
    """

    vergence_dpt: NDArray[np.float64]
    direction: NDArray[np.int64]
    turns: tuple[int, ...]


def set_points(plan: SweepPlan, curve: FocusCurve, points: int) -> SetPoints:
    """Set points of one period.

    Args:
        plan: what to do.
        curve: the calibration, which a plan that is shaped in control goes through.
        points: how many; even where a period has two sweeps, so that the near turn is one of them.
    """
    level = plan.levels(points)
    near = int(np.argmax(level))
    direction = np.where(np.arange(points) <= near, 1, -1)
    direction[0] = 1
    vergence_dpt = plan.min_dpt + plan.range_dpt * level
    if plan.shape == "control":
        for way in (1, -1):
            rows = direction == way
            far, close = (float(curve.control(edge, way)) for edge in (plan.min_dpt, plan.max_dpt))
            vergence_dpt[rows] = curve.vergence_dpt(far + (close - far) * level[rows], way)
    return SetPoints(vergence_dpt, direction, (0, near))


def generator_error_dpt(plan: SweepPlan, curve: FocusCurve) -> float:
    """How far a waveform of the control value, between the same two values both ways, is off one of the vergence."""
    far, near = (np.mean([curve.control(edge, way) for way in (1, -1)]) for edge in (plan.min_dpt, plan.max_dpt))
    level = np.linspace(0.0, 1.0, _ERROR_ROWS)
    wanted_dpt = plan.min_dpt + plan.range_dpt * level
    return max(float(np.abs(curve.vergence_dpt(far + (near - far) * level, way) - wanted_dpt).max()) for way in (1, -1))


def plan_of(rig: Rig, response: LensResponse | None = None) -> SweepPlan:
    """The sweep that a rig file asks for, shaped in vergence as everything that reads the rig supposes.

    Turns are rounded for a lens that rings, where telemetry tells how the focus went. With ``sync: trigger`` the rig's
    waveform itself is taken for the track, so that turns stay sharp.
    """
    sweep = rig.sweep
    plan = SweepPlan(sweep.vergence_min_dpt, sweep.vergence_max_dpt, sweep.waveform, sweep.frequency_hz)
    return rounded_for(plan, response) if response is not None and sweep.sync == "telemetry" else plan


def rounded_for(plan: SweepPlan, response: LensResponse) -> SweepPlan:
    """The plan with turns over one period of the lens's resonance; a sine has none to round."""
    if plan.waveform == "sine" or not response.resonance_hz:
        return plan
    return replace(plan, turn_s=min(1.0 / response.resonance_hz, _ROUNDED_SHARE * plan.sweep_s))


def fastest(plan: SweepPlan, response: LensResponse, set_points_hz: float | None = None) -> tuple[float, str]:
    """The highest frequency at which the lens can follow a plan, in hertz, and what limits it.

    Args:
        plan: its frequency does not matter.
        response: of the lens.
        set_points_hz: how many set points a second the host sends; None where the controller makes the waveform.
    """
    per_period = plan.sweeps_per_period
    bounds: list[tuple[float, str]] = []
    if plan.waveform == "sine":
        if response.resonance_hz:
            why = f"a sine is followed up to half the resonance of {response.resonance_hz:g} Hz ({response.source})"
            bounds.append((_SINE_RESONANCE_SHARE * response.resonance_hz, why))
    elif response.settle_s:
        share = _FLY_BACK_SHARE if plan.waveform == "sawtooth" else 1.0
        turn = "fly-back may take a quarter of a period" if plan.waveform == "sawtooth" else "turn may take one sweep"
        why = f"settling after a {turn}, and the lens settles in {response.settle_s * 1e3:g} ms ({response.source})"
        bounds.append((share / (per_period * response.settle_s), why))
    if response.max_rate_dpt_per_s:
        why = f"the lens moves {response.max_rate_dpt_per_s:.3g} dpt/s at most ({response.source})"
        bounds.append((plan.frequency_hz * response.max_rate_dpt_per_s / plan.fastest_dpt_per_s, why))
    if response.practical_hz:
        why = f"full-range sweeps are held practical up to {response.practical_hz:g} Hz ({response.source})"
        bounds.append((response.practical_hz, why))
    if set_points_hz is not None:
        why = f"the host sends {set_points_hz:g} set points a second and a sweep needs {SET_POINTS_PER_SWEEP}"
        bounds.append((set_points_hz / (SET_POINTS_PER_SWEEP * per_period), why))
    return min(bounds, default=(math.inf, ""))


def check_plan(plan: SweepPlan, response: LensResponse, set_points_hz: float | None = None) -> None:
    """Raise LensError with the reason and the highest frequency that works where a lens cannot follow a plan."""
    highest_hz, why = fastest(plan, response, set_points_hz)
    if plan.frequency_hz > highest_hz * (1 + 1e-9):
        raise LensError(
            f"{plan.frequency_hz:g} Hz is too fast for this lens as a {plan.waveform} over "
            f"{plan.min_dpt:g} to {plan.max_dpt:g} dpt: {why}; {_floor(highest_hz):g} Hz works"
        )


def _floor(frequency_hz: float) -> float:
    """Three digits, rounded down, so that the number that is named does work."""
    step = 10.0 ** (math.floor(math.log10(frequency_hz)) - 2)
    return math.floor(frequency_hz / step + 1e-6) * step
