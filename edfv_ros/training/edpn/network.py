"""The network: evidence of the events in, prompted scale by scale into a picture of the scene; depth out.

What it keeps of the published method (Li et al., NeurIPS 2025): a sparse metric branch, here the likelihood of the
candidate vergences, which needs no training; the SAME mask, which gates it; a dense branch that is prompted by it at
every scale; a distribution over vergence. What is new: the evidence reaches the output at every scale through learned
gates (so that an untrained network is already an estimator), everything is convolutional, and rigs differ for it in
nothing but one number, the blur slope.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CELL_PX, CONDITIONS, DENSITY_UNIT, Guide

WIDTHS = (24, 40, 64, 96, 96)
"""Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""

WINDOW = 3
"""Candidates on either side of the median that the expectation is taken over: a bimodal distribution has no surface at
its mean. Where the network does not know, its median errs less than its most probable candidate, and by the same
choice in vergence, in depth and in the logarithm of either."""

LARGEST_SHIFT_BINS = 1.0
"""What the expectation may be off: where a doubtful surface lies near an end of the sweep, half of its distribution is
missing."""

FIRST_GAIN = 6.0
"""Log likelihood per bin to log probability, before training."""

DOUBTED_EVENTS = 8.0
"""Events a pixel at which a volume, whatever it says, counts half: normalised, a handful would look like many."""

STEP_BINS = BINS / (CANDIDATES - 1)
FIRST_BINS = -0.5
LAST_BINS = BINS - 0.5

_LEAST_GATE = 1e-3


class Prediction(NamedTuple):
    """What the network says.

    Attributes:
        position_bins: [B, H, W], vergence in bins of 32: -0.5 is the far end of the sweep, 31.5 the near one.
        log_scale: [B, H, W], logarithm of the scale of a Laplace distribution of its error, in bins.
        logits: of the candidates, [B, CANDIDATES, h, w], from the coarsest scale to cells of 2x2 pixels.
    """

    position_bins: Tensor
    log_scale: Tensor
    logits: tuple[Tensor, ...]


class Edpn(nn.Module):
    """Fully convolutional, for pictures of any even size.

    Args:
        widths: channels at each scale, from cells of 2x2 pixels on.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        first = widths[0]
        self.volume_stem = _Conv(BINS, first // 2, stride=2)
        self.guide_stem = _Conv(Guide.COUNT + CONDITIONS, first // 2, stride=2)
        self.gate = nn.Conv2d(3, 1, 1)
        self.down = nn.ModuleList(_Conv(a, b, stride=2) for a, b in pairwise(widths))
        self.prompts = nn.ModuleList(
            nn.Conv2d((2 if scale else 1) * CANDIDATES + 1, width, 1) for scale, width in enumerate(widths)
        )
        self.encoders = nn.ModuleList(_Block(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.readouts = nn.ModuleList(_Readout(width) for width in widths)
        self.detail = nn.Conv2d(first, 9 * 4, 1)
        self.shift = nn.Conv2d(first, 4, 1)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)
        self.doubt = nn.Sequential(_Conv(first + 1, first), nn.Conv2d(first, 4, 1))

    def forward(self, score: Tensor, volume: Tensor, guide: Tensor, conditions: Tensor) -> Prediction:
        """Predict.

        Args:
            score: [B, CANDIDATES, h, w], see :func:`~edfv_ros.depth.edpn_inputs.score_input`.
            volume: [B, BINS, 2 h, 2 w].
            guide: [B, Guide.COUNT, 2 h, 2 w].
            conditions: [B, CONDITIONS].
        """
        metric = self._metric_pyramid(score, guide)
        everywhere = conditions[:, :, None, None] + torch.zeros_like(guide[:, :1])
        volume = volume * _weight_of_events(guide)
        dense = torch.cat((self.volume_stem(volume), self.guide_stem(torch.cat((guide, everywhere), 1))), 1)
        features = []
        for scale, prompt in enumerate(self.prompts):
            if scale:
                dense = self.down[scale - 1](dense)
            dense = self.encoders[scale](F.relu(dense + prompt(metric[scale].prompt)))
            features.append(dense)
        logits = self.readouts[-1](dense, metric[-1].score, None)
        all_logits = [logits]
        for scale in range(len(features) - 2, -1, -1):
            dense = features[scale] + _doubled(self.up[scale](dense), features[scale])
            dense = self.decoders[scale](F.relu(dense))
            logits = self.readouts[scale](dense, metric[scale].score, logits)
            all_logits.append(logits)
        position, mass = _middle(logits)
        log_scale = F.pixel_shuffle(self.doubt(torch.cat((dense, mass), 1)), CELL_PX)
        shift = LARGEST_SHIFT_BINS * torch.tanh(F.pixel_shuffle(self.shift(dense), CELL_PX))
        position = (_sharpened(position, self.detail(dense)) + shift).clamp(FIRST_BINS, LAST_BINS)
        return Prediction(position[:, 0], log_scale[:, 0].clamp(-4.0, 4.0), tuple(all_logits))

    def _metric_pyramid(self, score: Tensor, guide: Tensor) -> "list[_Metric]":
        """The evidence at each scale: cells vouch for their neighbourhood as far as the gate trusts them."""
        support = F.avg_pool2d(guide[:, (Guide.DENSITY, Guide.SAME)], CELL_PX)
        gate = torch.sigmoid(self.gate(torch.cat((support, _sum_of_candidates(score) / CANDIDATES), 1)))
        gated = score * gate
        pyramid = [_Metric(score, torch.cat((gated, gate), 1))]
        while len(pyramid) < len(self.prompts):
            gated, gate = _halved(gated), _halved(gate)
            score = gated / (gate + _LEAST_GATE)
            probability = torch.softmax(FIRST_GAIN * score, 1) * gate
            pyramid.append(_Metric(score, torch.cat((gated, probability, gate), 1)))
        return pyramid


class _Metric(NamedTuple):
    score: Tensor
    prompt: Tensor


class _Conv(nn.Sequential):
    """3x3 convolution, batch normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        )


class _Block(nn.Module):
    """Residual block (He et al., CVPR 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _Conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class _Readout(nn.Module):
    """Logits of a scale: what the coarser one says, the evidence of this one, and a correction, each with its gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gains = nn.Conv2d(width, 2, 1)
        self.correction = nn.Conv2d(width, CANDIDATES, 1)
        for layer in (self.gains, self.correction):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, score: Tensor, coarser: Tensor | None) -> Tensor:
        gains = torch.exp(self.gains(features).clamp(-4.0, 3.0))
        logits = torch.addcmul(self.correction(features), FIRST_GAIN * gains[:, :1], score)
        if coarser is not None:
            logits = torch.addcmul(logits, gains[:, 1:], _doubled(coarser, score, mode="bilinear"))
        return logits


def _weight_of_events(guide: Tensor) -> Tensor:
    """How far the volume is to be believed, [B, 1, H, W] from 0 to 1, as Wiener's filter would for a constant noise."""
    events = torch.exp(DENSITY_UNIT * guide[:, Guide.DENSITY : Guide.DENSITY + 1]) - 1.0
    return events / (events + DOUBTED_EVENTS)


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _doubled(x: Tensor, like: Tensor, mode: str = "nearest") -> Tensor:
    """Twice the size, cut to that of ``like``."""
    align = {"align_corners": False} if mode == "bilinear" else {}
    x = F.interpolate(x, scale_factor=2, mode=mode, **align)
    return x[:, :, : like.shape[2], : like.shape[3]]


def _sum_of_candidates(x: Tensor) -> Tensor:
    return F.conv2d(x, x.new_ones(1, CANDIDATES, 1, 1))


def _middle(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Expectation about the median candidate, [B, 1, h, w] in bins, and the log probability of being there."""
    logits = logits.float()
    share = torch.exp(logits - logits.amax(1, keepdim=True).detach())
    up_to = torch.ones(CANDIDATES, CANDIDATES, device=logits.device).tril()[:, :, None, None]
    with torch.autocast(logits.device.type, enabled=False):  # convolutions: ONNX Runtime's sums over channels are slow
        below = F.conv2d(share, up_to)
        everything = below[:, -1:]
        median = _sum_of_candidates((below < 0.5 * everything).float()).long()
    offsets = torch.arange(-WINDOW, WINDOW + 1, device=logits.device)[None, :, None, None]
    index = median + offsets
    beyond = (index < 0) | (index >= CANDIDATES)
    near = torch.gather(share, 1, index.clamp(0, CANDIDATES - 1)).masked_fill(beyond, 0.0)
    total = near.sum(1, keepdim=True)
    position = FIRST_BINS + STEP_BINS * (near * index).sum(1, keepdim=True) / total
    return position, torch.log(total / everything)


def _sharpened(position: Tensor, detail: Tensor) -> Tensor:
    """Pixels from cells, [B, 1, 2 h, 2 w]: each is a convex combination of the 3x3 cells around it.

    Teed and Deng, "RAFT", ECCV 2020, section 3.2.
    """
    height, width = position.shape[2:]
    padded = F.pad(position, (1, 1, 1, 1), mode="replicate")
    around = torch.cat([padded[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)], 1)
    batch = detail.shape[0]
    weights = torch.softmax(detail.reshape(batch, 9, 4, height, width), 1)
    return F.pixel_shuffle((weights * around[:, :, None]).sum(1), CELL_PX)
