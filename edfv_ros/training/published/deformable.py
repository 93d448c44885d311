"""The deformable convolution of the published network, with its borders as they were when its weights were learned."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_TAPS = 9


class Taps(NamedTuple):
    """Where a 3x3 kernel looks, for each pixel of the result.

    Attributes:
        row: [N, 9, H, W], px, from 0 to the height of the padded image less one.
        column: [N, 9, H, W], px, likewise.
        weight: [N, 9, H, W], what is seen counts this many times: 1 inside, 2 beyond a border, 4 beyond a corner.
    """

    row: Tensor
    column: Tensor
    weight: Tensor


class DeformableConvolution(nn.Module):
    """A 3x3 convolution whose taps are moved by what another convolution sees (deformable convolution, version 1).

    The image is first mirrored by one pixel beyond its borders. A tap that looks further still, or exactly at the last
    row or column of that frame, sees the frame's nearest pixel, twice for each axis on which it does: both of the
    pixels to interpolate between are that one, and each gets full weight. The published weights were learned with this,
    so it belongs to the network. It makes the result jump where a tap crosses the frame. Coordinates are in single
    precision, also where convolutions are not: half of it knows no fractions of a pixel.

    Args:
        channels: that come in and go out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, bias=False)
        self.p_conv = nn.Conv2d(channels, 2 * _TAPS, 3, padding=1)
        nn.init.zeros_(self.p_conv.weight)

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape, H and W of at least 2 px."""
        count, channels, height, width = features.shape
        taps = self.taps(features)
        grid = torch.stack((taps.column * (2.0 / (width + 1)) - 1.0, taps.row * (2.0 / (height + 1)) - 1.0), dim=-1)
        seen = functional.grid_sample(
            self.frame(features).float(),
            grid.reshape(count, _TAPS * height, width, 2),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )
        seen = seen.reshape(count, channels, _TAPS, height * width) * taps.weight.reshape(count, 1, _TAPS, -1)
        result = self.conv.weight.flatten(1) @ seen.flatten(1, 2)
        return result.reshape(count, channels, height, width)

    def frame(self, features: Tensor) -> Tensor:
        """Mirror one pixel beyond the borders: [N, C, H, W] to [N, C, H + 2, W + 2]."""
        return functional.pad(features, (1, 1, 1, 1), mode="reflect")

    def taps(self, features: Tensor) -> Taps:
        """Where in the frame the kernel looks."""
        height, width = features.shape[-2:]
        move_row, move_column = self.p_conv(features).float().chunk(2, dim=1)
        plain_row, plain_column = plain_taps(move_row)
        row, column = plain_row + move_row, plain_column + move_column
        weight = _times_seen(row, height + 1) * _times_seen(column, width + 1)
        return Taps(row.clamp(0, height + 1), column.clamp(0, width + 1), weight)


def plain_taps(features: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [1, 9, H, 1] and columns [1, 9, 1, W] in the frame where a kernel looks that nothing moves.

    Args:
        features: [N, C, H, W].
    """
    height, width = features.shape[-2:]
    side = torch.arange(3, device=features.device, dtype=features.dtype)
    rows = torch.arange(height, device=features.device, dtype=features.dtype) + side.repeat_interleave(3)[:, None]
    columns = torch.arange(width, device=features.device, dtype=features.dtype) + side.repeat(3)[:, None]
    return rows[None, :, :, None], columns[None, :, None, :]


def _times_seen(coordinate: Tensor, last: int) -> Tensor:
    """2 where a tap is beyond a frame that ends with the coordinate ``last``, or on its last pixel, else 1."""
    return 1.0 + ((coordinate < 0) | (coordinate >= last)).to(coordinate.dtype)
