import csv
import errno
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training_records import FixedExamples, plane_record  # noqa: E402

from edfv_ros.errors import EdfvError, OutputError  # noqa: E402
from edfv_ros.training.edpn import loop  # noqa: E402
from edfv_ros.training.edpn.checkpoint import averaged_network, load_state  # noqa: E402
from edfv_ros.training.edpn.loop import TrainingRun  # noqa: E402
from edfv_ros.training.edpn.network import Prediction  # noqa: E402
from edfv_ros.training.edpn.scoring import Scores, mean_scores, score_examples  # noqa: E402
from edfv_ros.training.edpn.settings import TrainingSettings  # noqa: E402

USUAL = {"steps": 6, "batch": 2, "warm_up": 2, "widths": (8, 8, 8), "validate_every": 2, "rate": 1e-2}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def planes(count: int = 4, first_seed: int = 0, size: int = 32) -> FixedExamples:
    return FixedExamples([plane_record(first_seed + n, 8.0 + n, size, size) for n in range(count)])


def begin(folder: Path, **settings: object) -> TrainingRun:
    return TrainingRun(folder, TrainingSettings(**{**USUAL, **settings}), "cpu", bfloat16=False)  # type: ignore[arg-type]


def one_line(call: object, *arguments: object, error: type[EdfvError] = EdfvError, **options: object) -> str:
    with pytest.raises(error) as caught:
        call(*arguments, **options)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_equal(one: TrainingRun, other: TrainingRun) -> None:
    for first, second in ((one.network, other.network), (one.averaged, other.averaged)):
        states = first.state_dict(), second.state_dict()
        assert states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            assert torch.equal(value, states[1][name]), name
    kept = [
        [{k: v for k, v in row.items() if k not in ("hours", "loss")} for row in run.history] for run in (one, other)
    ]
    assert kept[0] == kept[1]


def test_it_learns_a_few_examples_by_heart(tmp_path: Path) -> None:
    """The evidence is two bins off and the same for nobody: what is learned is where the planes are."""
    examples = planes()
    run = begin(tmp_path, steps=40, batch=4, validate_every=40)
    before = run.validate(examples)  # type: ignore[arg-type]
    seen: list[float] = []
    run.train(examples, examples, lambda step, loss, scores: seen.append(loss))  # type: ignore[arg-type]
    assert len(seen) == run.step == 40
    assert np.mean(seen[-6:-1]) < 0.5 * np.mean(seen[:5])
    after = run.validate(examples)  # type: ignore[arg-type]
    assert after.loss < 0.8 * before.loss
    assert after.median_bins < before.median_bins and after.delta1 >= before.delta1


def test_ctrl_c_and_again_is_as_if_nothing_had_been(tmp_path: Path) -> None:
    through = begin(tmp_path / "through")
    through.train(planes(), planes(2, 9))  # type: ignore[arg-type]

    def stop(step: int, loss: float, scores: Scores | None) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    halved = begin(tmp_path / "halved")
    with pytest.raises(KeyboardInterrupt):
        halved.train(planes(), planes(2, 9), stop)  # type: ignore[arg-type]
    assert halved.step == load_state(tmp_path / "halved")["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    torch.rand(7)  # whatever others draw
    again = begin(tmp_path / "halved")
    assert again.step == 3
    again.train(planes(), planes(2, 9))  # type: ignore[arg-type]
    assert_equal(through, again)
    network, state = averaged_network(tmp_path / "halved")
    assert state["step"] == 6 and not network.training
    for value, expected in zip(network.parameters(), through.averaged.module.parameters(), strict=True):
        assert torch.equal(value, expected)


def test_the_averaged_statistics_follow_those_of_the_network(tmp_path: Path) -> None:
    run = begin(tmp_path, steps=12, validate_every=12)
    run.train(planes(), planes(1))  # type: ignore[arg-type]
    averaged, last = (dict(network.named_buffers()) for network in (run.averaged.module, run.network))
    first = dict(begin(tmp_path / "new").network.named_buffers())
    for name in averaged:
        if name.endswith("running_mean"):
            assert (averaged[name] - last[name]).norm() < (first[name] - last[name]).norm(), name


def test_the_folder_tells_the_story(tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.train(planes(), planes(2, 9))  # type: ignore[arg-type]
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"] and {row["examples"] for row in rows} == {"4"}
    assert float(rows[-1]["val_delta1"]) == run.history[-1]["val_delta1"]
    assert float(rows[-1]["hours"]) > float(rows[0]["hours"]) > 0.0
    for name in ("curves.png", "samples.png"):
        picture = cv2.imread(str(tmp_path / name))
        assert picture is not None and np.ptp(picture) > 200, name
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint.pt", "training.json", "history.csv", "curves.png", "samples.png",
    }  # fmt: skip


def test_crops_of_any_size(tmp_path: Path) -> None:
    examples = FixedExamples([plane_record(n, 8.0, 38, 34) for n in range(2)])
    run = begin(tmp_path, steps=2, widths=(8, 8, 8, 8, 8))
    run.train(examples, examples)  # type: ignore[arg-type]
    assert np.isfinite(run.history[-1]["val_loss"]) and run.skipped == 0


def test_steps_without_a_finite_gradient_are_counted_and_change_nothing(tmp_path: Path) -> None:
    broken = plane_record(0, 8.0)
    broken["score"][:, 0] = np.nan
    run = begin(tmp_path, steps=4, batch=1, validate_every=4)
    run.train(FixedExamples([broken, plane_record(1, 9.0)]), planes(1))  # type: ignore[arg-type]
    assert run.skipped == run.history[-1]["skipped"] == load_state(tmp_path)["skipped"] == 2
    assert np.isfinite(run.history[-1]["loss"])
    assert all(torch.isfinite(value).all() for value in run.averaged.state_dict().values())
    assert all(torch.isfinite(value).all() for value in run.network.state_dict().values())


def test_a_training_that_diverges_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_MOST_SKIPPED", 3)
    broken = plane_record(0, 8.0)
    broken["score"] = np.nan
    run = begin(tmp_path, batch=1, validate_every=6)
    line = one_line(run.train, FixedExamples([broken]), planes(1))
    assert "3 steps in a row, up to step 3" in line and "rate below 0.01" in line


def test_a_run_goes_on_only_as_it_was_begun(tmp_path: Path) -> None:
    begin(tmp_path)
    assert "rate = 0.01, not 0.02" in one_line(begin, tmp_path, rate=0.02)
    assert "steps = 6, not 5: give 6 or more" in one_line(begin, tmp_path, steps=5)
    assert begin(tmp_path, steps=8).settings.steps == 8
    assert "steps = 8, not 6" in one_line(begin, tmp_path)
    (tmp_path / "training.json").write_text("{")
    assert "training.json" in one_line(begin, tmp_path)
    (tmp_path / "file").touch()
    assert "a file is in the way" in one_line(begin, tmp_path / "file", error=OutputError)


def test_damaged_checkpoints_are_one_line(tmp_path: Path) -> None:
    run = begin(tmp_path, steps=1, validate_every=1)
    assert "train first" in one_line(load_state, tmp_path)
    run.train(planes(), planes(1))  # type: ignore[arg-type]
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert "damaged" in one_line(begin, tmp_path, steps=1, validate_every=1)
        assert "damaged" in one_line(averaged_network, tmp_path)
    torch.save({"network": {}}, path)
    assert "entries are missing" in one_line(load_state, tmp_path)
    path.write_bytes(whole)
    (tmp_path / "training.json").unlink()
    assert "damaged" in one_line(begin, tmp_path, steps=1, widths=(10, 8, 8))


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tmp_path, steps=4)
    begin(tmp_path, steps=4)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(step: int, loss: float, scores: Scores | None) -> None:
        if step == 2:
            monkeypatch.setattr("edfv_ros.training.edpn.checkpoint.os.fsync", full)

    assert "No space left" in one_line(run.train, planes(), planes(1), fill, error=OutputError)
    assert load_state(tmp_path)["step"] == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_scores_by_hand() -> None:
    truth = torch.full((2, 4, 4), 9.5)  # with a far end of 0, the vergence is 10 bins
    truth[0, 0] = 31.6  # beyond the sweep
    truth[1] = float("nan")
    said = torch.full((2, 4, 4), 9.5)
    said[0, 1] = 7.5  # a vergence of 8 bins: the depth is 1.25 of the true one
    said[0, 2] = 8.5
    log_scale = torch.full((2, 4, 4), float(np.log(1.1 / np.sqrt(2.0))))
    prediction = Prediction(said, log_scale, ())
    (of_first,) = score_examples(prediction, truth, torch.zeros(2))
    assert of_first == pytest.approx(((0.25 + 1 / 9 + 0.0) / 3, 2 / 3, 1.0, 2 / 3), rel=1e-5)
    assert mean_scores([of_first, (0.0, 1.0, 0.0, 1.0)], 3.0).delta1 == pytest.approx(5 / 6)
    assert np.isnan(mean_scores([], 3.0).abs_rel)


def test_the_rate_rises_and_falls() -> None:
    settings = TrainingSettings(steps=110, warm_up=10, rate=1.0)
    assert [settings.rate_at(step) for step in (0, 4, 9, 10, 60, 110)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 0.0])


def test_limited_time_ends_the_rate_and_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which each step takes a minute."""
    minutes = iter(range(1000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: 60.0 * next(minutes))
    run = begin(tmp_path, steps=100, minutes=3.0, validate_every=2)
    run.train(planes(), planes(1))  # type: ignore[arg-type]
    assert [row["step"] for row in run.history] == [2, 3] and run.hours == pytest.approx(3.0 / 60.0)
    assert "minutes = 3.0, not 2.0: give 3.0 or more" in one_line(
        begin, tmp_path, steps=100, minutes=2.0, validate_every=2
    )
    longer = begin(tmp_path, steps=100, minutes=5.0, validate_every=2)
    longer.train(planes(), planes(1))  # type: ignore[arg-type]
    assert longer.step == 5 and load_state(tmp_path)["step"] == 5


def test_the_rate_follows_the_larger_part_of_steps_and_time() -> None:
    settings = TrainingSettings(steps=110, warm_up=10, rate=1.0, minutes=60.0)
    told = {(60, 0.0): 0.5, (10, 0.5): 0.5, (60, 0.25): 0.5, (30, 1.0): 0.0, (2, 0.5): 0.5}
    assert [settings.rate_at(*done) for done in told] == pytest.approx(list(told.values()))
    assert settings.rate_at(0, 0.025) == pytest.approx(0.5, abs=0.01), "half way through a twentieth of the time"
    assert not settings.is_over(109, 0.99) and settings.is_over(110, 0.0) and settings.is_over(0, 1.0)
