"""`edfv train`: a network trained on simulated sweeps, resumable."""

import importlib.util
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from edfv_ros.commands.signals import EXIT_INTERRUPTED
from edfv_ros.commands.terminal import notices, results
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import check_folder
from edfv_ros.training.network_names import NetworkName
from edfv_ros.yaml_model import first_problem

if TYPE_CHECKING:
    from edfv_ros.training.edpn.examples import Examples
    from edfv_ros.training.edpn.loop import TrainingRun
    from edfv_ros.training.edpn.scoring import Scores
    from edfv_ros.training.edpn.settings import TrainingSettings


_LEAST_VALIDATION = 64
_VALIDATION_PART = 20  # one in so many


def train(
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run, or one to go on with.")],
    data: Annotated[
        list[Path], typer.Option(metavar="DIR", help="Data set to train on (edfv dataset); may be given several times.")
    ],
    validation: Annotated[Path, typer.Option(metavar="DIR", help="Data set of another split, to watch it by.")],
    network: Annotated[
        NetworkName | None,
        typer.Option(help="edpn (unless told), or a peer to compare it with: the published architecture, a U-Net."),
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps at most; 20000 unless told.")] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Training at most, without validations; no limit unless told.")
    ] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", help="Examples of a step; 16 unless told.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="Largest learning rate; 0.002, of published 0.0003, unless told.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and draws; 0 unless told.")] = None,
    validate_every: Annotated[
        int | None, typer.Option(metavar="N", help="Steps between validations; 500 unless told.")
    ] = None,
    simulate: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Make what --data lacks of so many samples, while training."),
    ] = None,
    size: Annotated[
        int, typer.Option(min=32, max=1024, metavar="PX", help="Width and height of samples made by --simulate.")
    ] = 128,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto is CUDA where there is one.")] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Of convolutions; auto is bfloat16 where the hardware has it."),
    ] = "auto",
) -> None:
    """Train the depth network.

    RUN gets checkpoint.pt and, at each validation, history.csv, curves.png
    (loss and errors over steps and hours) and samples.png (what the network
    sees and says). Ctrl-C keeps what was learned, and the same command goes
    on from there; what is left out is as the run was begun with. Only --steps
    and --minutes may grow. The rate falls to nothing towards the end of
    either, whichever is nearer.

    The same seed gives the same network, on the same device with the same
    number of threads (on CUDA up to rounding), from a data set that does not
    grow meanwhile. One that grows, as with --simulate, is drawn from as far
    as it is there: then it depends on how fast it grew.

    \b
    Examples:
      edfv train --out run --data crops --validation held_out
      edfv train --out run --data crops --validation held_out --steps 40000
      edfv train --out run --data crops --data more --validation held_out
      edfv train --out peer --data crops --validation held_out \\
          --network published --minutes 60
      edfv train --out run --data crops --validation held_out --simulate 8000
    """
    if importlib.util.find_spec("torch") is None:
        raise EdfvError("edfv train needs torch, which is not installed: pip install edfv_ros[train]")
    from edfv_ros.training.edpn.device import choose_device  # torch takes seconds to load
    from edfv_ros.training.edpn.examples import Examples, JoinedExamples
    from edfv_ros.training.edpn.loop import TrainingRun

    check_folder(out)
    settings = _settings(
        out,
        {
            "network": network, "steps": steps, "minutes": minutes, "batch": batch, "rate": rate, "seed": seed,
            "validate_every": validate_every,
        },
    )  # fmt: skip
    chosen = choose_device(device, precision)
    display = _Display(notices())
    with ExitStack() as stack:
        try:
            if simulate is not None:
                _make_validation(validation, max(_LEAST_VALIDATION, simulate // _VALIDATION_PART), size, display)
            held_out = Examples(validation, display.of("preparing validation"))
            if simulate is None:
                parts = [Examples(directory, display.of("preparing examples")) for directory in data]
                check = _nothing_to_check
            else:
                if len(data) > 1:
                    raise EdfvError("--simulate makes one data set: give --data once")
                from edfv_ros.training.edpn.background_data import BackgroundData

                making = stack.enter_context(BackgroundData(data[0], simulate, size, notice=display.warn))
                making.wait_for_first(display.of("making samples"))
                parts, check = [Examples(data[0], prepare=False)], making.check
            for directory, part in zip(data, parts, strict=True):
                _check_splits(directory, part, validation, held_out)
            examples = JoinedExamples(parts)
            run = TrainingRun(out, settings, chosen.name, bfloat16=chosen.bfloat16)
            display.say(
                f"{chosen.description}, {chosen.precision}; {len(examples):,} examples of "
                f"{' x '.join(map(str, examples.resolution))}, {len(held_out):,} to validate; "
                f"{run.parameters / 1e6:.2f} million parameters"
            )
            if run.step:
                display.say(f"going on after step {run.step:,} of {settings.steps:,}{_of_time(run)}")

            def show(step: int, loss: float, scores: "Scores | None") -> None:
                check()
                display.show(run, step, loss, scores)

            run.train(examples, held_out, show)
        except KeyboardInterrupt:
            display.close()
            display.say(f"interrupted; the same command goes on with what is in {out}")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        finally:
            display.close()
    if run.history:
        results().print(f"{escape(str(out))}: {_summary(run.history[-1])}")


def _settings(out: Path, given: dict[str, Any]) -> "TrainingSettings":
    """Those given, the others as in the run that is there, or as usual."""
    from edfv_ros.training.edpn.settings import TrainingSettings, load_settings

    present = load_settings(out)
    is_other = present is not None and given["network"] not in (None, present.network)  # which the run will refuse
    values = present.model_dump() if present is not None and not is_other else {}
    values.update({name: value for name, value in given.items() if value is not None})
    try:
        return TrainingSettings.model_validate(values)
    except ValidationError as problem:
        raise EdfvError(f"edfv train: {first_problem(problem, TrainingSettings)}") from None


def _make_validation(directory: Path, count: int, size: int, display: "_Display") -> None:
    """Simulate a validation set, or what is missing of one that is there."""
    from edfv_ros.simulation.dataset import MANIFEST_NAME, Dataset, generate

    show = display.of("making validation")
    if not (directory / MANIFEST_NAME).exists():
        generate(
            directory, count, "validation", (size, size),
            progress=lambda made: show(made.done, made.count), notice=display.warn,
        )  # fmt: skip
        return
    dataset = Dataset(directory)
    manifest = dataset.manifest
    if len(dataset) < manifest.count:
        generate(
            directory, manifest.count, manifest.split, manifest.resolution, manifest.domain,
            progress=lambda made: show(made.done, made.count), notice=display.warn, shard_size=manifest.shard_size,
        )  # fmt: skip


def _check_splits(data: Path, examples: "Examples", validation: Path, held_out: "Examples") -> None:
    """Validation on scenes that are trained on says nothing."""
    split = examples.manifest.split
    if split == held_out.manifest.split:
        other = "validation" if split != "validation" else "train"
        raise EdfvError(
            f"{validation}: is of the split {split}, as {data} is, and shares its scenes: make another with "
            f"edfv dataset --split {other}"
        )


def _nothing_to_check() -> None:
    """No data are made meanwhile."""


class _Display:
    """A bar where somebody watches, and a line for each validation anywhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._title = ""
        self._since: tuple[int, float] | None = None
        self._validations = 0
        self._delta1 = math.nan

    def say(self, line: str) -> None:
        """Print a remark."""
        self._console.print(escape(line), style="dim", soft_wrap=True)

    def warn(self, line: str) -> None:
        """Print what went wrong."""
        self._console.print(f"! {escape(line)}", style="yellow", soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._title = ""

    def of(self, title: str) -> "Any":
        """A function that shows how far something is, called with what is done and what is to be done."""

        def show(done: int, count: int) -> None:
            self._bar(title, done, count, "")

        return show

    def show(self, run: "TrainingRun", step: int, loss: float, scores: "Scores | None") -> None:
        """Show how far a run is."""
        now_s = time.monotonic()
        if self._since is None:
            self._since, self._validations = (step - 1, now_s), len(run.history)
            if run.history and run.history[-1]["step"] == step:
                self._validations -= 1
        begun, begun_s = self._since
        rate_hz = (step - begun) / max(now_s - begun_s, 1e-9) if step > begun + 1 else math.nan
        left_s = (run.settings.steps - step) / rate_hz
        if run.settings.minutes is not None:
            left_s = min(left_s, max(60.0 * run.settings.minutes - 3600.0 * run.hours, 0.0))
        if scores is not None:
            self._delta1 = scores.delta1
        pace = f"{_rate(rate_hz)}, {_duration(left_s)} left" if math.isfinite(left_s) else ""
        self._bar(
            "training", step, run.settings.steps, f"loss {loss:.3f}, validation delta1 {self._delta1:.3f}, {pace}"
        )
        if len(run.history) > self._validations:
            self._validations = len(run.history)
            self.say(f"{_summary(run.history[-1])}; {pace}" if pace else _summary(run.history[-1]))

    def _bar(self, title: str, done: int, count: int, text: str) -> None:
        if not self._console.is_terminal:
            return
        if title != self._title:
            self.close()
            self._title = title
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,} of {task.total:,}{task.fields[text]}"),
                console=self._console,
                transient=True,
            )
            self._progress.add_task(title, total=count, text="")
            self._progress.start()
        assert self._progress is not None
        task = self._progress.tasks[0].id
        self._progress.update(task, completed=done, total=count, text=f"; {text}" if text else "")


def _summary(row: dict[str, float]) -> str:
    """A line of the history in words."""
    skipped = f", {row['skipped']:,} steps skipped: their gradients were not finite" if row.get("skipped") else ""
    return (
        f"step {row['step']:,}, {row['hours']:.2f} h: loss {row['loss']:.3f}; validation: loss {row['val_loss']:.3f}, "
        f"delta1 {row['val_delta1']:.3f}, abs rel {row['val_abs_rel']:.3f}, median {row['val_median_bins']:.2f} bin, "
        f"{row['val_inside_1_sigma']:.0%} within sigma{skipped}"
    )


def _of_time(run: "TrainingRun") -> str:
    """How much of a limited time is over."""
    minutes = run.settings.minutes
    return "" if minutes is None else f", {60.0 * run.hours:.1f} of {minutes:g} minutes"


def _rate(rate_hz: float) -> str:
    return f"{rate_hz:.1f} steps a second" if rate_hz >= 1.0 else f"{1.0 / rate_hz:.1f} s a step"


def _duration(seconds: float) -> str:
    if seconds >= 3600.0:
        return f"{seconds / 3600.0:.1f} h"
    return f"{seconds / 60.0:.0f} min" if seconds >= 60.0 else f"{seconds:.0f} s"
