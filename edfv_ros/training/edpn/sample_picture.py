"""What a network sees and says of some examples, as a picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.edpn_inputs import BINS, Guide
from edfv_ros.optics import VergenceBins
from edfv_ros.outputs.depth_picture import UNKNOWN_BGR, colour_depth
from edfv_ros.training.edpn.drawing import Batch
from edfv_ros.training.edpn.network import Prediction
from edfv_ros.training.edpn.scoring import sigma_bins

Picture = NDArray[np.uint8]

_WHITE_BINS = 2.0  # error and uncertainty at which their pictures are brightest
_COLUMNS = ("frame", "events", "truth", "network", f"error, 0 to {_WHITE_BINS:g} bins", "sigma, the same")
_GAP_PX, _HEAD_PX = 6, 18
_TILE_PX = 160  # smaller examples are enlarged, or the heads would not fit
_INK_BGR = (40, 40, 40)


def sample_picture(batch: Batch, prediction: Prediction) -> Picture:
    """A row for each example: frame, events, true and predicted depth, error and sigma.

    Depths have the colours of their sweep, near is warm; error and sigma share a scale, so that where one is bright the
    other should be; grey is unknown.

    Args:
        batch: of one example or more.
        prediction: for it.

    Returns:
        uint8 [H', W', 3], BGR.
    """
    arrays = (batch.guide, batch.position_bins, prediction.position_bins, sigma_bins(prediction), batch.far_bins)
    rows = [_row(*example) for example in zip(*(values.cpu().float().numpy() for values in arrays), strict=True)]
    sheet = np.vstack([np.full((_HEAD_PX, rows[0].shape[1], 3), 255, np.uint8), *rows])
    width = (sheet.shape[1] - _GAP_PX) // len(_COLUMNS)
    for number, head in enumerate(_COLUMNS):
        cv2.putText(
            sheet, head, (_GAP_PX + number * width, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK_BGR, 1, cv2.LINE_AA
        )
    return sheet


def _row(
    guide: NDArray[np.float32],
    truth: NDArray[np.float32],
    predicted: NDArray[np.float32],
    sigma: NDArray[np.float32],
    far_bins: np.float32,
) -> Picture:
    frame = np.full((*truth.shape, 3), UNKNOWN_BGR, np.uint8)
    if guide[Guide.HAS_IMAGE].any():
        grey = (255.0 * np.clip(guide[Guide.IMAGE] + 0.5, 0.0, 1.0)).astype(np.uint8)
        frame = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    tiles = (
        frame,
        _glow(guide[Guide.DENSITY]),
        _coloured(truth, far_bins),
        _coloured(predicted, far_bins),
        _glow(np.abs(predicted - truth) / _WHITE_BINS),
        _glow(sigma / _WHITE_BINS),
    )
    height, width = truth.shape
    zoom = -(-_TILE_PX // width)
    row = np.full((zoom * height + _GAP_PX, len(tiles) * (zoom * width + _GAP_PX) + _GAP_PX, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        left = _GAP_PX + number * (zoom * width + _GAP_PX)
        row[: zoom * height, left : left + zoom * width] = tile.repeat(zoom, 0).repeat(zoom, 1)
    return row


def _coloured(position_bins: NDArray[np.float32], far_bins: np.float32) -> Picture:
    """The colours of depth; with the width of a bin as the unit of vergence, they are those of any rig."""
    with np.errstate(divide="ignore"):
        depth = 1.0 / np.maximum(position_bins + np.float32(0.5) + far_bins, 0.0)
    return colour_depth(depth.astype(np.float32), VergenceBins(float(far_bins), float(far_bins) + BINS, BINS))


def _glow(level: NDArray[np.float32]) -> Picture:
    """Brighter from 0 to 1; grey where NaN."""
    known = np.isfinite(level)
    indices = (255.0 * np.clip(np.where(known, level, 0.0), 0.0, 1.0)).astype(np.uint8)
    picture = np.asarray(cv2.applyColorMap(indices, cv2.COLORMAP_INFERNO), np.uint8)
    picture[~known] = UNKNOWN_BGR
    return picture
