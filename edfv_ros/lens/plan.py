"""Sweep plans: how the focus is to move, and whether a lens can."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.errors import LensError
from edfv_ros.lens.focus_curve import FocusCurve
from edfv_ros.lens.levels import LEVELS, level_at, near_phase
from edfv_ros.lens.response import LensResponse, response_of
from edfv_ros.rig import Rig

SET_POINTS_PER_SWEEP = 16
"""A sweep of fewer set points is a staircase."""

_FLY_BACK_SHARE = 0.25  # of a sawtooth's period that its fly-back, or the transient of a sharp one, may take
_SINE_RESONANCE_SHARE = 0.5  # of the resonance: below it a lens follows a sine nearly as it is
_GENERATING_DRIVERS = frozenset({"optotune_ld4"})
_ROUNDED_SHARE = 0.5  # of a sweep that its turns may take
_MOST_STRAY_BINS = 0.1  # of the lens off the command that is taken for its track: as much as its time may be off
_TURN_STEPS = 64  # widths of turns that are tried
_RESONANCE_ERRORS = (0.9, 1.0, 1.1)  # documents say "near 150 Hz"
_STRAY_POINTS = 2048  # of a period
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
        turn_s: time over which a turn is rounded, at constant acceleration; 0 for sharp turns.

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
        if not 0 <= self.turn_s <= self.widest_turn_s + 1e-9:
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
    def widest_turn_s(self) -> float:
        """Half a sweep, and a quarter of one for the fly-back of a sawtooth."""
        return (_FLY_BACK_SHARE if self.waveform == "sawtooth" else _ROUNDED_SHARE) * self.sweep_s

    @property
    def range_dpt(self) -> float:
        return self.max_dpt - self.min_dpt

    @property
    def fastest_dpt_per_s(self) -> float:
        """The highest vergence rate on the way up of a sweep with sharp turns."""
        steepness = {"triangle": 1.0, "sine": math.pi / 2, "sawtooth": 1.0}[self.waveform]
        return steepness * self.range_dpt / self.sweep_s

    @property
    def near_phase(self) -> float:
        """Phase of the near turn in periods; the far turn is at 0."""
        return near_phase(self.waveform, self.turn_s * self.frequency_hz)

    def level(self, phase: ArrayLike) -> NDArray[np.float64]:
        """Position between the turns, 0 (far) to 1 (near), at phases in periods (any shape)."""
        return level_at(self.waveform, self.turn_s * self.frequency_hz, phase)


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
    level = plan.level(np.arange(points) / points)
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


def plan_of(rig: Rig) -> SweepPlan:
    """The sweep that a rig file asks for, shaped in vergence: what the lens is told, and its track where triggers sync.

    Turns are rounded as :func:`rounded_for` says.
    """
    sweep = rig.sweep
    plan = SweepPlan(sweep.vergence_min_dpt, sweep.vergence_max_dpt, sweep.waveform, sweep.frequency_hz)
    return rounded_for(plan, rig)


def rounded_for(plan: SweepPlan, rig: Rig) -> SweepPlan:
    """The plan with turns that the rig's lens comes out of without ringing, where somebody can round them.

    The Lens Driver 4 makes the waveform itself where triggers sync, with sharp turns.
    """
    if rig.lens.driver in _GENERATING_DRIVERS and rig.sweep.sync == "trigger":
        return plan
    return rounded(plan, response_of(rig), _MOST_STRAY_BINS * rig.bins.width_dpt)


@lru_cache(maxsize=64)
def rounded(plan: SweepPlan, response: LensResponse, most_stray_dpt: float) -> SweepPlan:
    """The plan with its turns rounded just so widely that :func:`stray_dpt` stays below a limit.

    Turns take ``widest_turn_s`` at most. Where that is not enough, those are chosen that the lens follows best. A sine
    has no turns to round, and a lens whose resonance is not known gets sharp ones.
    """
    if plan.waveform == "sine" or response.damping is None:
        return plan
    widths_s = np.linspace(0.0, plan.widest_turn_s, _TURN_STEPS + 1).tolist()
    candidates = [replace(plan, turn_s=width_s) for width_s in widths_s]
    strays_dpt = []
    for candidate in candidates:
        strays_dpt.append(stray_dpt(candidate, response))
        if strays_dpt[-1] < most_stray_dpt:
            return candidate
    return candidates[int(np.argmin(strays_dpt))]


def stray_dpt(plan: SweepPlan, response: LensResponse) -> float:
    """How far a lens strays from a plan that it follows for long, in dioptres: the overshoot of its turns.

    The lens is a resonator, ``H = 1 / (1 - (f / f0)^2 + 2 i d f / f0)``; what it is compared with is the command
    delayed by its lag on a ramp, ``d / (pi f0)``, as ``lens.delay_ms`` delays it. The largest distance over a period
    (over the way up of a sawtooth) counts, for a resonance that is up to 10 % off either way. Not for a plan that is
    shaped in control. A response without resonance and damping strays by 0.
    """
    damping = response.damping
    if response.resonance_hz is None or damping is None:
        return 0.0
    phase = np.arange(_STRAY_POINTS) / _STRAY_POINTS
    spectrum = np.fft.rfft(plan.level(phase))
    frequency_hz = np.arange(len(spectrum)) * plan.frequency_hz
    strays = []
    for error in _RESONANCE_ERRORS:
        resonance_hz = error * response.resonance_hz
        relative = frequency_hz / resonance_hz
        lag_s = damping / (math.pi * resonance_hz)
        followed = 1.0 / (1.0 - relative**2 + 2j * damping * relative)
        delayed = np.exp(-2j * math.pi * frequency_hz * lag_s)
        stray = np.abs(np.fft.irfft(spectrum * (followed - delayed)))
        if plan.waveform == "sawtooth":
            stray = stray[(phase - lag_s * plan.frequency_hz) % 1.0 < plan.near_phase]
        strays.append(float(stray.max()))
    return plan.range_dpt * max(strays)


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
