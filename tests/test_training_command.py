import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs torch")

from training_records import plane_record  # noqa: E402

from edfv_ros.cli import app  # noqa: E402
from edfv_ros.simulation.dataset import Manifest  # noqa: E402
from edfv_ros.simulation.domain import Domain  # noqa: E402
from edfv_ros.simulation.shards import shard_path, write_shard  # noqa: E402
from edfv_ros.training.edpn.device import choose_device  # noqa: E402
from edfv_ros.training.edpn.examples import FORMAT  # noqa: E402
from edfv_ros.training.edpn.settings import TrainingSettings  # noqa: E402

SIZE = 32


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def edfv(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def write_set(folder: Path, split: str, count: int) -> Path:
    """A data set whose examples are ready; its shard is only counted, never read."""
    manifest = Manifest(count=count, split=split, resolution=(SIZE, SIZE), domain=Domain(), shard_size=count)  # type: ignore[arg-type]
    (folder / "examples").mkdir(parents=True)
    (folder / "dataset.json").write_text(manifest.model_dump_json())
    write_shard(shard_path(folder, 0), [b"never read"] * count)
    np.save(folder / "examples" / f"v{FORMAT}_00000.npy", np.stack([plane_record(n, 8.0 + n) for n in range(count)]))
    return folder


@pytest.fixture
def sets(tmp_path: Path) -> list[object]:
    """The options that name a training set, a validation set and a run, of a small network."""
    data = write_set(tmp_path / "data", "train", 4)
    validation = write_set(tmp_path / "validation", "validation", 2)
    run = tmp_path / "run"
    run.mkdir()
    small = TrainingSettings(steps=4, batch=2, widths=(8, 8, 8), validate_every=2, warm_up=1)
    (run / "training.json").write_text(small.model_dump_json())
    return ["--out", run, "--data", data, "--validation", validation, "--device", "cpu"]


def test_help() -> None:
    assert " train " in edfv("--help")[1]
    code, out, _ = edfv("train", "--help")
    assert code == 0 and re.search(r"Examples:\s+edfv train --out run", out)


def test_training_says_what_it_does(tmp_path: Path, sets: list[object]) -> None:
    code, out, error = edfv("train", *sets, "--precision", "float32")
    assert code == 0
    lines = error.splitlines()
    assert re.fullmatch(
        r"CPU, \d+ threads?, float32; 4 examples of 32 x 32, 2 to validate; 0\.\d\d million parameters", lines[0]
    )
    assert [line.split(",")[0] for line in lines[1:]] == ["step 2", "step 4"]
    assert all(re.search(r"loss \d+\.\d+; validation: loss \d+\.\d+, delta1 [01]\.\d+", line) for line in lines[1:])
    assert "left" in lines[1]
    assert out.startswith(f"{tmp_path / 'run'}: step 4") and out.count("\n") == 1


def test_the_same_command_goes_on(tmp_path: Path, sets: list[object]) -> None:
    assert edfv("train", *sets)[0] == 0
    code, _, error = edfv("train", *sets, "--steps", 6)
    assert code == 0 and "going on after step 4 of 6" in error
    assert json.loads((tmp_path / "run" / "training.json").read_text())["steps"] == 6
    code, out, error = edfv("train", *sets)  # all is done
    assert code == 0 and "step 6" in out


def test_ctrl_c_keeps_what_was_learned(tmp_path: Path, sets: list[object]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edfv_ros.cli", "train", *map(str, sets), "--steps", "100000", "--validate-every", "2"],
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 4"):
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130
    assert rest.splitlines()[-1] == f"interrupted; the same command goes on with what is in {tmp_path / 'run'}"
    assert "Traceback" not in rest
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["step"] >= 4


def test_bad_arguments_are_one_line_and_2(tmp_path: Path, sets: list[object]) -> None:
    data, validation = sets[3], sets[5]
    new = ["--out", tmp_path / "new", "--data", data, "--validation", validation]
    cases: list[tuple[list[object], str]] = [
        ([*new, "--steps", 0], "steps = 0"),
        ([*new, "--rate", -1], "rate = -1"),
        ([*new, "--rate", "nan"], "rate = nan"),
        ([*new, "--batch", 0], "batch = 0"),
        ([*new, "--seed", -1], "seed = -1"),
        (["--out", tmp_path / "new", "--data", tmp_path, "--validation", validation], "is no data set"),
        (["--out", tmp_path / "new", "--data", data, "--validation", tmp_path], "is no data set"),
        (["--out", tmp_path / "new", "--data", data, "--validation", data], "of the split train"),
        (
            ["--out", Path(str(data)) / "dataset.json", "--data", data, "--validation", validation],
            "a file is in the way",
        ),
        ([*sets, "--seed", 3], "seed = 0, not 3"),
    ]
    if not torch.cuda.is_available():
        cases.append(([*new, "--device", "cuda"], "device cuda"))
    for arguments, expected in cases:
        code, out, error = edfv("train", *arguments)
        assert (code, out) == (2, ""), error
        assert error.startswith("edfv: ") and error.count("\n") == 1 and expected in error, error
    assert not (tmp_path / "new").exists()


def test_without_torch(sets: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest))
    code, _, error = edfv("train", *sets)
    assert code == 2 and "pip install edfv_ros[train]" in error and error.count("\n") == 1


def test_precision_is_what_was_asked_for() -> None:
    assert choose_device("cpu", "bfloat16").bfloat16
    assert choose_device("cpu", "float32").precision == "float32"
    assert choose_device("auto", "auto").name == ("cuda" if torch.cuda.is_available() else "cpu")
