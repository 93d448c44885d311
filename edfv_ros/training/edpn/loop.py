"""Training, step by step: resumable, the same from the same seed, watched by validation."""

import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edfv_ros.depth.edpn_inputs import Guide
from edfv_ros.errors import EdfvError
from edfv_ros.training.edpn.drawing import Batch, batches
from edfv_ros.training.edpn.examples import Examples
from edfv_ros.training.edpn.losses import losses
from edfv_ros.training.edpn.network import WIDTHS, Edpn, Prediction
from edfv_ros.yaml_model import Part, Positive

CHECKPOINT_NAME = "checkpoint.pt"
HISTORY_NAME = "history.csv"
SETTINGS_NAME = "training.json"

_EMA_DECAY = 0.999
_GRADIENT_NORM = 1.0


class TrainingSettings(Part):
    """How a network is trained; ``training.json`` of a run.

    Attributes:
        steps: in all; the learning rate falls to nothing towards the last one (a cosine).
        batch: examples of a step.
        rate: largest learning rate, reached after ``warm_up`` steps.
        warm_up: steps of a rising learning rate.
        weight_decay: of AdamW.
        seed: of weights and draws.
        widths: channels of the network at each scale.
        validate_every: steps between validations, and between checkpoints.
    """

    steps: Annotated[int, Field(ge=1)] = 20_000
    batch: Annotated[int, Field(ge=1)] = 16
    rate: Positive = 2e-3
    warm_up: Annotated[int, Field(ge=0)] = 200
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    seed: Annotated[int, Field(ge=0)] = 0
    widths: Annotated[tuple[int, ...], Field(min_length=2, strict=False)] = WIDTHS
    validate_every: Annotated[int, Field(ge=1)] = 500

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        part = (step - self.warm_up) / max(self.steps - self.warm_up, 1)
        return 0.5 * self.rate * (1.0 + math.cos(math.pi * min(part, 1.0)))


@dataclass(frozen=True, slots=True)
class Scores:
    """How well a network does on held-out examples: every pixel whose truth lies within the sweep.

    Attributes:
        abs_rel, delta1: of depth in metres.
        median_bins: median error of the vergence in bins.
        inside_1_sigma: share of the errors below the standard deviation that the network gives; 0.76 is honest for the
            Laplace distribution that it assumes.
        loss: the training's loss.
    """

    abs_rel: float
    delta1: float
    median_bins: float
    inside_1_sigma: float
    loss: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the history.

    Attributes:
        step: steps done.
        hours: of training so far, over all sessions.
        examples: in the training set.
        loss: mean over the steps since the last line.
        scores: of the averaged weights on the validation set.
    """

    step: int
    hours: float
    examples: int
    loss: float
    scores: Scores

    def row(self) -> dict[str, float]:
        values = asdict(self)
        return {
            **{k: v for k, v in values.items() if k != "scores"},
            **{f"val_{k}": v for k, v in values["scores"].items()},
        }


class TrainingRun:
    """A run in a folder: settings, checkpoint, history.

    Args:
        folder: made where it does not exist; a run that is there goes on.
        settings: of a new run; of one that is there, only ``steps`` may differ, and only upwards.
        device: torch device.
        bfloat16: whether convolutions run in it.

    Raises:
        EdfvError: the folder holds a run with other settings, or a damaged one.
    """

    def __init__(self, folder: Path, settings: TrainingSettings, device: str, *, bfloat16: bool) -> None:
        self.folder = folder
        self.settings = settings
        self.device = torch.device(device)
        self._bfloat16 = bfloat16
        _claim(folder, settings)
        torch.manual_seed(settings.seed)
        self.network = Edpn(settings.widths).to(self.device, memory_format=torch.channels_last)
        self.averaged = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(_EMA_DECAY), use_buffers=True)
        self._optimiser = torch.optim.AdamW(
            _groups(self.network, settings.weight_decay), lr=settings.rate, betas=(0.9, 0.98)
        )
        self.step = 0
        self.hours = 0.0
        self.history: list[dict[str, float]] = []
        if (folder / CHECKPOINT_NAME).exists():
            self._load()

    def train(
        self, training: Examples, validation: Examples, progress: Callable[[int, float, Scores | None], None]
    ) -> None:
        """Go on to the last step.

        Args:
            training, validation: examples.
            progress: called after each step with the steps done, the loss, and the last scores.
        """
        settings = self.settings
        size = settings.batch
        scores: Scores | None = None
        total, began_s = 0.0, time.monotonic()
        draws = range(self.step * size, settings.steps * size)
        for batch in batches(training, size, draws, seed=settings.seed, augment=True):
            loss = self._learn(batch)
            self.step += 1
            total += loss
            if self.step % settings.validate_every == 0 or self.step == settings.steps:
                since = self.step % settings.validate_every or settings.validate_every
                self.hours += (time.monotonic() - began_s) / 3600.0
                scores = self.validate(validation)
                moment = Moment(self.step, self.hours, len(training), total / since, scores)
                self.history.append(moment.row())
                self._save()
                total, began_s = 0.0, time.monotonic()
            progress(self.step, loss, scores)

    def _learn(self, batch: Batch) -> float:
        self.network.train()
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.rate_at(self.step)
        self._optimiser.zero_grad(set_to_none=True)
        result = losses(self._predict(self.network, batch), *self._truth(batch))
        result.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), _GRADIENT_NORM)
        if torch.isfinite(norm):
            self._optimiser.step()
            self.averaged.update_parameters(self.network)
        return float(result.total.detach())

    def _predict(self, network: torch.nn.Module, batch: Batch) -> Prediction:
        maps = (batch.score, batch.volume, batch.guide)
        inputs = [value.to(self.device, memory_format=torch.channels_last) for value in maps]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            prediction: Prediction = network(*inputs, batch.conditions.to(self.device))
        height, width = batch.position_bins.shape[1:]
        return prediction._replace(
            position_bins=prediction.position_bins[:, :height, :width],
            log_scale=prediction.log_scale[:, :height, :width],
        )

    def _truth(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        height, width = batch.position_bins.shape[1:]
        same = batch.guide[:, Guide.SAME, :height, :width]
        return batch.position_bins.to(self.device), batch.far_bins.to(self.device), same.to(self.device)

    @torch.no_grad()
    def validate(self, validation: Examples) -> Scores:
        """Scores of the averaged weights, all inputs given."""
        network = self.averaged.module
        network.eval()
        values: list[tuple[float, ...]] = []
        total = 0.0
        draws = range(len(validation))
        with _unchanged_randomness():
            for batch in batches(validation, self.settings.batch, draws, seed=0, augment=False):
                prediction = self._predict(network, batch)
                truth, far_bins, same = self._truth(batch)
                total += float(losses(prediction, truth, far_bins, same).total) * len(truth)
                values += _scores(prediction, truth, far_bins)
        mean = np.nanmean(np.array(values), axis=0)
        abs_rel, delta1, median_bins, inside_1_sigma = map(float, mean)
        return Scores(abs_rel, delta1, median_bins, inside_1_sigma, total / len(validation))

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "hours": self.hours,
            "history": self.history,
            "settings": self.settings.model_dump(mode="json"),
        }
        temporary = self.folder / f".{CHECKPOINT_NAME}"
        torch.save(state, temporary)
        temporary.replace(self.folder / CHECKPOINT_NAME)
        with (self.folder / HISTORY_NAME).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.history[-1]))
            writer.writeheader()
            writer.writerows(self.history)

    def _load(self) -> None:
        state = load_state(self.folder)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.hours, self.history = state["step"], state["hours"], state["history"]


def load_state(folder: Path) -> dict[str, Any]:
    """The checkpoint of a run.

    Raises:
        EdfvError: there is none, or it is damaged.
    """
    path = folder / CHECKPOINT_NAME
    if not path.is_file():
        raise EdfvError(f"{path}: no such file: train first, with edfv train --out {folder}")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's have no common class
        reason = str(error).splitlines()[0]
        raise EdfvError(f"{path}: is no checkpoint of a training run, or a damaged one: {reason}") from None
    return state


def averaged_network(folder: Path) -> tuple[Edpn, dict[str, Any]]:
    """The trained network of a run, ready for use, and the run's checkpoint.

    Raises:
        EdfvError: see :func:`load_state`.
    """
    state = load_state(folder)
    network = Edpn(tuple(state["settings"]["widths"]))
    averaged = AveragedModel(network, use_buffers=True)
    averaged.load_state_dict(state["averaged"])
    return averaged.module.eval(), state


def _claim(folder: Path, settings: TrainingSettings) -> None:
    path = folder / SETTINGS_NAME
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        present = json.loads(path.read_text())
        for name, value in settings.model_dump(mode="json").items():
            if name == "steps" and value >= present[name]:
                continue
            if present.get(name) != value:
                raise EdfvError(
                    f"{folder}: holds a run with {name} = {present.get(name)}, not {value}: use another folder"
                )
    path.write_text(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")


def _groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and normalisations do not."""
    decaying = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


@contextmanager
def _unchanged_randomness() -> Iterator[None]:
    """Validation must not change what training draws."""
    with torch.random.fork_rng():
        yield


def _scores(prediction: Prediction, truth: Tensor, far_bins: Tensor) -> list[tuple[float, ...]]:
    """abs_rel, delta1, median_bins and inside_1_sigma of each example."""
    out: list[tuple[float, ...]] = []
    for position, log_scale, true, far in zip(
        prediction.position_bins, prediction.log_scale, truth, far_bins, strict=True
    ):
        inside = torch.isfinite(true) & (true > -0.5) & (true < 31.5)
        if not bool(inside.any()):
            continue
        predicted, actual = position.float()[inside], true[inside]
        ratio = (actual + 0.5 + far) / (predicted + 0.5 + far).clamp_min(1e-3)
        error = (predicted - actual).abs()
        sigma = math.sqrt(2.0) * torch.exp(log_scale.float()[inside])
        out.append(
            (
                float((ratio - 1.0).abs().mean()),
                float((torch.maximum(ratio, 1.0 / ratio) < 1.25).float().mean()),
                float(error.median()),
                float((error < sigma).float().mean()),
            )
        )
    return out
