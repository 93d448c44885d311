"""How well a network does, in numbers to watch it by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edfv_ros.training.edpn.network import Prediction

FAR_END, NEAR_END = -0.5, 31.5
"""Of the sweep, in bins."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How well a network does on held-out examples: every pixel whose truth lies within the sweep, mean over examples.

    Attributes:
        abs_rel, delta1: of depth in metres.
        median_bins: median error of the vergence in bins.
        inside_1_sigma: share of the errors below the standard deviation that the network gives; 0.76 is honest for the
            Laplace distribution that it assumes.
        loss: the training's loss.
    """

    abs_rel: float
    delta1: float
    median_bins: float
    inside_1_sigma: float
    loss: float


def sigma_bins(prediction: Prediction) -> Tensor:
    """Standard deviation of the vergence, [B, H, W] in bins."""
    return math.sqrt(2.0) * torch.exp(prediction.log_scale.float())


def score_examples(prediction: Prediction, position_bins: Tensor, far_bins: Tensor) -> list[tuple[float, ...]]:
    """``abs_rel``, ``delta1``, ``median_bins`` and ``inside_1_sigma`` of each example that has a truth.

    Args:
        prediction: of the network.
        position_bins: [B, H, W], NaN where unknown.
        far_bins: [B], vergence of the far end in bin widths.
    """
    out: list[tuple[float, ...]] = []
    for position, sigma, true, far in zip(
        prediction.position_bins.float(), sigma_bins(prediction), position_bins, far_bins, strict=True
    ):
        inside = torch.isfinite(true) & (true > FAR_END) & (true < NEAR_END)
        if not bool(inside.any()):
            continue
        predicted, actual = position[inside], true[inside]
        ratio = (actual + 0.5 + far) / (predicted + 0.5 + far).clamp_min(1e-3)
        error = (predicted - actual).abs()
        out.append(
            (
                float((ratio - 1.0).abs().mean()),
                float((torch.maximum(ratio, 1.0 / ratio) < 1.25).float().mean()),
                float(error.median()),
                float((error < sigma[inside]).float().mean()),
            )
        )
    return out


def mean_scores(of_examples: Sequence[tuple[float, ...]], loss: float) -> Scores:
    """Scores of a set from those of its examples; NaN where none has a truth."""
    if not of_examples:
        return Scores(math.nan, math.nan, math.nan, math.nan, loss)
    abs_rel, delta1, median_bins, inside_1_sigma = map(float, np.mean(of_examples, axis=0))
    return Scores(abs_rel, delta1, median_bins, inside_1_sigma, loss)
