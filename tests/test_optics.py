"""Thin-lens algebra against the lens equation itself, and the bins' round trip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.optics import ThinLens, VergenceBins

LENS = ThinLens(aperture_m=8e-3, image_distance_m=16e-3, pixel_pitch_m=18.5e-6)


@given(focus_m=st.floats(0.2, 10), depth_m=st.floats(0.2, 100))
def test_blur_follows_from_the_lens_equation(focus_m: float, depth_m: float) -> None:
    """Trace the cone of light: focal power focuses ``focus_m`` on the sensor, ``depth_m`` images elsewhere."""
    s = LENS.image_distance_m
    power_dpt = 1 / focus_m + 1 / s
    image_m = 1 / (power_dpt - 1 / depth_m)
    expected_px = LENS.aperture_m * abs(s - image_m) / image_m / LENS.pixel_pitch_m
    assert LENS.blur_diameter_px(1 / focus_m, depth_m) == pytest.approx(expected_px, rel=1e-6, abs=1e-9)


def test_depth_of_field_limits_are_as_blurred_as_allowed() -> None:
    near_m, far_m = LENS.depth_of_field_m(1.0, 1.5)
    assert near_m < 1.0 < far_m
    assert LENS.blur_diameter_px(1.0, [near_m, far_m]) == pytest.approx([1.5, 1.5])
    assert LENS.depth_of_field_m(1000.0)[1] == float("inf")


@given(st.floats(0.0, 3.0), st.floats(0.1, 5.0), st.integers(4, 256), st.floats(-1.0, 300.0))
def test_bin_positions_invert(low: float, span: float, count: int, position: float) -> None:
    bins = VergenceBins(low, low + span, count)
    assert bins.position(bins.vergence_dpt(position)) == pytest.approx(position, abs=1e-6)
    assert bins.position(bins.centres_dpt) == pytest.approx(np.arange(count), abs=1e-6)
    assert np.diff(bins.edges_dpt) == pytest.approx(np.full(count, bins.width_dpt))


@pytest.mark.parametrize("direction", [1, -1])
def test_bin_edge_times(direction: int) -> None:
    bins = VergenceBins(1.0, 3.0, 4)
    vergence = np.array([0.5, 3.5])[::direction]
    sweep = FocusSweep(np.array([1000.0, 4000.0]), vergence)
    assert sweep.direction == direction
    assert sweep.bin_edge_times_us(bins).tolist() == [1500, 2000, 2500, 3000, 3500]


def test_bins_that_a_sweep_does_not_reach_stay_empty() -> None:
    bins = VergenceBins(0.0, 4.0, 4)
    sweep = FocusSweep(np.array([0.0, 1000.0]), np.array([1.0, 3.0]))
    assert sweep.bin_edge_times_us(bins).tolist() == [0, 0, 500, 1000, 1000]
