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

from edfv_ros.depth.edpn_head import (
    FIRST_BINS,
    FIRST_GAIN,
    LARGEST_SHIFT_BINS,
    LAST_BINS,
    LOG_GAINS,
    LOG_SCALES,
    READOUT,
    STEP_BINS,
    WINDOW,
)
from edfv_ros.depth.edpn_inputs import (
    BINS,
    CANDIDATES,
    CELL_PX,
    CONDITIONS,
    Guide,
)

WIDTHS = (24, 40, 64, 96, 96)
"""Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""

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


class Trunk(NamedTuple):
    """What the convolutions say.

    Attributes:
        logits: of the candidates at all scales but the finest, from the coarsest on.
        readout: [B, sum(READOUT), h, w].
        doubt: [B, CELL_PX ** 2, h, w], logarithm of the scale of each pixel's error, but for its distribution's part.
    """

    logits: tuple[Tensor, ...]
    readout: Tensor
    doubt: Tensor


class EdpnOutput(NamedTuple):
    """Prediction, and what it was made of."""

    prediction: Prediction
    trunk: Trunk


class Edpn(nn.Module):
    """Fully convolutional, for pictures of any even size.

    Args:
        widths: channels at each scale, from cells of 2x2 pixels on.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        first = widths[0]
        self.volume_stem = _Conv(BINS, first // 2)
        self.guide_stem = _Conv(Guide.COUNT + CONDITIONS, first // 2, stride=2)
        self.gate = nn.Conv2d(3, 1, 1)
        self.down = nn.ModuleList(_Conv(a, b, stride=2) for a, b in pairwise(widths))
        self.prompts = nn.ModuleList(_Prompt(width, pooled=scale > 0) for scale, width in enumerate(widths))
        self.encoders = nn.ModuleList(_Block(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.readouts = nn.ModuleList(_Readout(width) for width in widths)
        self.detail = nn.Conv2d(first, 9 * 4, 1)
        self.shift = nn.Conv2d(first, 4, 1)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)
        self.doubt = nn.Sequential(_Conv(first, first), nn.Conv2d(first, 4, 1))
        self.doubt_of_mass = nn.Conv2d(1, 4, 1, bias=False)

    def forward(self, score: Tensor, volume: Tensor, guide: Tensor, conditions: Tensor) -> EdpnOutput:
        """Predict.

        Args:
            score: [B, CANDIDATES, h, w], see :func:`~edfv_ros.depth.edpn_inputs.score_input`.
            volume: [B, BINS, h, w], see :func:`~edfv_ros.depth.edpn_inputs.cell_volume`.
            guide: [B, Guide.COUNT, 2 h, 2 w].
            conditions: [B, CONDITIONS], or maps of them like the guide.
        """
        trunk = self._trunk(score, volume, guide, conditions)
        return EdpnOutput(self._head(score, trunk), trunk)

    def _trunk(self, score: Tensor, volume: Tensor, guide: Tensor, conditions: Tensor) -> Trunk:
        """All convolutions."""
        metric = self._metric_pyramid(score, guide)
        if conditions.ndim == 2:
            conditions = conditions[:, :, None, None]
        everywhere = conditions + torch.zeros_like(guide[:, :1])
        dense = torch.cat((self.volume_stem(volume), self.guide_stem(torch.cat((guide, everywhere), 1))), 1)
        features = []
        for scale, prompt in enumerate(self.prompts):
            if scale:
                dense = self.down[scale - 1](dense)
            dense = self.encoders[scale](F.relu(dense + prompt(*metric[scale])))
            features.append(dense)
        logits = [self.readouts[-1](dense, metric[-1].score, None)]
        for scale in range(len(features) - 2, -1, -1):
            dense = features[scale] + _doubled(self.up[scale](dense), features[scale])
            dense = self.decoders[scale](F.relu(dense))
            if scale:
                logits.append(self.readouts[scale](dense, metric[scale].score, logits[-1]))
        return Trunk(tuple(logits), _together(dense, self._last_layers()), self.doubt(dense))

    def _head(self, score: Tensor, trunk: Trunk) -> Prediction:
        """The finest logits, and what follows from them: :mod:`~edfv_ros.depth.edpn_head` in torch."""
        gains, correction, detail, shift = torch.split(trunk.readout, READOUT, 1)
        logits = _logits(gains, correction, score, trunk.logits[-1])
        position, mass = _middle(logits)
        log_scale = F.pixel_shuffle(trunk.doubt + self.doubt_of_mass(mass), CELL_PX)
        shift = LARGEST_SHIFT_BINS * torch.tanh(F.pixel_shuffle(shift, CELL_PX))
        position = (_sharpened(position, detail) + shift).clamp(FIRST_BINS, LAST_BINS)
        return Prediction(position[:, 0], log_scale[:, 0].clamp(*LOG_SCALES), (*trunk.logits, logits))

    def _last_layers(self) -> tuple[nn.Conv2d, ...]:
        """In the order of :data:`~edfv_ros.depth.edpn_head.READOUT`."""
        return self.readouts[0].gains, self.readouts[0].correction, self.detail, self.shift

    def _metric_pyramid(self, score: Tensor, guide: Tensor) -> "list[_Metric]":
        """The evidence at each scale: cells vouch for their neighbourhood as far as the gate trusts them."""
        support = F.avg_pool2d(guide[:, (Guide.DENSITY, Guide.SAME)], CELL_PX)
        gate = torch.sigmoid(self.gate(torch.cat((support, _sum_of_candidates(score) / CANDIDATES), 1)))
        pyramid = [_Metric(score, gate)]
        gated = score * gate
        while len(pyramid) < len(self.prompts):
            gated, gate = _halved(gated), _halved(gate)
            pyramid.append(_Metric(gated / (gate + _LEAST_GATE), gate))
        return pyramid


class _Metric(NamedTuple):
    score: Tensor
    gate: Tensor


class _Prompt(nn.Module):
    """What the evidence of a scale has to say to the dense features, as loud as its gate is open.

    Args:
        width: channels.
        pooled: whether the evidence is that of several cells: then also as probabilities, which tell two surfaces from
            one between them.
    """

    def __init__(self, width: int, *, pooled: bool) -> None:
        super().__init__()
        self.gate = nn.Conv2d(1, width, 1)
        self.score = nn.Conv2d(CANDIDATES, width, 1, bias=False)
        self.probability = nn.Conv2d(CANDIDATES, width, 1, bias=False) if pooled else None

    def forward(self, score: Tensor, gate: Tensor) -> Tensor:
        said = self.score(score)
        if self.probability is not None:
            said = said + self.probability(torch.softmax(FIRST_GAIN * score, 1))
        return torch.addcmul(self.gate(gate), gate, said)


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
        return _logits(self.gains(features), self.correction(features), score, coarser)


def _logits(gains: Tensor, correction: Tensor, score: Tensor, coarser: Tensor | None) -> Tensor:
    gains = torch.exp(gains.clamp(*LOG_GAINS))
    logits = torch.addcmul(correction, FIRST_GAIN * gains[:, :1], score)
    if coarser is not None:
        logits = torch.addcmul(logits, gains[:, 1:], _doubled(coarser, score, mode="bilinear"))
    return logits


def _together(features: Tensor, layers: tuple[nn.Conv2d, ...]) -> Tensor:
    """Layers of 1x1 as one."""
    biases = [layer.bias for layer in layers if layer.bias is not None]
    return F.conv2d(features, torch.cat([layer.weight for layer in layers]), torch.cat(biases))


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
