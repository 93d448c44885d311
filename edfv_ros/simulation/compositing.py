"""Lays blurred layers behind one another, each warped to where its rigid motion has brought it.

A pixel looks for the point of the layer's reference view that it sees now: it starts from a guess and corrects it by
the error of its projection until that is far below a pixel. The layer's surface there gives the depth now, that and
the focus the blur, and the ladder the light, by cubic convolution in space (Keys, IEEE Trans. ASSP 1981) and linear
in the squared diameter between rungs: a small disc changes an image by its second moment.
"""

import math

import numba
import numpy as np

_START_STEPS = 5  # of the search at the start of a row
_STEPS = 1  # from the neighbour's solution
_NEAREST_M = 0.02
_SMOOTH_PX = 12.0  # blur diameter that leaves nothing for which a cubic is better than a line
_HIDDEN = 1e-4  # light that still gets through what is taken for opaque
_EMPTY = 2e-4  # coverage and radiance that leave no trace in a picture
_EMPTY_REACH_PX = 4  # what a pixel's light may be taken from, and the error of a guess
_EMPTY_RUNGS = 2  # by which a guess of the blur may err


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
def _ray(rays, straight, along, y, x):  # type: ignore[no-untyped-def]
    """Ray coordinate of a place on the canvas; linear in the place where the lens does not distort."""
    y = _inside(y, np.float32(rays.shape[0] - 1))
    x = _inside(x, np.float32(rays.shape[1] - 1))
    if straight:
        place = x if along == 1 else y
        first, last = rays[0, 0], rays[rays.shape[0] - 1, rays.shape[1] - 1]
        return first + place * ((last - first) / np.float32(rays.shape[along] - 1))
    return _bilinear(rays, y, x)


@numba.njit(inline="always")
def _search(depth, rays_x, rays_y, straight, left, top, motion, focal, ray_x, ray_y, x, y, steps):  # type: ignore[no-untyped-def]
    """The canvas pixel of the reference view whose point is on the ray now, and the point's depths then and now.

    ``motion`` [3, 4] takes points of the reference camera's frame to that of the camera now.
    """
    before, now = np.float32(1.0), np.float32(1.0)
    last_y, last_x = np.float32(depth.shape[0] - 1), np.float32(depth.shape[1] - 1)
    for _ in range(steps + 1):
        before = _bilinear(depth, _inside(y - top, last_y), _inside(x - left, last_x))
        px = _ray(rays_x, straight, 1, y, x) * before
        py = _ray(rays_y, straight, 0, y, x) * before
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
def _rung(rungs, squares, inverses, rung_below, per_step, signed, diameter):  # type: ignore[no-untyped-def]
    """The rung below a diameter and the weight of the one above it."""
    if not signed:
        diameter = abs(diameter)
    diameter = min(max(diameter, rungs[0]), rungs[-1])
    low = rung_below[min(int((diameter - rungs[0]) * per_step), len(rung_below) - 1)]
    if low + 2 < len(rungs) and diameter >= rungs[low + 1]:
        low += 1
    low = min(low, len(rungs) - 2)
    return low, (diameter * diameter - squares[low]) * inverses[low]


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
def _light(stack, y, x, low, weight, smooth):  # type: ignore[no-untyped-def]
    """A ladder's value at a place of its box; past the box its edge. Where it is ``smooth``, bilinear will do."""
    height, width = stack.shape[0], stack.shape[2]
    row, column = math.floor(y), math.floor(x)
    fy, fx = np.float32(y - row), np.float32(x - column)
    rest = np.float32(1.0) - weight
    if fx < np.float32(1e-4) and fy < np.float32(1e-4):
        r, c = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
        return rest * stack[r, low, c] + weight * stack[r, low + 1, c]
    if smooth and 0 <= row < height - 1 and 0 <= column < width - 1:
        upper = rest * stack[row, low, column] + weight * stack[row, low + 1, column]
        right = rest * stack[row, low, column + 1] + weight * stack[row, low + 1, column + 1]
        lower = rest * stack[row + 1, low, column] + weight * stack[row + 1, low + 1, column]
        corner = rest * stack[row + 1, low, column + 1] + weight * stack[row + 1, low + 1, column + 1]
        upper += fx * (right - upper)
        lower += fx * (corner - lower)
        return upper + fy * (lower - upper)
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


@numba.njit(nogil=True, cache=True)
def filled_rungs(radiance, coverage, rungs):  # type: ignore[no-untyped-def]
    """For each pixel of a ladder the last rung below focus, and the first from there on, that bring light to it.

    Light within _EMPTY_REACH_PX counts, and none does in an opaque layer.

    Returns:
        int16 [2, h, w]; -1 and the number of rungs where there is none.
    """
    height, count, width = coverage.shape
    focus = int(np.argmin(np.abs(rungs)))
    found = np.empty((2, height, width), np.int16)
    for i in range(height):
        for j in range(width):
            below, above = focus, focus
            while below >= 0 and coverage[i, below, j] < _EMPTY and radiance[i, below, j] < _EMPTY:
                below -= 1
            while above < count and coverage[i, above, j] < _EMPTY and radiance[i, above, j] < _EMPTY:
                above += 1
            found[0, i, j], found[1, i, j] = below, above
    wide = found.copy()
    for i in range(height):
        for j in range(width):
            for k in range(max(j - _EMPTY_REACH_PX, 0), min(j + _EMPTY_REACH_PX + 1, width)):
                wide[0, i, j] = max(wide[0, i, j], found[0, i, k])
                wide[1, i, j] = min(wide[1, i, j], found[1, i, k])
    for i in range(height):
        for j in range(width):
            for k in range(max(i - _EMPTY_REACH_PX, 0), min(i + _EMPTY_REACH_PX + 1, height)):
                found[0, i, j] = max(found[0, i, j], wide[0, k, j])
                found[1, i, j] = min(found[1, i, j], wide[1, k, j])
    return found


@numba.njit(parallel=True, nogil=True, cache=True, fastmath={"contract", "reassoc"})
def lay_under(  # type: ignore[no-untyped-def]
    pictures, through, radiance, coverage, filled, depth, rungs, rung_below, rung_step, signed, left, top,
    rays_x, rays_y, straight, margin, focal, centre_x, centre_y, motions, moving, windows, diameters_of_focus,
    focus_shift, slope, breathing,
):  # fmt: skip
    """Lay one layer's ladder behind ``pictures`` [K, H, W], so that what is hidden costs nothing.

    Args:
        pictures: what lies before it, changed in place.
        through: [K, H, W], part of the light that what lies before it lets through, changed in place.
        radiance, coverage, depth, rungs, signed, left, top: of the ladder; coverage is empty for an opaque layer.
        filled: of the ladder, see :func:`filled_rungs`.
        rung_below, rung_step: for each multiple of the step from the first rung on, the last rung not above it.
        rays_x, rays_y: rays of the canvas's pixels.
        straight: whether the lens is free of distortion.
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
    squares = rungs * rungs
    inverses = one / (squares[1:] - squares[:-1])
    per_step = one / rung_step
    in_focus = slope / depth
    for row in numba.prange(height):
        for k in range(len(motions)):
            if row < windows[k, 0] or row > windows[k, 1]:
                continue
            scale = breathing[k]
            still = not moving and scale == one
            flow_x, flow_y = np.float32(0.0), np.float32(0.0)
            steps = _START_STEPS
            for column in range(windows[k, 2], min(windows[k, 3] + 1, width)):
                remaining = through[k, row, column]
                if remaining < np.float32(_HIDDEN):
                    steps = _START_STEPS
                    continue
                x = np.float32(column + margin)
                y = np.float32(row + margin)
                if not opaque and (not moving or steps == _STEPS):
                    # a guess from the neighbour's flow is good enough to see that there is nothing
                    i = min(max(int(y + flow_y) - top, 0), depth.shape[0] - 1)
                    j = min(max(int(x + flow_x) - left, 0), depth.shape[1] - 1)
                    guess = diameters_of_focus[k] + focus_shift[row, column] - in_focus[i, j]
                    low, _ = _rung(rungs, squares, inverses, rung_below, per_step, signed, guess)
                    if filled[0, i, j] < low - _EMPTY_RUNGS and low + 1 + _EMPTY_RUNGS < filled[1, i, j]:
                        continue
                stretch = one
                if still:
                    i = min(max(row + margin - top, 0), depth.shape[0] - 1)
                    j = min(max(column + margin - left, 0), depth.shape[1] - 1)
                    focused = in_focus[i, j]
                else:
                    x = centre_x + (np.float32(column) - centre_x) / scale + np.float32(margin)
                    y = centre_y + (np.float32(row) - centre_y) / scale + np.float32(margin)
                    if moving:
                        ray_x = _ray(rays_x, straight, 1, y, x)
                        ray_y = _ray(rays_y, straight, 0, y, x)
                        from_x, from_y = x, y
                        x, y, before, now = _search(
                            depth, rays_x, rays_y, straight, np.float32(left), np.float32(top), motions[k], focal,
                            ray_x, ray_y, x + flow_x, y + flow_y, steps,
                        )  # fmt: skip
                        if now < np.float32(_NEAREST_M):
                            flow_x, flow_y = np.float32(0.0), np.float32(0.0)
                            steps = _START_STEPS
                            continue
                        flow_x, flow_y = x - from_x, y - from_y
                        steps = _STEPS
                        focused = slope / now
                        stretch = now / (before * scale)
                    else:
                        focused = _bilinear(
                            in_focus,
                            _inside(y - np.float32(top), np.float32(depth.shape[0] - 1)),
                            _inside(x - np.float32(left), np.float32(depth.shape[1] - 1)),
                        )
                        stretch = one / scale
                x -= np.float32(left)
                y -= np.float32(top)
                if not opaque and (
                    x < -one or y < -one or x > np.float32(coverage.shape[2]) or y > np.float32(coverage.shape[0])
                ):
                    continue
                diameter = (diameters_of_focus[k] + focus_shift[row, column] - focused) * stretch
                low, weight = _rung(rungs, squares, inverses, rung_below, per_step, signed, diameter)
                smooth = abs(rungs[low]) >= np.float32(_SMOOTH_PX)
                light = max(_light(radiance, y, x, low, weight, smooth), np.float32(0.0))
                pictures[k, row, column] += remaining * light
                if not opaque:
                    covered = min(max(_light(coverage, y, x, low, weight, smooth), np.float32(0.0)), one)
                    through[k, row, column] = remaining * (one - covered)


@numba.njit(parallel=True, nogil=True, cache=True)
def lay_depth(  # type: ignore[no-untyped-def]
    image, coverage, depth, sharp_rung, left, top, rays_x, rays_y, straight, margin, focal, motion, window,
):  # fmt: skip
    """Lay one layer's depth over ``image`` [H, W] wherever it covers at least half of the pixel."""
    opaque = coverage.size == 0
    for row in numba.prange(window[0], window[1] + 1):
        flow_x, flow_y = np.float32(0.0), np.float32(0.0)
        steps = _START_STEPS
        for column in range(window[2], window[3] + 1):
            at_x, at_y = np.float32(column + margin), np.float32(row + margin)
            x, y, _, now = _search(
                depth, rays_x, rays_y, straight, np.float32(left), np.float32(top), motion, focal,
                _ray(rays_x, straight, 1, at_y, at_x), _ray(rays_y, straight, 0, at_y, at_x),
                at_x + flow_x, at_y + flow_y, steps,
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
                if outside or _light(coverage, y, x, sharp_rung, np.float32(0.0), False) < np.float32(0.5):
                    continue
            image[row, column] = now
