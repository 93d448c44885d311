"""Our network through ONNX Runtime: the same as in torch, at any size, in float32 and nearly so in int8."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="the network is exported from torch")

import onnxruntime  # noqa: E402
from test_cli_basics import edfv  # noqa: E402
from training_records import FixedExamples, plane_record  # noqa: E402

from edfv_ros.depth import models  # noqa: E402
from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CELL_PX, CONDITIONS, Guide  # noqa: E402
from edfv_ros.depth.edpn_network import EdpnNetwork  # noqa: E402
from edfv_ros.depth.onnx_session import open_session  # noqa: E402
from edfv_ros.errors import EdfvError, OutputError, SourceError  # noqa: E402
from edfv_ros.training.edpn import export, quantise  # noqa: E402
from edfv_ros.training.edpn.checkpoint import averaged_network  # noqa: E402
from edfv_ros.training.edpn.export import export_onnx  # noqa: E402
from edfv_ros.training.edpn.loop import TrainingRun  # noqa: E402
from edfv_ros.training.edpn.network import Edpn  # noqa: E402
from edfv_ros.training.edpn.settings import TrainingSettings  # noqa: E402
from edfv_ros.training.edpn.shipping import export_run, write_manifest  # noqa: E402
from edfv_ros.training.onnx_files import write_onnx  # noqa: E402

WIDTHS = (8, 8, 8)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def planes(count: int, first_seed: int = 0) -> FixedExamples:
    return FixedExamples([plane_record(first_seed + n, 6.0 + 2 * n) for n in range(count)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    settings = TrainingSettings(steps=12, batch=4, warm_up=2, widths=WIDTHS, validate_every=12, rate=1e-2)
    TrainingRun(folder, settings, "cpu", bfloat16=False).train(planes(4), planes(4), lambda *told: None)
    return folder


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "edpn.onnx"
    export_onnx(*_with_path(run, path))
    assert [file.name for file in path.parent.iterdir()] == ["edpn.onnx"]
    return path


def _with_path(run: Path, path: Path) -> tuple[Edpn, Path, dict[str, object]]:
    network, state = averaged_network(run)
    return network, path, state


def inputs(rows: int, columns: int, candidate: float | None = None) -> tuple[np.ndarray, ...]:
    """A plane at a candidate, or one that slopes, with noise as the other inputs."""
    rng = np.random.default_rng(1)
    best = candidate if candidate is not None else np.linspace(8.3, 51.1, columns)
    distance = np.abs(np.arange(CANDIDATES)[:, None, None] - best)
    score = np.maximum(-0.2 * np.broadcast_to(distance, (CANDIDATES, rows, columns)), -4.0).astype(np.float32)
    size = rows * CELL_PX, columns * CELL_PX
    volume = rng.normal(size=(BINS, rows, columns)).astype(np.float32)
    guide = rng.random((Guide.COUNT, *size), np.float32)
    return score, volume, guide, np.array([-0.5, 1.0, 1.0], np.float32)


@pytest.mark.parametrize(("rows", "columns"), [(65, 87), (10, 14), (17, 5), (16, 16)])
def test_onnx_runtime_computes_what_torch_does(run: Path, exported: Path, rows: int, columns: int) -> None:
    given = inputs(rows, columns)
    network, _ = averaged_network(run)
    with torch.no_grad():
        expected = network(*(torch.from_numpy(part)[None] for part in given)).prediction
    position, scale = EdpnNetwork(exported, rows, columns)(*given)
    assert position.shape == scale.shape == (rows * CELL_PX, columns * CELL_PX)
    assert position.dtype == scale.dtype == np.float32
    assert np.quantile(np.abs(position - expected.position_bins[0].numpy()), 0.999) < 1e-3
    np.testing.assert_allclose(scale, expected.log_scale[0].exp().numpy(), rtol=1e-2)


def test_an_untrained_network_says_where_the_evidence_is(tmp_path: Path, run: Path) -> None:
    """Candidate number c, from 0, is c half bins from the far end, which is at -0.5."""
    torch.manual_seed(0)
    network, state = Edpn(WIDTHS).eval(), averaged_network(run)[1]
    export_onnx(network, tmp_path / "untrained.onnx", state)
    position, _ = EdpnNetwork(tmp_path / "untrained.onnx", 12, 16)(*inputs(12, 16, candidate=33))
    np.testing.assert_allclose(position, -0.5 + 33 / 2, atol=1e-3)


def test_the_file_tells_a_runtime_all_it_needs(exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert {key: told[key] for key in ("name", "format", "precision", "bins", "candidates")} == {
        "name": "edpn", "format": "3", "precision": "float32", "bins": "32", "candidates": "65",
    }  # fmt: skip
    for key, nodes in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        specs = json.loads(told[key])
        assert [(spec["name"], spec["shape"]) for spec in specs] == [(node.name, node.shape) for node in nodes]
        assert all(spec["dtype"] == "float32" and spec["meaning"] for spec in specs)
    provenance, validation = json.loads(told["provenance"]), json.loads(told["validation"])
    assert (provenance["steps"], provenance["examples"], provenance["widths"]) == (12, 4, list(WIDTHS))
    assert {"delta1", "abs_rel", "median_bins"} <= validation.keys()


def test_nothing_slow_is_left_in_the_file(exported: Path) -> None:
    used = {node.op_type for node in onnx.load(exported).graph.node}
    assert not {"BatchNormalization", "Softmax", "ReduceLogSumExp"} & used


@pytest.mark.parametrize("opset", [13, 19])
def test_softmax_and_logsumexp_in_steps(opset: int, tmp_path: Path) -> None:
    class Both(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return torch.softmax(x, -3), torch.logsumexp(x, (1, 2)), torch.logsumexp(x, 1, keepdim=True)

    x = torch.tensor([[[[1000.0, -3.0]], [[1000.0, 0.0]], [[-1000.0, 3.0]]]])
    values = [{"name": name, "shape": ["n"]} for name in ("softmax", "flat")] + [{"name": "kept", "shape": ["n"]}]
    for spec, shape in zip(values, ([1, 3, 1, 2], [1, 2], [1, 1, 1, 2]), strict=True):
        spec["shape"] = shape
    given = [{"name": "x", "shape": [1, 3, 1, 2]}]
    path = tmp_path / "both.onnx"
    write_onnx(Both(), (x,), path, inputs=given, outputs=values, opset=opset, metadata={"a": "b"})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    softmax, flat, kept = session.run(None, {"x": x.numpy()})
    total = np.exp(-3) + 1.0 + np.exp(3)
    expected = [[0.5, np.exp(-3) / total], [0.5, 1 / total], [0.0, np.exp(3) / total]]
    np.testing.assert_allclose(softmax[0, :, 0], expected, rtol=1e-5)
    for result in (flat[0], kept[0, 0, 0]):
        np.testing.assert_allclose(result, [1000.0 + np.log(2), np.log(total)], rtol=1e-5)


def test_a_file_that_computes_something_else_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MOST_DIFFERENCE", 0.0)
    with pytest.raises(EdfvError, match=r"would differ by \S+ from the network"):
        export_onnx(*_with_path(run, tmp_path / "edpn.onnx"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match="a folder of that name is in the way"):
        export_onnx(*_with_path(run, tmp_path))


# int8


@pytest.fixture(scope="module")
def int8(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, quantise.Quantised]:
    path = tmp_path_factory.mktemp("int8") / "edpn.onnx"
    return path, quantise.quantise(exported, path, planes(6, 100), planes(4, 200))


def test_int8_says_nearly_the_same(exported: Path, int8: tuple[Path, quantise.Quantised]) -> None:
    given = inputs(33, 20)
    network = EdpnNetwork(int8[0], 33, 20)
    position, scale = network(*given)
    exact, exact_scale = EdpnNetwork(exported, 33, 20)(*given)
    assert network.precision == "int8"
    difference = np.abs(position - exact)
    assert 0.0 < difference.mean() < 0.1 and np.quantile(difference, 0.95) < 0.3
    assert np.median(np.abs(scale / exact_scale - 1.0)) < 0.2


def test_the_trunk_is_int8_and_what_decides_on_fractions_is_not(int8: tuple[Path, quantise.Quantised]) -> None:
    graph = onnx.load(int8[0]).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    weighted_by = {node.name: made_by.get(node.input[1]) for node in graph.node if node.op_type == "Conv"}
    for name, source in weighted_by.items():
        sums = name.startswith("/network/Conv")  # of no module
        exact = sums or any(f"/{part}" in name for part in ("readouts", "doubt/doubt.1", "network/gate", "prompts.0"))
        assert (source == "DequantizeLinear") is not exact, name
    weights = [value for value in graph.initializer if value.data_type == onnx.TensorProto.INT8]
    assert len(weights) >= len(WIDTHS) * 3
    assert max(int(np.abs(onnx.numpy_helper.to_array(value)).max()) for value in weights) <= 64, "seven bits"


def test_the_file_tells_what_int8_cost(int8: tuple[Path, quantise.Quantised]) -> None:
    told = {prop.key: prop.value for prop in onnx.load(int8[0]).metadata_props}
    assert (told["name"], told["precision"]) == ("edpn", "int8")
    told_of = json.loads(told["quantisation"])
    assert told_of["examples"] == 4
    assert told_of["int8"]["delta1"] == int8[1].int8.delta1 >= told_of["float32"]["delta1"] - 0.005


def test_accuracy_against_numbers_worked_out_by_hand(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 3.5 bins where the truth is 5, far end at 1: inverse depths 5 and 6.5, so depth is 1.3 of the true one."""

    class Constant:
        def __init__(self, path: Path, rows: int, columns: int) -> None:
            self._size = rows * CELL_PX, columns * CELL_PX

        def __call__(self, *given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.full(self._size, 3.5, np.float32), np.ones(self._size, np.float32)

    monkeypatch.setattr(quantise, "EdpnNetwork", Constant)
    scores = quantise.accuracy(exported, FixedExamples([plane_record(0, 5.0), plane_record(1, 3.5)]))
    assert scores.abs_rel == pytest.approx(0.15) and scores.delta1 == 0.5 and scores.median_bins == 0.75


def test_int8_that_costs_too_much_is_refused(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delta1 = {exported: 0.95}

    def poor(path: Path, examples: FixedExamples) -> quantise.Scores:
        return quantise.Scores(0.1, delta1.get(path, 0.9448), 0.2, 0.7, np.nan)

    monkeypatch.setattr(quantise, "accuracy", poor)
    with pytest.raises(EdfvError, match=r"delta1 would fall by 0\.0052 from 0\.9500, more than 0\.005"):
        quantise.quantise(exported, tmp_path / "edpn.onnx", planes(2), planes(2))
    assert not list(tmp_path.iterdir())


# Running it


def test_the_log_says_provider_and_precision(
    exported: Path, int8: tuple[Path, quantise.Quantised], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "edfv_ros"):
        open_session(exported, threads=1)
        open_session(int8[0], threads=2)
    first, second = caplog.messages
    assert first == f"edpn.onnx, float32, runs on ONNX Runtime {onnxruntime.__version__}, CPU (1 threads)"
    assert second.startswith("edpn.onnx, int8, runs on ")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "edpn_published", "holds edpn_published: give a file"),
        ("format", "2", "its format is 2, not 3"),
        ("candidates", "33", "its candidates is 33, not 65"),
    ],
)
def test_other_files_are_refused(key: str, value: str, message: str, exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    told = {prop.key: prop.value for prop in model.metadata_props}
    onnx.helper.set_model_props(model, {**told, key: value})
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(SourceError, match=message) as caught:
        EdpnNetwork(tmp_path / "other.onnx", 4, 4)
    assert "\n" not in str(caught.value)


def test_what_it_does_not_run_on_is_one_line(exported: Path) -> None:
    network = EdpnNetwork(exported, 8, 8)
    score, volume, guide, _ = inputs(8, 8)
    with pytest.raises(SourceError, match="does not run on 8 x 8 cells") as caught:
        network(score, volume, guide[:, :4], np.zeros(CONDITIONS, np.float32))
    assert "\n" not in str(caught.value)


# The command


def test_the_command_exports_and_ships(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, notes = edfv("export", run, "--out", tmp_path / "edpn.onnx", "--ship")
    assert code == 0, notes
    assert "12 steps" in out and "precision  float32" in out and "manifest.json" in notes
    monkeypatch.setattr(models, "shared_file", lambda name: tmp_path / Path(name).name)
    shipped = models.shipped_model("edpn")
    assert shipped.path == tmp_path / "edpn.onnx" and shipped.entry.sha256 in out
    assert EdpnNetwork(None, 4, 4).provenance["steps"] == 12


def test_shipping_int8_leaves_others_in_the_manifest(run: Path, tmp_path: Path) -> None:
    model = export_run(run, tmp_path / "edpn.onnx", (planes(2), planes(2)))
    other = model.entry.model_dump(mode="json")
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "models": {"other": other}}))
    manifest = models.load_manifest(write_manifest(model, tmp_path))
    assert manifest.models.keys() == {"other", "edpn"}
    assert manifest.models["edpn"].precision == "int8"
    assert manifest.models["edpn"].validation["quantisation"]["examples"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_run"], "checkpoint.pt: no such file"),
        (["no_such_run", "--precision", "int8"], "int8 needs --calibration and --validation"),
        (["no_such_run", "--calibration", "data"], "are for int8"),
        (["no_such_run", "--out", "net work.onnx"], "name it with letters"),
        (["no_such_run", "--out", "no_such_folder/edpn.onnx"], "there is no folder"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = [] if "--out" in arguments else ["--out", "edpn.onnx"]
    code, _, notes = edfv("export", *arguments, *out)
    assert code == 2 and message in " ".join(notes.split())
