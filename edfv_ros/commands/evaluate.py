"""`edfv evaluate`: a held-out test set, and estimators side by side on it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edfv_ros.commands.terminal import notices, results
from edfv_ros.outputs.files import check_file, replace_atomically
from edfv_ros.outputs.plain_json import to_json

if TYPE_CHECKING:
    from edfv_ros.evaluation.comparison import Comparison, Summary

EXIT_INTERRUPTED = 130

_NONE = "-"
_WIDEST = 1000

evaluate_app = typer.Typer(
    help="A held-out test set, and estimators side by side on it.", no_args_is_help=True, rich_markup_mode="rich"
)


@evaluate_app.callback()
def evaluate() -> None:
    """A held-out test set, and estimators side by side on it."""


@evaluate_app.command()
def make(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the test set, or one to go on with.")],
    count: Annotated[int, typer.Option(min=1, help="Items that it is to have.")] = 200,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; one for each processor if left out.")
    ] = None,
) -> None:
    """Simulate a test set that no training ever draws.

    An item is a sweep recording like any other: an up-sweep and a down-sweep
    of 346x260 pixels with their true depth, and for comparison a focal stack
    of ten frames of each sweep. Kinds of scenes, seven rigs, and a camera that
    stands or moves mildly take turns. Its seeds are of the split "test".

    Ctrl-C leaves whole items: the same command goes on, a larger --count
    makes a set longer. The same command makes the same items.

    \b
    Examples:
      edfv evaluate make --out held_out
      edfv evaluate make --out held_out --count 420 --workers 8
    """
    from edfv_ros.evaluation.held_out import make_held_out  # numba takes its time to load

    console = notices()
    console.print(f"making {count} items in {escape(str(out))}", style="dim")
    with _progress("making items", console) as progress:
        task = progress.add_task("", total=count)
        try:
            make_held_out(out, count, workers=workers, progress=lambda done: progress.update(task, completed=done))
        except KeyboardInterrupt:
            console.print(f"interrupted; the same command goes on with what is in {escape(str(out))}")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    results().print(f"{escape(str(out))}: {count} items")
    notices().print(f"next: edfv evaluate compare {escape(str(out))} --method reversal", style="dim")


@evaluate_app.command()
def compare(
    recordings: Annotated[
        list[Path], typer.Argument(metavar="RECORDING", help="Sweep recordings with true depth, or folders of them.")
    ],
    method: Annotated[
        list[str],
        typer.Option(metavar="NAME[,FILE]", help="An estimator or peer, with its model (.onnx) or prior (.yaml)."),
    ],
    by: Annotated[Literal["motion", "kind"], typer.Option(help="Also a table by kind of scene.")] = "motion",
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write every score as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="PNG", help="Also draw some sweeps.")] = None,
    pictures: Annotated[int, typer.Option(min=1, max=100, help="How many to draw.")] = 6,
    talk: Annotated[
        bool, typer.Option("--talk", help="Also RMSE over 30 m, to compare with the talk on EDPN.")
    ] = False,
) -> None:
    """Compare estimators on the same sweeps.

    Scores are over every pixel with a true depth in the sweep's range; where
    a method knows none, it is given the middle of the sweep, and "known" says
    how often not. Means are over sweeps. SAME is the median error, in bins,
    where texture and events are; F1 that of the occluding contours; in 1 s and
    in 2 s say how many errors lie within so many of a pixel's own standard
    deviations (honest: 0.683, 0.954); AUSE how far their order is from that of
    the errors. docs/evaluation.md has the definitions.

    A method is an estimator of `edfv run`, or a peer: focal_stack has ten
    frames of each sweep in place of events, published and event_stack are
    networks of edfv train --network. A recording without what a method looks
    at is left out for it.

    \b
    Examples:
      edfv evaluate compare held_out --method reversal --method focal_stack
      edfv evaluate compare held_out --method edpn,a.onnx --method edpn,b.onnx
      edfv evaluate compare held_out --method edpn --method published,peer.onnx
      edfv evaluate compare held_out --method reversal --by kind --picture look.png
    """
    from edfv_ros.evaluation.comparison import compare as compare_methods  # numba takes its time to load
    from edfv_ros.evaluation.held_out_items import find_recordings
    from edfv_ros.evaluation.methods import parse_methods

    methods = parse_methods(method)
    for file in (json, picture):
        if file is not None:
            check_file(file)
    found = find_recordings(recordings)
    with _progress("comparing", notices()) as progress:
        task = progress.add_task("", total=len(found))
        comparison = compare_methods(
            found,
            methods,
            pictures=pictures if picture is not None else 0,
            progress=lambda done: progress.update(task, completed=done),
        )
    console = results()
    _print_table(console, comparison.by_motion(), talk=talk)
    if by == "kind":
        console.print()
        _print_table(console, comparison.by_kind(), talk=talk)
    for (label, reason), count in comparison.left_out.items():
        console.print(f"! {label}: left out in {count} of {len(found)}: {reason}", style="yellow", markup=False)
    if json is not None:
        with replace_atomically(json) as temporary:
            temporary.write_text(to_json(_as_json(comparison)) + "\n", encoding="utf-8")
        notices().print(f"numbers: {escape(str(json))}", style="dim")
    if picture is not None:
        from edfv_ros.evaluation.comparison_picture import comparison_picture
        from edfv_ros.outputs.depth_picture import save_png

        save_png(comparison_picture(comparison.panels, comparison.methods), picture)
        notices().print(f"picture: {escape(str(picture))}", style="dim")


_COLUMNS = {
    "AbsRel": "abs_rel",
    "RMSE m": "rmse_m",
    "log10": "log10",
    "d1": "delta1",
    "d2": "delta2",
    "d3": "delta3",
    "SAME bins": "same_median_error_bins",
    "F1": "boundary_f1",
    "in 1 s": "within_1_sigma",
    "in 2 s": "within_2_sigma",
    "AUSE": "ause",
    "known": "known_fraction",
}


def _print_table(console: Console, summaries: "Sequence[Summary]", *, talk: bool) -> None:
    columns = dict(_COLUMNS)
    if talk:
        columns["RMSE/30"] = "rmse_talk"
    table = Table(box=None, header_style="bold", padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("sweeps", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for heading in (*columns, "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    group = ""
    for summary in summaries:
        is_first = summary.group != group
        if is_first and group:
            table.add_row()
        group = summary.group
        cells = [_number(summary.metrics[name]) for name in columns.values()]
        table.add_row(escape(f"{summary.sweeps} {summary.group}"), escape(summary.method), *cells, f"{summary.ms:.0f}")
    needed = console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum
    console.width = max(console.width, needed)  # a terminal may break the lines, but no score is cut off
    console.print(table)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else _NONE


def _as_json(comparison: "Comparison") -> dict[str, object]:
    left_out = [
        {"method": label, "reason": reason, "recordings": count}
        for (label, reason), count in comparison.left_out.items()
    ]
    return {
        "by_motion": comparison.by_motion(),
        "by_kind": comparison.by_kind(),
        "left_out": left_out,
        "scores": comparison.scores,
    }


def _progress(what: str, console: Console) -> Progress:
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=600.0,
    )
