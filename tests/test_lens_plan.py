"""Sweep plans, what lenses can follow of them, and the calibration between."""

from pathlib import Path

import numpy as np
import pytest

from edfv_ros.errors import LensError
from edfv_ros.lens.focus_curve import FocusCurve
from edfv_ros.lens.plan import (
    SweepPlan,
    check_plan,
    fastest,
    generator_error_dpt,
    plan_of,
    rounded_for,
    set_points,
)
from edfv_ros.lens.response import EL_10_30, EL_16_40, LensResponse
from edfv_ros.rig import Calibration, Rig, load_rig
from edfv_ros.simulation.second_order import SecondOrder

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")


def rig_with(calibration: Calibration, *, coefficient: float = 0.0, sync: str = "telemetry") -> Rig:
    lens = RIG.lens.model_copy(update={"calibration": calibration, "temperature_coefficient_dpt_per_c": coefficient})
    return RIG.model_copy(update={"lens": lens, "sweep": RIG.sweep.model_copy(update={"sync": sync})})


BENT = Calibration(control=(0.0, 10.0, 20.0), vergence_up_dpt=(0.0, 1.0, 5.0), vergence_down_dpt=(-0.2, 0.8, 4.8))


@pytest.mark.parametrize(
    ("waveform", "expected"),
    [
        ("triangle", [0.0, 0.5, 1.0, 0.5]),
        ("sine", [0.0, 0.5, 1.0, 0.5]),
        ("sawtooth", [0.0, 0.25, 0.5, 0.75]),
    ],
)
def test_a_period_begins_at_the_far_turn(waveform: str, expected: list[float]) -> None:
    np.testing.assert_allclose(SweepPlan(0.0, 1.0, waveform, 1.0).levels(4), expected, atol=1e-12)


def test_rounded_turns_are_parabolas_that_reach_the_same_turns() -> None:
    plan = SweepPlan(0.0, 1.0, "triangle", 10.0, turn_s=0.01)  # a tenth of a period
    level = plan.levels(1000)
    assert (level[0], level[500]) == pytest.approx((0.0, 1.0), abs=1e-6)
    # mean of |x| over a window w about x: w/4 + x^2/w within half a window, |x| beyond; stretched by 1 / (1 - w)
    phase = np.arange(500) / 1000
    edge = np.minimum(phase, 0.5 - phase)
    corner = np.where(edge < 0.05, 0.05 + 2 * edge**2 / 0.1, 2 * edge)
    mean = np.where(phase < 0.25, corner, 1 - corner)
    np.testing.assert_allclose(level[:500], (mean - 0.05) / 0.9, atol=2e-3)
    assert (
        np.abs(np.diff(level, 2)).max() < 0.1 * np.abs(np.diff(SweepPlan(0, 1, "triangle", 10).levels(1000), 2)).max()
    )


def response(plan: SweepPlan) -> np.ndarray:
    """What a lens with a resonance of 150 Hz, hardly damped, does in a period once it has swept for a while, [4000]."""
    resonator = SecondOrder(150.0, 0.05, 1.0 / (4000 * plan.frequency_hz), 0.0)
    return resonator.filter(np.tile(plan.levels(4000), 12))[-4000:]


def test_a_lens_that_rings_comes_out_of_rounded_turns_without_ringing() -> None:
    def ripple(plan: SweepPlan) -> float:
        rate = np.diff(response(plan))[200:1800]  # of the straight part of the way up
        return float(rate.std() / rate.mean())

    sharp = SweepPlan(0.0, 1.0, "triangle", 4.0)
    rounded = rounded_for(sharp, EL_10_30)
    assert rounded.turn_s == pytest.approx(1 / 150)
    assert ripple(sharp) > 0.2 and ripple(rounded) < 0.02


def test_a_rounded_fly_back_hardly_overshoots() -> None:
    sharp = SweepPlan(0.0, 1.0, "sawtooth", 4.0)
    assert response(sharp).min() < -0.8 and response(rounded_for(sharp, EL_10_30)).min() > -0.05


def test_a_sine_has_no_turns_to_round() -> None:
    plan = SweepPlan(0.0, 1.0, "sine", 4.0)
    assert rounded_for(plan, EL_10_30) is plan


def test_the_rig_s_plan_is_rounded_only_where_telemetry_tells_the_track() -> None:
    calibration = Calibration(control=(0.0, 1.0), vergence_up_dpt=(0.3, 4.2))
    for sync, turn_s in (("telemetry", 1 / 52), ("trigger", 0.0)):
        plan = plan_of(rig_with(calibration, sync=sync), EL_16_40)
        assert (plan.min_dpt, plan.max_dpt, plan.waveform, plan.frequency_hz) == (0.3, 4.2, "triangle", 5.0)
        assert plan.turn_s == pytest.approx(turn_s) and plan.shape == "vergence"


@pytest.mark.parametrize(
    ("waveform", "response", "set_points_hz", "hz", "why"),
    [
        ("triangle", EL_10_30, None, 1 / 0.03, "settles in 15 ms"),
        ("triangle", EL_16_40, None, 20.0, "settles in 25 ms"),
        ("sawtooth", EL_16_40, None, 10.0, "fly-back"),
        ("sine", EL_16_40, None, 26.0, "half the resonance of 52 Hz"),
        ("sine", EL_10_30, None, 50.0, "held practical"),
        ("triangle", EL_10_30, 500.0, 15.625, "500 set points a second"),
        ("sawtooth", LensResponse("none"), 500.0, 31.25, "500 set points a second"),
        ("triangle", LensResponse("motor", max_rate_dpt_per_s=4.0), None, 0.5, r"4 dpt/s at most \(motor\)"),
        ("sine", LensResponse("motor", max_rate_dpt_per_s=4.0), None, 1 / np.pi, r"4 dpt/s at most \(motor\)"),
    ],
)
def test_the_limit_is_computed_and_named(
    waveform: str, response: LensResponse, set_points_hz: float | None, hz: float, why: str
) -> None:
    plan = SweepPlan(0.0, 4.0, waveform, 1000.0)
    assert fastest(plan, response, set_points_hz)[0] == pytest.approx(hz)
    with pytest.raises(LensError, match=why) as refused:
        check_plan(plan, response, set_points_hz)
    works_hz = float(str(refused.value).split()[-3])
    assert works_hz == pytest.approx(hz, rel=0.01)
    check_plan(SweepPlan(0.0, 4.0, waveform, works_hz), response, set_points_hz)  # what it names does work


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((2.0, 1.0, "triangle", 5.0), "from the far turn to the near one"),
        ((0.0, float("nan"), "triangle", 5.0), "from the far turn to the near one"),
        ((0.0, 1.0, "square", 5.0), "waveform square: give triangle, sine, sawtooth"),
        ((0.0, 1.0, "triangle", 0.0), "0 Hz is no sweep frequency"),
        ((0.0, 1.0, "triangle", 5.0, "power"), "shape power"),
        ((0.0, 1.0, "triangle", 5.0, "vergence", 0.06), "turns rounded over 60 ms do not fit"),
    ],
)
def test_a_plan_that_is_none_is_refused(arguments: tuple[float, float, str, float], word: str) -> None:
    with pytest.raises(LensError, match=word):
        SweepPlan(*arguments)


def test_a_triangle_in_vergence_has_a_constant_rate_through_a_bent_calibration() -> None:
    curve = FocusCurve(rig_with(BENT))
    points = set_points(SweepPlan(0.0, 4.8, "triangle", 1.0), curve, 8)
    np.testing.assert_allclose(points.vergence_dpt, [0, 1.2, 2.4, 3.6, 4.8, 3.6, 2.4, 1.2])
    assert points.direction.tolist() == [1, 1, 1, 1, 1, -1, -1, -1] and points.turns == (0, 4)
    np.testing.assert_allclose(curve.control(points.vergence_dpt[:5], 1), [0.0, 10.5, 13.5, 16.5, 19.5])


def test_a_triangle_in_control_follows_the_calibration() -> None:
    curve = FocusCurve(rig_with(BENT))
    points = set_points(SweepPlan(0.0, 4.8, "triangle", 1.0, "control"), curve, 8)
    np.testing.assert_allclose(curve.control(points.vergence_dpt[:5], 1), [0.0, 4.875, 9.75, 14.625, 19.5])


def test_the_calibration_goes_both_ways_on_both_branches() -> None:
    curve = FocusCurve(rig_with(BENT))
    assert (curve.min_dpt, curve.max_dpt) == (0.0, 4.8)
    for way, at_five in ((1, 0.5), (-1, 0.3)):
        assert curve.vergence_dpt(5.0, way) == pytest.approx(at_five)
        control = np.linspace(0.0, 20.0, 41)
        np.testing.assert_allclose(curve.control(curve.vergence_dpt(control, way), way), control, atol=1e-12)


def test_a_calibration_may_fall() -> None:
    curve = FocusCurve(rig_with(Calibration(control=(0.0, 10.0, 20.0), vergence_up_dpt=(5.0, 1.0, 0.0))))
    assert curve.control(3.0, 1) == pytest.approx(5.0) and curve.vergence_dpt(15.0, -1) == pytest.approx(0.5)
    assert curve.range_within(-5.0, 15.0) == pytest.approx((0.5, 5.0))


def test_a_warmer_lens_is_sent_elsewhere() -> None:
    curve = FocusCurve(rig_with(Calibration(control=(0.0, 10.0), vergence_up_dpt=(0.0, 10.0)), coefficient=0.05))
    curve.tell_temperature(30.0)  # counts as the calibration's
    assert curve.control(5.0, 1) == pytest.approx(5.0)
    curve.tell_temperature(40.0)
    assert curve.control(5.0, 1) == pytest.approx(4.5) and curve.vergence_dpt(4.5, 1) == pytest.approx(5.0)


def test_a_generator_is_off_by_the_bend_and_by_half_the_play() -> None:
    straight = Calibration(control=(0.0, 10.0), vergence_up_dpt=(0.0, 5.0), vergence_down_dpt=(-0.2, 4.8))
    plan = SweepPlan(0.5, 4.5, "triangle", 1.0)
    assert generator_error_dpt(plan, FocusCurve(rig_with(straight))) == pytest.approx(0.1)
    bent = Calibration(control=(0.0, 10.0, 20.0), vergence_up_dpt=(0.0, 1.0, 5.0))
    whole = SweepPlan(0.0, 5.0, "triangle", 1.0)
    assert generator_error_dpt(whole, FocusCurve(rig_with(bent))) == pytest.approx(1.5)  # 1 in place of 2.5
