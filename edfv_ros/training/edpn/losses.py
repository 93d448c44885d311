"""What the network is taught: where the surface is, how sharp its edges are, and how sure to be."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edfv_ros.depth.edpn_head import FIRST_BINS, LAST_BINS, STEP_BINS
from edfv_ros.depth.edpn_inputs import CANDIDATES, CELL_PX
from edfv_ros.training.edpn.network import Prediction

BEYOND_BINS = 1.0
"""A surface further out of the sweep than this leaves no trace of where it is; only that it is beyond an end."""

TRIMMED = 0.1
"""Share of the largest errors that is left out: Bochkovskii et al., "Depth Pro", 2024, trims a fifth of real data's."""

WEIGHTS = {
    "distribution": 1.0,
    "coarser": 0.2,
    "sparse": 0.1,
    "likelihood": 0.5,
    "ranked": 1.5,
    "error": 0.5,
    "relative": 1.0,
    "edges": 0.3,
}

_SCALES = 3  # of the derivative losses
_LARGEST_RATIO = 1.5  # a natural logarithm
_LEAST_VERGENCE_BINS = 0.25


class Losses(NamedTuple):
    """The weighted sum, and its parts, without gradients and weights, for those who watch."""

    total: Tensor
    parts: dict[str, Tensor]


def losses(prediction: Prediction, position_bins: Tensor, far_bins: Tensor, same: Tensor) -> Losses:
    """Compare a prediction with the truth.

    - ``distribution``: cross-entropy of each cell's distribution, ``coarser``: of the coarser scales' (the paper's
      losses on four decoder scales), ``sparse``: once more within the SAME mask (the paper's sparse loss).
    - ``likelihood``: negative log likelihood of a Laplace distribution, which makes the uncertainty honest.
    - ``ranked``: ranked probability score (Epstein 1969) of each cell's distribution over the logarithm of vergence:
      cross-entropy counts any miss the same, this by how far it is in relative depth; the median of what it
      teaches has the least such error.
    - ``error``: trimmed mean absolute error in vergence (Depth Pro), ``relative``: that of the logarithm of vergence,
      which is that of the logarithm of depth.
    - ``edges``: Scharr and Laplace derivatives of the error at several scales (Depth Pro).

    Args:
        prediction: of the network.
        position_bins: [B, H, W], NaN where unknown; of the prediction's size.
        far_bins: [B], vergence of the far end in bin widths.
        same: [B, H, W], 1 in the SAME mask.

    Returns:
        Numbers that are finite, with finite gradients, even where no truth is known.
    """
    said = _Said.of(prediction, position_bins, far_bins)
    factors = [CELL_PX << scale for scale in reversed(range(len(prediction.logits)))]
    crosses = [
        _cross_entropy(logits, said.truth, said.known, factor)
        for logits, factor in zip(prediction.logits, factors, strict=True)
    ]
    finest, finest_weight = crosses[-1]
    cell_same = F.max_pool2d(same[:, None], CELL_PX)[:, 0] * finest_weight
    ranked = _ranked(prediction.logits[-1], said.truth, said.known, far_bins)
    return _weighted(
        {
            "distribution": _mean(finest, finest_weight),
            "coarser": torch.stack([_mean(*cross) for cross in crosses[:-1]]).mean(),
            "sparse": _mean(finest, cell_same),
            "ranked": _mean(*ranked),
            **said.parts(),
        }
    )


def position_losses(prediction: Prediction, position_bins: Tensor, far_bins: Tensor) -> Losses:
    """Those of :func:`losses` that ask for no distribution: ``likelihood``, ``error``, ``relative`` and ``edges``.

    Args:
        prediction: of a network that regresses; it has no logits.
        position_bins, far_bins: as of :func:`losses`.
    """
    return _weighted(_Said.of(prediction, position_bins, far_bins).parts())


class _Said(NamedTuple):
    """What is said of each pixel beside what is true, [B, H, W]."""

    truth: Tensor
    known: Tensor
    inside: Tensor
    error: Tensor
    relative: Tensor
    log_scale: Tensor

    @classmethod
    def of(cls, prediction: Prediction, position_bins: Tensor, far_bins: Tensor) -> "_Said":
        position = prediction.position_bins.float()
        known = torch.isfinite(position_bins)
        inside = known & (position_bins > FIRST_BINS - BEYOND_BINS) & (position_bins < LAST_BINS + BEYOND_BINS)
        truth = torch.where(known, position_bins, position.detach()).clamp(FIRST_BINS, LAST_BINS)
        error = torch.where(inside, position - truth, torch.zeros_like(position))
        from_infinity = 0.5 + far_bins[:, None, None]
        relative = (_log_vergence(position + from_infinity) - _log_vergence(truth + from_infinity)).abs()
        relative = torch.where(inside, relative, torch.zeros_like(relative)).clamp_max(_LARGEST_RATIO)
        return cls(truth, known, inside, error, relative, prediction.log_scale.float())

    def parts(self) -> dict[str, Tensor]:
        weight, distance = self.inside.float(), self.error.abs()
        return {
            "likelihood": _mean(distance.clamp_max(8.0) * torch.exp(-self.log_scale) + self.log_scale, weight),
            "error": _trimmed(distance, self.inside),
            "relative": _mean(self.relative, weight),
            "edges": _derivatives(self.error, weight),
        }


def _weighted(parts: dict[str, Tensor]) -> Losses:
    total = torch.stack([weight * parts[name] for name, weight in WEIGHTS.items() if name in parts]).sum()
    return Losses(total, {name: value.detach() for name, value in parts.items()})


def _cross_entropy(logits: Tensor, truth: Tensor, known: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Of the cells of a scale, ``factor`` pixels wide, [B, h, w], and the share of each that is known.

    The truth of a cell is the mixture of its pixels', each shared between the two candidates next to it.
    """
    logits = logits.float()
    rows, columns = logits.shape[2:]
    place = (truth - FIRST_BINS) / STEP_BINS
    low = place.floor().clamp(0, CANDIDATES - 2)
    part = place - low
    log_partition = torch.logsumexp(logits, 1)
    total = torch.zeros_like(log_partition)
    weight = torch.zeros_like(log_partition)
    step = max(factor // 2, 1)  # four pixels stand for a cell
    offsets = range(step // 2, factor, step)
    for y in offsets:
        for x in offsets:
            index, share, there = (_sampled(value, y, x, factor, rows, columns) for value in (low, part, known.float()))
            at = index.long()[:, None]
            near = torch.gather(logits, 1, torch.cat((at, at + 1), 1))
            expected = (1 - share) * near[:, 0] + share * near[:, 1]
            total = total + there * (log_partition - expected)
            weight = weight + there
    return total / weight.clamp_min(1.0), weight / len(offsets) ** 2


def _log_vergence(vergence_bins: Tensor) -> Tensor:
    return torch.log(vergence_bins.clamp_min(_LEAST_VERGENCE_BINS))


def _ranked(logits: Tensor, truth: Tensor, known: Tensor, far_bins: Tensor) -> tuple[Tensor, Tensor]:
    """Ranked probability score in logarithms of vergence, and the share that is known, of every other finest cell.

    All of them would take as long as the network's convolutions, and teach little more.
    """
    logits = logits[:, :, ::2, ::2].float()
    rows, columns = logits.shape[2:]
    place = (truth - FIRST_BINS) / STEP_BINS
    candidates = torch.arange(CANDIDATES - 1, device=logits.device)[None, :, None, None]
    below = logits.new_zeros(())
    weight = logits.new_zeros(())
    for y in range(CELL_PX):
        for x in range(CELL_PX):
            at, there = (_sampled(value, y, x, 2 * CELL_PX, rows, columns)[:, None] for value in (place, known.float()))
            below = below + there * (candidates + 1.0 - at).clamp(0.0, 1.0)
            weight = weight + there
    said = torch.softmax(logits, 1).cumsum(1)[:, :-1]
    edges_bins = torch.arange(CANDIDATES, device=logits.device) * STEP_BINS + far_bins[:, None]
    widths = _log_vergence(edges_bins).diff(dim=1)[:, :, None, None]
    score = (widths * (said - below / weight.clamp_min(1.0)).square()).sum(1)
    return score, weight[:, 0] / CELL_PX**2


def _sampled(value: Tensor, y: int, x: int, factor: int, rows: int, columns: int) -> Tensor:
    taken = value[:, y::factor, x::factor]
    return F.pad(taken, (0, columns - taken.shape[2], 0, rows - taken.shape[1]))


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum() / weight.sum().clamp_min(1.0)


def _trimmed(distance: Tensor, inside: Tensor) -> Tensor:
    """Mean without the largest errors of the batch."""
    values = distance[inside]
    if not len(values):
        return distance.sum() * 0.0
    limit = torch.quantile(values.detach()[:: max(1, len(values) // 100_000)], 1.0 - TRIMMED)
    return values[values <= limit].sum() / max(len(values), 1)


def _derivatives(error: Tensor, weight: Tensor) -> Tensor:
    """Derivatives of the error are those of the prediction minus those of the truth."""
    scharr = torch.tensor([[-3.0, 0.0, 3.0], [-10.0, 0.0, 10.0], [-3.0, 0.0, 3.0]], device=error.device) / 32.0
    laplace = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], device=error.device) / 4.0
    kernels = torch.stack((scharr, scharr.T, laplace))[:, None]
    error, weight = error[:, None].clamp(-4.0, 4.0), weight[:, None]
    total = error.new_zeros(())
    for _ in range(_SCALES):
        usable = 1.0 - F.max_pool2d(1.0 - weight, 3, 1)
        total = total + _mean(F.conv2d(error, kernels).abs().mean(1, keepdim=True), usable)
        weight = F.avg_pool2d(weight, 2)
        error = F.avg_pool2d(error, 2)
        weight = (weight > 0.99).float()
    return total / _SCALES
