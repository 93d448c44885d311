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
from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CELL_PX, CONDITIONS, Guide
from edfv_ros.depth.edpn_network import FORMAT
from edfv_ros.depth.models import EDPN
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.edpn.network import Edpn
from edfv_ros.training.onnx_files import write_onnx

OPSET = 13
"""The first with a scale per channel for the weights of a quantised network; any runtime of today knows it."""

MOST_DIFFERENCE = 1e-3
"""Between torch and ONNX Runtime: of positions in bins, of scales and logits relative to them. Of a hundred layers in
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
        "shape": [1, BINS, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": f"change of log intensity over each of {BINS} vergence bins, from far to near, divided by its root "
        f"mean square in the neighbourhood; height and width are {CELL_PX} times rows and columns",
    },
    {
        "name": "guide",
        "shape": [1, Guide.COUNT, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": "density of events, SAME mask, frame, whether there is a frame, relative vergence, whether there is "
        "one; frame and vergence from -0.5 to 0.5",
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
        "name": "position_bins",
        "shape": [1, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": f"vergence in bins: -0.5 is the far end of the sweep, {BINS - 0.5} the near one",
    },
    {
        "name": "scale_bins",
        "shape": [1, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": "scale of the Laplace distribution of its error, in bins: the standard deviation over sqrt(2)",
    },
    {
        "name": "logits",
        "shape": [1, CANDIDATES, _ROWS, _COLUMNS],
        "dtype": "float32",
        "meaning": "of the candidates in each cell: their softmax is the distribution over vergence",
    },
)


class Exported(nn.Module):
    """The network with the outputs of the file."""

    def __init__(self, network: Edpn) -> None:
        super().__init__()
        self.network = network

    def forward(self, score: Tensor, volume: Tensor, guide: Tensor, conditions: Tensor) -> tuple[Tensor, ...]:
        """See :data:`INPUTS` and :data:`OUTPUTS`."""
        prediction = self.network(score, volume, guide, conditions)
        return prediction.position_bins, torch.exp(prediction.log_scale), prediction.logits[-1]


def export_onnx(network: Edpn, path: Path, state: Mapping[str, Any]) -> float:
    """Write the network in float32, for pictures of any even height and width.

    The file is there only if ONNX Runtime computes with it what torch does. Its ``metadata_props`` are ``name``,
    ``format``, ``precision``, ``bins``, ``candidates``, and as JSON ``inputs``, ``outputs`` (name, shape, dtype and
    meaning of each), ``provenance`` and ``validation``.

    Args:
        network: on the CPU.
        path: file to write; it replaces one that is there.
        state: the run's checkpoint, see :func:`~edfv_ros.training.edpn.checkpoint.load_state`.

    Returns:
        By how much positions in bins, and relative scales and logits, differ between torch and ONNX Runtime in all but
        a hundredth of the places, at most, on examples of two sizes.

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
            metadata=_metadata(state),
        )
        difference = max(_largest_difference(exported, temporary, _example(*size)) for size in _CHECKED)
        if not difference <= MOST_DIFFERENCE:
            raise EdfvError(
                f"{path}: would differ by {difference:.1e} from the network, more than {MOST_DIFFERENCE:g}, on ONNX "
                f"Runtime {onnxruntime.__version__}: try another version of it"
            )
    return difference


def _largest_difference(exported: Exported, path: Path, example: tuple[Tensor, ...]) -> float:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        position, scale, logits = (part.numpy() for part in exported(*example))
    given = session.run(None, {spec["name"]: part.numpy() for spec, part in zip(INPUTS, example, strict=True)})
    logit_size = np.maximum(np.abs(logits), 1.0)
    differences = (given[0] - position, given[1] / scale - 1.0, (given[2] - logits) / logit_size)
    return max(float(np.quantile(np.abs(part), _AGREEING)) for part in differences)


def _example(rows: int, columns: int) -> tuple[Tensor, ...]:
    """Inputs that look like those of a sweep, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    height, width = rows * CELL_PX, columns * CELL_PX
    best = (CANDIDATES - 1) * torch.rand((1, 1, rows, columns), generator=generator)
    distance = torch.arange(CANDIDATES)[None, :, None, None] - best
    score = (-0.02 * distance.square()).clamp_min(-4.0)
    volume = torch.randn((1, BINS, height, width), generator=generator).clamp(-4.0, 4.0)
    guide = torch.rand((1, Guide.COUNT, height, width), generator=generator)
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


def _metadata(state: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": EDPN,
        "format": str(FORMAT),
        "precision": "float32",
        "bins": str(BINS),
        "candidates": str(CANDIDATES),
        "inputs": json.dumps(INPUTS),
        "outputs": json.dumps(OUTPUTS),
        "provenance": json.dumps(provenance_of(state)),
        "validation": json.dumps(validation_of(state)),
    }
