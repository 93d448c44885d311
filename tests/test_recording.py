"""Sweep-recording folders: what is found, and the one line that is said where something is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edfv_ros.errors import EdfvError, OutputError, RigError, SourceError
from edfv_ros.events.types import SourceInfo
from edfv_ros.recording import (
    check_resolution,
    depth_gt_of_sweep,
    load_depth_gt,
    open_recording,
    require_no_recording,
)
from edfv_ros.rig import load_rig

RIG_FILE = Path(__file__).parents[1] / "config" / "rig.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole recording, but for its events: nothing here reads them."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "recording.aedat4").write_bytes(b"")
    (folder / "lens.csv").write_text("timestamp_us,vergence_dpt\n0,0.3\n100000,4.2\n")
    shutil.copy(RIG_FILE, folder / "rig.yaml")
    return folder


def say(error: type[EdfvError], path: Path, rig: Path | None = None) -> str:
    with pytest.raises(error) as caught:
        open_recording(path, rig)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_whole_folder(folder: Path) -> None:
    np.save(folder / "depth_gt.npy", np.full((260, 346), 2.0, np.float32))
    recording = open_recording(folder)
    assert recording.files.events == folder / "recording.aedat4"
    assert recording.files.lens == folder / "lens.csv"
    assert recording.files.depth_gt == folder / "depth_gt.npy"


def test_depth_truth_of_all_sweeps(tmp_path: Path) -> None:
    np.save(tmp_path / "truth.npy", np.full((260, 346), 2.0, np.float64))
    truth_m = load_depth_gt(tmp_path / "truth.npy", load_rig(RIG_FILE))
    of_sweep = depth_gt_of_sweep(truth_m, 5)
    assert of_sweep is not None and of_sweep.shape == (260, 346) and of_sweep.dtype == np.float32


def test_depth_truth_of_each_sweep(tmp_path: Path) -> None:
    np.save(tmp_path / "truth.npy", np.stack([np.full((260, 346), depth, np.float32) for depth in (1.0, 0.0)]))
    truth_m = load_depth_gt(tmp_path / "truth.npy", load_rig(RIG_FILE))
    first, second = depth_gt_of_sweep(truth_m, 0), depth_gt_of_sweep(truth_m, 1)
    assert first is not None and (first == 1.0).all()
    assert second is not None and np.isnan(second).all(), "zero is no depth"
    assert depth_gt_of_sweep(truth_m, 2) is None


def test_an_aedat4_file_alone_needs_a_rig(folder: Path) -> None:
    alone = folder / "other_name.aedat4"
    alone.write_bytes(b"")
    message = say(RigError, alone)
    assert "--rig" in message and "lens.csv" in message
    assert open_recording(alone, RIG_FILE).files.lens is None, "what lies beside it may be another recording's"


def test_the_events_of_a_folder_stand_for_the_folder(folder: Path) -> None:
    recording = open_recording(folder / "recording.aedat4")
    assert recording.files.lens == folder / "lens.csv" and recording.files.rig == folder / "rig.yaml"


def test_a_folder_without_rig(folder: Path) -> None:
    (folder / "rig.yaml").unlink()
    assert "rig.yaml" in say(RigError, folder)
    assert open_recording(folder, RIG_FILE).rig.camera.name == "davis0"


def test_nothing_there(tmp_path: Path) -> None:
    assert "no such recording" in say(SourceError, tmp_path / "absent")
    assert "no recording.aedat4" in say(SourceError, tmp_path)
    (tmp_path / "other.aedat4").write_bytes(b"")
    assert "other.aedat4 could be named" in say(SourceError, tmp_path)


def test_wrong_suffix(tmp_path: Path) -> None:
    (tmp_path / "events.bag").write_bytes(b"")
    assert ".bag" in say(SourceError, tmp_path / "events.bag")


@pytest.mark.parametrize(
    "truth",
    [np.ones((3, 4), np.float32), np.ones((260, 346), np.int16), np.ones((0, 260, 346), np.float32), np.ones(())],
)
def test_depth_truth_that_does_not_fit(tmp_path: Path, truth: np.ndarray) -> None:
    np.save(tmp_path / "truth.npy", truth)
    with pytest.raises(SourceError, match=r"true depth is float \[260, 346\]"):
        load_depth_gt(tmp_path / "truth.npy", load_rig(RIG_FILE))


def test_damaged_depth_truth(tmp_path: Path) -> None:
    path = tmp_path / "truth.npy"
    np.save(path, np.ones((260, 346), np.float32))
    whole = path.read_bytes()
    np.save(path, np.array([{"an": "object"}]), allow_pickle=True)
    for content in (b"", b"junk", whole[:200], whole[:-8], path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"truth\.npy") as caught:
            load_depth_gt(path, load_rig(RIG_FILE))
        assert "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="cannot be read"):
        load_depth_gt(tmp_path, load_rig(RIG_FILE))


def test_a_recording_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="recording already"):
        require_no_recording(folder)
    with pytest.raises(OutputError, match="in the way"):
        require_no_recording(folder / "lens.csv")
    (tmp_path / "notes.txt").write_text("kept")
    require_no_recording(tmp_path)
    require_no_recording(tmp_path / "absent" / "too")


def test_resolutions_must_agree() -> None:
    rig = load_rig(RIG_FILE)
    check_resolution(rig, SourceInfo("DAVIS346", 346, 260, ("events",), live=False), "x.aedat4")
    with pytest.raises(RigError, match=r"346 x 260 in the rig contradicts x.aedat4, recorded at 320 x 240"):
        check_resolution(rig, SourceInfo("DVXplorer", 320, 240, ("events",), live=False), "x.aedat4")
