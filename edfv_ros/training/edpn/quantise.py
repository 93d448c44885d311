"""The network in 8-bit integers where that costs no accuracy: the convolutions of its trunk.

What decides on fractions of a bin stays in float32: the evidence and its gates, the readouts with their logits, the
expectation about the median, and the last layer of the doubt.
"""

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edfv_ros.depth.edpn_inputs import pooled_volume
from edfv_ros.depth.edpn_network import EdpnNetwork
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.edpn.drawing import assemble
from edfv_ros.training.edpn.examples import Examples
from edfv_ros.training.edpn.network import Prediction
from edfv_ros.training.edpn.scoring import Scores, mean_scores, score_examples

LARGEST_DELTA1_LOSS = 0.005
"""More than this of delta1 is not given up for speed."""

CALIBRATION_EXAMPLES = 128

_TRUNK = ("volume_stem", "guide_stem", "down.", "prompts.", "encoders.", "up.", "decoders.", "doubt/doubt.0")
_NOT_WORTH_IT = ("prompts.0/",)  # turning what is large into integers and back costs more than a small layer of floats
_SCOPE = "/network/"
_OPERATORS = ["Conv", "Add", "Relu"]
_INPUTS = ("score", "volume", "guide", "conditions")


@dataclass(frozen=True, slots=True)
class Quantised:
    """What quantisation did to a network.

    Attributes:
        float32, int8: accuracy before and after.
        examples: that they were compared on.
    """

    float32: Scores
    int8: Scores
    examples: int


def quantise(source: Path, path: Path, calibration: Examples, validation: Examples) -> Quantised:
    """Write a quantised network; its metadata are those of the source, its ``precision`` and a ``quantisation``.

    Weights have a scale for each channel and seven bits, as sums of products of eight overflow on CPUs without VNNI.

    Args:
        source: float32 file by :func:`~edfv_ros.training.edpn.export.export_onnx`.
        path: file to write; it replaces one that is there.
        calibration: examples that show how large the activations are; with what training leaves out left out.
        validation: examples on which both are compared, all inputs given.

    Raises:
        OutputError: the file cannot be written there.
        EdfvError: delta1 would lose more than :data:`LARGEST_DELTA1_LOSS`.
    """
    with tempfile.TemporaryDirectory() as folder, replace_atomically(path) as temporary:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            temporary,
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_quantize=trunk_nodes(onnx.load(prepared)),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        told = {prop.key: prop.value for prop in onnx.load(source).metadata_props}
        _tell(temporary, {**told, "precision": "int8"})
        quantised = Quantised(accuracy(source, validation), accuracy(temporary, validation), len(validation))
        loss = quantised.float32.delta1 - quantised.int8.delta1
        if not loss <= LARGEST_DELTA1_LOSS:
            raise EdfvError(
                f"{path}: as int8, delta1 would fall by {loss:.4f} from {quantised.float32.delta1:.4f}, more than "
                f"{LARGEST_DELTA1_LOSS}: calibrate with examples of the kind validated on, or use --precision float32"
            )
        _tell(temporary, {**told, "precision": "int8", "quantisation": _as_json(quantised)})
    return quantised


def accuracy(path: Path, examples: Examples) -> Scores:
    """Scores of a network file on ONNX Runtime, all inputs given; without a loss.

    Raises:
        EdfvError: none of the examples has depth within its sweep.
    """
    rows, columns = examples[0]["score"].shape[-2:]
    network = EdpnNetwork(path, rows, columns)
    of_examples: list[tuple[float, ...]] = []
    for index in range(len(examples)):
        score, volume, guide, truth, conditions, far_bins = assemble(examples[index], None)
        position, scale = map(torch.from_numpy, network(score, pooled_volume(volume, guide), guide, conditions))
        prediction = Prediction(position[None], scale[None].log(), ())
        of_examples += score_examples(prediction, torch.from_numpy(truth)[None], torch.from_numpy(far_bins)[None])
    if not of_examples:
        raise EdfvError("none of the validation examples has depth within its sweep: use another data set")
    return mean_scores(of_examples, math.nan)


def trunk_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions, sums and rectifiers of the trunk, told by the modules that they come from."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    names = []
    for node in model.graph.node:
        if node.op_type not in _OPERATORS or not node.name.startswith(_SCOPE):
            continue
        within = node.name.removeprefix(_SCOPE)
        if within.startswith(_NOT_WORTH_IT):
            continue
        if within.startswith(_TRUNK):
            names.append(node.name)
        elif node.op_type == "Relu" and "/" not in within:  # where two ways through the trunk meet
            names.append(node.name)
            names.append(made_by[node.input[0]].name)
    return names


class _Calibration(CalibrationDataReader):
    """Inputs of examples drawn as in training, one after the other, evenly from all."""

    def __init__(self, examples: Examples) -> None:
        self._inputs = self._draw(examples)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)

    @staticmethod
    def _draw(examples: Examples) -> Iterator[dict[str, NDArray[np.float32]]]:
        indices = np.linspace(0, len(examples) - 1, min(CALIBRATION_EXAMPLES, len(examples))).astype(int)
        for index in indices:
            score, volume, guide, _, conditions, _ = assemble(examples[int(index)], np.random.default_rng(int(index)))
            given = score, pooled_volume(volume, guide), guide, conditions
            yield {name: value[None] for name, value in zip(_INPUTS, given, strict=True)}


def _tell(path: Path, metadata: dict[str, str]) -> None:
    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def _as_json(quantised: Quantised) -> str:
    told: dict[str, Any] = asdict(quantised)
    for scores in (told["float32"], told["int8"]):
        del scores["loss"]  # not computed
    return json.dumps(told)
