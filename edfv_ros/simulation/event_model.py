"""The pixels of an event camera, from the light on the sensor to the events that leave the pixels.

A pixel amplifies the logarithm of its photocurrent, remembers it, fires when it has left the memory by a threshold, and
then starts again from what it finds at the end of its reset (Lichtsteiner, Posch and Delbruck, IEEE JSSC 43(2), 2008).
What departs from that ideal has a parameter each in :class:`PixelModel`. What happens to the events between the pixels
and the computer is the job of :mod:`edfv_ros.simulation.readout`.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edfv_ros.errors import SimulationError
from edfv_ros.events import EVENT_DTYPE
from edfv_ros.yaml_model import NotNegative, Part

Threshold = Annotated[float, Field(ge=0.01, le=3)]
Rate = Annotated[float, Field(ge=0, le=100_000)]
Share = Annotated[float, Field(ge=0, le=1)]

_DARKEST_LUX = 1e-6  # a logarithm needs some photocurrent where neither light nor ``dark_lux`` gives any
_SPREAD_LIMITS = 0.4, 2.0  # of a pixel's threshold against the mean
_CHANGE_PER_PART = 0.05  # log photocurrent over which the bandwidth of a pixel is taken as constant
_SMALLEST_GAIN = 0.2  # of one threshold crossing against the pixel's threshold


class PixelModel(Part):
    """What kind of pixels a sensor has; the defaults are typical of a DAVIS346 indoors.

    Illuminances are those of the scene: a pixel that sees radiance ``r`` has ``r`` times the light on the scene. How
    much of it reaches the chip depends on the lens; the numbers here are for one of about f/2.8. Bandwidth and noise of
    a camera also vary severalfold with its biases (Graca, McReynolds and Delbruck, "Shining light on the DVS pixel",
    CVPRW 2023): their defaults are of the right order and no measurement of one camera.

    Attributes:
        threshold_on, threshold_off: mean contrast thresholds, in log photocurrent.
        mismatch: standard deviation of the thresholds from pixel to pixel, relative, independent for ON and OFF
            (Lichtsteiner 2008 measured 2.1 % of intensity over the array).
        jitter: standard deviation of a pixel's threshold from event to event, relative.
        refractory_us: dead time after an event, the reset of the pixel's memory (Lichtsteiner 2008).
        dark_lux: the part of the photocurrent that is there without light, in lux: the dark current of the photodiode,
            which compresses contrasts in low light (Lichtsteiner 2008).
        cutoff_hz_per_lux: bandwidth of the photoreceptor, a first-order low pass of the log photocurrent, per lux; it
            is proportional to the photocurrent (v2e: Hu, Liu and Delbruck, CVPRW 2021). Lichtsteiner 2008 measured
            3 kHz with 1000 lux on the scene, which is 10 Hz per lux for a radiance of 0.3. 0: infinite.
        cutoff_max_hz: bandwidth in bright light, that of the buffer behind the photoreceptor (Graca and Delbruck,
            "Unraveling the paradox of intensity-dependent DVS pixel noise", IISW 2021). 0: infinite.
        leak_hz: mean rate of the ON events by which a pixel at rest makes good the leakage of its reset switch (Nozaki
            and Delbruck, IEEE Trans. Electron Devices 64(8), 2017, measured about 0.1 Hz at room temperature). The
            memory drifts by ``leak_hz * threshold_on`` per second.
        leak_spread: standard deviation of the log leakage from pixel to pixel (v2e, 2021: 0.1 decades).
        shot_noise_hz: mean rate of the noise events of a pixel in the dark, both polarities together. As in v2e they
            come at random and more often in pixels of low threshold, and each resets the pixel's memory.
        shot_noise_lux: light on the pixel that halves the rate of noise events, which is
            ``shot_noise_hz / (1 + lux / shot_noise_lux)``. That it falls with the light is a measured fact (Graca and
            Delbruck 2021; McReynolds, Graca and Delbruck, Optical Engineering 61(7), 2022): once the buffer sets the
            bandwidth, the variance of the noise is inverse to the photocurrent. 0: the same rate in any light.
        hot_fraction: share of hot pixels, which fire without cause.
        hot_hz: their rate.
        hot_on_share: share of the hot pixels that fire ON events; each fires one polarity only.
    """

    threshold_on: Threshold = 0.1
    threshold_off: Threshold = 0.1
    mismatch: NotNegative = 0.12
    jitter: NotNegative = 0.04
    refractory_us: NotNegative = 300.0
    dark_lux: NotNegative = 2.0
    cutoff_hz_per_lux: NotNegative = 10.0
    cutoff_max_hz: NotNegative = 3000.0
    leak_hz: Rate = 0.1
    leak_spread: Annotated[float, Field(ge=0, le=3)] = 0.25
    shot_noise_hz: Rate = 5.0
    shot_noise_lux: NotNegative = 20.0
    hot_fraction: Share = 1e-4
    hot_hz: Rate = 150.0
    hot_on_share: Share = 0.5

    @classmethod
    def ideal(cls, threshold_on: float = 0.1, threshold_off: float = 0.1) -> "PixelModel":
        """Pixels that do nothing but compare with their thresholds."""
        return cls(
            threshold_on=threshold_on,
            threshold_off=threshold_off,
            mismatch=0.0,
            jitter=0.0,
            refractory_us=0.0,
            dark_lux=0.0,
            cutoff_hz_per_lux=0.0,
            cutoff_max_hz=0.0,
            leak_hz=0.0,
            shot_noise_hz=0.0,
            hot_fraction=0.0,
        )

    def signal_only(self) -> "PixelModel":
        """The same pixels without the events that come with no change of the light."""
        return self.model_copy(update={"leak_hz": 0.0, "shot_noise_hz": 0.0, "hot_fraction": 0.0})

    def shot_noise_rate_hz(self, illuminance_lux: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean rate of the noise events of pixels under some light."""
        if self.shot_noise_lux == 0.0:
            return np.full_like(illuminance_lux, self.shot_noise_hz)
        return np.float32(self.shot_noise_hz) / (1.0 + illuminance_lux / np.float32(self.shot_noise_lux))


class EventSensor:
    """A sensor with its own thresholds, leakage, hot pixels and memory; the same seed gives the same sensor and events.

    Attributes:
        model: what kind of pixels it has.
        threshold_on, threshold_off: contrast thresholds of each pixel, float32 [H, W].
        leak_hz: rate of each pixel's leak events at rest, float32 [H, W].
        hot: flat indices of the hot pixels, int64.
    """

    def __init__(self, resolution: tuple[int, int], model: PixelModel, seed: int) -> None:
        width, height = resolution
        self.model = model
        self._seed = seed
        self._shape = height, width
        self._rng = np.random.default_rng([seed, 0x5E4504])
        spread = np.clip(1.0 + model.mismatch * self._rng.standard_normal((2, height, width)), *_SPREAD_LIMITS)
        self.threshold_on = (model.threshold_on * spread[0]).astype(np.float32)
        self.threshold_off = (model.threshold_off * spread[1]).astype(np.float32)
        leak = np.exp(model.leak_spread * self._rng.standard_normal(self._shape) - 0.5 * model.leak_spread**2)
        self.leak_hz = (model.leak_hz * model.threshold_on * leak / self.threshold_on).astype(np.float32)
        self.hot = np.flatnonzero(self._rng.random(height * width) < model.hot_fraction)
        self._hot_polarity = (self._rng.random(len(self.hot)) < model.hot_on_share).astype(np.int8)
        self._hot_per_us = np.zeros(self._shape, np.float32)  # negative: OFF events
        self._hot_per_us.flat[self.hot] = 1e-6 * model.hot_hz * np.where(self._hot_polarity, 1.0, -1.0)
        self._phase = self._rng.uniform(-1.0, 1.0, self._shape)
        self._key = np.uint64(self._rng.integers(0, 2**63))
        self._state: tuple[NDArray[np.generic], ...] | None = None

    def signal_only(self) -> "EventSensor":
        """A sensor with the same thresholds that has seen nothing yet and is free of leak, noise and hot pixels."""
        height, width = self._shape
        return EventSensor((width, height), self.model.signal_only(), self._seed)

    def expose(
        self, illuminance_lux: NDArray[np.float32], times_us: NDArray[np.float64]
    ) -> tuple[NDArray[np.void], NDArray[np.float64]]:
        """Watch pictures whose log photocurrent is linear in time between them.

        Calls continue one another: a film in two parts, the last picture of one the first of the other, gives the
        events of the whole. The first call starts each pixel at rest, at a random point between its thresholds.

        Args:
            illuminance_lux: radiance times the scene's illuminance, float32 [K, H, W].
            times_us: float64 [K], not descending, counted from a time near by (unix times leave a float64 a quarter of
                a microsecond). Two pictures at one time are a sudden change.

        Returns:
            Events, EVENT_DTYPE [N] ascending in time (timestamps rounded down to microseconds), and their exact
            times, float64 [N] in the unit of ``times_us``.

        Raises:
            SimulationError: shapes or times do not fit.
        """
        times = np.ascontiguousarray(times_us, np.float64)
        if not len(times) or illuminance_lux.shape != (len(times), *self._shape):
            raise SimulationError(
                f"pictures of shape {illuminance_lux.shape} at {len(times)} times: give one of "
                f"{self._shape[0]} x {self._shape[1]} (rows x columns) for each time"
            )
        if not np.all(np.diff(times) >= 0):
            raise SimulationError("times of pictures descend or are no numbers: give them in ascending order")
        light = np.ascontiguousarray(illuminance_lux, np.float32)
        before = self._state or self._at_rest(light[0])
        capacity = self._shape[1] * (4 + len(times) // 4)
        while True:
            self._state = tuple(array.copy() for array in before)
            counts = np.zeros(self._shape[0], np.int64)
            exact, words = np.empty((self._shape[0], capacity)), np.empty((self._shape[0], capacity), np.int64)
            _fire(light, times, *self._pixels(), *self._state, counts, exact, words)
            if counts.max(initial=0) <= capacity:
                break
            capacity = int(counts.max())
        pairs, ordered = _in_order(exact, words, counts, times[0], times[-1])
        events: NDArray[np.void] = pairs.view(EVENT_DTYPE)[:, 0]
        return events, ordered

    def background(self, start_us: int, end_us: int, illuminance_lux: NDArray[np.float32]) -> NDArray[np.void]:
        """Noise, leak and hot-pixel events of a picture at rest, of ``start_us <= t < end_us``, ascending.

        For a live camera, whose signal is replayed: Poisson in time, without regard to the pixels' memories. (Leak
        events of undisturbed pixels are regular, those of pixels that signals reset now and then are not.)
        """
        height, width = self._shape
        model, rng, light = self.model, self._rng, illuminance_lux.reshape(-1)
        seconds = max(0, end_us - start_us) * 1e-6
        # candidates at the highest rate that a pixel may have, thinned to the pixel's own
        gain_max = 1.0 / _SPREAD_LIMITS[0]
        highest = model.shot_noise_hz * gain_max + float(self.leak_hz.max(initial=0.0))
        pixel = rng.integers(0, height * width, rng.poisson(highest * height * width * seconds))
        threshold_on, threshold_off = self.threshold_on.reshape(-1)[pixel], self.threshold_off.reshape(-1)[pixel]
        shot = 0.5 * model.shot_noise_rate_hz(light[pixel])
        off = shot * model.threshold_off / threshold_off
        on = shot * model.threshold_on / threshold_on + self.leak_hz.reshape(-1)[pixel]
        drawn = rng.random(len(pixel)) * highest
        kept = drawn < on + off
        which = rng.integers(0, max(1, len(self.hot)), rng.poisson(model.hot_hz * len(self.hot) * seconds))
        pixel = np.concatenate([pixel[kept], self.hot[which]])
        polarity = np.concatenate([(drawn < on)[kept], self._hot_polarity[which]])
        order = rng.permutation(len(pixel))
        events = np.zeros(len(pixel), EVENT_DTYPE)
        events["timestamp"] = np.sort(rng.integers(start_us, max(end_us, start_us + 1), len(pixel)))
        events["y"], events["x"] = np.divmod(pixel[order], width)
        events["polarity"] = polarity[order]
        return events

    def _pixels(self) -> tuple[object, ...]:
        """What the kernel needs to know about the pixels, in the order of its arguments."""
        model = self.model
        return (
            self.threshold_on,
            self.threshold_off,
            self.leak_hz,
            self._hot_per_us,
            model.threshold_on,
            model.threshold_off,
            model.jitter,
            model.refractory_us,
            model.dark_lux,
            2e-6 * math.pi * (model.cutoff_hz_per_lux or math.inf),
            2e-6 * math.pi * (model.cutoff_max_hz or math.inf),
            1e-6 * model.shot_noise_hz,
            1.0 / (model.shot_noise_lux or math.inf),
            self._key,
        )

    def _at_rest(self, light: NDArray[np.float32]) -> tuple[NDArray[np.generic], ...]:
        """Memory, end of the dead time, low-passed signal, patience until the next noise event, events so far."""
        signal = np.log(np.maximum(light.astype(np.float64) + self.model.dark_lux, _DARKEST_LUX))
        threshold = np.where(self._phase > 0, self.threshold_off, self.threshold_on)
        memory = signal + 0.99 * self._phase * threshold
        patience = np.empty(self._shape)
        _draw_patience(self._key, patience)
        return memory, np.zeros(self._shape), signal, patience, np.zeros(self._shape, np.int64)


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


# Random numbers are functions of (key, pixel, events of the pixel so far, purpose): the same whatever the threads do
# and however a film is cut into calls.
_GAIN, _PATIENCE, _POLARITY = np.uint64(0), np.uint64(1), np.uint64(2)


@numba.njit
def _bits(key, pixel, number, purpose):  # type: ignore[no-untyped-def]
    """64 random bits (splitmix64)."""
    counter = (np.uint64(pixel) << np.uint64(34)) + (np.uint64(number) << np.uint64(2)) + purpose
    z = key + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit
def _uniform(key, pixel, number, purpose):  # type: ignore[no-untyped-def]
    """A number from the open interval 0..1."""
    return (float(_bits(key, pixel, number, purpose) >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@numba.njit
def _gain(jitter, key, pixel, number):  # type: ignore[no-untyped-def]
    """This crossing's threshold against the pixel's own: normal, as the sum of four uniforms."""
    if jitter == 0.0 or number == 0:  # the memory was drawn between the thresholds themselves
        return 1.0
    bits = _bits(key, pixel, number, _GAIN)
    total = 0.0
    for shift in range(4):
        total += float((bits >> np.uint64(16 * shift)) & np.uint64(0xFFFF))
    return max(_SMALLEST_GAIN, 1.0 + jitter * (total / 65536.0 - 2.0) * 1.7320508)


@numba.njit(nogil=True, cache=True)
def _draw_patience(key, patience):  # type: ignore[no-untyped-def]
    for pixel in range(patience.size):
        patience.flat[pixel] = -math.log(_uniform(key, pixel, 0, _PATIENCE))


@numba.njit
def _value(start, slope, excess, decay, time):  # type: ignore[no-untyped-def]
    """The signal within a step: a ramp, and the rest of what the low pass has not yet followed."""
    value = start + slope * time
    if excess != 0.0:
        value += excess * math.exp(-decay * time)
    return value


@numba.njit
def _crossing(start, slope, excess, decay, low, high, target):  # type: ignore[no-untyped-def]
    """When the signal, monotonous from ``low`` to ``high``, passes ``target`` between."""
    if excess == 0.0:
        time = (target - start) / slope if slope != 0.0 else low
        return min(max(time, low), high)
    # From the end on whose side of the target the curve bends away, Newton's steps never leave the interval.
    time = low
    if (_value(start, slope, excess, decay, low) - target) * excess <= 0.0:
        time = high
    for _ in range(60):
        bend = excess * math.exp(-decay * time)
        rate = slope - decay * bend
        if rate == 0.0:
            break
        step = (start + slope * time + bend - target) / rate
        time = min(max(time - step, low), high)
        if abs(step) < 1e-4:
            break
    return time


@numba.njit(parallel=True, nogil=True, cache=True)
def _fire(  # type: ignore[no-untyped-def]
    light, times, threshold_on, threshold_off, leak_hz, hots, mean_on, mean_off, jitter, refractory, dark_lux,
    cutoff_per_lux, cutoff_max, shot_noise, per_shot_noise_lux, key, memory, ready, output, patience, fired,
    counts, out_time, out_word,
):  # fmt: skip
    """Run every pixel through all steps; times in us, rates per us.

    The events of a row go into its row of ``out_time`` and ``out_word`` (the second half of an EVENT_DTYPE) as far as
    there is room; ``counts`` has their true number.

    A pixel in its dead time sees nothing and has a memory of NaN; at the end of it (``ready``) its memory becomes the
    signal it finds. ``output`` is the low-passed signal, ``patience`` the integral of the noise rate that is still to
    come before the next noise event: exponential, which makes them a Poisson process.
    """
    pictures, height, width = light.shape
    room = out_time.shape[1]
    filtered = cutoff_per_lux < math.inf or cutoff_max < math.inf
    for y in numba.prange(height):
        count = 0
        logs = np.empty((width, pictures))
        for k in range(pictures):
            for x in range(width):
                logs[x, k] = math.log(max(float(light[k, y, x]) + dark_lux, _DARKEST_LUX))
        for x in range(width):
            pixel = y * width + x
            on, off, hot = float(threshold_on[y, x]), float(threshold_off[y, x]), float(hots[y, x])
            leak = 1e-6 * leak_hz[y, x] * on  # the slope of a signal that does the same to the memory
            shot_on, shot_off = 0.5 * shot_noise * mean_on / on, 0.5 * shot_noise * mean_off / off
            noisy = shot_noise > 0.0 or hot != 0.0
            level, until, signal, left = memory[y, x], ready[y, x], output[y, x], patience[y, x]
            number = fired[y, x]
            gain = _gain(jitter, key, pixel, number)
            lux = float(light[0, y, x]) + dark_lux
            for k in range(pictures - 1):
                lux_before, lux = lux, float(light[k + 1, y, x]) + dark_lux
                change = logs[x, k + 1] - logs[x, k]
                duration, parts = times[k + 1] - times[k], 1
                if filtered and abs(change) > _CHANGE_PER_PART and cutoff_per_lux * min(lux_before, lux) < cutoff_max:
                    parts = math.ceil(abs(change) / _CHANGE_PER_PART)
                    duration /= parts
                    change /= parts
                for part in range(parts):
                    begin = times[k] + part * duration
                    now = logs[x, k] + part * change
                    mean_lux = 0.5 * (lux_before + lux) if parts == 1 else math.exp(now + 0.5 * change)

                    # the signal within the part: start + slope * time + excess * exp(-decay * time)
                    excess = decay = fading = 0.0
                    if duration == 0.0:
                        if filtered:
                            continue
                        start, slope = now + change, 0.0
                    else:
                        start, slope = now, change / duration
                        if filtered:
                            decay = min(cutoff_per_lux * max(mean_lux, _DARKEST_LUX), cutoff_max)
                            lag = slope / decay
                            start -= lag
                            excess = signal - start
                            if decay * duration < 50.0:
                                fading = math.exp(-decay * duration)
                    final = start + slope * duration + excess * fading
                    signal = final
                    # A memory that leaks away is a signal that climbs, up to the frame of reference.
                    slope += leak
                    climb = leak * duration
                    final += climb
                    dead = np.isnan(level)
                    if dead and until >= begin + duration:
                        continue
                    turn = 0.0  # where the signal reverses, if it does
                    if excess != 0.0 and (slope - excess * decay) * (slope - excess * decay * fading) < 0.0:
                        turn = math.log(excess * decay / slope) / decay

                    time = 0.0
                    if dead:
                        time = max(0.0, until - begin)
                        level = _value(start, slope, excess, decay, time)
                    rate_on = rate_off = rate = 0.0
                    if noisy:
                        dimming = 1.0 / (1.0 + max(mean_lux - dark_lux, 0.0) * per_shot_noise_lux)
                        rate_on, rate_off = shot_on * dimming, shot_off * dimming
                        rate = rate_on + rate_off + abs(hot)
                    while True:
                        turns = time < turn < duration
                        piece_end = turn if turns else duration
                        value = _value(start, slope, excess, decay, turn) if turns else final
                        event, polarity, target = math.inf, 0, level
                        if value >= level + on * gain:
                            polarity, target = 1, level + on * gain
                            event = _crossing(start, slope, excess, decay, time, piece_end, target)
                        elif value <= level - off * gain:
                            target = level - off * gain
                            event = _crossing(start, slope, excess, decay, time, piece_end, target)
                        if rate > 0.0 and time + left / rate < min(event, piece_end):
                            event = time + left / rate
                            target = _value(start, slope, excess, decay, event)
                            drawn = rate * _uniform(key, pixel, number, _POLARITY)
                            polarity = 1 if drawn < rate_on or (hot > 0.0 and drawn >= rate_on + rate_off) else 0
                            left = -math.log(_uniform(key, pixel, number + 1, _PATIENCE))
                        else:
                            left -= rate * (min(event, piece_end) - time)
                            if event == math.inf:
                                if not turns:
                                    break
                                time = piece_end
                                continue
                        if count < room:
                            out_time[y, count] = begin + event
                            out_word[y, count] = (polarity << 32) | (y << 16) | x
                        count += 1
                        number += 1
                        gain = _gain(jitter, key, pixel, number)
                        time, level = event, target
                        if refractory > 0.0:
                            until = begin + event + refractory
                            if until >= begin + duration:
                                level = np.nan
                                break
                            time = until - begin
                            level = _value(start, slope, excess, decay, time)
                    level -= climb
            memory[y, x], ready[y, x], output[y, x], patience[y, x] = level, until, signal, left
            fired[y, x] = number
        counts[y] = count


@numba.njit(parallel=True, nogil=True, cache=True)
def _in_order(exact, words, counts, first_us, last_us):  # type: ignore[no-untyped-def]
    """The events of all rows as pairs of integers [N, 2] and exact times [N], ascending in time, then in row."""
    total = counts.sum()
    buckets = max(1, total // 16)
    scale = buckets / (last_us - first_us) if last_us > first_us else 0.0
    starts = np.zeros(buckets + 1, np.int64)
    for y in range(len(counts)):
        for i in range(counts[y]):
            starts[min(buckets - 1, int((exact[y, i] - first_us) * scale)) + 1] += 1
    starts = np.cumsum(starts)
    at = starts[:-1].copy()
    pairs, times = np.empty((total, 2), np.int64), np.empty(total)
    for y in range(len(counts)):
        for i in range(counts[y]):
            bucket = min(buckets - 1, int((exact[y, i] - first_us) * scale))
            times[at[bucket]], pairs[at[bucket], 1] = exact[y, i], words[y, i]
            at[bucket] += 1
    for bucket in numba.prange(buckets):
        low, high = starts[bucket], starts[bucket + 1]
        if high - low > 64:
            order = np.argsort(times[low:high], kind="mergesort")
            times[low:high] = times[low:high][order]
            pairs[low:high, 1] = pairs[low:high, 1][order]
        else:
            for i in range(low + 1, high):
                time, word, j = times[i], pairs[i, 1], i
                while j > low and times[j - 1] > time:
                    times[j], pairs[j, 1] = times[j - 1], pairs[j - 1, 1]
                    j -= 1
                times[j], pairs[j, 1] = time, word
        for i in range(low, high):
            pairs[i, 0] = math.floor(times[i])
    return pairs, times
