"""A depth image in colour, with a metre scale."""

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.optics import VergenceBins
from edfv_ros.optics.resolution import round_depths_m
from edfv_ros.outputs.files import replace_atomically

UNKNOWN_BGR = (205, 205, 205)
_INK_BGR = (40, 40, 40)
_MIN_WIDTH_PX = 640
MARGIN_PX = 14
_BAR_WIDTH_PX = 18
_LABEL_WIDTH_PX = 78
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.42
_MIN_LABEL_DISTANCE_PX = 17


def colour_depth(depth_m: NDArray[np.float32], bins: VergenceBins) -> NDArray[np.uint8]:
    """Colour a depth image: linear in vergence over the sweep, near is warm, far is cold, unknown is grey.

    Args:
        depth_m: float [H, W], metres, NaN where unknown.
        bins: the sweep, which fixes the colours, so that pictures of one rig compare.

    Returns:
        uint8 [H, W, 3], BGR.
    """
    known = np.isfinite(depth_m)
    vergence_dpt = np.divide(1.0, depth_m, out=np.zeros_like(depth_m, np.float32), where=known)
    level = (vergence_dpt - bins.min_dpt) / (bins.max_dpt - bins.min_dpt)
    picture = _turbo(level)
    picture[~known] = UNKNOWN_BGR
    return picture


def depth_picture(depth_m: NDArray[np.float32], bins: VergenceBins) -> NDArray[np.uint8]:
    """The coloured depth, enlarged where small, beside a scale in metres; uint8 [H', W', 3], BGR."""
    picture = colour_depth(depth_m, bins)
    zoom = zoom_for(picture.shape[1])
    picture = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)
    height, width = picture.shape[:2]
    sheet_width = width + 3 * MARGIN_PX + _BAR_WIDTH_PX + _LABEL_WIDTH_PX
    sheet = np.full((height + 2 * MARGIN_PX, sheet_width, 3), 255, np.uint8)
    sheet[MARGIN_PX : MARGIN_PX + height, MARGIN_PX : MARGIN_PX + width] = picture
    _draw_scale(sheet, width + 2 * MARGIN_PX, height, bins)
    return sheet


def zoom_for(width_px: int) -> int:
    """Whole factor by which an image is enlarged to be looked at."""
    return max(1, math.ceil(_MIN_WIDTH_PX / width_px))


def save_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write uint8 [H, W, 3], BGR.

    Raises:
        OutputError: the file cannot be written.
    """
    encoded, data = cv2.imencode(".png", picture)
    assert encoded
    with replace_atomically(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _turbo(level: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours of levels [H, W], 0 cold to 1 warm, uint8 [H, W, 3], BGR."""
    indices = np.rint(np.clip(level, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(indices, cv2.COLORMAP_TURBO), np.uint8)


def _draw_scale(sheet: NDArray[np.uint8], left: int, height: int, bins: VergenceBins) -> None:
    """Draw the colour bar, near at the top, and label round depths where there is room."""
    unknown_height = 2 * _MIN_LABEL_DISTANCE_PX
    top, bottom = MARGIN_PX, MARGIN_PX + height - unknown_height
    sheet[top:bottom, left : left + _BAR_WIDTH_PX] = _turbo(np.linspace(1.0, 0.0, bottom - top)[:, None])
    swatch = top + height - _BAR_WIDTH_PX
    sheet[swatch : swatch + _BAR_WIDTH_PX, left : left + _BAR_WIDTH_PX] = UNKNOWN_BGR
    _write(sheet, left, swatch + _BAR_WIDTH_PX // 2, "unknown")

    near_m = 1.0 / bins.max_dpt
    far_m = 1.0 / bins.min_dpt if bins.min_dpt > 0.0 else math.inf
    depths_m = round_depths_m(near_m, far_m)
    rows = [
        top + round((bins.max_dpt - 1.0 / depth_m) / (bins.max_dpt - bins.min_dpt) * (bottom - top - 1))
        for depth_m in depths_m
    ]
    taken: list[int] = []
    for index in [0, len(rows) - 1, *range(1, len(rows) - 1)]:  # the two limits of the sweep first
        row = rows[index]
        if all(abs(row - other) >= _MIN_LABEL_DISTANCE_PX for other in taken):
            taken.append(row)
            cv2.line(sheet, (left + _BAR_WIDTH_PX, row), (left + _BAR_WIDTH_PX + 4, row), _INK_BGR)
            _write(sheet, left, row, _metres(depths_m[index]))


def _write(sheet: NDArray[np.uint8], left: int, row: int, text: str) -> None:
    origin = (left + _BAR_WIDTH_PX + 10, row + 4)
    cv2.putText(sheet, text, origin, _FONT, _FONT_SCALE, _INK_BGR, 1, cv2.LINE_AA)


def _metres(depth_m: float) -> str:
    if math.isinf(depth_m):
        return "infinity"
    return f"{depth_m:.3g} m"
