"""Depth from focus on frames, as it was done before event cameras: a peer to compare with.

The sum-modified-Laplacian of each frame (Nayar and Nakagawa, Shape from focus, TPAMI 16, 1994), which Pertuz et al.
(Analysis of focus measure operators for shape-from-focus, Pattern Recognition 46, 2013) found among the best where
noise is low, pooled over a window, and a Gaussian through the three largest values around its peak.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.evaluation.held_out_items import STACK_NAME
from edfv_ros.evaluation.predictions import Evaluated, Predict, Prediction, Unavailable
from edfv_ros.rig import Rig
from edfv_ros.volume import SweepSnapshot

WINDOW_SIGMAS_PX = (5.0, 10.0, 20.0)
"""Windows that the focus measure is pooled over: each pixel has the smallest that shows a peak."""

PEAK_CONTRAST = 0.1
"""A peak is one where the largest value is so much, relatively, above the median of all frames' values."""

_SMOOTHING_PX = 1.5  # of a frame before its derivatives, against noise
_MEDIAN_PX = 5


def open_focal_stack(recording: Evaluated, model: Path | None) -> Predict:
    """Open the peer for a recording that has a ``focal_stack.npy``.

    Raises:
        Unavailable: it has none.
        EdfvError: a model was given, or the stack does not fit the recording.
    """
    if model is not None:
        raise EdfvError(f"the method focal_stack uses no model, but {model} was given: leave it out")
    if recording.item is None:
        raise Unavailable("no focal stack")
    path = recording.folder / STACK_NAME
    focus_dpt = recording.item.focal_stack.vergence_dpt
    stack = _load(path, (len(focus_dpt), len(focus_dpt[0]), *recording.rig.camera.resolution[::-1]))

    def predict(snapshot: SweepSnapshot) -> Prediction:
        number = snapshot.index
        if number >= len(stack):
            raise SourceError(f"{path}: has no frames of sweep {number}")
        vergence_dpt = depth_from_focus(stack[number], np.array(focus_dpt[number]), recording.rig)
        return Prediction(vergence_dpt, np.full_like(vergence_dpt, np.nan))

    return predict


def depth_from_focus(
    frames: NDArray[np.uint8], focus_dpt: NDArray[np.float64], rig: Rig | None = None
) -> NDArray[np.float32]:
    """Vergence of every pixel from frames at known focus, float32 [H, W], dioptres.

    Each pixel takes the smallest of :data:`WINDOW_SIGMAS_PX` in which its focus measure has a peak, or the largest;
    then a median over 5 pixels.

    Args:
        frames: uint8 [K, H, W], K at least 3.
        focus_dpt: float64 [K], of each frame, all different.
        rig: whose breathing to take out of the frames.
    """
    order = np.argsort(focus_dpt)
    focus_dpt = focus_dpt[order]
    images = [_without_breathing(frames[k], float(focus_dpt[i]), rig) for i, k in enumerate(order)]
    measure = np.stack([_modified_laplacian(image) for image in images])
    vergence_dpt = np.zeros(measure.shape[1:], np.float32)
    undecided = np.ones(measure.shape[1:], bool)
    for sigma_px in WINDOW_SIGMAS_PX:
        pooled = np.stack([cv2.GaussianBlur(plane, (0, 0), sigma_px) for plane in measure])
        peak, contrast = _peaks(pooled, focus_dpt)
        vergence_dpt[undecided] = peak[undecided]
        undecided &= contrast < PEAK_CONTRAST
    return np.asarray(cv2.medianBlur(vergence_dpt, _MEDIAN_PX), np.float32)


def _load(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        stack = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise Unavailable("no focal stack") from None
    except (OSError, ValueError, EOFError):
        raise SourceError(f"{path}: not a whole NumPy array file: make the item again") from None
    if stack.shape != shape or stack.dtype != np.uint8:
        raise SourceError(f"{path}: holds {stack.dtype} {list(stack.shape)}, not uint8 {list(shape)} as its item says")
    return stack


def _without_breathing(frame: NDArray[np.uint8], focus_dpt: float, rig: Rig | None) -> NDArray[np.float32]:
    image = frame.astype(np.float32)
    if rig is None or rig.lens.breathing.is_constant:
        return image
    scale = float(np.interp(focus_dpt, rig.lens.breathing.vergence_dpt, rig.lens.breathing.scale))
    k = rig.camera.intrinsics
    to_frame = np.array([[scale, 0.0, (1.0 - scale) * k.cx_px], [0.0, scale, (1.0 - scale) * k.cy_px]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, to_frame, image.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


def _modified_laplacian(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """``|d2 I / dx2| + |d2 I / dy2|``, which unlike the Laplacian does not let the two cancel."""
    smooth = cv2.GaussianBlur(image, (0, 0), _SMOOTHING_PX)
    kernel = np.array([[-1.0, 2.0, -1.0]], np.float32)
    horizontal = cv2.filter2D(smooth, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)
    vertical = cv2.filter2D(smooth, cv2.CV_32F, kernel.T, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.abs(horizontal) + np.abs(vertical), np.float32)


def _peaks(
    measure: NDArray[np.float32], focus_dpt: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Focus of the peak of a Gaussian through the largest value and its neighbours, and the peak's contrast, [H, W].

    What all frames of a pixel have in common is noise and is taken off first; at the ends of the stack the peak is that
    of the frame.
    """
    floor = measure.min(axis=0)
    best = measure.argmax(axis=0)
    middle = np.clip(best, 1, len(measure) - 2)

    def at(number: NDArray[np.intp]) -> NDArray[np.float32]:
        return np.take_along_axis(measure, number[None], axis=0)[0]

    top = at(best)
    contrast = top / np.maximum(np.median(measure, axis=0), 1e-6) - 1.0
    least = np.maximum(0.01 * (top - floor), 1e-6)
    before, peak, after = (np.log(np.maximum(at(middle + step) - floor, least)) for step in (-1, 0, 1))
    x0, x1, x2 = (focus_dpt[middle + step] for step in (-1, 0, 1))
    # vertex of the parabola through three points of unequal spacing
    left, right = (peak - before) * (x2 - x1), (after - peak) * (x1 - x0)
    curvature = left - right
    vertex = 0.5 * (x0 + x1) + 0.5 * (x2 - x0) * left / np.where(curvature > 0, curvature, 1.0)
    inner = (best == middle) & (curvature > 0)
    return np.where(inner, vertex, focus_dpt[best]).astype(np.float32), contrast.astype(np.float32)
