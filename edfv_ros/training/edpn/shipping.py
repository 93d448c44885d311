"""A trained network made ready to run, and to be shipped with this package."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edfv_ros.depth.models import EDPN, MANIFEST_FORMAT, MANIFEST_NAME, Manifest, ModelEntry, load_manifest
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.edpn.checkpoint import averaged_network
from edfv_ros.training.edpn.examples import Examples
from edfv_ros.training.edpn.export import export_onnx
from edfv_ros.training.edpn.quantise import Quantised, quantise
from edfv_ros.training.network_names import NetworkName
from edfv_ros.training.peers.export import export_peer

LICENCE = "Apache-2.0"

_WRITERS: Mapping[NetworkName, Callable[..., float]] = {
    "edpn": export_onnx,
    "published": export_peer,
    "event_stack": export_peer,
}


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """An ONNX file that was written.

    Attributes:
        network: that it holds.
        told: the metadata of the file.
        file: its name.
        sha256: of the file, in hexadecimal digits.
        size_bytes: of the file.
        parameters: of the network.
        difference: between torch and ONNX Runtime in float32, see :func:`~edfv_ros.training.edpn.export.export_onnx`.
        quantised: what quantisation did; None where it was not asked for.
    """

    network: NetworkName
    told: Mapping[str, str]
    file: str
    sha256: str
    size_bytes: int
    parameters: int
    difference: float
    quantised: Quantised | None

    @property
    def precision(self) -> str:
        """That the trunk is computed in."""
        return self.told["precision"]

    @property
    def provenance(self) -> dict[str, Any]:
        """How it was trained."""
        provenance: dict[str, Any] = json.loads(self.told["provenance"])
        return provenance

    @property
    def entry(self) -> ModelEntry:
        """What a manifest says of our network; there is none of a peer."""
        validation = json.loads(self.told["validation"])
        if "quantisation" in self.told:
            validation["quantisation"] = json.loads(self.told["quantisation"])
        return ModelEntry.model_validate(
            {
                "file": self.file,
                "sha256": self.sha256,
                "precision": self.precision,
                "bins": int(self.told["bins"]),
                "candidates": int(self.told["candidates"]),
                "format": int(self.told["format"]),
                "provenance": self.provenance,
                "validation": validation,
                "licence": LICENCE,
            }
        )


def export_run(
    run: Path, out: Path, sets: tuple[Examples, Examples] | None = None, *, ship: bool = False
) -> ExportedModel:
    """Export the averaged network of a training run, and check what was written.

    Args:
        run: folder of the run.
        out: ONNX file to write.
        sets: for int8, examples to calibrate with and to validate on; None for float32.
        ship: whether it is to be entered into a manifest, which peers are not.

    Raises:
        OutputError: the file cannot be written there.
        EdfvError: there is no such run, or the file would not be as good as the network.
    """
    network, state = averaged_network(run)
    if not state["history"]:
        raise EdfvError(f"{run}: this run has not been validated yet: train on until it is")
    name: NetworkName = state["settings"]["network"]
    if name != EDPN and (sets is not None or ship):
        raise EdfvError(
            f"{run}: holds the network {name}, which is only there to be compared with: leave out --ship and "
            "--precision int8"
        )
    quantised = None
    if sets is None:
        difference = _WRITERS[name](network, out, state)
    else:
        with tempfile.TemporaryDirectory() as folder:
            exact = Path(folder) / "float32.onnx"
            difference = export_onnx(network, exact, state)
            quantised = quantise(exact, out, *sets)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    content = out.read_bytes()
    told = {prop.key: prop.value for prop in onnx.load_from_string(content).metadata_props}
    digest = hashlib.sha256(content).hexdigest()
    return ExportedModel(name, told, out.name, digest, len(content), parameters, difference, quantised)


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
