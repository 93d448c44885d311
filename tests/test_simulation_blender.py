"""Path-traced focus stacks: jobs and folders without Blender, pictures against optics with it."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from recordings import small_rig

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.blender import BLENDER_KINDS, FocusStack, focus_steps, render_stack, stack
from edfv_ros.simulation.blender.calibration import calibration_layout
from edfv_ros.simulation.blender.job import JobFolder, RenderJob, image_names
from edfv_ros.simulation.blender.studio import Ground, Studio, rotation

needs_blender = pytest.mark.skipif(
    importlib.util.find_spec("bpy") is None, reason="Blender (bpy) is not installed for this Python"
)

VERGENCES = (0.3, 1.6, 2.9, 4.2)  # the second is that of the calibration wall


def wide_rig(aperture_mm: float = 30.0) -> Rig:
    """A small sensor that sees much, off its axis, with pixels that are not square, and a fast lens."""
    data = small_rig().model_dump()
    data["camera"]["intrinsics"] |= {"fx_px": 200.0, "fy_px": 220.0, "cx_px": 36.2, "cy_px": 21.0}
    data["lens"] |= {"aperture_mm": aperture_mm, "image_distance_mm": 3.4}
    return Rig.model_validate(data)


def job(rig: Rig, **changes: object) -> RenderJob:
    return RenderJob.of(
        **({"rig": rig, "kind": "tabletop", "seed": 3, "vergences_dpt": VERGENCES, "samples": 8} | changes)
    )


def filled_folder(folder: Path, wanted: RenderJob, leave_out: tuple[str, ...] = ()) -> JobFolder:
    """A folder as a child leaves it, with even pictures of radiance 1, 2, 3, ..."""
    files = JobFolder(folder)
    files.open(wanted)
    size = wanted.rig.camera.height_px, wanted.rig.camera.width_px
    for number, name in enumerate(image_names(wanted)):
        if name not in leave_out:
            files.save(name, np.full(size, number + 1.0, np.float32))
    return files


def fake_child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run ``code`` in place of the child; ``folder`` is the job's."""
    import subprocess

    def start(module: str, arguments: list[str], **streams: object) -> "subprocess.Popen[bytes]":
        script = f"from pathlib import Path; folder = Path({arguments[0]!r})\n{code}"
        return subprocess.Popen([sys.executable, "-c", script], **streams)  # type: ignore[call-overload]

    monkeypatch.setattr(stack, "start_module", start)
    monkeypatch.setattr(stack, "require_blender", lambda: None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "moon"}, r"kind = 'moon': .*'tabletop'"),
        ({"seed": -1}, "seed = -1"),
        ({"samples": 0}, "samples = 0"),
        ({"vergences_dpt": ()}, "vergences_dpt"),
        ({"vergences_dpt": (-1.0, 2.0)}, "vergences_dpt.0 = -1"),
    ],
)
def test_impossible_jobs_are_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SimulationError, match=words):
        job(small_rig(), **changes)


def test_distortion_is_refused(tmp_path: Path) -> None:
    data = small_rig().model_dump()
    data["camera"]["intrinsics"]["distortion"] = (0.1, 0.0, 0.0, 0.0, 0.0)
    with pytest.raises(SimulationError, match=r"distortion is not rendered by Blender"):
        render_stack(Rig.model_validate(data), "tabletop", 0, VERGENCES, folder=tmp_path / "a")


@pytest.mark.parametrize("vergences", [(1.0, 1.0), (2.0, 1.0), ((1.0, 2.0), (3.0, 4.0))])
def test_focus_must_rise(vergences: object, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="rise"):
        render_stack(small_rig(), "tabletop", 0, vergences, folder=tmp_path / "a")


def test_a_missing_blender_is_told_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.importlib.util, "find_spec", lambda name: None)
    cure = r"pip install --no-deps bpy==" if sys.version_info[:2] == (3, 11) else "needs Python 3.11"
    with pytest.raises(SimulationError, match=cure):
        render_stack(small_rig(), "tabletop", 0, VERGENCES, folder=tmp_path / "a")


def test_focus_steps_span_what_the_lens_reaches() -> None:
    data = small_rig().model_dump()
    data["sweep"] |= {"vergence_min_dpt": 1.0, "vergence_max_dpt": 2.0}
    steps = focus_steps(Rig.model_validate(data), 5)
    assert steps == pytest.approx([0.3, 1.275, 2.25, 3.225, 4.2])


def test_a_finished_folder_is_read_without_blender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.importlib.util, "find_spec", lambda name: None)
    filled_folder(tmp_path / "a", job(small_rig()))
    read = render_stack(small_rig(), "tabletop", 3, VERGENCES, folder=tmp_path / "a", samples=8)
    assert read.pictures.shape == (4, 48, 64) and read.pictures.dtype == np.float32
    assert read.pictures[:, 5, 5].tolist() == [3.0, 4.0, 5.0, 6.0]
    assert (read.depth_m == 1.0).all() and (read.sharp == 2.0).all()


def test_only_what_is_missing_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = filled_folder(tmp_path / "a", job(small_rig()), leave_out=("step_0001", "depth"))
    assert list(files.missing(job(small_rig()))) == ["depth", "step_0001"]
    fake_child(
        monkeypatch,
        "import numpy as np, time\n"
        "for name in ('step_0001', 'depth'):\n"
        "    np.save(folder / f'{name}.npy', np.full((48, 64), 9.0, np.float32)); time.sleep(0.3)",
    )
    seen: list[tuple[int, int]] = []
    read = render_stack(
        small_rig(), "tabletop", 3, VERGENCES, folder=tmp_path / "a", samples=8, progress=lambda *now: seen.append(now)
    )
    assert read.pictures[:, 0, 0].tolist() == [3.0, 9.0, 5.0, 6.0] and read.depth_m[0, 0] == 9.0
    assert seen == sorted(seen) and seen[0][0] >= 4 and seen[-1] == (6, 6)


def test_a_folder_of_another_job_is_left_alone(tmp_path: Path) -> None:
    filled_folder(tmp_path / "a", job(small_rig()))
    with pytest.raises(SimulationError, match="another scene"):
        render_stack(small_rig(), "tabletop", 4, VERGENCES, folder=tmp_path / "a", samples=8)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    files = filled_folder(tmp_path / "a", job(small_rig()))
    files.image("step_0002").write_bytes(b"not an array")
    with pytest.raises(SimulationError, match=r"step_0002\.npy is damaged"):
        render_stack(small_rig(), "tabletop", 3, VERGENCES, folder=tmp_path / "a", samples=8)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulationError, match=r"file/a: cannot render into this folder"):
        render_stack(small_rig(), "tabletop", 0, VERGENCES, folder=tmp_path / "file" / "a")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('noise'); print('no memory left'); raise SystemExit(3)", "failed after 0 of 6 .* no memory left"),
        ("print('all well')", "failed after 0 of 6"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL: run again to go on"),
    ],
)
def test_a_failing_child_is_told_in_one_line(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_child(monkeypatch, code)
    with pytest.raises(SimulationError, match=words):
        render_stack(small_rig(), "tabletop", 0, VERGENCES, folder=tmp_path / "a")


def test_an_interruption_ends_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_child(monkeypatch, "import os, time; (folder / 'pid').write_text(str(os.getpid())); time.sleep(60)")

    def interrupt(done: int, total: int) -> None:
        if (tmp_path / "a" / "pid").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_stack(small_rig(), "tabletop", 0, VERGENCES, folder=tmp_path / "a", progress=interrupt)
    pid = (tmp_path / "a" / "pid").read_text()
    assert not Path(f"/proc/{pid}").exists()


def test_pictures_between_steps_are_linear_in_log() -> None:
    pictures = np.array([1.0, math.e, math.e**5], np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    flat = np.ones((2, 3), np.float32)
    between = FocusStack(np.array([1.0, 2.0, 4.0]), pictures, flat, flat)
    got = between.pictures_at([1.0, 1.25, 3.0, 4.0])
    assert got.shape == (4, 2, 3) and got.dtype == np.float32
    assert np.log(got[:, 1, 1]) == pytest.approx([0.0, 0.25, 3.0, 5.0], abs=1e-5)
    with pytest.raises(SimulationError, match="outside the rendered stack, 1 to 4 dpt"):
        between.pictures_at(4.5)


def test_the_studio_places_points_where_the_camera_sees_them() -> None:
    rig = wide_rig()
    studio = Studio.of(job(rig))
    assert rig.sweep.vergence_min_dpt < studio.far_dpt < studio.near_dpt < rig.sweep.vergence_max_dpt
    point = studio.point(1.0, -1.0, 2.0)
    k = rig.camera.intrinsics
    assert point[2] == 0.5
    assert k.fx_px * point[0] / point[2] + k.cx_px == pytest.approx(63.5)
    assert k.fy_px * point[1] / point[2] + k.cy_px == pytest.approx(-0.5)
    floor = Ground.below(studio, -0.2, 0.5, 3.0)
    foot = floor.foot(studio, 0.3, 1.7)
    assert foot[2] == pytest.approx(1 / 1.7) and floor.normal @ foot == pytest.approx(1.0)
    assert floor.normal @ studio.ray(0.0, 1.0) == pytest.approx(3.0)
    assert floor.up[1] < 0


@pytest.mark.parametrize("axis", [(0.0, 0.0, 2.0), (0.0, -1.0, 0.1), (1.0, 1.0, 1.0)])
def test_turns_are_rotations(axis: tuple[float, float, float]) -> None:
    turn = rotation(axis, 0.7)
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12) and np.linalg.det(turn) == pytest.approx(1.0)
    assert turn[:, 2] == pytest.approx(np.array(axis) / np.linalg.norm(axis))


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, FocusStack]:
    rig = wide_rig()
    folder = tmp_path_factory.mktemp("calibration") / "a"
    return rig, render_stack(rig, "calibration", 1, VERGENCES, folder=folder, samples=128)


def edge_spread(rows: np.ndarray) -> tuple[float, float]:
    """Place of an upright edge, and the diameter of the disc that blurs it, both in pixels.

    A disc's line spread has the variance d**2 / 16; the pixels and the differences between them add 1/12 each.
    """
    line = np.diff(rows.mean(axis=0))
    line /= line.sum()
    between = np.arange(len(line)) + 0.5
    place = float(line @ between)
    return place, math.sqrt(max(16.0 * (float(line @ (between - place) ** 2) - 1 / 6), 0.0))


@needs_blender
@pytest.mark.parametrize("index", [0, 2, 3])
def test_an_edge_blurs_as_the_rig_says(calibration: tuple[Rig, FocusStack], index: int) -> None:
    rig, rendered = calibration
    layout = calibration_layout(rig)
    expected_px = rig.optics.blur_slope_px_per_dpt * abs(VERGENCES[index] - layout.wall_dpt)
    k = rig.camera.intrinsics
    place, diameter_px = edge_spread(rendered.pictures[index][:6])
    assert expected_px > 5
    assert diameter_px == pytest.approx(expected_px, rel=0.02)
    assert place == pytest.approx(k.cx_px + k.fx_px * layout.edge_x, abs=0.05)


@needs_blender
def test_radiance_is_linear_and_focus_is_sharp(calibration: tuple[Rig, FocusStack]) -> None:
    rig, rendered = calibration
    layout = calibration_layout(rig)
    for picture in (rendered.sharp, rendered.pictures[1]):
        assert picture[:6, :31] == pytest.approx(layout.dark, rel=1e-5)
        assert picture[:6, 33:] == pytest.approx(layout.bright, rel=1e-5)
    middle = rendered.pictures[3][:6, 31:33].mean()  # halfway in light, not in its root
    assert middle == pytest.approx((layout.dark + layout.bright) / 2, rel=0.01)


@needs_blender
def test_depth_is_that_along_the_axis(calibration: tuple[Rig, FocusStack]) -> None:
    rig, rendered = calibration
    layout, k = calibration_layout(rig), rig.camera.intrinsics
    row, column = np.mgrid[: rig.camera.height_px, : rig.camera.width_px]
    ray = np.stack([(column - k.cx_px) / k.fx_px, (row - k.cy_px) / k.fy_px, np.ones(row.shape)], axis=-1)
    squared, along = (ray**2).sum(axis=-1), ray @ layout.ball_m
    root = along**2 - squared * (layout.ball_m @ layout.ball_m - layout.ball_radius_m**2)
    ball_m = (along - np.sqrt(np.maximum(root, 0.0))) / squared
    expected = np.where(root > 0, ball_m, 1.0 / layout.wall_dpt)
    clear = np.abs(root) > 0.02 * layout.ball_radius_m**2  # not on the rim, which the ball's facets cut
    assert (root > 0).sum() > 100
    assert rendered.depth_m[clear] == pytest.approx(expected[clear], rel=3e-4)


@needs_blender
def test_the_same_job_gives_the_same_pictures_also_resumed(tmp_path: Path) -> None:
    def tabletop(name: str, seed: int) -> FocusStack:
        return render_stack(wide_rig(8.0), "tabletop", seed, VERGENCES, folder=tmp_path / name, samples=8)

    first = tabletop("a", 5)
    resumed = JobFolder(tmp_path / "a")
    for name in ("step_0002", "depth", "sharp"):
        resumed.image(name).unlink()
    again, other = tabletop("a", 5), tabletop("b", 6)
    assert np.array_equal(first.pictures, again.pictures)
    assert np.array_equal(first.depth_m, again.depth_m) and np.array_equal(first.sharp, again.sharp)
    assert np.abs(np.log(first.sharp / other.sharp)).mean() > 0.1
    assert first.pictures.min() > 0


@needs_blender
@pytest.mark.parametrize("kind", BLENDER_KINDS)
def test_every_kind_fills_the_sweep(kind: str, tmp_path: Path) -> None:
    rig = small_rig()
    rendered = render_stack(rig, kind, 1, [1.0], folder=tmp_path / "a", samples=2)
    low, high = rig.sweep.vergence_min_dpt, rig.sweep.vergence_max_dpt
    vergence = 1.0 / rendered.depth_m
    assert low <= vergence.min() and vergence.max() <= high
    assert np.ptp(vergence) > 0.2 * (high - low)
    assert 0.02 < rendered.sharp.mean() < 1.0
