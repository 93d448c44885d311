"""Defocus of a thin lens with a disc aperture, with occlusion, in linear light.

Each layer is blurred once at a ladder of blur diameters; a picture at any focus interpolates every pixel between the
two rungs around its own blur and lays the layers over one another, back to front, with blurred coverage.
"""

import functools
import math
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.optics import ThinLens
from edfv_ros.simulation.scene import SUPERSAMPLING, Layer, Scene

Stack = NDArray[np.float32]

_RUNG_PX = 0.25  # least spacing of the ladder
_RUNG_RATIO = 1.04  # spacing of wide blurs, whose details are faint
_OTF_STEP = 1.0 / 256.0
_RUNGS_AT_ONCE = 16


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
    """Blur diameters from 0 to beyond ``largest_px``, never closer than _RUNG_PX."""
    diameters = [0.0, _RUNG_PX]
    while diameters[-1] <= largest_px:
        diameters.append(max(diameters[-1] + _RUNG_PX, diameters[-1] * _RUNG_RATIO))
    return np.array(diameters, np.float32)


def _rung_below(rungs_px: NDArray[np.float32]) -> NDArray[np.int32]:
    """For each multiple of _RUNG_PX the last rung that is not above it; the next multiple is at most one rung on."""
    multiples = np.arange(math.ceil(float(rungs_px[-1]) / _RUNG_PX) + 1) * _RUNG_PX
    return (np.searchsorted(rungs_px, multiples + 1e-4) - 1).astype(np.int32)


@dataclass(frozen=True)
class _Ladder:
    """One layer blurred at diameters ``rungs_px``, on its box of the sensor.

    ``radiance`` is premultiplied by coverage; both are [h, rungs, w]. ``coverage`` is empty for an opaque layer.
    ``vergence_dpt`` is 1/z of each pixel [h, w].
    """

    left_px: int
    top_px: int
    rungs_px: NDArray[np.float32]
    radiance: Stack
    coverage: Stack
    vergence_dpt: NDArray[np.float32]


class DefocusRenderer:
    """Pictures of a scene through a thin lens at any focus.

    Args:
        scene: what to look at; its margin must hold the largest blur radius.
        lens: aperture, image distance and pixel pitch.
        vergence_range_dpt: lowest and highest focus that will be asked for.
        residual_blur_px: standard deviation of the Gaussian blur that remains in focus (aberrations, diffraction).

    Raises:
        ValueError: the scene's margin is too small for the blur.
    """

    def __init__(
        self, scene: Scene, lens: ThinLens, vergence_range_dpt: tuple[float, float], residual_blur_px: float = 0.3
    ) -> None:
        self._size = scene.height_px, scene.width_px
        self._slope = lens.blur_slope_px_per_dpt
        self._range = vergence_range_dpt
        self._ladders = [
            _blur_ladder(layer, scene, self._largest_blur_px(layer), residual_blur_px) for layer in scene.layers
        ]

    def _largest_blur_px(self, layer: Layer) -> float:
        low, high = self._range
        nearest, farthest = 1.0 / float(layer.depth_m.min()), 1.0 / float(layer.depth_m.max())
        return self._slope * max(high - farthest, nearest - low, 0.0)

    def render(self, vergence_dpt: float) -> NDArray[np.float32]:
        """Linear radiance [H, W] on the sensor with the lens focused at ``vergence_dpt``.

        Raises:
            ValueError: the focus lies outside the range the renderer was made for.
        """
        picture: NDArray[np.float32] = self.render_stack([vergence_dpt])[0]
        return picture

    def render_stack(self, vergences_dpt: ArrayLike) -> Stack:
        """Pictures at several focus positions, float32 [K, H, W].

        Raises:
            ValueError: a focus lies outside the range the renderer was made for.
        """
        vergences = np.asarray(vergences_dpt, np.float32)
        low, high = self._range
        if vergences.min() < low - 1e-5 or vergences.max() > high + 1e-5:
            raise ValueError(f"focus {vergences.min():g} to {vergences.max():g} dpt exceeds {low:g} to {high:g} dpt")
        stack = np.zeros((len(vergences), *self._size), np.float32)
        for ladder in self._ladders:
            _lay_over(
                stack,
                ladder.radiance,
                ladder.coverage,
                ladder.vergence_dpt,
                ladder.rungs_px,
                _rung_below(ladder.rungs_px),
                ladder.left_px,
                ladder.top_px,
                vergences,
                np.float32(self._slope),
            )
        return stack


def _blur_ladder(layer: Layer, scene: Scene, largest_px: float, residual_blur_px: float) -> _Ladder:
    s = SUPERSAMPLING
    reach = math.ceil(largest_px / 2.0 + 4.0 * residual_blur_px) + 2
    if reach > scene.margin_px:
        raise ValueError(f"scene margin {scene.margin_px} px is below the blur reach of {reach} px")
    premultiplied, coverage = layer.radiance, layer.coverage
    if coverage is None:
        planes = [_padded(premultiplied, 0, cv2.BORDER_REPLICATE)]
        left, top, depth = layer.left_px, layer.top_px, layer.depth_m
    else:
        planes = [_padded(image, reach * s, cv2.BORDER_CONSTANT) for image in (premultiplied * coverage, coverage)]
        left, top = layer.left_px - reach, layer.top_px - reach
        depth = np.pad(layer.depth_m, reach * s, mode="edge")

    # the part of the box that lies on the sensor
    height, width = depth.shape[0] // s, depth.shape[1] // s
    m = scene.margin_px
    x0, y0 = max(left, m), max(top, m)
    x1, y1 = min(left + width, m + scene.width_px), min(top + height, m + scene.height_px)
    window = (slice(y0 - top, max(y1, y0) - top), slice(x0 - left, max(x1, x0) - left))
    vergence = np.ascontiguousarray(1.0 / depth.reshape(height, s, width, s).mean(axis=(1, 3))[window], np.float32)

    rungs_px = _rungs_px(largest_px)
    stacks = [_blur(plane, rungs_px, residual_blur_px, window) for plane in planes]
    covered = np.clip(stacks[1], 0.0, 1.0) if coverage is not None else np.empty((0, 1, 1), np.float32)
    return _Ladder(x0 - m, y0 - m, rungs_px, np.maximum(stacks[0], 0.0), covered, vergence)


def _padded(image: NDArray[np.float32], border: int, kind: int) -> NDArray[np.float32]:
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


@numba.njit(parallel=True, nogil=True, cache=True)
def _lay_over(  # type: ignore[no-untyped-def]
    stack, radiance, coverage, vergence, rungs, rung_below, left, top, focus, slope
):
    """Lay one layer over the pictures; between two rungs the blurred image is linear in the squared diameter.

    A small disc changes an image by its second moment, so linear in the square is exact where it matters most.
    """
    opaque = coverage.size == 0
    one = np.float32(1.0)
    for y in numba.prange(vergence.shape[0]):
        for k in range(len(focus)):
            for x in range(vergence.shape[1]):
                diameter = slope * abs(focus[k] - vergence[y, x])
                low = rung_below[min(int(diameter * np.float32(1.0 / _RUNG_PX)), len(rung_below) - 1)]
                if low + 2 < len(rungs) and diameter >= rungs[low + 1]:
                    low += 1
                low = min(low, len(rungs) - 2)
                before, after = rungs[low] * rungs[low], rungs[low + 1] * rungs[low + 1]
                weight = (diameter * diameter - before) / (after - before)
                light = radiance[y, low, x] * (one - weight) + radiance[y, low + 1, x] * weight
                if not opaque:
                    covered = coverage[y, low, x] * (one - weight) + coverage[y, low + 1, x] * weight
                    light += stack[k, top + y, left + x] * (one - covered)
                stack[k, top + y, left + x] = light
