"""What the optics do when the lens is told to go somewhere."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from edfv_ros.errors import SimulationError
from edfv_ros.simulation.second_order import ColouredNoise, SecondOrder
from edfv_ros.yaml_model import NotNegative, Part, Positive

STEP_US = 125.0
"""Longest time step of the response."""

_FARTHEST_DEVIATIONS = 5.0  # of the timing jitter


class LensResponse(Part):
    """From the commanded to the optical focus: delay, play, resonance, temperature and noise, in this order.

    The response of tunable lenses is repetitive and close to linear (Dorronsoro et al., "Tunable lenses: dynamic
    characterization and fine-tuned control for high-speed applications", Opt. Express 27, 2019).

    Attributes:
        delay_ms: dead time between command and motion.
        timing_jitter_us: standard deviation of that time; the lens never runs ahead of its command.
        hysteresis_dpt: distance between the focus of a rise and of a fall at the same command (play operator).
        resonance_hz: undamped natural frequency of the lens; 0 for a lens that follows at once.
        damping: its damping ratio; 1 is critical.
        warm_up_c: how much warmer the lens gets; what that does to the focus is the rig's
            ``lens.temperature_coefficient_dpt_per_c``.
        warm_up_s: time constant of that.
        running_s: how long the lens has been running when a recording begins.
        jitter_dpt: standard deviation of the focus about where it should be.
        jitter_hz: frequency up to which focus and timing jitter.
    """

    delay_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0
    timing_jitter_us: NotNegative = 0.0
    hysteresis_dpt: NotNegative = 0.0
    resonance_hz: Annotated[float, Field(ge=0, le=1e5 / STEP_US)] = 0.0
    damping: Positive = 0.7
    warm_up_c: float = 0.0
    warm_up_s: Positive = 100.0
    running_s: NotNegative = 0.0
    jitter_dpt: NotNegative = 0.0
    jitter_hz: Positive = 50.0

    @property
    def lag_ms(self) -> float:
        """How far a slow ramp runs behind its command: the dead time and the lag of the resonator, ``2 d / w``."""
        resonator_s = 2 * self.damping / (2 * math.pi * self.resonance_hz) if self.resonance_hz else 0.0
        return self.delay_ms + 1e3 * resonator_s

    @property
    def is_ideal(self) -> bool:
        """Whether the optics are where the command is."""
        effects = ("delay_ms", "timing_jitter_us", "hysteresis_dpt", "resonance_hz", "warm_up_c", "jitter_dpt")
        return not any(getattr(self, effect) for effect in effects)

    def track(
        self,
        command_times_us: ArrayLike,
        command_dpt: ArrayLike,
        seed: int,
        *,
        temperature_coefficient_dpt_per_c: float = 0.0,
    ) -> NDArray[np.float64]:
        """Optical focus vergence at ``command_times_us``, float64 [N], of a lens that was at rest at the first command.

        Args:
            command_times_us: [N], strictly ascending. Between the rows the command is linear; the response is worked
                out in steps of at most STEP_US. Give rows as fine as the response is wanted.
            command_dpt: [N].
            seed: of jitter and noise; the same seed gives the same response.
            temperature_coefficient_dpt_per_c: the rig's.

        Raises:
            SimulationError: the times do not ascend, or the columns do not match.
        """
        times, command = np.asarray(command_times_us, float), np.asarray(command_dpt, float)
        if times.ndim != 1 or times.shape != command.shape or len(times) < 2 or not np.all(np.diff(times) > 0):
            raise SimulationError(
                f"lens command: times {times.shape} and vergences {command.shape} must be two columns of equal length, "
                "of at least two rows, in ascending time"
            )
        if self.is_ideal:
            return command.copy()
        # Whole steps per row where rows are evenly spaced, so that no row falls between two steps.
        elapsed = times - times[0]
        row_us = elapsed[-1] / (len(times) - 1)
        even = np.allclose(np.diff(elapsed), row_us, rtol=0.0, atol=1e-3 * row_us)
        steps = math.ceil(row_us / STEP_US) * (len(times) - 1) if even else math.ceil(elapsed[-1] / STEP_US)
        grid = np.linspace(0.0, elapsed[-1], steps + 1)
        dynamics = LensDynamics(
            self,
            vergence_dpt=float(command[0]),
            step_us=float(grid[1]),
            seed=seed,
            temperature_coefficient_dpt_per_c=temperature_coefficient_dpt_per_c,
        )
        optical = dynamics.advance(np.interp(grid, elapsed, command))
        result: NDArray[np.float64] = np.interp(elapsed, grid, optical)
        return result


LENS_RESPONSES: Mapping[str, LensResponse] = MappingProxyType(
    {
        "ideal": LensResponse(),
        "el-10-30": LensResponse(
            resonance_hz=150.0, damping=0.28, hysteresis_dpt=0.05, warm_up_c=10.0, jitter_dpt=0.005
        ),
        "el-16-40": LensResponse(
            resonance_hz=52.0, damping=0.49, hysteresis_dpt=0.03, warm_up_c=10.0, jitter_dpt=0.003
        ),
    }
)
"""Responses by name.

EL-10-30: first resonance near 150 Hz and a transient of 15 ms, which is the time to settle within 2 % (4 / (d w));
its second resonance, near 600 Hz, is left out. EL-16-40-TC: response (10 to 90 %) in 5 ms, settled within 25 ms, which
a single resonator does at 52 Hz and a damping of 0.49. Both drift over some 5 min, three time constants; an EL-10-30
by 0.067 dpt per degree. Hysteresis and jitter are choices within the 0.1 dpt to which an EL-10-30 reproduces a focus.
"""


class LensDynamics:
    """A :class:`LensResponse` at work, step by step; it continues from call to call and does not depend on their size.

    Args:
        response: what the lens does.
        vergence_dpt: command at which it has been at rest.
        step_us: time between command samples, evenly spaced; at most a tenth of the period of the resonance.
        seed: of jitter and noise.
        temperature_coefficient_dpt_per_c: the rig's.
    """

    def __init__(
        self,
        response: LensResponse,
        *,
        vergence_dpt: float,
        step_us: float,
        seed: int,
        temperature_coefficient_dpt_per_c: float = 0.0,
    ) -> None:
        if not step_us > 0 or response.resonance_hz * step_us > 1e5 + 1e-6:
            raise SimulationError(
                f"lens step {step_us:g} us: give more than 0 and at most a tenth of the period of "
                f"resonance_hz = {response.resonance_hz:g}"
            )
        self._response = response
        self._step_s = step_us * 1e-6
        self._warm_dpt = temperature_coefficient_dpt_per_c * response.warm_up_c
        self._steps = 0
        self._play_dpt = vergence_dpt
        self._delay_steps = response.delay_ms * 1e3 / step_us
        self._jitter_steps = response.timing_jitter_us / step_us
        farthest = math.ceil(self._delay_steps + _FARTHEST_DEVIATIONS * self._jitter_steps) + 1
        self._commands = np.full(farthest, vergence_dpt)
        noise = (response.jitter_hz, self._step_s)
        self._timing = ColouredNoise(1.0, *noise, [seed, 0x71E]) if self._jitter_steps else None
        self._focus = ColouredNoise(response.jitter_dpt, *noise, [seed, 0xF0C]) if response.jitter_dpt else None
        self._resonator = (
            SecondOrder(response.resonance_hz, response.damping, self._step_s, vergence_dpt)
            if response.resonance_hz
            else None
        )

    def advance(self, command_dpt: NDArray[np.float64]) -> NDArray[np.float64]:
        """Optical vergence [N] at the times of the next command samples [N]; the first one is that of the start."""
        count = len(command_dpt)
        focus = self._delayed(np.asarray(command_dpt, float))
        if self._response.hysteresis_dpt:
            self._play_dpt = _play(focus, self._response.hysteresis_dpt / 2.0, self._play_dpt)
        if self._resonator is not None:
            focus = self._resonator.filter(focus)
        if self._warm_dpt:
            running_s = self._response.running_s + (self._steps + np.arange(count)) * self._step_s
            focus = focus - self._warm_dpt * np.expm1(-running_s / self._response.warm_up_s)
        if self._focus is not None:
            focus = focus + self._focus.next(count)
        self._steps += count
        return focus

    def _delayed(self, command_dpt: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = len(self._commands)
        commands = np.concatenate([self._commands, command_dpt])
        self._commands = commands[-kept:]
        delay = np.full(len(command_dpt), self._delay_steps)
        if self._timing is not None:
            deviations = np.clip(self._timing.next(len(command_dpt)), -_FARTHEST_DEVIATIONS, _FARTHEST_DEVIATIONS)
            delay = np.maximum(0.0, delay + self._jitter_steps * deviations)
        index = np.arange(len(commands))
        result: NDArray[np.float64] = np.interp(index[kept:] - delay, index, commands)
        return result


@numba.njit(nogil=True, cache=True)
def _play(values, half_width, position):  # type: ignore[no-untyped-def]
    """Replace values by those of a play operator, which follows once they have left it by ``half_width``."""
    for n in range(len(values)):
        position = min(max(position, values[n] - half_width), values[n] + half_width)
        values[n] = position
    return position
