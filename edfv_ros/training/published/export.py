"""The published network as an ONNX file that tells a runtime all it needs to know."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.onnx_files import write_onnx
from edfv_ros.training.published.deformable import DeformableConvolution, plain_taps
from edfv_ros.training.published.network import BINS, SIZE_MULTIPLE_PX, SMALLEST_PX, PublishedNetwork
from edfv_ros.training.published.operators import SamplingOperator

MODEL_NAME = "edpn_published"
NEAREST_M, FARTHEST_M = 3.1, 30.0  # depths of the first and the last bin in the authors' training

OPSET = 19
"""The first with DeformConv."""

_MOST_DIFFERENCE = 1e-4  # of a probability, between torch and ONNX Runtime
_CHECKED_HEIGHT_PX, _CHECKED_WIDTH_PX = 60, 84  # apart from what is traced, and no multiples of eight
_HEIGHT, _WIDTH = "height", "width"

INPUTS: tuple[dict[str, Any], ...] = (
    {
        "name": "volume",
        "shape": [1, BINS, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": f"sum of event polarities (+1, -1) per pixel and bin: {BINS} bins of equal time from the first to "
        "the last event of a sweep whose focus distance in metres is linear in time",
        "normalisation": "none: raw counts",
    },
    {
        "name": "prior",
        "shape": [1, 1, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": "relative depth by a monocular network; the authors feed the output of Depth Anything V2 (large "
        "where near) as it is",
        "normalisation": "(x - min) / (max - min) over the image",
    },
    {
        "name": "mask",
        "shape": [1, 1, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": "SAME mask, 1 where events can be trusted: image gradient magnitude, min-max normalised over the "
        "image, of 0.1 or more, and 300 events or more in the 11x11 window (mirrored at borders), dilated 5x5",
        "normalisation": "0 or 1",
    },
)
OUTPUTS: tuple[dict[str, Any], ...] = (
    {
        "name": "distribution",
        "shape": [1, BINS, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": "probability of each bin; depth is the mean of the bins' depths under it",
    },
    {
        "name": "sparse",
        "shape": [1, BINS, _HEIGHT, _WIDTH],
        "dtype": "float32",
        "meaning": "the same by the events alone, good inside the mask",
    },
)


def operator_known_here() -> SamplingOperator:
    """The faster operator of those that the ONNX Runtime installed here runs on a CPU."""
    major, minor = map(int, onnxruntime.__version__.split(".")[:2])
    return SamplingOperator.DEFORM_CONV if (major, minor) >= (1, 25) else SamplingOperator.GRID_SAMPLE


class AnySize(nn.Module):
    """The network for images of any size of at least 16 px: pads them below and to the right, and cuts the results.

    The padding holds no events, is outside the mask, and repeats the last row and column of the prior.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, volume: Tensor, prior: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[1, 32, H, W], [1, 1, H, W] and [1, 1, H, W] to the distribution and the sparse one, both [1, 32, H, W]."""
        height, width = volume.shape[-2:]
        more = (0, -width % SIZE_MULTIPLE_PX, 0, -height % SIZE_MULTIPLE_PX)
        output = self.network(
            functional.pad(volume, more), functional.pad(prior, more, mode="replicate"), functional.pad(mask, more)
        )
        return output.distribution[..., :height, :width], output.sparse[..., :height, :width]


def export_onnx(
    network: PublishedNetwork,
    path: Path,
    operator: SamplingOperator,
    provenance: Mapping[str, str] | None = None,
) -> float:
    """Write the network, as it is for evaluation, for images of any height and width of 16 px or more.

    The file is there only if ONNX Runtime computes with it what torch does. Its ``metadata_props`` hold ``name``,
    ``bins``, ``size_min_px``, ``operator``, and as JSON ``bin_depths_m``, ``inputs`` and ``outputs`` (lists of name,
    shape, dtype, meaning and, of inputs, normalisation).

    Args:
        network: on the CPU, of 32 bins.
        path: file to write; it replaces one that is there.
        operator: what deformable convolutions become.
        provenance: more to write into the metadata, e.g. which checkpoint the weights are from.

    Returns:
        By how much a probability differs between torch and ONNX Runtime, at most, on an example: 1e-4 or less.

    Raises:
        OutputError: the file cannot be written there.
        EdfvError: ONNX Runtime cannot load what was exported, or computes something else.
    """
    exported = in_operators(network, operator)
    with replace_atomically(path) as temporary:
        write_onnx(
            AnySize(exported).eval(),
            _example(24, 40),
            temporary,
            inputs=INPUTS,
            outputs=OUTPUTS,
            opset=OPSET,
            metadata={**_metadata(operator), **(provenance or {})},
        )
        difference = _largest_difference(network, temporary, operator)
        if not difference <= _MOST_DIFFERENCE:
            raise EdfvError(
                f"{path}: would differ by {difference:.1e} from the network, more than {_MOST_DIFFERENCE:g}, with the "
                f"operator {operator.value} on ONNX Runtime {onnxruntime.__version__}: try another of either"
            )
    return difference


def in_operators(network: nn.Module, operator: SamplingOperator) -> nn.Module:
    """A copy of a network, to be exported, whose deformable convolutions become an ONNX operator."""
    exported = copy.deepcopy(network)
    if operator is SamplingOperator.DEFORM_CONV:
        for module in list(exported.modules()):
            for name, child in module.named_children():
                if isinstance(child, DeformableConvolution):
                    setattr(module, name, _OperatorConvolution(child))
    return exported


def _largest_difference(network: PublishedNetwork, path: Path, operator: SamplingOperator) -> float:
    """How far the probabilities of ONNX Runtime on the CPU are from those of torch, at most, on an example."""
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no public base
        raise EdfvError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load a network with the operator {operator.value}: "
            f"{error}: take {SamplingOperator.GRID_SAMPLE.value}, or ONNX Runtime 1.25 or later"
        ) from None
    example = _example(_CHECKED_HEIGHT_PX, _CHECKED_WIDTH_PX)
    with torch.inference_mode():
        expected = AnySize(copy.deepcopy(network)).eval()(*example)
    given = session.run(None, {spec["name"]: part.numpy() for spec, part in zip(INPUTS, example, strict=True)})
    return max(float((a - torch.from_numpy(b)).abs().max()) for a, b in zip(expected, given, strict=True))


def _example(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, prior and mask that look like those of a sweep, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    on, off = (torch.poisson(torch.full((1, BINS, height, width), 0.3), generator) for _ in range(2))
    prior = torch.linspace(0.0, 1.0, height)[:, None].expand(1, 1, height, width).contiguous()
    return on - off, prior, ((on + off).sum(dim=1, keepdim=True) > 0.6 * BINS).float()


def _metadata(operator: SamplingOperator) -> dict[str, str]:
    step_m = (FARTHEST_M - NEAREST_M) / (BINS - 1)
    return {
        "name": MODEL_NAME,
        "bins": str(BINS),
        "size_min_px": str(SMALLEST_PX),
        "operator": operator.value,
        "bin_depths_m": json.dumps([round(NEAREST_M + bin * step_m, 6) for bin in range(BINS)]),
        "inputs": json.dumps(INPUTS),
        "outputs": json.dumps(OUTPUTS),
    }


class _OperatorConvolution(nn.Module):
    """A deformable convolution that becomes one ONNX operator; its modulation says how often a tap counts."""

    def __init__(self, convolution: DeformableConvolution) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        taps = self.convolution.taps(features)
        plain_row, plain_column = plain_taps(features)
        moves = torch.stack((taps.row - plain_row, taps.column - plain_column), dim=2).flatten(1, 2)
        kernel = self.convolution.conv.weight
        no_bias = kernel.new_zeros(kernel.shape[0])
        return _DeformConv.apply(self.convolution.frame(features), kernel, moves, no_bias, taps.weight)


class _DeformConv(torch.autograd.Function):
    """Stands for the operator while the exporter listens; computes nothing."""

    @staticmethod
    def forward(ctx: Any, frame: Tensor, kernel: Tensor, moves: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        return frame[..., 1:-1, 1:-1].clone()

    @staticmethod
    def symbolic(graph: Any, *inputs: Any) -> Any:
        return graph.op("DeformConv", *inputs, kernel_shape_i=[3, 3], pads_i=[0, 0, 0, 0])
