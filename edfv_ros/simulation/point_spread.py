"""What becomes of a point behind a pupil of any shape: kernels over the field, by tracing rays through the pupil."""

import functools
import math

import numba
import numpy as np
from numpy.typing import NDArray

from edfv_ros.rig import Camera
from edfv_ros.simulation.imaging import Imaging, field_position, iris_corners
from edfv_ros.simulation.view import Image

_KNOT_COLUMNS, _KNOT_ROWS = 7, 5  # places in the field where the cat's eye is traced
_RAYS_ACROSS = (48, 96, 192)
_RAYS_PER_CELL = 1.4  # least, along an axis, where the rays lie thinnest
_SUBSAMPLES = 8  # per ray cell and axis, for the pupil's rim


def knots(imaging: Imaging, camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows of the picture where kernels are known; one of each where they are the same everywhere."""
    if imaging.cats_eye == 0:
        return np.array([(camera.width_px - 1) / 2.0]), np.array([(camera.height_px - 1) / 2.0])
    return np.linspace(0, camera.width_px - 1, _KNOT_COLUMNS), np.linspace(0, camera.height_px - 1, _KNOT_ROWS)


@functools.lru_cache(maxsize=1024)
def kernels(imaging: Imaging, camera: Camera, diameter_px: float, cell_px: float) -> Image:
    """Where the light of a point lands, at the knots of the field and a signed blur diameter.

    Every ray is spread by a cubic B-spline, so that a kernel applied to the spline coefficients of an image is the
    mean, over the rays, of the image's cubic spline: exact for polynomials of the third order, hence for the first
    three moments of the blur however small it is.

    Args:
        imaging: the lens.
        camera: its picture.
        diameter_px: signed blur diameter.
        cell_px: spacing of the samples.

    Returns:
        float32 [rows, columns, n, n], read only; each sums to 1, the point lies on the middle sample.
    """
    steepest = abs(diameter_px) / 2.0 + 3.0 * abs(imaging.spherical_px) * imaging.rim_radius**2
    wanted = 2.0 * imaging.rim_radius * steepest / cell_px * _RAYS_PER_CELL
    across = next((count for count in _RAYS_ACROSS if count >= wanted), _RAYS_ACROSS[-1])
    rim = imaging.rim_radius
    farthest = rim * abs(diameter_px) / 2.0 + abs(imaging.spherical_px) * rim**3
    half = math.ceil(farthest / cell_px) + 2
    columns, rows = knots(imaging, camera)
    rays, counts = _rays(imaging, camera, across)
    spread = np.zeros((len(counts), 2 * half + 1, 2 * half + 1), np.float32)
    _land(rays, counts, diameter_px / 2.0 / cell_px, imaging.spherical_px / cell_px, spread)
    spread.flags.writeable = False
    return spread.reshape(len(rows), len(columns), 2 * half + 1, 2 * half + 1)


@functools.lru_cache(maxsize=12)
def _rays(imaging: Imaging, camera: Camera, across: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rays [knots, N, 3] (x, y and weight, which sum to 1) through the pupil at each knot, and how many there are."""
    columns, rows = knots(imaging, camera)
    x, y = field_position(camera, columns, rows[:, None])
    shifts = -imaging.cats_eye * np.stack([x.ravel(), y.ravel()], axis=-1)
    rays = np.zeros((len(shifts), across * across, 3))
    counts = np.zeros(len(shifts), np.int64)
    _trace(iris_corners(imaging), imaging.rim_radius, shifts, across, rays, counts)
    return np.ascontiguousarray(rays[:, : counts.max()]), counts


@numba.njit(parallel=True, nogil=True, cache=True)
def _trace(corners, rim, shifts, across, rays, counts):  # type: ignore[no-untyped-def]
    """The pupil in square cells: the centroid of each cell's open part and the share of the light it passes."""
    pitch = 2.0 * rim / across
    for knot in numba.prange(len(shifts)):
        count = 0
        for cell in range(across * across):
            left, top = (cell % across) * pitch - rim, (cell // across) * pitch - rim
            inside, sum_x, sum_y = 0, 0.0, 0.0
            for sample in range(_SUBSAMPLES * _SUBSAMPLES):
                x = left + (sample % _SUBSAMPLES + 0.5) / _SUBSAMPLES * pitch
                y = top + (sample // _SUBSAMPLES + 0.5) / _SUBSAMPLES * pitch
                open_ = (x - shifts[knot, 0]) ** 2 + (y - shifts[knot, 1]) ** 2 <= rim * rim
                if len(corners) == 0:
                    open_ = open_ and x * x + y * y <= 1.0
                for i in range(len(corners)):
                    ax, ay = corners[i]
                    bx, by = corners[(i + 1) % len(corners)]
                    open_ = open_ and (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0.0
                if open_:
                    inside += 1
                    sum_x += x
                    sum_y += y
            if inside:
                rays[knot, count, 0] = sum_x / inside
                rays[knot, count, 1] = sum_y / inside
                rays[knot, count, 2] = inside
                count += 1
        rays[knot, :count, 2] /= rays[knot, :count, 2].sum()
        counts[knot] = count


@numba.njit(nogil=True, cache=True)
def _cubic_b_spline(offset):  # type: ignore[no-untyped-def]
    """Weights of the four samples around a place that lies ``offset`` beyond the second."""
    rest = 1.0 - offset
    return (
        rest**3 / 6.0,
        2.0 / 3.0 - offset**2 + offset**3 / 2.0,
        2.0 / 3.0 - rest**2 + rest**3 / 2.0,
        offset**3 / 6.0,
    )


@numba.njit(parallel=True, nogil=True, cache=True)
def _land(rays, counts, defocus, spherical, spread):  # type: ignore[no-untyped-def]
    half = spread.shape[1] // 2
    for knot in numba.prange(len(counts)):
        for ray in range(counts[knot]):
            px, py, light = rays[knot, ray]
            scale = defocus + spherical * (px * px + py * py)
            x, y = px * scale, py * scale
            column, row = math.floor(x), math.floor(y)
            along_x, along_y = _cubic_b_spline(x - column), _cubic_b_spline(y - row)
            for i in range(4):
                for j in range(4):
                    spread[knot, half + row - 1 + i, half + column - 1 + j] += light * along_y[i] * along_x[j]
