"""Tileable procedural surfaces: albedo images that repeat without a seam."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Albedo = NDArray[np.float32]

TILE_TEXELS = 512
_FINEST_CYCLES = 55.0
_WORDS = ("FOCUS", "EVENT", "LENS", "DEPTH", "METRE", "LIGHT", "42", "SWEEP", "EDGE", "NORTH", "TEA", "1984", "SALT")


def fractal_noise(rng: np.random.Generator, roughness: float, stretch: float = 1.0) -> Albedo:
    """Gaussian noise with power spectrum ``1 / f**(2 * roughness)``, zero mean, unit variance, [TILE, TILE].

    It ends softly at _FINEST_CYCLES per tile, about what a pixel resolves. ``stretch`` > 1 elongates the grain along x.
    """
    frequency_y = np.fft.fftfreq(TILE_TEXELS)[:, None] * TILE_TEXELS
    frequency_x = np.fft.rfftfreq(TILE_TEXELS)[None, :] * TILE_TEXELS * stretch
    radius = np.hypot(frequency_y, frequency_x)
    radius[0, 0] = 1.0
    fall = radius**roughness * (1.0 + (radius / _FINEST_CYCLES) ** 4)
    spectrum = np.fft.rfft2(rng.standard_normal((TILE_TEXELS, TILE_TEXELS))) / fall
    spectrum[0, 0] = 0.0
    noise = np.fft.irfft2(spectrum, s=(TILE_TEXELS, TILE_TEXELS))
    return (noise / noise.std()).astype(np.float32)


def _toned(pattern: Albedo, rng: np.random.Generator, contrast: float) -> Albedo:
    """Map a pattern of about unit variance to albedo: log-normal around a random grey."""
    grey = rng.uniform(0.12, 0.5)
    return np.clip(grey * np.exp(contrast * pattern), 0.015, 0.95).astype(np.float32)


def _grain(rng: np.random.Generator) -> Albedo:
    return _toned(fractal_noise(rng, rng.uniform(0.5, 1.0)), rng, rng.uniform(0.85, 1.1))


def _plain(rng: np.random.Generator) -> Albedo:
    return _toned(fractal_noise(rng, 0.8), rng, rng.uniform(0.1, 0.25))


def _wood(rng: np.random.Generator) -> Albedo:
    warp = fractal_noise(rng, 1.8, stretch=6.0)
    rows = np.arange(TILE_TEXELS, dtype=np.float32)[:, None] / TILE_TEXELS
    rings = np.sin(2 * np.pi * (rng.integers(5, 11) * rows + 1.2 * warp))
    fibre = fractal_noise(rng, 0.4, stretch=8.0)
    return _toned((0.5 * rings + 0.8 * fibre).astype(np.float32), rng, rng.uniform(0.85, 1.05))


def _checks(rng: np.random.Generator) -> Albedo:
    cells = int(rng.choice([8, 16, 32]))
    board = np.indices((cells, cells)).sum(axis=0) % 2
    pattern = np.kron(board, np.ones((TILE_TEXELS // cells,) * 2)).astype(np.float32) * 2 - 1
    return _toned(0.8 * pattern + 0.6 * fractal_noise(rng, 0.7), rng, rng.uniform(0.8, 1.0))


def _speckle(rng: np.random.Generator) -> Albedo:
    image = np.full((TILE_TEXELS, TILE_TEXELS), rng.uniform(0.55, 0.8), np.float32)
    for _ in range(1500):
        centre = rng.integers(0, TILE_TEXELS, 2)
        radius, tone = int(2 + rng.pareto(1.9) * 3), rng.uniform(0.04, 0.9)
        _stamp(image, lambda canvas, at, r=radius, a=tone: cv2.circle(canvas, at, r, a, -1), centre)
    return image * np.exp(0.5 * fractal_noise(rng, 0.5))


def _bricks(rng: np.random.Generator) -> Albedo:
    rows, columns = 8, 4
    height, width = TILE_TEXELS // rows, TILE_TEXELS // columns
    image = np.full((TILE_TEXELS, TILE_TEXELS), 0.6, np.float32)
    for row in range(rows):
        for column in range(columns):
            left = column * width + (row % 2) * width // 2
            corner = np.array([left + 4, row * height + 4])
            size = np.array([width - 9, height - 9])
            tone = rng.uniform(0.12, 0.42)
            _stamp(
                image,
                lambda canvas, at, s=size, a=tone: cv2.rectangle(canvas, at, (at[0] + s[0], at[1] + s[1]), a, -1),
                corner,
            )
    return np.clip(image * np.exp(0.7 * fractal_noise(rng, 0.6)), 0.02, 0.95)


def _print(rng: np.random.Generator) -> Albedo:
    ink = np.zeros((TILE_TEXELS, TILE_TEXELS), np.uint8)
    top = 6
    while top < TILE_TEXELS - 20:
        scale = float(rng.choice([0.7, 1.0, 1.0, 1.6, 2.4]))
        line = " ".join(rng.choice(_WORDS, 14))
        thickness = max(2, round(2.4 * scale))
        baseline = top + round(24 * scale)
        cv2.putText(ink, line, (4, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
        top = baseline + round(14 * scale)
    paper = rng.uniform(0.65, 0.85)
    image = (paper + (0.05 - paper) * (ink / 255.0)).astype(np.float32)
    for _ in range(5):
        corner = rng.integers(0, TILE_TEXELS - 110, 2)
        width, height = rng.integers(40, 110, 2)
        picture = _toned(fractal_noise(rng, 1.1), rng, 0.5)[:height, :width]
        image[corner[1] : corner[1] + height, corner[0] : corner[0] + width] = picture
    return image * np.exp(0.3 * fractal_noise(rng, 0.6))


def _weave(rng: np.random.Generator) -> Albedo:
    threads = int(rng.choice([24, 32, 48]))
    y, x = np.indices((TILE_TEXELS, TILE_TEXELS), np.float32) * (2 * np.pi * threads / TILE_TEXELS)
    pattern = np.sin(x) * np.sign(np.sin(y / 2)) + np.sin(y) * np.sign(np.sin(x / 2))
    return _toned((0.5 * pattern + 0.8 * fractal_noise(rng, 0.7)).astype(np.float32), rng, rng.uniform(0.8, 1.0))


def _posters(rng: np.random.Generator) -> Albedo:
    """A painted wall hung with pictures and papers; about a third of it stays nearly blank."""
    wall = _plain(rng)
    sheets = [_LIVELY_SURFACES[i](rng) for i in rng.choice(len(_LIVELY_SURFACES), 4, replace=False)]
    cell = TILE_TEXELS // 3
    for row in range(3):
        for column in range(3):
            height, width = (int(side) for side in rng.integers(round(0.7 * cell), round(0.95 * cell), 2))
            top = row * cell + int(rng.integers(0, cell - height))
            left = column * cell + int(rng.integers(0, cell - width))
            sheet = sheets[int(rng.integers(len(sheets)))]
            place = slice(top, top + height), slice(left, left + width)
            wall[place] = np.clip(sheet[place] * rng.uniform(0.6, 1.3), 0.015, 0.95)
    return wall


def _stamp(image: Albedo, draw: Callable[..., object], position: NDArray[np.integer]) -> None:
    """Draw at ``position`` and at its copies one tile away, so that the tile has no seam."""
    for dy in (-TILE_TEXELS, 0, TILE_TEXELS):
        for dx in (-TILE_TEXELS, 0, TILE_TEXELS):
            draw(image, (int(position[0]) + dx, int(position[1]) + dy))


_LIVELY_SURFACES = (_grain, _wood, _checks, _speckle, _print, _weave)

TEXTURES: dict[str, Callable[[np.random.Generator], Albedo]] = {
    "grain": _grain,
    "plain": _plain,
    "wood": _wood,
    "checks": _checks,
    "speckle": _speckle,
    "bricks": _bricks,
    "print": _print,
    "weave": _weave,
    "posters": _posters,
}


class Texture:
    """An albedo tile with its mip pyramid.

    Args:
        albedo: float32 [TILE, TILE], 0 to 1.
        tile_m: length of the tile's side on the surface.
    """

    def __init__(self, albedo: Albedo, tile_m: float) -> None:
        self._tile_m = tile_m
        self._levels = [np.clip(albedo, 0.01, 0.98).astype(np.float32)]
        while len(self._levels[-1]) > 2:
            side = len(self._levels[-1]) // 2
            self._levels.append(self._levels[-1].reshape(side, 2, side, 2).mean(axis=(1, 3)))

    @classmethod
    def random(cls, name: str, rng: np.random.Generator, tile_m: float) -> "Texture":
        """Make the texture called ``name`` in :data:`TEXTURES`."""
        return cls(TEXTURES[name](rng), tile_m)

    def sample(self, u_m: Albedo, v_m: Albedo, footprint_m: Albedo) -> Albedo:
        """Albedo at surface coordinates [H, W] averaged over about ``footprint_m`` (trilinear in the pyramid)."""
        texel_m = self._tile_m / TILE_TEXELS
        level = np.clip(np.log2(np.maximum(footprint_m, 1e-9) / texel_m), 0, len(self._levels) - 1.001)
        out = np.zeros(u_m.shape, np.float32)
        for index in range(int(level.min()), min(int(level.max()) + 2, len(self._levels))):
            weight = np.maximum(0.0, 1.0 - np.abs(level - index)).astype(np.float32)
            tile = self._levels[index]
            scale = len(tile) / self._tile_m
            map_x = np.mod(u_m * scale, len(tile)).astype(np.float32) - 0.5
            map_y = np.mod(v_m * scale, len(tile)).astype(np.float32) - 0.5
            out += weight * cv2.remap(tile, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return out
