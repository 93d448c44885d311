"""The lens track: reading and writing lens.csv, and finding the sweeps in it."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.errors import LensError, OutputError
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.track import LensTrack, LensTrackWriter
from edfv_ros.lens.waveform import sweep_between
from edfv_ros.optics import VergenceBins
from edfv_ros.rig import load_rig

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
BINS = VergenceBins(0.3, 4.2, 32)
T0 = 1_700_000_000_000_000


def triangle(sweeps: int, duration_us: float = 100_000, rows: int = 64, start_dpt: float = 0.3) -> LensTrack:
    steps = np.arange(sweeps * rows + 1) / rows
    level = np.abs((steps + 1) % 2 - 1)
    return LensTrack(T0 + steps * duration_us, start_dpt + (4.2 - start_dpt) * level)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "empty"),
        ("\n\n", None, "empty"),
        ("time,v\n1,2\n2,3\n", 1, "header"),
        ("timestamp_us,vergence_dpt\n", None, "two rows"),
        ("timestamp_us,vergence_dpt\n1,0.3\n", None, "two rows"),
        ("timestamp_us,vergence_dpt\n1,0.3\n2,x\n", 3, "two numbers"),
        ("timestamp_us,vergence_dpt\n1,0.3\n2\n", 3, "two numbers"),
        ("timestamp_us,vergence_dpt\n1,0.3\n2,0.4,0.5\n", 3, "two numbers"),
        ("timestamp_us,vergence_dpt\n1,0.3\n2,nan\n3,0.5\n", 3, "vergence_dpt = nan"),
        ("timestamp_us,vergence_dpt\n1,0.3\ninf,0.4\n", 3, "timestamp_us = inf"),
        ("timestamp_us,vergence_dpt\n-5,0.3\n1,0.4\n", 2, "timestamp_us = -5"),
        ("timestamp_us,vergence_dpt\n5,0.3\n\n4,0.4\n6,0.5\n", 4, "must rise"),
        ("timestamp_us,vergence_dpt\n5,0.3\n5,0.4\n", 3, "must rise"),
    ],
)
def test_a_bad_file_is_one_line_with_file_and_line_number(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    path = tmp_path / "lens.csv"
    path.write_text(text)
    with pytest.raises(LensError) as error:
        LensTrack.from_csv(path)
    message = str(error.value)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert words in message and "\n" not in message


def test_missing_unreadable_and_binary_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    for name, words in (("none.csv", "no such lens track"), (".", "cannot read"), ("binary.csv", "UTF-8")):
        with pytest.raises(LensError, match=words):
            LensTrack.from_csv(tmp_path / name)
    with pytest.raises(OutputError, match="cannot write"):
        LensTrackWriter(tmp_path / "absent" / "lens.csv")


@given(st.one_of(st.text(), st.text(alphabet="0123456789,.e-\n nanif").map("timestamp_us,vergence_dpt\n".__add__)))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_valid_track_or_a_lens_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "lens.csv"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        track = LensTrack.from_csv(path)
    except LensError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path))
    else:
        assert len(track.timestamps_us) >= 2 and np.all(np.diff(track.timestamps_us) > 0)
        assert np.all(np.isfinite(track.vergence_dpt))
        for sweep in track.sweeps(BINS):
            assert_strict(sweep)


def test_a_track_cannot_be_changed() -> None:
    times, values = np.array([0.0, 1.0]), np.array([0.3, 4.2])
    track = LensTrack(times, values)
    times[0] = 5.0
    assert track.timestamps_us[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        track.vergence_dpt[0] = 1.0


def write_sweeps(path: Path, sweeps: Iterable[FocusSweep]) -> Path:
    with LensTrackWriter(path) as writer:
        for sweep in sweeps:
            writer.append_sweep(sweep)
    return path


def test_written_tracks_read_back(tmp_path: Path) -> None:
    track = triangle(3)
    again = LensTrack.from_csv(write_sweeps(tmp_path / "lens.csv", track.sweeps(BINS)))
    np.testing.assert_allclose(again.timestamps_us, track.timestamps_us, atol=0.5)
    np.testing.assert_allclose(again.vergence_dpt, track.vergence_dpt, atol=5e-7)


def lens_sweep(index: int, waveform: str) -> FocusSweep:
    direction = 1 if waveform == "sawtooth" or index % 2 == 0 else -1
    rig = RIG.model_copy(update={"sweep": RIG.sweep.model_copy(update={"waveform": waveform})})
    return sweep_between(rig, T0 + index * 100_000.0, T0 + (index + 1) * 100_000.0, direction)


@pytest.mark.parametrize("waveform", ["triangle", "sine", "sawtooth"])
@pytest.mark.parametrize("missing", [1, 2, 3, 4, 5, 50])
@pytest.mark.parametrize("first", [3, 4])
def test_a_stretch_without_sweeps_reads_back_as_one(tmp_path: Path, waveform: str, missing: int, first: int) -> None:
    written = [lens_sweep(index, waveform) for index in (*range(first), *range(first + missing, first + missing + 4))]
    read = LensTrack.from_csv(write_sweeps(tmp_path / "lens.csv", written)).sweeps(BINS)
    assert [sweep.direction for sweep in read] == [sweep.direction for sweep in written]
    for again, sweep in zip(read, written, strict=True):
        assert abs(again.start_us - sweep.start_us) <= 1 and again.end_us == sweep.end_us  # a sawtooth's jump: 1 us
        np.testing.assert_allclose(
            again.bin_edge_times_us(BINS)[1:-1], sweep.bin_edge_times_us(BINS)[1:-1], rtol=0, atol=2
        )


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.11), st.floats(0, 0.11)), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_gaps_between_sweeps_that_do_not_quite_reach_their_turns(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[tuple[int, float, float]]
) -> None:
    """As telemetry shows them: its samples lie somewhere near the turning points."""
    written, number = [], 0
    for missing, short_of_far_dpt, short_of_near_dpt in gaps:
        number += missing
        ends_dpt = np.array([0.3 + short_of_far_dpt, 4.2 - short_of_near_dpt])
        times_us = T0 + 100_000.0 * np.array([number, number + 1])
        contiguous = written and not missing
        first_dpt = written[-1].vergence_dpt[-1] if contiguous else ends_dpt[number % 2]
        written.append(FocusSweep(times_us, np.array([first_dpt, ends_dpt[1 - number % 2]])))
        number += 1
    path = write_sweeps(tmp_path_factory.mktemp("gaps") / "lens.csv", written)
    read = LensTrack.from_csv(path).sweeps(BINS)
    assert [(s.direction, round((s.end_us - s.start_us) / 1000)) for s in read] == [(s.direction, 100) for s in written]
    assert all(abs(again.start_us - sweep.start_us) <= 1 for again, sweep in zip(read, written, strict=True))


def test_a_jump_is_no_sweep_even_where_nothing_beside_it_is() -> None:
    track = LensTrack(T0 + np.array([0.0, 100_000, 100_001, 200_000]), np.array([2.0, 4.2, 0.3, 2.0]))
    assert track.search(BINS).sweeps == ()


def test_a_sweep_that_begins_before_the_last_one_ended_is_left_out(tmp_path: Path) -> None:
    written = [lens_sweep(0, "triangle"), lens_sweep(1, "triangle")]
    late = sweep_between(RIG, T0 + 150_000.0, T0 + 250_000.0, 1)
    read = LensTrack.from_csv(write_sweeps(tmp_path / "lens.csv", [*written, late])).sweeps(BINS)
    assert [(s.start_us, s.end_us) for s in read] == [(s.start_us, s.end_us) for s in written]


def test_a_killed_writer_leaves_every_row_it_appended(tmp_path: Path) -> None:
    path = tmp_path / "lens.csv"
    code = (
        "import sys, signal; import numpy as np\n"
        "from edfv_ros.lens.sweep import FocusSweep; from edfv_ros.lens.track import LensTrackWriter\n"
        "w = LensTrackWriter(sys.argv[1])\n"
        "for i in range(999): w.append_sweep(FocusSweep(np.array([i, i + 1]) * 1e3, np.array([i, i + 1]) * 1e-3))\n"
        "print('written', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "written\n"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(timeout=10)
    assert len(LensTrack.from_csv(path).timestamps_us) == 1000


def test_a_row_cut_in_the_middle_is_left_out(tmp_path: Path) -> None:
    whole = tmp_path / "lens.csv"
    write_sweeps(whole, triangle(1, rows=8).sweeps(BINS))
    text = whole.read_text()
    for cut in range(1, len(text.splitlines()[-1])):
        whole.write_text(text[: -1 - cut])
        assert len(LensTrack.from_csv(whole).timestamps_us) == 8


def test_a_hand_written_last_row_needs_no_line_end(tmp_path: Path) -> None:
    path = tmp_path / "lens.csv"
    path.write_text("timestamp_us,vergence_dpt\n0,0.35\n100000,4.25\n200000,0.3")
    assert [s.direction for s in LensTrack.from_csv(path).sweeps(BINS)] == [1, -1]


def test_the_writer_keeps_a_sawtooth_jump(tmp_path: Path) -> None:
    path = write_sweeps(tmp_path / "lens.csv", (lens_sweep(index, "sawtooth") for index in range(3)))
    assert len(LensTrack.from_csv(path).timestamps_us) == 6
    sweeps = LensTrack.from_csv(path).sweeps(BINS)
    assert [s.direction for s in sweeps] == [1, 1, 1]
    assert [s.end_us - T0 for s in sweeps] == [100_000, 200_000, 300_000]


def assert_strict(sweep: FocusSweep) -> None:
    assert np.all(np.diff(sweep.timestamps_us) > 0)
    assert np.all(np.diff(sweep.vergence_dpt) * sweep.direction > 0)


def test_sweeps_of_a_triangle_begin_and_end_at_its_turning_points() -> None:
    sweeps = triangle(4).sweeps(BINS)
    assert [(s.start_us - T0, s.end_us - T0, s.direction) for s in sweeps] == [
        (0, 100_000, 1),
        (100_000, 200_000, -1),
        (200_000, 300_000, 1),
        (300_000, 400_000, -1),
    ]


@pytest.mark.parametrize("rows", [16, 64, 1000])
def test_a_sine_is_followed_to_within_a_tenth_of_a_bin_at_its_turning_points(rows: int) -> None:
    steps = np.arange(4 * rows + 1) / rows
    track = LensTrack(T0 + steps * 100_000, 2.25 - 1.95 * np.cos(np.pi * steps))
    sweeps = track.sweeps(BINS)
    assert [s.direction for s in sweeps] == [1, -1, 1, -1]
    for sweep in sweeps:
        assert_strict(sweep)
        assert np.ptp(sweep.vergence_dpt) >= 3.9 - 0.2 * BINS.width_dpt


@pytest.mark.parametrize("start_us", [0, T0])
@pytest.mark.parametrize("direction", [1, -1])
def test_an_edge_crossed_at_a_whole_microsecond_is_crossed_then(start_us: int, direction: int) -> None:
    bins = VergenceBins(0.5, 4.5, 480)
    sweep = FocusSweep(np.array([start_us, start_us + 4800.0]), np.array([0.1, 4.9])[::direction])
    expected = start_us + 400 + np.round(np.arange(481) * 4000 / 480 + 0.49999).astype(np.int64)
    np.testing.assert_array_equal(sweep.bin_edge_times_us(bins), expected)


def test_partial_sweeps_are_counted_and_left_out() -> None:
    whole = triangle(4)
    cut = LensTrack(whole.timestamps_us[40:-40], whole.vergence_dpt[40:-40])
    search = cut.search(BINS)
    assert (len(search.sweeps), search.partial) == (2, 2)
    assert triangle(3, start_dpt=1.5).search(BINS).sweeps == ()


def test_a_dwell_at_a_turning_point_belongs_to_no_sweep() -> None:
    times = T0 + np.array([0.0, 50_000, 150_000, 200_000, 300_000, 350_000])
    track = LensTrack(times, np.array([0.3, 0.3, 4.2, 4.2, 0.3, 0.3]))
    assert [(s.start_us - T0, s.end_us - T0) for s in track.sweeps(BINS)] == [(50_000, 150_000), (200_000, 300_000)]


@pytest.mark.parametrize("fly_back_us", [1, 4_000, 20_000])
def test_a_sawtooth_flying_back_is_no_sweep(fly_back_us: int) -> None:
    times, values = [], []
    for index in range(4):
        times += [T0 + index * 100_000 + fly_back_us, T0 + (index + 1) * 100_000]
        values += [0.3, 4.2]
    search = LensTrack(np.array(times, float), np.array(values)).search(BINS)
    assert [s.direction for s in search.sweeps] == [1, 1, 1, 1]
    assert search.fly_backs == 3


@given(st.integers(0, 10_000), st.floats(0.0, 0.03), st.sampled_from([32, 64, 200]))
@settings(max_examples=60, deadline=None)
def test_noise_moves_no_turning_point_by_more_than_itself(seed: int, noise_dpt: float, rows: int) -> None:
    rng = np.random.default_rng(seed)
    clean = triangle(4, rows=rows)
    noisy = LensTrack(clean.timestamps_us, clean.vergence_dpt + rng.uniform(-noise_dpt, noise_dpt, 4 * rows + 1))
    sweeps = noisy.sweeps(BINS)
    assert [s.direction for s in sweeps] == [1, -1, 1, -1]
    slack_us = 100_000 * (2 * noise_dpt / 3.9 + 1 / rows + 0.01)
    for index, sweep in enumerate(sweeps):
        assert_strict(sweep)
        assert math.isclose(sweep.start_us, T0 + index * 100_000, rel_tol=0, abs_tol=slack_us)
        true_dpt = np.interp(sweep.timestamps_us, clean.timestamps_us, clean.vergence_dpt)
        assert np.abs(sweep.vergence_dpt - true_dpt).max() <= 2 * noise_dpt + 1e-5
