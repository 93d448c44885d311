from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from edfv_ros.depth.edpn_inputs import BINS, SCORED, score_input, volume_input  # noqa: E402
from edfv_ros.depth.evidence import FocusEvidence  # noqa: E402
from edfv_ros.errors import EdfvError, OutputError  # noqa: E402
from edfv_ros.optics import VergenceBins  # noqa: E402
from edfv_ros.simulation.crops import TrainingSweeps, make_crop  # noqa: E402
from edfv_ros.simulation.dataset import Dataset, Manifest  # noqa: E402
from edfv_ros.simulation.domain import Domain  # noqa: E402
from edfv_ros.simulation.sample_codec import encode  # noqa: E402
from edfv_ros.simulation.shards import shard_path, write_shard  # noqa: E402
from edfv_ros.training.edpn import examples as module  # noqa: E402
from edfv_ros.training.edpn.background_data import BackgroundData  # noqa: E402
from edfv_ros.training.edpn.examples import BOTH, SINGLE, VOLUME_UNIT, Examples, make_example, prepare_examples  # noqa: E402
from edfv_ros.training.volumes import bin_volumes  # noqa: E402

SIZE = (46, 34)  # no multiples of four
FEW = Domain(kinds=("cards",), least_supported=0.05, frame=1.0)


@pytest.fixture(scope="module")
def samples() -> list[TrainingSweeps]:
    return [make_crop(seed, SIZE, FEW) for seed in range(3)]


def write_set(folder: Path, samples: list[TrainingSweeps], count: int | None = None) -> None:
    """A data set in shards of two, of which there may be less than there are to be."""
    count = len(samples) if count is None else count
    manifest = Manifest(count=count, split="train", resolution=SIZE, domain=FEW, shard_size=2)
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(manifest.model_dump_json())
    for number in range(0, len(samples), 2):
        write_shard(shard_path(folder, number // 2), [encode(sample) for sample in samples[number : number + 2]])


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype and one.tobytes() == other.tobytes()


def one_line(directory: Path, error: type[EdfvError] = EdfvError) -> str:
    with pytest.raises(error) as caught:
        Examples(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_example_is_what_the_runtime_would_see(samples: list[TrainingSweeps]) -> None:
    sample = samples[0]
    record = make_example(sample)
    counts, event_count = bin_volumes(sample, BINS)
    evidence_of = FocusEvidence(sample.blur_slope_px_per_dpt, VergenceBins(*sample.vergence_range_dpt, BINS), SCORED)
    single = 0 if record["single_up"] else 1
    sweeps = [(counts[0], 1), (counts[1], -1)]
    for variant, chosen in ((BOTH, sweeps), (SINGLE, sweeps[single : single + 1])):
        evidence = evidence_of(*chosen)
        np.testing.assert_allclose(record["score"][variant], score_input(evidence.score), atol=2e-3)
        volume = volume_input(evidence.change, *event_count.shape[1:])
        np.testing.assert_allclose(record["volume"][variant] * VOLUME_UNIT, volume, atol=VOLUME_UNIT * 0.51)
    np.testing.assert_array_equal(record["event_count"][BOTH], event_count.sum(0))
    np.testing.assert_array_equal(record["event_count"][SINGLE], event_count[single])
    assert event_count.sum() > 100
    np.testing.assert_array_equal(record["frame"], sample.frame)
    assert record["has_frame"]
    assert record["slope_px_per_bin"] == pytest.approx(
        sample.blur_slope_px_per_dpt * np.ptp(sample.vergence_range_dpt) / 32
    )


def test_a_plane_lies_where_its_vergence_does(samples: list[TrainingSweeps]) -> None:
    far, near = samples[0].vergence_range_dpt
    depth = np.full_like(samples[0].depth_m, 1.0 / (far + 0.25 * (near - far)))
    depth[:, 0], depth[:, 1], depth[:, 2] = np.nan, np.inf, 1.0 / near
    record = make_example(replace(samples[0], depth_m=depth, frame=None))
    position, far_bins = record["position_bins"], record["far_bins"]
    assert np.isnan(position[:, 0]).all()
    np.testing.assert_allclose(position[:, 1], -0.5 - far_bins, rtol=1e-5)
    np.testing.assert_allclose(position[:, 2], 31.5, rtol=1e-5)
    np.testing.assert_allclose(position[:, 3:], 7.5, rtol=1e-5)
    np.testing.assert_allclose((position[:, 3:] + 0.5 + far_bins) * (near - far) / 32 * depth[:, 3:], 1.0, rtol=1e-5)
    assert not record["has_frame"]


def test_the_truth_is_that_of_the_sweep(samples: list[TrainingSweeps]) -> None:
    far, near = samples[0].vergence_range_dpt
    ends = np.stack([np.full(SIZE[::-1], 1.0 / vergence, np.float32) for vergence in (near, (near + far) / 2)])
    record = make_example(replace(samples[0], depth_m=ends))
    assert record["position_bins"][SINGLE, 0, 0] == pytest.approx(31.5 if record["single_up"] else 15.5, rel=1e-5)


def test_examples_are_made_once_in_the_order_of_the_samples(
    tmp_path: Path, samples: list[TrainingSweeps], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path, samples)
    told: list[tuple[int, int]] = []
    examples = Examples(tmp_path, lambda ready, count: told.append((ready, count)))
    assert len(examples) == 3 and examples.resolution == SIZE and told[-1] == (3, 3)
    for number, sample in enumerate(samples):
        assert_same(examples[number], make_example(sample))
    monkeypatch.setattr(module, "make_example", None)
    assert len(Examples(tmp_path)) == 3


def test_a_set_that_grows_is_seen_when_asked_for(tmp_path: Path, samples: list[TrainingSweeps]) -> None:
    write_set(tmp_path, [], count=3)
    assert "holds no whole shard yet" in one_line(tmp_path)
    write_set(tmp_path, samples[:1])
    examples = Examples(tmp_path)
    write_set(tmp_path, samples)  # the first shard was a short one, and has been made anew
    examples.extend()
    assert len(examples) == 0  # not before its examples are ready
    assert prepare_examples(tmp_path) == 3
    examples.extend()
    assert len(examples) == len(Dataset(tmp_path)) == 3
    assert_same(examples[1], make_example(samples[1]))


def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, samples: list[TrainingSweeps], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path, samples)

    def full(sample: TrainingSweeps) -> np.ndarray:
        if sample.seed == 1:
            raise OSError(28, "No space left on device")
        return make_example(sample)

    with monkeypatch.context() as patch:
        patch.setattr(module, "make_example", full)
        assert "No space left" in one_line(tmp_path, OutputError)
    assert list((tmp_path / "examples").iterdir()) == []
    Examples(tmp_path)
    path = sorted((tmp_path / "examples").iterdir())[0]
    for content in (b"", path.read_bytes()[:1000], b"nonsense"):
        path.write_bytes(content)
        assert f"{path}: cannot be read" in one_line(tmp_path)
    path.unlink()
    assert len(Examples(tmp_path)) == 3


def test_where_no_examples_can_be_written(tmp_path: Path, samples: list[TrainingSweeps]) -> None:
    write_set(tmp_path, samples)
    (tmp_path / "examples").touch()
    assert "in the way" in one_line(tmp_path, OutputError)
    assert "is no data set" in one_line(tmp_path / "absent")


def test_a_set_is_made_in_the_background(tmp_path: Path, samples: list[TrainingSweeps]) -> None:
    write_set(tmp_path, samples[:2])
    with BackgroundData(tmp_path, 3, 64, workers=1) as making:
        making.wait_for_first(lambda done, count: None)
        examples = Examples(tmp_path, prepare=False)
        assert examples.resolution == SIZE and len(examples) >= 2
        for thread in making._threads:
            thread.join(60.0)
        making.check()
        examples.extend()
    assert making.done == making.count == len(examples) == 3
    assert_same(examples[2], make_example(samples[2]))


def test_a_set_in_the_making_can_be_left(tmp_path: Path) -> None:
    with BackgroundData(tmp_path, 500, 32, workers=1):
        pass
    assert len(Dataset(tmp_path)) == 0


def test_what_ends_the_making_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with BackgroundData(tmp_path / "file" / "set", 2, 32, workers=1) as making, pytest.raises(EdfvError):
        making.wait_for_first(lambda done, count: None)
