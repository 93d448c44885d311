"""The optical response of a lens against the theory of linear systems."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from edfv_ros.errors import SimulationError
from edfv_ros.simulation.lens_response import LENS_RESPONSES, LensDynamics, LensResponse
from edfv_ros.simulation.second_order import ColouredNoise, SecondOrder

RINGING = LensResponse(resonance_hz=150.0, damping=0.28)
EVERYTHING = LensResponse(
    delay_ms=1.3,
    timing_jitter_us=80.0,
    hysteresis_dpt=0.05,
    resonance_hz=60.0,
    damping=0.5,
    warm_up_c=8.0,
    warm_up_s=30.0,
    jitter_dpt=0.01,
)


def grid_us(duration_s, step_us=125.0):
    return np.arange(0.0, duration_s * 1e6 + 0.5 * step_us, step_us)


def triangle_dpt(times_us, frequency_hz=5.0, low=0.3, high=4.2):
    phase = times_us * 1e-6 * frequency_hz
    return low + (high - low) * (1.0 - np.abs(2.0 * (phase % 1.0) - 1.0))


def transfer(frequency_hz, resonance_hz, damping):
    ratio = frequency_hz / resonance_hz
    return 1.0 / (1.0 - ratio**2 + 2j * damping * ratio)


@pytest.mark.parametrize("frequency_hz", [5.0, 40.0, 100.0, 150.0, 290.0])
@pytest.mark.parametrize("damping", [0.28, 1.0, 2.5])
def test_a_sine_comes_out_with_the_amplitude_and_phase_of_the_transfer_function(frequency_hz, damping):
    response = LensResponse(resonance_hz=150.0, damping=damping, delay_ms=0.7)
    times = grid_us(0.6)
    wave = 2 * math.pi * frequency_hz * times * 1e-6
    optical = response.track(times, 2.0 + np.sin(wave), 0) - 2.0
    late = times > 200_000
    basis = np.column_stack([np.sin(wave), np.cos(wave), np.ones_like(wave)])[late]
    in_phase, quadrature, _ = np.linalg.lstsq(basis, optical[late], rcond=None)[0]
    joined = np.sinc(frequency_hz * 125e-6) ** 2  # a sine of straight lines is smaller
    expected = joined * transfer(frequency_hz, 150.0, damping) * np.exp(-2j * np.pi * frequency_hz * 0.7e-3)
    # A delay of part of a step joins its two samples by a straight line too, up to (pi f h)^2 / 2 of the amplitude.
    allowed = 0.002 + (math.pi * frequency_hz * 125e-6) ** 2 / 2.0
    assert abs(complex(in_phase, quadrature) - expected) < allowed * abs(expected)


@pytest.mark.parametrize("damping", [0.1, 0.28, 0.6])
def test_a_step_overshoots_and_peaks_as_a_damped_resonator_does(damping):
    times = grid_us(0.5, 25.0)
    command = np.where(times > 0.0, 3.0, 1.0)
    optical = LensResponse(resonance_hz=80.0, damping=damping).track(times, command, 0)
    root = math.sqrt(1.0 - damping**2)
    assert (optical.max() - 3.0) / 2.0 == pytest.approx(math.exp(-math.pi * damping / root), rel=1e-3)
    peak_us = 1e6 * math.pi / (2 * math.pi * 80.0 * root)
    assert times[np.argmax(optical)] == pytest.approx(peak_us, abs=40.0)
    assert optical[-1] == pytest.approx(3.0, abs=1e-6)


def step_response(name):
    """Time in ms and the response to a step of 1 dpt, without noise and play."""
    response = LENS_RESPONSES[name].model_copy(update={"jitter_dpt": 0.0, "hysteresis_dpt": 0.0})
    times = grid_us(0.2, 50.0)
    return times / 1e3, response.track(times, np.where(times > 0.0, 1.0, 0.0), 0)


def test_the_named_lenses_have_the_times_of_their_data_sheets():
    time_ms, small = step_response("el-10-30")
    assert time_ms[np.abs(small - 1.0) > 0.02].max() == pytest.approx(15.0, rel=0.05)
    time_ms, large = step_response("el-16-40")
    rise_ms = time_ms[np.argmax(large > 0.9)] - time_ms[np.argmax(large > 0.1)]
    assert rise_ms == pytest.approx(5.0, rel=0.03)
    assert time_ms[np.abs(large - 1.0) > 0.02].max() == pytest.approx(25.0, rel=0.02)


@pytest.mark.parametrize("damping", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("step_s", [1e-5, 1e-3, 0.05])
def test_the_resonator_is_exact_on_a_ramp_at_any_step(damping, step_s):
    omega = 2 * math.pi * 20.0
    time = step_s * np.arange(1, 60)
    response = SecondOrder(20.0, damping, step_s, 0.0).filter(time.copy())
    # x'' = w^2 (t - x) - 2 d w x' from rest: t - 2 d / w and the homogeneous solution with x = x' = 0.
    roots = np.roots([1.0, 2 * damping * omega, omega**2]).astype(complex)
    if damping == 1.0:
        shape = np.column_stack([np.exp(-omega * time), time * np.exp(-omega * time)])
        start = np.array([[1.0, 0.0], [-omega, 1.0]])
    else:
        shape = np.exp(np.outer(time, roots))
        start = np.array([[1.0, 1.0], roots])
    free = np.linalg.solve(start, np.array([2 * damping / omega, -1.0]))
    exact = time - 2 * damping / omega + (shape @ free).real
    assert response == pytest.approx(exact, abs=1e-9)


def test_the_channels_of_a_resonator_do_not_mix():
    samples = np.random.default_rng(0).standard_normal((200, 2))
    both = SecondOrder(30.0, 0.4, 1e-3, [1.0, -2.0]).filter(samples)
    for channel, start in enumerate([1.0, -2.0]):
        alone = SecondOrder(30.0, 0.4, 1e-3, start).filter(samples[:, channel])
        assert np.array_equal(both[:, channel], alone)


@pytest.mark.parametrize("delay_ms", [0.0, 0.5, 1.23])
def test_a_triangle_lags_by_the_delay_and_the_lag_of_the_resonator(delay_ms):
    response = LensResponse(resonance_hz=150.0, damping=0.28, delay_ms=delay_ms)
    times = grid_us(0.4)
    command = triangle_dpt(times)
    optical = response.track(times, command, 0)
    speed = 3.9 / 0.1
    assert response.lag_ms == pytest.approx(delay_ms + 1e3 * 0.56 / (2 * math.pi * 150.0))
    for middle_us, direction in ((250_000, 1), (350_000, -1)):
        row = np.searchsorted(times, middle_us)
        lag_ms = direction * (command[row] - optical[row]) / speed * 1e3
        assert lag_ms == pytest.approx(response.lag_ms, abs=1e-3)


def test_play_holds_rise_and_fall_apart_by_its_width():
    response = LensResponse(hysteresis_dpt=0.12)
    times = grid_us(0.4)
    command = triangle_dpt(times)
    optical = response.track(times, command, 0)
    level = np.arange(0.5, 4.0, 0.25)
    rise = (times >= 200_000) & (times <= 300_000)
    fall = (times >= 300_000) & (times <= 400_000)
    up = np.interp(level, command[rise], optical[rise])
    down = np.interp(level, command[fall][::-1], optical[fall][::-1])
    assert up == pytest.approx(level - 0.06, abs=1e-9)
    assert down == pytest.approx(level + 0.06, abs=1e-9)


def test_play_swallows_what_is_smaller_than_its_width():
    times = grid_us(0.2)
    command = 2.0 + 0.049 * np.sin(times * 1e-4)
    assert np.ptp(LensResponse(hysteresis_dpt=0.1).track(times, command, 0)) == 0.0
    assert np.ptp(LensResponse(hysteresis_dpt=0.09).track(times, command, 0)) == pytest.approx(0.008, abs=1e-4)


def test_warming_up_moves_the_focus_by_the_rigs_coefficient():
    response = LensResponse(warm_up_c=10.0, warm_up_s=0.5, running_s=0.2)
    times = grid_us(1.0)
    command = np.full(len(times), 2.0)
    optical = response.track(times, command, 0, temperature_coefficient_dpt_per_c=-0.067)
    for time_s in (0.0, 0.3, 1.0):
        warmth = 10.0 * (1.0 - math.exp(-(0.2 + time_s) / 0.5))
        assert np.interp(time_s * 1e6, times, optical) == pytest.approx(2.0 - 0.067 * warmth, abs=1e-9)
    assert np.array_equal(response.track(times, command, 0), command)


def test_delay_and_resonance_are_linear():
    response = LensResponse(resonance_hz=90.0, damping=0.4, delay_ms=2.1)
    rng = np.random.default_rng(3)
    times = grid_us(0.2)
    first, second = rng.uniform(0.0, 4.0, (2, len(times)))
    together = response.track(times, 0.7 * first - 0.2 * second, 0)
    apart = 0.7 * response.track(times, first, 0) - 0.2 * response.track(times, second, 0)
    assert together == pytest.approx(apart, abs=1e-12)


def test_focus_noise_has_its_deviation_and_its_band():
    times = grid_us(20.0)
    noise = LensResponse(jitter_dpt=0.02, jitter_hz=40.0).track(times, np.full(len(times), 2.0), 5) - 2.0
    assert noise.std() == pytest.approx(0.02, rel=0.1)
    power = np.abs(np.fft.rfft(noise * np.hanning(len(noise)))) ** 2
    frequency = np.fft.rfftfreq(len(noise), 125e-6)
    at = [power[np.abs(frequency - centre) < width].mean() for centre, width in ((10, 8), (40, 4), (160, 10))]
    assert at[1] / at[0] == pytest.approx(0.5, rel=0.2)
    assert at[2] / at[0] == pytest.approx(1.0 / (1.0 + 4.0**4), rel=0.25)


def test_noise_is_stationary_from_its_first_sample():
    first = [ColouredNoise(1.0, 30.0, 1e-3, [seed]).next(1)[0] for seed in range(600)]
    assert np.std(first) == pytest.approx(1.0, rel=0.1)
    assert abs(np.mean(first)) < 0.15


def test_timing_jitter_moves_a_ramp_in_time_and_never_ahead_of_its_command():
    times = grid_us(10.0)
    ramp = 1e-6 * times  # 1 dpt/s
    late_us = (ramp - LensResponse(delay_ms=2.0, timing_jitter_us=100.0).track(times, ramp, 2)) * 1e6
    late_us = late_us[times > 10_000]
    assert late_us.mean() == pytest.approx(2000.0, abs=20.0)
    assert late_us.std() == pytest.approx(100.0, rel=0.12)
    early = LensResponse(timing_jitter_us=100.0).track(times, ramp, 2) - ramp
    assert early.max() < 1e-12 < -early.min()


def test_the_same_seed_gives_the_same_response():
    times = grid_us(0.2)
    command = triangle_dpt(times)
    first = EVERYTHING.track(times, command, 1, temperature_coefficient_dpt_per_c=0.05)
    assert np.array_equal(first, EVERYTHING.track(times, command, 1, temperature_coefficient_dpt_per_c=0.05))
    assert not np.array_equal(first, EVERYTHING.track(times, command, 2, temperature_coefficient_dpt_per_c=0.05))


def test_steps_do_not_depend_on_how_many_are_taken_at_once():
    command = triangle_dpt(grid_us(0.2, 250.0))

    def dynamics():
        return LensDynamics(
            EVERYTHING, vergence_dpt=command[0], step_us=250.0, seed=7, temperature_coefficient_dpt_per_c=0.067
        )

    whole = dynamics().advance(command)
    live = dynamics()
    parts = [live.advance(command[first:last]) for first, last in ((0, 1), (1, 1), (1, 3), (3, 400), (400, 801))]
    assert np.concatenate(parts) == pytest.approx(whole, abs=1e-12)


def test_rows_may_be_uneven_and_coarse():
    fine = grid_us(0.4)
    turns = np.array([0.0, 100_000.0, 200_000.0, 300_000.0, 400_000.0])
    reference = RINGING.track(fine, triangle_dpt(fine), 0)
    assert RINGING.track(turns, triangle_dpt(turns), 0) == pytest.approx(reference[::800], abs=1e-9)
    uneven = np.unique(np.r_[turns, np.sort(np.random.default_rng(0).uniform(0.0, 4e5, 500))])
    response = RINGING.track(1.7e15 + uneven, triangle_dpt(uneven), 0)  # unix time
    assert response == pytest.approx(np.interp(uneven, fine, reference), abs=2e-3)


def test_an_ideal_lens_is_where_it_is_told_to_be():
    times = np.array([0.0, 3.0, 1000.0, 1001.0])
    command = np.array([1.0, 3.0, 2.0, 0.0])
    assert LensResponse().is_ideal and not any(LENS_RESPONSES[name].is_ideal for name in ("el-10-30", "el-16-40"))
    assert np.array_equal(LensResponse().track(times, command, 0), command)
    assert LensResponse().lag_ms == 0.0


@pytest.mark.parametrize("times", [[0.0], [0.0, 1.0, 1.0], [0.0, 1.0]])
def test_a_command_that_goes_back_in_time_is_refused(times):
    with pytest.raises(SimulationError, match="lens command"):
        RINGING.track(times, np.ones(3), 0)


@pytest.mark.parametrize("wrong", [{"resonance_hz": 2000.0}, {"damping": 0.0}, {"jitter_dpt": -0.1}, {"delay": 1.0}])
def test_an_impossible_lens_is_refused(wrong):
    with pytest.raises(ValidationError):
        LensResponse.model_validate(wrong)


def test_steps_too_long_for_the_resonance_are_refused():
    with pytest.raises(SimulationError, match="lens step"):
        LensDynamics(RINGING, vergence_dpt=1.0, step_us=1000.0, seed=0)
