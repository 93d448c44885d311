"""A rig of any resolution, and events for it that no scene had to be rendered for."""

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.types import EVENT_DTYPE
from edfv_ros.lens.track import LensTrack
from edfv_ros.rig import Rig, load_rig
from edfv_ros.share import config_file

START_US = 1_700_000_000_000_000
_CLUSTER_EVENTS = 200
_CLUSTER_PX = 16

RESOLUTIONS = ((346, 260), (640, 480), (1280, 720))
"""Width and height of the sensors that figures are given for: DAVIS346, DVXplorer, and a megapixel."""


def rig_of(width_px: int, height_px: int, *, frequency_hz: float | None = None, bins: int | None = None) -> Rig:
    """The rig of config/rig.yaml with another sensor of the same field of view."""
    values = load_rig(config_file("rig.yaml")).model_dump()
    camera, k = values["camera"], values["camera"]["intrinsics"]
    scale = width_px / camera["width_px"]
    camera["pixel_pitch_um"] /= scale
    k.update(fx_px=k["fx_px"] * scale, fy_px=k["fy_px"] * scale)
    k.update(cx_px=(width_px - 1) / 2, cy_px=(height_px - 1) / 2)
    camera.update(width_px=width_px, height_px=height_px)
    values["sweep"]["frequency_hz"] = frequency_hz or values["sweep"]["frequency_hz"]
    values["volume"]["bins"] = bins or values["volume"]["bins"]
    return Rig.model_validate(values)


def random_events(rig: Rig, count: int, sweeps: int, seed: int = 0) -> NDArray[np.void]:
    """Events spread evenly over the time of ``sweeps``, EVENT_DTYPE [count].

    Half of them lie anywhere, half come in bursts of 200 within 16 x 16 pixels, as an edge that passes makes them.
    """
    draw = np.random.default_rng(seed)
    width, height = rig.camera.resolution
    bursts = -(-count // _CLUSTER_EVENTS)
    scattered = np.repeat(draw.random(bursts) < 0.5, _CLUSTER_EVENTS)[:count]
    events = np.zeros(count, EVENT_DTYPE)
    for axis, size in (("x", width), ("y", height)):
        corners = np.repeat(draw.integers(0, max(1, size - _CLUSTER_PX), bursts), _CLUSTER_EVENTS)[:count]
        near = np.minimum(corners + draw.integers(0, _CLUSTER_PX, count), size - 1)
        events[axis] = np.where(scattered, draw.integers(0, size, count), near)
    events["polarity"] = draw.integers(0, 2, count)
    events["timestamp"] = START_US + (np.arange(count) * (sweeps * rig.sweep.duration_us / count)).astype(np.int64)
    return events


def track_of(rig: Rig, sweeps: int) -> LensTrack:
    """The focus up and down ``sweeps`` times, evenly, from START_US on."""
    far_near = rig.sweep.vergence_min_dpt, rig.sweep.vergence_max_dpt
    times_us = START_US + rig.sweep.duration_us * np.arange(sweeps + 1, dtype=float)
    return LensTrack(times_us, np.array([far_near[turn % 2] for turn in range(sweeps + 1)]))
