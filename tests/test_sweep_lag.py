"""The lag between lens and events, against pixels and a lens whose lag is known."""

from functools import lru_cache

import numpy as np
import pytest
from recordings import small_rig
from sweeping_pixels import bumps, fire, volumes

from edfv_ros.depth.sweep_lag import LagMeter
from edfv_ros.lag_check import EVERY, LagCheck
from edfv_ros.rig import Rig
from edfv_ros.volume import SweepSnapshot, SweepVolume


def rig_of(waveform: str = "triangle", frequency_hz: float = 5.0, bins: int = 32) -> Rig:
    data = small_rig(96, 80).model_dump()
    data["sweep"] |= {"waveform": waveform, "frequency_hz": frequency_hz}
    data["volume"]["bins"] = bins
    return Rig.model_validate(data)


def bin_us(rig: Rig) -> float:
    return rig.sweep.duration_us / rig.bins.count


@lru_cache
def events_of(waveform: str, frequency_hz: float, lag_us: float) -> np.ndarray:
    rig = rig_of(waveform, frequency_hz)
    signal = bumps(rig, 0)
    return fire(rig, lambda sweep: signal, 3, lag_us)


@pytest.mark.parametrize(
    ("waveform", "frequency_hz", "lag_us"),
    [
        ("triangle", 5.0, 0.0),
        ("triangle", 5.0, 700.0),
        ("triangle", 5.0, 2_000.0),
        ("triangle", 5.0, -4_700.0),
        ("triangle", 20.0, 1_000.0),
        ("sine", 5.0, 2_000.0),
    ],
)
def test_the_lag_is_found_in_either_order(waveform: str, frequency_hz: float, lag_us: float) -> None:
    rig = rig_of(waveform, frequency_hz)
    first, second, third = volumes(rig, events_of(waveform, frequency_hz, lag_us), 3)
    for one, other in ((first, second), (second, third)):
        found = LagMeter(rig.bins).measure(one, other)
        assert not found.rejected and found.patches >= 20
        assert abs(found.lag_us - lag_us) < 0.2 * bin_us(rig)
        assert abs(found.lag_us - lag_us) < 4 * found.sigma_us
        assert found == LagMeter(rig.bins).measure(other, one)


@pytest.mark.parametrize("bins", [16, 64])
def test_the_number_of_bins_does_not_matter(bins: int) -> None:
    rig = rig_of(bins=bins)
    first, second = volumes(rig, events_of("triangle", 5.0, 2_000.0), 2)
    found = LagMeter(rig.bins).measure(first, second)
    assert abs(found.lag_us - 2_000.0) < 0.2 * bin_us(rig)


def test_a_scene_that_moves_says_nothing() -> None:
    rig = rig_of()
    signals = [bumps(rig, seed) for seed in (1, 2, 3)]
    events = fire(rig, lambda sweep: signals[sweep], 2, 0.0)
    found = LagMeter(rig.bins).measure(*volumes(rig, events, 2))
    assert "moves" in found.rejected and np.isnan(found.lag_us) and np.isnan(found.sigma_us)


def test_few_events_say_nothing() -> None:
    rig = rig_of()
    found = LagMeter(rig.bins).measure(*volumes(rig, events_of("triangle", 5.0, 0.0)[::20].copy(), 2))
    assert found.rejected == "too few events" and np.isnan(found.lag_us)


def test_a_lag_too_long_to_be_told_is_not_told_wrong() -> None:
    rig = rig_of()
    found = LagMeter(rig.bins).measure(*volumes(rig, events_of("triangle", 5.0, 30_000.0), 2))
    assert found.rejected and np.isnan(found.lag_us)


def snapshot(*pair: SweepVolume) -> SweepSnapshot:
    """Of the last of the sweeps."""
    return SweepSnapshot(0, pair[-1], pair[0] if len(pair) > 1 else None, None)


def test_what_has_been_taken_out_counts_as_lag() -> None:
    rig = rig_of()
    events = events_of("triangle", 5.0, 2_000.0)
    reports = []
    for taken_out_us in (0.0, 1_500.0):
        first, second, third = volumes(rig, events, 3, taken_out_us)
        check = LagCheck(rig, corrects=True)
        check.look(snapshot(first, second))
        assert check.report.correction_us == 0.0
        check.look(snapshot(second, third))
        reports.append(check.report)
    for report in reports:
        assert report.lag is not None and report.bins is not None and report.measurements == 2
        assert report.correction_us == report.lag.lag_us == pytest.approx(2_000.0, abs=0.2 * bin_us(rig))
        assert report.bins == pytest.approx(report.lag.lag_us / bin_us(rig))
    assert abs(reports[0].lag.lag_us - reports[1].lag.lag_us) < 0.1 * bin_us(rig)


def test_it_looks_at_both_orders_first_and_then_now_and_then() -> None:
    rig = rig_of()
    first, second, third = volumes(rig, events_of("triangle", 5.0, 0.0), 3)
    check = LagCheck(rig, corrects=False)
    counts = []
    for index in range(3 * EVERY):
        check.look(snapshot(first, second) if index % 2 == 0 else snapshot(second, third))
        counts.append(check.report.measurements)
    assert counts[:3] == [1, 2, 2] and counts[-1] == 4
    assert check.report.correction_us is None and check.report.rejected == {}


def test_sweeps_of_one_order_are_looked_at_less_often_and_single_ones_never() -> None:
    rig = rig_of()
    first, second, _ = volumes(rig, events_of("triangle", 5.0, 0.0), 3)
    check = LagCheck(rig, corrects=False)
    for _ in range(2 * EVERY):
        check.look(snapshot(first))
    assert check.report.measurements == 0 and check.report.lag is None
    for _ in range(2 * EVERY):
        check.look(snapshot(first, second))
    assert check.report.measurements == 2


def test_what_could_not_be_told_is_counted_by_reason() -> None:
    rig = rig_of()
    check = LagCheck(rig, corrects=True)
    check.look(snapshot(*volumes(rig, events_of("triangle", 5.0, 0.0)[::20].copy(), 2)))
    assert check.report.rejected == {"too few events": 1}
    assert check.report.lag is None and check.report.correction_us == 0.0
