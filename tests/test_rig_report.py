"""The numbers of edfv rig show against first principles, and the doubts of edfv rig check."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edfv_ros.optics import ThinLens, VergenceBins
from edfv_ros.optics.resolution import best_vergence_error_dpt, depth_resolution, round_depths_m
from edfv_ros.rig import Rig, load_rig
from edfv_ros.rig.report import rig_doubts, rig_report

RIG_FILE = Path(__file__).parents[1] / "config" / "rig.yaml"
OPTICS = ThinLens(aperture_m=8e-3, image_distance_m=16e-3, pixel_pitch_m=18.5e-6)
BINS = VergenceBins(0.3, 4.2, 32)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_rig(RIG_FILE)


def changed(rig: Rig, **parts: dict[str, Any]) -> Rig:
    data = rig.model_dump()
    for part, values in parts.items():
        data[part] |= values
    return Rig.model_validate(data)


def test_the_example_rig(rig: Rig) -> None:
    report = rig_report(rig)
    assert report.blur_slope_px_per_dpt == pytest.approx(8e-3 * 16e-3 / 18.5e-6)
    assert report.blur_over_sweep_px == pytest.approx(6.919 * 3.9, rel=1e-3)
    assert report.bin_width_dpt == pytest.approx(3.9 / 32)
    assert report.sweep_duration_ms == 100.0
    assert report.field_of_view_deg[0] == pytest.approx(2 * math.degrees(math.atan(173 / 864.865)))
    assert report.rows[0].depth_m == pytest.approx(1 / 4.2) and report.rows[-1].depth_m == pytest.approx(1 / 0.3)
    assert rig_doubts(rig) == []


@pytest.mark.parametrize("depth_m", [0.25, 1.0, 3.0])
def test_a_row_agrees_with_the_blur(depth_m: float) -> None:
    row = depth_resolution(OPTICS, BINS, depth_m)
    near_px, far_px = OPTICS.blur_diameter_px(1.0 / depth_m, [row.field_near_m, row.field_far_m])
    assert near_px == pytest.approx(1.0) and far_px == pytest.approx(1.0)
    half_dpt = BINS.width_dpt / 2
    assert row.bin_width_m == pytest.approx(1 / (1 / depth_m - half_dpt) - 1 / (1 / depth_m + half_dpt))
    assert row.best_error_m == pytest.approx(depth_m**2 * best_vergence_error_dpt(OPTICS, BINS))


def test_infinity_is_not_resolved() -> None:
    row = depth_resolution(OPTICS, BINS, math.inf)
    assert row.vergence_dpt == 0.0 and row.field_near_m == pytest.approx(OPTICS.blur_slope_px_per_dpt)
    assert math.isinf(row.bin_width_m) and math.isinf(row.field_far_m) and math.isinf(row.best_error_m)


def test_the_best_error_is_that_of_a_maximum_likelihood_fit() -> None:
    """Fit noisy sampled peaks by least squares: the scatter must reach the bound and not beat it."""
    random = np.random.default_rng(1)
    snr, trials = 20.0, 400
    width_dpt = math.hypot(OPTICS.depth_of_field_dpt() / 2.3548, BINS.width_dpt / math.sqrt(12))
    candidates = np.linspace(1.8, 2.6, 1601)
    templates = np.exp(-((BINS.centres_dpt - candidates[:, None]) ** 2) / (2 * width_dpt**2))
    truth = random.uniform(2.0, 2.4, trials)
    peaks = np.exp(-((BINS.centres_dpt - truth[:, None]) ** 2) / (2 * width_dpt**2))
    noisy = peaks + random.normal(0.0, 1.0 / snr, peaks.shape)
    cost = (templates**2).sum(axis=1) - 2.0 * noisy @ templates.T
    scatter_dpt = float(np.std(candidates[cost.argmin(axis=1)] - truth))
    assert scatter_dpt == pytest.approx(best_vergence_error_dpt(OPTICS, BINS, snr), rel=0.15)


@pytest.mark.parametrize(("near_m", "far_m"), [(0.238, 3.33), (0.05, 0.06), (2.0, 90.0)])
def test_round_depths(near_m: float, far_m: float) -> None:
    depths_m = round_depths_m(near_m, far_m)
    assert depths_m == sorted(depths_m) and (depths_m[0], depths_m[-1]) == (near_m, far_m)
    for depth_m in depths_m[1:-1]:
        mantissa = depth_m / 10.0 ** math.floor(math.log10(depth_m) + 1e-9)
        assert any(mantissa == pytest.approx(step) for step in (1, 1.5, 2, 3, 5, 7))


def test_round_depths_to_infinity_end() -> None:
    depths_m = round_depths_m(0.2, math.inf)
    assert math.isinf(depths_m[-1]) and depths_m[-2] < 21.0


def test_a_sweep_that_reaches_infinity(rig: Rig) -> None:
    to_infinity = changed(
        rig,
        lens={"calibration": {"control": [0.0, 1.0], "vergence_up_dpt": [0.0, 4.2]}},
        sweep={"vergence_min_dpt": 0.0},
    )
    assert math.isinf(rig_report(to_infinity).far_m)


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ({"lens": {"aperture_mm": 0.5}}, "aperture"),
        ({"lens": {"image_distance_mm": 32.0}}, "image_distance_mm"),
        ({"sweep": {"frequency_hz": 50.0}}, "frequency_hz"),
        ({"volume": {"bins": 8}}, "volume.bins"),
        ({"lens": {"driver": "optotune_ld4"}}, "lens.port"),
    ],
)
def test_doubts(rig: Rig, parts: dict[str, dict[str, Any]], word: str) -> None:
    doubts = rig_doubts(changed(rig, **parts))
    assert any(word in doubt for doubt in doubts), doubts
    assert not any("\n" in doubt for doubt in doubts)


def test_what_is_not_corrected_is_said(rig: Rig) -> None:
    assert rig_doubts(rig) == []
    breathing = {"vergence_dpt": (0.3, 4.2), "scale": (1.0, 1.02)}
    doubts = rig_doubts(changed(rig, lens={"breathing": breathing, "temperature_coefficient_dpt_per_c": 0.07}))
    assert [doubt.split(" ")[0] for doubt in doubts] == ["lens.breathing", "lens.temperature_coefficient_dpt_per_c"]
    assert "yet" in doubts[0] and "lens.driver = virtual measures no temperature" in doubts[1]
    measured = {"driver": "optotune_icc", "port": "/dev/ttyACM0", "temperature_coefficient_dpt_per_c": 0.07}
    assert rig_doubts(changed(rig, lens=measured)) == []
