"""Procedural surface patterns: reflectance on a square tile that repeats without a seam."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Tile = NDArray[np.float32]
Grey = NDArray[np.uint8]

TILE_TEXELS = 256
_WORDS = (
    "FOCUS",
    "EVENT",
    "LENS",
    "DEPTH",
    "METRE",
    "LIGHT",
    "42",
    "SWEEP",
    "EDGE",
    "NORTH",
    "TEA",
    "1984",
    "SALT",
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "his",
    "but",
    "at",
    "are",
    "this",
    "have",
    "from",
    "or",
    "had",
    "an",
    "they",
    "which",
    "one",
    "you",
    "were",
    "all",
    "her",
    "she",
    "there",
    "would",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "no",
    "more",
    "if",
    "out",
    "so",
    "up",
    "said",
    "what",
    "its",
    "about",
    "than",
    "into",
)


def noise(rng: np.random.Generator, roughness: float, stretch: float = 1.0, finest_cycles: float = 55.0) -> Tile:
    """Gaussian noise with power spectrum ``1 / f**(2 * roughness)``, zero mean, unit variance, [TILE, TILE].

    It ends softly at ``finest_cycles`` per tile. ``stretch`` > 1 elongates the grain along x.
    """
    frequency_y = np.fft.fftfreq(TILE_TEXELS)[:, None] * TILE_TEXELS
    frequency_x = np.fft.rfftfreq(TILE_TEXELS)[None, :] * TILE_TEXELS * stretch
    radius = np.hypot(frequency_y, frequency_x)
    radius[0, 0] = 1.0
    fall = radius**roughness * (1.0 + (radius / finest_cycles) ** 4)
    spectrum = np.fft.rfft2(rng.standard_normal((TILE_TEXELS, TILE_TEXELS))) / fall
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(TILE_TEXELS, TILE_TEXELS))
    return (field / field.std()).astype(np.float32)


def _toned(pattern: NDArray[np.floating], contrast: float) -> Tile:
    """Log-normal reflectance from a pattern of about unit variance, tails cut at three deviations."""
    return np.exp(contrast * np.clip(pattern, -3.0, 2.2)).astype(np.float32)


def _coordinates() -> tuple[Tile, Tile]:
    """x and y over the tile, 0 to 1, at texel centres."""
    y, x = (np.indices((TILE_TEXELS, TILE_TEXELS), np.float32) + 0.5) / TILE_TEXELS
    return x, y


def _blank(tone: float) -> Grey:
    """A tile to draw on: OpenCV smooths edges on 8-bit images only."""
    return np.full((TILE_TEXELS, TILE_TEXELS), round(255 * tone), np.uint8)


def _reflectance(image: Grey) -> Tile:
    return image.astype(np.float32) / np.float32(255)


def _stamped(image: Grey, draw: Callable[[Grey, int, int], object], x: float, y: float, reach: float) -> None:
    """Draw at (x, y), and at the copies one tile away that reach into the tile."""
    for shift_y in (-TILE_TEXELS, 0, TILE_TEXELS):
        for shift_x in (-TILE_TEXELS, 0, TILE_TEXELS):
            at_x, at_y = x + shift_x, y + shift_y
            if -reach <= at_x < TILE_TEXELS + reach and -reach <= at_y < TILE_TEXELS + reach:
                draw(image, round(at_x), round(at_y))


def _grain(rng: np.random.Generator) -> Tile:
    return _toned(noise(rng, rng.uniform(0.5, 1.1), finest_cycles=80.0), 0.7)


def _fine(rng: np.random.Generator) -> Tile:
    """Nearly white: sand, plaster, rough paper."""
    return _toned(noise(rng, rng.uniform(0.0, 0.4), finest_cycles=rng.uniform(60.0, 95.0)), 0.6)


def _clouds(rng: np.random.Generator) -> Tile:
    return _toned(noise(rng, rng.uniform(1.4, 1.9)), 0.5)


def _wood(rng: np.random.Generator) -> Tile:
    warp = noise(rng, 1.8, stretch=6.0)
    _, y = _coordinates()
    rings = np.sin(2 * np.pi * (rng.integers(4, 12) * y + rng.uniform(0.5, 1.5) * warp))
    return _toned(0.45 * rings + 0.6 * noise(rng, 0.4, stretch=8.0, finest_cycles=80.0), 0.7)


def _checks(rng: np.random.Generator) -> Tile:
    cells = int(rng.choice([8, 16, 32]))
    board = np.indices((cells, cells)).sum(axis=0) % 2
    pattern = np.kron(board, np.ones((TILE_TEXELS // cells,) * 2)) * 2 - 1
    return _toned(0.9 * pattern + 0.3 * noise(rng, 0.7), rng.uniform(0.5, 0.9))


def _speckle(rng: np.random.Generator) -> Tile:
    image = _blank(rng.uniform(0.3, 0.8))
    for _ in range(500):
        (x, y), radius, tone = (
            rng.uniform(0, TILE_TEXELS, 2),
            min(int(1.5 + 2.5 * rng.pareto(1.9)), 40),
            rng.integers(12, 230),
        )

        def draw(canvas: Grey, a: int, b: int, radius: int = radius, tone: int = int(tone)) -> None:
            cv2.circle(canvas, (a, b), radius, tone, -1, cv2.LINE_AA)

        _stamped(image, draw, x, y, radius)
    return _reflectance(image) * _toned(noise(rng, 0.5), 0.2)


def _bricks(rng: np.random.Generator) -> Tile:
    rows, columns = int(rng.choice([8, 16])), int(rng.choice([4, 8]))
    height, width = TILE_TEXELS // rows, TILE_TEXELS // columns
    image = np.full((TILE_TEXELS, TILE_TEXELS), rng.uniform(0.3, 0.9), np.float32)
    joint = int(rng.integers(1, 4))
    for row in range(rows):
        for column in range(columns):
            left, top, tone = column * width + (row % 2) * width // 2, row * height, rng.uniform(0.15, 0.6)
            for x in (left, left - TILE_TEXELS):
                cv2.rectangle(image, (x + joint, top + joint), (x + width - 1, top + height - 1), tone, -1)
    return image * _toned(noise(rng, 0.6), 0.35)


def _tiles(rng: np.random.Generator) -> Tile:
    cells = int(rng.choice([4, 8, 16]))
    side = TILE_TEXELS // cells
    tones = np.where(rng.random((cells, cells)) < rng.uniform(0.0, 0.5), rng.uniform(0.2, 0.5), 0.75)
    image = np.kron(tones * rng.uniform(0.9, 1.1, (cells, cells)), np.ones((side, side))).astype(np.float32)
    joint = max(1, side // 16)
    grid = np.arange(TILE_TEXELS) % side < joint
    image[grid] = image[:, grid] = rng.uniform(0.1, 0.3)
    return image * _toned(noise(rng, 0.9), 0.12)


def _write(image: Tile, rng: np.random.Generator, scales: tuple[float, ...], left: int, right: int) -> None:
    """Lines of dark words from top to bottom of an image, each line in one of the sizes."""
    top = 4
    while top < TILE_TEXELS:
        scale = float(rng.choice(scales))
        baseline, line = top + round(22 * scale), " ".join(rng.choice(_WORDS, 40))
        face = cv2.FONT_HERSHEY_SIMPLEX if rng.random() < 0.6 else cv2.FONT_HERSHEY_COMPLEX
        ink = np.zeros((TILE_TEXELS, right - left), np.uint8)
        cv2.putText(ink, line, (0, baseline), face, scale, 255, max(1, round(2.0 * scale)), cv2.LINE_AA)
        image[:, left:right] *= 1.0 - np.float32(0.94 / 255) * ink
        top = baseline + round(rng.uniform(8, 14) * scale)


def _print(rng: np.random.Generator) -> Tile:
    """Headlines and words in several sizes, with pictures between them."""
    image = np.ones((TILE_TEXELS, TILE_TEXELS), np.float32)
    _write(image, rng, (0.35, 0.5, 0.7, 1.0, 1.6), 2, TILE_TEXELS - 2)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.integers(0, TILE_TEXELS - 80, 2)
        width, height = rng.integers(30, 80, 2)
        image[y : y + height, x : x + width] = np.clip(0.4 * _toned(noise(rng, 1.1), 0.6)[:height, :width], 0.03, 1.0)
    return image * _toned(noise(rng, 0.6), 0.06)


def _page(rng: np.random.Generator) -> Tile:
    """Small text in one to three columns."""
    image = np.ones((TILE_TEXELS, TILE_TEXELS), np.float32)
    columns, scale = int(rng.integers(1, 4)), float(rng.choice([0.3, 0.36, 0.45]))
    width = TILE_TEXELS // columns
    for column in range(columns):
        _write(image, rng, (scale,), column * width + 6, (column + 1) * width - 6)
    return image * _toned(noise(rng, 0.6), 0.04)


def _barcode(rng: np.random.Generator) -> Tile:
    """Labels: bars of many widths, and blocks of squares."""
    edges = np.cumsum(rng.integers(2, 10, TILE_TEXELS))
    bars = (np.searchsorted(edges, np.arange(TILE_TEXELS), side="right") % 2).astype(np.float32)
    image = np.broadcast_to(bars, (TILE_TEXELS, TILE_TEXELS)).copy()
    squares = np.kron(rng.integers(0, 2, (24, 24)), np.ones((4, 4)))
    for x, y in rng.integers(0, TILE_TEXELS - 96, (int(rng.integers(1, 5)), 2)):
        image[y : y + 96, x : x + 96] = squares
    return 0.06 + 0.9 * image


def _weave(rng: np.random.Generator) -> Tile:
    threads = int(rng.choice([16, 24, 32, 48]))
    x, y = (2 * np.pi * threads * axis for axis in _coordinates())
    pattern = np.sin(x) * np.sign(np.sin(y / 2)) + np.sin(y) * np.sign(np.sin(x / 2))
    return _toned(0.6 * pattern + 0.4 * noise(rng, 0.7), 0.6)


def _fabric(rng: np.random.Generator) -> Tile:
    """Twill in threads of a few tones."""
    threads = int(rng.choice([32, 64]))
    x, y = (threads * axis for axis in _coordinates())
    over = ((np.floor(x) + np.floor(y)) % 4) < 2
    warp, weft = rng.uniform(0.3, 1.0, threads), rng.uniform(0.15, 0.6, threads)
    tone = np.where(over, warp[x.astype(int)], weft[y.astype(int)])
    round_off = 0.55 + 0.45 * np.where(over, np.sin(np.pi * (x % 1)), np.sin(np.pi * (y % 1)))
    return (tone * round_off * _toned(noise(rng, 0.4), 0.15)).astype(np.float32)


def _plaid(rng: np.random.Generator) -> Tile:
    def stripes() -> NDArray[np.float64]:
        edges = np.sort(rng.integers(0, TILE_TEXELS, int(rng.integers(6, 20))))
        return rng.uniform(0.15, 1.0, len(edges) + 1)[np.searchsorted(edges, np.arange(TILE_TEXELS), side="right")]

    return (np.add.outer(stripes(), stripes()) / 2).astype(np.float32) * _toned(noise(rng, 0.4), 0.2)


def _grating(rng: np.random.Generator) -> Tile:
    x, _ = _coordinates()
    wave = np.sin(2 * np.pi * int(rng.choice([16, 32, 48, 64])) * x)
    if rng.random() < 0.5:
        wave = np.clip(3.0 * wave, -1.0, 1.0)
    return (0.5 + 0.45 * wave).astype(np.float32)


def _dots(rng: np.random.Generator) -> Tile:
    """Halftone: dots on a grid whose size follows a picture."""
    cells = int(rng.choice([16, 32, 64]))
    x, y = (cells * axis for axis in _coordinates())
    radius = 0.32 + 0.1 * np.clip(noise(rng, 1.6), -2.0, 1.5)
    edge = cells / TILE_TEXELS
    distance = np.hypot(x % 1 - 0.5, y % 1 - 0.5)
    return (1.0 - 0.92 * np.clip((radius - distance) / edge + 0.5, 0.0, 1.0)).astype(np.float32)


def _marble(rng: np.random.Generator) -> Tile:
    veins = np.abs(noise(rng, 1.3, finest_cycles=90.0)) ** 0.6
    finer = np.abs(noise(rng, 1.0, finest_cycles=90.0)) ** 0.5
    return np.clip(0.12 + 0.5 * veins + 0.35 * finer, 0.05, 1.2).astype(np.float32)


def _leaves(rng: np.random.Generator) -> Tile:
    """Fallen leaves over one another."""
    image = _blank(0.1)
    angles = np.linspace(0, np.pi, 9)
    half = 0.42 * np.sin(angles) ** 1.5
    outline = np.stack([np.append(np.cos(angles), np.cos(angles[::-1])), np.append(half, -half[::-1])])
    for _ in range(170):
        (x, y), size, turn = rng.uniform(0, TILE_TEXELS, 2), rng.uniform(7, 24), rng.uniform(0, 2 * np.pi)
        axes = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        tone = int(rng.integers(30, 230))

        def draw(canvas: Grey, a: int, b: int, axes: NDArray[np.float64] = axes, tone: int = tone) -> None:
            cv2.fillPoly(canvas, [np.round(np.add((axes @ outline).T, (a, b))).astype(np.int32)], tone, cv2.LINE_AA)
            tip = np.round(axes[:, 0]).astype(int)
            cv2.line(canvas, (a - tip[0], b - tip[1]), (a + tip[0], b + tip[1]), tone * 6 // 10, 1, cv2.LINE_AA)

        _stamped(image, draw, x, y, size)
    return _reflectance(image) * _toned(noise(rng, 0.6), 0.2)


def _veins(rng: np.random.Generator) -> Tile:
    """One leaf: a midrib along y and side ribs."""
    x, y = _coordinates()
    across = np.abs(x - 0.5)
    ribs = np.abs(np.sin(np.pi * (int(rng.integers(6, 14)) * (y - rng.uniform(0.5, 1.2) * across))))
    image = 0.55 + 0.35 * (ribs < 0.1) + 0.5 * (across < 0.018)
    return (image * _toned(noise(rng, 0.7, finest_cycles=80.0), 0.3)).astype(np.float32)


def _gradient(rng: np.random.Generator) -> Tile:
    x, y = _coordinates()
    wave = np.sin(2 * np.pi * (x + rng.random())) + rng.uniform(-1, 1) * np.sin(2 * np.pi * (y + rng.random()))
    return _toned(wave, 0.5)


def _scratches(rng: np.random.Generator) -> Tile:
    image = _blank(0.5)
    lean = rng.uniform(0, np.pi)
    for _ in range(260):
        (x, y), turn, length = rng.uniform(0, TILE_TEXELS, 2), lean + rng.normal(0, 0.4), 4 + 10 * rng.pareto(1.5)
        dx, dy = (round(min(length, 90) * part) for part in (np.cos(turn), np.sin(turn)))
        tone = int(rng.integers(40, 255))

        def draw(canvas: Grey, a: int, b: int, dx: int = dx, dy: int = dy, tone: int = tone) -> None:
            cv2.line(canvas, (a, b), (a + dx, b + dy), tone, 1, cv2.LINE_AA)

        _stamped(image, draw, x, y, 90)
    return _reflectance(image) * _toned(noise(rng, 0.8), 0.1)


def _cells(rng: np.random.Generator) -> Tile:
    """Pebbles or cobbles: Voronoi cells with dark joints."""
    seeds = rng.integers(0, TILE_TEXELS, (int(rng.choice([60, 150, 400])), 2))
    far = np.ones((3 * TILE_TEXELS, 3 * TILE_TEXELS), np.uint8)
    for shift_y in range(3):
        for shift_x in range(3):
            far[seeds[:, 0] + shift_y * TILE_TEXELS, seeds[:, 1] + shift_x * TILE_TEXELS] = 0
    window = slice(TILE_TEXELS // 2, 5 * TILE_TEXELS // 2)  # half a tile around the middle one
    distance, labels = cv2.distanceTransformWithLabels(
        far[window, window], cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    centre = slice(TILE_TEXELS // 2, 3 * TILE_TEXELS // 2)
    size = TILE_TEXELS / np.sqrt(len(seeds))
    rows, columns = np.nonzero(far[window, window] == 0)
    order = np.argsort(labels[rows, columns])
    owner = ((rows[order] + TILE_TEXELS // 2) % TILE_TEXELS) * TILE_TEXELS + (
        columns[order] + TILE_TEXELS // 2
    ) % TILE_TEXELS
    tones = rng.uniform(0.3, 1.0, TILE_TEXELS**2)[owner]
    shape = np.clip(1.15 - (distance[centre, centre] / (0.75 * size)) ** 2, 0.12, 1.0)
    return (tones[labels[centre, centre] - 1] * shape * _toned(noise(rng, 0.6), 0.2)).astype(np.float32)


def _posters(rng: np.random.Generator) -> Tile:
    """A painted wall hung with pictures and papers."""
    wall = _toned(noise(rng, 0.8), 0.1)
    makers = (_grain, _wood, _checks, _print, _page, _plaid, _speckle, _dots, _marble, _leaves)
    sheets = [makers[i](rng) for i in rng.choice(len(makers), 4, replace=False)]
    for row in range(3):
        for column in range(3):
            height, width = (int(side) for side in rng.integers(60, 82, 2))
            top, left = row * 85 + int(rng.integers(0, 85 - height)), column * 85 + int(rng.integers(0, 85 - width))
            place = slice(top, top + height), slice(left, left + width)
            sheet = sheets[int(rng.integers(len(sheets)))][place]
            wall[place] = np.clip(sheet / sheet.mean(), 0.03, 2.5) * rng.uniform(0.25, 1.4)
    return wall


PATTERNS: dict[str, Callable[[np.random.Generator], Tile]] = {
    "grain": _grain,
    "fine": _fine,
    "clouds": _clouds,
    "wood": _wood,
    "checks": _checks,
    "speckle": _speckle,
    "bricks": _bricks,
    "tiles": _tiles,
    "print": _print,
    "page": _page,
    "barcode": _barcode,
    "weave": _weave,
    "fabric": _fabric,
    "plaid": _plaid,
    "grating": _grating,
    "dots": _dots,
    "marble": _marble,
    "leaves": _leaves,
    "veins": _veins,
    "gradient": _gradient,
    "scratches": _scratches,
    "cells": _cells,
    "posters": _posters,
}
"""Reflectance, float32 [TILE_TEXELS, TILE_TEXELS], positive, in no particular unit, from a random generator."""
