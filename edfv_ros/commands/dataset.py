"""`edfv dataset`: training samples, made by all processors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edfv_ros.commands.signals import EXIT_INTERRUPTED
from edfv_ros.commands.terminal import notices, results
from edfv_ros.errors import SimulationError
from edfv_ros.outputs.files import check_file

if TYPE_CHECKING:
    from edfv_ros.simulation.dataset import Dataset
    from edfv_ros.simulation.dataset import Progress as Made


_PREVIEWED = 24


def dataset(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the data set, or one to go on with.")],
    count: Annotated[int, typer.Option(min=1, help="Samples that it is to have.")],
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="No two of these ever share a scene.")
    ] = "train",
    size: Annotated[int, typer.Option(min=32, max=1024, metavar="PX", help="Width and height of a sample.")] = 128,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; one for each processor if left out.")
    ] = None,
    domain: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with the ranges that are to differ from the usual ones.")
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Also draw some samples: frame, events, depth.")
    ] = None,
) -> None:
    """Simulate samples to train a network with.

    A sample is an up-sweep and a down-sweep of a small camera in front of a
    random scene: events, focus over time, a frame, and the true depth at the
    middle of each sweep. Rig, sensor, motion and scene are drawn anew for
    each. DIR gets dataset.json and shards of 64 samples.

    Ctrl-C and even a lost machine leave whole shards: the same command goes
    on from there, and a larger --count makes a set longer. The same command
    writes the same samples, whatever the number of workers.

    \b
    A domain file holds for example:
      threshold: \\[0.1, 0.2]
      kinds: \\[tabletop, shelf, clutter]

    \b
    Examples:
      edfv dataset --out train --count 4000
      edfv dataset --out held_out --count 400 --split validation
      edfv dataset --out look --count 24 --preview look.png
    """
    from edfv_ros.simulation.dataset import Dataset, generate
    from edfv_ros.simulation.domain import Domain
    from edfv_ros.yaml_model import load_yaml_model

    if preview is not None:
        check_file(preview)
    ranges = Domain() if domain is None else load_yaml_model(domain, Domain, "domain", SimulationError, "--help")
    console = notices()
    console.print(f"making {count} samples in {escape(str(out))}", style="dim")
    with Progress(
        TextColumn("making samples"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=600.0,
    ) as progress:
        task = progress.add_task("", total=count, rate="")

        def show(made: "Made") -> None:
            elapsed_s = progress.tasks[0].elapsed or 0.0
            rate = f"{60.0 * made.made / elapsed_s:.0f} a minute" if made.made and elapsed_s else ""
            progress.update(task, completed=made.done, rate=rate)

        def tell(line: str) -> None:
            console.print(f"! {escape(line)}", style="yellow", soft_wrap=True)

        try:
            generate(out, count, split, (size, size), ranges, workers, show, tell)
        except KeyboardInterrupt:
            console.print(f"interrupted; the same command goes on with what is in {escape(str(out))}")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    made = Dataset(out)
    megabytes = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    results().print(f"{escape(str(out))}: {len(made)} samples of {size} x {size}, {split}, {megabytes:.1f} MB")
    if preview is not None:
        _draw(made, preview)


def _draw(made: "Dataset", preview: Path) -> None:
    from edfv_ros.outputs.depth_picture import save_png
    from edfv_ros.training.contact_sheet import contact_sheet

    shown = min(_PREVIEWED, len(made))
    save_png(contact_sheet([made[number * len(made) // shown] for number in range(shown)]), preview)
    notices().print(f"picture: {escape(str(preview))}", style="dim")
