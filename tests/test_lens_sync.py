"""Sweeps from lens tracks and from trigger edges, missed, doubled and jittered ones included."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.errors import LensError
from edfv_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, Packet, TriggerType
from edfv_ros.lens.edges import FAR_TURN_PULSE_US, NEAR_TURN_PULSE_US
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sync import SweepSource, TrackSweeps, TriggerSweeps, open_sweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.rig import Rig, load_rig

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
T0 = 1_700_000_000_000_000
SWEEP_US = 100_000


def rig_with(**sweep: object) -> Rig:
    return RIG.model_copy(update={"sweep": RIG.sweep.model_copy(update=sweep)})


def packet(first_us: int, last_us: int, triggers: Sequence[tuple[int, int]] = ()) -> Packet:
    events = np.zeros(2, EVENT_DTYPE)
    events["timestamp"] = first_us, last_us
    return Packet(events=events, triggers=np.array(list(triggers), TRIGGER_DTYPE))


def edges(times_us: list[int], *, pulses: bool = False, first_far: bool = True) -> list[tuple[int, int]]:
    records = []
    for index, time_us in enumerate(times_us):
        records.append((time_us, TriggerType.RISING_EDGE))
        if pulses:
            far = (index % 2 == 0) == first_far
            records.append((time_us + (FAR_TURN_PULSE_US if far else NEAR_TURN_PULSE_US), TriggerType.FALLING_EDGE))
    return records


def drain(sweeps: SweepSource) -> list[FocusSweep]:
    taken = []
    while (sweep := sweeps.take()) is not None:
        taken.append(sweep)
    return taken


def run(
    sweeps: SweepSource, triggers: list[tuple[int, int]], until_us: int, start_us: int = T0, step_us: int = 10_000
) -> list[FocusSweep]:
    """Show the triggers in packets of ``step_us`` of events, check the promise about discarded events."""
    taken: list[FocusSweep] = []
    discarded_us = 0
    for now in range(start_us, until_us, step_us):
        due = [trigger for trigger in triggers if now <= trigger[0] < now + step_us]
        sweeps.observe(packet(now, now + step_us - 1, due))
        assert sweeps.discard_before_us >= discarded_us
        discarded_us = sweeps.discard_before_us
        while (sweep := sweeps.take()) is not None:
            assert sweep.start_us >= discarded_us
            taken.append(sweep)
            discarded_us = sweeps.discard_before_us
    sweeps.finish()
    return taken + drain(sweeps)


def summary(taken: list[FocusSweep]) -> list[tuple[int, int, int]]:
    return [(s.start_us - T0, s.end_us - T0, s.direction) for s in taken]


@pytest.mark.parametrize("pulses", [False, True])
def test_each_pair_of_turning_points_is_a_sweep(pulses: bool) -> None:
    turns = [T0 + SWEEP_US * i for i in range(5)]
    sweeps = TriggerSweeps(RIG)
    taken = run(sweeps, edges(turns, pulses=pulses), T0 + 450_000)
    assert summary(taken) == [(SWEEP_US * i, SWEEP_US * (i + 1), 1 - 2 * (i % 2)) for i in range(4)]
    assert not any(sweeps.counters.values())


def test_pulse_widths_tell_that_the_stream_began_at_a_near_turn() -> None:
    turns = [T0 + SWEEP_US * i for i in range(4)]
    taken = run(TriggerSweeps(RIG), edges(turns, pulses=True, first_far=False), T0 + 350_000)
    assert [s.direction for s in taken] == [-1, 1, -1]


def test_a_sweep_is_there_as_soon_as_its_second_edge_is() -> None:
    sweeps = TriggerSweeps(RIG)
    sweeps.observe(packet(T0, T0 + 9_999, edges([T0])))
    sweeps.observe(packet(T0 + 90_000, T0 + 99_999))
    assert sweeps.take() is None
    sweeps.observe(packet(T0 + 100_000, T0 + 100_500, edges([T0 + 100_000])))
    assert sweeps.take() is not None


def test_the_delay_of_the_lens_moves_the_sweeps_of_triggers_and_not_of_a_track() -> None:
    rig = RIG.model_copy(update={"lens": RIG.lens.model_copy(update={"delay_ms": 2.5})})
    taken = run(TriggerSweeps(rig), edges([T0, T0 + SWEEP_US]), T0 + 150_000)
    assert summary(taken) == [(2_500, 102_500, 1)]
    track = LensTrack(np.array([T0, T0 + SWEEP_US], float), np.array([0.3, 4.2]))
    tracked = TrackSweeps(track, rig)
    tracked.observe(packet(T0, T0 + 1))
    assert summary(drain(tracked)) == [(0, SWEEP_US, 1)]


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_missed_edges_cost_their_sweeps_and_keep_the_direction(missing: int) -> None:
    lost = range(6, 6 + missing)
    turns = [T0 + SWEEP_US * i for i in range(14) if i not in lost]
    sweeps = TriggerSweeps(RIG)
    taken = run(sweeps, edges(turns), T0 + 1_350_000)
    assert all(s.direction == (1 if (s.start_us - T0) // SWEEP_US % 2 == 0 else -1) for s in taken)
    assert len(taken) == 13 - missing - 1
    assert [s.number for s in taken] == [(s.start_us - T0) // SWEEP_US for s in taken]
    assert sweeps.counters == {"missed_edges": missing, "dropped_sweeps": missing + 1}


def test_bounces_are_removed_and_counted_and_do_not_change_the_width() -> None:
    records = []
    for time_us, kind in edges([T0 + SWEEP_US * i for i in range(4)], pulses=True):
        for bounce_us in (0, 20, 45):
            records += [(time_us + bounce_us, kind), (time_us + bounce_us + 10, 3 - kind)]
        records.append((time_us + 60, kind))
    sweeps = TriggerSweeps(RIG)
    taken = run(sweeps, sorted(records), T0 + 350_000)
    assert [s.direction for s in taken] == [1, -1, 1]
    assert sweeps.counters["doubled_edges"] > 0


def test_a_stray_edge_costs_one_sweep() -> None:
    turns = [T0 + SWEEP_US * i for i in range(8)]
    sweeps = TriggerSweeps(RIG)
    taken = run(sweeps, edges(sorted([*turns, T0 + 450_000])), T0 + 750_000)
    assert [(s.start_us - T0) // SWEEP_US for s in taken] == [0, 1, 2, 3, 5, 6] == [s.number for s in taken]
    assert sweeps.counters == {"edges_out_of_rhythm": 1, "dropped_sweeps": 1}


def test_a_pulse_that_contradicts_its_place_costs_the_sweeps_it_touches() -> None:
    records = edges([T0 + SWEEP_US * i for i in range(8)], pulses=True)
    records[7] = (records[6][0] + FAR_TURN_PULSE_US, TriggerType.FALLING_EDGE)
    sweeps = TriggerSweeps(RIG)
    taken = run(sweeps, records, T0 + 750_000)
    assert [(s.start_us - T0) // SWEEP_US for s in taken] == [0, 1, 4, 5, 6] == [s.number for s in taken]
    assert sweeps.counters["contradicting_pulses"] == 1


@pytest.mark.parametrize(
    ("spacing_us", "says"), [(70_400, "7.1 Hz"), (50_000, "10 Hz"), (250_000, "2 Hz"), (31_000, "16.1 Hz")]
)
def test_triggers_of_another_frequency_than_the_rig_s_are_an_error(spacing_us: int, says: str) -> None:
    turns = [T0 + spacing_us * i for i in range(30)]
    with pytest.raises(LensError, match=f"the rig says 5 Hz, the triggers say {says}"):
        run(TriggerSweeps(RIG), edges(turns), T0 + 30 * spacing_us)


def test_no_trigger_at_all_is_an_error_that_names_the_wiring() -> None:
    with pytest.raises(LensError, match=r"in 1 s of events there is no trigger edge: wire"):
        run(TriggerSweeps(RIG), [(T0 + 5, 6), (T0 + 9, 8)], T0 + 5_000_000)
    short = TriggerSweeps(RIG)
    short.observe(packet(T0, T0 + 10))
    with pytest.raises(LensError, match="there is no trigger edge: wire"):
        short.finish()


def test_falling_edges_alone_are_a_signal_to_invert() -> None:
    falling = [(T0 + SWEEP_US * i, TriggerType.FALLING_EDGE) for i in range(30)]
    with pytest.raises(LensError, match=r"^there is no rising trigger edge, only falling ones \(7\): .* invert"):
        run(TriggerSweeps(RIG), falling[:7], T0 + 650_000)
    with pytest.raises(
        LensError, match=r"^in 1 s of events there is no rising trigger edge, only falling ones \(1\d\): .* inv"
    ):
        run(TriggerSweeps(RIG), falling, T0 + 3_000_000)


def test_edges_that_make_no_sweep_are_an_error_at_the_end() -> None:
    with pytest.raises(LensError, match="the 1 trigger edges make no complete sweep of 100 ms"):
        run(TriggerSweeps(RIG), edges([T0 + 50_000]), T0 + 140_000)


def test_a_clock_break_starts_over_and_is_counted() -> None:
    turns = [T0 + SWEEP_US * i for i in range(4)]
    later = [T0 + 430_000 + SWEEP_US * i for i in range(3)]
    reset = [(T0 + 420_000, int(TriggerType.TIMESTAMP_RESET))]
    sweeps = TriggerSweeps(RIG)
    taken = run(sweeps, [*edges(turns), *reset, *edges(later)], T0 + 700_000)
    assert summary(taken)[3:] == [(430_000, 530_000, 1), (530_000, 630_000, -1)]
    assert sweeps.counters == {"clock_breaks": 1}


def test_after_a_gap_that_hides_the_direction_rising_edges_alone_are_an_error() -> None:
    turns = [T0, T0 + 470_000, T0 + 570_000]
    with pytest.raises(LensError, match="nothing tells a far turn"):
        run(TriggerSweeps(RIG), edges(turns), T0 + 700_000)
    records = edges([T0], pulses=True) + edges(turns[1:], pulses=True)
    assert summary(run(TriggerSweeps(RIG), records, T0 + 700_000)) == [(470_000, 570_000, 1)]


def test_a_sawtooth_turns_once_a_period() -> None:
    rig = rig_with(waveform="sawtooth")
    taken = run(TriggerSweeps(rig), edges([T0 + 200_000 * i for i in range(4)]), T0 + 700_000)
    assert summary(taken) == [(200_000 * i, 200_000 * (i + 1), 1) for i in range(3)]


@given(
    seed=st.integers(0, 2**32 - 1),
    missing=st.floats(0, 0.5),
    doubled=st.floats(0, 0.5),
    frequency_error=st.floats(-0.08, 0.08),
    jitter=st.floats(0, 0.01),
    pulses=st.booleans(),
    waveform=st.sampled_from(["triangle", "sine", "sawtooth"]),
)
@settings(max_examples=300, deadline=None)
def test_no_sequence_of_edges_gives_a_wrong_sweep(
    seed: int, missing: float, doubled: float, frequency_error: float, jitter: float, pulses: bool, waveform: str
) -> None:
    rng = np.random.default_rng(seed)
    rig = rig_with(waveform=waveform)
    duration_us = rig.sweep.duration_us * (1 + frequency_error)
    far_first = not pulses or bool(rng.integers(2)) or waveform == "sawtooth"
    true_us = T0 + 5_000 + duration_us * np.arange(30)
    seen_us = (true_us + rng.uniform(-jitter, jitter, 30) * duration_us).astype(np.int64)
    records: list[tuple[int, int]] = []
    for index, time_us in enumerate(seen_us.tolist()):
        if (index or pulses) and rng.random() < missing:  # without widths the first edge defines the far turn
            continue
        far = waveform == "sawtooth" or (index % 2 == 0) == far_first
        width = int((FAR_TURN_PULSE_US if far else NEAR_TURN_PULSE_US) * rng.uniform(0.8, 1.2))
        first = not records  # if that one's falling edge were lost, the stream would look like one of rising edges
        records.append((time_us, TriggerType.RISING_EDGE))
        if pulses and (first or rng.random() > missing / 2):
            records.append((time_us + width, TriggerType.FALLING_EDGE))
        if rng.random() < doubled:
            records.append((time_us + int(rng.uniform(1, 0.05 * duration_us)), TriggerType.RISING_EDGE))
    sweeps = TriggerSweeps(rig)
    taken = []
    try:
        now = T0
        for part in np.array_split(np.array(sorted(records), TRIGGER_DTYPE), rng.integers(1, 40)):
            last = int(part["timestamp"][-1]) if len(part) else now
            sweeps.observe(packet(now, last, part.tolist()))
            now = last
            taken += drain(sweeps)
        sweeps.finish()
        taken += drain(sweeps)
    except LensError as error:
        assert "\n" not in str(error)
    slack_us = jitter * duration_us + 2
    for sweep in taken:
        index = int(np.argmin(np.abs(true_us - sweep.start_us)))
        assert abs(sweep.start_us - true_us[index]) <= slack_us
        assert abs(sweep.end_us - true_us[index + 1]) <= slack_us
        expected = 1 if waveform == "sawtooth" or (index % 2 == 0) == far_first else -1
        assert sweep.direction == expected
    if missing == 0 and doubled == 0:
        assert len(taken) == 29


def triangle_track(sweeps: int) -> LensTrack:
    times = T0 + SWEEP_US * np.arange(sweeps + 1.0)
    return LensTrack(times, np.where(np.arange(sweeps + 1) % 2, 4.2, 0.3))


def test_a_track_gives_its_sweeps_before_their_events_come() -> None:
    sweeps = TrackSweeps(triangle_track(3), RIG)
    assert sweeps.take() is None
    sweeps.observe(packet(T0, T0 + 10))
    assert len(drain(sweeps)) == 3


def test_a_track_that_does_not_cover_the_events_is_an_error_with_both_ranges() -> None:
    late = TrackSweeps(triangle_track(3), RIG, "lens.csv")
    with pytest.raises(LensError, match=r"lens.csv: does not cover .* 1700000001.000 to .* 1700000000.000 to"):
        late.observe(packet(T0 + 1_000_000, T0 + 1_100_000))
    early = TrackSweeps(triangle_track(3), RIG, "lens.csv")
    early.observe(packet(T0 - 100_000, T0 - 50_000))
    with pytest.raises(LensError, match="does not cover"):
        early.finish()


def test_a_track_that_covers_the_events_in_part_is_counted() -> None:
    sweeps = TrackSweeps(triangle_track(5), RIG)
    sweeps.observe(packet(T0 + 100_000, T0 + 280_000))
    assert sweeps.counters["sweeps_without_events"] == 1
    sweeps.finish()
    assert sweeps.counters["sweeps_without_events"] == 3
    assert [sweep.number for sweep in drain(sweeps)] == [1, 2]


def test_events_far_beyond_the_track_are_counted() -> None:
    sweeps = TrackSweeps(triangle_track(2), RIG)
    sweeps.observe(packet(T0 - 50_000, T0 + 700_000))
    drain(sweeps)
    sweeps.finish()
    assert sweeps.counters == {"ms_of_events_without_track": 500}


def test_a_track_without_a_sweep_is_an_error() -> None:
    track = LensTrack(np.array([0.0, 1.0]), np.array([1.0, 1.5]))
    with pytest.raises(LensError, match="lens track: no complete focus sweep: the track spans 1 to"):
        TrackSweeps(track, RIG)


def test_sweeps_come_from_what_is_there(tmp_path: Path) -> None:
    assert isinstance(open_sweeps(RIG, tmp_path), TriggerSweeps)
    (tmp_path / "lens.csv").write_text("timestamp_us,vergence_dpt\n0,0.3\n100000,4.2\n200000,0.3\n")
    assert isinstance(open_sweeps(RIG, tmp_path), TrackSweeps)
    assert isinstance(open_sweeps(RIG, tmp_path / "recording.aedat4"), TrackSweeps)
    assert isinstance(open_sweeps(RIG, tmp_path / "other.aedat4"), TriggerSweeps)
    assert isinstance(open_sweeps(RIG, tmp_path, sync="trigger"), TriggerSweeps)


def test_what_is_missing_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LensError, match=r"lens\.csv: no such lens track.*timestamp_us,vergence_dpt"):
        open_sweeps(rig_with(sync="file"), tmp_path)
    with pytest.raises(LensError, match=r"lens\.csv"):
        open_sweeps(rig_with(sync="file"))
    with pytest.raises(LensError, match="telemetry needs the lens itself"):
        open_sweeps(rig_with(sync="telemetry"), tmp_path)


def test_triggers_tell_their_rhythm_once_there_is_one() -> None:
    sweeps = TriggerSweeps(RIG)
    sweeps.observe(packet(T0, T0 + 1_000, edges([T0])))
    assert set(sweeps.timing) == {"edges"}
    late_us = [0, 300, 0, 0, 0, 0, 0]
    run(sweeps, edges([T0 + 200_100 * (i + 1) // 2 + late_us[i] for i in range(7)]), T0 + 800_000, T0 + 10_000)
    timing = sweeps.timing
    assert timing["edges"] == 8
    assert timing["edge_spacing_us"] == pytest.approx(100_050, abs=5)
    assert timing["edge_jitter_us"] == pytest.approx(300, abs=50)
    assert timing["frequency_error_ppm"] == pytest.approx(-500, abs=50)


def test_a_track_tells_nothing_of_time() -> None:
    assert TrackSweeps(LensTrack(np.array([T0, T0 + SWEEP_US], float), np.array([0.3, 4.2])), RIG).timing == {}
