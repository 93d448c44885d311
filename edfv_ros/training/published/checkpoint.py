"""The authors' checkpoint files, looked at closely before they are believed."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edfv_ros.errors import EdfvError
from edfv_ros.training.published.network import PublishedNetwork


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file held.

    Attributes:
        network: on the CPU, in evaluation mode, with the file's weights.
        epoch: of training; None where the file does not say.
        sha256: of the file, in hexadecimal digits.
    """

    network: PublishedNetwork
    epoch: int | None
    sha256: str


def load_checkpoint(path: Path) -> Checkpoint:
    """Load weights of the published network.

    Args:
        path: a file by ``torch.save`` with ``{'model': state, 'optimizer': ..., 'epoch': ...}``, or the state alone. No
            code in it is run.

    Raises:
        EdfvError: the file cannot be read, or its keys, shapes or numbers are not those of the network.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EdfvError(f"{path}: cannot be read: {error.strerror}: name a checkpoint file") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats it does not know, before it fails on them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the reader trip over
        raise EdfvError(
            f"{path}: not a checkpoint ({type(error).__name__}): expected a file by torch.save that holds tensors and "
            "numbers only, with the network's state under 'model'"
        ) from None
    wrapped = isinstance(content, Mapping) and "model" in content
    state = content["model"] if wrapped else content
    network = PublishedNetwork()
    _check(path, state, network.state_dict())
    network.load_state_dict(state)
    epoch = content.get("epoch") if wrapped else None
    return Checkpoint(network.eval(), epoch if isinstance(epoch, int) else None, digest)


def _check(path: Path, state: Any, expected: Mapping[str, Tensor]) -> None:
    """Raise an EdfvError that names the first thing in which a state is not what is expected."""
    if not isinstance(state, Mapping):
        raise EdfvError(f"{path}: holds a {type(state).__name__}: expected a state of {len(expected)} tensors by name")
    missing = [key for key in expected if key not in state]
    if missing:
        raise EdfvError(
            f"{path}: has no {missing[0]}{_and_others(missing)}: expected the {len(expected)} tensors of the published "
            "network with 32 bins"
        )
    extra = [key for key in state if key not in expected]
    if extra:
        raise EdfvError(
            f"{path}: has {extra[0]}{_and_others(extra)}, which the published network with 32 bins has not: expected "
            f"its {len(expected)} tensors and no others"
        )
    for key, wanted in expected.items():
        given = state[key]
        if not isinstance(given, Tensor):
            raise EdfvError(f"{path}: {key} is a {type(given).__name__}: expected a tensor of shape {_shape(wanted)}")
        if given.shape != wanted.shape:
            raise EdfvError(f"{path}: {key} has the shape {_shape(given)}: expected {_shape(wanted)}")
        if given.is_complex() or not torch.isfinite(given).all():
            raise EdfvError(f"{path}: {key} holds numbers that are not finite: expected weights of a sound training")


def _and_others(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
