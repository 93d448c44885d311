"""A U-Net on a stack of five event frames: what one would do without knowing what focus does to events.

The stack is that of event focal stacks (five bins, compare arXiv 2412.08120), the network that of Ronneberger et al.
(U-Net, MICCAI 2015) with batch normalisation, and it regresses vergence between the ends of the sweep by a sigmoid, as
disparity is regressed by Godard et al. (CVPR 2017), with the scale of a Laplace distribution of its error (Kendall and
Gal, NeurIPS 2017).
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edfv_ros.depth.edpn import in_bins
from edfv_ros.depth.edpn_head import FIRST_BINS
from edfv_ros.depth.edpn_inputs import BINS
from edfv_ros.training.edpn.drawing import Batch
from edfv_ros.training.edpn.losses import Losses, position_losses
from edfv_ros.training.edpn.network import Prediction

STACK_BINS = 5

WIDTHS = (16, 32, 64, 128, 256)
"""Channels from full resolution to a sixteenth of it: 1.9 million weights, twice as many as ours."""


class EventStackNetwork(nn.Module):
    """Fully convolutional, for pictures of any size.

    Args:
        widths: channels at each scale, the first at full resolution.
    """

    share: Tensor

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        share = in_bins(np.eye(BINS, dtype=np.float32)[:, :, None], STACK_BINS)[:, :, 0]
        self.register_buffer("share", torch.from_numpy(share.copy())[:, :, None, None], persistent=False)
        self._multiple_px = 1 << (len(widths) - 1)
        self.encoders = nn.ModuleList(_Double(a, b) for a, b in pairwise((STACK_BINS, *widths)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(_Double(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, volume: Tensor) -> Prediction:
        """Predict.

        Args:
            volume: [B, BINS, H, W], see :func:`~edfv_ros.depth.edpn_inputs.volume_input`; its bins become five.
        """
        height, width = volume.shape[-2:]
        stack = F.conv2d(volume, self.share)
        x = F.pad(stack, (0, -width % self._multiple_px, 0, -height % self._multiple_px))
        skips: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for scale in range(len(skips) - 2, -1, -1):
            x = self.decoders[scale](torch.cat((skips[scale], self.up[scale](x)), 1))
        position, log_scale = self.head(x).float()[..., :height, :width].unbind(1)
        return Prediction(FIRST_BINS + BINS * torch.sigmoid(position), log_scale.clamp(-4.0, 4.0), ())


class _Double(nn.Sequential):
    """Twice: 3x3 convolution, batch normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        for channels in (inputs, outputs):
            self.append(nn.Conv2d(channels, outputs, 3, 1, 1, bias=False))
            self.append(nn.BatchNorm2d(outputs))
            self.append(nn.ReLU(inplace=True))


def event_stack_losses(prediction: Prediction, batch: Batch) -> Losses:
    """The losses of our own network as far as they ask for no distribution: so the networks differ, and not these."""
    return position_losses(prediction, batch.position_bins, batch.far_bins)
