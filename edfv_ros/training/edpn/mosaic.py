"""Crops side by side as one picture, so that a network does not learn that the world ends after a crop.

At its coarsest scale a crop of 128 pixels is four cells wide, each of which sees the border. In the middle of a
camera's picture none does, and a network that has only seen crops is lost there. Four or sixteen crops in one picture
cost what they cost one by one.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree

from edfv_ros.training.edpn.drawing import Batch

MULTIPLE_PX = 32
"""Cell of the coarsest scale."""

SIDES = (1, 2, 4)
"""Crops beside and below each other; drawn evenly for each step."""


def drawn_side(seed: int, step: int, shape: tuple[int, ...]) -> int:
    """How many crops a picture of this step has beside each other; always the same for the same step.

    Args:
        seed: of the run.
        step: number of the step.
        shape: of the maps of a batch, [B, ..., H, W]; where sides are no multiples of the coarsest cell,
            crops stay alone.
    """
    whole = not any(size % MULTIPLE_PX for size in shape[-2:])
    possible = [side for side in SIDES if side == 1 or (whole and shape[0] % side**2 == 0)]
    return int(np.random.default_rng([seed, step, 2]).choice(possible))


def tiled(x: Tensor, side: int) -> Tensor:
    """[B, ..., h, w] to [B / side^2, ..., side h, side w]."""
    batch, *inner, height, width = x.shape
    rows = x.reshape(batch // side**2, side, side, *inner, height, width)
    rows = rows.movedim((1, 2), (-4, -2))
    return rows.reshape(batch // side**2, *inner, side * height, side * width)


def mosaic(batch: Batch, side: int) -> Batch:
    """A batch of pictures of ``side`` x ``side`` examples; conditions become maps, the truth stays as it is."""
    height, width = batch.guide.shape[-2:]
    conditions = batch.conditions[:, :, None, None].expand(-1, -1, height, width)
    maps = {"score": batch.score, "volume": batch.volume, "guide": batch.guide, "conditions": conditions}
    return batch._replace(
        **{name: tiled(x, side).contiguous(memory_format=torch.channels_last) for name, x in maps.items()}
    )


def untiled(outputs: Any, side: int) -> Any:
    """The inverse of :func:`tiled`, of all tensors in nested tuples."""

    def cut(x: Tensor) -> Tensor:
        batch, *inner, height, width = x.shape
        parts = x.reshape(batch, *inner, side, height // side, side, width // side)
        parts = parts.movedim((-4, -2), (1, 2))
        return parts.reshape(batch * side**2, *inner, height // side, width // side)

    return _pytree.tree_map(cut, outputs)
