"""Surfaces painted in a few flat tones: edges with nothing between them, as on packages, signs and furniture.

The patterns of the procedural scenes have detail at every place and scale. Real surfaces do not, and between their
edges the only events are those of edges blurred far out of focus, as if something lay at the other end of the sweep.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from edfv_ros.simulation.view import SUPERSAMPLING, Image

_DARKEST = 1e-3
_SPREAD = 4.0  # standard deviations over which the tones are spaced
_EDGE_PX = 0.4  # standard deviation of the blur of a painted edge


@dataclass(frozen=True, slots=True)
class Paint:
    """How the surfaces of a scene are painted; it must stand still, since each picture is painted anew.

    Attributes:
        patch_px: standard deviation of the Gaussian that decides which tone a place gets.
        tones: how many there are on a surface, about.
    """

    patch_px: float
    tones: float


def painted(radiance: Image, paint: Paint) -> Image:
    """Radiance in a few tones, float32 [h, w], of about the same contrast; SUPERSAMPLING samples per pixel and axis."""
    tone = np.log(np.maximum(radiance, np.float32(_DARKEST)))
    smooth = cv2.GaussianBlur(tone, (0, 0), paint.patch_px * SUPERSAMPLING)
    mean, spread = float(smooth.mean()), float(smooth.std())
    if spread < 1e-4:
        return radiance
    step = _SPREAD / paint.tones
    flat = np.round((smooth - mean) * np.float32(1.0 / (spread * step)))
    flat = cv2.GaussianBlur(flat, (0, 0), _EDGE_PX * SUPERSAMPLING)
    return np.exp(flat * np.float32(step * float(tone.std())) + np.float32(tone.mean())).astype(np.float32)
