"""`edfv run`: a sweep recording becomes depth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edfv_ros.commands.terminal import notices, recording_progress, results

if TYPE_CHECKING:
    from edfv_ros.lag_check import LagReport
    from edfv_ros.offline import RunReport


def run(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder, .aedat4 or .mcap file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.")],
    estimator: Annotated[str, typer.Option(metavar="NAME", help="How depth is estimated.")] = "edpn",
    prior: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prior file (YAML), for estimators that take one.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="Network file, for estimators that take one.")
    ] = None,
    rig: Annotated[Path | None, typer.Option(metavar="FILE", help="Rig file; the recording's own if left out.")] = None,
    sweeps: Annotated[
        str, typer.Option(metavar="N|A:B", help="The first N sweeps, or A up to but not including B.")
    ] = "",
    rate: Annotated[
        float, typer.Option(metavar="HZ", min=0.0, help="Depth images a second, between turning points too.")
    ] = 0.0,
    correct_lag: Annotated[
        bool, typer.Option("--correct-lag", help="Take out the lag between lens and events that is found.")
    ] = False,
    bag: Annotated[
        Path | None, typer.Option(metavar="FILE.mcap", help="Also write events, lens and depth as a bag for ROS 2.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")] = False,
) -> None:
    """Turn a sweep recording into metric depth.

    For every focus sweep DIR gets depth_0000.npy (metres, NaN where unknown),
    confidence_0000.npy (0 to 1), depth_0000.png (a picture) and
    points_0000.ply (a point cloud), and for all of them report.json. Where
    the recording has true depth, errors are reported too.

    The recording needs a rig (rig.yaml) and something that tells where the
    focus was: lens.csv, or a trigger at every turning point.

    With --rate there is depth while a sweep runs, too, of the newest events at
    every focus: depth_0003_1.npy after the first part of sweep 3.

    How far the events lag behind the focus is found by comparing up-sweeps
    with down-sweeps (docs/lenses.md); --correct-lag takes it out.

    \b
    Estimators:
      edpn            the network that comes with edfv_ros: every pixel, with an
                      uncertainty; --model for one of your own, --prior
      reversal        without a network; unknown where nothing is seen
      aligned_prior   reversal, with a monocular depth network in the gaps: --prior
      edpn_published  the network of the EDPN paper: --prior, and --model from
                      edfv model import

    \b
    Examples:
      edfv run sweep --out depth
      edfv run sweep --out depth --sweeps 4 --overwrite
      edfv run sweep --out depth --estimator reversal
      edfv run events.aedat4 --rig rig.yaml --out depth
      edfv run sweep --out depth --bag sweep.mcap
      edfv run sweep --out depth --rate 30
      edfv run sweep --out depth --estimator aligned_prior --prior prior.yaml
      edfv run sweep --out depth --estimator edpn_published --prior prior.yaml
               --model edpn_published.onnx
    """
    from edfv_ros.offline import compute_depth  # here, because numba and the estimators take their time to load
    from edfv_ros.outputs.run_folder import RunFolder
    from edfv_ros.recording import open_recording
    from edfv_ros.sweep_range import SweepRange

    wanted = SweepRange.parse(sweeps) if sweeps else SweepRange()
    opened = open_recording(recording, rig)
    folder = RunFolder(out, opened.rig, overwrite=overwrite)
    with recording_progress() as progress:
        task = progress.add_task(escape(str(recording)), total=1.0)
        report = compute_depth(
            opened,
            folder,
            estimator=estimator,
            wanted=wanted,
            prior=prior,
            model=model,
            bag=bag,
            rate_hz=rate,
            correct_lag=correct_lag,
            on_progress=lambda fraction: progress.update(task, completed=fraction),
        )
    _print_report(report)
    notices().print(f"results: {escape(str(out))}", style="dim")


_MASKS = {
    "dense": "every pixel with a depth",
    "supported": "with 4 events or more around them; one without a depth counts as wrong in delta1",
    "confident": "of the supported: confidence above 0.5",
}
_PARTS = {"dense": "known_fraction", "supported": "supported_fraction", "confident": "confident_fraction"}
_SCORES = {"abs_rel": "abs rel", "delta1": "delta1", "median_error_bins": "median error in bins"}


def _print_report(report: "RunReport") -> None:
    console = results()
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("sweep", no_wrap=True)
    for heading in ("events", "known", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for sweep in report.sweeps:
        name = f"{sweep.index}.{sweep.part} {sweep.direction}" if sweep.part else f"{sweep.index} {sweep.direction}"
        table.add_row(name, f"{sweep.events:,}", f"{sweep.known:.0%}", f"{sweep.latency_ms:.0f}")
    console.print(table)
    if report.mean_metrics is not None:
        console.print("\nagainst the true depth, mean over the sweeps", style="bold")
        for mask, meaning in _MASKS.items():
            scores = ", ".join(f"{label} {report.mean_metrics[f'{mask}_{key}']:.3f}" for key, label in _SCORES.items())
            part = report.mean_metrics[_PARTS[mask]]
            console.print(f"  {mask:<10} {part:>4.0%}  {scores}   [dim]{meaning}[/dim]", soft_wrap=True)
    console.print(_lag_line(report.lag), markup=False, soft_wrap=True)
    for doubt in report.doubts:
        console.print(f"! {doubt}", style="yellow", markup=False, soft_wrap=True)
    for reason, count in report.dropped_sweeps.items():
        console.print(f"! sweeps dropped: {count}, {reason}", style="yellow", markup=False)


def _lag_line(lag: "LagReport") -> str:
    """What the comparison of up-sweeps with down-sweeps says of time."""
    if lag.lag is None or lag.bins is None:
        reasons = "; ".join(lag.rejected) or "no up-sweep beside a down-sweep"
        return f"lag of the events behind the focus: not known ({reasons})"
    found = f"{lag.lag.lag_us * 1e-3:+.2f} ms, known to {lag.lag.sigma_us * 1e-3:.2f} ms ({lag.bins:+.2f} bins)"
    taken_out = "" if lag.correction_us is None else f"; {lag.correction_us * 1e-3:+.2f} ms taken out"
    pairs = "one pair" if lag.measurements == 1 else f"{lag.measurements} pairs"
    return f"lag of the events behind the focus: {found}, from {pairs} of sweeps{taken_out}"
