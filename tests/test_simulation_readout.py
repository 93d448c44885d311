"""The read-out of an event camera against its timing diagram and queueing theory."""

import numpy as np
import pytest
from pydantic import ValidationError

from edfv_ros.events import EVENT_DTYPE
from edfv_ros.simulation.event_model import join_events
from edfv_ros.simulation.readout import DAVIS346, DVXPLORER, Readout, SensorReadout

WIDTH, HEIGHT = 16, 10


def fired(times_us, x=0, y=0, polarity=1):
    events = np.zeros(len(times_us), EVENT_DTYPE)
    events["x"], events["y"], events["polarity"] = x, y, polarity
    return events, np.asarray(times_us, float)


def poisson(rate_per_us, number, seed):
    """Events of random pixels."""
    rng = np.random.default_rng(seed)
    times_us = np.cumsum(rng.exponential(1.0 / rate_per_us, number))
    return fired(times_us, rng.integers(0, WIDTH, number), rng.integers(0, HEIGHT, number), rng.integers(0, 2, number))


def read_in_parts(sensor, events, exact_us, cuts_us):
    parts, first = [], 0
    for until_us in (*cuts_us, np.inf):
        end = int(np.searchsorted(exact_us, until_us))
        parts.append(sensor.read(events[first:end], exact_us[first:end], until_us))
        first = end
    return join_events(parts)


def test_ideal_readout_only_rounds_down():
    events, exact_us = poisson(0.1, 1000, 0)
    read = SensorReadout((WIDTH, HEIGHT), Readout.ideal()).read(events, exact_us)
    assert np.array_equal(read["timestamp"], np.floor(exact_us))
    for name in ("x", "y", "polarity"):
        assert np.array_equal(read[name], events[name])


def test_stamps_are_multiples_of_the_resolution_after_the_latency():
    events, exact_us = poisson(0.1, 1000, 1)
    readout = Readout(timestamp_resolution_us=50, throughput_meps=0.0, latency_us=20.0)
    read = SensorReadout((WIDTH, HEIGHT), readout).read(events, exact_us)
    assert np.array_equal(read["timestamp"] % 50, np.zeros(1000))
    behind = exact_us + 20.0 - read["timestamp"]
    assert behind.min() >= 0.0
    assert behind.max() < 50.0


def test_scan_reads_each_pixel_once_in_the_time_of_its_row():
    events, exact_us = poisson(0.5, 20_000, 2)
    readout = Readout(scan_period_us=200.0, throughput_meps=0.0, latency_us=0.0)
    sensor = SensorReadout((WIDTH, HEIGHT), readout)
    read = sensor.read(events, exact_us)
    assert np.array_equal(read["timestamp"] % 200, 20 * read["y"].astype(int))
    assert np.all(np.diff(read["timestamp"]) >= 0)
    keys = list(zip(read["timestamp"].tolist(), read["x"].tolist(), read["y"].tolist(), strict=True))
    assert len(set(keys)) == len(keys)

    expected, polarities = [], {}  # the first event that a pixel fires between two readings
    for time, event in zip(exact_us, events, strict=True):
        x, y = int(event["x"]), int(event["y"])
        scanned = 20 * y + 200 * int(np.ceil((time - 20 * y) / 200))
        polarities.setdefault((scanned, x, y), int(event["polarity"]))
    expected = sorted((*key, polarity) for key, polarity in polarities.items())
    assert sorted((*key, int(p)) for key, p in zip(keys, read["polarity"], strict=True)) == expected
    assert sensor.lost == len(events) - len(expected) > 0


@pytest.mark.parametrize(
    "readout",
    [
        Readout(scan_period_us=200.0, throughput_meps=0.0),
        Readout(scan_period_us=200.0, throughput_meps=0.6, buffer_events=40),
        Readout(throughput_meps=0.4, buffer_events=20),
    ],
)
def test_reading_in_parts_is_reading_at_once(readout):
    events, exact_us = poisson(0.5, 5000, 3)
    whole, parts = SensorReadout((WIDTH, HEIGHT), readout), SensorReadout((WIDTH, HEIGHT), readout)
    at_once = whole.read(events, exact_us)
    in_parts = read_in_parts(parts, events, exact_us, (0.0, 777.0, 780.0, 2500.0, 6001.0))
    assert np.array_equal(at_once, in_parts)
    assert np.all(np.diff(in_parts["timestamp"]) >= 0)
    assert whole.lost == parts.lost > 0


def test_burst_leaves_one_by_one():
    sensor = SensorReadout((WIDTH, HEIGHT), Readout(throughput_meps=0.5, latency_us=3.0))
    read = sensor.read(*fired(np.full(1000, 100.0)))
    assert np.array_equal(read["timestamp"], 103 + 2 * np.arange(1, 1001))
    assert sensor.lost == 0
    after = sensor.read(*fired([2000.0, 5000.0]))  # one still queues behind the burst
    assert after["timestamp"].tolist() == [2105, 5005]


def test_waiting_in_the_queue_is_that_of_queueing_theory():
    events, exact_us = poisson(0.8, 400_000, 4)
    readout = Readout(throughput_meps=0.01, buffer_events=10**6, latency_us=0.0)
    read = SensorReadout((WIDTH, HEIGHT), readout).read(events, exact_us * 100)
    waited = read["timestamp"] + 0.5 - exact_us * 100 - 100.0
    assert waited.mean() == pytest.approx(100.0 * 0.8 / (2 * (1 - 0.8)), rel=0.05)  # Pollaczek and Khinchine, M/D/1


def test_output_never_exceeds_the_throughput():
    events, exact_us = poisson(3.0, 50_000, 5)
    sensor = SensorReadout((WIDTH, HEIGHT), Readout(throughput_meps=0.5, buffer_events=1000, latency_us=0.0))
    stamps = sensor.read(events, exact_us)["timestamp"]
    for window in (1, 10, 1000):
        assert (stamps[window:] - stamps[:-window]).min() >= 2 * window - 1
    assert len(stamps) + sensor.lost == 50_000
    assert len(stamps) == pytest.approx(exact_us[-1] / 2 + 1000, abs=3)


def test_what_does_not_fit_is_lost_and_counted():
    sensor = SensorReadout((WIDTH, HEIGHT), Readout(throughput_meps=1.0, buffer_events=100, latency_us=0.0))
    assert len(sensor.read(*fired(np.zeros(1000)))) == 101  # one on its way out and a hundred waiting
    assert sensor.lost == 899
    assert len(sensor.read(*fired(np.full(80, 50.0)))) == 50
    assert sensor.lost == 929


def test_presets_are_the_sensors_of_their_names():
    steady_us = np.arange(0.0, 1000.0, 1.0 / 11.9)
    davis = SensorReadout((346, 260), DAVIS346)
    read = davis.read(*fired(steady_us))
    assert davis.lost == 0
    assert (read["timestamp"] - steady_us).max() < 21.0
    explorer = SensorReadout((640, 480), DVXPLORER)
    times_us = np.sort(np.random.default_rng(6).uniform(0.0, 1e5, 20_000))
    read = explorer.read(*fired(times_us, np.arange(20_000) % 640, np.arange(20_000) % 480))
    assert explorer.lost == 0
    delay = np.sort(read["timestamp"]) - 20.0 - times_us  # in order, so only the mean means something
    assert delay.mean() == pytest.approx(100.0, abs=3.0)


@pytest.mark.parametrize("field", ["timestamp_resolution_us", "buffer_events"])
def test_impossible_readout_is_refused(field):
    with pytest.raises(ValidationError, match=field):
        Readout(**{field: 0})
