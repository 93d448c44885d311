"""Waveforms of a sweep: position between its turns against phase, with turns sharp or rounded."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

_TABLE = 4096


def _triangle(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 - np.abs(2.0 * (phase % 1.0) - 1.0)


def _sine(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    return (1.0 - np.cos(2.0 * np.pi * phase)) / 2.0


def _sawtooth(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    return phase % 1.0


LEVELS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "triangle": _triangle,
    "sine": _sine,
    "sawtooth": _sawtooth,
}
"""Position between the turning points, 0 (far) to 1 (near), against phase in periods; phase 0 is the far turn."""


def level_at(waveform: str, turn: float, phase: ArrayLike) -> NDArray[np.float64]:
    """Position at phases (any shape), 0 (far) to 1 (near); phase 0 is the far turn.

    Args:
        waveform: a key of LEVELS.
        turn: part of a period over which turns are rounded; 0 for sharp ones. What is rounded is the mean of the
            sharp waveform over so much time, stretched so that it reaches both turns: a parabola (constant
            acceleration) at a triangle's turn, and two of them for a sawtooth's fly-back.
        phase: in periods.
    """
    phase = np.asarray(phase, np.float64)
    if not turn:
        return LEVELS[waveform](phase)
    table = _rounded(waveform, turn)
    result: NDArray[np.float64] = np.interp(phase % 1.0, np.arange(_TABLE + 1) / _TABLE, table)
    return result


def near_phase(waveform: str, turn: float) -> float:
    """Phase of the near turn; the way up takes so much of a period."""
    if waveform != "sawtooth":
        return 0.5
    return float(np.argmax(_rounded(waveform, turn))) / _TABLE if turn else 1.0


@lru_cache(maxsize=256)
def _rounded(waveform: str, turn: float) -> NDArray[np.float64]:
    """A period of the rounded waveform from far turn to far turn, float64 [_TABLE + 1]; not to be written to."""
    means = 2 if waveform == "sawtooth" else 1  # of its jump the first one makes a ramp, and the second parabolas
    period = LEVELS[waveform](np.arange(_TABLE) / _TABLE)
    for _ in range(means):
        period = _mean(period, turn / means)
    period = np.roll(period, -int(np.argmin(period)))
    period = (period - period.min()) / np.ptp(period)
    return np.append(period, period[0])


def _mean(period: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Mean of a periodic function over a window, part of a period, about each of its points [N]."""
    fine = np.arange(len(period) + 1) / len(period)
    # The mean is the rise of the integral across the window; the integral is straight beyond one period.
    integral = np.concatenate([[0.0], np.cumsum((period + np.roll(period, -1)) / 2) / len(period)])
    first, last = (
        np.floor(edge) * integral[-1] + np.interp(edge % 1.0, fine, integral)
        for edge in (fine[:-1] - width / 2, fine[:-1] + width / 2)
    )
    result: NDArray[np.float64] = (last - first) / width
    return result
