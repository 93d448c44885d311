"""The state of a run on the disk."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn
from torch.optim.swa_utils import AveragedModel

from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.edpn.settings import TrainingSettings
from edfv_ros.training.networks import NETWORKS

CHECKPOINT_NAME = "checkpoint.pt"

_KEYS = frozenset({"network", "averaged", "optimiser", "step", "hours", "history", "settings"})


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint of a run; the one before it stays until this one is whole.

    Raises:
        OutputError: it cannot be written.
    """
    content = io.BytesIO()
    torch.save(state, content)
    with replace_atomically(folder / CHECKPOINT_NAME) as temporary, temporary.open("wb") as file:
        file.write(content.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def load_state(folder: Path) -> dict[str, Any]:
    """The checkpoint of a run.

    Raises:
        EdfvError: there is none, or it is damaged.
    """
    path = folder / CHECKPOINT_NAME
    if not path.is_file():
        raise EdfvError(f"{path}: no such file: train first, with edfv train --out {folder}")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's have no common class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise damaged(path, reason) from None
    if not isinstance(state, dict) or not state.keys() >= _KEYS:
        raise damaged(path, "entries are missing")
    return state


def damaged(path: Path, reason: str) -> EdfvError:
    """The error for a checkpoint that cannot be gone on from."""
    return EdfvError(f"{path}: is no checkpoint of a training run, or a damaged one: {reason}: use another folder")


def averaged_network(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network of a run, ready for use, and the run's checkpoint.

    Returns:
        What :data:`~edfv_ros.training.networks.NETWORKS` makes for the run's settings, e.g. an
        :class:`~edfv_ros.training.edpn.network.Edpn`; and the checkpoint, see :func:`load_state`, with all settings,
        also those that were not there when it was begun.

    Raises:
        EdfvError: see :func:`load_state`.
    """
    state = load_state(folder)
    try:
        settings = TrainingSettings.model_validate(state["settings"])
        averaged = AveragedModel(NETWORKS[settings.network].make(settings.widths), use_buffers=True)
        averaged.load_state_dict(state["averaged"])
    except (RuntimeError, KeyError, TypeError, ValidationError) as error:
        raise damaged(folder / CHECKPOINT_NAME, str(error).splitlines()[0]) from None
    return averaged.module.eval(), {**state, "settings": settings.model_dump(mode="json")}
