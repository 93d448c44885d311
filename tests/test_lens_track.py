"""The lens track: reading and writing lens.csv, and finding the sweeps in it."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.errors import LensError, OutputError
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.track import LensTrack, LensTrackWriter
from edfv_ros.optics import VergenceBins

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


def test_written_tracks_read_back(tmp_path: Path) -> None:
    track = triangle(3)
    track.to_csv(tmp_path / "lens.csv")
    again = LensTrack.from_csv(tmp_path / "lens.csv")
    np.testing.assert_allclose(again.timestamps_us, track.timestamps_us, atol=0.5)
    np.testing.assert_allclose(again.vergence_dpt, track.vergence_dpt, atol=5e-7)


def test_vergence_is_linear_between_rows_and_unknown_outside() -> None:
    track = LensTrack(np.array([T0, T0 + 100.0]), np.array([1.0, 2.0]))
    assert track.vergence_at(T0 + 25) == pytest.approx(1.25)
    assert np.isnan(track.vergence_at([T0 - 1, T0 + 101])).all()


def test_a_killed_writer_leaves_every_row_it_appended(tmp_path: Path) -> None:
    path = tmp_path / "lens.csv"
    code = (
        "import sys, signal; from edfv_ros.lens.track import LensTrackWriter\n"
        "w = LensTrackWriter(sys.argv[1])\n"
        "for i in range(1000): w.append([1000 * i + 1], [0.3 + i / 1000])\n"
        "print('written', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "written\n"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(timeout=10)
    assert len(LensTrack.from_csv(path).timestamps_us) == 1000


def test_a_row_cut_in_the_middle_is_left_out(tmp_path: Path) -> None:
    whole = tmp_path / "lens.csv"
    triangle(1, rows=8).to_csv(whole)
    text = whole.read_text()
    for cut in range(1, len(text.splitlines()[-1])):
        whole.write_text(text[: -1 - cut])
        assert len(LensTrack.from_csv(whole).timestamps_us) == 8


def test_a_hand_written_last_row_needs_no_line_end(tmp_path: Path) -> None:
    path = tmp_path / "lens.csv"
    path.write_text("timestamp_us,vergence_dpt\n0,0.35\n100000,4.25\n200000,0.3")
    assert [s.direction for s in LensTrack.from_csv(path).sweeps(BINS)] == [1, -1]


def test_the_writer_skips_rows_that_go_back_and_keeps_a_sawtooth_jump(tmp_path: Path) -> None:
    path = tmp_path / "lens.csv"
    with LensTrackWriter(path) as writer:
        for index in range(3):
            start = T0 + index * 100_000.0
            writer.append_sweep(FocusSweep(np.array([start, start + 100_000]), np.array([0.3, 4.2])))
        writer.append([T0], [1.0])
        assert (writer.rows, writer.skipped) == (6, 1)
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
