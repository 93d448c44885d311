"""The Event-based Depth Prompting Network as published, written anew from what it computes.

Li, Duan, Huang, Zhou, Xia, Shi: Dense Metric Depth Estimation via Event-based Differential Focus Volume Prompting,
NeurIPS 2025. Parameters are called and ordered as in the authors' checkpoints, so that states of optimizers fit, too.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from edfv_ros.training.published.blocks import Fusion, ResidualBlock, distribution_over_bins, leaky_convolution
from edfv_ros.training.published.prompting import SCALE_CHANNELS, MultiScalePrompting

BINS = 32
SIZE_MULTIPLE_PX = 8  # the U-Net halves three times, and its skips must fit
SMALLEST_PX = 16  # two pixels at the coarsest scale, which are needed to mirror one

_UNET_CHANNELS = (32, 64, 128, 256)
_PYRAMID_CHANNELS = (16, 32, 64, 128)
_STEM_CHANNELS = 8


class PublishedOutput(NamedTuple):
    """What the network says.

    Attributes:
        distribution: [N, bins, H, W], over the bins at each pixel; the expectation of the bins' depths is the depth.
        sparse: [N, bins, H, W], the same by the events alone, good where there is texture.
        decoded: four decoder features, coarse to fine, whose sums over the channels the authors also train to look
            like depth: [N, 32, H/4, W/4], [N, 16, H/2, W/2] and two of [N, 8, H, W].
    """

    distribution: Tensor
    sparse: Tensor
    decoded: list[Tensor]


class PublishedNetwork(nn.Module):
    """Sparse branch, gate, two pyramids, prompting, and a head.

    Args:
        bins: of the focus volume and of the distributions.
    """

    def __init__(self, bins: int = BINS) -> None:
        super().__init__()
        finest = SCALE_CHANNELS[-1]
        self.sparseest = SparseBranch(bins)
        self.resnet_event = Pyramid(bins, stem=False)
        self.resnet_image = Pyramid(1, stem=True)
        self.refine = MultiScalePrompting()
        self.conv1 = nn.Conv2d(finest, bins, 7, padding=3, bias=False)
        self.conv2 = nn.Conv2d(bins, bins, 3, padding=1, bias=False)

    def forward(self, volume: Tensor, prior: Tensor, mask: Tensor) -> PublishedOutput:
        """Estimate.

        Args:
            volume: [N, bins, H, W], signed event counts; H and W multiples of 8 px, 16 px or more.
            prior: [N, 1, H, W], relative depth, 0 to 1 over each image.
            mask: [N, 1, H, W], 1 where the events can be trusted (the SAME mask), else 0.
        """
        sparse = self.sparseest(volume)
        events = self.resnet_event(sparse * mask)
        relative = self.resnet_image(prior)
        decoded = self.refine(relative, events)
        scores = self.conv2(torch.relu(self.conv1(decoded[-1] + relative[-1] + events[-1])))
        return PublishedOutput(distribution_over_bins(scores), sparse, decoded)


class SparseBranch(nn.Module):
    """A U-Net of three levels from the focus volume to a distribution over its bins."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        levels = list(pairwise(_UNET_CHANNELS))
        self.head = nn.Conv2d(bins, _UNET_CHANNELS[0], 3, padding=1)
        self.EDFV_encoder = nn.ModuleList(Down(fine, coarse) for fine, coarse in levels)
        self.EDFV_decoder = nn.ModuleList(Up(coarse, fine) for fine, coarse in levels)
        self.bottom = nn.Sequential(*(ResidualBlock(_UNET_CHANNELS[-1], _UNET_CHANNELS[-1]) for _ in range(2)))
        self.pred = nn.Conv2d(_UNET_CHANNELS[0], bins, 3, padding=1)

    def forward(self, volume: Tensor) -> Tensor:
        """[N, bins, H, W] to the same shape."""
        features, skips = self.head(volume), []
        for down in self.EDFV_encoder:
            features, skip = down(features)
            skips.append(skip)
        features = self.bottom(features)
        for up in reversed(self.EDFV_decoder):
            features = up(features, skips.pop())
        return distribution_over_bins(self.pred(features))


class Down(nn.Module):
    """A level of the U-Net's encoder."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.res = ResidualBlock(fine, fine)
        self.conv2 = leaky_convolution(fine, fine, kernel_px=1)
        self.down = leaky_convolution(fine, coarse, stride=2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[N, fine, H, W] to [N, coarse, H/2, W/2] and to the skip, [N, fine, H, W]."""
        features = self.res(features)
        return self.down(features), self.conv2(features)


class Up(nn.Module):
    """A level of the U-Net's decoder."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.conv1 = leaky_convolution(coarse, fine)
        self.conv2 = leaky_convolution(2 * fine, fine)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """[N, coarse, H/2, W/2] and [N, fine, H, W] to the latter's shape."""
        enlarged = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        return self.conv2(torch.cat((self.conv1(enlarged), skip), dim=1))


class Pyramid(nn.Module):
    """A small ResNet from half resolution down to a sixteenth, and a decoder back to full resolution.

    Args:
        inputs: channels that come in.
        stem: whether a learned convolution halves the input, to 8 channels; else the largest of neighbours does.
    """

    def __init__(self, inputs: int, stem: bool) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = _PYRAMID_CHANNELS
        self.stem = stem
        if stem:
            self.conv0 = nn.Conv2d(inputs, _STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(_STEM_CHANNELS)
        self.layer1 = ResidualBlock(_STEM_CHANNELS if stem else inputs, half)
        self.layer2 = ResidualBlock(half, quarter, stride=2)
        self.layer3 = ResidualBlock(quarter, eighth, stride=2)
        self.layer4 = ResidualBlock(eighth, sixteenth, stride=2)
        self.fuse4 = Fusion(sixteenth, eighth)
        self.fuse3 = Fusion(eighth, quarter)
        self.fuse2 = Fusion(quarter, half)
        self.conv4 = nn.Conv2d(half, SCALE_CHANNELS[-1], 3, padding=1)

    def forward(self, image: Tensor) -> list[Tensor]:
        """[N, inputs, H, W] to 64, 32, 16 and 8 channels at 1/8, 1/4, 1/2 and full resolution."""
        half = self.layer1(self._halve(image))
        quarter = self.layer2(half)
        eighth = self.layer3(quarter)
        features = [self.fuse4(self.layer4(eighth), like=eighth)]
        features.append(self.fuse3(features[-1], eighth, like=quarter))
        features.append(self.fuse2(features[-1], quarter, like=half))
        enlarged = functional.interpolate(features[-1], scale_factor=2, mode="nearest")
        features.append(torch.relu(self.conv4(enlarged)))
        return features

    def _halve(self, image: Tensor) -> Tensor:
        if self.stem:
            return torch.relu(self.bn1(self.conv0(image)))
        return functional.max_pool2d(image, 3, stride=2, padding=1)
