"""A sweep for people to look at: a strip of pictures, or a short video."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import OutputError
from edfv_ros.simulation.lens_plan import LensPlan
from edfv_ros.simulation.virtual_rig import VirtualRig

Picture = NDArray[np.uint8]

VIDEO_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
"""Kinds of videos that can be written, by suffix."""

_GAP_PX = 4
_CAPTION_PX = 22
_VIDEO_FPS = 25.0
_SHOWN_STEPS = 2  # steps of the plan per frame of the video


def sweep_strip(virtual: VirtualRig, plan: LensPlan, *, columns: int = 5) -> Picture:
    """Draw the first sweep of a plan: what the camera sees at some focus positions, and the events around each.

    Args:
        virtual: a rig that has not been used yet.
        plan: of its lens.
        columns: number of focus positions, from the far end to the near end.

    Returns:
        BGR uint8 [h, w, 3]. Above the pictures, one with all in focus first; below the events of the sweep (brighter
        blue, darker red), the depth first (near is red).
    """
    rows = slice(plan.sweep_rows[0], plan.sweep_rows[1] + 1)
    times, vergences = plan.times_us[rows], plan.vergence_dpt[rows]
    events = virtual.events(vergences, times)
    low, high = virtual.rig.sweep.vergence_min_dpt, virtual.rig.sweep.vergence_max_dpt
    steps = np.linspace(0, len(times) - 1, 6 * columns + 1).round().astype(int)[1:]
    shown = [int(steps[6 * column + 2]) for column in range(columns)]
    depth_m = virtual.source.depth_m(float(times.mean()) * 1e-6)
    white = virtual.source.white_radiance
    upper = [_captioned(_grey(virtual.source.sharp, white), "all in focus")]
    lower = [_captioned(_depth(depth_m, low, high), "depth")]
    pictures = virtual.source.pictures(vergences[shown], times[shown] * 1e-6)
    half = len(times) // (6 * columns)
    for number, picture in zip(shown, pictures, strict=True):
        around = times[[max(number - half, 0), min(number + half, len(times) - 1)]]
        near = slice(*np.searchsorted(events["timestamp"], around))
        vergence = float(vergences[number])
        upper.append(_captioned(_grey(picture, white), f"focus {1.0 / max(vergence, 1e-3):.2f} m"))
        lower.append(_captioned(_events(events[near], picture.shape), f"events {vergence:.2f} dpt"))
    return np.vstack([np.hstack(upper), np.hstack(lower)])


def write_sweep_video(path: Path, virtual: VirtualRig, plan: LensPlan) -> None:
    """Write what the camera sees, and its events, over all sweeps of a plan, slowed down.

    Args:
        path: its suffix is one of VIDEO_CODECS.
        virtual: a rig that has not been used yet.
        plan: of its lens.

    Raises:
        OutputError: the file cannot be written.
    """
    codec = VIDEO_CODECS[path.suffix.lower()]
    video: cv2.VideoWriter | None = None
    for picture in _video_frames(virtual, plan):
        if video is None:
            size = picture.shape[1], picture.shape[0]
            video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), _VIDEO_FPS, size)
            if not video.isOpened():
                raise OutputError(f"{path}: cannot write this video: does its folder exist, and may you write there?")
        video.write(picture)
    if video is not None:
        video.release()


def _video_frames(virtual: VirtualRig, plan: LensPlan) -> Iterator[Picture]:
    white = virtual.source.white_radiance
    for first, last in zip(plan.sweep_rows, plan.sweep_rows[1:], strict=False):
        times, vergences = plan.times_us[first : last + 1], plan.vergence_dpt[first : last + 1]
        events = virtual.events(vergences, times)
        for row in range(0, len(times) - _SHOWN_STEPS, _SHOWN_STEPS):
            near = slice(*np.searchsorted(events["timestamp"], times[[row, row + _SHOWN_STEPS]]))
            picture = virtual.source.pictures(vergences[[row]], times[[row]] * 1e-6)[0]
            focus = f"focus {vergences[row]:.2f} dpt, {times[row] * 1e-3:.0f} ms"
            fired = _captioned(_events(events[near], picture.shape), "events")
            both = np.hstack([_captioned(_grey(picture, white), focus), fired])
            height, width = (side // 2 * 2 for side in both.shape[:2])  # codecs want even sides
            yield np.ascontiguousarray(both[:height, :width])


def _grey(radiance: NDArray[np.float32], white: float) -> Picture:
    grey = (np.clip(radiance / white, 0.0, 1.0) ** (1 / 2.2) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _depth(depth_m: NDArray[np.float32], low_dpt: float, high_dpt: float) -> Picture:
    nearness = np.nan_to_num((1.0 / depth_m - low_dpt) / (high_dpt - low_dpt), nan=0.0)
    image: Picture = cv2.applyColorMap((np.clip(nearness, 0.0, 1.0) * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    image[np.isnan(depth_m)] = 128
    return image


def _events(events: NDArray[np.void], shape: tuple[int, ...]) -> Picture:
    signed = np.zeros(shape, np.int64)
    np.add.at(signed, (events["y"], events["x"]), 2 * events["polarity"].astype(np.int64) - 1)
    strength = np.clip(np.abs(signed) * 120, 0, 255).astype(np.uint8)
    image = np.full((*shape, 3), 255, np.uint8)
    image[..., 1] -= strength
    image[..., 2] -= np.where(signed > 0, strength, 0).astype(np.uint8)
    image[..., 0] -= np.where(signed < 0, strength, 0).astype(np.uint8)
    return image


def _captioned(image: Picture, caption: str) -> Picture:
    framed = cv2.copyMakeBorder(image, _CAPTION_PX, _GAP_PX, _GAP_PX, _GAP_PX, cv2.BORDER_CONSTANT, value=(255,) * 3)
    place = (_GAP_PX, _CAPTION_PX - 7)
    return cv2.putText(framed, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
