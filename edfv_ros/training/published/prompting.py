"""Multi-scale prompting: at each scale the relative depth asks the events which metric depth it has."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edfv_ros.training.published.blocks import Fusion
from edfv_ros.training.published.deformable import DeformableConvolution

SCALE_CHANNELS = (64, 32, 16, 8)  # of the features at 1/8, 1/4, 1/2 and full resolution

_HEAD_CHANNELS = 4


class ChannelNorm(nn.Module):
    """Makes the channels of each pixel zero in mean and one in variance, then scales and shifts them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        variance, mean = torch.var_mean(features, dim=1, keepdim=True, correction=0)
        normal = (features - mean) * torch.rsqrt(variance + 1e-6)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


class ChannelCrossAttention(nn.Module):
    """Mixes the events' channels as their likeness with the prior's channels, over the whole image, says.

    In groups of four channels: each channel of the prior weights the four of the events by a softmax over their
    correlations. What it gets depends on the size of the image, since the correlations span all of it.

    Args:
        channels: of both features, a multiple of four.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.temperature = nn.Parameter(torch.ones(channels // _HEAD_CHANNELS, 1, 1))
        self.dwconv_q = _depthwise(channels)
        self.pwconv_kv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.dwconv_kv = DeformableConvolution(2 * channels)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)
        self.feedforward = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.LeakyReLU(0.1, inplace=True),
            _depthwise(channels),
            nn.LeakyReLU(0.1, inplace=True),
        )

    def forward(self, prior: Tensor, events: Tensor) -> Tensor:
        """[N, C, H, W] each, to the same shape."""
        query = self.dwconv_q(self.norm(prior))
        key, value = self.dwconv_kv(self.pwconv_kv(self.norm(events))).chunk(2, dim=1)
        query, key, value = (self._heads(features) for features in (query, key, value))
        likeness = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(-2, -1)
        told = (likeness * self.temperature).softmax(dim=-1) @ value
        return self.feedforward(prior + self.project_out(told.reshape(prior.shape)))

    def _heads(self, features: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C / 4, 4, H * W]."""
        return features.flatten(2).unflatten(1, (-1, _HEAD_CHANNELS))


class MultiScalePrompting(nn.Module):
    """Cross-attention at four scales, fused from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        outputs = (*SCALE_CHANNELS[1:], SCALE_CHANNELS[-1])
        self.mccs = nn.ModuleList(ChannelCrossAttention(channels) for channels in SCALE_CHANNELS)
        self.fuses = nn.ModuleList(Fusion(*pair) for pair in zip(SCALE_CHANNELS, outputs, strict=True))

    def forward(self, prior: Sequence[Tensor], events: Sequence[Tensor]) -> list[Tensor]:
        """Prompt.

        Args:
            prior: [N, C, H, W] at four scales, coarse to fine, of 64, 32, 16 and 8 channels.
            events: the same of the events.

        Returns:
            What each fusion gives: 32 channels at the second scale, 16 at the third, 8 and 8 at the last.
        """
        told = [ask(*pair) for ask, pair in zip(self.mccs, zip(prior, events, strict=True), strict=True)]
        fused = [self.fuses[0](told[0], like=told[1])]
        fused.append(self.fuses[1](fused[-1], told[1], like=told[2]))
        fused.append(self.fuses[2](fused[-1], told[2], like=told[3]))
        fused.append(self.fuses[3](fused[-1], told[3]))
        return fused


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=channels, padding_mode="reflect")
