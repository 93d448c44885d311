"""The held-out test set: full-size sweep pairs over all kinds of scenes, which no training ever draws.

Item ``i`` is the same whoever makes it and when. Its seed is ``setup_seed("test", i, attempt)``: the two lowest bits of
a seed name its split, training draws through the same function with another split, so no scene, sensor or motion is
shared (:func:`~edfv_ros.simulation.crops.setup_seed`).
"""

import math
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from edfv_ros import __version__
from edfv_ros.errors import OutputError, SimulationError
from edfv_ros.evaluation.held_out_items import ITEM_NAME, STACK_NAME, HeldOutItem, StackFrames, load_item, save_item
from edfv_ros.evaluation.held_out_rigs import HELD_OUT_RIGS, RESOLUTION
from edfv_ros.lens.sweep_search import find_sweeps
from edfv_ros.outputs.files import make_folder
from edfv_ros.rig import Rig
from edfv_ros.simulation import SCENE_KINDS, CameraTrajectory, EventSensor, LensPlan, VirtualRig, plan_sweeps, record
from edfv_ros.simulation.aps import FrameModel
from edfv_ros.simulation.crops import plan_crop, setup_seed, virtual_crop
from edfv_ros.simulation.domain import Setup, draw_setup

STACK_FRAMES = 10

_SWEEPS = 2
_MOST_ATTEMPTS = 8
_SUPPORTED_EVENTS, _LEAST_SUPPORTED = 4.0, 0.3
_NEIGHBOURHOOD_SIGMA_PX = 2.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the number of an item decides; the rest comes from its seed.

    Attributes:
        kind: of scene.
        rig: name of the rig.
        moves: whether the camera moves.
    """

    kind: str
    rig: str
    moves: bool


def draw_item(index: int) -> Drawn:
    """Kinds, rigs and motion take turns: every 30 items hold each kind twice, still and moving, every 210 on each rig.

    Raises:
        SimulationError: the index is negative.
    """
    if index < 0:
        raise SimulationError(f"item {index}: give 0 or more")
    rigs = tuple(HELD_OUT_RIGS)
    return Drawn(SCENE_KINDS[index % len(SCENE_KINDS)], rigs[index % len(rigs)], bool(index % 2))


def item_folder(folder: Path, index: int) -> Path:
    """Where an item lies."""
    drawn = draw_item(index)
    return folder / f"{index:04d}_{drawn.kind}_{'mild' if drawn.moves else 'still'}"


def make_held_out(
    folder: Path,
    count: int,
    *,
    workers: int | None = None,
    resolution: tuple[int, int] = RESOLUTION,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Make the first ``count`` items, or those that are missing.

    An item appears when it is whole, so an interrupted run is gone on with by the same call.

    Args:
        folder: gets a folder for each item.
        count: how many.
        workers: processes; as many as this one may use processors if None.
        resolution: width and height in pixels; smaller ones see the middle of the picture.
        progress: called with how many items there are.

    Raises:
        SimulationError: an argument is impossible, the folder holds items of another version, or a worker died.
        OutputError: the folder cannot be written.
    """
    if count < 1:
        raise SimulationError(f"count = {count}: give at least 1")
    if workers is not None and workers < 1:
        raise SimulationError(f"workers = {workers}: give at least 1")
    make_folder(folder)
    missing = [index for index in range(count) if not _is_made(item_folder(folder, index))]
    done = count - len(missing)
    progress(done)
    if not missing:
        return
    workers = min(workers or len(os.sched_getaffinity(0)), len(missing))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread)
    try:
        futures = [pool.submit(make_item, folder, index, resolution) for index in missing]
        for future in as_completed(futures):
            future.result()
            done += 1
            progress(done)
    except BrokenProcessPool:
        raise SimulationError(
            f"{folder}: a worker ended, perhaps for want of memory: the same command goes on; --workers 1 needs least"
        ) from None
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def make_item(folder: Path, index: int, resolution: tuple[int, int] = RESOLUTION) -> Path:
    """Make one item, whole or not at all, and return its folder.

    Of a few draws the first is taken that gives events on enough pixels, or else the one that gives the most: bare
    walls are part of the set.

    Raises:
        SimulationError: no lens drawn makes a sweep.
        OutputError: the folder cannot be written.
    """
    drawn = draw_item(index)
    changes = {"kinds": (drawn.kind,), "still": float(not drawn.moves)}
    domain = HELD_OUT_RIGS[drawn.rig].model_copy(update=changes)
    best: tuple[float, int, Setup] | None = None
    for attempt in range(_MOST_ATTEMPTS):
        seed = setup_seed("test", index, attempt)
        setup = draw_setup(seed, resolution, domain)
        coarse = plan_crop(setup, seed)
        if coarse is None:
            continue  # a lens that does not follow its command
        supported, fitted = _fit_thresholds(setup, coarse, seed, domain.threshold[0])
        if best is None or supported > best[0]:
            best = supported, seed, fitted
        if supported >= _LEAST_SUPPORTED:
            break
    if best is None:
        raise SimulationError(f"item {index}: no lens of {_MOST_ATTEMPTS} draws sweeps")
    supported, seed, fitted = best
    place = item_folder(folder, index)
    temporary = place.with_name(f".{place.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        _write_item(temporary, fitted, index, seed, drawn, supported)
        temporary.replace(place)
    except OSError as error:
        raise OutputError(f"{place}: cannot be written: {error.strerror or error}") from None
    return place


def _write_item(folder: Path, setup: Setup, index: int, seed: int, drawn: Drawn, supported: float) -> None:
    plan = _whole_sweeps(setup, seed)
    setup = setup._replace(rig=_named(setup.rig, drawn.rig))
    virtual = virtual_crop(setup, plan, seed)
    record(folder, virtual, plan, CameraTrajectory(setup.settings.motion, seed))
    stack, frames = render_stack(virtual, plan)
    np.save(folder / STACK_NAME, stack)
    save_item(
        HeldOutItem(
            index=index,
            seed=seed,
            kind=drawn.kind,
            motion="mild" if drawn.moves else "still",
            rig=drawn.rig,
            supported=supported,
            contrast=setup.contrast,
            threshold_on=setup.settings.pixels.threshold_on,
            threshold_off=setup.settings.pixels.threshold_off,
            focal_stack=frames,
        ),
        folder,
    )


def render_stack(virtual: VirtualRig, plan: LensPlan) -> tuple[NDArray[np.uint8], StackFrames]:
    """Ten frames of each sweep, evenly spaced in focus from end to end, by the frame side of the rig's sensor.

    An exposure lasts at most a bin of a sweep, or the focus would smear; in dim light the frames are amplified
    and noisy, as those of a camera would be.

    Args:
        virtual: the rig in front of its scene.
        plan: what its lens does.

    Returns:
        uint8 [sweeps, 10, H, W], and how they were taken.
    """
    rig = virtual.rig
    duration_us = int(np.diff(plan.times_us[list(plan.sweep_rows)]).min())
    model = FrameModel(longest_exposure_us=duration_us / rig.bins.count, rate_hz=0.0)
    settings = virtual.settings.model_copy(update={"frames": model})
    camera = VirtualRig(rig, virtual.source, settings, seed=virtual.seed)
    half_us = 0.5 * camera.frames.exposure_us
    images, focus = [], []
    for first, last in zip(plan.sweep_rows[:-1], plan.sweep_rows[1:], strict=True):
        times_us, vergence_dpt = plan.times_us[first : last + 1], plan.vergence_dpt[first : last + 1]
        ends_us = times_us[0] + half_us, times_us[-1] - half_us
        from_dpt, to_dpt = np.interp(ends_us, times_us, vergence_dpt)
        order = np.argsort(vergence_dpt)
        wanted_us = np.interp(np.linspace(from_dpt, to_dpt, STACK_FRAMES), vergence_dpt[order], times_us[order])
        starts_us = np.floor(np.clip(wanted_us, *ends_us) - half_us)
        images.append([camera.frame(start_us, plan.times_us, plan.vergence_dpt).image for start_us in starts_us])
        exposed = np.linspace(starts_us, starts_us + 2.0 * half_us, 9)
        focus.append(tuple(np.interp(exposed, plan.times_us, plan.vergence_dpt).mean(axis=0).tolist()))
    return np.array(images, np.uint8), StackFrames(exposure_us=camera.frames.exposure_us, vergence_dpt=tuple(focus))


def _fit_thresholds(setup: Setup, plan: LensPlan, seed: int, lowest: float) -> tuple[float, Setup]:
    """Lower the thresholds as an operator would, until enough pixels have events, and say what share then has.

    As for training samples, but looked at in one coarse sweep, which has half of a pair's events.
    """
    width, height = setup.rig.camera.resolution
    rows = slice(0, plan.sweep_rows[1] + 1)
    virtual = virtual_crop(setup, plan, seed)
    seen = virtual.illuminance_lux(plan.vergence_dpt[rows], plan.times_us[rows] * 1e-6)
    pixels = setup.settings.pixels
    fired, _ = EventSensor((width, height), pixels, seed).expose(seen, plan.times_us[rows])
    addresses = fired["y"].astype(np.int64) * width + fired["x"]
    events = np.bincount(addresses, minlength=width * height).reshape(height, width)
    around = _SWEEPS * cv2.GaussianBlur(events.astype(np.float32), (0, 0), _NEIGHBOURHOOD_SIGMA_PX)
    factor = float(np.quantile(around, 1.0 - setup.wanted_supported)) / _SUPPORTED_EVENTS
    factor = min(1.0, max(factor, lowest / math.sqrt(pixels.threshold_on * pixels.threshold_off)))
    # the number of events is about inverse to the threshold
    supported = float(np.mean(around / factor >= _SUPPORTED_EVENTS))
    thresholds = {"threshold_on": factor * pixels.threshold_on, "threshold_off": factor * pixels.threshold_off}
    lowered = setup.settings.model_copy(update={"pixels": pixels.model_copy(update=thresholds)})
    return supported, setup._replace(settings=lowered)


def _whole_sweeps(setup: Setup, seed: int) -> LensPlan:
    """An up-sweep and a down-sweep in fine steps, from the far turn of the optical focus on; times from 0.

    A lens that lags turns later than its command, so its sweeps are cut out of three.
    """
    rig, response = setup.rig, setup.settings.lens_response
    plan = plan_sweeps(rig, response, sweeps=_SWEEPS if response.is_ideal else _SWEEPS + 1, seed=seed)
    sweeps = find_sweeps(plan.times_us, plan.vergence_dpt, rig.bins, complete=True).sweeps
    up = next(number for number, sweep in enumerate(sweeps) if sweep.direction > 0)
    rows = [int(row) for row in np.searchsorted(plan.times_us, [s.timestamps_us[0] for s in sweeps[up : up + 2]])]
    rows.append(int(np.searchsorted(plan.times_us, sweeps[up + 1].timestamps_us[-1])))
    kept = slice(rows[0], rows[2] + 1)
    triggers = plan.triggers.copy()
    triggers["timestamp"] -= int(plan.times_us[rows[0]])
    return replace(
        plan,
        times_us=plan.times_us[kept] - plan.times_us[rows[0]],
        command_dpt=plan.command_dpt[kept],
        vergence_dpt=plan.vergence_dpt[kept],
        sweep_rows=tuple(row - rows[0] for row in rows),
        triggers=triggers[triggers["timestamp"] >= 0],
    )


def _named(rig: Rig, name: str) -> Rig:
    return rig.model_copy(update={"camera": rig.camera.model_copy(update={"name": "held_out", "model": name.upper()})})


def _is_made(folder: Path) -> bool:
    """Whether an item is there.

    Raises:
        SimulationError: it is of another version.
    """
    if not folder.exists():
        return False
    item = load_item(folder)
    if item is None or item.edfv_ros != __version__:
        was = f"no {ITEM_NAME}" if item is None else f"made by version {item.edfv_ros}"
        raise SimulationError(f"{folder}: {was}, and would not fit items of {__version__}: use another folder")
    return True


def _one_thread() -> None:
    """Items are made side by side; their threads would only wait for one another."""
    numba.set_num_threads(1)
    cv2.setNumThreads(1)
