"""A damped resonator, stepped exactly: the mechanics of a lens, the low-pass of an inertial sensor, coloured noise."""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

_SETTLED = 1e-6


class SecondOrder:
    """The system ``x'' = w^2 (u - x) - 2 d w x'`` with ``w = 2 pi resonance_hz`` and damping ratio ``d``.

    Its steps are those of the matrix exponential for an input that is linear between samples, so they are exact at any
    step length and any damping. It continues from call to call, and the channels do not mix.
    """

    def __init__(self, resonance_hz: float, damping: float, step_s: float, start: ArrayLike) -> None:
        """Begin at rest at ``start``, a number or one per channel [C]."""
        if not (resonance_hz > 0 and damping > 0 and step_s > 0):
            raise ValueError(f"resonance {resonance_hz} Hz, damping {damping}, step {step_s} s must be positive")
        self._transition = _transition(2 * np.pi * resonance_hz * step_s, damping)
        start = np.atleast_1d(np.asarray(start, float))
        self._state = np.stack([start, np.zeros_like(start), start])  # x, x' / w, the last input

    def filter(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """The output at the time of each input sample, [N] or [N, C]."""
        channels = np.ascontiguousarray(samples, np.float64).reshape(len(samples), self._state.shape[1])
        output = np.empty_like(channels)
        _run(channels, self._transition, self._state, output)
        return output.reshape(samples.shape)


class ColouredNoise:
    """Gaussian noise of a given standard deviation below a corner frequency, with a second-order roll-off.

    It is stationary from its first sample on, and smooth enough to have a speed.

    Args:
        deviation: standard deviation.
        corner_hz: half-power frequency.
        step_s: time between samples.
        seed: of the noise; the same seed gives the same samples however they are asked for.
    """

    def __init__(self, deviation: float, corner_hz: float, step_s: float, seed: Sequence[int]) -> None:
        self._rng = np.random.default_rng(seed)
        # At damping sqrt(1/2) the half-power frequency is the resonance, and the slowest mode decays at w sqrt(1/2).
        self._filter = SecondOrder(corner_hz, np.sqrt(0.5), step_s, 0.0)
        settling = int(np.ceil(-np.log(_SETTLED) / (2 * np.pi * corner_hz * np.sqrt(0.5) * step_s))) + 1
        impulse = SecondOrder(corner_hz, np.sqrt(0.5), step_s, 0.0)
        response = impulse.filter(np.eye(1, settling + 1)[0])
        self._gain = deviation / np.sqrt(np.sum(response**2))
        self.next(settling)

    def next(self, count: int) -> NDArray[np.float64]:
        """The next samples, [count]."""
        return self._filter.filter(self._gain * self._rng.standard_normal(count))


def _transition(angle: float, damping: float) -> NDArray[np.float64]:
    """``x, x'/w`` after a step, from ``x, x'/w``, the input at its start and its rise; ``angle`` is ``w * step``."""
    system = np.zeros((4, 4))
    system[0, 1] = angle
    system[1, :3] = -angle, -2 * damping * angle, angle
    system[2, 3] = 1.0
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(system).sum(axis=1).max(), 1e-300)))) + 1)
    system /= 2.0**halvings
    power = exponential = np.eye(4)
    for order in range(1, 19):  # the norm is below 1/2: the rest of the series is below rounding
        power = power @ system / order
        exponential = exponential + power
    for _ in range(halvings):
        exponential = exponential @ exponential
    return np.ascontiguousarray(exponential[:2])


@numba.njit(nogil=True, cache=True)
def _run(samples, transition, state, output):  # type: ignore[no-untyped-def]
    for c in range(samples.shape[1]):
        x, v, last = state[0, c], state[1, c], state[2, c]
        for n in range(samples.shape[0]):
            rise = samples[n, c] - last
            x, v = (
                transition[0, 0] * x + transition[0, 1] * v + transition[0, 2] * last + transition[0, 3] * rise,
                transition[1, 0] * x + transition[1, 1] * v + transition[1, 2] * last + transition[1, 3] * rise,
            )
            last = samples[n, c]
            output[n, c] = x
        state[0, c], state[1, c], state[2, c] = x, v, last
