"""The networks that ours is compared with: what they see, what they are taught, and the way to the comparison."""

from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from recordings import small_rig, write_small_recording  # noqa: E402
from test_cli_basics import edfv  # noqa: E402
from training_records import FixedExamples, plane_record  # noqa: E402

from edfv_ros.depth.edpn import in_bins  # noqa: E402
from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, Guide, volume_input  # noqa: E402
from edfv_ros.depth.edpn_network import EdpnNetwork  # noqa: E402
from edfv_ros.depth.evidence import FocusEvidence  # noqa: E402
from edfv_ros.errors import EdfvError, SourceError  # noqa: E402
from edfv_ros.evaluation import methods, peer_networks  # noqa: E402
from edfv_ros.evaluation.comparison import compare  # noqa: E402
from edfv_ros.evaluation.held_out_items import find_recordings  # noqa: E402
from edfv_ros.evaluation.methods import parse_methods  # noqa: E402
from edfv_ros.evaluation.peer_networks import PeerInputs, PeerNetwork  # noqa: E402
from edfv_ros.evaluation.predictions import Evaluated, Predict, Prediction  # noqa: E402
from edfv_ros.training.edpn.drawing import Batch, batches  # noqa: E402
from edfv_ros.training.edpn.loop import TrainingRun  # noqa: E402
from edfv_ros.training.edpn.losses import WEIGHTS, losses, position_losses  # noqa: E402
from edfv_ros.training.edpn.network import Prediction as NetworkPrediction  # noqa: E402
from edfv_ros.training.edpn.settings import TrainingSettings, load_settings  # noqa: E402
from edfv_ros.training.edpn.shipping import export_run  # noqa: E402
from edfv_ros.training.networks import NETWORKS  # noqa: E402
from edfv_ros.training.peers.event_stack import EventStackNetwork  # noqa: E402
from edfv_ros.training.peers.published import (  # noqa: E402
    PublishedPeer,
    local_loss,
    published_losses,
    published_prediction,
)
from edfv_ros.training.published.network import PublishedOutput  # noqa: E402
from edfv_ros.volume import SweepSnapshot  # noqa: E402

SMALL = {
    "published": {"network": "published", "steps": 2, "batch": 2, "warm_up": 0, "validate_every": 2},
    "event_stack": {"network": "event_stack", "steps": 2, "batch": 2, "warm_up": 0, "validate_every": 2,
                    "widths": (8, 8, 8)},
}  # fmt: skip
PEERS = list(SMALL)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def planes(count: int, size: int = 32) -> FixedExamples:
    return FixedExamples([plane_record(n, 8.0 + n, size, size) for n in range(count)])


def batch_of(examples: FixedExamples, size: int = 2) -> Batch:
    (batch,) = batches(examples, size, range(size), seed=0, augment=False)  # type: ignore[arg-type]
    return batch


def outputs_of(distribution: torch.Tensor) -> PublishedOutput:
    """What the published network would return that sees the same with and without the prior."""
    count, _, height, width = distribution.shape
    sizes = ((32, 4), (16, 2), (8, 1), (8, 1))
    decoded = [torch.rand(count, channels, height // part, width // part) for channels, part in sizes]
    return PublishedOutput(distribution, distribution, decoded)


@pytest.fixture(scope="module", params=PEERS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Name, run and exported file of each peer."""
    folder = tmp_path_factory.mktemp(request.param)
    run = TrainingRun(folder / "run", TrainingSettings(**SMALL[request.param]), "cpu", bfloat16=False)
    run.train(planes(2), planes(2))  # type: ignore[arg-type]
    export_run(folder / "run", folder / "peer.onnx")
    return request.param, folder / "run", folder / "peer.onnx"


# Networks


def test_the_stack_holds_every_change_once() -> None:
    share = EventStackNetwork((8, 8)).share[:, :, 0, 0]
    assert share.shape == (5, BINS)
    assert torch.allclose(share.sum(0), torch.ones(BINS)) and torch.allclose(share.sum(1), torch.tensor(BINS / 5))
    assert share[0, :6].tolist() == [1.0] * 6 and share[0, 6] == pytest.approx(0.4) and share[0, 7:].sum() == 0.0


@pytest.mark.parametrize(("height", "width"), [(32, 48), (35, 50)])
def test_any_size(height: int, width: int) -> None:
    volume, guide = torch.randn(1, BINS, height, width), torch.rand(1, Guide.COUNT, height, width)
    with torch.inference_mode():
        said = EventStackNetwork((8, 8, 8, 8)).eval()(volume)
        output = PublishedPeer().eval()(volume, guide)
    assert said.position_bins.shape == said.log_scale.shape == (1, height, width)
    assert output.distribution.shape == output.sparse.shape == (1, BINS, height, width)
    assert torch.allclose(output.distribution.sum(1), torch.ones(1, height, width), atol=1e-5)


def test_the_published_peer_sees_frame_and_mask_and_no_prior() -> None:
    network = PublishedPeer().eval()
    volume, guide = torch.randn(1, BINS, 32, 32), torch.rand(1, Guide.COUNT, 32, 32)
    seen = []
    network.network.register_forward_pre_hook(lambda module, given: seen.append(given))
    with torch.inference_mode():
        network(volume, guide)
    assert torch.equal(seen[0][0], volume)
    assert torch.equal(seen[0][1][:, 0], guide[:, Guide.IMAGE] + 0.5)
    assert torch.equal(seen[0][2][:, 0], guide[:, Guide.SAME])


def test_expectation_and_spread_by_hand() -> None:
    """The ends of the sweep, each with a probability of one half: the mean is its middle, the spread half of it."""
    distribution = torch.zeros(1, BINS, 8, 8)
    distribution[:, 0], distribution[:, -1] = 0.5, 0.5
    said = published_prediction(outputs_of(distribution))
    assert torch.allclose(said.position_bins, torch.tensor(15.5))
    assert torch.allclose(np.sqrt(2.0) * torch.exp(said.log_scale), torch.tensor(16.0))


# Losses


def test_a_network_that_regresses_is_taught_what_ours_is_as_far_as_it_goes() -> None:
    truth = torch.rand(2, 16, 16) * 30.0
    said = NetworkPrediction(
        torch.rand(2, 16, 16) * 30.0, torch.rand(2, 16, 16), tuple(torch.randn(2, 65, s, s) for s in (4, 8))
    )
    far = torch.tensor([0.5, 3.0])
    all_parts = losses(said, truth, far, torch.ones_like(truth)).parts
    result = position_losses(said._replace(logits=()), truth, far)
    assert result.parts.keys() == {"likelihood", "error", "relative", "edges"}
    assert all(torch.equal(value, all_parts[name]) for name, value in result.parts.items())
    assert float(result.total) == pytest.approx(sum(WEIGHTS[name] * float(v) for name, v in result.parts.items()))


def test_published_losses_by_hand() -> None:
    """All at the far end, where the truth is 8 bins off in the left half; the right one is unknown."""
    batch = batch_of(planes(2))
    truth = torch.full((2, 32, 32), 7.5)
    truth[:, :, 16:] = float("nan")
    guide = batch.guide.clone()
    guide[:, Guide.SAME] = 1.0
    distribution = torch.zeros(2, BINS, 32, 32)
    distribution[:, 0] = 1.0
    parts = published_losses(outputs_of(distribution), batch._replace(position_bins=truth, guide=guide)).parts
    assert parts["dense"] == pytest.approx(64.0, rel=1e-5) and parts["sparse"] == pytest.approx(64.0, rel=1e-5)
    assert parts["local"] == pytest.approx(0.0, abs=1e-3), "both are flat"
    outside = published_losses(
        outputs_of(distribution), batch._replace(position_bins=torch.full_like(truth, torch.nan))
    )
    assert float(outside.total) == 0.0


def test_the_local_loss_ignores_scale_and_shift_and_nothing_else() -> None:
    truth = 10.0 * torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    known = torch.ones_like(truth)
    alike, other = 3.0 * truth - 40.0, truth.flip(-1)
    assert local_loss(alike, truth, known, known) < 0.02
    assert local_loss(other, truth, known, known) > 0.5
    assert local_loss(other, truth, known, torch.zeros_like(known)) == 0.0, "there are no edges"


@pytest.mark.parametrize("network", PEERS)
def test_it_learns_a_few_examples_by_heart(network: str, tmp_path: Path) -> None:
    examples = planes(2)
    settings = {**SMALL[network], "steps": 12, "validate_every": 12, "rate": 1e-2}
    run = TrainingRun(tmp_path, TrainingSettings(**settings), "cpu", bfloat16=False)
    seen: list[float] = []
    run.train(examples, examples, lambda step, loss, scores: seen.append(loss))  # type: ignore[arg-type]
    assert np.mean(seen[-4:-1]) < 0.7 * np.mean(seen[:2])


@pytest.mark.parametrize("network", PEERS)
def test_half_precision_says_nearly_the_same(network: str) -> None:
    kind = NETWORKS[network]  # type: ignore[index]
    torch.manual_seed(0)
    module = kind.make(SMALL[network].get("widths", ())).eval()  # type: ignore[arg-type]
    batch = batch_of(planes(2))
    inputs = [getattr(batch, name) for name in kind.inputs]
    with torch.inference_mode():
        exact = kind.read(module(*inputs))
        with torch.autocast("cpu", torch.bfloat16):
            outputs = module(*inputs)
        coarse = kind.read(outputs)
    assert coarse.position_bins.dtype == torch.float32
    assert float((coarse.position_bins - exact.position_bins).abs().quantile(0.95)) < 0.2


# Runs


def test_old_runs_are_of_our_network(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"steps": 7, "rate": 0.001, "weight_decay": 0.01, "widths": [8, 8]}')
    settings = load_settings(tmp_path)
    assert settings is not None and settings.network == "edpn" and settings.minutes is None and settings.steps == 7
    assert settings.widths == (8, 8)


def test_each_network_has_its_usual_settings() -> None:
    assert TrainingSettings(network="published").rate == 3e-4, "as its authors train it"
    assert TrainingSettings(network="published", rate=0.1).rate == 0.1
    assert TrainingSettings(network="event_stack").widths == (16, 32, 64, 128, 256)
    for wrong in ({"network": "published", "widths": (8, 8)}, {"widths": (8,)}, {"network": "dense"}):
        with pytest.raises(ValueError, match=r"widths|network"):
            TrainingSettings(**wrong)


def test_a_run_is_of_one_network(trained: tuple[str, Path, Path], tmp_path: Path) -> None:
    network, run, _ = trained
    with pytest.raises(EdfvError, match=f"holds a run with network = {network}, not edpn: use another folder"):
        TrainingRun(run, TrainingSettings(), "cpu", bfloat16=False)
    again = TrainingRun(run, TrainingSettings(**SMALL[network]), "cpu", bfloat16=False)
    assert again.step == 2


# Files


def test_a_file_says_what_the_network_says(trained: tuple[str, Path, Path]) -> None:
    network, _, path = trained
    told = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert told["name"] == f"peer_{network}" and '"steps": 2' in told["provenance"]
    rng = np.random.default_rng(0)
    size = (37, 50)
    inputs = {
        "volume": rng.normal(size=(BINS, *size)).astype(np.float32),
        "guide": rng.uniform(size=(Guide.COUNT, *size)).astype(np.float32),
    }
    position, scale = PeerNetwork(network, path)(inputs)  # type: ignore[arg-type]
    assert position.shape == scale.shape == size and (scale > 0.0).all()
    assert position.min() >= -0.51 and position.max() <= 31.51


def test_files_are_taken_for_nothing_else(trained: tuple[str, Path, Path], tmp_path: Path) -> None:
    network, run, path = trained
    other = "published" if network == "event_stack" else "event_stack"
    with pytest.raises(SourceError, match=f"holds peer_{network}: give a file .* --network {other}"):
        PeerNetwork(other, path)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=f"holds peer_{network}"):
        EdpnNetwork(path, 8, 8)
    model = onnx.load(path)
    told = {prop.key: prop.value for prop in model.metadata_props}
    onnx.helper.set_model_props(model, {**told, "format": "9"})
    onnx.save(model, tmp_path / "newer.onnx")
    with pytest.raises(SourceError, match="its format is 9, not 1"):
        PeerNetwork(network, tmp_path / "newer.onnx")  # type: ignore[arg-type]
    code, _, notes = edfv("export", run, "--out", tmp_path / "peer.onnx", "--ship")
    assert code == 2 and "only there to be compared with" in " ".join(notes.split())
    assert not (tmp_path / "peer.onnx").exists() and not (tmp_path / "manifest.json").exists()


# The comparison


def test_it_is_a_row_of_the_comparison(trained: tuple[str, Path, Path], tmp_path: Path) -> None:
    network, _, path = trained
    write_small_recording(tmp_path / "still", sweeps=2, events=3000)
    comparison = compare(find_recordings([tmp_path / "still"]), parse_methods([f"{network},{path}"]))
    (row,) = comparison.by_motion()
    assert row.method == network and row.sweeps == 2
    assert row.metrics["known_fraction"] == 1.0 and 0.0 <= row.metrics["within_1_sigma"] <= 1.0
    with pytest.raises(EdfvError, match=f"needs its network: --method {network},FILE"):
        compare([tmp_path / "still"], parse_methods([network]))


def test_metres_are_those_of_the_rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that says "the middle of the sweep, give or take half of it" everywhere."""

    class Middle:
        def __init__(self, network: str, path: Path) -> None:
            pass

        def __call__(self, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            shape = inputs["volume"].shape[1:]
            return np.full(shape, 15.5, np.float32), np.full(shape, 16.0 / np.sqrt(2.0), np.float32)

    monkeypatch.setattr(peer_networks, "PeerNetwork", Middle)
    (tmp_path / "m.onnx").touch()
    recording = write_small_recording(tmp_path / "still", sweeps=2, events=3000)
    comparison = compare([recording], parse_methods([f"event_stack,{tmp_path / 'm.onnx'}"]))
    bins = small_rig().bins
    middle_m = 2.0 / (bins.min_dpt + bins.max_dpt)
    (row,) = comparison.by_motion()
    assert row.metrics["abs_rel"] == pytest.approx(abs(middle_m - 0.8) / 0.8, rel=1e-4)
    assert row.metrics["within_1_sigma"] == 1.0, "nothing in the sweep is farther from its middle"


def test_what_peers_see_is_what_our_network_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def open_peer(recording: Evaluated, model: Path | None) -> Predict:
        rig = recording.rig
        inputs_of = PeerInputs(rig)
        evidence_of = FocusEvidence(rig.optics.blur_slope_px_per_dpt, rig.bins, CANDIDATES)

        def predict(snapshot: SweepSnapshot) -> Prediction:
            inputs = inputs_of(snapshot)
            evidence = evidence_of(*((volume.counts, volume.sweep.direction) for volume in snapshot.volumes))
            height, width = snapshot.latest.counts.shape[1:]
            expected = volume_input(in_bins(evidence.change, BINS), height, width)
            np.testing.assert_array_equal(inputs["volume"], expected[:, :height, :width])
            assert np.abs(expected).max() > 0.5 and inputs["guide"].shape == (Guide.COUNT, height, width)
            seen.append(snapshot.index)
            unknown = np.full((height, width), np.nan, np.float32)
            return Prediction(unknown, unknown)

        return predict

    monkeypatch.setattr(methods, "PEERS", {"looks": open_peer})
    compare([write_small_recording(tmp_path / "still", sweeps=2, events=3000)], parse_methods(["looks"]))
    assert len(seen) == 2
