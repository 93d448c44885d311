"""How the focus moves between its turning points."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.rig import Rig

_SINE_ERROR_BINS = 0.005


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


def waveform_vergence_dpt(rig: Rig, phase: ArrayLike) -> NDArray[np.float64]:
    """Focus vergence in dioptres at ``phase`` in periods (any shape); an up-sweep begins at every whole phase."""
    sweep = rig.sweep
    level = LEVELS[sweep.waveform](np.asarray(phase, np.float64))
    return sweep.vergence_min_dpt + (sweep.vergence_max_dpt - sweep.vergence_min_dpt) * level


def sweep_between(rig: Rig, start_us: float, end_us: float, direction: int) -> FocusSweep:
    """The sweep between two turning points at known times.

    Args:
        rig: its waveform and vergence range.
        start_us: time of the first turning point, unix microseconds.
        end_us: time of the second one.
        direction: +1 from the far turn to the near one, -1 back. A sawtooth only has +1.

    Returns:
        The sweep, with rows enough that straight lines between them stay within 0.01 bin of the waveform.
    """
    near, far = rig.sweep.vergence_max_dpt, rig.sweep.vergence_min_dpt
    if rig.sweep.waveform == "sine":
        # A cosine of half a period over n straight pieces is off by pi^2 / (16 n^2) of its range at most.
        pieces = math.ceil(math.pi / 4.0 * math.sqrt(rig.volume.bins / _SINE_ERROR_BINS))
        progress = np.linspace(0.0, 1.0, pieces + 1)
        level = _sine(progress / 2.0)
    else:
        progress = level = np.array([0.0, 1.0])
    first, last = (far, near) if direction > 0 else (near, far)
    return FocusSweep(start_us + (end_us - start_us) * progress, first + (last - first) * level)
