"""Lays blurred layers over one another, each warped to where its rigid motion has brought it.

A pixel looks for the point of the layer's reference view that it sees now: it starts from a guess and corrects it by
the error of its projection until that is far below a pixel. The layer's surface there gives the depth now, that and
the focus the blur, and the ladder the light, by cubic convolution in space (Keys, IEEE Trans. ASSP 1981) and linear
in the squared diameter between rungs: a small disc changes an image by its second moment.
"""

import math

import numba
import numpy as np

_START_STEPS = 5  # of the search at the start of a row
_STEPS = 2  # from the neighbour's solution
_NEAREST_M = 0.02


@numba.njit(inline="always")
def _inside(value, last):  # type: ignore[no-untyped-def]
    return min(max(value, np.float32(0.0)), last)


@numba.njit(inline="always")
def _bilinear(image, y, x):  # type: ignore[no-untyped-def]
    """Value at a place within the image."""
    row, column = min(int(y), image.shape[0] - 2), min(int(x), image.shape[1] - 2)
    fy, fx = y - np.float32(row), x - np.float32(column)
    upper = image[row, column] + fx * (image[row, column + 1] - image[row, column])
    lower = image[row + 1, column] + fx * (image[row + 1, column + 1] - image[row + 1, column])
    return upper + fy * (lower - upper)


@numba.njit(inline="always")
def _search(depth, rays_x, rays_y, left, top, motion, focal, ray_x, ray_y, x, y, steps):  # type: ignore[no-untyped-def]
    """The canvas pixel of the reference view whose point is on the ray now, and the point's depths then and now.

    ``motion`` [3, 4] takes points of the reference camera's frame to that of the camera now.
    """
    before, now = np.float32(1.0), np.float32(1.0)
    last_y, last_x = np.float32(depth.shape[0] - 1), np.float32(depth.shape[1] - 1)
    for _ in range(steps + 1):
        before = _bilinear(depth, _inside(y - top, last_y), _inside(x - left, last_x))
        canvas_y = _inside(y, np.float32(rays_x.shape[0] - 1))
        canvas_x = _inside(x, np.float32(rays_x.shape[1] - 1))
        px = _bilinear(rays_x, canvas_y, canvas_x) * before
        py = _bilinear(rays_y, canvas_y, canvas_x) * before
        now = motion[2, 0] * px + motion[2, 1] * py + motion[2, 2] * before + motion[2, 3]
        if now < np.float32(_NEAREST_M):
            break
        error_x = ray_x - (motion[0, 0] * px + motion[0, 1] * py + motion[0, 2] * before + motion[0, 3]) / now
        error_y = ray_y - (motion[1, 0] * px + motion[1, 1] * py + motion[1, 2] * before + motion[1, 3]) / now
        scale = now / before
        x += error_x * focal * scale
        y += error_y * focal * scale
    return x, y, before, now


@numba.njit(inline="always")
def _rung(rungs, rung_below, step, signed, diameter):  # type: ignore[no-untyped-def]
    """The rung below a diameter and the weight of the one above it."""
    if not signed:
        diameter = abs(diameter)
    diameter = min(max(diameter, rungs[0]), rungs[-1])
    low = rung_below[min(int((diameter - rungs[0]) / step), len(rung_below) - 1)]
    if low + 2 < len(rungs) and diameter >= rungs[low + 1]:
        low += 1
    low = min(low, len(rungs) - 2)
    before, after = rungs[low] * rungs[low], rungs[low + 1] * rungs[low + 1]
    return low, (diameter * diameter - before) / (after - before)


@numba.njit(inline="always")
def _cubic(f):  # type: ignore[no-untyped-def]
    """Weights of the four neighbours of a place a part ``f`` beyond the second."""
    half = np.float32(0.5)
    return (
        half * (-f + np.float32(2.0) * f * f - f * f * f),
        half * (np.float32(2.0) - np.float32(5.0) * f * f + np.float32(3.0) * f * f * f),
        half * (f + np.float32(4.0) * f * f - np.float32(3.0) * f * f * f),
        half * (f * f * f - f * f),
    )


@numba.njit(inline="always")
def _light(stack, y, x, low, weight):  # type: ignore[no-untyped-def]
    """A ladder's value at a place of its box; past the box its edge."""
    height, width = stack.shape[0], stack.shape[2]
    row, column = math.floor(y), math.floor(x)
    fy, fx = np.float32(y - row), np.float32(x - column)
    rest = np.float32(1.0) - weight
    if fx < np.float32(1e-4) and fy < np.float32(1e-4):
        r, c = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
        return rest * stack[r, low, c] + weight * stack[r, low + 1, c]
    wx0, wx1, wx2, wx3 = _cubic(fx)
    wy = _cubic(fy)
    total = np.float32(0.0)
    if 1 <= column < width - 2:
        for j in range(4):
            r = min(max(row + j - 1, 0), height - 1)
            below, above = stack[r, low], stack[r, low + 1]
            first = wx0 * below[column - 1] + wx1 * below[column] + wx2 * below[column + 1] + wx3 * below[column + 2]
            second = wx0 * above[column - 1] + wx1 * above[column] + wx2 * above[column + 1] + wx3 * above[column + 2]
            total += wy[j] * (rest * first + weight * second)
        return total
    wx = (wx0, wx1, wx2, wx3)
    for j in range(4):
        r = min(max(row + j - 1, 0), height - 1)
        for i in range(4):
            c = min(max(column + i - 1, 0), width - 1)
            total += wy[j] * wx[i] * (rest * stack[r, low, c] + weight * stack[r, low + 1, c])
    return total


@numba.njit(parallel=True, nogil=True, cache=True)
def lay_over(  # type: ignore[no-untyped-def]
    pictures, radiance, coverage, depth, rungs, rung_below, rung_step, signed, left, top, rays_x, rays_y, margin, focal,
    centre_x, centre_y, motions, moving, windows, diameters_of_focus, focus_shift, slope, breathing,
):  # fmt: skip
    """Lay one layer's ladder over ``pictures`` [K, H, W].

    Args:
        pictures: what lies behind, changed in place.
        radiance, coverage, depth, rungs, signed, left, top: of the ladder; coverage is empty for an opaque layer.
        rung_below, rung_step: for each multiple of the step from the first rung on, the last rung not above it.
        rays_x, rays_y: rays of the canvas's pixels.
        margin: of the canvas.
        focal, centre_x, centre_y: of the camera, pixels of the sensor.
        motions: [K, 3, 4], reference camera's frame to the camera's now.
        moving: False where all motions are the identity.
        windows: [K, 4], first and last row and column of the sensor that the layer can reach.
        diameters_of_focus: [K], slope times the focus vergence.
        focus_shift: [H, W], slope times the field curvature.
        slope: blur slope, pixels per dioptre.
        breathing: [K], image scales.
    """
    opaque = coverage.size == 0
    one = np.float32(1.0)
    height, width = pictures.shape[1], pictures.shape[2]
    for row in numba.prange(height):
        for k in range(len(motions)):
            if row < windows[k, 0] or row > windows[k, 1]:
                continue
            scale = breathing[k]
            still = not moving and scale == one
            flow_x, flow_y = np.float32(0.0), np.float32(0.0)
            steps = _START_STEPS
            for column in range(windows[k, 2], min(windows[k, 3] + 1, width)):
                x = np.float32(column + margin)
                y = np.float32(row + margin)
                if still:
                    before = now = depth[
                        min(max(row + margin - top, 0), depth.shape[0] - 1),
                        min(max(column + margin - left, 0), depth.shape[1] - 1),
                    ]
                else:
                    x = centre_x + (np.float32(column) - centre_x) / scale + np.float32(margin)
                    y = centre_y + (np.float32(row) - centre_y) / scale + np.float32(margin)
                    if moving:
                        ray_x = _bilinear(rays_x, y, x)
                        ray_y = _bilinear(rays_y, y, x)
                        from_x, from_y = x, y
                        x, y, before, now = _search(
                            depth, rays_x, rays_y, np.float32(left), np.float32(top), motions[k], focal, ray_x, ray_y,
                            x + flow_x, y + flow_y, steps,
                        )  # fmt: skip
                        if now < np.float32(_NEAREST_M):
                            flow_x, flow_y = np.float32(0.0), np.float32(0.0)
                            steps = _START_STEPS
                            continue
                        flow_x, flow_y = x - from_x, y - from_y
                        steps = _STEPS
                    else:
                        before = now = _bilinear(
                            depth,
                            _inside(y - np.float32(top), np.float32(depth.shape[0] - 1)),
                            _inside(x - np.float32(left), np.float32(depth.shape[1] - 1)),
                        )
                x -= np.float32(left)
                y -= np.float32(top)
                if not opaque and (
                    x < -one or y < -one or x > np.float32(coverage.shape[2]) or y > np.float32(coverage.shape[0])
                ):
                    continue
                diameter = (diameters_of_focus[k] + focus_shift[row, column] - slope / now) * now / (before * scale)
                low, weight = _rung(rungs, rung_below, rung_step, signed, diameter)
                light = max(_light(radiance, y, x, low, weight), np.float32(0.0))
                if not opaque:
                    covered = min(max(_light(coverage, y, x, low, weight), np.float32(0.0)), one)
                    light += pictures[k, row, column] * (one - covered)
                pictures[k, row, column] = light


@numba.njit(parallel=True, nogil=True, cache=True)
def lay_depth(  # type: ignore[no-untyped-def]
    image, coverage, depth, sharp_rung, left, top, rays_x, rays_y, margin, focal, motion, window,
):  # fmt: skip
    """Lay one layer's depth over ``image`` [H, W] wherever it covers at least half of the pixel."""
    opaque = coverage.size == 0
    for row in numba.prange(window[0], window[1] + 1):
        flow_x, flow_y = np.float32(0.0), np.float32(0.0)
        steps = _START_STEPS
        for column in range(window[2], window[3] + 1):
            at_x, at_y = np.float32(column + margin), np.float32(row + margin)
            x, y, _, now = _search(
                depth, rays_x, rays_y, np.float32(left), np.float32(top), motion, focal,
                _bilinear(rays_x, at_y, at_x), _bilinear(rays_y, at_y, at_x), at_x + flow_x, at_y + flow_y, steps,
            )  # fmt: skip
            if now < np.float32(_NEAREST_M):
                flow_x, flow_y = np.float32(0.0), np.float32(0.0)
                steps = _START_STEPS
                continue
            flow_x, flow_y = x - at_x, y - at_y
            steps = _STEPS
            x -= np.float32(left)
            y -= np.float32(top)
            if not opaque:
                outside = x < 0 or y < 0 or x > coverage.shape[2] - 1 or y > coverage.shape[0] - 1
                if outside or _light(coverage, y, x, sharp_rung, np.float32(0.0)) < np.float32(0.5):
                    continue
            image[row, column] = now
