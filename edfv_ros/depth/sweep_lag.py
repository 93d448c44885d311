"""The lag between lens and events, from an up-sweep and a down-sweep of the same scene: a self-check without a wire.

Where events come ``t`` later than the focus track says, an up-sweep shows every surface ``rate * t`` too near and a
down-sweep as much too far. So the two volumes are shifted against each other, and the shift that makes them agree is
twice the lag. They are compared as they are, by cross-correlation: no blur model and no depth is needed, and texture
on which depth would be wrong says as much as any other.

What a pixel reports is late by itself, since it waits for a whole contrast threshold. That is a lag in vergence and
not in time, and :func:`_matched_levels` leaves it out.
"""

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from edfv_ros.depth.likelihood import Buffers
from edfv_ros.lens.lag import LONGEST_LAG_SWEEPS
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.optics import VergenceBins
from edfv_ros.volume import SweepVolume

PATCH_PX = 16
"""Pixels across a patch, which gives one opinion on the lag."""

MIN_EVENTS_PER_PIXEL = 2.0
"""Of a patch in each sweep; fewer are mostly noise."""

MIN_SIMILARITY = 0.5
"""Correlation from which on a patch shows the same thing in both sweeps."""

MIN_PATCHES = 12
"""Fewer agreeing patches say nothing."""

MAX_PATCHES = 128
"""As many are enough, whatever the resolution: this bounds the cost."""

MIN_SIMILAR_SHARE = 0.5
"""Where fewer of the patches show the same thing in both sweeps, something moves."""

SYSTEMATIC_BINS = 0.05
"""What comparing counts in bins is wrong by whatever the scene, one sigma (tests, docs/lenses.md)."""

_STEPS = 65  # lags tried
_SMOOTHING_BINS = 0.7
_MAD_TO_SIGMA = 1.4826
_MEDIAN_TO_MEAN = 1.2533  # standard error of a median over that of a mean, of normal scatter


@dataclass(frozen=True, slots=True)
class LagMeasurement:
    """How far events lag behind the focus that two sweeps say they have.

    Attributes:
        lag_us: positive where the events come late; NaN where it could not be told.
        sigma_us: one standard deviation, from the scatter between patches and what the method is wrong by; NaN where
            it could not be told.
        patches: how many had a say.
        rejected: why it could not be told, a few words; empty where it could.
    """

    lag_us: float
    sigma_us: float
    patches: int
    rejected: str = ""


class LagMeter:
    """Measures the lag between two sweeps of opposite direction.

    Args:
        bins: the vergence axis of the volumes.
    """

    def __init__(self, bins: VergenceBins) -> None:
        self._bins = bins
        self._blas = ThreadpoolController()
        self._buffers = Buffers()

    def measure(self, first: SweepVolume, second: SweepVolume) -> LagMeasurement:
        """Compare two sweeps of opposite direction of a scene that does not move; which comes first does not matter."""
        up, down = (first, second) if first.sweep.direction > 0 else (second, first)
        patches = _patches(up, down)
        if len(patches) < MIN_PATCHES:
            return _rejected("too few events", len(patches))
        changes = []
        for volume, name in ((up, "up"), (down, "down")):
            change = self._buffers.get(name, MAX_PATCHES, PATCH_PX * PATCH_PX, self._bins.count)[: len(patches)]
            change[:] = 0.0
            _matched_levels(volume.counts, volume.sweep.direction, patches, change)
            changes.append(change)
        longest_us = LONGEST_LAG_SWEEPS * min(volume.sweep.end_us - volume.sweep.start_us for volume in (up, down))
        lags_us = np.linspace(-longest_us, longest_us, _STEPS)
        up_rate, down_rate = (_rates(volume.sweep, self._bins) for volume in (up, down))
        with self._blas.limit(limits=1, user_api="blas"):  # its threads would fight the pipeline for the cores
            similarity = _similarity(changes[0], changes[1], up_rate, down_rate, lags_us)
        return _judge(similarity, lags_us, SYSTEMATIC_BINS / float(np.median(up_rate + down_rate) / 2.0))


def _rejected(why: str, patches: int) -> LagMeasurement:
    return LagMeasurement(float("nan"), float("nan"), patches, why)


def _judge(similarity: NDArray[np.float64], lags_us: NDArray[np.float64], systematic_us: float) -> LagMeasurement:
    """From the similarity of each patch at each lag, [patches, lags], to one lag: the median of their maxima."""
    best = np.argmax(similarity, axis=1)
    similar = similarity.max(axis=1) >= MIN_SIMILARITY
    if np.count_nonzero(similar) < MIN_SIMILAR_SHARE * len(similarity):
        return _rejected("the two sweeps do not show the same: something moves", int(np.count_nonzero(similar)))
    usable = similar & (best > 0) & (best < len(lags_us) - 1)
    count = int(np.count_nonzero(usable))
    if count < max(MIN_PATCHES, MIN_SIMILAR_SHARE * np.count_nonzero(similar)):
        return _rejected("the lag is longer than can be told", count)
    peak, patch = best[usable], np.flatnonzero(usable)
    before, here, after = (similarity[patch, peak + step] for step in (-1, 0, 1))
    curvature = np.maximum(2.0 * here - before - after, 1e-12)
    found_us = lags_us[peak] + 0.5 * (after - before) / curvature * (lags_us[1] - lags_us[0])
    lag_us = float(np.median(found_us))
    scatter_us = _MAD_TO_SIGMA * float(np.median(np.abs(found_us - lag_us)))
    statistical_us = _MEDIAN_TO_MEAN * scatter_us / np.sqrt(count)
    return LagMeasurement(lag_us, float(np.hypot(statistical_us, systematic_us)), count)


def _patches(up: SweepVolume, down: SweepVolume) -> NDArray[np.int64]:
    """Top left pixels (y, x), int64 [N, 2], of whole patches with enough events in both sweeps, evenly chosen."""
    enough = np.ones([size // PATCH_PX for size in up.event_count.shape], bool)
    rows, columns = enough.shape
    for volume in (up, down):
        whole = volume.event_count[: rows * PATCH_PX, : columns * PATCH_PX]
        means = whole.reshape(rows, PATCH_PX, columns, PATCH_PX).mean(axis=(1, 3))
        enough &= means >= MIN_EVENTS_PER_PIXEL
    corners = np.argwhere(enough) * PATCH_PX
    chosen = np.unique(np.linspace(0, len(corners) - 1, min(MAX_PATCHES, len(corners))).round().astype(np.int64))
    return corners[chosen]


def _rates(sweep: FocusSweep, bins: VergenceBins) -> NDArray[np.float64]:
    """Speed of the focus in each bin, in bins per microsecond, without sign; 0 where the sweep does not reach."""
    times_us = np.diff(sweep.bin_edge_times_us(bins)).astype(np.float64)[:: sweep.direction]
    return np.divide(1.0, times_us, out=np.zeros_like(times_us), where=times_us > 0)


def _similarity(
    up: NDArray[np.float32],
    down: NDArray[np.float32],
    up_rate: NDArray[np.float64],
    down_rate: NDArray[np.float64],
    lags_us: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Normalised cross-correlation of each patch, taking each lag for the true one, float64 [patches, lags].

    A surface at bin ``b`` lies at ``b + rate * lag`` of the up-sweep and at ``b - rate * lag`` of the down-sweep. All
    products of a patch's bins are taken once; what they weigh at a lag (cubic convolution between bins; Keys, IEEE
    Trans. ASSP 29(6), 1981) is the same for all patches. The norm is of what overlaps at that lag.

    Args:
        up: float32 [patches, pixels, bins].
        down: the same of the down-sweep.
        up_rate: bins per microsecond in each bin.
        down_rate: the same of the down-sweep, positive.
        lags_us: to be tried.
    """
    count = up.shape[2]
    positions = np.arange(count)
    blur = np.exp(-0.5 * ((positions[:, None] - positions) / _SMOOTHING_BINS) ** 2)
    blur /= blur.sum(axis=1, keepdims=True)
    products = np.matmul(up.transpose(0, 2, 1), down).reshape(len(up), -1)
    weights = np.empty((count * count, len(lags_us)), np.float32)
    covered = np.empty((2, count, len(lags_us)))
    for index, lag_us in enumerate(lags_us):
        at_up, at_down = positions + up_rate * lag_us, positions - down_rate * lag_us
        inside = (np.minimum(at_up, at_down) >= 0) & (np.maximum(at_up, at_down) <= count - 1)
        inside &= (up_rate > 0) & (down_rate > 0)
        interpolations = [_cubic(at[inside], count) @ blur for at in (at_up, at_down)]
        weights[:, index] = (interpolations[0].T @ interpolations[1]).ravel()
        for side, at in enumerate((at_up, at_down)):
            covered[side, :, index] = np.maximum(0.0, 1.0 - np.abs(at[inside, None] - positions)).sum(axis=0)
    up_energy, down_energy = (
        np.square(side).sum(axis=1) @ part for side, part in zip((up, down), covered, strict=True)
    )
    similarity: NDArray[np.float64] = (products @ weights) / np.sqrt(up_energy * down_energy + 1e-9)
    return similarity


def _cubic(at: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Weights of cubic convolution at positions ``at`` [N] between ``count`` samples, float64 [N, count]."""
    distance = np.abs(at[:, None] - np.arange(-1, count + 1))
    inner = (1.5 * distance - 2.5) * distance**2 + 1.0
    outer = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    weights = np.where(distance <= 1.0, inner, np.where(distance < 2.0, outer, 0.0))
    kept = weights[:, 1:-1].copy()
    kept[:, 0] += weights[:, 0]  # beyond the ends, as at the ends
    kept[:, -1] += weights[:, -1]
    return kept


@nb.njit(nogil=True, cache=True)
def _matched_levels(
    counts: NDArray[np.int16], direction: int, patches: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Add the change of log intensity to ``out`` in a way that does not depend on the direction of the sweep.

    At an event the intensity is known: it has just crossed a level. Between two events of one polarity lies one
    threshold, laid evenly over the time between them; the events of a bin are taken as evenly spaced in it. Where the
    polarity reverses, the last event before and the first one after it cancel: then the levels on both sides of the
    reversal are the same, the one before the last event's and the first event's, whichever way the sweep goes.

    Args:
        counts: int16 [bins, H, W], dI/dv of the sweep.
        direction: +1 where time runs with the bins, -1 against them.
        patches: int64 [patches, 2], y and x of the first pixel of each.
        out: float32 [patches, pixels of a patch, bins], changed in place.
    """
    bins = len(counts)
    for patch in range(len(patches)):
        for pixel in range(PATCH_PX * PATCH_PX):
            y, x = patches[patch, 0] + pixel // PATCH_PX, patches[patch, 1] + pixel % PATCH_PX
            change = out[patch, pixel]
            last = np.float32(-0.5)  # place of the last event, in bins of the sweep's own order
            begin = np.float32(-0.5)  # of the change that waits for the next event's polarity
            waiting = 0  # its polarity
            for step in range(bins):
                count = counts[step if direction > 0 else bins - 1 - step, y, x]
                if count == 0:
                    continue
                polarity = 1 if count > 0 else -1
                events = abs(count)
                first = np.float32(step - 0.5 + 0.5 / events)
                end = np.float32(step + 0.5 - 0.5 / events)
                if waiting == -polarity:
                    waiting = 0
                else:
                    if waiting != 0:
                        _lay(begin, last, waiting, direction, change)
                    waiting, begin = polarity, last
                last = first
                if events > 1:
                    spacing = np.float32(1.0 / events)
                    if waiting != 0:
                        _lay(begin, last, waiting, direction, change)
                    if events > 2:
                        _lay(first, end - spacing, polarity * (events - 2), direction, change)
                    waiting, begin = polarity, end - spacing
                    last = end
            if waiting != 0:
                _lay(begin, last, waiting, direction, change)


@nb.njit(nogil=True, inline="always")
def _lay(begin: float, end: float, amount: int, direction: int, change: NDArray[np.float32]) -> None:
    """Add ``amount`` evenly over ``begin`` to ``end``, in bins of the sweep's own order."""
    bins = len(change)
    if end <= begin:
        return
    density = np.float32(amount) / (end - begin)
    for step in range(max(0, int(np.floor(begin + 0.5))), min(bins, int(np.floor(end + 0.5)) + 1)):
        overlap = min(end, step + 0.5) - max(begin, step - 0.5)
        if overlap > 0:
            change[step if direction > 0 else bins - 1 - step] += density * overlap
