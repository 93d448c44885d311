"""Training, step by step: resumable, the same from the same seed, watched by validation."""

import csv
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edfv_ros.errors import EdfvError
from edfv_ros.outputs.depth_picture import save_png
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.training.edpn.checkpoint import CHECKPOINT_NAME, damaged, load_state, save_state
from edfv_ros.training.edpn.checkpoint import averaged_network as averaged_network  # for those who look for it here
from edfv_ros.training.edpn.curves import save_curves
from edfv_ros.training.edpn.drawing import Batch, batches
from edfv_ros.training.edpn.examples import AnyExamples
from edfv_ros.training.edpn.interruption import postponed_interrupts
from edfv_ros.training.edpn.mosaic import drawn_side, mosaic, untiled
from edfv_ros.training.edpn.sample_picture import sample_picture
from edfv_ros.training.edpn.scoring import Scores, mean_scores, score_examples
from edfv_ros.training.edpn.settings import TrainingSettings, claim
from edfv_ros.training.networks import NETWORKS

HISTORY_NAME = "history.csv"
CURVES_NAME = "curves.png"
SAMPLES_NAME = "samples.png"

_EMA_DECAY = 0.999
_GRADIENT_NORM = 1.0
_MOST_SKIPPED = 50  # steps without a finite gradient, one after the other
_PICTURED = 8  # examples
_MOST_DRAWING = 4  # threads


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the history.

    Attributes:
        step: steps done.
        hours: of training so far, over all sessions, without validations.
        examples: in the training set.
        loss: mean over the steps since the last line, those of this session.
        skipped: steps so far whose gradient was not finite, which therefore changed nothing.
        scores: of the averaged weights on the validation set.
    """

    step: int
    hours: float
    examples: int
    loss: float
    skipped: int
    scores: Scores

    def row(self) -> dict[str, float]:
        values = asdict(self)
        scores = values.pop("scores")
        return {**values, **{f"val_{name}": value for name, value in scores.items()}}


class TrainingRun:
    """A run in a folder: settings, checkpoint, history, pictures.

    With the same examples, settings, device and number of threads, a run ends with the same weights, however often it
    was interrupted; on CUDA up to rounding. Not so where its time is limited, as no computer is always as fast.

    Args:
        folder: made where it does not exist; a run that is there goes on.
        settings: of a new run; of one that is there, only ``steps`` and ``minutes`` may differ, and only upwards.
        device: torch device.
        bfloat16: whether convolutions run in it.

    Attributes:
        step: steps done.
        hours: of training so far.
        skipped: see :class:`Moment`.
        history: rows, see :meth:`Moment.row`.

    Raises:
        EdfvError: the folder holds a run with other settings, or a damaged one.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: TrainingSettings, device: str, *, bfloat16: bool) -> None:
        self.folder = folder
        self.settings = settings
        self.device = torch.device(device)
        self._bfloat16 = bfloat16
        self._kind = NETWORKS[settings.network]
        claim(folder, settings)
        with torch.random.fork_rng(devices=[]):  # nothing is drawn by torch's generator but the first weights
            torch.manual_seed(settings.seed)
            network = self._kind.make(settings.widths)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.averaged = AveragedModel(self.network, multi_avg_fn=_average, use_buffers=True)
        self._optimiser = torch.optim.AdamW(
            _groups(self.network, settings.weight_decay), lr=settings.rate, betas=(0.9, 0.98)
        )
        self.step = 0
        self.hours = 0.0
        self.skipped = 0
        self.history: list[dict[str, float]] = []
        self._skipped_in_a_row = 0
        self._workers = max(1, min(_MOST_DRAWING, len(os.sched_getaffinity(0)) // 2))
        if (folder / CHECKPOINT_NAME).exists():
            self._load()

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def train(
        self,
        training: AnyExamples,
        validation: AnyExamples,
        progress: Callable[[int, float, Scores | None], None] = lambda step, loss, scores: None,
    ) -> None:
        """Go on to the last step, or until the time is over.

        Ctrl-C and SIGTERM are heard between two steps, and the checkpoint is written before they are passed on.
        AnyExamples that have been prepared since the last validation are drawn from after the next one.

        Args:
            training, validation: examples.
            progress: called after each step with the steps done, the loss (NaN where the step was skipped), and the
                last scores of this session; after a validation with the new ones.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            EdfvError: the training diverges.
            OutputError: the folder cannot be written.
        """
        scores: Scores | None = None
        with postponed_interrupts() as interrupted:

            def heed() -> None:
                if interrupted():
                    self._save()
                    raise KeyboardInterrupt

            while not self.settings.is_over(self.step, self.hours):
                loss = self._learn_until_validation(training, scores, progress, heed)
                scores = self.validate(validation, heed)
                moment = Moment(self.step, self.hours, len(training), loss, self.skipped, scores)
                self.history.append(moment.row())
                self._save()
                self._draw(validation)
                progress(self.step, loss, scores)
                training.extend()

    def _learn_until_validation(
        self,
        training: AnyExamples,
        scores: Scores | None,
        progress: Callable[[int, float, Scores | None], None],
        heed: Callable[[], None],
    ) -> float:
        """The mean loss."""
        settings = self.settings
        every = settings.validate_every
        last = min((self.step // every + 1) * every, settings.steps)
        draws = range(self.step * settings.batch, last * settings.batch)
        total, count = 0.0, 0
        before_s = time.monotonic()
        drawn = batches(training, settings.batch, draws, seed=settings.seed, augment=True, workers=self._workers)
        with closing(drawn):
            for batch in drawn:
                loss = self._learn(batch)
                self.step += 1
                now_s = time.monotonic()
                self.hours += (now_s - before_s) / 3600.0
                before_s = now_s
                if loss is not None:
                    total, count = total + loss, count + 1
                is_last = self.step == last or settings.is_over(self.step, self.hours)
                if not is_last:
                    progress(self.step, float("nan") if loss is None else loss, scores)
                heed()
                if is_last:
                    break
        return total / count if count else float("nan")

    def _learn(self, batch: Batch) -> float | None:
        """One step; None if it was skipped."""
        self.network.train()
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.rate_at(self.step, self.hours)
        self._optimiser.zero_grad(set_to_none=True)
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        batch = batch.to(self.device)
        result = self._kind.losses(self._outputs_of_mosaics(batch), batch)
        result.total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), _GRADIENT_NORM)
        if not bool(torch.isfinite(norm) & torch.isfinite(result.total)):
            for buffer, before in zip(self.network.buffers(), statistics, strict=True):
                buffer.copy_(before)
            self._skip()
            return None
        self._skipped_in_a_row = 0
        self._optimiser.step()
        self.averaged.update_parameters(self.network)
        return float(result.total.detach())

    def _skip(self) -> None:
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= _MOST_SKIPPED:
            raise EdfvError(
                f"{self.folder}: {_MOST_SKIPPED} steps in a row, up to step {self.step + 1}, had no finite gradient: "
                f"train anew with a rate below {self.settings.rate:g}"
            )

    def _outputs_of_mosaics(self, batch: Batch) -> Any:
        """What the network in training returns for a batch, each example having been one of several in a picture."""
        side = drawn_side(self.settings.seed, self.step, batch.guide.shape) if self._kind.in_mosaics else 1
        if side == 1:
            return self._outputs(self.network, batch)
        return untiled(self._outputs(self.network, mosaic(batch, side)), side)

    def _outputs(self, network: nn.Module, batch: Batch) -> Any:
        """What the network returns for a batch that is on the device."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            return network(*(getattr(batch, name) for name in self._kind.inputs))

    @torch.no_grad()
    def validate(self, validation: AnyExamples, heed: Callable[[], None] = lambda: None) -> Scores:
        """Scores of the averaged weights, all inputs given.

        Args:
            validation: examples.
            heed: called after each batch.
        """
        network = self.averaged.module.eval()
        of_examples: list[tuple[float, ...]] = []
        total = 0.0
        drawn = batches(
            validation, self.settings.batch, range(len(validation)), seed=0, augment=False, workers=self._workers
        )
        with closing(drawn):
            for batch in drawn:
                batch = batch.to(self.device)
                outputs = self._outputs(network, batch)
                total += float(self._kind.losses(outputs, batch).total) * len(batch.position_bins)
                of_examples += score_examples(self._kind.read(outputs), batch.position_bins, batch.far_bins)
                heed()
        return mean_scores(of_examples, total / len(validation))

    @torch.no_grad()
    def _draw(self, validation: AnyExamples) -> None:
        save_curves(self.history, self.folder / CURVES_NAME)
        count = min(_PICTURED, len(validation))
        numbers = range(0, len(validation) // count * count, len(validation) // count)
        (batch,) = batches(validation, count, numbers, seed=0, augment=False)
        outputs = self._outputs(self.averaged.module.eval(), batch.to(self.device))
        save_png(sample_picture(batch, self._kind.read(outputs)), self.folder / SAMPLES_NAME)

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "hours": self.hours,
            "skipped": self.skipped,
            "history": self.history,
            "settings": self.settings.model_dump(mode="json"),
        }
        save_state(self.folder, state)
        if not self.history:
            return
        with replace_atomically(self.folder / HISTORY_NAME) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.history[-1]))
            writer.writeheader()
            writer.writerows(self.history)

    def _load(self) -> None:
        state = load_state(self.folder)
        try:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            self._optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise damaged(self.folder / CHECKPOINT_NAME, str(error).splitlines()[0]) from None
        self.step, self.hours, self.history = state["step"], state["hours"], state["history"]
        self.skipped = state.get("skipped", 0)  # not counted at first


def _average(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
    """Exponential moving average, of the first steps a shorter one: they soon say nothing any more."""
    decay = min(_EMA_DECAY, (1.0 + float(count)) / (10.0 + float(count)))
    get_ema_multi_avg_fn(decay)(averaged, current, count)


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and normalisations do not."""
    decaying = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
