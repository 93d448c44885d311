"""Pixels that fire without reason."""

import cv2
import numpy as np
from numpy.typing import NDArray

RATIO = 6.0
FLOOR = 24


def hot_pixels(event_count: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Find pixels with far more events than their neighbourhood.

    Defocus spreads every edge over many pixels, so a pixel that fires ``RATIO`` times as often as the median of its
    5x5 neighbourhood (and ``FLOOR`` events more) cannot be seeing the scene.

    Args:
        event_count: uint16 [H, W], events of one sweep.

    Returns:
        bool [H, W], true where the pixel is hot.
    """
    usual = cv2.medianBlur(event_count, 5)
    return event_count > RATIO * usual.astype(np.float32) + FLOOR
