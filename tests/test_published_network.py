"""The published network: what the authors' code computes, their checkpoints, and the way to ONNX."""

import hashlib
import importlib.util
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed")

from edfv_ros.cli import app  # noqa: E402
from edfv_ros.errors import EdfvError, OutputError  # noqa: E402
from edfv_ros.training.published.checkpoint import load_checkpoint  # noqa: E402
from edfv_ros.training.published.deformable import DeformableConvolution  # noqa: E402
from edfv_ros.training.published.export import AnySize, export_onnx, operator_known_here  # noqa: E402
from edfv_ros.training.published.network import PublishedNetwork  # noqa: E402
from edfv_ros.training.published.operators import SamplingOperator  # noqa: E402

CONTRACT = Path(__file__).resolve().parents[2] / "shared" / "contracts" / "edpn_published_state_dict.txt"
CONTRACT_SHA256 = "ecc82bd2d0c55f385183eec8b9cb0b3b448c00982ae257c3d0537c5d38b6ed0b"  # of its lines "key shape"

# (bin, row, column, probability) for formula_state() and formula_input(40, 56), by the code that the authors published
# (github.com/liboyu02/EDFV, commit 5b41754), in evaluation mode on a CPU. First the four corners, then the borders.
GOLDEN = (
    (0, 0, 0, 0.0188593), (9, 0, 0, 0.0427404), (21, 0, 0, 0.0313580), (31, 0, 0, 0.0478479),
    (0, 0, 55, 0.0145124), (9, 0, 55, 0.0444161), (21, 0, 55, 0.0405519), (31, 0, 55, 0.0810545),
    (0, 39, 0, 0.0430204), (9, 39, 0, 0.0303851), (21, 39, 0, 0.0228922), (31, 39, 0, 0.0242701),
    (0, 39, 55, 0.0406293), (9, 39, 55, 0.0332522), (21, 39, 55, 0.0119734), (31, 39, 55, 0.0471263),
    (3, 0, 20, 0.0059841), (28, 0, 37, 0.0361797), (12, 39, 9, 0.0052854), (17, 39, 44, 0.0389330),
    (6, 13, 0, 0.0543606), (25, 27, 0, 0.0357814), (15, 8, 55, 0.0105787), (30, 31, 55, 0.0118650),
    (4, 5, 3, 0.0196407), (11, 16, 20, 0.0067833), (18, 27, 37, 0.0089771), (25, 38, 54, 0.0271269),
    (0, 9, 15, 0.0025751), (7, 20, 32, 0.0484929), (14, 31, 49, 0.0120141), (21, 2, 10, 0.0429298),
    (28, 13, 27, 0.0054306), (3, 24, 44, 0.0021271), (10, 35, 5, 0.0305849), (17, 6, 22, 0.0063295),
    (24, 17, 39, 0.0062680), (31, 28, 0, 0.0502346), (6, 39, 17, 0.0128785), (13, 10, 34, 0.0035850),
)  # fmt: skip

# Likewise of its second output, the sparse distribution, which the mask does not cut.
SPARSE = (
    (0, 0, 0, 0.0339499), (9, 0, 55, 0.0135183), (21, 39, 0, 0.0322206), (31, 39, 55, 0.0179900),
    (6, 13, 0, 0.0323712), (11, 16, 20, 0.0427565), (14, 31, 49, 0.0945658), (17, 6, 22, 0.0131100),
)  # fmt: skip


def noise(count: int, seed: int) -> NDArray[np.float64]:
    """Numbers in [-1, 1) without structure, by a formula, the same on every machine."""
    wave = np.sin(12.9898 * np.arange(1, count + 1) + 78.233 * seed)
    return 2.0 * np.modf(np.abs(wave) * 43758.5453)[0] - 1.0


def formula_state() -> "dict[str, torch.Tensor]":
    """Weights and statistics by a formula, under which all inputs count and some taps look beyond the borders."""
    state = {}
    for seed, (key, like) in enumerate(sorted(PublishedNetwork().state_dict().items())):
        wave = noise(like.numel(), seed).reshape(like.shape)
        if key.endswith("num_batches_tracked"):
            values = np.array(1000)
        elif key.endswith("running_var"):
            values = 1.0 + 0.5 * wave
        elif key.endswith("temperature"):
            values = 3.0 + wave
        elif "p_conv" in key:
            values = (0.05 if key.endswith("weight") else 1.5) * wave
        elif wave.ndim == 4:
            gain = 1.3 if key.startswith("sparseest") else 1.0
            if re.match(r"resnet_event\.layer1\.(conv1|shortcut)", key):
                gain = 20.0  # what comes in is about 1/32
            values = gain * np.sqrt(3.0 / np.prod(wave.shape[1:])) * wave
        elif key.endswith("weight"):
            values = 1.0 + 0.3 * wave
        else:
            values = 0.3 * wave
        state[key] = torch.from_numpy(values.astype(np.float32)).to(like.dtype)
    return state


def formula_input(height: int, width: int) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    row, column = np.mgrid[0:height, 0:width]
    parts = (
        np.rint(2.0 * noise(32 * height * width, 1)).reshape(1, 32, height, width),
        0.5 + 0.4 * np.sin(row / 7.0 + column / 5.0)[None, None],
        noise(height * width, 2).reshape(1, 1, height, width) > 0.0,
    )
    volume, prior, mask = (torch.from_numpy(part.astype(np.float32)) for part in parts)
    return volume, prior, mask


@pytest.fixture(scope="module")
def network() -> PublishedNetwork:
    network = PublishedNetwork()
    network.load_state_dict(formula_state())
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "upload.pth"
    optimizer = torch.optim.AdamW(PublishedNetwork().parameters(), lr=3e-4, weight_decay=1e-5)
    torch.save({"model": formula_state(), "optimizer": optimizer.state_dict(), "epoch": 57}, path)
    return path


@pytest.fixture(scope="module")
def imported(checkpoint: Path) -> "tuple[str, Path]":
    """What the command printed, and the file it wrote."""
    path = checkpoint.with_name("edpn_published.onnx")
    code, out, err = edfv("model", "import", checkpoint, "--out", path)
    assert code == 0, err
    return out, path


def edfv(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


# The architecture


def test_keys_and_shapes_are_those_of_the_contract() -> None:
    lines = [f"{key} {tuple(value.shape)}" for key, value in PublishedNetwork().state_dict().items()]
    assert len(lines) == 588
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == CONTRACT_SHA256


def test_keys_shapes_and_types_are_those_of_the_contract_file() -> None:
    if not CONTRACT.is_file():
        pytest.skip(f"the contract is not there: {CONTRACT}")
    lines = [line.split("\t") for line in CONTRACT.read_text().splitlines() if not line.startswith("#")]
    state = PublishedNetwork().state_dict()
    assert [[key, str(tuple(value.shape)), str(value.dtype)] for key, value in state.items()] == lines


def test_computes_what_the_authors_code_computes(network: PublishedNetwork) -> None:
    with torch.no_grad():
        output = network(*formula_input(40, 56))
    for numbers, points in ((output.distribution, GOLDEN), (output.sparse, SPARSE)):
        bins, rows, columns, expected = (np.array(part) for part in zip(*points, strict=True))
        np.testing.assert_allclose(numbers[0].numpy()[bins, rows, columns], expected, rtol=0, atol=2e-6)


def test_gives_distributions_and_features_at_all_scales(network: PublishedNetwork) -> None:
    parts = [torch.cat((part, part.flip(-1))) for part in formula_input(24, 40)]
    with torch.no_grad():
        output = network(*parts)
        alone = network(*(part[1:] for part in parts))
    for distribution in (output.distribution, output.sparse):
        assert distribution.shape == (2, 32, 24, 40)
        assert (distribution >= 0).all()
        np.testing.assert_allclose(distribution.sum(dim=1), 1.0, atol=1e-5)
    shapes = [tuple(features.shape) for features in output.decoded]
    assert shapes == [(2, 32, 6, 10), (2, 16, 12, 20), (2, 8, 24, 40), (2, 8, 24, 40)]
    np.testing.assert_allclose(output.distribution[1:], alone.distribution, atol=1e-5)


def test_events_outside_the_mask_do_not_reach_the_result(network: PublishedNetwork) -> None:
    volume, prior, mask = formula_input(16, 24)
    nowhere = torch.zeros_like(mask)
    with torch.no_grad():
        with_events, without = network(volume, prior, nowhere), network(0 * volume, prior, nowhere)
        gated = network(volume, prior, mask)
    torch.testing.assert_close(with_events.distribution, without.distribution, rtol=0, atol=0)
    assert (with_events.sparse - without.sparse).abs().max() > 1e-3
    assert (gated.distribution - without.distribution).abs().max() > 1e-3


def test_every_parameter_but_the_idle_ones_is_trained() -> None:
    network = PublishedNetwork()
    output = network(*formula_input(16, 24))
    (output.distribution[:, 0].sum() + sum(features.sum() for features in output.decoded)).backward()
    idle = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    units = tuple(f"{step}.resConfUnit1" for step in ("resnet_event.fuse4", "resnet_image.fuse4", "refine.fuses.0"))
    assert idle == {name for name, _ in network.named_parameters() if name.startswith(units)}


# Deformable convolution


def moved_sum(image: "torch.Tensor", rows: float, columns: float) -> "torch.Tensor":
    """What a kernel of ones sees whose taps are all moved alike."""
    convolution = DeformableConvolution(1)
    with torch.no_grad():
        convolution.conv.weight.fill_(1.0)
        convolution.p_conv.bias[:9], convolution.p_conv.bias[9:] = rows, columns
        return convolution(image[None, None])[0, 0]


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (0.0, 0.0, [[9, 9, 9, 12], [9, 9, 9, 12], [9, 9, 9, 12], [12, 12, 12, 16]]),
        (-100.0, 0.0, [[18, 18, 18, 24]] * 4),
        (0.0, 100.0, [[18] * 4] * 3 + [[24] * 4]),
        (-100.0, 100.0, [[36] * 4] * 4),
        (-0.5, -0.5, [[16, 12, 12, 12], [12, 9, 9, 9], [12, 9, 9, 9], [12, 9, 9, 9]]),
    ],
)
def test_taps_beyond_the_frame_count_twice(rows: float, columns: float, expected: list[list[int]]) -> None:
    seen = moved_sum(torch.ones(4, 4), rows, columns)
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


def test_taps_between_pixels_interpolate() -> None:
    row, column = np.mgrid[0:6, 0:7].astype(np.float32)
    seen = moved_sum(torch.from_numpy(10 * row + column), 0.25, -0.75)
    expected = 9 * (10 * (row + 0.25) + column - 0.75)
    np.testing.assert_allclose(seen[1:-2, 2:-1], expected[1:-2, 2:-1], rtol=1e-5)


def test_unmoved_taps_are_a_convolution_of_the_mirrored_image() -> None:
    image = torch.from_numpy(noise(3 * 8 * 9, 5).reshape(1, 3, 8, 9).astype(np.float32))
    convolution = DeformableConvolution(3)
    with torch.no_grad():
        convolution.p_conv.bias.zero_()
        seen = convolution(image)
        mirrored = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect")
        plain = torch.nn.functional.conv2d(mirrored, convolution.conv.weight)
    np.testing.assert_allclose(seen[..., :-1, :-1], plain[..., :-1, :-1], atol=1e-5)


# Checkpoints


def test_wrapped_and_bare_states_load(checkpoint: Path, tmp_path: Path, network: PublishedNetwork) -> None:
    torch.save(formula_state(), tmp_path / "bare.pth")
    wrapped, bare = load_checkpoint(checkpoint), load_checkpoint(tmp_path / "bare.pth")
    assert (wrapped.epoch, bare.epoch) == (57, None)
    assert wrapped.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for loaded in (wrapped.network, bare.network):
        assert not loaded.training
        for given, expected in zip(loaded.state_dict().values(), network.state_dict().values(), strict=True):
            assert torch.equal(given, expected)


class Code:
    """A thing that would run code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('code of a checkpoint was run')",)


def changed(**changes: object) -> dict[str, object]:
    """The right state with some entries replaced; None takes one away."""
    state = {**formula_state(), **{key.replace("__", "."): value for key, value in changes.items()}}
    return {"model": {key: value for key, value in state.items() if value is not None}, "epoch": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no checkpoint", ["not a checkpoint", "torch.save"]),
        (b"", ["not a checkpoint"]),
        (pickle.dumps({"model": Code()}), ["not a checkpoint", "tensors and numbers only"]),
        ({"model": Code()}, ["not a checkpoint", "tensors and numbers only"]),
        ([1, 2], ["holds a list", "588 tensors"]),
        ({"model": 3}, ["holds a int", "588 tensors"]),
        ({"epoch": 3}, ["has no sparseest.head.weight (and 587 more)", "588 tensors"]),
        (changed(conv1__weight=None), ["has no conv1.weight: expected the 588"]),
        (changed(stranger=torch.zeros(1)), ["has stranger, which", "588 tensors and no others"]),
        (changed(conv1__weight=torch.zeros(16, 8, 7, 7)), ["conv1.weight", "[16, 8, 7, 7]", "expected [32, 8, 7, 7]"]),
        (changed(conv1__weight=3.0), ["conv1.weight is a float", "[32, 8, 7, 7]"]),
        (changed(conv1__weight=torch.full((32, 8, 7, 7), torch.nan)), ["conv1.weight", "not finite"]),
    ],
    ids=lambda part: None if not isinstance(part, list) or not part or isinstance(part[0], int) else part[0][:30],
)
def test_what_is_no_checkpoint_is_named_in_one_line(content: object, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "some.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(EdfvError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 300
    for word in words:
        assert word in message, message


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(EdfvError, match=r"cannot be read: .*: name a checkpoint file$"):
            load_checkpoint(path)


# ONNX

OPERATORS = [
    pytest.param(SamplingOperator.GRID_SAMPLE, id="grid-sample"),
    pytest.param(
        SamplingOperator.DEFORM_CONV,
        id="deform-conv",
        marks=pytest.mark.skipif(
            operator_known_here() is not SamplingOperator.DEFORM_CONV, reason="ONNX Runtime is older than 1.25"
        ),
    ),
]


@pytest.mark.parametrize("operator", OPERATORS)
def test_onnx_runtime_computes_what_torch_does(
    operator: SamplingOperator, network: PublishedNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "network.onnx"
    assert export_onnx(network, path, operator) < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for height, width in ((16, 16), (40, 56), (61, 83)):
        parts = formula_input(height, width)
        with torch.no_grad():
            expected = AnySize(network)(*parts)
        given = session.run(None, dict(zip(("volume", "prior", "mask"), (p.numpy() for p in parts), strict=True)))
        for ours, theirs in zip(given, expected, strict=True):
            assert ours.shape == (1, 32, height, width)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
        if (height, width) == (40, 56):
            bins, rows, columns, numbers = (np.array(part) for part in zip(*GOLDEN, strict=True))
            np.testing.assert_allclose(given[0][0, bins, rows, columns], numbers, rtol=0, atol=1e-5)


def test_any_size_is_the_network_on_a_padded_image(network: PublishedNetwork) -> None:
    volume, prior, mask = formula_input(40, 56)
    with torch.no_grad():
        assert torch.equal(AnySize(network)(volume, prior, mask)[0], network(volume, prior, mask).distribution)
        cut = AnySize(network)(*(part[..., :37, :50] for part in (volume, prior, mask)))
        volume[..., 37:, :], volume[..., 50:], mask[..., 37:, :], mask[..., 50:] = 0, 0, 0, 0
        prior[..., 37:, :] = prior[..., 36:37, :]
        prior[..., 50:] = prior[..., 49:50]
        padded = network(volume, prior, mask)
    for given, expected in zip(cut, (padded.distribution, padded.sparse), strict=True):
        torch.testing.assert_close(given, expected[..., :37, :50], rtol=0, atol=1e-6)


def test_what_cannot_be_written_is_one_line(network: PublishedNetwork, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a folder of that name is in the way"):
        export_onnx(network, tmp_path, SamplingOperator.GRID_SAMPLE)


# The command


def test_import_prints_what_it_wrote(imported: tuple[str, Path], checkpoint: Path) -> None:
    out, path = imported
    assert re.search(r"model +edpn_published, 6\.63 million parameters, epoch 57", out)
    assert "volume: 1 x 32 x height x width" in out
    assert f"sha256    {hashlib.sha256(path.read_bytes()).hexdigest()}" in out
    assert operator_known_here().value in out


def test_the_same_checkpoint_gives_the_same_file(imported: tuple[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    code, _, _ = edfv("model", "import", checkpoint, "--out", tmp_path / "again.onnx")
    assert code == 0
    assert (tmp_path / "again.onnx").read_bytes() == imported[1].read_bytes()


def test_the_file_tells_a_runtime_all_it_needs(imported: tuple[str, Path], checkpoint: Path) -> None:
    session = onnxruntime.InferenceSession(str(imported[1]), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert (told["name"], told["bins"], told["size_min_px"]) == ("edpn_published", "32", "16")
    assert told["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert told["checkpoint_epoch"] == "57"
    depths_m = json.loads(told["bin_depths_m"])
    assert len(depths_m) == 32 and depths_m[0] == 3.1 and depths_m[-1] == 30.0
    np.testing.assert_allclose(np.diff(depths_m), 26.9 / 31, atol=1e-5)
    for key, nodes in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        specs = json.loads(told[key])
        assert [(spec["name"], spec["shape"]) for spec in specs] == [(node.name, node.shape) for node in nodes]
        assert all(spec["dtype"] == "float32" and spec["meaning"] for spec in specs)
    assert all(spec["normalisation"] for spec in json.loads(told["inputs"]))


def test_import_needs_no_more_than_one_line_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    code, out, err = edfv("model", "import", tmp_path / "text.pth", "--out", tmp_path / "x.onnx")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"edfv: {tmp_path / 'text.pth'}: not a checkpoint")
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("module", ["torch", "onnx"])
def test_import_says_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else found(name, *rest))
    code, _, err = edfv("model", "import", tmp_path / "x.pth", "--out", tmp_path / "x.onnx")
    assert (code, err.count("\n")) == (2, 1)
    assert f"needs {module}" in err and "pip install edfv_ros[train]" in err


def test_help_teaches_by_example() -> None:
    code, out, _ = edfv("model", "import", "--help")
    assert code == 0
    assert re.search(r"Examples:\s+edfv model import", out)


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, edfv_ros.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
