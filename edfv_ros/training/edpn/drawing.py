"""Batches drawn from examples: which sweeps, frames and priors the network gets to see, and how they are turned."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edfv_ros.depth.edpn_inputs import DENSITY_UNIT, DOUBTED_EVENTS, SCORE_FLOOR, Guide, conditions_input, guide_input
from edfv_ros.depth.likelihood import CELL_PX
from edfv_ros.training.edpn.examples import BOTH, SINGLE, VOLUME_UNIT, AnyExamples

SINGLE_CHANCE = 0.3
NO_FRAME_CHANCE = 0.35
PRIOR_CHANCE = 0.4
NO_VOLUME_CHANCE = 0.15

SCORE_GAIN = 2.0
"""Factor or divisor of the evidence, at most: how sure it is of itself depends on a sensor's noise, which no simulator
has quite right, and a network that has learned to trust one simulator's does not trust another's."""

_AHEAD = 2  # batches that are ready before they are asked for, beside those that are being made


class Batch(NamedTuple):
    """What a step learns from.

    Attributes:
        score, guide, conditions: see :meth:`~edfv_ros.training.edpn.network.Edpn.forward`.
        volume: [B, BINS, 2 h, 2 w], see :func:`~edfv_ros.depth.edpn_inputs.volume_input`.
        position_bins: [B, 2 h, 2 w], the truth; NaN where unknown, and beyond the picture where its sides are not
            multiples of four pixels.
        far_bins: [B], see :func:`~edfv_ros.training.edpn.examples.record_dtype`.
    """

    score: Tensor
    volume: Tensor
    guide: Tensor
    conditions: Tensor
    position_bins: Tensor
    far_bins: Tensor

    @property
    def cells(self) -> Tensor:
        """The volume as our network sees it, [B, BINS, h, w]: :func:`~edfv_ros.depth.edpn_inputs.pooled_volume`."""
        events = torch.expm1(DENSITY_UNIT * self.guide[:, Guide.DENSITY : Guide.DENSITY + 1])
        return F.avg_pool2d(self.volume * (events / (events + DOUBTED_EVENTS)), CELL_PX)

    def to(self, device: torch.device) -> "Batch":
        """The same on a device; maps with the channels of a pixel side by side, which convolutions are fastest on."""
        return Batch(
            *(
                value.to(device, memory_format=torch.channels_last if value.ndim == 4 else torch.preserve_format)
                for value in self
            )
        )


class _Draws:
    """Draw number ``n`` of an endless sequence; the same number is the same draw, whoever asks."""

    def __init__(self, examples: AnyExamples, seed: int, *, augment: bool) -> None:
        self._examples = examples
        self._seed = seed
        self._augment = augment
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def batch(self, numbers: range) -> Batch:
        score, volume, guide, position, conditions, far = zip(*map(self._draw, numbers), strict=True)
        stacked = (torch.from_numpy(np.stack(values)) for values in (score, volume, guide, conditions, position, far))
        return Batch(*stacked)

    def _draw(self, number: int) -> tuple[NDArray[np.float32], ...]:
        epoch, place = divmod(number, len(self._examples))
        if not self._augment:
            return assemble(self._examples[place], None)
        index = int(self._order_of(epoch)[place])
        return assemble(self._examples[index], np.random.default_rng([self._seed, epoch, place, 1]))

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        order = self._order
        if order is None or order[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            order = self._order = epoch, rng.permutation(len(self._examples))
        return order[1]


def assemble(record: NDArray[np.void], rng: np.random.Generator | None) -> tuple[NDArray[np.float32], ...]:
    """Inputs and truth of one example.

    Args:
        record: the example.
        rng: draws what is left out and how the rest is turned; with None, all there is is used as it is.

    Returns:
        ``score``, ``volume``, ``guide``, ``position_bins``, ``conditions`` and ``far_bins`` of a :class:`Batch`,
        without its first axis.
    """
    single = rng is not None and rng.random() < SINGLE_CHANCE
    variant = SINGLE if single else BOTH
    frame = record["frame"] if record["has_frame"] else None
    if rng is not None and rng.random() < NO_FRAME_CHANCE:
        frame = None
    position = record["position_bins"][variant]
    prior = simulate_prior(position, rng) if rng is not None and rng.random() < PRIOR_CHANCE else None
    score, volume = record["score"][variant], record["volume"][variant]
    guide = guide_input(record["event_count"][variant], frame, prior, *score.shape[1:])
    conditions = conditions_input(
        float(record["slope_px_per_bin"]),
        up=not single or bool(record["single_up"]),
        down=not single or not record["single_up"],
    )
    padding = [(0, padded - size) for padded, size in zip(volume.shape[1:], position.shape, strict=True)]
    position = np.pad(position, padding, constant_values=np.nan)
    maps = [score.astype(np.float32), volume.astype(np.float32) * np.float32(VOLUME_UNIT), guide, position]
    if rng is not None:
        maps = _turned(maps, rng)
        gain = np.float32(SCORE_GAIN ** rng.uniform(-1.0, 1.0))
        maps[0] = np.maximum(gain * maps[0], np.float32(SCORE_FLOOR))
        if rng.random() < NO_VOLUME_CHANCE:
            maps[1][:] = 0.0
        if rng.random() < 0.5:  # a picture and its negative are equally deep
            maps[1] = -maps[1]
            maps[2][Guide.IMAGE] *= -1
    return *map(np.ascontiguousarray, maps), conditions, np.asarray(record["far_bins"])


def simulate_prior(position_bins: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """What a monocular network might make of the scene: the order of depths, bent, blurred, and wrong in places.

    Args:
        position_bins: float32 [H, W], the truth, NaN where unknown.
        rng: draws how wrong it is.

    Returns:
        float32 [H, W], relative vergence from 0 to 1.
    """
    height, width = position_bins.shape
    known = np.isfinite(position_bins)
    filled = np.where(known, position_bins, np.nanmedian(position_bins) if known.any() else 0.0).astype(np.float32)
    low, high = np.quantile(filled, (0.02, 0.98))
    relative = np.clip((filled - low) / max(high - low, 1e-3), 0.0, 1.0) ** np.exp(rng.normal(0.0, 0.4))
    coarse = rng.normal(size=rng.integers(2, 7, size=2)).astype(np.float32)
    relative = relative + rng.uniform(0.0, 0.2) * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    blur_px = rng.uniform(0.0, 3.0)
    if blur_px > 0.3:
        relative = cv2.GaussianBlur(relative, (0, 0), blur_px)
    low, high = np.quantile(relative, (0.02, 0.98))
    return np.clip((relative - low) / max(high - low, 1e-3), 0.0, 1.0).astype(np.float32)


def _turned(maps: list[NDArray[np.float32]], rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """One of the eight symmetries of a square; of a rectangle, one of its four."""
    transposed, flipped_y, flipped_x = rng.random(3) < 0.5
    if transposed and maps[-1].shape[0] == maps[-1].shape[1]:
        maps = [np.swapaxes(values, -1, -2) for values in maps]
    if flipped_y:
        maps = [values[..., ::-1, :] for values in maps]
    if flipped_x:
        maps = [values[..., ::-1] for values in maps]
    return [values.copy() for values in maps]


def batches(
    examples: AnyExamples, size: int, draws: range, *, seed: int, augment: bool, workers: int = 1
) -> Generator[Batch, None, None]:
    """Batches of consecutive draws, made ahead.

    Args:
        examples: to draw from.
        size: of a batch; the last one may have fewer.
        draws: numbers of the draws; the same number always gives the same.
        seed: of the sequence.
        augment: whether things are left out and turned.
        workers: threads; nearly all they do is done outside of Python's lock.
    """
    sequence = _Draws(examples, seed, augment=augment)
    parts = (draws[first : first + size] for first in range(0, len(draws), size))
    pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="draws")
    ahead: deque[Future[Batch]] = deque()
    try:
        ahead.extend(pool.submit(sequence.batch, part) for part in islice(parts, max(workers, 1) + _AHEAD))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(sequence.batch, part) for part in islice(parts, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
