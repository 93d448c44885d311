"""A bank of surface patterns: tiles that repeat without a seam, made when first needed and then kept.

A tile is a fixed function of its name and index, so that a scene does not depend on what was made before it.
"""

import functools
import zlib

import numpy as np
from numpy.typing import NDArray

from edfv_ros.simulation.scenes.patterns import PATTERNS, TILE_TEXELS

VARIANTS = 8
"""Tiles of each name."""

LEVELS = TILE_TEXELS.bit_length()
"""Levels of a tile's mip pyramid, from TILE_TEXELS down to 1."""

LEVEL_OFFSETS = np.cumsum([0] + [(TILE_TEXELS >> level) ** 2 for level in range(LEVELS)])[:-1]
"""Where each level begins in a flat pyramid."""


@functools.cache
def pyramid(name: str, index: int) -> NDArray[np.float32]:
    """Mip pyramid of tile ``index`` of the pattern ``name``, float32, levels one after the other.

    Values are the reflectance relative to the tile's mean, less 1: at least -1, mean 0. Each level averages 2 x 2
    texels of the one before (Williams, Pyramidal parametrics, 1983).
    """
    tile = PATTERNS[name](np.random.default_rng([zlib.crc32(name.encode()), index])).astype(np.float64)
    levels = [tile / tile.mean() - 1.0]
    while len(levels[-1]) > 1:
        side = len(levels[-1]) // 2
        levels.append(levels[-1].reshape(side, 2, side, 2).mean(axis=(1, 3)))
    flat = np.concatenate([level.ravel() for level in levels]).astype(np.float32)
    flat.setflags(write=False)
    return flat
