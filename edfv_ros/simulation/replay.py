"""Events of a static scene against focus, computed once and replayed along whatever the lens does."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events import EVENT_DTYPE
from edfv_ros.simulation.lens import LensStep
from edfv_ros.simulation.virtual_rig import VirtualRig

_STEP_DPT = 0.03
_VARIANTS = 3


@dataclass(frozen=True, slots=True)
class _Pass:
    """Events of one pass over the lens's range in the order of the motion.

    ``progress_dpt`` [N] ascends: the vergence of an up-pass, the negative vergence of a down-pass.
    """

    events: NDArray[np.int64]  # EVENT_DTYPE as pairs of integers
    progress_dpt: NDArray[np.float64]


class EventReplay:
    """What the sensor fires as the focus passes from one vergence to another.

    A static scene fires the same events at the same vergences however fast the focus moves, but for the dead time and
    the bandwidth of the pixels, which act here as they do in the rig's own sweep. Noise is not of the focus and not
    replayed. Passes of several rounds take turns, so that thresholds jitter from sweep to sweep. A move too fast for
    the pixels' dead time loses events.
    """

    def __init__(self, virtual: VirtualRig) -> None:
        rig = virtual.rig
        low, high = rig.lens.calibration.range_dpt
        self._grid = np.linspace(low, high, int(np.clip((high - low) / _STEP_DPT, 64, 512)) + 1)
        self._pictures = virtual.source.pictures(self._grid, 0.0)
        self._refractory_us = virtual.settings.pixels.refractory_us
        self._pixel_count = rig.camera.width_px * rig.camera.height_px
        self._rng = np.random.default_rng(0)
        self._illuminance_lux = np.float32(virtual.source.illuminance_lux)
        sensor = virtual.sensor.signal_only()
        light = self._pictures * self._illuminance_lux
        sweep = rig.sweep
        duration_us = sweep.duration_us * (high - low) / (sweep.vergence_max_dpt - sweep.vergence_min_dpt)
        rounds = []
        start_us = 0.0
        for _ in range(_VARIANTS + 1):
            passes = []
            for direction in (1, -1):
                times = start_us + np.linspace(0.0, duration_us, len(self._grid))
                events, exact = sensor.expose(light[::direction], times)
                travelled = (exact - start_us) / duration_us * (high - low)
                begin = low if direction > 0 else -high
                passes.append(_Pass(events.view(np.int64).reshape(-1, 2), begin + travelled))
                start_us += duration_us
            rounds.append(passes)
        self._rounds = rounds[1:]  # the first begins with pixels that have not seen a sweep before
        self._moves = 0

    def events(self, step: LensStep, delay_us: float) -> NDArray[np.void]:
        """Events of a step, EVENT_DTYPE, ascending in time, ``delay_us`` after the lens was told."""
        self._moves += step.begins
        move = step.move
        chosen = self._rounds[self._moves // 2 % _VARIANTS][0 if move.direction > 0 else 1]
        bounds = move.direction * move.vergence_dpt([step.start_us, step.end_us])
        last: Literal["left", "right"] = "right" if step.end_us >= move.end_us else "left"
        first, end = (
            int(np.searchsorted(chosen.progress_dpt, float(bounds[0]))),
            int(np.searchsorted(chosen.progress_dpt, float(bounds[1]), last)),
        )
        which: slice | NDArray[np.intp] = slice(first, end)
        possible = self._pixel_count * (1.0 + (step.end_us - step.start_us) / max(self._refractory_us, 1.0))
        if end - first > possible:
            which = np.sort(self._rng.choice(np.arange(first, end), int(possible), replace=False))
        pairs = chosen.events[which].copy()
        pairs[:, 0] = (move.time_us(move.direction * chosen.progress_dpt[which]) + delay_us).astype(np.int64)
        events: NDArray[np.void] = pairs.view(EVENT_DTYPE)[:, 0]
        return events

    def picture(self, vergences_dpt: NDArray[np.float64]) -> NDArray[np.float32]:
        """Mean radiance [H, W] over some focus positions."""
        position = np.interp(vergences_dpt, self._grid, np.arange(len(self._grid)))
        low = np.minimum(position.astype(int), len(self._grid) - 2)
        weights = np.zeros(len(self._grid), np.float32)
        np.add.at(weights, low, (1.0 - (position - low)) / len(position))
        np.add.at(weights, low + 1, (position - low) / len(position))
        mean = np.zeros(self._pictures.shape[1:], np.float32)
        for index in np.flatnonzero(weights):
            mean += weights[index] * self._pictures[index]
        return mean

    def illuminance(self, vergence_dpt: float) -> NDArray[np.float32]:
        """Light on the pixels [H, W], in lux of the scene, at the nearest focus position there is."""
        picture: NDArray[np.float32] = self._pictures[np.abs(self._grid - vergence_dpt).argmin()]
        return picture * self._illuminance_lux
