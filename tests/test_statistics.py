"""What `edfv statistics` says of recordings whose events are known."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike
from recordings import SHARED_DATA, START_US, SWEEP_US, random_events, small_rig, write_rig, write_small_recording
from typer.testing import CliRunner

from edfv_ros.cli import app
from edfv_ros.errors import RigError, SourceError
from edfv_ros.evaluation.intervals import IntervalHistogram, TimeStamps
from edfv_ros.evaluation.noise_floor import NoiseFloor
from edfv_ros.evaluation.statistics import distinct_names, recording_statistics
from edfv_ros.events import EVENT_DTYPE, TRIGGER_DTYPE, Aedat4Writer, SourceInfo, TriggerType
from edfv_ros.events.packing import joined

SHAPE = (48, 64)
RESOLUTION = (64, 48)


def make_events(times_us: ArrayLike, x: ArrayLike, y: ArrayLike, polarity: ArrayLike = 1) -> np.ndarray:
    """EVENT_DTYPE [N] in order of time; times count from START_US."""
    times_us = np.asarray(times_us, np.int64)
    events = np.zeros(len(times_us), EVENT_DTYPE)
    events["timestamp"] = START_US + times_us
    events["x"], events["y"], events["polarity"] = x, y, polarity
    return events[np.argsort(times_us, kind="stable")]


def poisson_events(rate_hz: float, duration_s: float, seed: int) -> np.ndarray:
    """Events at random over sensor and time."""
    random = np.random.default_rng(seed)
    count = random.poisson(rate_hz * duration_s * SHAPE[0] * SHAPE[1])
    x, y = random.integers(0, SHAPE[1], count), random.integers(0, SHAPE[0], count)
    return make_events(random.integers(0, int(duration_s * 1e6), count), x, y, random.integers(0, 2, count))


def merged(*parts: np.ndarray) -> np.ndarray:
    events = joined(parts, EVENT_DTYPE)
    return events[np.argsort(events["timestamp"], kind="stable")]


def write_events(path: Path, events: np.ndarray) -> Path:
    with Aedat4Writer(path, SourceInfo("TESTCAM_1", *RESOLUTION, ("events",), live=False)) as writer:
        writer.write_events(events)
    return path


def write_sweeps(folder: Path, events: np.ndarray, sweeps: int) -> Path:
    """A recording of ``sweeps`` sweeps, up first, with a trigger at each turning point."""
    folder.mkdir()
    info = SourceInfo("TESTCAM_1", *RESOLUTION, ("events", "triggers"), live=False)
    turns_us = START_US + SWEEP_US * np.arange(sweeps + 1)
    with Aedat4Writer(folder / "recording.aedat4", info) as writer:
        writer.write_triggers(np.array([(turn, TriggerType.RISING_EDGE) for turn in turns_us], TRIGGER_DTYPE))
        writer.write_events(events)
    write_rig(small_rig(), folder / "rig.yaml")
    return folder


def noise_hz(events: np.ndarray, packet: int = 1000) -> float:
    noise = NoiseFloor(RESOLUTION)
    for start in range(0, len(events), packet):
        noise.add(events[start : start + packet])
    return noise.rate_hz(np.zeros(SHAPE, bool))


@pytest.mark.parametrize("rate_hz", [0.1, 1.0, 5.0, 20.0])
def test_noise_floor_of_poisson_noise(rate_hz: float) -> None:
    assert noise_hz(poisson_events(rate_hz, 12.0 / rate_hz**0.7, seed=1)) == pytest.approx(rate_hz, rel=0.05)


def test_noise_floor_beside_strong_signal() -> None:
    """An edge that wanders to and fro: bursts of five events along a column, one column every 4 ms."""
    duration_us, step_us = 4_000_000, 4_000
    columns = np.abs(np.arange(duration_us // step_us) % 62 - 31)
    times_us = (np.arange(len(columns)) * step_us)[:, None, None] + 300 * np.arange(5)[:, None] + np.zeros(SHAPE[0])
    x = np.broadcast_to(columns[:, None, None], times_us.shape)
    y = np.broadcast_to(np.arange(SHAPE[0]), times_us.shape)
    signal = make_events(times_us.ravel(), x.ravel(), y.ravel())
    noise = poisson_events(1.0, duration_us * 1e-6, seed=2)
    assert len(signal) > 10 * len(noise)
    assert noise_hz(signal) == 0.0
    assert noise_hz(merged(signal, noise)) == pytest.approx(1.0, rel=0.05)


def test_isolated_events_one_by_one() -> None:
    times_us = [0, 4_999, 20_000, 25_000, 40_000, 45_001, 60_000, 60_000, 80_000, 99_999]
    x = [5, 6, 5, 5, 5, 6, 5, 7, 0, 63]
    noise = NoiseFloor(RESOLUTION)
    for event in make_events(times_us, x, 7):  # across packets
        noise.add(np.array([event], EVENT_DTYPE))
    isolated = noise.isolated()
    # 5 and 6 at 0 explain each other, so does pixel 5 itself at 20 ms; a microsecond more than the window does not, and
    # two pixels apart neither, nor does the other side of the sensor
    assert {(int(x), int(isolated[7, x])) for x in np.flatnonzero(isolated[7])} == {
        (5, 2),
        (6, 1),
        (7, 1),
        (0, 1),
        (63, 1),
    }
    assert isolated.sum() == 6
    quiet_s = noise.quiet_s()
    assert quiet_s[30, 30] == pytest.approx(0.099999)
    assert quiet_s[7, 63] == pytest.approx(0.099999 - 0.005)  # the window ends with the events
    assert quiet_s[6, 0] == pytest.approx(0.099999 - 0.010)


def test_hot_pixels_are_no_noise(tmp_path: Path) -> None:
    hot = make_events(np.arange(10_000, 4_000_000, 20_000), 30, 20)
    statistics = recording_statistics(write_events(tmp_path / "a.aedat4", merged(poisson_events(1.0, 4.0, 3), hot)))
    assert statistics.hot_pixels == 1
    assert statistics.noise_hz == pytest.approx(1.0, rel=0.05)


def test_intervals_of_a_renewal_process() -> None:
    """A refractory period and an exponential wait: the quantiles are known."""
    random = np.random.default_rng(4)
    pixels, each, dead_us, mean_us = 2000, 100, 300.0, 5_000.0
    times_us = np.cumsum(dead_us + random.exponential(mean_us, (pixels, each)), axis=1)
    pixel = np.broadcast_to(np.arange(pixels)[:, None], times_us.shape).ravel()
    histogram = IntervalHistogram(RESOLUTION)
    histogram.add(make_events(np.rint(times_us.ravel()), pixel % 64, pixel // 64))
    levels = np.array([0.05, 0.5, 0.95])
    expected_us = dead_us - mean_us * np.log(1.0 - levels)
    np.testing.assert_allclose(histogram.quantiles_us(levels), expected_us, rtol=0.02)
    assert 300.0 <= float(histogram.quantiles_us(0.001)) <= 310.0
    assert histogram.shares(np.array([1.0, dead_us + mean_us * np.log(2.0), 1e7])) == pytest.approx(
        [0.5, 0.5], abs=0.01
    )


@pytest.mark.parametrize("interval_us", [0, 1, 2047, 2048, 4095, 4096, 1_000_003, 3_600_000_000, 10**15])
def test_intervals_of_any_length(interval_us: int) -> None:
    histogram = IntervalHistogram(RESOLUTION)
    histogram.add(make_events([0, interval_us], 3, 3))
    tolerance = 0.0 if interval_us < 4096 and interval_us % 2 == 0 else 1e-3
    assert float(histogram.quantiles_us(0.5)) == pytest.approx(interval_us, rel=max(tolerance, 1e-12))
    assert histogram.shares(np.array([1.0, 10.0, 1e7])).sum() == 1.0


def test_intervals_need_a_pixel_that_fires_twice() -> None:
    histogram = IntervalHistogram(RESOLUTION)
    histogram.add(make_events([0, 10], [3, 4], 3))
    assert np.isnan(histogram.quantiles_us(0.5))
    assert histogram.shares(np.array([1.0, 10.0])) == [0.0]


def test_time_stamps_of_a_slow_clock() -> None:
    stamps = TimeStamps()
    for times_us in ([0, 0, 200, 200], [200, 500], [500, 1300]):
        stamps.add(make_events(times_us, 1, 1))
    assert stamps.step_us == 100.0
    assert stamps.events_each == 8 / 4


def test_counts_of_a_recording_without_sweeps(tmp_path: Path) -> None:
    events = random_events(30_720, small_rig(), 500_001)
    events["polarity"] = np.arange(len(events)) % 4 == 0
    statistics = recording_statistics(write_events(tmp_path / "events.aedat4", events))
    assert statistics.name == "events"
    assert (statistics.events, statistics.duration_s) == (30_720, 0.5)
    assert statistics.events_per_s == pytest.approx(61_440)
    assert statistics.events_per_px_s == pytest.approx(20.0)
    assert statistics.on_share == 0.25
    assert statistics.pixel_rate_hz.median == pytest.approx(20.0)  # ten events in half a second
    assert statistics.pixel_rate_hz.low == pytest.approx(10.0) and statistics.pixel_rate_hz.high == pytest.approx(30.0)
    assert statistics.sweeps is None and statistics.notes == ()


def test_counts_of_sweeps(tmp_path: Path) -> None:
    """Up: six ON events a pixel, near focus only, in the left half; down: three OFF and two ON, far focus only."""
    y, x = (grid.ravel() for grid in np.mgrid[: SHAPE[0], : SHAPE[1] // 2])
    near_up = [make_events(np.full(len(x), SWEEP_US - 20_000 + 3_000 * i), x, y, 1) for i in range(6)]
    far_down = [make_events(np.full(len(x), 2 * SWEEP_US - 20_000 + 4_000 * i), x, y, i % 2) for i in range(5)]
    ends = make_events([0, 2 * SWEEP_US - 1], 63, 47, 1)
    statistics = recording_statistics(write_sweeps(tmp_path / "sweep", merged(*near_up, *far_down, ends), 2))
    sweeps = statistics.sweeps
    assert sweeps is not None
    assert (sweeps.up, sweeps.down) == (1, 1)
    assert sweeps.events_per_px == pytest.approx(2.75, rel=1e-3)
    # A Gaussian of 2 px leaves four of six events 0.86 px inside the rim, of five 1.68 px inside, of eleven 0.70 px
    # outside; the rim is between the columns 31 and 32.
    assert sweeps.supported == pytest.approx((31 + 30) / 2 / 64)
    assert sweeps.supported_by_pair == pytest.approx(33 / 64)
    assert sweeps.on_share_up == pytest.approx(1.0) and sweeps.on_share_down == pytest.approx(0.4, abs=1e-3)
    bins = small_rig().bins
    up, down = np.array(sweeps.by_vergence_up.y), np.array(sweeps.by_vergence_down.y)
    assert up.sum() * bins.width_dpt == pytest.approx(3.0, rel=1e-3)
    middle = np.array(sweeps.by_vergence_up.x)
    assert middle == pytest.approx(bins.centres_dpt)
    near_dpt, far_dpt = 0.3 + 0.8 * 3.9, 0.3 + 0.2 * 3.9
    assert np.all(up[(middle < near_dpt - bins.width_dpt) & (middle > 0.5)] == 0.0)
    assert np.all(down[(middle > far_dpt + bins.width_dpt)] == 0.0)


def test_sweeps_that_the_events_do_not_cover_do_not_count(tmp_path: Path) -> None:
    events = random_events(40_000, small_rig(), 4 * SWEEP_US)
    late = events[events["timestamp"] >= START_US + SWEEP_US // 2]
    sweeps = recording_statistics(write_sweeps(tmp_path / "late", late, 4)).sweeps
    assert sweeps is not None and (sweeps.up, sweeps.down) == (1, 2)
    assert sweeps.events_per_px == pytest.approx(10_000 / (64 * 48), rel=0.05)


def test_a_rig_without_sweeps_is_a_note(tmp_path: Path) -> None:
    folder = write_small_recording(tmp_path / "r", lens=False, triggers=False)
    statistics = recording_statistics(folder)
    assert statistics.sweeps is None and statistics.events == 30_000
    assert "no sweeps" in statistics.notes[0]


def test_what_cannot_be_counted(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no events"):
        recording_statistics(write_events(tmp_path / "empty.aedat4", np.empty(0, EVENT_DTYPE)))
    with pytest.raises(SourceError, match="no events over some time"):
        recording_statistics(write_events(tmp_path / "one.aedat4", make_events([5], 1, 1)))
    folder = write_small_recording(tmp_path / "other")
    write_rig(small_rig(32, 32), folder / "rig.yaml")
    with pytest.raises(RigError, match="contradicts"):
        recording_statistics(folder)


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    fractions: list[float] = []
    recording_statistics(write_small_recording(tmp_path / "r"), on_progress=fractions.append)
    assert fractions == sorted(fractions) and fractions[0] < 0.3 and fractions[-1] == 1.0


def test_names_tell_recordings_apart() -> None:
    paths = [Path(name) for name in ("a/sweep", "b/sweep", "b/other.aedat4", "b/sweep", "c")]
    assert distinct_names(paths) == ["a/sweep", "b/sweep", "other", "b/sweep (2)", "c"]


@pytest.mark.parametrize("scene", ["scene_201", "scene_202"])
def test_path_traced_scenes_have_support(scene: str) -> None:
    folder = SHARED_DATA / "pathtraced" / scene
    if not folder.is_dir():
        pytest.skip(f"the path-traced recordings are not there: {folder}")
    statistics = recording_statistics(folder)
    sweeps = statistics.sweeps
    assert sweeps is not None and (sweeps.up, sweeps.down) == (1, 1)
    assert 0.62 <= sweeps.supported_by_pair <= 0.93
    assert sweeps.supported < sweeps.supported_by_pair
    assert 0.45 < statistics.on_share < 0.55 and sweeps.on_share_up > 0.55 > 0.45 > sweeps.on_share_down
    assert statistics.shortest_interval_us >= 300.0  # their refractory period
    assert statistics.noise_hz > 1.0  # theirs is 1 Hz, and the figure an upper bound


def test_genuine_recordings_without_sweeps(aedat4_dir: Path) -> None:
    statistics = recording_statistics(aedat4_dir / "tonic_sample.aedat4")
    assert statistics.events == 111_954 and statistics.sweeps is None
    assert 0.1 < statistics.noise_hz < 1.5
    assert statistics.shortest_interval_us < 1_000.0 < statistics.interval_us.median


def edfv(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_command_compares_in_80_columns(tmp_path: Path) -> None:
    sweep = write_small_recording(tmp_path / "a_sweep")
    alone = write_events(tmp_path / "events.aedat4", random_events(20_000, small_rig(), 400_000))
    named = write_small_recording(tmp_path / "one_with_quite_a_long_name_[bold]", sweeps=2)
    code, out, _ = edfv(
        "statistics", sweep, alone, named, alone, sweep, "--out", tmp_path / "s.png", "--json", tmp_path / "s.json"
    )
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("4 events near: a sweep") for line in lines) > 1  # what has no room goes below
    assert sum(" ".join(line.split()).count("30,000") for line in lines if line.startswith("events ")) == 3
    assert "ong_name_[bold]" in out  # folded
    picture = cv2.imread(str(tmp_path / "s.png"))
    assert picture is not None and picture.shape[0] > 800 and np.ptp(picture) == 255
    recordings = json.loads((tmp_path / "s.json").read_text())["recordings"]
    assert [entry["name"] for entry in recordings] == [
        "a_sweep", "events", "one_with_quite_a_long_name_[bold]", "events (2)", "a_sweep (2)"
    ]  # fmt: skip
    assert recordings[1]["sweeps"] is None and recordings[0]["sweeps"]["up"] == 2


def test_command_speaks_plainly_of_errors(tmp_path: Path) -> None:
    sweep = write_small_recording(tmp_path / "sweep")
    (tmp_path / "file").write_text("")
    for arguments in (
        (tmp_path / "none",), (sweep, tmp_path / "none"), (sweep, "--out", tmp_path / "file" / "s.png"),
        (tmp_path / "file",), (sweep, "--json", tmp_path),
    ):  # fmt: skip
        code, _, err = edfv("statistics", *arguments)
        assert code == 2 and len(err.splitlines()) == 1 and err.startswith("edfv: "), err
    assert edfv("statistics")[0] == 2


def test_help_teaches_by_example() -> None:
    code, out, _ = edfv("statistics", "--help")
    assert code == 0 and "edfv statistics simulated recorded --out statistics.png" in out


def test_command_in_a_pipe(tmp_path: Path) -> None:
    sweep = write_small_recording(tmp_path / "sweep")
    done = subprocess.run(
        [sys.executable, "-m", "edfv_ros.cli", "statistics", str(sweep)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stderr == "" and "noise of a pixel" in done.stdout
