"""The temporal filter, against what an exponential filter does to numbers worked out by hand."""

import numpy as np
import pytest

from edfv_ros.depth import DepthEstimate
from edfv_ros.depth.temporal_filter import AGREEMENT_SIGMAS, TemporalFilter
from edfv_ros.lens.sweep import FocusSweep

SWEEP_US = 100_000


def estimate(vergence_dpt, sigma_dpt=0.1):
    """An estimate of one row of pixels."""
    vergence_dpt = np.atleast_2d(np.array(vergence_dpt, np.float32))
    sigma_dpt = np.where(np.isfinite(vergence_dpt), np.float32(sigma_dpt), np.float32(np.nan))
    confidence = np.where(np.isfinite(vergence_dpt), np.float32(0.75), np.float32(0.0))
    return DepthEstimate(vergence_dpt, 1.0 / vergence_dpt, confidence, sigma_dpt)


def sweep(number):
    start_us = 1_700_000_000_000_000 + number * SWEEP_US
    ends_dpt = (0.3, 4.2) if number % 2 == 0 else (4.2, 0.3)
    return FocusSweep(np.array([start_us, start_us + SWEEP_US], np.float64), np.array(ends_dpt), number)


def test_equally_certain_depth_is_mixed_as_the_strength_says():
    filtered = TemporalFilter()
    first, second = estimate([2.0, 1.0]), estimate([2.1, 1.1])
    np.testing.assert_array_equal(filtered(first, sweep(0), 0.75).vergence_dpt, first.vergence_dpt)
    mixed = filtered(second, sweep(1), 0.75)
    np.testing.assert_allclose(mixed.vergence_dpt, [[2.025, 1.025]], rtol=1e-6)
    np.testing.assert_allclose(mixed.depth_m, 1 / mixed.vergence_dpt)
    np.testing.assert_allclose(mixed.sigma_dpt, 0.1, rtol=1e-6)
    np.testing.assert_array_equal(mixed.confidence, second.confidence)
    assert mixed.vergence_dpt.dtype == mixed.depth_m.dtype == mixed.sigma_dpt.dtype == np.float32
    assert second.vergence_dpt[0, 0] == np.float32(2.1), "the estimate is left as it is"
    kept = mixed.vergence_dpt.copy()
    filtered(estimate([2.05, 1.05]), sweep(2), 0.75)
    np.testing.assert_array_equal(mixed.vergence_dpt, kept, "and so is what was given out before")


def test_what_is_more_certain_counts_more():
    filtered = TemporalFilter()
    filtered(estimate([2.0], 0.3), sweep(0), 0.5)
    mixed = filtered(estimate([2.1], 0.1), sweep(1), 0.5)
    # weights 1 / 0.09 and 1 / 0.01: a tenth and nine tenths
    np.testing.assert_allclose(mixed.vergence_dpt, [[2.09]], rtol=1e-6)
    np.testing.assert_allclose(mixed.sigma_dpt, [[0.12]], rtol=1e-5)


def test_noise_gets_less_by_the_factor_of_an_exponential_filter():
    filtered = TemporalFilter()
    noise_dpt = np.random.default_rng(0).normal(0.0, 0.01, (200, 50, 50))
    strength = 0.6
    mixed = np.array(
        [filtered(estimate(2.0 + one), sweep(i), strength).vergence_dpt for i, one in enumerate(noise_dpt)]
    )
    expected_dpt = 0.01 * np.sqrt((1 - strength) / (1 + strength))
    assert mixed[20:].std() == pytest.approx(expected_dpt, rel=0.02)
    assert mixed[20:].mean() == pytest.approx(2.0, abs=1e-4)


def test_what_has_moved_starts_anew():
    filtered = TemporalFilter()
    allowed_dpt = AGREEMENT_SIGMAS * np.sqrt(2) * 0.1
    filtered(estimate([2.0, 2.0]), sweep(0), 0.9)
    mixed = filtered(estimate([2.0 + 0.99 * allowed_dpt, 2.0 + 1.01 * allowed_dpt]), sweep(1), 0.9)
    np.testing.assert_allclose(mixed.vergence_dpt[0], [2.0 + 0.099 * allowed_dpt, 2.0 + 1.01 * allowed_dpt], rtol=1e-6)


def test_what_is_unknown_stays_unknown_and_is_forgotten():
    filtered = TemporalFilter()
    filtered(estimate([2.0, np.nan]), sweep(0), 0.9)
    unknown = filtered(estimate([np.nan, 2.0]), sweep(1), 0.9)
    assert np.isnan([unknown.vergence_dpt[0, 0], unknown.depth_m[0, 0], unknown.sigma_dpt[0, 0]]).all()
    assert unknown.vergence_dpt[0, 1] == 2.0
    again = filtered(estimate([2.1, 2.0]), sweep(2), 0.9)
    assert again.vergence_dpt[0, 0] == np.float32(2.1), "nothing of before it was lost"


@pytest.mark.parametrize(("number", "kept"), [(1, True), (4, True), (6, False), (-3, False)])
def test_after_a_pause_or_from_the_start_again_nothing_of_before_is_left(number, kept):
    filtered = TemporalFilter()
    filtered(estimate([2.0]), sweep(0), 0.5)
    mixed = filtered(estimate([2.1]), sweep(number), 0.5).vergence_dpt[0, 0]
    assert mixed == pytest.approx(2.05 if kept else 2.1)


def test_strength_0_passes_everything_and_forgets():
    filtered = TemporalFilter()
    filtered(estimate([2.0]), sweep(0), 0.9)
    newest = estimate([2.1])
    assert filtered(newest, sweep(1), 0.0) is newest
    assert filtered(estimate([2.05]), sweep(2), 0.9).vergence_dpt[0, 0] == np.float32(2.05)


def test_no_uncertainty_at_all_divides_by_nothing():
    filtered = TemporalFilter()
    filtered(estimate([2.0], 0.0), sweep(0), 0.5)
    assert filtered(estimate([2.0], 0.0), sweep(1), 0.5).vergence_dpt[0, 0] == 2.0
