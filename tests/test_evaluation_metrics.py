"""Scores against answers worked out by hand."""

import math

import numpy as np
import pytest

from edfv_ros.evaluation.boundaries import THRESHOLDS_PERCENT, boundary_f1
from edfv_ros.evaluation.metrics import comparison_metrics, in_sweep_range
from edfv_ros.evaluation.uncertainty import ause, share_within
from edfv_ros.optics import VergenceBins

BINS = VergenceBins(0.5, 4.5, 32)  # an eighth of a dioptre each, from 2 m to 0.22 m


def step(left: float, right: float, at: int = 4) -> np.ndarray:
    """An image [6, 8] of two depths side by side."""
    return np.where(np.arange(8) < at, left, right)[None].repeat(6, axis=0).astype(np.float32)


def test_a_contour_in_its_place_scores_one_and_beside_it_zero() -> None:
    truth_m = step(1.0, 2.0)
    assert boundary_f1(truth_m, truth_m) == pytest.approx(1.0)
    assert boundary_f1(3.0 * truth_m, truth_m) == pytest.approx(1.0), "scale does not matter"
    assert boundary_f1(step(1.0, 2.0, at=5), truth_m) == 0.0
    assert boundary_f1(step(2.0, 1.0), truth_m) == 0.0, "the near side matters"


def test_a_step_too_small_is_missed_at_the_higher_thresholds_only() -> None:
    weights = THRESHOLDS_PERCENT / THRESHOLDS_PERCENT.sum()
    expected = weights[THRESHOLDS_PERCENT < 12.0].sum()
    assert 0.0 < expected < 1.0
    assert boundary_f1(step(1.0, 1.12), step(1.0, 2.0)) == pytest.approx(expected)


def test_precision_and_recall_make_f1() -> None:
    """Of two predicted contours one is right, and there is one: precision 1/2, recall 1, F1 2/3."""
    predicted_m = step(1.0, 2.0)
    predicted_m[:, 6:] = 4.0
    assert boundary_f1(predicted_m, step(1.0, 2.0)) == pytest.approx(2 / 3)
    assert boundary_f1(step(1.0, 2.0), predicted_m) == pytest.approx(2 / 3)


def test_unknown_truth_is_ignored_and_unknown_depth_is_no_contour() -> None:
    truth_m = step(1.0, 2.0)
    holes_m = truth_m.copy()
    holes_m[:3] = np.nan
    assert boundary_f1(holes_m, truth_m) == pytest.approx(2 / 3), "half of the contour is missed: recall 1/2"
    assert boundary_f1(truth_m, holes_m) == pytest.approx(1.0)
    mask = np.zeros(truth_m.shape, bool)
    mask[3:] = True
    assert boundary_f1(holes_m, truth_m, mask) == pytest.approx(1.0)


def test_without_contours_there_is_no_score_but_an_invented_one_is_wrong() -> None:
    flat_m = step(1.0, 1.0)
    assert math.isnan(boundary_f1(flat_m, flat_m))
    assert boundary_f1(step(1.0, 2.0), flat_m) == 0.0


def test_shares_within_sigmas() -> None:
    error = np.array([0.5, -1.5, 2.5, -0.1, 9.0])
    sigma = np.array([1.0, 1.0, 1.0, 0.1, np.nan])
    assert share_within(error, sigma, 1.0) == pytest.approx(2 / 4)
    assert share_within(error, sigma, 2.0) == pytest.approx(3 / 4)
    assert math.isnan(share_within(error, np.full(5, np.nan), 1.0))


def test_shares_of_an_honest_gaussian() -> None:
    random = np.random.default_rng(0)
    sigma = random.uniform(0.1, 3.0, 200_000)
    error = sigma * random.standard_normal(sigma.size)
    assert share_within(error, sigma, 1.0) == pytest.approx(0.6827, abs=0.004)
    assert share_within(error, sigma, 2.0) == pytest.approx(0.9545, abs=0.002)


def test_ause_by_hand() -> None:
    error = np.array([0.1, 0.2, 0.6])
    # remaining means, oracle: 0.3, 0.15, 0.1; the other way round: 0.3, 0.4, 0.6
    assert ause(error, np.array([1.0, 2.0, 3.0])) == pytest.approx(0.0)
    assert ause(error, np.array([3.0, 2.0, 1.0])) == pytest.approx((0.0 + 0.25 + 0.5) / 3)
    # no order at all: 0.3, 0.3, 0.3, however the pixels are listed
    for listed in (error, error[::-1]):
        assert ause(listed, np.ones(3)) == pytest.approx((0.0 + 0.15 + 0.2) / 3)
    assert ause(np.append(error, 7.0), np.array([1.0, 2.0, 3.0, np.nan])) == pytest.approx(0.0)
    assert math.isnan(ause(error, np.full(3, np.nan)))


def test_the_range_of_a_sweep_reaches_half_a_bin_beyond_its_ends() -> None:
    truth_dpt = np.array([[0.5 - 0.07, 0.5 - 0.06, 0.5, 4.5, 4.56, 4.57]])
    assert in_sweep_range((1.0 / truth_dpt).astype(np.float32), BINS).tolist() == [
        [False, True, True, True, True, False]
    ]
    assert not in_sweep_range(np.array([[np.nan, 0.0, np.inf]], np.float32), BINS).any()


def scored(vergence_dpt: np.ndarray, truth_m: np.ndarray, sigma_dpt: float = 0.1) -> dict[str, float]:
    vergence_dpt = vergence_dpt.astype(np.float32)
    same = np.zeros(truth_m.shape, bool)
    same[:, :2] = True
    return comparison_metrics(vergence_dpt, np.full_like(vergence_dpt, sigma_dpt), truth_m, BINS, same)


def test_scores_by_hand() -> None:
    """Depths of 1, 1, 1.1 and 1.3 m where all is 1 m."""
    metrics = scored(1.0 / np.array([[1.0, 1.0, 1.1, 1.3]]), np.ones((1, 4), np.float32))
    assert metrics["known_fraction"] == 1.0
    assert metrics["abs_rel"] == metrics["known_abs_rel"] == pytest.approx(0.4 / 4)
    assert metrics["rmse_m"] == pytest.approx(math.sqrt((0.01 + 0.09) / 4))
    assert metrics["rmse_talk"] == pytest.approx(metrics["rmse_m"] / 30.0)
    assert metrics["log10"] == pytest.approx((math.log10(1.1) + math.log10(1.3)) / 4)
    assert [metrics[f"delta{power}"] for power in (1, 2, 3)] == [0.75, 1.0, 1.0]
    assert metrics["median_error_bins"] == pytest.approx((0.0 + (1 - 1 / 1.1) / 0.125) / 2, rel=1e-5)
    assert metrics["same_median_error_bins"] == pytest.approx(0.0, abs=1e-6)
    # errors in vergence 0, 0, 0.0909, 0.231
    assert metrics["within_1_sigma"] == 0.75
    assert metrics["within_2_sigma"] == 0.75


def test_silence_is_the_middle_of_the_sweep() -> None:
    truth_m = np.ones((1, 4), np.float32)
    answered = scored(np.array([[1.0, 1.0, 2.5, 2.5]]), truth_m)  # 2.5 dpt is the middle
    silent = scored(np.array([[1.0, 1.0, np.nan, np.nan]]), truth_m)
    assert silent["known_fraction"] == 0.5
    for name in ("abs_rel", "rmse_m", "log10", "delta1", "delta2", "delta3", "median_error_bins"):
        assert silent[name] == pytest.approx(answered[name])
    assert silent["abs_rel"] == pytest.approx(0.6 / 2)
    assert (silent["known_abs_rel"], silent["known_delta1"]) == (0.0, 1.0)
    assert silent["within_1_sigma"] == 1.0, "only what was said can be too bold"


def test_what_the_sweep_cannot_focus_does_not_count() -> None:
    truth_m = np.array([[1.0, 1.0, 1.0, 20.0]], np.float32)
    metrics = scored(np.array([[1.0, 1.0, 1.0, 1.0]]), truth_m)
    assert metrics["abs_rel"] == 0.0 and metrics["delta1"] == 1.0


def test_nothing_to_score_is_nan() -> None:
    metrics = scored(np.ones((1, 4)), np.full((1, 4), np.nan, np.float32))
    assert all(math.isnan(value) for value in metrics.values())
