"""Our network as an ONNX file that tells a runtime all it needs to know."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from edfv_ros import __version__
from edfv_ros.depth.edpn_head import READOUT
from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CELL_PX, CONDITIONS, Guide
from edfv_ros.depth.edpn_network import FORMAT, EdpnNetwork
from edfv_ros.depth.models import EDPN
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.edpn.network import Edpn
from edfv_ros.training.onnx_files import write_onnx

OPSET = 13
"""The first with a scale per channel for the weights of a quantised network; any runtime of today knows it."""

MOST_DIFFERENCE = 1e-3
"""Between torch and run time: of positions in bins, of scales relative to them. Of a hundred layers in
single precision, whose sums the two order differently, some 1e-4 remain; a thousandth of a bin is nothing to depth."""

_AGREEING = 0.99
"""Share of the pixels that must agree: where either half of a distribution may hold the median, rounding decides,
and a cell has a part in 36 pixels."""

_TRACED = (24, 40)
_CHECKED = ((65, 87), (34, 50))  # rows and columns, apart from what is traced, and no multiples of the coarsest cell
_ROWS, _COLUMNS, _HEIGHT, _WIDTH = "rows", "columns", "height", "width"

INPUTS: tuple[dict[str, Any], ...] = (
    {
        "name": "score",
        "shape": [1, CANDIDATES, _ROWS, _COLUMNS],
        "dtype": "float32",
        "meaning": f"log likelihood per bin of {CANDIDATES} candidate vergences, half a bin apart from the far end of "
        f"the sweep to the near one, for each cell of {CELL_PX}x{CELL_PX} pixels, aggregated semi-globally: 0 for the "
        "best, at least -4",
    },
    {
        "name": "volume",
        "shape": [1, BINS, _ROWS, _COLUMNS],
        "dtype": "float32",
        "meaning": f"change of log intensity over each of {BINS} vergence bins, from far to near, divided by its root "
        "mean square in the neighbourhood, weighted by the density n of events as n / (n + 8); mean of a cell",
    },
    {
        "name": "guide",
        "shape": [1, Guide.COUNT, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": "density of events, SAME mask, frame, whether there is a frame, relative vergence, whether there is "
        f"one; frame and vergence from -0.5 to 0.5; height and width are {CELL_PX} times rows and columns",
    },
    {
        "name": "conditions",
        "shape": [1, CONDITIONS],
        "dtype": "float32",
        "meaning": "log2 of the growth of the blur's diameter in pixels per bin, whether there is an up-sweep (1 or "
        "0), whether there is a down-sweep",
    },
)
OUTPUTS: tuple[dict[str, Any], ...] = (
    {
        "name": "coarse",
        "shape": [1, CANDIDATES, "coarse_rows", "coarse_columns"],
        "dtype": "float32",
        "meaning": "logits of the candidates in cells twice as large: half as many rows and columns, rounded up",
    },
    {
        "name": "readout",
        "shape": [1, sum(READOUT), _ROWS, _COLUMNS],
        "dtype": "float32",
        "meaning": "logarithms of the gains of score and coarse in the logits, correction of the logits, shares of the "
        "3x3 cells around in each pixel, shift of each pixel",
    },
    {
        "name": "doubt",
        "shape": [1, CELL_PX**2, _ROWS, _COLUMNS],
        "dtype": "float32",
        "meaning": "logarithm of the scale of each pixel's error, without the part that mass_gain gives it",
    },
)
"""What follows from these without convolutions is left to :class:`~edfv_ros.depth.edpn_head.Head`."""


class Exported(nn.Module):
    """The network with the outputs of the file."""

    def __init__(self, network: Edpn) -> None:
        super().__init__()
        self.network = network

    def forward(self, score: Tensor, volume: Tensor, guide: Tensor, conditions: Tensor) -> tuple[Tensor, ...]:
        """See :data:`INPUTS` and :data:`OUTPUTS`."""
        trunk = self.network(score, volume, guide, conditions).trunk
        return trunk.logits[-1], trunk.readout, trunk.doubt


def export_onnx(network: Edpn, path: Path, state: Mapping[str, Any]) -> float:
    """Write the network in float32, for pictures of any even height and width.

    The file is there only if ONNX Runtime computes with it what torch does. Its ``metadata_props`` are ``name``,
    ``format``, ``precision``, ``bins``, ``candidates``, and as JSON ``inputs``, ``outputs`` (name, shape, dtype and
    meaning of each), ``mass_gain`` (see :class:`~edfv_ros.depth.edpn_head.Head`), ``provenance`` and ``validation``.

    Args:
        network: on the CPU.
        path: file to write; it replaces one that is there.
        state: the run's checkpoint, see :func:`~edfv_ros.training.edpn.checkpoint.load_state`.

    Returns:
        By how much positions in bins, and relative scales, differ at run time from those of torch in all but a
        hundredth of the places, at most, on examples of two sizes.

    Raises:
        OutputError: the file cannot be written there.
        EdfvError: ONNX Runtime computes something else.
    """
    exported = Exported(network).eval()
    with replace_atomically(path) as temporary:
        write_onnx(
            exported,
            _example(*_TRACED),
            temporary,
            inputs=INPUTS,
            outputs=OUTPUTS,
            opset=OPSET,
            metadata=_metadata(network, state),
        )
        difference = max(_largest_difference(network, temporary, _example(*size)) for size in _CHECKED)
        if not difference <= MOST_DIFFERENCE:
            raise EdfvError(
                f"{path}: would differ by {difference:.1e} from the network, more than {MOST_DIFFERENCE:g}, on ONNX "
                f"Runtime {onnxruntime.__version__}: try another version of it"
            )
    return difference


def _largest_difference(network: Edpn, path: Path, example: tuple[Tensor, ...]) -> float:
    with torch.inference_mode():
        said = network(*example).prediction
    position, log_scale = (part[0].numpy() for part in said[:2])
    rows, columns = example[0].shape[2:]
    given_position, given_scale = EdpnNetwork(path, rows, columns)(*(part[0].numpy() for part in example))
    differences = given_position - position, given_scale / np.exp(log_scale) - 1.0
    return max(float(np.quantile(np.abs(part), _AGREEING)) for part in differences)


def _example(rows: int, columns: int) -> tuple[Tensor, ...]:
    """Inputs that look like those of a sweep, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    best = (CANDIDATES - 1) * torch.rand((1, 1, rows, columns), generator=generator)
    distance = torch.arange(CANDIDATES)[None, :, None, None] - best
    score = (-0.02 * distance.square()).clamp_min(-4.0)
    volume = torch.randn((1, BINS, rows, columns), generator=generator).clamp(-4.0, 4.0)
    guide = torch.rand((1, Guide.COUNT, rows * CELL_PX, columns * CELL_PX), generator=generator)
    guide[:, (Guide.SAME, Guide.HAS_IMAGE, Guide.HAS_PRIOR)] = (guide[:, :1] > 0.5).float()
    return score, volume, guide, torch.tensor([[-1.0, 1.0, 1.0]])


def provenance_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """How the network of a run was trained, for the metadata of its file."""
    return {
        "steps": state["step"],
        "hours": round(state["hours"], 3),
        "examples": state["history"][-1]["examples"],
        "widths": list(state["settings"]["widths"]),
        "edfv_ros": __version__,
    }


def validation_of(state: Mapping[str, Any]) -> dict[str, float]:
    """The last scores of a run, for the metadata of its network's file."""
    return {
        name.removeprefix("val_"): value
        for name, value in state["history"][-1].items()
        if name.startswith("val_") and math.isfinite(value)
    }


def _metadata(network: Edpn, state: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": EDPN,
        "format": str(FORMAT),
        "precision": "float32",
        "bins": str(BINS),
        "candidates": str(CANDIDATES),
        "inputs": json.dumps(INPUTS),
        "outputs": json.dumps(OUTPUTS),
        "mass_gain": json.dumps(network.doubt_of_mass.weight.flatten().tolist()),
        "provenance": json.dumps(provenance_of(state)),
        "validation": json.dumps(validation_of(state)),
    }
