"""The lag filter, and sweeps moved by what it says."""

from collections import deque
from pathlib import Path

import numpy as np
import pytest

from edfv_ros.events.types import Packet
from edfv_ros.lens.lag import LagCorrectedSweeps, LagFilter
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.rig import load_rig

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
T0 = 1_700_000_000_000_000


def test_nothing_is_known_before_the_first_measurement_and_nothing_taken_out_before_the_second() -> None:
    lag = LagFilter(RIG)
    assert lag.lag is None and lag.correction_us == 0.0
    lag.add(1_000.0, 100.0)
    assert lag.lag is not None and lag.lag.lag_us == 1_000.0 and lag.lag.sigma_us == 100.0
    assert lag.correction_us == 0.0
    lag.add(1_200.0, 100.0)
    assert lag.correction_us == 1_100.0


def test_a_wrong_measurement_moves_little_and_a_drift_is_followed() -> None:
    lag = LagFilter(RIG)
    for measured_us in (1_000.0, 1_020.0, 980.0, 9_000.0, 1_010.0):
        lag.add(measured_us, 50.0)
    assert lag.correction_us == 1_010.0
    for _ in range(4):
        lag.add(3_000.0, 50.0)
    assert lag.correction_us == 3_000.0


def test_scatter_shows_in_the_uncertainty() -> None:
    lag = LagFilter(RIG)
    for measured_us in (0.0, 1_000.0, 2_000.0, 3_000.0, 4_000.0):
        lag.add(measured_us, 10.0)
    assert lag.lag is not None
    # median deviation 1000 us, of which normal scatter has a standard error of the median of 831 us
    assert lag.lag.sigma_us == pytest.approx(1_000 * 1.4826 * 1.2533 / np.sqrt(5), rel=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_correction_is_bounded_by_an_eighth_of_a_sweep(sign: int) -> None:
    lag = LagFilter(RIG)
    for _ in range(2):
        lag.add(sign * 40_000.0, 10.0)
    assert lag.correction_us == sign * 12_500.0
    assert lag.lag is not None and lag.lag.lag_us == sign * 40_000.0


class ToldSweeps:
    """A source of the sweeps it is told."""

    def __init__(self) -> None:
        self.ready: deque[FocusSweep] = deque()
        self.discard_before_us = T0
        self.counters = {"missed_edges": 1}
        self.timing = {"edges": 3.0}
        self.calls: list[str] = []

    def observe(self, packet: Packet) -> None:
        self.calls.append("observe")

    def take(self) -> FocusSweep | None:
        return self.ready.popleft() if self.ready else None

    def finish(self) -> None:
        self.calls.append("finish")


def test_sweeps_are_moved_by_what_is_known_when_they_are_taken() -> None:
    told, lag = ToldSweeps(), LagFilter(RIG)
    sweeps = LagCorrectedSweeps(told, lag)
    rows = T0 + np.array([0.0, 50_000.0, 100_000.0]), np.array([0.3, 2.0, 4.2])
    told.ready += [FocusSweep(*rows, number=7), FocusSweep(*rows, number=8)]
    as_told = sweeps.take()
    assert as_told is not None and (as_told.start_us, as_told.lag_us, as_told.number) == (T0, 0.0, 7)
    for _ in range(2):
        lag.add(-2_500.0, 10.0)
    moved = sweeps.take()
    assert moved is not None and (moved.start_us, moved.end_us, moved.lag_us) == (T0 - 2_500, T0 + 97_500, -2_500.0)
    assert moved.number == 8 and np.array_equal(moved.vergence_dpt, rows[1])
    assert sweeps.take() is None


def test_events_that_a_correction_may_still_ask_for_are_kept() -> None:
    told = ToldSweeps()
    sweeps = LagCorrectedSweeps(told, LagFilter(RIG))
    assert sweeps.discard_before_us == T0 - 12_500
    sweeps.observe(Packet())
    sweeps.finish()
    assert told.calls == ["observe", "finish"]
    assert (sweeps.counters, sweeps.timing) == ({"missed_edges": 1}, {"edges": 3.0})
