"""The estimators that are compared, and how a peer that nobody ships is added.

A peer is a function that opens it for one recording, in a module of its own and by its name in :data:`PEERS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth import ESTIMATORS, open_estimator
from edfv_ros.errors import EdfvError
from edfv_ros.evaluation.focal_stack import open_focal_stack
from edfv_ros.evaluation.peer_networks import peer_of
from edfv_ros.evaluation.predictions import Evaluated, Predict, Prediction, Unavailable
from edfv_ros.volume import SweepSnapshot

_FILE_KINDS = {".onnx": "model", ".yaml": "prior", ".yml": "prior"}


class OpenPeer(Protocol):
    """Opens a peer for one recording."""

    def __call__(self, recording: Evaluated, model: Path | None, /) -> Predict:
        """Make what is called for each sweep.

        Args:
            recording: what the peer may look at beside the sweeps.
            model: a network file, where the user gave one.

        Raises:
            Unavailable: the recording lacks what the peer looks at.
            EdfvError: the peer lacks what it needs, or was given what it does not.
        """
        ...


PEERS: Mapping[str, OpenPeer] = MappingProxyType(
    {"focal_stack": open_focal_stack, "published": peer_of("published"), "event_stack": peer_of("event_stack")}
)
"""Peers by the name users give."""


@dataclass(frozen=True, slots=True)
class Method:
    """One row of a comparison.

    Attributes:
        label: what the row is called.
        name: of :data:`~edfv_ros.depth.ESTIMATORS` or :data:`PEERS`.
        model, prior: files it was given.
    """

    label: str
    name: str
    model: Path | None = None
    prior: Path | None = None

    def open(self, recording: Evaluated) -> Predict:
        """Make what is called for each sweep of a recording.

        Raises:
            Unavailable: the recording lacks what the method looks at.
            EdfvError: the method lacks a file or cannot use it.
        """
        if self.name in PEERS:
            if self.prior is not None:
                raise EdfvError(f"the method {self.name} uses no prior, but {self.prior} was given: leave it out")
            return PEERS[self.name](recording, self.model)
        if self.prior is not None and "frames" not in recording.streams:
            raise Unavailable("no frames")
        given = {kind: file for kind, file in (("model", self.model), ("prior", self.prior)) if file is not None}
        estimator = open_estimator(self.name, recording.rig, **given)

        def predict(snapshot: SweepSnapshot) -> Prediction:
            estimate = estimator.estimate(snapshot)
            return Prediction(_settled(estimate.vergence_dpt), _settled(estimate.sigma_dpt))

        return predict


def parse_methods(specifications: Sequence[str]) -> list[Method]:
    """Methods from what a user wrote: ``NAME``, or a name and its files, ``NAME,MODEL.onnx,PRIOR.yaml``.

    A method is labelled by its name and, where that is not enough to tell it from another, its files.

    Raises:
        EdfvError: there is no such method, a file is of no known kind or absent, or a method is given twice.
    """
    parsed = [_parsed(specification) for specification in specifications]
    names = [method.name for method in parsed]
    methods = [
        method if names.count(method.name) == 1 else replace(method, label=_long_label(method)) for method in parsed
    ]
    labels = [method.label for method in methods]
    for label in labels:
        if labels.count(label) > 1:
            raise EdfvError(f"--method {label}: given twice: leave one out, or name its files differently")
    return methods


def _parsed(specification: str) -> Method:
    name, *files = specification.split(",")
    if name not in ESTIMATORS and name not in PEERS:
        raise EdfvError(f"--method {name}: there is none of that name; choose from: {', '.join((*ESTIMATORS, *PEERS))}")
    given: dict[str, Path] = {}
    for file in files:
        kind = _FILE_KINDS.get(Path(file).suffix.lower())
        if kind is None:
            raise EdfvError(f"--method {specification}: {file!r} is neither a model (.onnx) nor a prior (.yaml)")
        if kind in given:
            raise EdfvError(f"--method {specification}: two files are a {kind}: give one")
        if not Path(file).is_file():
            raise EdfvError(f"--method {specification}: {file}: no such file")
        given[kind] = Path(file)
    return Method(name, name, given.get("model"), given.get("prior"))


def _long_label(method: Method) -> str:
    files = [file.stem for file in (method.model, method.prior) if file is not None]
    return f"{method.name} ({', '.join(files)})" if files else method.name


def _settled(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy, as an estimator may use its arrays again."""
    return np.array(image, np.float32)
