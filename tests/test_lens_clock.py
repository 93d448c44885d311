"""Clock models and waveforms."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.errors import LensError
from edfv_ros.lens.clock import ClockModel, RoundTrip
from edfv_ros.lens.waveform import sweep_between, waveform_vergence_dpt
from edfv_ros.rig import load_rig

RIG = Path(__file__).parents[1] / "config" / "rig.yaml"
T0 = 1_700_000_000_000_000


@given(
    drift_ppm=st.floats(-500, 500),
    offset_us=st.integers(0, 10**12),
    jitter_us=st.integers(0, 3000),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_offset_and_drift_are_found_under_load(drift_ppm: float, offset_us: int, jitter_us: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clock = ClockModel()
    host_us = 0
    for _ in range(120):
        host_us += 500_000
        there, back = 100 + rng.exponential(jitter_us + 1e-9, 2)
        device_us = round((host_us + there) * (1 - drift_ppm * 1e-6)) + offset_us
        clock.add(RoundTrip(T0 + host_us, device_us, T0 + host_us + round(there + back)))
    for host in (30_000_000, 60_000_000, 61_000_000):
        device_us = round(host * (1 - drift_ppm * 1e-6)) + offset_us
        assert clock.host_us(device_us) == pytest.approx(T0 + host, abs=20 + 0.6 * jitter_us, rel=0)
        assert abs(clock.host_us(device_us) - T0 - host) < 4 * clock.uncertainty_us + 5
    if jitter_us < 100:
        assert clock.drift_ppm == pytest.approx(drift_ppm, abs=5)


def test_microseconds_survive_the_size_of_unix_time() -> None:
    clock = ClockModel()
    for second in range(10):
        clock.add(RoundTrip(T0 + second * 1_000_000, second * 1_000_000, T0 + second * 1_000_000))
    assert [clock.host_us(us) - T0 for us in (0, 1, 2, 9_999_999)] == [0, 1, 2, 9_999_999]
    assert clock.uncertainty_us == 0


def test_a_device_that_restarts_is_followed_and_counted() -> None:
    clock = ClockModel()
    for second in range(5):
        clock.add(RoundTrip(T0 + second * 1_000_000, 10**9 + second * 1_000_000, T0 + second * 1_000_000 + 200))
    clock.add(RoundTrip(T0 + 6_000_000, 1000, T0 + 6_000_200))
    assert clock.restarts == 1
    assert clock.host_us(2000) == T0 + 6_001_100


def test_without_a_round_trip_there_is_no_time() -> None:
    clock = ClockModel()
    clock.add(RoundTrip(T0 + 10, 5, T0))
    assert not clock.ready
    with pytest.raises(LensError, match="no time query"):
        clock.host_us(0)


@pytest.mark.parametrize("waveform", ["triangle", "sine", "sawtooth"])
@pytest.mark.parametrize("bins", [4, 32, 256])
def test_a_sweep_follows_its_waveform_within_a_hundredth_of_a_bin(waveform: str, bins: int) -> None:
    rig = load_rig(RIG)
    rig = rig.model_copy(
        update={
            "sweep": rig.sweep.model_copy(update={"waveform": waveform}),
            "volume": rig.volume.model_copy(update={"bins": bins}),
        }
    )
    half = rig.sweep.duration_us
    phase = np.linspace(0, 1 - 1e-9, 2000)
    if waveform != "sawtooth":
        phase /= 2
    for direction in (1,) if waveform == "sawtooth" else (1, -1):
        sweep = sweep_between(rig, T0, T0 + half, direction)
        assert sweep.direction == direction
        times = T0 + half * phase / phase[-1] * (1 - 1e-9)
        expected = waveform_vergence_dpt(rig, phase if direction > 0 else phase + 0.5)
        got = np.interp(times, sweep.timestamps_us, sweep.vergence_dpt)
        assert np.abs(got - expected).max() < 0.01 * rig.bins.width_dpt
        assert np.all(np.diff(sweep.vergence_dpt) * direction > 0)
