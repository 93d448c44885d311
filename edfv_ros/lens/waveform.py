"""How the focus moves between its turning points, by the rig's plan."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.lens.plan import SweepPlan, plan_of
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.rig import Rig

_ERROR_BINS = 0.005


def waveform_vergence_dpt(rig: Rig, phase: ArrayLike) -> NDArray[np.float64]:
    """Focus vergence in dioptres at ``phase`` in periods (any shape); an up-sweep begins at every whole phase."""
    plan = plan_of(rig)
    return plan.min_dpt + plan.range_dpt * plan.level(phase)


def sweep_between(rig: Rig, start_us: float, end_us: float, direction: int) -> FocusSweep:
    """The sweep between two turning points at known times.

    Args:
        rig: its waveform and vergence range; turns are rounded as they are for its lens.
        start_us: time of the first turning point, unix microseconds.
        end_us: time of the second one.
        direction: +1 from the far turn to the near one, -1 back. A sawtooth only has +1; where its fly-back is
            rounded, the sweep ends before ``end_us``, where that begins.

    Returns:
        The sweep, with rows enough that straight lines between them stay within 0.01 bin of the waveform.
    """
    plan = plan_of(rig)
    progress, level = _rows(plan, direction, rig.volume.bins)
    return FocusSweep(start_us + (end_us - start_us) * progress, plan.min_dpt + plan.range_dpt * level)


@lru_cache(maxsize=16)
def _rows(plan: SweepPlan, direction: int, bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Part of the time between two turning points, and level there; not to be written to."""
    first, last = (0.0, 1.0) if direction > 0 else (1.0, 0.0)
    if plan.waveform != "sine" and not plan.turn_s:
        return np.array([0.0, 1.0]), np.array([first, last])
    begin, end = (0.0, plan.near_phase) if direction > 0 else (plan.near_phase, 1.0)
    phase = np.linspace(begin, end, _pieces(plan, bins) + 1)
    level = plan.level(phase)
    level[[0, -1]] = first, last
    return (phase - begin) * plan.sweeps_per_period, level


def _pieces(plan: SweepPlan, bins: int) -> int:
    """How many straight pieces a curved sweep takes: each is off by its length squared times the bend / 8."""
    turn = plan.turn_s * plan.frequency_hz
    # Level per period^2: of the cosine; of a triangle's turn, in which the slope of 2 is reversed; of a fly-back, which
    # falls by 1 in two parabolas. Rounded ones are stretched to reach the turns.
    bend = {
        "sine": 2.0 * math.pi**2,
        "triangle": 4.0 / (turn * (1.0 - turn)) if turn else 0.0,
        "sawtooth": 4.0 / (turn**2 * (1.0 - turn)) if turn else 0.0,
    }[plan.waveform]
    return math.ceil(plan.near_phase * math.sqrt(bend * bins / (8.0 * _ERROR_BINS)))
