"""A scene and its depth side by side."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.optics import VergenceBins
from edfv_ros.outputs.depth_picture import MARGIN_PX, depth_picture, save_png, zoom_for


def save_scene_picture(
    radiance: NDArray[np.float32], depth_m: NDArray[np.float32], bins: VergenceBins, path: Path
) -> None:
    """Write a PNG: sharp radiance [H, W] (any unit, shown with a gamma of 2.2) beside coloured depth [H, W].

    Raises:
        OutputError: ``path`` cannot be written.
    """
    white = float(np.percentile(radiance, 99.5)) or 1.0
    grey = np.rint(255.0 * np.clip(radiance / white, 0.0, 1.0) ** (1.0 / 2.2)).astype(np.uint8)
    zoom = zoom_for(grey.shape[1])
    grey = grey.repeat(zoom, axis=0).repeat(zoom, axis=1)
    scene = np.pad(grey, ((MARGIN_PX, MARGIN_PX), (MARGIN_PX, 0)), constant_values=255)
    sheet = np.hstack([np.repeat(scene[..., None], 3, axis=2), depth_picture(depth_m, bins)])
    save_png(sheet, path)
