"""What surfaces look like: patterns at two scales, tone, gloss and glow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edfv_ros.simulation.scenes.textures import VARIANTS, pyramid


@dataclass(frozen=True, slots=True)
class Pattern:
    """A tile laid on a surface.

    Attributes:
        name, index: the tile in the bank of :mod:`edfv_ros.simulation.scenes.textures`.
        texel_m: its texel's side on the surface.
        turn_rad: rotation on the surface.
        shift_texels: texel at the surface's origin.
        contrast: 0 for none, 1 for the tile's own.
    """

    name: str
    index: int
    texel_m: float
    turn_rad: float
    shift_texels: tuple[float, float]
    contrast: float

    def pyramid(self) -> NDArray[np.float32]:
        return pyramid(self.name, self.index)

    def matrix(self) -> NDArray[np.float64]:
        """[2, 3]: surface coordinates (u, v, 1) in metres to texels."""
        cosine, sine = np.cos(self.turn_rad) / self.texel_m, np.sin(self.turn_rad) / self.texel_m
        return np.array([[cosine, sine, self.shift_texels[0]], [-sine, cosine, self.shift_texels[1]]])


@dataclass(frozen=True, slots=True)
class Surface:
    """The material of a thing: the product of its patterns under the scene's light, and what it adds.

    Attributes:
        coarse, fine: patterns over tens to hundreds of pixels, and near the pixel's scale.
        tone: mean reflectance.
        gloss: radiance at the peak of a highlight under light of intensity 1.
        shininess: Blinn's exponent, large for small highlights.
        glow: radiance of its own.
    """

    coarse: Pattern
    fine: Pattern
    tone: float
    gloss: float = 0.0
    shininess: float = 30.0
    glow: float = 0.0

    def shiny(self, gloss: float, shininess: float) -> "Surface":
        return replace(self, gloss=gloss, shininess=shininess)


FINE = ("fine", "fine", "fine", "grain", "speckle", "fabric", "scratches", "cells", "marble")
"""Patterns that suit the pixel's scale."""

LIVELY = (
    "grain",
    "wood",
    "checks",
    "speckle",
    "bricks",
    "print",
    "weave",
    "fabric",
    "plaid",
    "marble",
    "leaves",
    "cells",
)
"""Patterns that a thing may wear."""

WALLS = ("posters", "posters", "bricks", "print", "grain", "tiles", "plaid", "marble", "cells", "clouds", "dots")
GROUNDS = ("grain", "wood", "weave", "fabric", "tiles", "marble", "leaves", "cells", "speckle", "scratches")
THINGS = (*LIVELY, "print", "barcode", "dots", "tiles", "gradient", "clouds", "scratches", "page")
UPRIGHT = frozenset({"print", "page", "bricks", "posters", "barcode", "tiles", "veins"})
"""Patterns that are not turned at random."""


def random_pattern(
    rng: np.random.Generator, names: Sequence[str], texel_m: float, contrast: float, upright: bool = False
) -> Pattern:
    """A random tile of ``names``, turned (a little, where it has an upright) and shifted at random."""
    name = str(rng.choice(np.asarray(names)))
    turn = rng.normal(0.0, 0.04) if upright or name in UPRIGHT else rng.uniform(0.0, 2.0 * np.pi)
    shift = rng.uniform(0.0, 256.0, 2)
    return Pattern(
        name, int(rng.integers(VARIANTS)), texel_m, float(turn), (float(shift[0]), float(shift[1])), contrast
    )


def random_surface(
    rng: np.random.Generator,
    names: Sequence[str],
    pixel_m: float,
    contrast: tuple[float, float] = (0.45, 1.7),
    fine_contrast: tuple[float, float] = (0.35, 1.6),
    texel_px: tuple[float, float] = (0.6, 2.5),
) -> Surface:
    """A random surface for a thing whose pixels are ``pixel_m`` wide; the ranges are drawn from log-uniformly.

    A tenth of all surfaces has a tenth to a half of the contrasts: paint and paper are everywhere.
    """
    dull = log_uniform(rng, 0.1, 0.5) if rng.random() < 0.1 else 1.0
    coarse = random_pattern(rng, names, pixel_m * log_uniform(rng, *texel_px), dull * log_uniform(rng, *contrast))
    fine = random_pattern(rng, FINE, pixel_m * log_uniform(rng, 0.7, 2.0), dull * log_uniform(rng, *fine_contrast))
    surface = Surface(coarse, fine, log_uniform(rng, 0.1, 0.6))
    if rng.random() < 0.2:
        return surface.shiny(log_uniform(rng, 0.05, 1.0), log_uniform(rng, 10.0, 200.0))
    return surface


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between ``low`` and ``high``, even in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
