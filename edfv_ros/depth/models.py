"""The networks that come with this package: models/ and its manifest."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from edfv_ros.depth.onnx_session import file_sha256
from edfv_ros.errors import SourceError
from edfv_ros.share import shared_file, shared_folders
from edfv_ros.yaml_model import Part, first_problem

MANIFEST_FORMAT: Final = 1
MANIFEST_NAME = "manifest.json"

EDPN = "edpn"
"""Name of the network that is used by default."""

_REMEDY = "install the package again"
_OWN = "make one with `edfv train` and `edfv export RUN --ship`, or use --estimator reversal"


class ModelEntry(Part):
    """What the manifest says of a network.

    Attributes:
        file: its name in the folder of the manifest.
        sha256: of the file, in hexadecimal digits.
        precision: that the trunk is computed in.
        bins, candidates: of the vergence axis.
        format: of the file, as in its metadata.
        provenance: how it was trained.
        validation: scores on examples held out in training.
        licence: SPDX identifier.
    """

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    precision: Literal["float32", "int8"]
    bins: Annotated[int, Field(ge=2)]
    candidates: Annotated[int, Field(ge=2)]
    format: Annotated[int, Field(ge=1)]
    provenance: dict[str, Any]
    validation: dict[str, Any]
    licence: Annotated[str, Field(min_length=1)]


class Manifest(Part):
    """``models/manifest.json``: networks by name."""

    format: Literal[1]
    models: dict[str, ModelEntry]


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A network that is there and is the one that the manifest means.

    Attributes:
        path: of its file.
        entry: of the manifest.
    """

    path: Path
    entry: ModelEntry


def shipped_model(name: str) -> ShippedModel:
    """Find a network that comes with this package, and check that its file is the right one.

    Raises:
        SourceError: there is none of that name, or its file is missing or another one, or the manifest is not valid.
    """
    path = shared_file(f"models/{MANIFEST_NAME}")
    if path is None:
        looked = ", ".join(str(folder / "models") for folder in shared_folders())
        raise SourceError(f"no {MANIFEST_NAME} of shipped networks in {looked}: {_REMEDY}, or {_OWN}")
    entry = load_manifest(path).models.get(name)
    if entry is None:
        raise SourceError(f"{path}: names no network {name}: {_REMEDY}, or {_OWN}")
    file = path.parent / entry.file
    if not file.is_file():
        raise SourceError(f"{file}: the shipped network {name} is missing: {_REMEDY}, or {_OWN}")
    if (found := file_sha256(file)) != entry.sha256:
        raise SourceError(
            f"{file}: its sha256 is {found[:12]}..., the manifest says {entry.sha256[:12]}...: the file is damaged or "
            f"another one: {_REMEDY} (in a checkout: git checkout {file.name}, or `edfv export RUN --ship` again)"
        )
    return ShippedModel(file, entry)


def load_manifest(path: Path) -> Manifest:
    """Read and validate a manifest.

    Raises:
        SourceError: it cannot be read, or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SourceError(f"{path}: not valid JSON ({error}): {_REMEDY}") from None
    found = data.get("format") if isinstance(data, dict) else None
    if found != MANIFEST_FORMAT:
        raise SourceError(f"{path}: its format is {found}, not {MANIFEST_FORMAT}: update edfv_ros, or {_REMEDY}")
    try:
        return Manifest.model_validate(data)
    except ValidationError as problem:
        raise SourceError(f"{path}: {first_problem(problem, Manifest)}: {_REMEDY}") from None
