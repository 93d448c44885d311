"""A few sweeps of a comparison as a picture: frame, truth, and each method's depth above its error."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.evaluation.comparison import Panel
from edfv_ros.optics import VergenceBins
from edfv_ros.outputs.depth_picture import UNKNOWN_BGR, colour_depth

Picture = NDArray[np.uint8]

MOST_ERROR_BINS = 4.0
"""Error in vergence, in bins, at which the picture of the errors is white."""

_GAP_PX, _LINE_PX = 6, 18
_INK_BGR = (40, 40, 40)


def comparison_picture(panels: Sequence[Panel], methods: Sequence[str]) -> Picture:
    """Draw sweeps below each other, uint8 [H', W', 3], BGR.

    Depth is coloured as by `edfv run`. Errors in vergence go from black to white at :data:`MOST_ERROR_BINS` bins; grey
    is unknown. A method that was left out has an empty place.

    Args:
        panels: one or more sweeps.
        methods: labels, a column each.

    Raises:
        ValueError: there is no panel.
    """
    if not panels:
        raise ValueError("there is nothing to draw")
    rows = [_row(panel, methods) for panel in panels]
    width = max(row.shape[1] for row in rows)
    return np.vstack([_padded(row, width) for row in rows])


def error_picture(vergence_dpt: NDArray[np.float32], truth_m: NDArray[np.float32], bins: VergenceBins) -> Picture:
    """Errors in vergence as uint8 [H, W, 3], BGR; grey where estimate or truth is unknown."""
    error_bins = np.abs(vergence_dpt - 1.0 / truth_m) / bins.width_dpt
    known = np.isfinite(error_bins)
    level = np.clip(np.where(known, error_bins, 0.0) / MOST_ERROR_BINS, 0.0, 1.0)
    picture = np.asarray(cv2.applyColorMap((255.0 * level).astype(np.uint8), cv2.COLORMAP_INFERNO), np.uint8)
    picture[~known] = UNKNOWN_BGR
    return picture


def _row(panel: Panel, methods: Sequence[str]) -> Picture:
    height, width = panel.truth_m.shape
    blank = np.full((height, width, 3), 255, np.uint8)
    frame = np.full_like(blank, UNKNOWN_BGR)
    if panel.frame is not None:
        frame = cv2.cvtColor(panel.frame, cv2.COLOR_GRAY2BGR)
    truth = colour_depth(panel.truth_m, panel.bins)
    columns = [_column(panel.title if panel.frame is not None else f"{panel.title}, no frame", frame, truth)]
    for label in methods:
        vergence_dpt = panel.predictions.get(label)
        if vergence_dpt is None:
            columns.append(_column(f"{label}: left out", blank, blank))
            continue
        depth = colour_depth(1.0 / vergence_dpt, panel.bins)
        error = error_picture(vergence_dpt, panel.truth_m, panel.bins)
        median_bins = np.nanmedian(np.abs(vergence_dpt - 1.0 / panel.truth_m)) / panel.bins.width_dpt
        columns.append(_column(f"{label}: median {median_bins:.2f} bins", depth, error))
    return np.hstack(columns)


def _column(title: str, upper: Picture, lower: Picture) -> Picture:
    """Two pictures below each other, below a line of text."""
    height, width = upper.shape[:2]
    column = np.full((_LINE_PX + 2 * (height + _GAP_PX), width + _GAP_PX, 3), 255, np.uint8)
    cv2.putText(column, title, (2, _LINE_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK_BGR, 1, cv2.LINE_AA)
    for number, picture in enumerate((upper, lower)):
        top = _LINE_PX + number * (height + _GAP_PX)
        column[top : top + height, :width] = picture
    return column


def _padded(row: Picture, width: int) -> Picture:
    return np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)
