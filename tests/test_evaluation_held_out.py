"""The held-out test set: what takes turns, that no training draws it, and that it is made again alike."""

import json
from pathlib import Path

import numpy as np
import pytest

from edfv_ros.errors import SimulationError, SourceError
from edfv_ros.evaluation.comparison import compare
from edfv_ros.evaluation.held_out import draw_item, item_folder, make_held_out
from edfv_ros.evaluation.held_out_items import load_item
from edfv_ros.evaluation.held_out_rigs import HELD_OUT_RIGS, MILD_MOTION_PX, RESOLUTION
from edfv_ros.evaluation.methods import parse_methods
from edfv_ros.recording import open_recording
from edfv_ros.simulation import SCENE_KINDS, CameraTrajectory
from edfv_ros.simulation.crops import SPLITS, setup_seed
from edfv_ros.simulation.domain import draw_setup
from edfv_ros.simulation.motion import displacement_px

SMALL = (64, 48)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items 0 and 1, a still and a moving one, made by two processes."""
    folder = tmp_path_factory.mktemp("held_out")
    make_held_out(folder, 2, workers=2, resolution=SMALL)
    return folder


def test_kinds_rigs_and_motion_take_turns() -> None:
    drawn = [draw_item(index) for index in range(210)]
    assert len(set(drawn)) == 210 == len(SCENE_KINDS) * len(HELD_OUT_RIGS) * 2
    assert {(item.kind, item.moves) for item in drawn[:30]} == {(k, m) for k in SCENE_KINDS for m in (False, True)}
    assert sum(item.moves for item in drawn[:200]) == 100


def test_no_training_draws_its_seeds() -> None:
    seeds = {setup_seed("test", index, attempt) for index in range(200) for attempt in range(3)}
    assert {seed & 3 for seed in seeds} == {SPLITS["test"]}
    for split in ("train", "validation"):
        assert {setup_seed(split, seed, 0) & 3 for seed in range(200)}.isdisjoint({SPLITS["test"]})


@pytest.mark.parametrize("name", HELD_OUT_RIGS)
def test_rigs_are_what_their_lenses_make_them(name: str) -> None:
    """Aperture, distance and pitch go into a domain as blur and field of view, and come out of it again."""
    domain = HELD_OUT_RIGS[name]
    rig = draw_setup(setup_seed("test", 0, 0), RESOLUTION, domain).rig
    assert rig.camera.resolution == RESOLUTION
    assert rig.camera.pixel_pitch_um in (pytest.approx(18.5), pytest.approx(9.0))
    assert 4.99 < rig.lens.aperture_mm < 12.01 and 7.99 < rig.lens.image_distance_mm < 25.01
    slope = 1e3 * rig.lens.aperture_mm * rig.lens.image_distance_mm / 1e3 / rig.camera.pixel_pitch_um
    assert 0.5 < slope * rig.bins.width_dpt < 1.1
    assert rig.lens.breathing.is_constant == (name != "breathing")


def test_items_are_whole_recordings(made: Path) -> None:
    still, moving = (item_folder(made, index) for index in (0, 1))
    assert sorted(path.name for path in made.iterdir()) == [still.name, moving.name]
    for index, folder in enumerate((still, moving)):
        item = load_item(folder)
        assert item is not None and item.index == index and item.seed & 3 == SPLITS["test"]
        recording = open_recording(folder)
        truth_m = np.load(folder / "depth_gt.npy")
        assert truth_m.shape == ((2, 48, 64) if index else (48, 64))
        stack, focus_dpt = np.load(folder / "focal_stack.npy"), np.array(item.focal_stack.vergence_dpt)
        assert stack.shape == (2, 10, 48, 64) and stack.dtype == np.uint8 and focus_dpt.shape == (2, 10)
        assert np.all(np.diff(focus_dpt[0]) > 0) and np.all(np.diff(focus_dpt[1]) < 0), "up, then down"
        span_dpt = recording.rig.bins.max_dpt - recording.rig.bins.min_dpt
        assert np.ptp(focus_dpt[0]) > 0.85 * span_dpt
        assert np.diff(focus_dpt[0]) == pytest.approx(np.diff(focus_dpt[0])[0], rel=0.1)
        sweep_us = recording.rig.sweep.duration_us
        assert item.focal_stack.exposure_us <= sweep_us / 32 + 1


def test_estimators_and_peers_run_on_them(made: Path) -> None:
    comparison = compare([item_folder(made, index) for index in (0, 1)], parse_methods(["reversal", "focal_stack"]))
    rows = {(row.group, row.method): row for row in comparison.by_motion()}
    assert not comparison.left_out and len(rows) == 6
    assert all(row.sweeps == 2 * row.recordings for row in rows.values())
    for row in rows.values():
        assert row.metrics["same_median_error_bins"] < 4.0, "guessing errs by eight"
    assert {row.group for row in comparison.by_kind()} == {"tabletop", "cards"}


def test_the_same_item_is_made_again_alike(made: Path, tmp_path: Path) -> None:
    make_held_out(tmp_path, 1, workers=1, resolution=SMALL)
    first, again = item_folder(made, 0), item_folder(tmp_path, 0)
    for name in ("focal_stack.npy", "depth_gt.npy", "item.json", "lens.csv", "recording.aedat4"):
        assert (first / name).read_bytes() == (again / name).read_bytes(), name


def test_what_is_there_is_kept_and_what_is_of_another_version_refused(made: Path) -> None:
    before = (item_folder(made, 0) / "recording.aedat4").stat().st_mtime_ns
    told: list[int] = []
    make_held_out(made, 2, resolution=SMALL, progress=told.append)
    assert told == [2] and (item_folder(made, 0) / "recording.aedat4").stat().st_mtime_ns == before


def test_items_of_another_version_are_refused(tmp_path: Path, made: Path) -> None:
    item = json.loads((item_folder(made, 0) / "item.json").read_text())
    folder = item_folder(tmp_path, 0)
    folder.mkdir()
    with pytest.raises(SimulationError, match=r"no item\.json"):
        make_held_out(tmp_path, 1)
    (folder / "item.json").write_text(json.dumps(item | {"edfv_ros": "0.0.1"}))
    with pytest.raises(SimulationError, match=r"made by version 0\.0\.1"):
        make_held_out(tmp_path, 1)
    (folder / "item.json").write_text(json.dumps(item | {"seed": -1}))
    with pytest.raises(SourceError, match="seed = -1"):
        load_item(folder)


def test_motion_is_mild() -> None:
    domain = HELD_OUT_RIGS["example"].model_copy(update={"still": 0.0})
    for index in range(3):
        seed = setup_seed("test", index, 0)
        setup = draw_setup(seed, RESOLUTION, domain)
        trajectory = CameraTrajectory(setup.settings.motion, seed)
        depths_m = 1.0 / setup.rig.bins.max_dpt, 1.0 / setup.rig.bins.min_dpt
        sweep_s = setup.rig.sweep.duration_us * 1e-6
        moved_px = max(
            displacement_px(trajectory, setup.rig.camera, depths_m, 0.0, time_s)
            for time_s in np.linspace(0.0, sweep_s, 9)
        )
        assert trajectory.moves and moved_px <= 1.1 * MILD_MOTION_PX[1]
        assert setup.settings.things.share == 0.0, "things stand still"


def test_impossible_wishes_are_told(tmp_path: Path) -> None:
    for wish in ({"count": 0}, {"count": 1, "workers": 0}):
        with pytest.raises(SimulationError, match="give at least 1"):
            make_held_out(tmp_path, **wish)
    with pytest.raises(SimulationError, match="give 0 or more"):
        draw_item(-1)
