"""Networks written as ONNX files, in operators that ONNX Runtime is fast with."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.onnx import register_custom_op_symbolic, symbolic_helper, unregister_custom_op_symbolic

from edfv_ros import __version__

_AXES_ARE_AN_INPUT = 18  # of ReduceMax, from this version of the operators on


def write_onnx(
    network: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    *,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    opset: int,
    metadata: Mapping[str, str],
) -> None:
    """Write a network, as it is for evaluation: normalisations are folded into convolutions.

    Args:
        network: on the CPU.
        example: inputs to trace it with.
        path: the file.
        inputs, outputs: at least ``name`` and ``shape`` of each; an axis with a name in place of a length is open.
        opset: version of the ONNX operators.
        metadata: what the file says of itself.
    """
    with warnings.catch_warnings(), _softmax_in_steps(opset):
        # It warns of its age, and of Python seeing sizes as numbers. The newer exporter takes twenty times as long
        # where sizes are left open, and leaves open multiples of what is traced only.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            example,
            str(path),
            input_names=[spec["name"] for spec in inputs],
            output_names=[spec["name"] for spec in outputs],
            dynamic_axes={spec["name"]: _open_axes(spec["shape"]) for spec in (*inputs, *outputs)},
            opset_version=opset,
            dynamo=False,
        )
    model = onnx.load(path)
    model.producer_name, model.producer_version = "edfv_ros", __version__
    for output, spec in zip(model.graph.output, outputs, strict=True):
        _name_axes(output, spec["shape"])
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _open_axes(shape: Sequence[int | str]) -> dict[int, str]:
    return {axis: length for axis, length in enumerate(shape) if isinstance(length, str)}


def _name_axes(value: onnx.ValueInfoProto, shape: Sequence[int | str]) -> None:
    """Give the axes of an output the lengths and names that are promised; tracing loses those of what is cut."""
    for axis, length in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        if isinstance(length, int):
            axis.dim_value = length
        else:
            axis.dim_param = length


@contextmanager
def _softmax_in_steps(opset: int) -> Iterator[None]:
    """Have softmax and logsumexp written as maximum, difference, exponential and sum, which is what they are.

    Along channels, ONNX Runtime transposes for a Softmax, and computes a ReduceLogSumExp one number at a time: the
    steps take it a quarter of the time.
    """
    symbolics = {"aten::softmax": _softmax, "aten::logsumexp": _logsumexp}
    for name, symbolic in symbolics.items():
        register_custom_op_symbolic(name, symbolic, opset)
    try:
        yield
    finally:
        for name in symbolics:
            unregister_custom_op_symbolic(name, opset)


def _softmax(graph: Any, x: Any, axis: Any, dtype: Any = None) -> Any:
    _, exponential, total = _exponentials(graph, x, [symbolic_helper._get_const(axis, "i", "dim")])
    return graph.op("Div", exponential, total)


def _logsumexp(graph: Any, x: Any, axes: Any, keep: Any) -> Any:
    axes = symbolic_helper._get_const(axes, "is", "dim")
    largest, _, total = _exponentials(graph, x, axes)
    result = graph.op("Add", graph.op("Log", total), largest)
    if symbolic_helper._get_const(keep, "i", "keepdim"):
        return result
    return graph.op("Squeeze", result, graph.op("Constant", value_t=torch.tensor(axes)))


def _exponentials(graph: Any, x: Any, axes: list[int]) -> tuple[Any, Any, Any]:
    given = graph.op("Constant", value_t=torch.tensor(axes))
    if graph.opset < _AXES_ARE_AN_INPUT:
        largest = graph.op("ReduceMax", x, axes_i=axes, keepdims_i=1)
    else:
        largest = graph.op("ReduceMax", x, given, keepdims_i=1)
    exponential = graph.op("Exp", graph.op("Sub", x, largest))
    total = graph.op("ReduceSum", exponential, given, keepdims_i=1)
    return largest, exponential, total
