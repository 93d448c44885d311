"""Convolution blocks that every branch of the published network is made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def leaky_convolution(inputs: int, outputs: int, kernel_px: int = 3, stride: int = 1) -> nn.Sequential:
    """Make a convolution that keeps the borders in place, followed by a ReLU that leaks 0.1."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_px, stride, padding=kernel_px // 2), nn.LeakyReLU(0.1, inplace=True)
    )


def distribution_over_bins(scores: Tensor) -> Tensor:
    """Positive numbers that add up to one over the channels, softer than a softmax: softplus over its sum.

    Args:
        scores: [N, B, H, W].

    Returns:
        [N, B, H, W].
    """
    positive = functional.softplus(scores.float())
    return positive / positive.sum(dim=1, keepdim=True)


class ResidualBlock(nn.Module):
    """The basic block of a ResNet: two normalised 3x3 convolutions around a shortcut.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution and the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.extend([nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)])

    def forward(self, features: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, ceil(H / stride), ceil(W / stride)]."""
        inner = torch.relu(self.bn1(self.conv1(features)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(features))


class PreactivatedUnit(nn.Module):
    """Two 3x3 convolutions, each with its ReLU in front and its normalisation behind, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        inner = self.bn1(self.conv1(torch.relu(features)))
        return features + self.bn2(self.conv2(torch.relu(inner)))


class Fusion(nn.Module):
    """A step of the decoder of a dense prediction transformer: adds finer features, refines, enlarges.

    Where a step has no finer features to add, the unit for them is in the checkpoints all the same, and idle.

    Args:
        channels: channels that come in.
        outputs: channels that go out.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, outputs, 1)
        self.resConfUnit1 = PreactivatedUnit(channels)
        self.resConfUnit2 = PreactivatedUnit(channels)

    def forward(self, coarse: Tensor, fine: Tensor | None = None, like: Tensor | None = None) -> Tensor:
        """Fuse.

        Args:
            coarse: [N, C, H, W].
            fine: [N, C, H, W], what to add.
            like: [N, ?, H', W'], whose height and width the result has; None keeps H and W.

        Returns:
            [N, outputs, H', W'].
        """
        if fine is not None:
            coarse = coarse + self.resConfUnit1(fine)
        # Mixing channels and interpolating pixels commute: first comes what makes the other cheaper.
        mixed = self.out_conv(self.resConfUnit2(coarse))
        if like is None:
            return mixed
        return functional.interpolate(mixed, like.shape[-2:], mode="bilinear", align_corners=True)
