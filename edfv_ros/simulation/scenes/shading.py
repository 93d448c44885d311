"""Light from textured surfaces: filtered reflectance, matt shading and highlights, compiled."""

import math

import numba
import numpy as np

from edfv_ros.simulation.scenes.patterns import TILE_TEXELS
from edfv_ros.simulation.scenes.textures import LEVEL_OFFSETS, LEVELS

BRIGHTEST = 30.0
"""Largest radiance of a highlight."""

_MOST_TAPS = 8
_OFFSETS = LEVEL_OFFSETS.astype(np.int64)


@numba.njit(nogil=True, cache=True)
def _bilinear(pyramid, level, a, b):  # type: ignore[no-untyped-def]
    size = TILE_TEXELS >> level
    scale = 1.0 / (1 << level)
    x, y = a * scale - 0.5, b * scale - 0.5
    column, row = math.floor(x), math.floor(y)
    right, down = np.float32(x - column), np.float32(y - row)
    mask = size - 1
    left = int(column) & mask
    top = int(row) & mask
    first = _OFFSETS[level] + top * size
    second = _OFFSETS[level] + ((top + 1) & mask) * size
    next_column = (left + 1) & mask
    upper = pyramid[first + left] * (np.float32(1.0) - right) + pyramid[first + next_column] * right
    lower = pyramid[second + left] * (np.float32(1.0) - right) + pyramid[second + next_column] * right
    return upper * (np.float32(1.0) - down) + lower * down


@numba.njit(nogil=True, cache=True)
def _textured(pyramid, m, u, v, ux, vx, uy, vy):  # type: ignore[no-untyped-def]
    """Pattern at (u, v) averaged over a parallelogram with the sides (ux, vx) and (uy, vy): one sample's footprint.

    Trilinear in the pyramid at the footprint's short side, several taps along its long side.
    """
    a, b = m[0, 0] * u + m[0, 1] * v + m[0, 2], m[1, 0] * u + m[1, 1] * v + m[1, 2]
    ax, bx = m[0, 0] * ux + m[0, 1] * vx, m[1, 0] * ux + m[1, 1] * vx
    ay, by = m[0, 0] * uy + m[0, 1] * vy, m[1, 0] * uy + m[1, 1] * vy
    long, short = math.sqrt(ax * ax + bx * bx), math.sqrt(ay * ay + by * by)
    if long < short:
        long, short, ax, bx = short, long, ay, by
    taps = min(max(math.ceil(long / max(short, 1.0) - 0.2), 1), _MOST_TAPS)
    fine = min(max(math.log2(max(max(short, long / taps), 1e-9)), 0.0), LEVELS - 1.001)
    level = int(fine)
    part = np.float32(fine - level)
    total = np.float32(0.0)
    for tap in range(taps):
        shift = (tap + 0.5) / taps - 0.5
        s, t = a + shift * ax, b + shift * bx
        value = _bilinear(pyramid, level, s, t)
        if part > 0.02:
            value += part * (_bilinear(pyramid, level + 1, s, t) - value)
        total += value
    return total / np.float32(taps)


@numba.njit(nogil=True, cache=True)
def _neighbour(i, last, first_same, second_same):  # type: ignore[no-untyped-def]
    """Index offset of a neighbour on the same patch: +1, -1 or 0 for none."""
    if i < last and second_same:
        return 1
    return -1 if i > 0 and first_same else 0


@numba.njit(nogil=True, cache=True)
def shade(  # type: ignore[no-untyped-def]
    only,
    row0,
    column0,
    x,
    y,
    coverage,
    depth,
    u,
    v,
    normal,
    patch,
    coarse,
    coarse_matrix,
    coarse_contrast,
    fine,
    fine_matrix,
    fine_contrast,
    tone,
    gloss,
    shininess,
    glow,
    ambient,
    up,
    lights,
    intensities,
    shadows,
    radiance,
):
    """Radiance of a surface, float32, where it is covered and (unless ``only`` is negative) on the patch ``only``.

    Lambert's law under distant lights and an even sky, plus Blinn's highlights (Models of light reflection for
    computer synthesized pictures, 1977). ``up``, ``lights`` [L, 3] and ``shadows`` [S, 5] (centre, radius, strength)
    are in the camera's frame.
    """
    rows, columns = depth.shape
    for i in range(rows):
        for j in range(columns):
            if (only >= 0 and patch[i, j] != only) or coverage[i, j] <= 0.0:
                continue
            cx, cy = float(x[row0 + i, column0 + j]), float(y[row0 + i, column0 + j])
            z = float(depth[i, j])
            here = patch[i, j]
            su, sv = u[i, j], v[i, j]
            across = _neighbour(
                j, columns - 1, j > 0 and patch[i, j - 1] == here, j < columns - 1 and patch[i, j + 1] == here
            )
            along = _neighbour(i, rows - 1, i > 0 and patch[i - 1, j] == here, i < rows - 1 and patch[i + 1, j] == here)
            if across != 0:
                ux, vx = (u[i, j + across] - su) * across, (v[i, j + across] - sv) * across
            else:
                ux, vx = 0.0, 0.0
            if along != 0:
                uy, vy = (u[i + along, j] - su) * along, (v[i + along, j] - sv) * along
            else:
                uy, vy = -vx, ux
            if across == 0:
                ux, vx = vy, -uy
            albedo = tone
            albedo *= 1.0 + coarse_contrast * _textured(coarse, coarse_matrix, su, sv, ux, vx, uy, vy)
            albedo *= 1.0 + fine_contrast * _textured(fine, fine_matrix, su, sv, ux, vx, uy, vy)
            albedo = min(max(albedo, 0.01), 0.98)

            nx, ny, nz = float(normal[i, j, 0]), float(normal[i, j, 1]), float(normal[i, j, 2])
            distance = math.sqrt(cx * cx + cy * cy + 1.0)
            ex, ey, ez = -cx / distance, -cy / distance, -1.0 / distance  # towards the eye
            lit = ambient * (0.8 + 0.2 * (nx * up[0] + ny * up[1] + nz * up[2]))
            highlight = 0.0
            for n in range(len(intensities)):
                lx, ly, lz = lights[n, 0], lights[n, 1], lights[n, 2]
                facing = nx * lx + ny * ly + nz * lz
                if facing <= 0.0:
                    continue
                lit += intensities[n] * facing
                if gloss > 0.0:
                    hx, hy, hz = lx + ex, ly + ey, lz + ez
                    cosine = (nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
                    if cosine > 0.0:
                        highlight += intensities[n] * gloss * cosine**shininess
            for n in range(len(shadows)):
                gx, gy, gz = cx * z - shadows[n, 0], cy * z - shadows[n, 1], z - shadows[n, 2]
                square = (gx * gx + gy * gy + gz * gz) / (shadows[n, 3] * shadows[n, 3])
                if square < 6.0:
                    lit *= 1.0 - shadows[n, 4] * math.exp(-square)
            radiance[i, j] = min(albedo * lit + highlight + glow, BRIGHTEST)
