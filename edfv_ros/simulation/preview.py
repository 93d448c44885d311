"""One picture of a sweep, for people to look at."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.rig import Rig
from edfv_ros.simulation.event_model import PixelModel
from edfv_ros.simulation.scene import Scene
from edfv_ros.simulation.virtual_rig import VirtualRig

Picture = NDArray[np.uint8]

_STEPS = 128
_GAP_PX = 4
_CAPTION_PX = 22


def sweep_picture(
    rig: Rig, scene: Scene, *, columns: int = 5, pixels: PixelModel | None = None, seed: int = 0
) -> Picture:
    """Draw a sweep as a strip: what the camera sees at some focus positions, and the events around each.

    Args:
        rig: camera, lens and sweep.
        scene: what it looks at.
        columns: number of focus positions, from the far end to the near end.
        pixels: event pixels, the usual ones if None.
        seed: of the sensor.

    Returns:
        BGR uint8 [h, w, 3]. Above the pictures, the sharp scene first; below the events of an up-sweep (brighter blue,
        darker red), the depth first (near is red).
    """
    virtual = VirtualRig(rig, scene, pixels=pixels, seed=seed)
    low, high = rig.sweep.vergence_min_dpt, rig.sweep.vergence_max_dpt
    grid = np.linspace(low, high, _STEPS + 1)
    pictures = virtual.pictures(grid)
    events, exact = virtual.sensor.expose(pictures * np.float32(virtual.illuminance_lux), grid * 1e6)
    white = float(np.percentile(scene.sharp, 99.5))
    upper, lower = [_captioned(_grey(scene.sharp, white), "scene")], [_captioned(_depth(scene, low, high), "depth")]
    half_dpt = (high - low) / columns / 6
    for vergence in np.linspace(low + 2 * half_dpt, high - 2 * half_dpt, columns):
        near = slice(*np.searchsorted(exact, [(vergence - half_dpt) * 1e6, (vergence + half_dpt) * 1e6]))
        picture = pictures[np.abs(grid - vergence).argmin()]
        upper.append(_captioned(_grey(picture, white), f"focus {1.0 / max(vergence, 1e-3):.2f} m"))
        lower.append(_captioned(_events(events[near], picture.shape), f"events {vergence:.2f} dpt"))
    return np.vstack([np.hstack(upper), np.hstack(lower)])


def _grey(radiance: NDArray[np.float32], white: float) -> Picture:
    grey = (np.clip(radiance / white, 0.0, 1.0) ** (1 / 2.2) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _depth(scene: Scene, low_dpt: float, high_dpt: float) -> Picture:
    nearness = (1.0 / scene.depth_m - low_dpt) / (high_dpt - low_dpt)
    return cv2.applyColorMap((np.clip(nearness, 0.0, 1.0) * 255).astype(np.uint8), cv2.COLORMAP_TURBO)


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
