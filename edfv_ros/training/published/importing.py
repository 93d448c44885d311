"""From a checkpoint of the published network to an ONNX file, in one step."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edfv_ros.training.published.checkpoint import load_checkpoint
from edfv_ros.training.published.export import INPUTS, MODEL_NAME, export_onnx, operator_known_here
from edfv_ros.training.published.operators import SamplingOperator


@dataclass(frozen=True)
class ImportedModel:
    """An ONNX file that was written.

    Attributes:
        name: of the model, as in the file's metadata.
        parameters: how many the checkpoint holds, those that the network does not use included.
        epoch: of training; None where the checkpoint does not say.
        inputs: name and shape of each, with the names of the axes that are open.
        operator: what deformable convolutions became.
        difference: of a probability between torch and ONNX Runtime, at most, on an example.
        sha256: of the file, in hexadecimal digits.
    """

    name: str
    parameters: int
    epoch: int | None
    inputs: dict[str, list[int | str]]
    operator: SamplingOperator
    difference: float
    sha256: str


def import_checkpoint(checkpoint: Path, out: Path, operator: SamplingOperator | None = None) -> ImportedModel:
    """Export a checkpoint and check that the file computes what the checkpoint does.

    Args:
        checkpoint: file by the authors' code.
        out: ONNX file to write.
        operator: what deformable convolutions become; None: the fastest that runs here.

    Raises:
        OutputError: the file cannot be written there.
        EdfvError: the checkpoint is not one of the published network, or the file would compute something else.
    """
    loaded = load_checkpoint(checkpoint)
    operator = operator or operator_known_here()
    provenance = {"checkpoint_sha256": loaded.sha256}
    if loaded.epoch is not None:
        provenance["checkpoint_epoch"] = str(loaded.epoch)
    difference = export_onnx(loaded.network, out, operator, provenance)
    return ImportedModel(
        name=MODEL_NAME,
        parameters=sum(parameter.numel() for parameter in loaded.network.parameters()),
        epoch=loaded.epoch,
        inputs={spec["name"]: spec["shape"] for spec in INPUTS},
        operator=operator,
        difference=difference,
        sha256=hashlib.sha256(out.read_bytes()).hexdigest(),
    )
