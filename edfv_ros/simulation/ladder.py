"""One layer blurred at a ladder of blur diameters, once; a picture at any focus lies between two rungs.

Between rungs the picture is linear in the squared diameter: a small blur changes an image by its second moment.
"""

import functools
import math
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.simulation.imaging import Imaging
from edfv_ros.simulation.view import SUPERSAMPLING, Canvas, Image, Layer, pixel_mean

Stack = NDArray[np.float32]

RUNG_PX = 0.25
"""Least spacing of the ladder."""

_RUNG_RATIO = 1.04  # spacing of wide blurs, whose details are faint
_OTF_STEP = 1.0 / 256.0
_RUNGS_AT_ONCE = 16


@dataclass(frozen=True)
class BlurLadder:
    """A layer blurred at diameters ``rungs_px``, on its box of the canvas, averaged over each pixel's area.

    Attributes:
        left_px, top_px: the box's corner on the canvas, whole pixels; the box holds the layer's box and what blurs
            out of it, as far as it lies on the canvas.
        rungs_px: float32 [R], ascending. From 0 where a point looks the same on both sides of focus; otherwise from
            the lowest to the highest diameter with 0 among them.
        signed: whether ``rungs_px`` holds signed diameters, and not their magnitudes.
        radiance: float32 [h, R, w], premultiplied by coverage.
        coverage: float32 [h, R, w] in 0..1, or [0, 1, 1] for an opaque layer.
        depth_m: float32 [h, w], mean over each pixel, continued from the layer's edge.
    """

    left_px: int
    top_px: int
    rungs_px: NDArray[np.float32]
    signed: bool
    radiance: Stack
    coverage: Stack
    depth_m: Image


def blur_ladder(layer: Layer, canvas: Canvas, diameters_px: tuple[float, float], imaging: Imaging) -> BlurLadder:
    """Blur a layer at all the diameters it will be wanted at.

    What lies outside the canvas is taken to continue its edge: pixels nearer to the edge than the blur's reach
    (``imaging.reach_px``) are guesses.

    Args:
        layer: what to blur.
        canvas: where the layer lies; ladders are cropped to it.
        diameters_px: lowest and highest signed blur diameter that will be asked for, positive where the lens is
            focused nearer than the surface.
        imaging: the lens.
    """
    s = SUPERSAMPLING
    lowest, highest = diameters_px
    reach = imaging.reach_px(max(abs(lowest), abs(highest)))
    depth = pixel_mean(layer.depth_m)
    if layer.coverage is None:
        planes = [layer.radiance]
        left, top = layer.left_px, layer.top_px
        padded = [_padded(plane, 0, cv2.BORDER_REPLICATE) for plane in planes]
    else:
        planes = [layer.radiance * layer.coverage, layer.coverage]
        left, top = layer.left_px - reach, layer.top_px - reach
        depth = np.pad(depth, reach, mode="edge")
        padded = [_padded(plane, reach * s, cv2.BORDER_CONSTANT) for plane in planes]

    height, width = depth.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, canvas.width_px), min(top + height, canvas.height_px)
    window = (slice(y0 - top, max(y1, y0) - top), slice(x0 - left, max(x1, x0) - left))

    rungs_px = _rungs_px(max(abs(lowest), abs(highest)))
    stacks = [_blur(plane, rungs_px, imaging.residual_blur_px, window) for plane in padded]
    covered = np.clip(stacks[1], 0.0, 1.0) if layer.coverage is not None else np.empty((0, 1, 1), np.float32)
    depth = np.ascontiguousarray(depth[window])
    return BlurLadder(x0, y0, rungs_px, False, np.maximum(stacks[0], 0.0), covered, depth)


def disc_transfer(argument: ArrayLike) -> NDArray[np.float64]:
    """Optical transfer function of a uniform disc, ``2 J1(x) / x`` with ``x = pi * diameter * frequency``.

    From the integral ``2/pi * int_{-1}^{1} sqrt(1 - s**2) cos(x s) ds`` by Gauss-Chebyshev quadrature, which is exact
    to rounding for the arguments met here (below 500).
    """
    nodes = 384
    angle = np.arange(1, nodes // 2 + 1) * np.pi / (nodes + 1)  # the other half of the nodes gives the same
    weights = 4.0 / (nodes + 1) * np.sin(angle) ** 2
    return np.cos(np.multiply.outer(np.asarray(argument, float), np.cos(angle))) @ weights


@functools.lru_cache(maxsize=4)
def _transfer_table(cells: int) -> NDArray[np.float32]:
    """:func:`disc_transfer` at multiples of _OTF_STEP."""
    return disc_transfer(np.arange(cells) * _OTF_STEP).astype(np.float32)


def _rungs_px(largest_px: float) -> NDArray[np.float32]:
    """Blur diameters from 0 to beyond ``largest_px``, never closer than RUNG_PX."""
    diameters = [0.0, RUNG_PX]
    while diameters[-1] <= largest_px:
        diameters.append(max(diameters[-1] + RUNG_PX, diameters[-1] * _RUNG_RATIO))
    return np.array(diameters, np.float32)


def _padded(image: Image, border: int, kind: int) -> Image:
    """The image with a border and then up to a size that transforms fast (even after halving)."""
    s = SUPERSAMPLING
    height, width = image.shape[0] + 2 * border, image.shape[1] + 2 * border
    full_height = s * cv2.getOptimalDFTSize(height // s)
    full_width = s * 2 * cv2.getOptimalDFTSize(math.ceil(width / s / 2))
    bottom, right = full_height - height + border, full_width - width + border
    return cv2.copyMakeBorder(image, border, bottom, border, right, kind)


def _blur(
    plane: NDArray[np.float32], rungs_px: NDArray[np.float32], residual_px: float, window: tuple[slice, slice]
) -> Stack:
    """Blur by discs of the given diameters, average over each pixel's area and sample at the pixels."""
    s = SUPERSAMPLING
    height, width = plane.shape
    spectrum = np.fft.rfft2(plane)
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    for f in (fy, fx):  # mean of the samples i..i+s-1 that make up a pixel
        spectrum *= sum(np.exp(2j * np.pi * f * k) for k in range(s)) / s
    spectrum *= np.exp(-2.0 * (np.pi * residual_px * s) ** 2 * (fy**2 + fx**2))
    spectrum = spectrum.astype(np.complex64)
    largest = math.pi * float(rungs_px[-1]) * s * math.sqrt(0.5)
    table = _transfer_table(2 ** math.ceil(math.log2(largest / _OTF_STEP + 2)))

    rungs = len(rungs_px)
    out = np.empty((window[0].stop - window[0].start, rungs, window[1].stop - window[1].start), np.float32)
    for first in range(0, rungs, _RUNGS_AT_ONCE):
        count = min(_RUNGS_AT_ONCE, rungs - first)
        scales = (math.pi * s * rungs_px[first : first + count]).astype(np.float32)
        folded = np.empty((count, height // s, width // s // 2 + 1), np.complex64)
        _filter_and_fold(spectrum, height, width, scales, table, folded)
        images = np.fft.irfft2(folded, s=(height // s, width // s))
        out[:, first : first + count] = images[:, window[0], window[1]].swapaxes(0, 1)
    return out


@numba.njit(parallel=True, nogil=True, cache=True)
def _filter_and_fold(spectrum, height, width, scales, table, folded):  # type: ignore[no-untyped-def]
    """Multiply by the disc's transfer function and fold the four aliases that halving the sampling merges."""
    rows, half = height // 2, width // 2
    for ky in numba.prange(rows):
        for rung in range(len(scales)):
            for kx in range(half // 2 + 1):
                total = np.complex64(0.0)
                for ay in range(2):
                    y = ky + ay * rows
                    fy = np.float32(y if y <= rows else y - height) / np.float32(height)
                    for ax in range(2):
                        x = kx + ax * half
                        fx = np.float32(x if x <= half else x - width) / np.float32(width)
                        position = scales[rung] * math.sqrt(fy * fy + fx * fx) * np.float32(1.0 / _OTF_STEP)
                        cell = int(position)
                        part = np.float32(position - cell)
                        transfer = table[cell] * (np.float32(1.0) - part) + table[cell + 1] * part
                        if x <= half:  # noqa: SIM108 (too long for one line)
                            value = spectrum[y, x]
                        else:
                            value = np.conj(spectrum[(height - y) % height, width - x])
                        total += value * transfer
                folded[rung, ky, kx] = total * np.float32(0.25)
