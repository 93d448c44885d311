"""Rays against shapes: hits, depth and surface coordinates, compiled.

A ray is ``(x, y, 1)`` in the camera's frame, so that its parameter is the depth z. Every shape also says where a ray
that misses it would meet its continuation, which gives a layer a smooth depth and texture beyond its rim.
"""

import math

import numba
import numpy as np

from edfv_ros.simulation.scenes.shapes import BOX, CABLE, CAN, ELLIPSE, ELLIPSOID, GRID, LEAF, RECTANGLE

_FAR_M = 1e6
_RIM_SAMPLES = 4  # hit tests per layer sample and axis where a rim passes


@numba.njit(inline="always")
def _dot(a, b):  # type: ignore[no-untyped-def]
    """Product of two vectors [3]: numba's own asks for SciPy."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(inline="always")
def _turned_back(rotation, vector):  # type: ignore[no-untyped-def]
    """``rotation.T @ vector``."""
    return np.array(
        [_dot(rotation[:, 0], vector), _dot(rotation[:, 1], vector), _dot(rotation[:, 2], vector)], vector.dtype
    )


@numba.njit(nogil=True, cache=True)
def _within_outline(code, p, grow, u, v):  # type: ignore[no-untyped-def]
    """Whether a flat shape, ``grow`` wider all round, holds the point (u, v) of its plane."""
    if abs(u) > p[0] * (1.6 if code == LEAF else 1.0) + grow or abs(v) > p[1] + grow:
        return False
    if code <= ELLIPSE:  # RECTANGLE comes first
        if p[2] * u + p[3] * v > p[4] + grow * math.hypot(p[2], p[3]):
            return False
        if code == RECTANGLE:
            return True
        a, b = p[0] + grow, p[1] + grow
        return a > 0 and b > 0 and (u / a) ** 2 + (v / b) ** 2 <= 1.0
    if code == LEAF:
        along = v / p[1]
        return abs(u) <= p[0] * (1.0 - along * along) * (1.0 + p[5] * along) + grow
    if code == GRID:
        across = p[7] > 0 and abs(u - p[5] * math.floor(u / p[5] + 0.5)) <= 0.5 * p[7] + grow
        return across or (p[8] > 0 and abs(v - p[6] * math.floor(v / p[6] + 0.5)) <= 0.5 * p[8] + grow)
    turn = 2.0 * math.pi / p[7]
    centre = p[5] * (u / p[0]) ** 2 + p[6] * math.sin(turn * u)
    slope = 2.0 * p[5] * u / p[0] ** 2 + p[6] * turn * math.cos(turn * u)
    return abs(v - centre) <= (0.5 * p[8] + grow) * math.sqrt(1.0 + slope * slope)


@numba.njit(nogil=True, cache=True)
def _meet_flat(code, p, grow, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    steep = dz if abs(dz) > 1e-12 else 1e-12
    t = -oz / steep
    u, v = ox + t * dx, oy + t * dy
    return _within_outline(code, p, grow, u, v), t, u, v, 0.0, 0.0, (-1.0 if dz > 0 else 1.0), 0


@numba.njit(nogil=True, cache=True)
def _meet_ellipsoid(p, grow, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    ax, ay, az = max(p[0] + grow, 1e-9), max(p[1] + grow, 1e-9), max(p[2] + grow, 1e-9)
    ox, oy, oz, dx, dy, dz = ox / ax, oy / ay, oz / az, dx / ax, dy / ay, dz / az
    a, b, c = dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1.0
    under = b * b - a * c
    t = (-b - math.sqrt(max(under, 0.0))) / a
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    length = math.sqrt(x * x + y * y + z * z) + 1e-30
    mean = (ax + ay + az) / 3.0
    u, v = math.atan2(x, -z) * mean, math.asin(min(max(y / length, -1.0), 1.0)) * mean
    nx, ny, nz = x / ax, y / ay, z / az
    scale = 1.0 / (math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-30)
    return under > 0, t, u, v, nx * scale, ny * scale, nz * scale, 0


@numba.njit(nogil=True, cache=True)
def _meet_box(p, grow, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    origin, direction = (ox, oy, oz), (dx, dy, dz)
    enter, leave, face = -_FAR_M, _FAR_M, 0
    for axis in range(3):
        d = direction[axis]
        if abs(d) < 1e-12:
            d = 1e-12
        half = math.copysign(max(p[axis] + grow, 0.0), d)
        first, last = (-half - origin[axis]) / d, (half - origin[axis]) / d
        if first > enter:
            enter, face = first, axis
        leave = min(leave, last)
    x, y, z = ox + enter * dx, oy + enter * dy, oz + enter * dz
    outward = -math.copysign(1.0, direction[face])
    if face == 0:  # never mirrored: u runs to the right for who looks at the face
        return enter < leave, enter, z * outward + 0.11, y, outward, 0.0, 0.0, 0
    if face == 1:
        return enter < leave, enter, x + 0.37, z * outward + 0.21, 0.0, outward, 0.0, 1
    return enter < leave, enter, -x * outward, y, 0.0, 0.0, outward, 2


@numba.njit(nogil=True, cache=True)
def _meet_can(p, grow, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    radius, half = max(p[0] + grow, 1e-9), max(p[1] + grow, 0.0)
    a, b = dx * dx + dz * dz + 1e-18, dx * ox + dz * oz
    under = b * b - a * (ox * ox + oz * oz - radius * radius)
    root = math.sqrt(max(under, 0.0))
    side_in, side_out = (-b - root) / a, (-b + root) / a
    steep = dy if abs(dy) > 1e-12 else 1e-12
    end_in = (-math.copysign(half, steep) - oy) / steep
    end_out = (math.copysign(half, steep) - oy) / steep
    t = max(side_in, end_in)
    hit = under > 0 and t < min(side_out, end_out)
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    if side_in >= end_in:
        length = math.hypot(x, z) + 1e-30
        return hit, t, math.atan2(x, -z) * p[0], y, x / length, 0.0, z / length, 0
    return hit, t, x + 0.37, z + 0.21, 0.0, -math.copysign(1.0, steep), 0.0, 1


@numba.njit(nogil=True, cache=True)
def _meet_rod(p, grow, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    radius, half = p[0] + grow, p[1]
    a, b = dx * dx + dz * dz + 1e-18, dx * ox + dz * oz
    under = b * b - a * (ox * ox + oz * oz - radius * radius) if radius > 0 else -1.0
    t = (-b - math.sqrt(max(under, 0.0))) / a
    y = oy + t * dy
    if abs(y) > half:  # the ball at that end
        y = math.copysign(half, y)
        a, b = dx * dx + dy * dy + dz * dz, dx * ox + dy * (oy - y) + dz * oz
        c = ox * ox + (oy - y) ** 2 + oz * oz - radius * radius
        under = b * b - a * c if radius > 0 else -1.0
        t = (-b - math.sqrt(max(under, 0.0))) / a
    px, py, pz = ox + t * dx, oy + t * dy - y, oz + t * dz
    length = math.sqrt(px * px + py * py + pz * pz) + 1e-30
    around = math.atan2(px, -pz) * p[0]
    return under > 0, t, around, oy + t * dy, px / length, py / length, pz / length, 0


@numba.njit(nogil=True, cache=True)
def _meet(code, p, grow, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Meet one ray with one shape, in the shape's axes, the shape ``grow`` larger all round.

    Returns:
        Whether it hits; the ray parameter; coordinates u and v on the surface; the normal towards the ray's origin;
        a number that tells the patches apart on which u and v run smoothly.
    """
    if code <= CABLE:
        return _meet_flat(code, p, grow, ox, oy, oz, dx, dy, dz)
    if code == ELLIPSOID:
        return _meet_ellipsoid(p, grow, ox, oy, oz, dx, dy, dz)
    if code == BOX:
        return _meet_box(p, grow, ox, oy, oz, dx, dy, dz)
    if code == CAN:
        return _meet_can(p, grow, ox, oy, oz, dx, dy, dz)
    return _meet_rod(p, grow, ox, oy, oz, dx, dy, dz)


@numba.njit(nogil=True, cache=True)
def cast_shape(  # type: ignore[no-untyped-def]
    code, p, position, rotation, x, y, row0, column0, behind_m, nearest_m, coverage, depth, u, v, normal, patch
):
    """Meet the rays of a box of the canvas with a shape.

    Args:
        code, p: of the shape.
        position, rotation: float64 [3] and [3, 3], its pose in the camera's frame.
        x, y: float32 [rows, columns], normalised coordinates of the canvas's samples.
        row0, column0: the box's first sample.
        behind_m: float32 like ``x``, depth of the background, which hides what lies beyond it.
        nearest_m: what is nearer is cut away.
        coverage, depth, u, v, normal, patch: out, of the box's size; normals in the camera's frame.

    Returns:
        Least and largest depth of the samples that the shape covers; (0, 0) where it covers none. Depths outside the
        coverage are kept between these.
    """
    rotation = np.ascontiguousarray(rotation)
    local = -_turned_back(rotation, position)
    ox, oy, oz = local[0], local[1], local[2]
    rows, columns = coverage.shape
    last_row, last_column = x.shape[0] - 1, x.shape[1] - 1
    lowest, highest = _FAR_M, 0.0
    for i in range(rows):
        row = row0 + i
        up, down = max(row - 1, 0), min(row + 1, last_row)
        for j in range(columns):
            column = column0 + j
            left, right = max(column - 1, 0), min(column + 1, last_column)
            cx, cy = float(x[row, column]), float(y[row, column])
            dx = rotation[0, 0] * cx + rotation[1, 0] * cy + rotation[2, 0]
            dy = rotation[0, 1] * cx + rotation[1, 1] * cy + rotation[2, 1]
            dz = rotation[0, 2] * cx + rotation[1, 2] * cy + rotation[2, 2]
            inside, t, su, sv, nx, ny, nz, which = _meet(code, p, 0.0, ox, oy, oz, dx, dy, dz)
            xx = (x[row, right] - x[row, left]) / (right - left)
            yy = (y[down, column] - y[up, column]) / (down - up)
            reach = 1.2 * max(abs(xx), abs(yy)) * min(abs(t), _FAR_M)
            if code <= CABLE:
                reach *= min(math.sqrt(dx * dx + dy * dy + dz * dz) / max(abs(dz), 1e-9), 50.0)
            far = behind_m[row, column] * 1.0002 + 1e-6
            covered = 0.0
            if t <= 1.02 * far and t + reach >= nearest_m and _meet(code, p, reach, ox, oy, oz, dx, dy, dz)[0]:
                sure = t < far and t > nearest_m and _meet(code, p, -reach, ox, oy, oz, dx, dy, dz)[0]
                if sure and far - t > 0.02 * far:
                    covered = 1.0
                else:
                    xy = (x[down, column] - x[up, column]) / (down - up)
                    yx = (y[row, right] - y[row, left]) / (right - left)
                    count = 0
                    for a in range(_RIM_SAMPLES):
                        b_row = (a + 0.5) / _RIM_SAMPLES - 0.5
                        for b in range(_RIM_SAMPLES):
                            b_column = (b + 0.5) / _RIM_SAMPLES - 0.5
                            sx, sy = cx + b_column * xx + b_row * xy, cy + b_column * yx + b_row * yy
                            ex = rotation[0, 0] * sx + rotation[1, 0] * sy + rotation[2, 0]
                            ey = rotation[0, 1] * sx + rotation[1, 1] * sy + rotation[2, 1]
                            ez = rotation[0, 2] * sx + rotation[1, 2] * sy + rotation[2, 2]
                            hit = _meet(code, p, 0.0, ox, oy, oz, ex, ey, ez)
                            if hit[0] and nearest_m < hit[1] < far:
                                count += 1
                    covered = count / (_RIM_SAMPLES * _RIM_SAMPLES)
            coverage[i, j] = covered
            depth[i, j] = min(max(t, -_FAR_M), _FAR_M)
            u[i, j], v[i, j], patch[i, j] = su, sv, which
            for axis in range(3):
                normal[i, j, axis] = rotation[axis, 0] * nx + rotation[axis, 1] * ny + rotation[axis, 2] * nz
            if covered > 0.0 and inside and t > nearest_m:
                lowest, highest = min(lowest, t), max(highest, t)
    if highest <= 0.0:  # only rims: a thread thinner than a sample
        for i in range(rows):
            for j in range(columns):
                if coverage[i, j] > 0.0:
                    lowest, highest = min(lowest, depth[i, j]), max(highest, depth[i, j])
    if highest <= 0.0:
        return 0.0, 0.0
    lowest = max(lowest, nearest_m)
    highest = max(highest, lowest)
    for i in range(rows):
        for j in range(columns):
            depth[i, j] = min(max(depth[i, j], lowest), highest)
    return lowest, highest


@numba.njit(nogil=True, cache=True)
def cast_planes(planes, axes, position, rotation, x, y, nearest_m, farthest_m, depth, u, v, normal, patch):  # type: ignore[no-untyped-def]
    """Meet all rays with the nearest of several unbounded planes of the world.

    Args:
        planes: float64 [N, 3]; plane p holds the points with ``p . P = 1``.
        axes: float64 [N, 2, 3], unit vectors in the planes along which u and v run.
        position, rotation: the camera's pose in the world.
        x, y: float32 [rows, columns], normalised coordinates.
        nearest_m, farthest_m: depths are kept between these.
        depth, u, v, normal, patch: out; ``patch`` is the plane's index, normals are in the camera's frame.
    """
    count = len(planes)
    through = np.empty((count, 3))  # the planes in the camera's frame
    usable = np.empty(count, np.bool_)
    for n in range(count):
        distance = 1.0 - _dot(planes[n], position)
        usable[n] = distance > 1e-9  # else the camera is behind it
        for axis in range(3):
            along = (
                planes[n, 0] * rotation[0, axis] + planes[n, 1] * rotation[1, axis] + planes[n, 2] * rotation[2, axis]
            )
            through[n, axis] = along / (distance if usable[n] else 1.0)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            cx, cy = float(x[i, j]), float(y[i, j])
            best, which = -1e30, 0
            for n in range(count):
                vergence = through[n, 0] * cx + through[n, 1] * cy + through[n, 2]
                if usable[n] and vergence > best:
                    best, which = vergence, n
            t = min(1.0 / max(best, 1e-9), farthest_m)
            depth[i, j], patch[i, j] = max(t, nearest_m), which
            wx = position[0] + t * (rotation[0, 0] * cx + rotation[0, 1] * cy + rotation[0, 2])
            wy = position[1] + t * (rotation[1, 0] * cx + rotation[1, 1] * cy + rotation[1, 2])
            wz = position[2] + t * (rotation[2, 0] * cx + rotation[2, 1] * cy + rotation[2, 2])
            u[i, j] = wx * axes[which, 0, 0] + wy * axes[which, 0, 1] + wz * axes[which, 0, 2]
            v[i, j] = wx * axes[which, 1, 0] + wy * axes[which, 1, 1] + wz * axes[which, 1, 2]
            length = math.sqrt(_dot(through[which], through[which])) + 1e-30
            for axis in range(3):
                normal[i, j, axis] = -through[which, axis] / length


@numba.njit(nogil=True, cache=True)
def nearer_samples(depth_a, coverage_a, top_a, left_a, depth_b, coverage_b, top_b, left_b):  # type: ignore[no-untyped-def]
    """Of the samples that two layers both cover, on how many more b is nearer than a than the other way round."""
    top, left = max(top_a, top_b), max(left_a, left_b)
    bottom = min(top_a + depth_a.shape[0], top_b + depth_b.shape[0])
    right = min(left_a + depth_a.shape[1], left_b + depth_b.shape[1])
    votes = 0
    for i in range(top, bottom):
        for j in range(left, right):
            if coverage_a[i - top_a, j - left_a] > 0.0 and coverage_b[i - top_b, j - left_b] > 0.0:
                a, b = depth_a[i - top_a, j - left_a], depth_b[i - top_b, j - left_b]
                votes += (b < a) - (a < b)
    return votes
