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

from edfv_ros.rig import Camera
from edfv_ros.simulation.imaging import Imaging
from edfv_ros.simulation.point_spread import kernels
from edfv_ros.simulation.point_spread import knots as field_knots
from edfv_ros.simulation.view import SUPERSAMPLING, Canvas, Image, Layer, pixel_mean

Stack = NDArray[np.float32]

RUNG_PX = 0.35
"""Least spacing of the ladder."""

_RUNG_RATIO = 1.06  # spacing of wide blurs, whose details are faint
_OTF_STEP = 1.0 / 256.0
_ABERRATED_STEP = 1.0 / 1536.0  # cycles per pixel
_GAUSSIAN_TAPS = 48  # enough for deviations up to five pixels
_BESSEL_STEP = 1.0 / 256.0
_PUPIL_RINGS = 160
_RUNGS_AT_ONCE = 16
_WIDE_PX = 8.0  # a blur of this diameter passes 3 % of what is as fine as two pixels


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

    A pixel gathers light through the pupil that it sees: an even surface stays even (what the cat's eye takes from
    the light is in ``illumination``), and where the pupil changes over the field so does the light of a point.

    What lies outside the canvas is taken to continue its edge: pixels nearer to the edge than the blur's reach
    (``imaging.reach_px``) are guesses.

    Args:
        layer: what to blur.
        canvas: where the layer lies; ladders are cropped to it.
        diameters_px: lowest and highest signed blur diameter that will be asked for, positive where the lens is
            focused nearer than the surface.
        imaging: the lens.
    """
    lowest, highest = diameters_px
    rungs_px = _rungs_px(lowest, highest, imaging.symmetric)
    reach = imaging.reach_px(max(abs(lowest), abs(highest)))
    depth = pixel_mean(layer.depth_m)
    if layer.coverage is None:
        planes, kind = [layer.radiance], cv2.BORDER_REPLICATE
        left, top = layer.left_px, layer.top_px
        border = reach // 2  # both ends together are as wide as the reach, and what leaves one end enters at the other
    else:
        planes, kind = [layer.radiance * layer.coverage, layer.coverage], cv2.BORDER_CONSTANT
        left, top = layer.left_px - reach, layer.top_px - reach
        depth = np.pad(depth, reach, mode="edge")
        border = reach

    height, width = depth.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = max(min(left + width, canvas.width_px), x0), max(min(top + height, canvas.height_px), y0)
    inner = 0 if layer.coverage is not None else border  # of the padded planes, what is not part of the box
    box = _Box(x0, y0, x0 - left + inner, y0 - top + inner, x1 - x0, y1 - y0)

    stacks = []
    for plane in planes:
        padded = _padded(plane, border * SUPERSAMPLING, kind)
        spectrum = _pixel_spectrum(padded, imaging.residual_blur_px)
        if imaging.blades or imaging.cats_eye:
            stacks.append(_blur_by_rays(spectrum, padded.shape, rungs_px, imaging, canvas, box, kind))
        else:
            stacks.append(_blur_by_discs(spectrum, padded.shape, rungs_px, imaging.spherical_px, box))
    covered = np.clip(stacks[1], 0.0, 1.0) if layer.coverage is not None else np.empty((0, 1, 1), np.float32)
    depth = np.ascontiguousarray(depth[y0 - top : y1 - top, x0 - left : x1 - left])
    return BlurLadder(x0, y0, rungs_px, not imaging.symmetric, np.maximum(stacks[0], 0.0), covered, depth)


@dataclass(frozen=True)
class _Box:
    """Pixels wanted: their corner on the canvas, their corner in the padded plane, their number."""

    left_px: int
    top_px: int
    column: int
    row: int
    width: int
    height: int


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
def _disc_table(cells: int) -> NDArray[np.float32]:
    """:func:`disc_transfer` at multiples of _OTF_STEP."""
    return disc_transfer(np.arange(cells) * _OTF_STEP).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _bessel_table(cells: int) -> NDArray[np.float64]:
    """The Bessel function ``J0(x) = 1/pi * int_0^pi cos(x cos(t)) dt`` at multiples of _BESSEL_STEP."""
    nodes = 384  # the midpoint rule is exact to rounding for arguments below the number of nodes
    angle = (np.arange(nodes // 2) + 0.5) * np.pi / nodes
    return np.concatenate(
        [
            np.cos(np.multiply.outer(block * _BESSEL_STEP, np.cos(angle))).mean(axis=1)
            for block in np.array_split(np.arange(cells), math.ceil(cells / 4096))
        ]
    )


@functools.lru_cache(maxsize=1024)
def _aberrated_table(diameter_px: float, spherical_px: float) -> NDArray[np.float32]:
    """Transfer function of a disc with spherical aberration at multiples of _ABERRATED_STEP cycles per pixel.

    The mean of ``J0(2 pi f r)`` over the pupil's area, with rays landing at the radius
    ``r = d / 2 * rho + spherical_px * rho**3``.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_PUPIL_RINGS)
    area = (nodes + 1.0) / 2.0
    radius = np.abs(np.sqrt(area) * (diameter_px / 2.0 + spherical_px * area))
    cells = math.ceil(SUPERSAMPLING * math.sqrt(0.5) / _ABERRATED_STEP) + 2
    largest = 2.0 * math.pi * cells * _ABERRATED_STEP * (abs(diameter_px) / 2.0 + abs(spherical_px))
    bessel = _bessel_table(2 ** math.ceil(math.log2(largest / _BESSEL_STEP + 2)))
    table = np.empty(cells, np.float32)
    _mean_over_rings(radius * 2.0 * np.pi * _ABERRATED_STEP / _BESSEL_STEP, weights / 2.0, bessel, table)
    return table


@numba.njit(parallel=True, nogil=True, cache=True)
def _mean_over_rings(position_per_cell, weights, bessel, table):  # type: ignore[no-untyped-def]
    for cell in numba.prange(len(table)):
        total = 0.0
        for ring in range(len(weights)):
            position = position_per_cell[ring] * cell
            below = int(position)
            part = position - below
            total += weights[ring] * (bessel[below] * (1.0 - part) + bessel[below + 1] * part)
        table[cell] = total


def _rungs_px(lowest_px: float, highest_px: float, symmetric: bool) -> NDArray[np.float32]:
    """Blur diameters around 0 to beyond the extremes, never closer than RUNG_PX; magnitudes if ``symmetric``."""
    if symmetric:
        return _rungs_to(max(abs(lowest_px), abs(highest_px)))
    below = -_rungs_to(-lowest_px)[:0:-1] if lowest_px < 0 else np.empty(0, np.float32)
    above = _rungs_to(highest_px) if highest_px > 0 else np.zeros(1, np.float32)
    return np.concatenate([below, above])


def _rungs_to(largest_px: float) -> NDArray[np.float32]:
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


def _pixel_spectrum(plane: Image, residual_px: float) -> NDArray[np.complex64]:
    """Spectrum of the mean over each pixel's area, with the Gaussian blur that remains in focus."""
    s = SUPERSAMPLING
    height, width = plane.shape
    spectrum = np.fft.rfft2(plane)
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    for f in (fy, fx):  # mean of the samples i..i+s-1 that make up a pixel
        spectrum *= sum(np.exp(2j * np.pi * f * k) for k in range(s)) / s
        # cut off at the highest frequency the continuous Gaussian rings, while the sampled one passes too much of it:
        # halfway between, an edge keeps its width and a point stays positive to a few thousandths
        sampled = np.cos(2.0 * np.pi * np.multiply.outer(f, np.arange(_GAUSSIAN_TAPS))) @ _gaussian_taps(residual_px)
        spectrum *= (sampled + np.exp(-2.0 * (np.pi * residual_px * s * f) ** 2)) / 2.0
    return spectrum.astype(np.complex64)


@functools.lru_cache(maxsize=16)
def _gaussian_taps(deviation_px: float) -> NDArray[np.float64]:
    """Half of the sampled Gaussian with exactly this deviation: the middle, then twice each of one side."""
    n = np.arange(_GAUSSIAN_TAPS)
    sides = np.where(n == 0, 1.0, 2.0)
    wanted = (deviation_px * SUPERSAMPLING) ** 2
    low, high = 1e-3, math.sqrt(wanted) + 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        taps = sides * np.exp(-0.5 * (n / middle) ** 2)
        taps /= taps.sum()
        low, high = (middle, high) if (taps * n**2).sum() < wanted else (low, middle)
    return taps


def _blur_by_discs(
    spectrum: NDArray[np.complex64],
    shape: tuple[int, int],
    rungs_px: NDArray[np.float32],
    spherical_px: float,
    box: _Box,
) -> Stack:
    """Blur by a round pupil and sample at the pixels, with transfer functions that depend on the frequency alone."""
    s = SUPERSAMPLING
    height, width = shape
    if spherical_px:
        tables = np.stack([_aberrated_table(float(rung), spherical_px) for rung in rungs_px])
        cells_per_cycle = np.full(len(rungs_px), s / _ABERRATED_STEP, np.float32)
    else:
        largest = math.pi * float(rungs_px[-1]) * s * math.sqrt(0.5)
        tables = _disc_table(2 ** math.ceil(math.log2(largest / _OTF_STEP + 2)))[None]
        cells_per_cycle = (math.pi * s / _OTF_STEP * rungs_px).astype(np.float32)

    out = np.empty((box.height, len(rungs_px), box.width), np.float32)
    for first in range(0, len(rungs_px), _RUNGS_AT_ONCE):
        some = slice(first, first + _RUNGS_AT_ONCE)
        scales = cells_per_cycle[some]
        folded = np.empty((len(scales), height // s, width // s // 2 + 1), np.complex64)
        _filter_and_fold(spectrum, height, width, scales, tables if len(tables) == 1 else tables[some], folded)
        images = np.fft.irfft2(folded, s=(height // s, width // s))
        images = images[:, box.row : box.row + box.height, box.column : box.column + box.width]
        out[:, some] = images.swapaxes(0, 1)
    return out


@numba.njit(parallel=True, nogil=True, cache=True)
def _filter_and_fold(spectrum, height, width, scales, tables, folded):  # type: ignore[no-untyped-def]
    """Multiply by a round transfer function and fold the four aliases that halving the sampling merges."""
    rows, half = height // 2, width // 2
    for ky in numba.prange(rows):
        for rung in range(len(scales)):
            table = tables[rung % len(tables)]
            for kx in range(half // 2 + 1):
                total = np.complex64(0.0)
                for ay in range(2):
                    y = ky + ay * rows
                    fy = np.float32(y if y <= rows else y - height) / np.float32(height)
                    for ax in range(2):
                        x = kx + ax * half
                        fx = np.float32(x if x <= half else x - width) / np.float32(width)
                        position = scales[rung] * math.sqrt(fy * fy + fx * fx)
                        cell = int(position)
                        part = np.float32(position - cell)
                        transfer = table[cell] * (np.float32(1.0) - part) + table[cell + 1] * part
                        if x <= half:  # noqa: SIM108 (too long for one line)
                            value = spectrum[y, x]
                        else:
                            value = np.conj(spectrum[(height - y) % height, width - x])
                        total += value * transfer
                folded[rung, ky, kx] = total * np.float32(0.25)


def _blur_by_rays(
    spectrum: NDArray[np.complex64],
    shape: tuple[int, int],
    rungs_px: NDArray[np.float32],
    imaging: Imaging,
    canvas: Canvas,
    box: _Box,
    kind: int,
) -> Stack:
    """Blur by kernels that change over the field, and sample at the pixels.

    Narrow blurs see all samples; wide ones, whose transfer of what is finer than a pixel is small, one per pixel.
    """
    fine = np.fft.irfft2(spectrum, s=shape)
    coarse = np.fft.rfft2(fine[::SUPERSAMPLING, ::SUPERSAMPLING])
    pixels = shape[0] // SUPERSAMPLING, shape[1] // SUPERSAMPLING
    coefficients = {
        SUPERSAMPLING: _spline_coefficients(spectrum, shape),
        1: _spline_coefficients(coarse, pixels),
    }
    columns, rows = field_knots(imaging, canvas.camera)
    x = box.left_px - canvas.margin_px + np.arange(box.width)
    y = box.top_px - canvas.margin_px + np.arange(box.height)
    column_knot, column_weight = _between(x, columns)
    row_knot, row_weight = _between(y, rows)
    segments = np.searchsorted(column_knot, np.arange(max(len(columns) - 1, 1) + 1))

    out = np.empty((box.height, len(rungs_px), box.width), np.float32)
    if out.size == 0:
        return out
    wide_px = _WIDE_PX + 6.0 * abs(imaging.spherical_px)  # a caustic keeps the details of narrower blurs
    for samples, chosen in ((SUPERSAMPLING, np.abs(rungs_px) < wide_px), (1, np.abs(rungs_px) >= wide_px)):
        indices = np.flatnonzero(chosen)
        if len(indices) == 0:
            continue
        rungs = [_taps(imaging, canvas.camera, float(rungs_px[index]), samples) for index in indices]
        reach = max(taps.before for taps in rungs)
        source = _around(coefficients[samples], samples, reach, box, kind)
        for index, taps in zip(indices, rungs, strict=True):
            _convolve(
                source,
                (reach - taps.before) // samples,
                reach - taps.before,
                taps.weights,
                taps.spans,
                row_knot,
                row_weight,
                segments,
                column_weight,
                out[:, index],
            )
    return out


def _between(places: NDArray[np.int64], known: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each place the knot before it and the weight of the next one; held beyond the first and the last."""
    if len(known) == 1:
        return np.zeros(len(places), np.int64), np.zeros(len(places), np.float32)
    position = np.clip(np.interp(places, known, np.arange(len(known))), 0, len(known) - 1)
    before = np.minimum(position.astype(np.int64), len(known) - 2)
    return before, (position - before).astype(np.float32)


def _spline_coefficients(spectrum: NDArray[np.complexfloating], shape: tuple[int, int]) -> Image:
    """Coefficients of the cubic spline through an image's samples (Unser, 1999), which is periodic here."""
    for f in (np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]):
        spectrum = spectrum * (3.0 / (2.0 + np.cos(2.0 * np.pi * f))).astype(np.float32)
    return np.fft.irfft2(spectrum, s=shape).astype(np.float32, copy=False)


@dataclass(frozen=True)
class _Taps:
    """Kernels as a correlation takes them: mirrored, split into the phases of the samples within a pixel.

    ``weights`` is float32 [knot rows, knot columns, n, samples, T] with T a multiple of 4; row and column 0 lie
    ``before`` samples before the pixel. ``spans`` int64 [n, samples, 2] says where in T a kernel is not 0.
    """

    before: int
    weights: NDArray[np.float32]
    spans: NDArray[np.int64]


@functools.lru_cache(maxsize=1024)
def _taps(imaging: Imaging, camera: Camera, diameter_px: float, samples: int) -> _Taps:
    mirrored = kernels(imaging, camera, diameter_px, 1.0 / samples)[..., ::-1, ::-1]
    n = mirrored.shape[-1]
    before = -(-(n // 2) // samples) * samples
    ahead = before - n // 2
    columns = 4 * samples * -(-(n + ahead) // (4 * samples))
    weights = np.zeros((*mirrored.shape[:2], n + ahead, columns), np.float32)
    weights[..., ahead:, ahead : ahead + n] = mirrored
    weights = weights.reshape(*weights.shape[:3], columns // samples, samples).swapaxes(-1, -2)
    lit = (weights != 0).any(axis=(0, 1))
    first = np.where(lit.any(axis=-1), lit.argmax(axis=-1) // 4 * 4, 0)
    last = np.where(lit.any(axis=-1), lit.shape[-1] - lit[..., ::-1].argmax(axis=-1), 0)
    return _Taps(before, np.ascontiguousarray(weights), np.stack([first, last], axis=-1))


def _around(coefficients: Image, samples: int, reach: int, box: _Box, kind: int) -> NDArray[np.float32]:
    """Coefficients of the box and around it, float32 [samples, rows, columns], split into the columns' phases."""
    left, top = samples * box.column, samples * box.row
    right, bottom = left + samples * box.width, top + samples * box.height
    after = reach + 4 * samples
    sides = top - reach, bottom + after, left - reach, right + after
    known = (
        (top, bottom, left, right) if kind == cv2.BORDER_REPLICATE else (0, len(coefficients), 0, coefficients.shape[1])
    )
    y0, y1, x0, x1 = max(sides[0], known[0]), min(sides[1], known[1]), max(sides[2], known[2]), min(sides[3], known[3])
    full = cv2.copyMakeBorder(
        np.ascontiguousarray(coefficients[y0:y1, x0:x1]),
        y0 - sides[0],
        sides[1] - y1,
        x0 - sides[2],
        sides[3] - x1,
        kind,
    )
    return np.ascontiguousarray(full.reshape(len(full), -1, samples).transpose(2, 0, 1))


@numba.njit(parallel=True, nogil=True, cache=True, fastmath={"contract"})
def _convolve(  # type: ignore[no-untyped-def]
    source, first_column, first_row, weights, spans, row_knot, row_weight, segments, column_weight, out
):
    """Correlate with the kernels of the field's knots, bilinear in between."""
    height, width = out.shape
    samples = source.shape[0]
    knot_rows, knot_columns, rows = weights.shape[:3]
    for y in numba.prange(height):
        above = weights[row_knot[y]]
        below = weights[min(row_knot[y] + 1, knot_rows - 1)]
        kernels_here = above + (below - above) * row_weight[y] if knot_rows > 1 else above
        light = np.zeros(width, np.float32)
        next_light = np.zeros(width, np.float32)
        for segment in range(len(segments) - 1):
            x0, x1 = segments[segment], segments[segment + 1]
            if x0 == x1:
                continue
            for ky in range(rows):
                for phase in range(samples):
                    line = source[phase, samples * y + first_row + ky]
                    for t in range(spans[ky, phase, 0], spans[ky, phase, 1], 4):
                        start = x0 + first_column + t
                        taps = kernels_here[segment, ky, phase, t : t + 4]
                        a0, a1, a2, a3 = taps[0], taps[1], taps[2], taps[3]
                        part = line[start : start + x1 - x0 + 3]
                        sums = light[x0:x1]
                        if knot_columns == 1:
                            for x in range(len(sums)):
                                sums[x] += a0 * part[x] + a1 * part[x + 1] + a2 * part[x + 2] + a3 * part[x + 3]
                        else:
                            taps = kernels_here[segment + 1, ky, phase, t : t + 4]
                            b0, b1, b2, b3 = taps[0], taps[1], taps[2], taps[3]
                            next_sums = next_light[x0:x1]
                            for x in range(len(sums)):
                                p0, p1, p2, p3 = part[x], part[x + 1], part[x + 2], part[x + 3]
                                sums[x] += a0 * p0 + a1 * p1 + a2 * p2 + a3 * p3
                                next_sums[x] += b0 * p0 + b1 * p1 + b2 * p2 + b3 * p3
        for x in range(width):
            out[y, x] = light[x] + column_weight[x] * (next_light[x] - light[x])
