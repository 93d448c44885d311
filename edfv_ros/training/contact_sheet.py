"""Training samples as a picture: guide, events and depth of each."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.optics import VergenceBins
from edfv_ros.outputs.depth_picture import colour_depth
from edfv_ros.simulation.crops import TrainingSweeps

Picture = NDArray[np.uint8]

_COLUMNS = 4
_GAP_PX, _LINE_PX = 6, 16
_MOST_EVENTS = 30.0  # of a pixel, at which the picture of the events is white
_NO_FRAME_BGR = (205, 205, 205)
_INK_BGR = (40, 40, 40)


def contact_sheet(samples: Sequence[TrainingSweeps]) -> Picture:
    """Samples in rows of four, each as its frame, its events per pixel (bright for 30) and its depth side by side.

    The line above says seed, kind of scene, blur per bin of 32, threshold, and the share of the pixels with four events
    in their neighbourhood.

    Args:
        samples: one or more, of equal resolution.

    Returns:
        uint8 [H', W', 3], BGR.
    """
    tiles = [_tile(sample) for sample in samples]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % min(_COLUMNS, len(tiles)))
    columns = min(_COLUMNS, len(tiles))
    rows = [np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _tile(sample: TrainingSweeps) -> Picture:
    width, height = sample.resolution
    frame = np.full((height, width, 3), _NO_FRAME_BGR, np.uint8)
    if sample.frame is not None:
        frame = cv2.cvtColor(sample.frame, cv2.COLOR_GRAY2BGR)
    level = np.clip(np.sqrt(sample.event_count() / _MOST_EVENTS), 0.0, 1.0)
    events = cv2.applyColorMap((255.0 * level).astype(np.uint8), cv2.COLORMAP_INFERNO)
    depth = colour_depth(sample.depth_m[0], VergenceBins(*sample.vergence_range_dpt, 1))
    tile = np.full((height + _LINE_PX + _GAP_PX, 3 * width + 4 * _GAP_PX, 3), 255, np.uint8)
    for number, picture in enumerate((frame, events, depth)):
        left = _GAP_PX + number * (width + _GAP_PX)
        tile[_LINE_PX : _LINE_PX + height, left : left + width] = picture
    blur_px = sample.blur_slope_px_per_dpt * (sample.vergence_range_dpt[1] - sample.vergence_range_dpt[0]) / 32
    text = (
        f"{sample.seed} {sample.kind}, {blur_px:.2f} px/bin, {sample.threshold_on:.2f}, {sample.supported_share():.0%}"
    )
    cv2.putText(tile, text, (_GAP_PX, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, _INK_BGR, 1, cv2.LINE_AA)
    return tile
