"""A trained network made ready to run, and to be shipped with this package."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from edfv_ros.depth.models import EDPN, MANIFEST_FORMAT, MANIFEST_NAME, Manifest, ModelEntry, load_manifest
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.edpn.checkpoint import averaged_network
from edfv_ros.training.edpn.examples import Examples
from edfv_ros.training.edpn.export import export_onnx
from edfv_ros.training.edpn.quantise import Quantised, quantise

LICENCE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """An ONNX file that was written.

    Attributes:
        entry: what a manifest says of it.
        size_bytes: of the file.
        parameters: of the network.
        difference: between torch and ONNX Runtime in float32, see :func:`~edfv_ros.training.edpn.export.export_onnx`.
        quantised: what quantisation did; None where it was not asked for.
    """

    entry: ModelEntry
    size_bytes: int
    parameters: int
    difference: float
    quantised: Quantised | None


def export_run(run: Path, out: Path, sets: tuple[Examples, Examples] | None = None) -> ExportedModel:
    """Export the averaged network of a training run, and check what was written.

    Args:
        run: folder of the run.
        out: ONNX file to write.
        sets: for int8, examples to calibrate with and to validate on; None for float32.

    Raises:
        OutputError: the file cannot be written there.
        EdfvError: there is no such run, or the file would not be as good as the network.
    """
    network, state = averaged_network(run)
    if not state["history"]:
        raise EdfvError(f"{run}: this run has not been validated yet: train on until it is")
    quantised = None
    if sets is None:
        difference = export_onnx(network, out, state)
    else:
        with tempfile.TemporaryDirectory() as folder:
            exact = Path(folder) / "float32.onnx"
            difference = export_onnx(network, exact, state)
            quantised = quantise(exact, out, *sets)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return ExportedModel(_entry(out), out.stat().st_size, parameters, difference, quantised)


def write_manifest(model: ExportedModel, folder: Path) -> Path:
    """Enter a network into the manifest of the folder that it lies in; others in it stay.

    Raises:
        SourceError: the manifest that is there is not valid.
        OutputError: it cannot be written.
    """
    path = folder / MANIFEST_NAME
    models = dict(load_manifest(path).models) if path.exists() else {}
    manifest = Manifest(format=MANIFEST_FORMAT, models={**models, EDPN: model.entry})
    with replace_atomically(path) as temporary:
        temporary.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    return path


def _entry(path: Path) -> ModelEntry:
    """What the metadata of a file say of it."""
    content = path.read_bytes()
    told = {prop.key: prop.value for prop in onnx.load_from_string(content).metadata_props}
    validation = json.loads(told["validation"])
    if "quantisation" in told:
        validation["quantisation"] = json.loads(told["quantisation"])
    return ModelEntry.model_validate(
        {
            "file": path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "precision": told["precision"],
            "bins": int(told["bins"]),
            "candidates": int(told["candidates"]),
            "format": int(told["format"]),
            "provenance": json.loads(told["provenance"]),
            "validation": validation,
            "licence": LICENCE,
        }
    )
