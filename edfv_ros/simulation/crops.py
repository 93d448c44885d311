"""Training samples: an up-sweep and a down-sweep of a small camera in front of a scene, with their true depth."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import SimulationError
from edfv_ros.events import EVENT_DTYPE
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sweep_search import find_sweeps
from edfv_ros.rig import Rig
from edfv_ros.simulation.domain import Domain, Setup, draw_setup
from edfv_ros.simulation.event_model import EventSensor, PixelModel
from edfv_ros.simulation.lens_plan import LensPlan, plan_sweeps
from edfv_ros.simulation.moving_things import set_in_motion
from edfv_ros.simulation.painted import painted
from edfv_ros.simulation.retouching import Retouched
from edfv_ros.simulation.scenes import make_scene
from edfv_ros.simulation.view import Image, Scene
from edfv_ros.simulation.virtual_rig import VirtualRig

SPLITS: Mapping[str, int] = MappingProxyType({"train": 0, "validation": 1, "test": 2})
"""Splits by name; no two share a seed, see :func:`setup_seed`."""

_SPLIT_BITS = 2
_SEED_BITS = 60
_MOST_ATTEMPTS = 64
_BLUR_STEP_PX = 0.7  # of the blur diameter between two pictures
_LEAST_STEPS, _MOST_STEPS = 35, 47  # pictures of a sweep; not one per bin, or bins could be seen in the events
_SUPPORTED_EVENTS = 4.0
_NEIGHBOURHOOD_SIGMA_PX = 2.0
_MID_GREY, _BRIGHTEST = 0.3, 4.0  # radiances
_LEAST_CHANGE = 0.95  # factor of the thresholds that is worth another exposure
_FRAME_PART = 0.25, 0.75  # of the recording, between which the frame's exposure starts


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSweeps:
    """A far-to-near and a near-to-far sweep of one scene, from the far turn of the focus to the next. Times from 0.

    Attributes:
        seed, split: what makes it again with :func:`make_crop`.
        kind: of scene.
        rig: camera, lens (with its breathing) and sweep.
        threshold_on, threshold_off: mean contrast thresholds.
        track_us: uint32 [N], strictly ascending times of ``track_dpt``.
        track_dpt: float64 [N], the optical focus, linear in between.
        t_us: uint32 [E], ascending.
        pixel: uint32 [E], ``y * W + x``.
        polarity: uint8 [E], 0 darker, 1 brighter.
        depth_m: float32 [2, H, W], z of what each pixel sees in the middle of either sweep without breathing; NaN
            where unknown.
        frame: uint8 [H, W], or None where the camera has none; in whatever focus the lens had.
        frame_us: start of its exposure, 0 without one.
    """

    seed: int
    split: str
    kind: str
    rig: Rig
    threshold_on: float
    threshold_off: float
    track_us: NDArray[np.uint32]
    track_dpt: NDArray[np.float64]
    t_us: NDArray[np.uint32]
    pixel: NDArray[np.uint32]
    polarity: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    frame: NDArray[np.uint8] | None
    frame_us: int

    @property
    def resolution(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rig.camera.resolution

    @property
    def blur_slope_px_per_dpt(self) -> float:
        return self.rig.optics.blur_slope_px_per_dpt

    @property
    def vergence_range_dpt(self) -> tuple[float, float]:
        """Far and near end of the commanded sweep."""
        return self.rig.sweep.vergence_min_dpt, self.rig.sweep.vergence_max_dpt

    def events(self) -> NDArray[np.void]:
        """The events as EVENT_DTYPE [E]."""
        events = np.zeros(len(self.t_us), EVENT_DTYPE)
        events["timestamp"] = self.t_us
        events["y"], events["x"] = np.divmod(self.pixel, self.rig.camera.width_px)
        events["polarity"] = self.polarity
        return events

    def sweeps(self) -> tuple[FocusSweep, FocusSweep]:
        """The up-sweep and the down-sweep, found as in a recording's lens track."""
        up, down = _sweeps_of(self.track_us.astype(np.float64), self.track_dpt, self.rig)
        return up, down

    def event_count(self) -> NDArray[np.uint32]:
        """Events of either polarity over both sweeps, uint32 [H, W]."""
        width, height = self.resolution
        return np.bincount(self.pixel, minlength=width * height).reshape(height, width).astype(np.uint32)

    def supported_share(self) -> float:
        """Share of the pixels with at least four events of both sweeps in their 2 px Gaussian neighbourhood."""
        return float(np.mean(_around(self.event_count()) >= _SUPPORTED_EVENTS))


def setup_seed(split: str, seed: int, attempt: int) -> int:
    """The seed of scene, rig, sensor and motion of a crop's ``attempt``.

    Its two lowest bits name the split, so that no two splits ever share a scene; the others are a hash, so that
    neighbouring seeds have nothing in common.

    Raises:
        SimulationError: there is no such split, or the seed is negative.
    """
    if split not in SPLITS:
        raise SimulationError(f"split {split!r}: choose one of {', '.join(SPLITS)}")
    if seed < 0:
        raise SimulationError(f"seed {seed} is negative: give 0 or more")
    digest = hashlib.sha256(f"{split} {seed} {attempt}".encode()).digest()
    return (int.from_bytes(digest[:8], "little") % (1 << _SEED_BITS) << _SPLIT_BITS) | SPLITS[split]


def make_crop(
    seed: int, resolution: tuple[int, int] = (128, 128), domain: Domain | None = None, split: str = "train"
) -> TrainingSweeps:
    """Simulate one training sample; the same arguments make the same, whatever ran before.

    The sensor's thresholds are lowered where its scene gives it too few events; see :class:`Domain`.

    Args:
        seed: 0 or more.
        resolution: width and height in pixels.
        domain: what rig, sensor, motion and scene are drawn from.
        split: ``train``, ``validation`` or ``test``; the same seed has nothing in common between them.

    Raises:
        SimulationError: an argument is impossible, or the domain holds next to no crop with enough events.
    """
    domain = domain or Domain()
    for attempt in range(_MOST_ATTEMPTS):
        inner = setup_seed(split, seed, attempt)
        with _one_thread():
            sample = _simulate(draw_setup(inner, resolution, domain), domain, inner, seed, split)
        if sample is not None and sample.supported_share() >= domain.least_supported:
            return sample
    raise SimulationError(
        f"crop {seed} of {split}: none of {_MOST_ATTEMPTS} draws has events on {domain.least_supported:.0%} of its "
        "pixels: lower the domain's least_supported or its threshold"
    )


def steps_per_sweep(rig: Rig) -> int:
    """Pictures that a sweep needs so that the blur grows little between them."""
    blur_px = rig.optics.blur_slope_px_per_dpt * (rig.sweep.vergence_max_dpt - rig.sweep.vergence_min_dpt)
    return min(max(math.ceil(blur_px / _BLUR_STEP_PX), _LEAST_STEPS), _MOST_STEPS)


def plan_crop(setup: Setup, seed: int) -> LensPlan | None:
    """The focus from far turn to far turn, which come after those of the command where the lens lags.

    None where the lens makes no up- and down-sweep of its commands.
    """
    rig, response = setup.rig, setup.settings.lens_response
    sweeps = 2 if response.is_ideal else 3
    plan = plan_sweeps(rig, response, sweeps=sweeps, steps_per_sweep=steps_per_sweep(rig), seed=seed)
    found = _sweeps_of(plan.times_us, plan.vergence_dpt, rig)
    if len(found) < 2:
        return None
    first, turn, last = np.searchsorted(
        plan.times_us, (found[0].timestamps_us[0], found[1].timestamps_us[0], found[1].timestamps_us[-1])
    )
    rows = slice(first, last + 1)
    cut = replace(
        plan,
        times_us=plan.times_us[rows],
        command_dpt=plan.command_dpt[rows],
        vergence_dpt=plan.vergence_dpt[rows],
        sweep_rows=(0, int(turn - first), int(last - first)),
    )
    return cut if len(_sweeps_of(cut.times_us, cut.vergence_dpt, rig)) == 2 else None


def virtual_crop(setup: Setup, plan: LensPlan, seed: int) -> VirtualRig:
    """The rig of a crop before its scene."""
    scene: Scene = set_in_motion(make_scene(setup.kind, seed, setup.rig), setup.settings.things, seed)
    if setup.paint is not None:
        scene = Retouched(scene, partial(painted, paint=setup.paint))
    scene = Retouched(scene, partial(_graded, power=setup.contrast))
    return VirtualRig.of_scene(setup.rig, scene, setup.settings, plan=plan, seed=seed)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Crops are too small to share: threads would wait for one another longer than they work."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)


def _graded(radiance: Image, power: float) -> Image:
    """Radiance raised to a power about mid-grey."""
    graded = np.maximum(radiance, 0.0) * np.float32(1.0 / _MID_GREY)
    np.power(graded, np.float32(power), out=graded)
    graded *= np.float32(_MID_GREY)
    return np.minimum(graded, np.float32(_BRIGHTEST), out=graded)


def _expose(
    virtual: VirtualRig,
    seen: Image,
    times_us: NDArray[np.float64],
    wanted_supported: float,
    lowest_threshold: float,
) -> tuple[PixelModel, NDArray[np.void]]:
    """Events of pictures [K, H, W], and the pixels that gave them, with thresholds low enough for the scene."""
    width, height = resolution = virtual.rig.camera.resolution
    pixels, sensor = virtual.settings.pixels, virtual.sensor
    fired, exact_us = sensor.expose(seen, times_us)
    addresses = fired["y"].astype(np.int64) * width + fired["x"]
    around = _around(np.bincount(addresses, minlength=width * height).reshape(height, width))
    # the number of events is about inverse to the threshold
    factor = float(np.quantile(around, 1.0 - wanted_supported)) / _SUPPORTED_EVENTS
    factor = max(factor, lowest_threshold / math.sqrt(pixels.threshold_on * pixels.threshold_off))
    if factor < _LEAST_CHANGE:
        lowered = {"threshold_on": factor * pixels.threshold_on, "threshold_off": factor * pixels.threshold_off}
        pixels = pixels.model_copy(update=lowered)
        fired, exact_us = EventSensor(resolution, pixels, virtual.seed).expose(seen, times_us)
    return pixels, virtual.readout.read(fired, exact_us, float(times_us[-1]))


def _around(event_count: NDArray[np.integer]) -> Image:
    """Mean events per pixel in the 2 px Gaussian neighbourhood of each pixel."""
    return np.asarray(cv2.GaussianBlur(event_count.astype(np.float32), (0, 0), _NEIGHBOURHOOD_SIGMA_PX))


def _simulate(setup: Setup, domain: Domain, inner: int, seed: int, split: str) -> TrainingSweeps | None:
    """One sample, or None where the lens does not sweep."""
    plan = plan_crop(setup, inner)
    if plan is None:
        return None
    rig, times_us = setup.rig, plan.times_us
    virtual = virtual_crop(setup, plan, inner)
    seen = virtual.illuminance_lux(plan.vergence_dpt, times_us * 1e-6)
    pixels, events = _expose(virtual, seen, times_us, setup.wanted_supported, domain.threshold[0])
    start_us = int(times_us[0])
    events = events[: np.searchsorted(events["timestamp"], int(times_us[-1]))]
    frame, frame_us = None, 0
    if setup.has_frame:
        part = np.random.default_rng([inner, 0xF4A3E]).uniform(*_FRAME_PART)
        begin_us = math.floor(times_us[0] + part * (times_us[-1] - times_us[0]))
        seen *= np.float32(1.0 / virtual.source.illuminance_lux)
        exposed = virtual.frames.exposed_radiance(seen, times_us, begin_us)
        frame, frame_us = virtual.frames.expose(exposed, begin_us).image, begin_us - start_us
    width = rig.camera.width_px
    return TrainingSweeps(
        seed=seed,
        split=split,
        kind=setup.kind,
        rig=rig,
        threshold_on=pixels.threshold_on,
        threshold_off=pixels.threshold_off,
        track_us=(times_us - start_us).astype(np.uint32),
        track_dpt=np.ascontiguousarray(plan.vergence_dpt),
        t_us=(events["timestamp"] - start_us).astype(np.uint32),
        pixel=events["y"].astype(np.uint32) * np.uint32(width) + events["x"].astype(np.uint32),
        polarity=events["polarity"].astype(np.uint8),
        depth_m=np.stack([virtual.source.depth_m(middle_us * 1e-6) for middle_us in plan.sweep_middles_us]),
        frame=frame,
        frame_us=frame_us,
    )


def _sweeps_of(times_us: NDArray[np.float64], focus_dpt: NDArray[np.float64], rig: Rig) -> tuple[FocusSweep, ...]:
    """The first up-sweep and the down-sweep after it; fewer where there are none."""
    sweeps = find_sweeps(times_us, focus_dpt, rig.bins, complete=True).sweeps
    ups = [number for number, sweep in enumerate(sweeps) if sweep.direction > 0]
    return sweeps[ups[0] : ups[0] + 2] if ups else ()
