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
    rounded,
    rounded_for,
    set_points,
    stray_dpt,
)
from edfv_ros.lens.response import EL_10_30, EL_16_40, LensResponse, response_of
from edfv_ros.lens.waveform import sweep_between, waveform_vergence_dpt
from edfv_ros.rig import Calibration, Response, Rig, load_rig
from edfv_ros.simulation.lens_plan import plan_sweeps
from edfv_ros.simulation.lens_response import LensResponse as SimulatedResponse
from edfv_ros.simulation.second_order import SecondOrder

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")


def rig_with(calibration: Calibration, *, coefficient: float = 0.0) -> Rig:
    lens = RIG.lens.model_copy(update={"calibration": calibration, "temperature_coefficient_dpt_per_c": coefficient})
    return RIG.model_copy(update={"lens": lens})


def ringing_rig(driver: str = "edfv", sync: str = "trigger", hz: float = 5.0, waveform: str = "triangle") -> Rig:
    """A lens with a resonance of 80 Hz and a damping of 0.4."""
    lens = {"driver": driver, "port": "p", "response": Response(resonance_hz=80.0, damping=0.4)}
    sweep = {"sync": sync, "frequency_hz": hz, "waveform": waveform}
    return RIG.model_copy(
        update={"lens": RIG.lens.model_copy(update=lens), "sweep": RIG.sweep.model_copy(update=sweep)}
    )


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
    np.testing.assert_allclose(SweepPlan(0.0, 1.0, waveform, 1.0).level(np.arange(4) / 4), expected, atol=1e-12)


def levels(plan: SweepPlan, points: int) -> np.ndarray:
    return plan.level(np.arange(points) / points)


def test_rounded_turns_are_parabolas_that_reach_the_same_turns() -> None:
    plan = SweepPlan(0.0, 1.0, "triangle", 10.0, turn_s=0.01)  # a tenth of a period
    level = levels(plan, 1000)
    assert (level[0], level[500]) == pytest.approx((0.0, 1.0), abs=1e-6) and plan.near_phase == 0.5
    # mean of |x| over a window w about x: w/4 + x^2/w within half a window, |x| beyond; stretched by 1 / (1 - w)
    phase = np.arange(500) / 1000
    edge = np.minimum(phase, 0.5 - phase)
    corner = np.where(edge < 0.05, 0.05 + 2 * edge**2 / 0.1, 2 * edge)
    mean = np.where(phase < 0.25, corner, 1 - corner)
    np.testing.assert_allclose(level[:500], (mean - 0.05) / 0.9, atol=2e-3)


def test_a_rounded_fly_back_is_two_parabolas_at_the_end_of_the_period() -> None:
    plan = SweepPlan(0.0, 1.0, "sawtooth", 5.0, turn_s=0.04)  # a fifth of a period
    assert plan.near_phase == pytest.approx(
        0.82, abs=1e-3
    )  # where the fall begins to win over the rise: 1 - w + w^2 / 2
    level = levels(plan, 1000)
    assert level[0] == 0.0 and level.max() == pytest.approx(1.0, abs=1e-5)
    rate = np.diff(level)
    assert rate[50:780] == pytest.approx(rate[400], rel=1e-3)  # even on the way up
    # the second mean of a jump is steepest in the middle, 2 / w, and all is stretched by the same number
    assert rate.min() / rate[400] == pytest.approx(1 - 2 / 0.2, rel=0.02)


def followed(plan: SweepPlan, resonance_hz: float, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """What a resonator does in a period once it has swept for long, and the command that late as it lags, [8000]."""
    resonator = SecondOrder(resonance_hz, damping, 1.0 / (8000 * plan.frequency_hz), 0.0)
    position = resonator.filter(np.tile(levels(plan, 8000), 10))[-8000:]
    lag = 2 * damping / (2 * np.pi * resonance_hz) * plan.frequency_hz
    return position, plan.level(np.arange(8000) / 8000 - lag)


@pytest.mark.parametrize(
    ("hz", "sharp_bins", "rounded_bins"), [(5.0, 0.60, 0.10), (10.0, 1.19, 0.285)], ids=["5 Hz", "10 Hz"]
)
def test_a_lens_of_80_hz_strays_less_from_rounded_turns(hz: float, sharp_bins: float, rounded_bins: float) -> None:
    rig = ringing_rig(hz=hz)
    plan = plan_of(rig)
    sharp = SweepPlan(plan.min_dpt, plan.max_dpt, "triangle", hz)
    width_dpt = rig.bins.width_dpt
    for tried, bins in ((sharp, sharp_bins), (plan, rounded_bins)):
        assert stray_dpt(tried, response_of(rig)) / width_dpt == pytest.approx(bins, rel=0.03)
        strays = []
        for resonance_hz in (72.0, 80.0, 88.0):  # in time, in place of frequency
            position, delayed = followed(tried, resonance_hz, 0.4)
            strays.append(np.abs(position - delayed).max() * 32)
        assert max(strays) == pytest.approx(bins, rel=0.05)


@pytest.mark.parametrize("response", [EL_10_30, EL_16_40])
def test_turns_are_no_wider_than_they_need_be(response: LensResponse) -> None:
    sharp = SweepPlan(0.0, 3.2, "triangle", 4.0)
    plan = rounded(sharp, response, 0.02)
    assert stray_dpt(plan, response) < 0.02 or plan.turn_s == sharp.widest_turn_s
    narrower = SweepPlan(0.0, 3.2, "triangle", 4.0, turn_s=plan.turn_s - sharp.widest_turn_s / 64)
    assert stray_dpt(narrower, response) > stray_dpt(plan, response)
    assert rounded(sharp, response, 10.0) == sharp


def test_a_fly_back_is_rounded_so_that_the_way_up_does_not_ring() -> None:
    sharp = SweepPlan(0.0, 1.0, "sawtooth", 4.0)
    plan = rounded(sharp, EL_10_30, 0.1 / 32)
    assert stray_dpt(sharp, EL_10_30) > 0.9 and stray_dpt(plan, EL_10_30) < 0.1 / 32
    assert plan.turn_s < 0.25 * plan.sweep_s


def test_the_data_sheets_tell_the_damping() -> None:
    assert EL_10_30.damping == pytest.approx(0.212, abs=1e-3) and EL_16_40.damping == pytest.approx(0.367, abs=1e-3)
    told = response_of(ringing_rig())
    assert told.damping == pytest.approx(0.4) and told.settle_s == pytest.approx(3 / (2 * np.pi * 80 * 0.4))
    assert response_of(RIG).damping is None


def test_a_sine_and_a_lens_of_unknown_response_have_no_turns_to_round() -> None:
    for plan, rig in (
        (SweepPlan(0.3, 4.2, "sine", 4.0), ringing_rig()),
        (SweepPlan(0.3, 4.2, "triangle", 4.0), RIG),
        (SweepPlan(0.3, 4.2, "triangle", 4.0), ringing_rig("optotune_ld4", "trigger")),  # its generator's are sharp
    ):
        assert rounded_for(plan, rig) is plan
    assert rounded_for(SweepPlan(0.3, 4.2, "triangle", 4.0), ringing_rig("optotune_ld4", "telemetry")).turn_s > 0


@pytest.mark.parametrize(
    ("waveform", "direction"), [("triangle", 1), ("triangle", -1), ("sine", 1), ("sine", -1), ("sawtooth", 1)]
)
def test_the_track_between_triggers_has_the_turns_that_the_lens_was_told(waveform: str, direction: int) -> None:
    rig = ringing_rig(waveform=waveform)
    plan = plan_of(rig)
    assert (plan.turn_s > 0) == (waveform != "sine")
    period_us = 1e6 / rig.sweep.frequency_hz
    start_us = 1.7e15 + (0.0 if direction > 0 else period_us / 2)
    sweep = sweep_between(rig, start_us, start_us + rig.sweep.duration_us, direction)
    assert sorted((sweep.vergence_dpt[0], sweep.vergence_dpt[-1])) == pytest.approx([0.3, 4.2])
    assert np.all(np.diff(sweep.vergence_dpt) * direction > 0) and np.all(np.diff(sweep.timestamps_us) > 0)
    at_us = np.linspace(sweep.timestamps_us[0], sweep.timestamps_us[-1], 3000)
    seen_dpt = np.interp(at_us - 1.7e15, sweep.timestamps_us - 1.7e15, sweep.vergence_dpt)
    told_dpt = waveform_vergence_dpt(rig, (at_us - 1.7e15) / period_us)
    assert np.abs(seen_dpt - told_dpt)[:-1].max() < 0.01 * rig.bins.width_dpt


def test_a_simulated_recording_has_the_turns_that_the_lens_was_told() -> None:
    rig = ringing_rig()
    lens_plan = plan_sweeps(rig, SimulatedResponse(), sweeps=3)
    told_dpt = waveform_vergence_dpt(rig, lens_plan.times_us * 1e-6 * rig.sweep.frequency_hz)
    np.testing.assert_allclose(lens_plan.command_dpt, told_dpt, atol=1e-9)
    sharp = plan_sweeps(RIG, SimulatedResponse(), sweeps=3)
    assert 0.1 < np.abs(lens_plan.command_dpt - sharp.command_dpt).max() < 1.0


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
