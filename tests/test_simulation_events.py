"""The event pixels against arithmetic, circuit theory and Poisson statistics."""

import numba
import numpy as np
import pytest
from pydantic import ValidationError

from edfv_ros.errors import SimulationError
from edfv_ros.events import EVENT_DTYPE
from edfv_ros.simulation import EventSensor, PixelModel
from edfv_ros.simulation.event_model import join_events, merge_events

WIDTH, HEIGHT = 20, 12
IDEAL = PixelModel.ideal(threshold_on=0.2, threshold_off=0.25)
EVERYTHING = PixelModel(leak_hz=20.0, shot_noise_hz=100.0, shot_noise_lux=0.0, hot_fraction=0.02, hot_hz=1000.0)


def but(model, **changes):
    return PixelModel.model_validate(model.model_dump() | changes)


def uniform(*logs, shape=(HEIGHT, WIDTH)):
    """Pictures of one log illuminance each, [K, H, W]."""
    return np.multiply.outer(np.exp(np.array(logs)), np.ones(shape)).astype(np.float32)


def random_film(pictures, seed, shape=(HEIGHT, WIDTH)):
    """Every pixel wavers with a frequency and phase of its own."""
    rng = np.random.default_rng(seed)
    frequency, phase = rng.uniform(0.1, 0.4, shape), rng.uniform(0.0, 2 * np.pi, shape)
    return np.exp(3.0 + np.sin(np.multiply.outer(np.arange(pictures), frequency) + phase)).astype(np.float32)


def by_pixel(events, exact, width=WIDTH, height=HEIGHT):
    order = np.lexsort((exact, events["x"], events["y"]))
    index = events["y"][order].astype(int) * width + events["x"][order]
    return np.split(exact[order], np.searchsorted(index, np.arange(1, width * height)))


def assert_poisson(counts, expected):
    """Counts of independent equal trials: the mean within 4 standard errors, the Fano factor within 4 of its own."""
    counts = np.asarray(counts)
    assert counts.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / counts.size))
    spread = np.sqrt((2 + 1 / expected) / counts.size)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=4 * spread)


# the signal


def test_ramp_gives_exactly_the_events_it_holds_at_exact_times():
    sensor = EventSensor((WIDTH, HEIGHT), IDEAL, seed=3)
    first = by_pixel(*sensor.expose(uniform(0.0, 2.0), np.array([0.0, 10_000.0])))
    events, exact = sensor.expose(uniform(2.0, 3.0, 5.1), np.array([10_000.0, 15_000.0, 25_500.0]))  # 0.2 per ms
    assert set(events["polarity"]) == {1}
    assert np.all(np.diff(exact) >= 0)
    assert np.array_equal(events["timestamp"], np.floor(exact))
    for before, times in zip(first, by_pixel(events, exact), strict=True):
        level = before[-1] * 2e-4  # log intensity at which the pixel fired last
        expected = np.arange(level + 0.2, 5.1, 0.2)
        assert len(times) == len(expected)
        assert times == pytest.approx(expected / 2e-4, abs=1e-2)


def test_falling_ramp_fires_off_events_by_the_off_threshold():
    sensor = EventSensor((WIDTH, HEIGHT), IDEAL, seed=4)
    sensor.expose(uniform(6.0, 0.0), np.array([0.0, 1000.0]))
    events, exact = sensor.expose(uniform(0.0, -2.5), np.array([1000.0, 2000.0]))
    assert set(events["polarity"]) == {0}
    assert {len(times) for times in by_pixel(events, exact)} == {10}


@pytest.mark.parametrize("step_us", [1000.0, 37.0])  # longer and shorter than the dead time
def test_dead_time_is_added_to_every_interval(step_us):
    sensor = EventSensor((WIDTH, HEIGHT), but(IDEAL, refractory_us=300.0), seed=5)
    times_us = np.arange(0.0, 40_000.0, step_us)
    pixels = by_pixel(*sensor.expose(uniform(*2e-4 * times_us), times_us))
    for times in pixels:
        assert np.diff(times) == pytest.approx(np.full(len(times) - 1, 1000.0 + 300.0), abs=0.1)


def test_mismatched_pixels_fire_by_thresholds_of_their_own():
    model = but(PixelModel.ideal(), mismatch=0.1)
    sensor = EventSensor((80, 60), model, seed=7)
    for sign, threshold in ((1.0, sensor.threshold_on), (-1.0, sensor.threshold_off)):
        assert threshold.mean() == pytest.approx(0.1, abs=4 * 0.01 / np.sqrt(threshold.size))
        assert threshold.std() == pytest.approx(0.01, rel=0.05)
        sensor = EventSensor((80, 60), model, seed=7)
        events, exact = sensor.expose(uniform(0.0, sign * 8.0, shape=(60, 80)), np.array([0.0, 8e6]))
        for times, own in zip(by_pixel(events, exact, 80, 60), threshold.flat, strict=True):
            assert np.abs(np.diff(times) - 1e6 * own).max() < 2.0
            assert len(times) == 1 + int((8e6 - times[0]) / (1e6 * float(own)))
    assert abs(np.corrcoef(sensor.threshold_on.flat, sensor.threshold_off.flat)[0, 1]) < 4 / np.sqrt(4800)


def test_jitter_spreads_the_intervals_of_a_pixel():
    sensor = EventSensor((WIDTH, HEIGHT), but(PixelModel.ideal(), jitter=0.05), seed=8)
    pixels = by_pixel(*sensor.expose(uniform(0.0, 10.0), np.array([0.0, 1e6])))
    intervals = np.concatenate([np.diff(times) for times in pixels])
    assert intervals.mean() == pytest.approx(1e4, abs=4 * 500 / np.sqrt(len(intervals)))
    assert intervals.std() == pytest.approx(500.0, rel=0.05)


def test_dark_current_compresses_contrast():
    sensor = EventSensor((WIDTH, HEIGHT), but(IDEAL, dark_lux=2.0), seed=9)
    light = np.array([2.0, 2.0 * (2 * np.e**2 - 1)], np.float32)  # 4 and 4 e^2 lux with the dark current
    pictures = np.multiply.outer(light, np.ones((HEIGHT, WIDTH), np.float32))
    events, _ = sensor.expose(pictures, np.array([0.0, 1000.0]))
    assert len(events) / (WIDTH * HEIGHT) == pytest.approx(2.0 / 0.2, abs=1.0)


def test_no_light_at_all_is_quiet():
    sensor = EventSensor((WIDTH, HEIGHT), but(IDEAL, cutoff_hz_per_lux=10.0), seed=9)
    assert len(sensor.expose(np.zeros((3, HEIGHT, WIDTH), np.float32), np.arange(3) * 1e5)[0]) == 0


@pytest.mark.parametrize("model", [PixelModel.ideal(), PixelModel(jitter=0.0).signal_only()])
def test_events_are_not_bunched_at_the_times_of_pictures(model):
    # No reversals: they are at pictures and followed by a pause, for two thresholds.
    speed = np.diff(np.log(random_film(61, 8, (60, 80))), axis=0)
    film = np.exp(np.cumsum(0.03 + 0.3 * np.abs(speed), axis=0)).astype(np.float32)
    _, exact = EventSensor((80, 60), model, seed=8).expose(film, np.arange(60) * 1000.0)
    counts = np.histogram(exact % 1000.0, 20, (0.0, 1000.0))[0]
    expected = len(exact) / 20
    assert expected > 5000
    assert ((counts - expected) ** 2 / expected).sum() < 50.0  # chi-square, 19 degrees of freedom: p = 1e-4


# bandwidth


@pytest.mark.parametrize("lux", [1.0, 20.0, 250.0, 5000.0])
@pytest.mark.parametrize("steps", [1, 7, 300])
def test_step_response_is_the_exponential_of_a_low_pass_as_fast_as_the_light_allows(lux, steps):
    tau_us = 1e6 / (2 * np.pi * min(10.0 * lux, 3000.0))
    changes = np.concatenate([np.linspace(-3.0, -0.26, 120), np.linspace(0.21, 3.0, 120)]).reshape(HEIGHT, WIDTH)
    after = np.full((HEIGHT, WIDTH), lux, np.float32)
    before = (lux * np.exp(-changes)).astype(np.float32)
    model = but(IDEAL, cutoff_hz_per_lux=10.0, cutoff_max_hz=3000.0, refractory_us=2000 * tau_us)
    sensor = EventSensor((WIDTH, HEIGHT), model, seed=1)
    # A change makes every pixel fire; at the end of its long dead time its memory is the light it has settled on.
    sensor.expose(np.stack([before / np.e, before, before]), np.array([-4000.0, -3999.0, 0.0]) * tau_us)
    pictures = np.stack([before, *[after] * (steps + 1)])
    times_us = np.concatenate([[0.0], np.linspace(0.0, 30.0, steps + 1) * tau_us])
    events, exact = sensor.expose(pictures, times_us)
    assert len(events) == WIDTH * HEIGHT
    change = changes[events["y"], events["x"]]
    assert np.array_equal(events["polarity"], change > 0)
    threshold = np.where(change > 0, 0.2, 0.25)
    assert exact / tau_us == pytest.approx(-np.log(1.0 - threshold / np.abs(change)), abs=0.01)


def test_all_events_of_a_step_lie_on_the_exponential():
    model = but(PixelModel.ideal(), cutoff_max_hz=100.0)
    tau_us = 1e6 / (2 * np.pi * 100.0)
    sensor = EventSensor((WIDTH, HEIGHT), model, seed=2)
    pixels = by_pixel(*sensor.expose(uniform(0.0, 0.0, 2.0, 2.0), np.array([-1.0, 0.0, 0.0, 1e5])))
    for times in pixels:
        levels = 2.0 * (1.0 - np.exp(-times / tau_us))
        assert np.diff(levels) == pytest.approx(np.full(len(levels) - 1, 0.1), abs=1e-4)
        assert 2.0 - levels[-1] < 0.1


def test_ramps_come_later_by_the_time_constant():
    tau_us = 1e6 / (2 * np.pi * 200.0)
    times_us = np.arange(0.0, 50_001.0, 500.0)
    fast, slow = (
        by_pixel(*EventSensor((WIDTH, HEIGHT), model, 3).expose(uniform(*2e-4 * times_us), times_us))
        for model in (IDEAL, but(IDEAL, cutoff_max_hz=200.0))
    )
    for ideal, delayed in zip(fast, slow, strict=True):
        late = delayed > 20 * tau_us
        assert delayed[late] - ideal[: len(delayed)][late] == pytest.approx(np.full(late.sum(), tau_us), rel=1e-3)


def test_a_waver_at_the_cutoff_loses_three_decibels():
    model = but(PixelModel.ideal(0.01, 0.01), cutoff_max_hz=50.0)
    times_us = np.arange(0.0, 200_001.0, 20_000.0 / 64)
    pictures = uniform(*2.0 * np.sin(2e-6 * np.pi * 50.0 * times_us), shape=(2, 2))
    events, exact = EventSensor((2, 2), model, 4).expose(pictures, times_us)
    in_a_period = (exact > 150_000) & (exact <= 170_000)
    brighter = np.count_nonzero(events["polarity"][in_a_period] == 1) / 4
    assert brighter * 0.01 == pytest.approx(4.0 / np.sqrt(2.0), rel=0.01)
    # and an eighth of a period: the trough of the light is at 155 ms, a pixel needs 0.4 to 0.5 ms to see it is over
    trough_us = exact[(events["polarity"] == 1) & (exact > 155_000)].min()
    assert trough_us == pytest.approx(155_000 + 2_500 + 460, abs=100)


# leak, noise and hot pixels


def test_leak_is_a_ramp_of_light():
    leaking = EventSensor((WIDTH, HEIGHT), but(IDEAL, leak_hz=5.0, leak_spread=0.0, refractory_us=300.0), seed=11)
    steady = EventSensor((WIDTH, HEIGHT), but(IDEAL, refractory_us=300.0), seed=11)
    times_us = np.linspace(0.0, 4e6, 9)
    leaked, leaked_us = leaking.expose(uniform(*[2.0] * 9), times_us)
    ramped, ramped_us = steady.expose(uniform(*2.0 + 0.2 * 5.0 * times_us * 1e-6), times_us)
    assert np.array_equal(leaked["x"], ramped["x"])
    assert leaked_us == pytest.approx(ramped_us, abs=1.0)
    assert set(leaked["polarity"]) == {1}
    for times in by_pixel(leaked, leaked_us):
        assert np.diff(times) == pytest.approx(np.full(len(times) - 1, 200_300.0), abs=1.0)
        assert times[-1] > 4e6 - 200_300.0


def test_leakage_spreads_from_pixel_to_pixel():
    sensor = EventSensor((80, 60), but(IDEAL, leak_hz=4.0, leak_spread=0.3), seed=12)
    pixels = by_pixel(*sensor.expose(uniform(2.0, 2.0, shape=(60, 80)), np.array([0.0, 1e7])), 80, 60)
    rates = np.array([1e6 / np.diff(times).mean() for times in pixels])
    assert all(np.ptp(np.diff(times)) < 1.0 for times in pixels)
    assert np.abs(rates / sensor.leak_hz.reshape(-1) - 1.0).max() < 1e-3
    assert rates.mean() == pytest.approx(4.0, abs=4 * 1.25 / np.sqrt(4800))
    assert np.log(rates).std() == pytest.approx(0.3, rel=0.05)


def test_shot_noise_is_poisson_and_falls_with_the_light():
    model = but(PixelModel.ideal(), shot_noise_hz=8.0, shot_noise_lux=20.0)
    sensor = EventSensor((96, 60), model, seed=13)
    light = np.repeat([[0.0, 20.0, 180.0]], 32, axis=1).repeat(60, axis=0).astype(np.float32)  # a third each
    light.sort(axis=1)
    events, exact = sensor.expose(np.stack([light] * 5), np.linspace(0.0, 8e6, 5))
    for part, rate_hz in enumerate((8.0, 4.0, 0.8)):
        inside = events["x"] // 32 == part
        per_pixel = np.zeros((60, 32))
        np.add.at(per_pixel, (events["y"][inside], events["x"][inside] % 32), 1)
        assert_poisson(per_pixel, 8.0 * rate_hz)
        assert_poisson(np.histogram(exact[inside], 400, (0.0, 8e6))[0], 60 * 32 * rate_hz * 0.02)
        number = np.count_nonzero(inside)
        assert events["polarity"][inside].mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(number))
    gaps = np.concatenate([np.diff(times) for times in by_pixel(events, exact, 96, 60)[: 96 * 30]])
    assert gaps.min() < 1000.0  # no dead time was asked for


def test_pixels_of_low_threshold_are_noisier():
    sensor = EventSensor((96, 60), but(PixelModel.ideal(), shot_noise_hz=8.0, mismatch=0.2), seed=14)
    events, _ = sensor.expose(np.zeros((2, 60, 96), np.float32), np.array([0.0, 1e7]))
    for polarity, threshold in ((1, sensor.threshold_on), (0, sensor.threshold_off)):
        chosen = events[events["polarity"] == polarity]
        per_pixel = np.zeros((60, 96))
        np.add.at(per_pixel, (chosen["y"], chosen["x"]), 1)
        expected = 4.0 * 10.0 * 0.1 / threshold
        assert ((per_pixel - expected) / np.sqrt(expected)).std() == pytest.approx(1.0, abs=0.04)


def test_noise_resets_the_memory():
    model = but(IDEAL, shot_noise_hz=300.0)
    times_us = np.linspace(0.0, 40_000.0, 9)
    dark = but(model, dark_lux=0.0, shot_noise_lux=0.0)
    pixels = by_pixel(*EventSensor((WIDTH, HEIGHT), dark, 15).expose(uniform(*2e-4 * times_us), times_us))
    gaps = np.concatenate([np.diff(times) for times in pixels])
    assert gaps.max() == pytest.approx(1000.0, abs=0.1)  # whatever fired last, the threshold is counted from there
    assert np.mean(gaps < 999.0) == pytest.approx(1.0 - np.exp(-0.3), abs=0.02)


def test_hot_pixels_fire_at_their_rate_with_their_polarity_and_stay_the_same():
    model = but(PixelModel.ideal(), hot_fraction=0.01, hot_hz=200.0, hot_on_share=1.0)
    sensor = EventSensor((64, 48), model, seed=10)
    dark = np.zeros((2, 48, 64), np.float32)
    first, first_us = sensor.expose(dark, np.array([0.0, 5e6]))
    second, _ = sensor.expose(dark, np.array([5e6, 1e7]))
    pixels = set((first["y"].astype(int) * 64 + first["x"]).tolist())
    assert 10 < len(pixels) < 60
    assert pixels == set((second["y"].astype(int) * 64 + second["x"]).tolist()) == set(sensor.hot.tolist())
    assert set(first["polarity"]) == {1}
    assert_poisson(np.histogram(first_us, 500, (0.0, 5e6))[0], 2.0 * len(pixels))
    halves = EventSensor((64, 48), but(model, hot_fraction=0.5), seed=10).expose(dark, np.array([0.0, 1e5]))[0]
    assert set(halves["polarity"]) == {1}
    mixed = EventSensor((64, 48), but(model, hot_fraction=1.0, hot_on_share=0.25), seed=10)
    events, _ = mixed.expose(dark, np.array([0.0, 1e6]))
    polarities = np.zeros((2, 48, 64))
    np.add.at(polarities, (events["polarity"], events["y"], events["x"]), 1)
    assert not np.any((polarities[0] > 0) & (polarities[1] > 0))
    assert (polarities[1] > 0).mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.19 / 3072))


def test_background_is_that_of_a_picture_at_rest():
    model = but(PixelModel.ideal(), shot_noise_hz=4.0, leak_hz=1.0, refractory_us=300.0)
    sensor = EventSensor((64, 48), model, seed=9)
    light = np.zeros((48, 64), np.float32)
    light[:, 32:] = 60.0  # a quarter of the noise, all of the leak
    counts = [len(sensor.background(t, t + 20_000, light)) for t in range(0, 8_000_000, 20_000)]
    assert_poisson(counts, 0.02 * 48 * 32 * (5.0 + 2.0))
    events = sensor.background(1_000_000, 6_000_000, light)
    assert events["timestamp"].min() >= 1_000_000
    assert events["timestamp"].max() < 6_000_000
    assert np.diff(events["timestamp"]).min() >= 0
    per_pixel = np.zeros((48, 64))
    np.add.at(per_pixel, (events["y"], events["x"]), 1)
    expected = 5.0 * (np.where(light > 0, 1.0, 4.0) + sensor.leak_hz)
    assert ((per_pixel - expected) / np.sqrt(expected)).std() == pytest.approx(1.0, abs=0.05)
    dark = events["x"] < 32
    leak_hz = sensor.leak_hz[:, :32].mean()
    brighter = (2.0 + leak_hz) / (4.0 + leak_hz)
    assert events["polarity"][dark].mean() == pytest.approx(brighter, abs=4 * 0.5 / np.sqrt(dark.sum()))


def test_background_has_the_hot_pixels_of_the_sensor():
    sensor = EventSensor((64, 48), but(PixelModel.ideal(), hot_fraction=0.01, hot_hz=200.0), seed=10)
    exposed, _ = sensor.expose(np.zeros((2, 48, 64), np.float32), np.array([0.0, 2e6]))
    resting = sensor.background(0, 2_000_000, np.zeros((48, 64), np.float32))
    hot = [set(zip(*(e[name].tolist() for name in ("x", "y", "polarity")), strict=True)) for e in (exposed, resting)]
    assert hot[0] == hot[1]
    assert len(resting) == pytest.approx(400 * len(sensor.hot), abs=4 * np.sqrt(400 * len(sensor.hot)))


# all of it together


def test_dead_time_is_never_violated():
    film, times_us = random_film(40, 16), np.arange(40) * 1500.0
    events, exact = EventSensor((WIDTH, HEIGHT), EVERYTHING, 16).expose(film, times_us)
    gaps = [np.diff(times).min() for times in by_pixel(events, exact) if len(times) > 1]
    assert len(events) > 5000
    assert min(gaps) >= 300.0 - 1e-6
    assert min(gaps) < 310.0


@pytest.mark.parametrize("cut", [0, 1, 17, 38])
def test_memory_reaches_across_calls(cut):
    film, times_us = random_film(40, 17), np.arange(40) * 1500.0
    whole, parts = (EventSensor((WIDTH, HEIGHT), EVERYTHING, 17) for _ in range(2))
    events, exact = whole.expose(film, times_us)
    first, first_us = parts.expose(film[: cut + 1], times_us[: cut + 1])
    second, second_us = parts.expose(film[cut:], times_us[cut:])
    assert np.array_equal(exact, np.concatenate([first_us, second_us]))
    assert np.array_equal(events, join_events([first, second]))


def test_the_number_of_threads_changes_nothing():
    film, times_us = random_film(20, 18, (64, 64)), np.arange(20) * 1500.0
    before, runs = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            runs.append(EventSensor((64, 64), EVERYTHING, 18).expose(film, times_us))
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(runs[0][0], runs[1][0])
    assert np.array_equal(runs[0][1], runs[1][1])


def test_same_seed_same_sensor():
    film, times_us = random_film(5, 19), np.arange(5) * 2000.0
    runs = [EventSensor((WIDTH, HEIGHT), PixelModel(), seed).expose(film, times_us)[0] for seed in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_signal_only_is_the_same_sensor_without_noise():
    sensor = EventSensor((WIDTH, HEIGHT), EVERYTHING, 20)
    quiet = sensor.signal_only()
    assert np.array_equal(quiet.threshold_on, sensor.threshold_on)
    assert np.array_equal(quiet.threshold_off, sensor.threshold_off)
    still = uniform(3.0, 3.0)
    assert len(sensor.expose(still, np.array([0.0, 1e6]))[0]) > 1000
    assert len(quiet.expose(still, np.array([0.0, 1e6]))[0]) == 0


# arrays and errors


def test_merging_keeps_time_order_and_every_event():
    first, second = np.zeros(4, EVENT_DTYPE), np.zeros(3, EVENT_DTYPE)
    first["timestamp"], second["timestamp"], second["x"] = [1, 5, 5, 9], [0, 5, 12], 7
    merged = merge_events(first, second)
    assert merged.dtype == EVENT_DTYPE
    assert merged["timestamp"].tolist() == [0, 1, 5, 5, 5, 9, 12]
    assert merged["x"].tolist() == [7, 0, 0, 0, 7, 0, 7]
    assert len(merge_events(first[:0], second[:0])) == 0


@pytest.mark.parametrize("field", ["threshold_on", "mismatch", "leak_hz", "shot_noise_hz", "refractory_us", "dark_lux"])
def test_impossible_pixels_are_refused(field):
    for value in (-1.0, float("nan")):
        with pytest.raises(ValidationError, match=field):
            PixelModel(**{field: value})


def test_pictures_must_fit_the_sensor_and_the_times():
    sensor = EventSensor((WIDTH, HEIGHT), IDEAL, 0)
    with pytest.raises(SimulationError, match="12 x 20"):
        sensor.expose(np.ones((2, WIDTH, HEIGHT), np.float32), np.array([0.0, 1.0]))
    with pytest.raises(SimulationError, match="3 times"):
        sensor.expose(uniform(0.0, 1.0), np.array([0.0, 1.0, 2.0]))
    with pytest.raises(SimulationError, match="descend"):
        sensor.expose(uniform(0.0, 1.0), np.array([1.0, 0.0]))
