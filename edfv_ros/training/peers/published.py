"""The published architecture, trained on our data by its own losses.

What differs from the authors' training, for want of what they have or since it can only help:

- Its volume is ours: in equal bins of vergence, of both sweeps where there are two, in units of its local strength.
- There is no monocular network here, so its dense branch gets the frame itself, and grey where there is none.
- The mask is ours, and its thresholds are not drawn.
- It is taught vergence, in bins, where the authors teach depth in metres; their bins are 0.84 m wide, so that the
  losses have about the same weights.
- The edge-guided local loss is not in the authors' public code: :func:`local_loss` is what its name says.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edfv_ros.depth.edpn_head import FIRST_BINS, LAST_BINS
from edfv_ros.depth.edpn_inputs import BINS, Guide
from edfv_ros.training.edpn.drawing import Batch
from edfv_ros.training.edpn.losses import BEYOND_BINS, Losses
from edfv_ros.training.edpn.network import Prediction
from edfv_ros.training.published.network import SIZE_MULTIPLE_PX, PublishedNetwork, PublishedOutput

WEIGHTS = {"dense": 1.0, "sparse": 0.1, "local": 5.0, "scales": 0.1}

WINDOW_PX = 15
"""Width of the neighbourhood in which the local loss ignores scale and shift."""

MIN_GRADIENT = 0.1
"""Smallest gradient of the frame on an edge, as part of the image's range of values."""

_LEAST_SPREAD_BINS = 0.1
_LEAST_VARIANCE_BINS2 = 1e-3


class PublishedPeer(nn.Module):
    """The published network with the inputs of ours, for pictures of any size of 16 px or more."""

    def __init__(self) -> None:
        super().__init__()
        self.network = PublishedNetwork(BINS)

    def forward(self, volume: Tensor, guide: Tensor) -> PublishedOutput:
        """Estimate.

        Args:
            volume: [B, BINS, H, W], see :func:`~edfv_ros.depth.edpn_inputs.volume_input`.
            guide: [B, Guide.COUNT, H, W], of which it sees frame and SAME mask.

        Returns:
            Distributions of the size of the picture; ``decoded`` is of that padded to multiples of 8 px.
        """
        height, width = volume.shape[-2:]
        more = (0, -width % SIZE_MULTIPLE_PX, 0, -height % SIZE_MULTIPLE_PX)
        relative = guide[:, Guide.IMAGE, None] + 0.5
        output: PublishedOutput = self.network(
            F.pad(volume, more), F.pad(relative, more, mode="replicate"), F.pad(guide[:, Guide.SAME, None], more)
        )
        distribution, sparse = (part[..., :height, :width] for part in (output.distribution, output.sparse))
        return PublishedOutput(distribution, sparse, output.decoded)


def published_prediction(output: PublishedOutput) -> Prediction:
    """Expectation and spread of the distribution; its bins lie evenly from one end of the sweep to the other."""
    position = _expectation(output.distribution)
    square = torch.einsum("bchw,c->bhw", output.distribution.float(), _places(output.distribution).square())
    variance = (square - position.square()).clamp_min(_LEAST_VARIANCE_BINS2)
    return Prediction(position, 0.5 * torch.log(0.5 * variance), ())


def published_losses(output: PublishedOutput, batch: Batch) -> Losses:
    """The paper's losses, over pixels whose truth is within the sweep.

    ``dense``: mean square error, ``sparse``: that of the sparse branch within the mask, ``local``: edge-guided local
    scale-and-shift-invariant loss, ``scales``: the sum of those of the channel sums of the four decoder features.

    Returns:
        Numbers that are finite, with finite gradients, even where no truth is known.
    """
    known = torch.isfinite(batch.position_bins)
    inside = known & (batch.position_bins > FIRST_BINS - BEYOND_BINS) & (batch.position_bins < LAST_BINS + BEYOND_BINS)
    truth = torch.where(inside, batch.position_bins, torch.zeros_like(batch.position_bins))
    truth = truth.clamp(FIRST_BINS, LAST_BINS)
    weight = inside.float()
    edges = weight * _edges(batch.guide)
    position, sparse = _expectation(output.distribution), _expectation(output.sparse)
    scales = [
        local_loss(decoded.float().sum(1), *_resized((truth, weight, edges), output.decoded[-1], decoded))
        for decoded in output.decoded
    ]
    parts = {
        "dense": _mean((position - truth).square(), weight),
        "sparse": _mean((sparse - truth).square(), weight * batch.guide[:, Guide.SAME]),
        "local": local_loss(position, truth, weight, edges),
        "scales": torch.stack(scales).sum(),
    }
    total = torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum()
    return Losses(total, {name: value.detach() for name, value in parts.items()})


def local_loss(said: Tensor, truth: Tensor, weight: Tensor, edges: Tensor) -> Tensor:
    """Mean absolute difference on edges, after mean and spread of the neighbourhood are taken out of both.

    Args:
        said, truth: [B, H, W].
        weight: [B, H, W], 1 where the truth is known.
        edges: [B, H, W], 1 on known edges.
    """
    return _mean((_standing_out(said, weight) - _standing_out(truth, weight)).abs(), edges)


def _standing_out(values: Tensor, weight: Tensor) -> Tensor:
    """By how many standard deviations of its known neighbourhood a pixel differs from its mean."""
    share = _around(weight).clamp_min(1.0 / WINDOW_PX**2)
    centred = values - (values * weight).sum() / weight.sum().clamp_min(1.0)  # or squares cancel in single precision
    mean = _around(centred * weight) / share
    variance = (_around(centred.square() * weight) / share - mean.square()).clamp_min(0.0)
    return (centred - mean) / torch.sqrt(variance + _LEAST_SPREAD_BINS**2)


def _around(values: Tensor) -> Tensor:
    half = WINDOW_PX // 2
    rows = F.avg_pool2d(values[:, None], (1, WINDOW_PX), 1, (0, half))  # one after the other: a seventh of the work
    return F.avg_pool2d(rows, (WINDOW_PX, 1), 1, (half, 0))[:, 0]


def _edges(guide: Tensor) -> Tensor:
    """1 where the frame has an edge, [B, H, W]; everywhere where there is no frame."""
    image = F.pad(guide[:, Guide.IMAGE, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    right = 0.5 * (image[:, 1:-1, 2:] - image[:, 1:-1, :-2])
    down = 0.5 * (image[:, 2:, 1:-1] - image[:, :-2, 1:-1])
    is_edge = right.square() + down.square() >= MIN_GRADIENT**2
    return torch.where(guide[:, Guide.HAS_IMAGE] > 0.5, is_edge.float(), torch.ones_like(right))


def _resized(maps: tuple[Tensor, ...], padded: Tensor, like: Tensor) -> list[Tensor]:
    """Maps [B, H, W], padded to the size of one feature and sampled to that of another, which divides it."""
    (rows, columns), (height, width) = padded.shape[-2:], like.shape[-2:]
    more = (0, columns - maps[0].shape[-1], 0, rows - maps[0].shape[-2])
    return [F.pad(each, more)[:, :: rows // height, :: columns // width] for each in maps]


def _expectation(distribution: Tensor) -> Tensor:
    return torch.einsum("bchw,c->bhw", distribution.float(), _places(distribution))


def _places(distribution: Tensor) -> Tensor:
    return torch.linspace(FIRST_BINS, LAST_BINS, BINS, device=distribution.device)


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum() / weight.sum().clamp_min(1.0)
