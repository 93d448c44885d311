"""Methods side by side: whose score is in which row, and what becomes of what cannot be scored."""

import json
from pathlib import Path

import numpy as np
import pytest
from recordings import small_rig, write_small_recording
from typer.testing import CliRunner

from edfv_ros.cli import app
from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.evaluation import methods
from edfv_ros.evaluation.comparison import Score, compare, summarise
from edfv_ros.evaluation.comparison_picture import error_picture
from edfv_ros.evaluation.focal_stack import depth_from_focus
from edfv_ros.evaluation.held_out_items import find_recordings
from edfv_ros.evaluation.methods import parse_methods
from edfv_ros.evaluation.predictions import Evaluated, Predict, Prediction, Unavailable

TRUE_M = 0.8  # of every small recording


def constant(depth_m: float) -> methods.OpenPeer:
    """A peer that sees one depth everywhere."""

    def open_peer(recording: Evaluated, model: Path | None) -> Predict:
        shape = recording.rig.camera.resolution[::-1]
        return lambda snapshot: Prediction(
            np.full(shape, 1.0 / depth_m, np.float32), np.full(shape, np.nan, np.float32)
        )

    return open_peer


def picky(recording: Evaluated, model: Path | None) -> Predict:
    if recording.moves:
        raise Unavailable("it moves")
    return constant(TRUE_M)(recording, model)


@pytest.fixture(autouse=True)
def peers(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"right": constant(TRUE_M), "far": constant(1.1 * TRUE_M), "picky": picky}
    monkeypatch.setattr(methods, "PEERS", {**methods.PEERS, **known})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A still recording of three sweeps, and a moving one of two."""
    folder = tmp_path_factory.mktemp("recordings")
    write_small_recording(folder / "a_still", sweeps=3, events=3000)
    write_small_recording(folder / "b_moving", sweeps=2, events=2000)
    truth_m = np.full((2, 48, 64), TRUE_M, np.float32)
    truth_m[:, :24] = np.nan
    np.save(folder / "b_moving" / "depth_gt.npy", truth_m)
    return folder


def test_every_method_is_scored_on_every_sweep(folder: Path) -> None:
    seen = []
    comparison = compare(
        find_recordings([folder]), parse_methods(["far", "right", "picky"]), pictures=1, progress=seen.append
    )
    assert seen == [1, 2]
    rows = {(row.group, row.method): row for row in comparison.by_motion()}
    assert list(rows) == [
        ("still", "far"), ("still", "right"), ("still", "picky"),
        ("moving", "far"), ("moving", "right"),
        ("all", "far"), ("all", "right"), ("all", "picky"),
    ]  # fmt: skip
    counts = [(row.recordings, row.sweeps) for row in rows.values()]
    assert counts == [(1, 3)] * 3 + [(1, 2)] * 2 + [(2, 5)] * 2 + [(1, 3)]
    for group in ("still", "moving", "all"):
        assert rows[group, "far"].metrics["abs_rel"] == pytest.approx(0.1, rel=1e-4)
        assert rows[group, "right"].metrics["abs_rel"] == pytest.approx(0.0, abs=1e-6)
        assert rows[group, "right"].metrics["known_fraction"] == 1.0
        assert rows[group, "right"].ms >= 0.0
    assert comparison.left_out == {("picky", "it moves"): 1}
    assert [row.group for row in comparison.by_kind()] == ["-"] * 3, "nobody says of what kind they are"
    (panel,) = comparison.panels
    assert panel.title.startswith("b_moving") and set(panel.predictions) == {"far", "right"}


def test_means_leave_out_what_is_not_finite_and_time_is_the_fastest_of_each_recording() -> None:
    values = (("a", 1.0, 90.0), ("a", 2.0, 10.0), ("b", float("nan"), 30.0), ("c", 6.0, 20.0))
    scores = [Score(name, "-", False, 0, "m", {"x": value}, ms) for name, value, ms in values]
    summary = summarise("still", "m", scores)
    assert (summary.metrics["x"], summary.ms, summary.recordings, summary.sweeps) == (3.0, 20.0, 3, 4)


def test_the_command_prints_one_table(folder: Path, tmp_path: Path) -> None:
    numbers, picture = tmp_path / "n.json", tmp_path / "p.png"
    command = ["evaluate", "compare", str(folder), "--method", "right", "--method", "far", "--talk", "--by", "kind"]
    done = CliRunner().invoke(app, [*command, "--json", str(numbers), "--picture", str(picture), "--pictures", "2"])
    assert done.exit_code == 0, done.output
    header, *rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert header[:3] == ["sweeps", "method", "AbsRel"] and header[-1] == "ms"
    far = next(row for row in rows if row[1:3] == ["all", "far"])
    assert far[0] == "5" and far[3] == "0.100"
    written = json.loads(numbers.read_text())
    assert len(written["scores"]) == 10
    assert written["by_motion"][0]["metrics"]["ause"] is None, "they told no standard deviation"
    assert picture.stat().st_size > 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["nosuch"], "choose from"),
        (["reversal", "reversal"], "given twice"),
        (["reversal,net.txt"], "neither a model"),
        (["reversal,absent.onnx"], "no such file"),
    ],
)
def test_wrong_methods_are_told(wrong: list[str], words: str) -> None:
    with pytest.raises(EdfvError, match=words):
        parse_methods(wrong)


def test_methods_of_one_name_are_told_apart_by_their_files(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx", "p.yaml"):
        (tmp_path / name).touch()
    given = [f"reversal,{tmp_path}/a.onnx", f"reversal,{tmp_path}/b.onnx,{tmp_path}/p.yaml", "right"]
    parsed = parse_methods(given)
    assert [method.label for method in parsed] == ["reversal (a)", "reversal (b, p)", "right"]
    assert (parsed[1].model, parsed[1].prior) == (tmp_path / "b.onnx", tmp_path / "p.yaml")


def test_recordings_without_truth_or_a_stack_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no focal stack"):
        compare([folder / "a_still"], parse_methods(["focal_stack"]))
    blind = write_small_recording(tmp_path / "blind", sweeps=2, events=100, truth=False)
    with pytest.raises(SourceError, match=r"blind: there is no depth_gt\.npy"):
        compare([blind], parse_methods(["right"]))
    with pytest.raises(SourceError, match="no sweep recording"):
        find_recordings([tmp_path / "nowhere"])


def test_the_picture_of_errors_is_grey_where_nothing_is_known() -> None:
    bins = small_rig().bins
    vergence_dpt = np.array([[1.0, 1.0 + 10 * bins.width_dpt, np.nan, 1.0]], np.float32)
    picture = error_picture(vergence_dpt, np.array([[1.0, 1.0, 1.0, np.nan]], np.float32), bins)
    right, wrong, unknown, untold = picture[0].astype(int)
    assert right.sum() < 60 < 400 < wrong.sum()
    assert unknown.tolist() == untold.tolist() == [205, 205, 205]


def test_a_focal_stack_of_blurred_noise_tells_its_depths() -> None:
    """Texture at two depths, blurred in proportion to the defocus by the Fourier transform of a Gaussian."""
    random = np.random.default_rng(1)
    height, width = 96, 128
    texture = np.fft.fft2(random.uniform(0.0, 255.0, (height, width)))
    square = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.fftfreq(width)[None] ** 2
    focus_dpt = np.linspace(0.5, 4.1, 10)
    true_dpt = np.where(np.arange(width) < width // 2, 1.37, 3.05)

    def blurred(defocus_dpt: float) -> np.ndarray:
        sigma_px = 0.5 + 1.5 * abs(defocus_dpt)
        return np.fft.ifft2(texture * np.exp(-2.0 * np.pi**2 * sigma_px**2 * square)).real

    frames = []
    for focus in focus_dpt:
        left, right = blurred(focus - 1.37), blurred(focus - 3.05)
        frame = np.where(np.arange(width) < width // 2, left, right)
        frames.append(np.clip(np.round(frame + random.normal(0.0, 1.0, frame.shape)), 0, 255).astype(np.uint8))
    shuffled = random.permutation(10)
    vergence_dpt = depth_from_focus(np.array(frames)[shuffled], focus_dpt[shuffled])
    error_dpt = np.abs(vergence_dpt - true_dpt)
    inner = np.abs(np.arange(width) - width // 2) > 16
    assert np.median(error_dpt[:, inner]) < 0.06, "an eighth of the step between frames"
    assert np.quantile(error_dpt[:, inner], 0.95) < 0.25
