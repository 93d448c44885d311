"""The event pixels against arithmetic and Poisson statistics."""

import numpy as np
import pytest

from edfv_ros.errors import SimulationError
from edfv_ros.events import EVENT_DTYPE
from edfv_ros.simulation import EventSensor, PixelModel
from edfv_ros.simulation.event_model import join_events, merge_events

WIDTH, HEIGHT = 20, 12
IDEAL = PixelModel(
    threshold_on=0.2, threshold_off=0.25, mismatch=0.0, jitter=0.0, refractory_us=0.0, noise_hz=0.0, hot_fraction=0.0
)


def ramp(*levels):
    """The same log intensity everywhere, [K, H, W]."""
    return np.multiply.outer(np.array(levels, np.float32), np.ones((HEIGHT, WIDTH), np.float32))


def by_pixel(events, exact):
    order = np.lexsort((exact, events["x"], events["y"]))
    index = events["y"][order].astype(int) * WIDTH + events["x"][order]
    return np.split(exact[order], np.searchsorted(index, np.arange(1, WIDTH * HEIGHT)))


def test_ramp_gives_exactly_the_events_it_holds_at_exact_times():
    sensor = EventSensor((WIDTH, HEIGHT), IDEAL, seed=3)
    first = by_pixel(*sensor.expose(ramp(0.0, 2.0), np.array([0.0, 10_000.0])))
    events, exact = sensor.expose(ramp(2.0, 3.0, 5.1), np.array([10_000.0, 15_000.0, 25_500.0]))  # 0.2 per ms
    assert set(events["polarity"]) == {1}
    for before, times in zip(first, by_pixel(events, exact), strict=True):
        level = before[-1] * 2e-4  # log intensity at which the pixel fired last
        expected = np.arange(level + 0.2, 5.1, 0.2)
        assert len(times) == len(expected)
        assert times == pytest.approx(expected / 2e-4, abs=1e-2)


def test_falling_ramp_fires_off_events_by_the_off_threshold():
    sensor = EventSensor((WIDTH, HEIGHT), IDEAL, seed=4)
    sensor.expose(ramp(6.0, 0.0), np.array([0.0, 1000.0]))
    events, exact = sensor.expose(ramp(0.0, -2.5), np.array([1000.0, 2000.0]))
    assert set(events["polarity"]) == {0}
    assert {len(times) for times in by_pixel(events, exact)} == {10}


def test_dead_time_is_added_to_every_interval():
    model = PixelModel(threshold_on=0.2, mismatch=0.0, jitter=0.0, refractory_us=300.0)
    sensor = EventSensor((WIDTH, HEIGHT), model, seed=5)
    pixels = by_pixel(*sensor.expose(ramp(*np.linspace(0.0, 8.0, 41)), np.linspace(0.0, 40_000.0, 41)))
    for times in pixels:
        assert np.diff(times) == pytest.approx(np.full(len(times) - 1, 1000.0 + 300.0), abs=0.1)


def test_memory_reaches_across_calls():
    whole, halves = (EventSensor((WIDTH, HEIGHT), PixelModel(jitter=0.0), seed=6) for _ in range(2))
    levels, times = ramp(0.0, 1.0, -0.5, 0.2, 1.2), np.arange(5) * 3000.0
    at_once, _ = whole.expose(levels, times)
    parts = [halves.expose(levels[:3], times[:3])[0], halves.expose(levels[2:], times[2:])[0]]
    assert np.array_equal(np.sort(at_once, order=["timestamp", "y", "x"]), np.sort(join_events(parts), order=[
        "timestamp", "y", "x"]))  # fmt: skip


def test_mismatch_spreads_thresholds_as_told():
    sensor = EventSensor((80, 60), PixelModel(threshold_on=0.1, mismatch=0.1, jitter=0.0, refractory_us=0.0), seed=7)
    levels = np.multiply.outer(np.array([0.0, 10.0], np.float32), np.ones((60, 80), np.float32))
    events, _ = sensor.expose(levels, np.array([0.0, 1e6]))
    counts = np.bincount(events["y"].astype(int) * 80 + events["x"], minlength=4800)
    thresholds = 10.0 / counts
    assert thresholds.mean() == pytest.approx(0.1, rel=0.02)
    assert thresholds.std() == pytest.approx(0.01, rel=0.1)


def test_events_are_not_bunched_at_rendered_steps():
    phases = np.random.default_rng(8).uniform(0.0, 2 * np.pi, (HEIGHT, WIDTH))
    levels = np.sin(np.multiply.outer(np.arange(60) / 5.0, np.ones_like(phases)) + phases).astype(np.float32)
    sensor = EventSensor((WIDTH, HEIGHT), PixelModel(refractory_us=50.0), seed=8)
    _, exact = sensor.expose(levels, np.arange(60) * 1000.0)
    phase = np.histogram(exact % 1000.0, 10, (0.0, 1000.0))[0] / len(exact)
    assert len(exact) > 2000
    assert phase.min() > 0.07
    assert phase.max() < 0.13


def test_background_noise_is_poisson():
    model = PixelModel(noise_hz=4.0, hot_fraction=0.0)
    sensor = EventSensor((64, 48), model, seed=9)
    rate = 4.0 * 64 * 48
    counts = np.array([len(sensor.noise(t, t + 20_000)) for t in range(0, 8_000_000, 20_000)])
    expected = rate * 0.02
    assert counts.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / len(counts)))
    assert counts.var() == pytest.approx(expected, rel=0.3)
    events = sensor.noise(1_000_000, 6_000_000)
    gaps = np.diff(events["timestamp"])
    assert gaps.min() >= 0
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert events["polarity"].mean() == pytest.approx(0.5, abs=0.02)
    per_pixel = np.bincount(events["y"].astype(int) * 64 + events["x"], minlength=64 * 48)
    assert per_pixel.var() == pytest.approx(per_pixel.mean(), rel=0.15)


def test_hot_pixels_fire_at_their_rate_and_stay_the_same():
    sensor = EventSensor((64, 48), PixelModel(noise_hz=0.0, hot_fraction=0.002, hot_hz=200.0), seed=10)
    first, second = sensor.noise(0, 1_000_000), sensor.noise(1_000_000, 2_000_000)
    pixels = {(int(e["x"]), int(e["y"])) for e in first}
    assert pixels
    assert pixels == {(int(e["x"]), int(e["y"])) for e in second}
    assert len(first) == pytest.approx(200 * len(pixels), rel=0.25)


def test_same_seed_same_sensor():
    levels = np.random.default_rng(0).normal(0.0, 1.0, (5, HEIGHT, WIDTH)).astype(np.float32)
    times = np.arange(5) * 2000.0
    runs = [EventSensor((WIDTH, HEIGHT), PixelModel(), seed).expose(levels, times)[0] for seed in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_merging_keeps_time_order_and_every_event():
    first, second = np.zeros(4, EVENT_DTYPE), np.zeros(3, EVENT_DTYPE)
    first["timestamp"], second["timestamp"], second["x"] = [1, 5, 5, 9], [0, 5, 12], 7
    merged = merge_events(first, second)
    assert merged.dtype == EVENT_DTYPE
    assert merged["timestamp"].tolist() == [0, 1, 5, 5, 5, 9, 12]
    assert merged["x"].tolist() == [7, 0, 0, 0, 7, 0, 7]
    assert len(merge_events(first[:0], second[:0])) == 0


@pytest.mark.parametrize("field", ["threshold_on", "mismatch", "noise_hz", "refractory_us"])
def test_impossible_pixels_are_refused(field):
    with pytest.raises(SimulationError, match=field):
        PixelModel(**{field: -1.0})
    with pytest.raises(SimulationError, match=field):
        PixelModel(**{field: float("nan")})
