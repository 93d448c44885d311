"""What timing costs, on a small virtual rig, and the command that shows it."""

import pytest
from recordings import small_rig
from test_cli_basics import edfv

from edfv_ros.errors import SimulationError
from edfv_ros.evaluation import timing
from edfv_ros.evaluation.timing import TimingRow, TimingTrial, try_timing
from edfv_ros.lens.lag import Lag

LAG_MS = 2.0
CLOCK = {"clock_drift_ppm": 201.0, "clock_uncertainty_us": 310.0}


@pytest.fixture(scope="module")
def trial() -> TimingTrial:
    return try_timing(small_rig(96, 80), kind="corridor", seed=0, sweeps=4, lag_ms=LAG_MS, drift_ppm=200.0)


def test_depth_is_as_near_to_that_of_perfect_timing_as_promised(trial: TimingTrial) -> None:
    assert trial.passes
    assert [(row.binding, row.corrected) for row in trial.rows] == [
        (binding, corrected) for binding in ("perfect", "trigger", "telemetry") for corrected in (False, True)
    ]
    for row in trial.rows:
        assert row.sweeps >= 2 and row.error_bins < 1.0
        assert row.from_perfect_bins <= {"perfect": 0.1, "trigger": 0.1, "telemetry": 0.5}[row.binding]


def test_the_lag_that_the_rig_does_not_know_is_found(trial: TimingTrial) -> None:
    lag_ms = {row.binding: row.lag.lag_us * 1e-3 for row in trial.rows if row.lag is not None}
    # the pixels' own lag is in all of them; telemetry adds the error of its clock
    assert lag_ms["trigger"] - lag_ms["perfect"] == pytest.approx(LAG_MS, abs=0.3)
    assert lag_ms["telemetry"] - lag_ms["perfect"] == pytest.approx(LAG_MS, abs=0.6)


def test_one_direction_alone_shows_the_lag_until_it_is_taken_out(trial: TimingTrial) -> None:
    bins = {(row.binding, row.corrected): row.one_way_bins for row in trial.rows}
    added = bins["trigger", False] - bins["perfect", False]
    assert added == pytest.approx(LAG_MS / trial.bin_ms, abs=0.2)
    assert abs(bins["trigger", True] - bins["perfect", True]) < 0.1


def test_telemetry_goes_through_a_clock_model_that_had_to_learn(trial: TimingTrial) -> None:
    assert trial.clock["clock_drift_ppm"] == pytest.approx(200.0, abs=20.0)
    assert 0 < trial.clock["clock_uncertainty_us"] < 1_000
    assert trial.clock["samples"] > 1_000


def test_impossible_trials() -> None:
    with pytest.raises(SimulationError, match="at least 4"):
        try_timing(small_rig(), kind="shelf", seed=0, sweeps=3, lag_ms=2.0, drift_ppm=0.0)


def row(from_perfect_bins: float, limit_bins: float | None = 0.1) -> TimingRow:
    return TimingRow("trigger", False, Lag(2_000.0, 100.0), 4, 0.2, from_perfect_bins, 0.6, limit_bins)


@pytest.mark.parametrize(
    ("from_perfect_bins", "limit_bins", "passes"),
    [(0.1, 0.1, True), (0.11, 0.1, False), (float("nan"), 0.1, False), (9.0, None, True)],
)
def test_a_limit_is_kept_or_not(from_perfect_bins: float, limit_bins: float | None, passes: bool) -> None:
    assert row(from_perfect_bins, limit_bins).passes == passes
    assert TimingTrial((row(0.0), row(from_perfect_bins, limit_bins)), CLOCK, 3.125).passes == passes


@pytest.mark.parametrize(("from_perfect_bins", "code", "word"), [(0.05, 0, "kept"), (0.2, 1, "EXCEEDED")])
def test_the_command_prints_a_table_and_ends_with_1_beyond_a_limit(
    monkeypatch: pytest.MonkeyPatch, from_perfect_bins: float, code: int, word: str
) -> None:
    asked = {}

    def told(rig: object, **arguments: object) -> TimingTrial:
        asked.update(arguments)
        return TimingTrial((row(from_perfect_bins),), CLOCK, 3.125)

    monkeypatch.setattr(timing, "try_timing", told)
    ended, out, _ = edfv("evaluate", "timing", "--kind", "shelf", "--lag", 3, "--drift", -50, "--sweeps", 5)
    assert ended == code and f"0.1 {word}" in out and "2.00 ± 0.10" in out and "+201 ppm" in out
    assert (asked["kind"], asked["lag_ms"], asked["drift_ppm"], asked["sweeps"]) == ("shelf", 3.0, -50.0, 5)


def test_the_command_names_a_wrong_kind_of_scene() -> None:
    code, out, error = edfv("evaluate", "timing", "--kind", "moon")
    assert code == 2 and out == "" and "moon" in error and error.count("\n") == 1
