"""edfv run, edfv info and edfv simulate on files: results, and one line where something is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import (
    RIG_FILE,
    SHARED_DATA,
    START_US,
    SWEEP_US,
    random_events,
    small_rig,
    write_rig,
    write_small_recording,
)
from sweeping_pixels import bumps, fire
from test_cli_basics import edfv, process

from edfv_ros.events import TRIGGER_DTYPE, Aedat4Writer, SourceInfo, TriggerType


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sweeps of random events, with everything a recording can have. Not to be changed."""
    return write_small_recording(tmp_path_factory.mktemp("data") / "sweep")


@pytest.fixture
def copy(sweep: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(sweep, tmp_path / "sweep"))


def fails(*arguments: object) -> str:
    """The one line that a command with bad input ends with."""
    code, out, error = edfv(*arguments)
    assert (code, out) == (2, ""), (out, error)
    assert error.startswith("edfv: ") and error.count("\n") == 1, error
    return error


def test_run_writes_the_contract(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "depth"
    code, printed, _ = edfv("run", sweep, "--out", out)
    assert code == 0
    kinds = ("confidence_{}.npy", "depth_{}.npy", "depth_{}.png", "points_{}.ply")
    expected = sorted(kind.format(f"{index:04d}") for kind in kinds for index in range(3))
    assert sorted(path.name for path in out.iterdir()) == [*expected, "report.json"]
    for index in range(3):
        depth_m, confidence = (np.load(out / f"{name}_{index:04d}.npy") for name in ("depth", "confidence"))
        assert depth_m.shape == confidence.shape == (48, 64)
        assert depth_m.dtype == confidence.dtype == np.float32
        assert np.isfinite(confidence).all() and confidence.min() >= 0.0 and confidence.max() <= 1.0
        assert not (depth_m[np.isfinite(depth_m)] <= 0.0).any()
        assert cv2.imread(str(out / f"depth_{index:04d}.png")) is not None
    report = json.loads((out / "report.json").read_text())
    assert [entry["index"] for entry in report["sweeps"]] == [0, 1, 2]
    assert [entry["direction"] for entry in report["sweeps"]] == ["up", "down", "up"]
    assert [entry["start_us"] - START_US for entry in report["sweeps"]] == [0, 100_000, 200_000]
    assert [entry["end_us"] - START_US for entry in report["sweeps"]] == [100_000, 200_000, 300_000]
    assert sum(entry["events"] for entry in report["sweeps"]) == 30_000 == report["health"]["events"]
    assert all(entry["paired"] and entry["latency_ms"] > 0.0 for entry in report["sweeps"])
    assert all(0.0 <= entry["metrics"]["known_fraction"] <= 1.0 for entry in report["sweeps"])
    assert report["mean_metrics"]["known_fraction"] == pytest.approx(
        np.mean([entry["metrics"]["known_fraction"] for entry in report["sweeps"]])
    )
    assert report["camera"] == "TESTCAM_1" and report["rig"]["camera"]["width_px"] == 64
    assert report["versions"]["edfv_ros"]
    assert "delta1" in printed


def test_bouncing_edges_are_not_missed_ones(tmp_path: Path) -> None:
    rig = small_rig()
    folder = tmp_path / "bounces"
    folder.mkdir()
    write_rig(rig, folder / "rig.yaml")
    edges = [(i * SWEEP_US + at, kind) for i in range(6) for at, kind in ((0, 1), (1000 - i % 2 * 500, 2))]
    edges += [(time_us + 200, kind) for time_us, kind in edges]
    info = SourceInfo("TESTCAM_1", *rig.camera.resolution, ("events", "triggers"), live=False)
    with Aedat4Writer(folder / "recording.aedat4", info) as writer:
        writer.write_triggers(np.array([(START_US + time_us, kind) for time_us, kind in sorted(edges)], TRIGGER_DTYPE))
        writer.write_events(random_events(10_000, rig, 6 * SWEEP_US))
    code, printed, _ = edfv("info", folder, "--json")
    assert (code, json.loads(printed)["counters"]) == (0, {"doubled_edges": 6})
    assert edfv("run", folder, "--out", tmp_path / "depth")[0] == 0
    report = json.loads((tmp_path / "depth" / "report.json").read_text())
    assert report["doubts"] == [] and report["lens"] == {"doubled_edges": 6}


def test_run_tells_of_the_lag_and_takes_it_out_where_asked(tmp_path: Path) -> None:
    rig = small_rig(96, 80)
    signal, lag_us = bumps(rig, 0), 2_000.0
    folder = tmp_path / "late"
    folder.mkdir()
    info = SourceInfo("TESTCAM_1", rig.camera.width_px, rig.camera.height_px, ("events", "triggers"), live=False)
    turns_us = START_US + SWEEP_US * np.arange(5)
    with Aedat4Writer(folder / "recording.aedat4", info) as writer:
        writer.write_triggers(np.array([(turn, TriggerType.RISING_EDGE) for turn in turns_us], TRIGGER_DTYPE))
        writer.write_events(fire(rig, lambda sweep: signal, 5, lag_us))
    write_rig(rig, folder / "rig.yaml")
    reports = {}
    for option in ([], ["--correct-lag"]):
        out_dir = tmp_path / f"out{len(option)}"
        code, out, error = edfv("run", folder, "--out", out_dir, *option)
        assert code == 0, error
        assert "lag of the events behind the focus: +" in out and ("taken out" in out) == bool(option)
        reports[bool(option)] = json.loads((out_dir / "report.json").read_text())
    for report in reports.values():
        assert report["lag"]["lag"]["lag_us"] == pytest.approx(lag_us, abs=0.2 * SWEEP_US / rig.bins.count)
        assert report["timing"]["edges"] == 5
    assert reports[False]["lag"]["correction_us"] is None
    taken_out_us = reports[True]["lag"]["correction_us"]
    assert taken_out_us == pytest.approx(lag_us, abs=0.2 * SWEEP_US / rig.bins.count)
    starts_us = [[sweep["start_us"] for sweep in report["sweeps"]] for report in reports.values()]
    assert np.allclose(np.subtract(starts_us[1], starts_us[0]), taken_out_us, atol=60)


def test_run_says_why_it_knows_no_lag(sweep: Path, tmp_path: Path) -> None:
    code, out, _ = edfv("run", sweep, "--out", tmp_path / "out", "--correct-lag")
    assert code == 0 and "lag of the events behind the focus: not known (" in out


def test_run_without_truth_reports_no_metrics(copy: Path, tmp_path: Path) -> None:
    (copy / "depth_gt.npy").unlink()
    code, printed, _ = edfv("run", copy, "--out", tmp_path / "depth", "--sweeps", "1")
    report = json.loads((tmp_path / "depth" / "report.json").read_text())
    assert code == 0 and "delta1" not in printed
    assert report["mean_metrics"] is None and report["sweeps"][0]["metrics"] is None


def test_triggers_and_track_give_the_same_depth(copy: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.aedat4"
    shutil.copy(copy / "recording.aedat4", bare)
    assert edfv("run", bare, "--rig", copy / "rig.yaml", "--out", tmp_path / "by_trigger", "--sweeps", "1:2")[0] == 0
    assert edfv("run", copy, "--out", tmp_path / "by_track", "--sweeps", "1:2")[0] == 0
    by_trigger, by_track = (np.load(tmp_path / name / "depth_0001.npy") for name in ("by_trigger", "by_track"))
    np.testing.assert_array_equal(by_trigger, by_track)
    assert sorted(path.name for path in (tmp_path / "by_track").iterdir()) == [
        "confidence_0001.npy", "depth_0001.npy", "depth_0001.png", "points_0001.ply", "report.json",
    ]  # fmt: skip


def test_an_earlier_run_is_replaced_only_when_told(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "depth_0009.npy").write_bytes(b"old")
    assert "--overwrite" in fails("run", sweep, "--out", tmp_path)
    assert "--sweeps" in fails("run", sweep, "--out", tmp_path, "--overwrite", "--sweeps", "7")
    assert (tmp_path / "depth_0009.npy").exists(), "an error must cost nothing"
    assert edfv("run", sweep, "--out", tmp_path, "--overwrite", "--sweeps", "1")[0] == 0
    assert not (tmp_path / "depth_0009.npy").exists() and (tmp_path / "depth_0000.npy").exists()


def test_run_on_bad_arguments(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no such recording" in fails("run", tmp_path / "absent", "--out", out)
    assert "no such recording" in fails("run", "camera:", "--out", out)
    assert "recording.aedat4" in fails("run", tmp_path, "--out", out)
    assert "no such rig file" in fails("run", sweep, "--rig", tmp_path / "absent.yaml", "--out", out)
    assert "is a directory" in fails("run", sweep, "--rig", tmp_path, "--out", out).lower()
    assert "choose from: reversal" in fails("run", sweep, "--out", out, "--estimator", "magic")
    assert "has 3 sweeps, 0 to 2" in fails("run", sweep, "--out", out, "--sweeps", "2:4")
    assert "--sweeps -1" in fails("run", sweep, "--out", out, "--sweeps=-1")
    assert "64 x 48" in fails("run", sweep, "--out", out, "--rig", RIG_FILE)
    assert "in the way" in fails("run", sweep, "--out", sweep / "rig.yaml")
    assert "in the way" in fails("run", sweep, "--out", sweep / "rig.yaml" / "below")
    assert fails("run", sweep, "--out", "/proc/edfv-out")
    assert not out.exists(), "nothing is made for a run that fails"


def test_run_says_what_is_missing_of_the_lens(copy: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.aedat4"
    shutil.copy(copy / "recording.aedat4", bare)
    out = tmp_path / "out"
    line = fails("run", bare, "--out", out)
    assert str(bare) in line and "--rig" in line and "lens.csv" in line
    for sync in ("telemetry", "file"):
        rig = write_rig(small_rig(sync=sync), tmp_path / f"{sync}.yaml")
        line = fails("run", bare, "--rig", rig, "--out", out)
        assert "lens.csv" in line, line
    silent = write_small_recording(tmp_path / "silent", lens=False, triggers=False)
    line = fails("run", silent, "--out", out)
    assert str(silent) in line and "trigger" in line and "lens.csv" in line


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "empty"),
        ("time,focus\n1,2\n", "header"),
        ("timestamp_us,vergence_dpt\n", "two rows"),
        (f"timestamp_us,vergence_dpt\n{START_US},0.3\n{START_US - 5},4.2\n", "rise"),
        ("timestamp_us,vergence_dpt\n0,0.3\n100000,4.2\n200000,0.3\n", "clock"),
        (f"timestamp_us,vergence_dpt\n{START_US},1.0\n{START_US + 100000},1.1\n", "no complete focus sweep"),
        (f"timestamp_us,vergence_dpt\n{START_US},nan\n{START_US + 100000},1.1\n", "nan"),
    ],
)
def test_run_on_a_bad_lens_track(copy: Path, tmp_path: Path, content: str, word: str) -> None:
    (copy / "lens.csv").write_text(content)
    line = fails("run", copy, "--out", tmp_path / "out")
    assert word in line and "lens.csv" in line, line


def damaged_files(whole: bytes) -> dict[str, bytes]:
    """Contents that are no sound AEDAT4 file."""
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 64] = os.urandom(64)
    return {
        "empty": b"",
        "foreign": b"\x89PNG\r\n\x1a\n" + bytes(2000),
        "only the magic": whole[:14],
        "cut in the header": whole[:60],
        "noise after the header": whole[:14] + os.urandom(5000),
        "zeros": bytes(5000),
    }


@pytest.mark.parametrize("command", ["run", "info"])
def test_foreign_and_damaged_recordings(copy: Path, tmp_path: Path, command: str) -> None:
    events = copy / "recording.aedat4"
    more = ("--out", tmp_path / "out") if command == "run" else ()
    for name, content in damaged_files(events.read_bytes()).items():
        events.write_bytes(content)
        assert "recording.aedat4" in fails(command, copy, *more), name
    events.unlink()
    events.mkdir()
    assert "recording.aedat4" in fails(command, copy, *more)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["recording.aedat4", "lens.csv", "rig.yaml", "depth_gt.npy"]))
def test_random_damage_is_never_a_traceback(sweep: Path, tmp_path: Path, data: st.DataObject, name: str) -> None:
    copy = tmp_path / "sweep"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(sweep, copy)
    content = bytearray((copy / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # The first bytes are the ones that are parsed; most of the rest is events.
        at = data.draw(st.integers(0, min(len(content), 3000) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=9))
        content[at : at + len(patch)] = patch
    (copy / name).write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 100]))])
    code, out, error = edfv("info", copy, "--json")
    assert code in (0, 2)
    if code == 2:
        assert out == "" and error.startswith("edfv: ") and error.count("\n") == 1
    else:
        assert all("\n" not in problem for problem in json.loads(out)["problems"])


def test_wrong_suffixes(tmp_path: Path) -> None:
    for name in ("events.bag", "events", "events.AEDAT4.zip"):
        (tmp_path / name).write_bytes(b"#!AER-DAT4.0\r\n")
        assert ".aedat4" in fails("info", tmp_path / name)


def test_a_truncated_genuine_recording(tmp_path: Path, aedat4_dir: Path) -> None:
    cut = tmp_path / "cut.aedat4"
    whole = (aedat4_dir / "aestream_davis.aedat4").read_bytes()
    for part in (0.1, 0.5, 0.99):
        cut.write_bytes(whole[: int(len(whole) * part)])
        assert str(cut) in fails("info", cut)
        assert str(cut) in fails("run", cut, "--rig", RIG_FILE, "--out", tmp_path / "out")


def test_recover(tmp_path: Path, aedat4_dir: Path) -> None:
    cut, whole = tmp_path / "cut.aedat4", tmp_path / "whole.aedat4"
    cut.write_bytes((aedat4_dir / "aestream_davis.aedat4").read_bytes()[:800_000])
    code, out, _ = edfv("recover", cut, whole)
    assert code == 0 and "bytes left out" in out
    summary = json.loads(edfv("info", whole, "--json")[1])
    assert 60_000 < summary["streams"]["events"]["count"] < 117_667
    assert "exists" in fails("recover", cut, whole)
    assert ".aedat4" in fails("recover", cut, tmp_path / "whole.bag")
    assert "no such" in fails("recover", tmp_path / "absent.aedat4", tmp_path / "new.aedat4")


def test_damage_beside_the_events_stops_no_info(copy: Path) -> None:
    (copy / "rig.yaml").write_text("camera: [")
    (copy / "lens.csv").write_text("nothing")
    summary = json.loads(edfv("info", copy, "--json")[1])
    assert summary["streams"]["events"]["count"] == 30_000
    assert any("rig.yaml" in problem for problem in summary["problems"])
    assert any("lens.csv" in problem for problem in summary["problems"])


def test_info(sweep: Path) -> None:
    code, out, _ = edfv("info", sweep)
    assert code == 0
    for words in ("TESTCAM_1, 64 x 48 px", "30,000", "4 rising edge", "track of 4 rows", "3, from lens.csv", "down"):
        assert words in out, words
    summary = json.loads(edfv("info", sweep, "--json")[1])
    assert summary["problems"] == []
    assert [entry["direction"] for entry in summary["sweeps"]] == ["up", "down", "up"]
    assert summary["streams"]["events"] == {"count": 30_000, "first_us": START_US, "last_us": START_US + 299_999}
    assert summary["depth_gt"] == [1, 48, 64]


def test_info_on_a_bare_file(copy: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.aedat4"
    shutil.copy(copy / "recording.aedat4", bare)
    code, out, _ = edfv("info", bare)
    assert code == 0 and "! nothing tells where the focus was" in out
    summary = json.loads(edfv("info", bare, "--rig", copy / "rig.yaml", "--json")[1])
    assert (len(summary["sweeps"]), summary["sweeps_from"], summary["problems"]) == (3, "triggers", [])


@pytest.mark.parametrize(
    ("name", "events", "frames", "imu", "triggers"),
    [
        ("faery_davis346", 78_830, 59, 2363, 236),
        ("aestream_davis", 117_667, 3, 130, 15),
        ("tonic_sample", 111_954, None, 475, 0),
    ],
)
def test_info_counts_genuine_recordings_exactly(
    aedat4_dir: Path, name: str, events: int, frames: int | None, imu: int, triggers: int
) -> None:
    streams = json.loads(edfv("info", aedat4_dir / f"{name}.aedat4", "--json")[1])["streams"]
    counts = {stream: summary["count"] for stream, summary in streams.items()}
    expected = {"events": events, "frames": frames, "imu": imu, "triggers": triggers}
    assert counts == {stream: count for stream, count in expected.items() if count is not None}


def test_run_on_a_path_traced_recording(tmp_path: Path) -> None:
    folder = SHARED_DATA / "pathtraced" / "scene_202"
    if not folder.is_dir():
        pytest.skip(f"the path-traced recordings are not there: {folder}")
    assert edfv("run", folder, "--out", tmp_path)[0] == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert [entry["paired"] for entry in report["sweeps"]] == [True, True]
    for entry in report["sweeps"]:
        assert entry["metrics"]["confident_median_error_bins"] <= 0.3
        assert entry["metrics"]["confident_delta1"] >= 0.92


def test_simulate_then_run(tmp_path: Path) -> None:
    rig = write_rig(small_rig(), tmp_path / "rig.yaml")
    folder, preview = tmp_path / "sim", tmp_path / "preview.png"
    code, out, _ = edfv(
        "simulate", "--out", folder, "--rig", rig, "--kind", "cards", "--seed", 3, "--frames", 0, "--preview", preview
    )
    assert code == 0 and "2 sweeps" in out
    assert cv2.imread(str(preview)) is not None
    summary = json.loads(edfv("info", folder, "--json")[1])
    assert len(summary["sweeps"]) == 2 and "frames" not in summary["streams"] and summary["problems"] == []
    assert edfv("run", folder, "--out", tmp_path / "depth")[0] == 0
    assert "recording already" in fails("simulate", "--out", folder, "--rig", rig)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_that_is_ended_says_so_and_leaves_no_recording(number: signal.Signals, tmp_path: Path) -> None:
    rig, out = write_rig(small_rig(), tmp_path / "rig.yaml"), tmp_path / "sim"
    arguments = ["simulate", "--out", str(out), "--rig", str(rig), "--sweeps", "60"]
    with subprocess.Popen([sys.executable, "-m", "edfv_ros.cli", *arguments], stderr=subprocess.PIPE) as running:
        try:
            deadline_s = time.monotonic() + 60
            while not (out / "recording.aedat4").exists() and time.monotonic() < deadline_s:
                time.sleep(0.02)
            running.send_signal(number)
            _, error = running.communicate(timeout=60)
        finally:
            running.kill()
    assert (running.returncode, " ".join(error.decode().split())) == (
        130,
        f"interrupted; no recording is left in {out}",
    )
    assert not out.exists()


def test_simulate_on_bad_arguments(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "tabletop" in fails("simulate", "--out", out, "--kind", "moon")
    assert "seed" in fails("simulate", "--out", out, "--seed=-1")
    assert "sweeps" in fails("simulate", "--out", out, "--sweeps", 0)
    assert "no such rig" in fails("simulate", "--out", out, "--rig", tmp_path / "absent.yaml")
    (tmp_path / "file").write_text("")
    assert "in the way" in fails("simulate", "--out", tmp_path / "file")
    assert not out.exists()


def test_processes_end_with_2_and_no_traceback(copy: Path, tmp_path: Path) -> None:
    (copy / "recording.aedat4").write_bytes(b"junk")
    for arguments in (("run", copy, "--out", tmp_path / "out"), ("info", copy)):
        ended = process(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("edfv: ") and ended.stderr.count("\n") == 1


def test_ctrl_c_ends_a_run_with_130_and_whole_files(tmp_path: Path) -> None:
    folder = write_small_recording(tmp_path / "long", sweeps=300, events=300_000)
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-m", "edfv_ros.cli", "run", str(folder), "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        wait_for(out / "depth_0002.npy", running)
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=30)
    assert (running.returncode, error) == (130, "")
    assert not (out / "report.json").exists()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    for path in out.glob("*.npy"):
        assert np.load(path).shape == (48, 64)


def test_info_tells_of_events_without_focus(copy: Path) -> None:
    lines = (copy / "lens.csv").read_text().splitlines()
    (copy / "lens.csv").write_text("\n".join([*lines[:3], ""]))
    summary = json.loads(edfv("info", copy, "--json")[1])
    assert len(summary["sweeps"]) == 1
    assert summary["problems"] == []
    long = write_small_recording(copy / "long", sweeps=9)
    shutil.copy(copy / "lens.csv", long / "lens.csv")
    assert any(
        "0.800 s of the events without focus" in problem
        for problem in json.loads(edfv("info", long, "--json")[1])["problems"]
    )


def wait_for(path: Path, running: "subprocess.Popen[str]", timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not path.exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline_s, f"{path} has not come"
        time.sleep(0.02)
