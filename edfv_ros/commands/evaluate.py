"""`edfv evaluate`: a held-out test set, estimators side by side on it, and what time costs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edfv_ros.commands.signals import EXIT_INTERRUPTED
from edfv_ros.commands.terminal import notices, results
from edfv_ros.outputs.files import check_file, replace_atomically
from edfv_ros.outputs.plain_json import to_json

if TYPE_CHECKING:
    from edfv_ros.evaluation.comparison import Comparison, Summary
    from edfv_ros.evaluation.timing import TimingTrial


_NONE = "-"
_WIDEST = 1000

evaluate_app = typer.Typer(
    help="A held-out test set, estimators side by side on it, and what time costs.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@evaluate_app.callback()
def evaluate() -> None:
    """A held-out test set, estimators side by side on it, and what time costs."""


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


@evaluate_app.command()
def timing(
    rig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rig to simulate; the example rig if left out.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Kind of scene; a wrong one lists them all.")] = "room",
    seed: Annotated[int, typer.Option(min=0, help="Another number, another scene and sensor.")] = 0,
    sweeps: Annotated[int, typer.Option(min=4, max=100, help="Focus sweeps.")] = 6,
    lag: Annotated[float, typer.Option(metavar="MS", min=0, max=100, help="By which the lens is late, unknown.")] = 2.0,
    drift: Annotated[float, typer.Option(metavar="PPM", min=-1000, max=1000, help="Of the lens's clock.")] = 200.0,
) -> None:
    """Show what it costs in depth how the focus is bound to time.

    On the virtual rig, whose lens is late by a lag that the rig file does not
    know and whose controller's clock drifts, depth is computed three times:
    with the true focus, from trigger edges and from telemetry; each as it is
    and with the lag taken out that comparing up-sweeps with down-sweeps finds.
    Ends with 1 where depth by triggers is more than 0.1 bin from that with
    perfect timing, or depth by telemetry more than 0.5 (medians over confident
    pixels). docs/evaluation.md says more.

    \b
    Examples:
      edfv evaluate timing
      edfv evaluate timing --kind shelf --seed 3 --lag 4 --drift -50
    """
    from edfv_ros.evaluation.timing import try_timing  # numba takes its time to load
    from edfv_ros.rig import load_rig
    from edfv_ros.share import config_file

    loaded = load_rig(rig or config_file("rig.yaml"))
    with _progress("timing", notices()) as progress:
        task = progress.add_task("", total=1.0)
        trial = try_timing(
            loaded,
            kind=kind,
            seed=seed,
            sweeps=sweeps,
            lag_ms=lag,
            drift_ppm=drift,
            progress=lambda fraction: progress.update(task, completed=fraction),
        )
    _print_timing(results(), trial, f"{kind}-{seed} at {loaded.sweep.frequency_hz:g} Hz")
    if not trial.passes:
        raise typer.Exit(1)


def _print_timing(console: Console, trial: "TimingTrial", scene: str) -> None:
    drift_ppm, uncertainty_us = (trial.clock[f"clock_{name}"] for name in ("drift_ppm", "uncertainty_us"))
    clock = f"clock drift found {drift_ppm:+.0f} ppm, time known to {uncertainty_us:.0f} us"
    console.print(f"{scene}, {trial.bin_ms:.2f} ms a bin; telemetry: {clock}", markup=False, soft_wrap=True)
    table = Table(box=None, header_style="bold", padding=(0, 0, 0, 2), pad_edge=False)
    table.add_column("focus by", no_wrap=True)
    for heading in ("lag found ms", "error bins", "from perfect", "one way", "limit"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in trial.rows:
        lag = _NONE if row.lag is None else f"{row.lag.lag_us * 1e-3:.2f} ± {row.lag.sigma_us * 1e-3:.2f}"
        limit = _NONE if row.limit_bins is None else f"{row.limit_bins:g} {'kept' if row.passes else 'EXCEEDED'}"
        cells = [_number(value) for value in (row.error_bins, row.from_perfect_bins, row.one_way_bins)]
        table.add_row(f"{row.binding}{', lag taken out' if row.corrected else ''}", lag, *cells, limit)
    console.width = max(
        console.width, console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum
    )
    console.print(table)


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
