"""The networks that ours is compared with, as ONNX files for ``edfv evaluate compare``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from edfv_ros.depth.edpn_inputs import BINS, Guide
from edfv_ros.errors import EdfvError
from edfv_ros.evaluation.peer_networks import CHANNELS, FORMAT, OUTPUTS, model_name
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.edpn.export import provenance_of, validation_of
from edfv_ros.training.networks import NETWORKS, NetworkKind
from edfv_ros.training.onnx_files import write_onnx
from edfv_ros.training.published.export import OPSET, in_operators, operator_known_here

MOST_DIFFERENCE = 1e-3
"""Between torch and ONNX Runtime, of positions in bins and of scales relative to them. Taps of a deformable convolution
that cross the frame make a network jump, so a thousandth of the pixels may differ by more."""

_AGREEING = 0.999
_TRACED, _CHECKED = (48, 80), (60, 86)  # px; the latter is not divided by what a network pads to
_HEIGHT, _WIDTH = "height", "width"


class _Exported(nn.Module):
    """A network with the outputs of the file."""

    def __init__(self, kind: NetworkKind, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._read = kind.read

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self._read(self.network(*inputs))
        return prediction.position_bins, torch.exp(prediction.log_scale)


def export_peer(network: nn.Module, path: Path, state: Mapping[str, Any]) -> float:
    """Write a network in float32, for pictures of any size of 16 px or more.

    The file is there only if ONNX Runtime computes with it what torch does. Its ``metadata_props`` are ``name``,
    ``format``, ``precision``, and as JSON ``provenance`` and ``validation``.

    Args:
        network: on the CPU.
        path: file to write; it replaces one that is there.
        state: the run's checkpoint, see :func:`~edfv_ros.training.edpn.checkpoint.load_state`.

    Returns:
        By how much positions in bins and relative scales differ between torch and ONNX Runtime at most, in all but a
        thousandth of the places.

    Raises:
        OutputError: the file cannot be written there.
        EdfvError: ONNX Runtime computes something else.
    """
    name = state["settings"]["network"]
    kind = NETWORKS[name]
    inputs = [{"name": each, "shape": [1, CHANNELS[each], _HEIGHT, _WIDTH]} for each in kind.inputs]
    with replace_atomically(path) as temporary:
        write_onnx(
            _Exported(kind, in_operators(network, operator_known_here())),
            _example(kind.inputs, *_TRACED),
            temporary,
            inputs=inputs,
            outputs=[{"name": each, "shape": [1, _HEIGHT, _WIDTH]} for each in OUTPUTS],
            opset=OPSET,
            metadata={
                "name": model_name(name),
                "format": str(FORMAT),
                "precision": "float32",
                "provenance": json.dumps(provenance_of(state)),
                "validation": json.dumps(validation_of(state)),
            },
        )
        difference = _largest_difference(kind, network, temporary)
        if not difference <= MOST_DIFFERENCE:
            raise EdfvError(
                f"{path}: would differ by {difference:.1e} from the network, more than {MOST_DIFFERENCE:g}, on ONNX "
                f"Runtime {onnxruntime.__version__}: try another version of it"
            )
    return difference


def _largest_difference(kind: NetworkKind, network: nn.Module, path: Path) -> float:
    example = _example(kind.inputs, *_CHECKED)
    with torch.inference_mode():
        position, scale = (part.numpy() for part in _Exported(kind, network).eval()(*example))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = session.run([*OUTPUTS], {name: part.numpy() for name, part in zip(kind.inputs, example, strict=True)})
    differences = given[0] - position, given[1] / scale - 1.0
    return max(float(np.quantile(np.abs(part), _AGREEING)) for part in differences)


def _example(inputs: tuple[str, ...], height: int, width: int) -> tuple[Tensor, ...]:
    """Inputs that look like those of a sweep, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    guide = torch.rand((1, Guide.COUNT, height, width), generator=generator)
    guide[:, (Guide.SAME, Guide.HAS_IMAGE)] = (guide[:, :1] > 0.5).float()
    guide[:, Guide.IMAGE] -= 0.5
    volume = torch.randn((1, BINS, height, width), generator=generator).clamp(-4.0, 4.0)
    known = {"volume": volume, "guide": guide}
    return tuple(known[name] for name in inputs)
