import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edfv_ros.cli import app
from edfv_ros.errors import SimulationError
from edfv_ros.simulation.dataset import MANIFEST_NAME, Dataset, Progress, generate
from edfv_ros.simulation.domain import Domain
from edfv_ros.simulation.shards import ShardReader
from edfv_ros.training.contact_sheet import contact_sheet

SIZE = (40, 32)
FEW = Domain(kinds=("cards", "wires"), least_supported=0.1)
COUNT, SHARD = 6, 2


def make(folder: Path, workers: int = 1, **options: object) -> dict[str, bytes]:
    """Make the small set, and return its files."""
    generate(folder, COUNT, "train", SIZE, FEW, workers, shard_size=SHARD, **options)  # type: ignore[arg-type]
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make(tmp_path_factory.mktemp("reference"))


@pytest.fixture
def small(tmp_path: Path, reference: dict[str, bytes]) -> Path:
    for name, content in reference.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(SimulationError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- many samples


def test_any_number_of_workers_writes_the_same(tmp_path: Path, reference: dict[str, bytes]) -> None:
    seen: list[Progress] = []
    assert make(tmp_path, workers=3, progress=seen.append) == reference
    assert [p.done for p in seen] == list(range(COUNT + 1)) and seen[-1].made == seen[-1].count == COUNT
    samples = Dataset(tmp_path)
    assert len(samples) == COUNT and [samples[i].seed for i in range(COUNT)] == list(range(COUNT))
    assert samples[-1].seed == COUNT - 1
    with pytest.raises(IndexError):
        samples[COUNT]


def test_a_killed_run_goes_on(tmp_path: Path, reference: dict[str, bytes]) -> None:
    code = (
        "import sys; from pathlib import Path; from edfv_ros.simulation.dataset import generate; "
        "from edfv_ros.simulation.domain import Domain; "
        f"generate(Path(sys.argv[1]), {COUNT}, 'train', {SIZE}, Domain.model_validate_json(sys.argv[2]), 1, "
        f"shard_size={SHARD})"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), FEW.model_dump_json()])
    deadline = time.monotonic() + 120
    while not any(tmp_path.glob("shard_*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill()
    run.wait()
    (first,) = sorted(tmp_path.glob("shard_*"))[:1]
    stamp = first.stat().st_mtime_ns
    assert len(Dataset(tmp_path)) < COUNT
    seen: list[Progress] = []
    files = make(tmp_path, progress=seen.append)
    assert {name: files[name] for name in reference} == reference
    assert seen[0].done >= SHARD and first.stat().st_mtime_ns == stamp


def test_a_worker_that_is_killed_is_replaced_and_named(tmp_path: Path, reference: dict[str, bytes]) -> None:
    notices: list[str] = []

    def kill(progress: Progress) -> None:
        if progress.made == 1:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for child in children:
                if b"crop_worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)

    assert make(tmp_path, progress=kill, notice=notices.append) == reference
    assert notices == ["seed 1 of train: its worker ended (SIGKILL); it is tried once more"]


def test_a_seed_that_ends_every_worker_is_replaced(
    tmp_path: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, edfv_ros.simulation.crops as crops\n"
        "made = crops.make_crop\n"
        "crops.make_crop = lambda seed, *rest: os._exit(7) if seed == 5 else made(seed, *rest)\n"
    )
    path = os.pathsep.join([str(broken), str(Path(__file__).parents[1])])
    monkeypatch.setenv("PYTHONPATH", path)
    notices: list[str] = []
    files = make(tmp_path / "set", notice=notices.append)
    assert len(notices) == 2 and all("seed 5 of train" in line and "exit status 7" in line for line in notices)
    samples = Dataset(tmp_path / "set")
    assert samples[5].seed == 5 + (1 << 40)
    assert files["shard_00001.edfv"] == reference["shard_00001.edfv"]


def test_a_set_goes_on_only_as_it_was_begun(small: Path, reference: dict[str, bytes]) -> None:
    def again(count: int = COUNT, size: tuple[int, int] = SIZE, domain: Domain = FEW) -> None:
        generate(small, count, "train", size, domain, 1, shard_size=SHARD)

    again()
    assert {path.name: path.read_bytes() for path in small.iterdir()} == reference
    assert "resolution = (40, 32), not (64, 48)" in one_line(lambda: again(size=(64, 48)))
    other = FEW.model_copy(update={"sine": 0.9})
    assert "domain.sine = 0.4, not 0.9" in one_line(lambda: again(domain=other))
    assert f"count = {COUNT}" in one_line(lambda: again(count=COUNT - 1))
    again(count=COUNT + 1)
    assert len(Dataset(small)) == COUNT + 1
    (small / MANIFEST_NAME).unlink()
    assert "shards but no dataset.json" in one_line(again)
    assert "is no data set" in one_line(lambda: Dataset(small))
    assert "workers = 0" in one_line(lambda: generate(small / "new", 1, workers=0))


def test_damage_is_one_line_and_made_good(small: Path, reference: dict[str, bytes]) -> None:
    path = small / "shard_00001.edfv"
    whole = reference[path.name]

    cut = whole[:-1]
    path.write_bytes(cut)
    assert str(path) in one_line(lambda: Dataset(small))

    path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    samples = Dataset(small)
    assert samples[2].seed == 2
    assert "sample 1" in one_line(lambda: samples[3])

    for head in (b"", b"EDF", whole[:30], b"X" + whole[1:], whole[:25] + bytes([whole[25] ^ 1]) + whole[26:]):
        path.write_bytes(head)
        one_line(lambda: ShardReader(path))
    make(small)
    assert path.read_bytes() == whole
    assert "no such" in one_line(lambda: ShardReader(small / "shard_00099.edfv")).lower()


# --- the command


def test_the_command_makes_samples_and_a_picture_of_them(tmp_path: Path) -> None:
    ranges = tmp_path / "domain.yaml"
    ranges.write_text("kinds: [cards]\nleast_supported: 0.1\n")
    out, picture = tmp_path / "set", tmp_path / "look.png"
    given = ["dataset", "--out", str(out), "--count", "2", "--size", "48", "--split", "test", "--workers", "1"]
    result = CliRunner().invoke(app, [*given, "--domain", str(ranges), "--preview", str(picture)])
    assert result.exit_code == 0, result.output
    assert "2 samples of 48 x 48, test" in result.stdout
    manifest = json.loads((out / MANIFEST_NAME).read_text())
    assert manifest["domain"]["kinds"] == ["cards"] and manifest["count"] == 2
    samples = Dataset(out)
    drawn = cv2.imread(str(picture))
    assert np.array_equal(drawn, contact_sheet([samples[0], samples[1]]))

    ranges.write_text("kind: [cards]\n")
    result = CliRunner().invoke(app, [*given, "--domain", str(ranges)])
    assert result.exit_code == 2 and "did you mean kinds?" in result.stderr
