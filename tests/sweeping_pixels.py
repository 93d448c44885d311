"""Pixels that compare with a threshold and nothing else, in front of a known signal and a lens that is late."""

from collections.abc import Callable

import numpy as np

from edfv_ros.events import EVENT_DTYPE
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.rig import Rig
from edfv_ros.volume import SweepVolume, VolumeRing

START_US = 1_700_000_000_000_000
THRESHOLD = 0.1
_STEP_US = 100

Signal = Callable[[np.ndarray], np.ndarray]
"""Log intensity [pixels] at a focus in bins."""


def bumps(rig: Rig, seed: int, height: float = 1.2) -> Signal:
    """Each pixel brightens and darkens about a focus of its own, with a width of its own."""
    rng = np.random.default_rng(seed)
    pixels = rig.camera.width_px * rig.camera.height_px
    at, width = rng.uniform(5, rig.bins.count - 6, pixels), rng.uniform(2, 5, pixels)
    amplitude, second = rng.uniform(-height, height, (2, pixels))
    return lambda focus: (
        amplitude * np.exp(-(((focus - at) / width) ** 2)) + 0.5 * second * np.cos((focus - at) / width)
    )


def optical_bins(rig: Rig, time_us: float) -> float:
    """Focus of a triangle in bins, from the far end at time 0 on."""
    phase = time_us / rig.sweep.duration_us % 2
    level = phase if phase <= 1 else 2 - phase
    if rig.sweep.waveform == "sine":
        level = (1 - np.cos(np.pi * phase)) / 2
    return float(level * rig.bins.count - 0.5)


def fire(rig: Rig, signal_at: Callable[[int], Signal], sweeps: int, lag_us: float) -> np.ndarray:
    """Events, EVENT_DTYPE, of ``sweeps`` sweeps; the lens is ``lag_us`` late and has been sweeping before."""
    width = rig.camera.width_px
    duration_us = rig.sweep.duration_us
    memory = signal_at(-1)(optical_bins(rig, -duration_us - lag_us))
    parts = []
    for time_us in np.arange(-duration_us, sweeps * duration_us, _STEP_US):
        now = signal_at(int(time_us // duration_us))(optical_bins(rig, time_us - lag_us))
        steps = np.trunc((now - memory) / THRESHOLD).astype(int)
        memory += steps * THRESHOLD
        fired = np.flatnonzero(steps)
        if time_us < 0 or not len(fired):
            continue
        pixels = np.repeat(fired, np.abs(steps[fired]))
        events = np.zeros(len(pixels), EVENT_DTYPE)
        events["timestamp"] = START_US + int(time_us)
        events["y"], events["x"] = np.divmod(pixels, width)
        events["polarity"] = steps[pixels] > 0
        parts.append(events)
    joined = np.zeros(sum(map(len, parts)), EVENT_DTYPE)
    for name in EVENT_DTYPE.names or ():
        joined[name] = np.concatenate([part[name] for part in parts])
    return joined


def volumes(rig: Rig, events: np.ndarray, sweeps: int, later_us: float = 0.0) -> list[SweepVolume]:
    """What the pipeline makes of the events where it takes the lens for ``later_us`` late."""
    ring = VolumeRing(rig.bins, rig.camera.resolution, slots=sweeps)
    closed = []
    for index in range(sweeps):
        times_us = np.linspace(index, index + 1, 201) * rig.sweep.duration_us
        focus = np.array([optical_bins(rig, time_us) for time_us in times_us])
        sweep = FocusSweep(START_US + times_us, rig.bins.vergence_dpt(focus), index)
        assert ring.open(sweep.later(later_us))
        ring.accumulate(events)
        closed.append(ring.close())
    return closed
