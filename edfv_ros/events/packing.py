"""What cameras deliver, in the form that packets have."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_TO_8_BIT = {np.dtype(np.uint8): 1.0, np.dtype(np.uint16): 1 / 257, np.dtype(np.float32): 255.0}


def joined(arrays: Sequence[NDArray[np.void]], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Join arrays of ``dtype`` [N] in their order; one alone is returned as it is, none give an empty array."""
    if len(arrays) == 1:
        return arrays[0]
    raw = [array.view(np.uint8) for array in arrays]  # field by field would be slow
    return np.concatenate(raw).view(dtype) if raw else np.empty(0, dtype)


def grey(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return uint8 [H, W] of an image [H, W] or [H, W, 3 or 4] in BGR(A); uint16 is full range, float32 is 0 to 1."""
    if pixels.ndim == 2 and pixels.dtype == np.uint8:
        return pixels.astype(np.uint8)
    values = np.nan_to_num(pixels.astype(np.float32)) * np.float32(_TO_8_BIT[pixels.dtype])
    if values.ndim == 3:
        values = values[..., :3] @ np.array([0.114, 0.587, 0.299], np.float32)
    grey_levels: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return grey_levels
