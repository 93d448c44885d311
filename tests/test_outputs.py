"""Results on disk: types, colours, geometry, and that no half file is ever left."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edfv_ros.errors import OutputError
from edfv_ros.optics import VergenceBins
from edfv_ros.outputs.depth_picture import UNKNOWN_BGR, colour_depth, depth_picture, save_png
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.outputs.plain_json import to_json
from edfv_ros.outputs.run_folder import RunFolder
from edfv_ros.rig import Rig, load_rig
from edfv_ros.rig.rays import pixel_rays

RIG_FILE = Path(__file__).parents[1] / "config" / "rig.yaml"
BINS = VergenceBins(0.3, 4.2, 32)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_rig(RIG_FILE)


@pytest.fixture
def depth_m(rig: Rig) -> np.ndarray:
    depth_m = np.full((rig.camera.height_px, rig.camera.width_px), 1.25, np.float32)
    depth_m[:40] = np.nan
    return depth_m


def read_ply(path: Path) -> np.ndarray:
    """An independent reader of the binary PLY subset."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    count = next(int(line.split()[2]) for line in lines if line.startswith("element vertex"))
    names = [line.split()[2] for line in lines if line.startswith("property float")]
    assert names == ["x", "y", "z", "confidence"]
    return np.frombuffer(body, "<f4").reshape(count, len(names))


def test_run_folder_writes_the_contract(tmp_path: Path, rig: Rig, depth_m: np.ndarray) -> None:
    folder = RunFolder(tmp_path / "new" / "out", rig)
    folder.write_sweep(0, depth_m, np.full_like(depth_m, 0.5))
    folder.write_report({"sweeps": [{"rmse_m": float("nan"), "events": np.int64(3)}]})
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "confidence_0000.npy",
        "depth_0000.npy",
        "depth_0000.png",
        "points_0000.ply",
        "report.json",
    ]
    saved = np.load(folder.path / "depth_0000.npy")
    assert saved.dtype == np.float32
    np.testing.assert_array_equal(saved, depth_m)
    assert np.load(folder.path / "confidence_0000.npy").dtype == np.float32
    assert json.loads((folder.path / "report.json").read_text()) == {"sweeps": [{"rmse_m": None, "events": 3}]}


def test_points_project_back_onto_their_pixels(tmp_path: Path, rig: Rig, depth_m: np.ndarray) -> None:
    folder = RunFolder(tmp_path, rig)
    folder.write_sweep(7, depth_m, np.full_like(depth_m, 0.25))
    points = read_ply(tmp_path / "points_0007.ply")
    assert len(points) == np.isfinite(depth_m).sum()
    np.testing.assert_array_equal(points[:, 2:], np.broadcast_to(np.array([1.25, 0.25], np.float32), (len(points), 2)))
    intrinsics = rig.camera.intrinsics
    columns = points[:, 0] / points[:, 2] * intrinsics.fx_px + intrinsics.cx_px
    rows = points[:, 1] / points[:, 2] * intrinsics.fy_px + intrinsics.cy_px
    expected_rows, expected_columns = np.nonzero(np.isfinite(depth_m))
    np.testing.assert_allclose(columns, expected_columns, atol=1e-3)
    np.testing.assert_allclose(rows, expected_rows, atol=1e-3)


def test_rays_take_out_distortion(rig: Rig) -> None:
    distortion = (-0.2, 0.05, 0.001, -0.002, 0.0)
    camera = rig.camera.model_copy(
        update={"intrinsics": rig.camera.intrinsics.model_copy(update={"distortion": distortion})}
    )
    rays = pixel_rays(camera)
    corners = rays[[0, 0, -1, -1], [0, -1, 0, -1]].astype(float)
    matrix = np.array([[camera.intrinsics.fx_px, 0, camera.intrinsics.cx_px],
                       [0, camera.intrinsics.fy_px, camera.intrinsics.cy_px], [0, 0, 1]])  # fmt: skip
    pixels, _ = cv2.projectPoints(corners, np.zeros(3), np.zeros(3), matrix, np.array(distortion))
    width, height = camera.width_px - 1, camera.height_px - 1
    np.testing.assert_allclose(pixels[:, 0], [[0, 0], [width, 0], [0, height], [width, height]], atol=0.01)


def test_an_earlier_run_is_kept_unless_told(tmp_path: Path, rig: Rig, depth_m: np.ndarray) -> None:
    folder = RunFolder(tmp_path, rig)
    folder.write_sweep(3, depth_m, depth_m)
    (tmp_path / "depth_gt.npy").write_bytes(b"not ours")
    with pytest.raises(OutputError, match="--overwrite"):
        RunFolder(tmp_path, rig)
    assert (tmp_path / "depth_0003.npy").exists()
    again = RunFolder(tmp_path, rig, overwrite=True)
    assert (tmp_path / "depth_0003.npy").exists(), "kept until there is something in its place"
    again.write_report({})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth_gt.npy", "report.json"]


def test_nothing_is_made_before_the_first_result(tmp_path: Path, rig: Rig) -> None:
    folder = RunFolder(tmp_path / "out", rig)
    assert not folder.path.exists()
    folder.write_report({})
    assert folder.path.is_dir()


def test_a_file_in_the_way_of_the_folder(tmp_path: Path, rig: Rig) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="in the way"):
        RunFolder(tmp_path / "taken", rig)
    with pytest.raises(OutputError, match="in the way"):
        RunFolder(tmp_path / "taken" / "below", rig)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path, rig: Rig) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="not writable"):
        RunFolder(tmp_path / "out", rig)


def test_a_folder_that_cannot_be_made(rig: Rig) -> None:
    with pytest.raises(OutputError, match="/proc/edfv-out"):
        RunFolder(Path("/proc/edfv-out"), rig).write_report({})


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replace_atomically(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("report.json", "old")]


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "a.npy"
    with pytest.raises(OutputError, match="cannot be written"), replace_atomically(path) as temporary:
        temporary.write_bytes(b"")


def test_colours_are_linear_in_vergence_and_unknown_is_apart() -> None:
    vergence_dpt = np.linspace(BINS.min_dpt, BINS.max_dpt, 256)
    colours = colour_depth((1.0 / vergence_dpt).astype(np.float32)[None], BINS)[0]
    turbo = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0]
    assert np.abs(colours.astype(int) - turbo.astype(int)).max() <= 8  # one level of rounding
    assert colours[-20, 2] > colours[-20, 0], "near is warm"
    assert colours[20, 0] > colours[20, 2], "far is cold"
    unknown = colour_depth(np.full((1, 1), np.nan, np.float32), BINS)[0, 0]
    assert tuple(unknown) == UNKNOWN_BGR
    assert np.abs(colours.astype(int) - unknown).sum(axis=1).min() > 60


@pytest.mark.parametrize(("height", "width"), [(16, 16), (260, 346), (720, 1280)])
@pytest.mark.parametrize("min_dpt", [0.0, 0.3])
def test_picture_holds_the_image_and_a_scale(height: int, width: int, min_dpt: float) -> None:
    bins = VergenceBins(min_dpt, 4.2, 32)
    depth_m = np.full((height, width), 0.5, np.float32)
    depth_m[0, 0] = np.nan
    picture = depth_picture(depth_m, bins)
    assert picture.dtype == np.uint8 and picture.shape[0] > height and picture.shape[1] > width
    expected = colour_depth(depth_m, bins)[-1, -1]
    assert (picture == expected).all(axis=2).sum() >= depth_m.size - 1


def test_json_knows_no_nan() -> None:
    assert json.loads(to_json({"a": [np.float32("inf"), 1.5, (np.int16(2),)], "p": Path("x")})) == {
        "a": [None, 1.5, [2]],
        "p": "x",
    }


@pytest.mark.parametrize("name", ["a_file/picture.png", "x" * 300 + ".png"])
def test_a_place_where_no_file_can_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "a_file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        save_png(np.zeros((4, 4, 3), np.uint8), tmp_path / name)
