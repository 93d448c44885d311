"""The pixels of an event camera: contrast thresholds, refractory period, background noise, hot pixels.

The model is the one of Lichtsteiner et al. (IEEE JSSC 2008): a pixel remembers a log intensity, fires when the
present one has left it by its threshold, and then starts again from the intensity at the end of its reset.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import SimulationError
from edfv_ros.events import EVENT_DTYPE


@dataclass(frozen=True, slots=True)
class PixelModel:
    """What kind of pixels a sensor has.

    Attributes:
        threshold_on, threshold_off: mean contrast thresholds in log intensity.
        mismatch: standard deviation of the thresholds from pixel to pixel, relative.
        jitter: standard deviation of a pixel's threshold from event to event, relative.
        refractory_us: dead time after an event.
        noise_hz: rate of background events of each pixel, of random polarity.
        hot_fraction: share of pixels that fire at ``hot_hz`` without cause, always with one polarity.
        dark_radiance: light-independent part of the photocurrent, in units of radiance.
    """

    threshold_on: float = 0.1
    threshold_off: float = 0.1
    mismatch: float = 0.12
    jitter: float = 0.04
    refractory_us: float = 300.0
    noise_hz: float = 1.0
    hot_fraction: float = 1e-4
    hot_hz: float = 150.0
    dark_radiance: float = 0.004

    def __post_init__(self) -> None:
        for name, lowest in (("threshold_on", 0.01), ("threshold_off", 0.01), ("dark_radiance", 1e-9)):
            if not getattr(self, name) >= lowest:
                raise SimulationError(f"pixel model {name} = {getattr(self, name)}: give {lowest:g} or more")
        for name in ("mismatch", "jitter", "refractory_us", "noise_hz", "hot_fraction", "hot_hz"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SimulationError(f"pixel model {name} = {getattr(self, name)}: give 0 or more")


class EventSensor:
    """A sensor with its own thresholds, memory and hot pixels; the same seed gives the same sensor and events."""

    def __init__(self, resolution: tuple[int, int], model: PixelModel, seed: int) -> None:
        width, height = resolution
        self._model = model
        self._rng = np.random.default_rng([seed, 0x5E4504])
        spread = np.clip(1.0 + model.mismatch * self._rng.standard_normal((2, height, width)), 0.4, 2.0)
        self._threshold_on = (model.threshold_on * spread[0]).astype(np.float32)
        self._threshold_off = (model.threshold_off * spread[1]).astype(np.float32)
        self._memory: NDArray[np.float64] | None = None
        self._shape = height, width
        self._ready_us = np.zeros((height, width))
        self._hot = np.flatnonzero(self._rng.random(height * width) < model.hot_fraction)
        self._hot_polarity = self._rng.integers(0, 2, len(self._hot))

    def log_intensity(self, radiance: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the pixels respond to: the log of the photocurrent."""
        return np.log(radiance + np.float32(self._model.dark_radiance))

    def expose(
        self, log_intensity: NDArray[np.float32], times_us: NDArray[np.float64]
    ) -> tuple[NDArray[np.void], NDArray[np.float64]]:
        """Watch log intensities [K, H, W] that are linear in time between ``times_us`` [K].

        Calls continue one another: the pixels remember. The first call starts each pixel at a random point between
        its thresholds, as if it had watched for long.

        Returns:
            Events, EVENT_DTYPE [N] ascending in time (timestamps rounded down to microseconds), and their exact
            times, float64 [N] in the unit of ``times_us``.
        """
        times = np.ascontiguousarray(times_us, np.float64)
        if self._memory is None:
            phase = self._rng.uniform(-1.0, 1.0, self._shape)
            threshold = np.where(phase > 0, self._threshold_off, self._threshold_on)
            self._memory = log_intensity[0] + 0.99 * phase * threshold
        arguments = (
            log_intensity,
            times,
            self._threshold_on,
            self._threshold_off,
            np.float32(self._model.jitter),
            float(self._model.refractory_us),
            np.uint64(self._rng.integers(0, 2**63)),
        )
        counts = np.zeros(log_intensity.shape[1], np.int64)
        nothing = (np.empty(0), np.empty(0, np.int16), np.empty(0, np.int8))
        _fire(*arguments, self._memory.copy(), self._ready_us.copy(), counts, counts, *nothing)
        starts = np.cumsum(counts) - counts
        total = int(counts.sum())
        exact, x, polarity = np.empty(total), np.empty(total, np.int16), np.empty(total, np.int8)
        _fire(*arguments, self._memory, self._ready_us, starts, counts, exact, x, polarity)

        order = np.argsort(exact, kind="stable")
        events = np.zeros(total, EVENT_DTYPE)
        exact = exact[order]
        events["timestamp"] = np.floor(exact).astype(np.int64)
        events["x"] = x[order]
        events["y"] = np.repeat(np.arange(len(counts), dtype=np.int16), counts)[order]
        events["polarity"] = polarity[order]
        return events, exact

    def noise(self, start_us: int, end_us: int) -> NDArray[np.void]:
        """Background and hot-pixel events of ``start_us <= t < end_us``, Poisson in time, ascending."""
        height, width = self._shape
        seconds = max(0, end_us - start_us) * 1e-6
        background = self._rng.poisson(self._model.noise_hz * height * width * seconds)
        hot = self._rng.poisson(self._model.hot_hz * len(self._hot) * seconds)
        which = self._rng.integers(0, max(1, len(self._hot)), hot)
        pixel = np.concatenate([self._rng.integers(0, height * width, background), self._hot[which]])
        events = np.zeros(background + hot, EVENT_DTYPE)
        events["timestamp"] = np.sort(self._rng.integers(start_us, max(end_us, start_us + 1), background + hot))
        order = self._rng.permutation(background + hot)
        events["y"], events["x"] = np.divmod(pixel[order], width)
        events["polarity"] = np.concatenate([self._rng.integers(0, 2, background), self._hot_polarity[which]])[order]
        return events


def join_events(parts: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Event arrays one after another (``np.concatenate`` would drop the pad bytes and with them the dtype)."""
    pairs = [np.empty((0, 2), np.int64), *(_pairs(part) for part in parts)]
    joined: NDArray[np.void] = np.concatenate(pairs).view(EVENT_DTYPE)[:, 0]
    return joined


def merge_events(first: NDArray[np.void], second: NDArray[np.void]) -> NDArray[np.void]:
    """Two ascending event arrays as one; of equal times those of ``first`` come first."""
    merged = np.empty((len(first) + len(second), 2), np.int64)
    _merge(_pairs(first), _pairs(second), merged)
    ordered: NDArray[np.void] = merged.view(EVENT_DTYPE)[:, 0]
    return ordered


def _pairs(events: NDArray[np.void]) -> NDArray[np.int64]:
    """Events as pairs of integers, [N, 2]: numpy copies padded records field by field, ten times slower."""
    return np.ascontiguousarray(events).view(np.int64).reshape(-1, 2)


@numba.njit(nogil=True, cache=True)
def _merge(first, second, merged):  # type: ignore[no-untyped-def]
    i = j = 0
    for k in range(len(merged)):
        if j == len(second) or (i < len(first) and first[i, 0] <= second[j, 0]):
            merged[k, 0], merged[k, 1] = first[i, 0], first[i, 1]
            i += 1
        else:
            merged[k, 0], merged[k, 1] = second[j, 0], second[j, 1]
            j += 1


@numba.njit(inline="always")
def _random(seed, counter):  # type: ignore[no-untyped-def]
    """A standard normal number that depends on its arguments only (splitmix64, sum of four uniforms)."""
    z = seed + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    total = 0.0
    for shift in range(4):
        total += float((z >> np.uint64(16 * shift)) & np.uint64(0xFFFF))
    return (total / 65536.0 - 2.0) * 1.7320508


@numba.njit(parallel=True, nogil=True, cache=True)
def _fire(  # type: ignore[no-untyped-def]
    log_intensity, times, theta_on, theta_off, jitter, refractory, seed, memory, ready, starts, counts, out_time, out_x,
    out_polarity,
):  # fmt: skip
    """Run every pixel through all steps. With empty outputs only count the events of each row into ``counts``.

    A pixel in its dead time sees nothing; at the end of it (``ready``) its memory becomes the intensity it finds.
    A memory of NaN marks a pixel in its dead time.
    """
    steps, height, width = log_intensity.shape
    write = out_time.size > 0
    for y in numba.prange(height):
        at = starts[y]
        number = 0
        for x in range(width):
            counter = np.uint64(y * width + x) << np.uint64(24)
            level, until = memory[y, x], ready[y, x]
            on, off = theta_on[y, x], theta_off[y, x]
            gain = 1.0 + jitter * _random(seed, counter)
            for k in range(steps - 1):
                t1 = times[k + 1]
                dead = np.isnan(level)
                if dead and until >= t1:
                    continue
                t, now, end = times[k], float(log_intensity[k, y, x]), float(log_intensity[k + 1, y, x])
                rate = (end - now) / (t1 - t) if t1 > t else 0.0
                if dead:
                    if until > t:
                        now += rate * (until - t)
                        t = until
                    level = now
                while True:
                    up = end > level
                    target = level + on * gain if up else level - off * gain
                    if (up and end < target) or (not up and end > target) or end == level:
                        break
                    if rate != 0.0 and ((up and now < target) or (not up and now > target)):
                        t += (target - now) / rate
                    if write:
                        out_time[at] = t
                        out_x[at] = x
                        out_polarity[at] = 1 if up else 0
                        at += 1
                    number += 1
                    counter += np.uint64(1)
                    gain = 1.0 + jitter * _random(seed, counter)
                    if refractory <= 0.0:
                        level = target
                        now = target
                        continue
                    until = t + refractory
                    if until >= t1:
                        level = np.nan
                        break
                    now = end - rate * (t1 - until)
                    t = until
                    level = now
            memory[y, x], ready[y, x] = level, until
        if not write:
            counts[y] = number
