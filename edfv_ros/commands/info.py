"""`edfv info`: what a recording holds."""

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edfv_ros.commands.terminal import notices, print_json, results

if TYPE_CHECKING:
    from edfv_ros.inspection import RecordingSummary

_SWEEPS_SHOWN = 12


def info(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder or an .aedat4 file.")],
    rig: Annotated[Path | None, typer.Option(metavar="FILE", help="Rig file, where the folder has none.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Count what a recording holds, find its sweeps, say what is missing.

    \b
    Examples:
      edfv info sweep
      edfv info recording.aedat4 --rig rig.yaml
      edfv info sweep --json
    """
    from edfv_ros.inspection import inspect  # here, because numpy and pydantic take their time to load

    with notices().status(f"reading {escape(str(recording))}"):
        summary = inspect(recording, rig)
    if json:
        print_json(summary)
    else:
        _print_summary(results(), summary)


def _print_summary(console: Console, summary: "RecordingSummary") -> None:
    console.print(Text.assemble((str(summary.path), "bold"), f"  {summary.size_bytes / 1e6:.1f} MB"), soft_wrap=True)
    console.print(f"{summary.camera}, {summary.width_px} x {summary.height_px} px, {_period(summary)}\n", markup=False)
    _print_streams(console, summary)
    console.print()
    _print_lens(console, summary)
    if summary.counters:
        noted = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary.counters.items())
        console.print(f"noted   {noted}", soft_wrap=True)
    for problem in summary.problems:
        console.print(Text.assemble(("! ", "bold yellow"), problem), soft_wrap=True)


def _period(summary: "RecordingSummary") -> str:
    events = summary.streams["events"]
    if events.first_us is None or events.last_us is None:
        return "no events"
    lasts = f"{(events.last_us - events.first_us) / 1e6:.3f} s of events"
    try:
        start = datetime.fromtimestamp(events.first_us / 1e6, tz=timezone.utc)
    except (ValueError, OverflowError, OSError):  # no calendar has this year
        return lasts
    return f"{lasts} from {start:%Y-%m-%d %H:%M:%S.%f} UTC"


def _print_streams(console: Console, summary: "RecordingSummary") -> None:
    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0), pad_edge=False)
    table.add_column("stream")
    for heading in ("count", "first us", "last us", "per second"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, stream in summary.streams.items():
        if stream.first_us is None or stream.last_us is None:
            table.add_row(name, "0")
            continue
        lasts_us = stream.last_us - stream.first_us
        rate = f"{(stream.count - 1) / lasts_us * 1e6:,.0f}" if lasts_us else ""
        table.add_row(name, f"{stream.count:,}", str(stream.first_us), str(stream.last_us), rate)
    console.print(table)
    if summary.trigger_kinds:
        kinds = ", ".join(f"{count:,} {name}" for name, count in summary.trigger_kinds.items())
        console.print(f"triggers: {kinds}")


def _print_lens(console: Console, summary: "RecordingSummary") -> None:
    console.print(f"rig     {f'camera {summary.rig}' if summary.rig else 'none'}")
    lens = summary.lens
    console.print(
        f"lens    track of {lens.rows:,} rows over {(lens.end_us - lens.start_us) / 1e6:.3f} s, {lens.min_dpt:.2f} to "
        f"{lens.max_dpt:.2f} dpt"
        if lens
        else "lens    no track"
    )
    console.print(f"truth   depth {' x '.join(map(str, summary.depth_gt))}" if summary.depth_gt else "truth   none")
    source = f", from {summary.sweeps_from}" if summary.sweeps_from else ""
    console.print(f"sweeps  {len(summary.sweeps)}{source}")
    for sweep in summary.sweeps[:_SWEEPS_SHOWN]:
        lasts_ms = (sweep.end_us - sweep.start_us) / 1e3
        focus = f"{sweep.min_dpt:.2f} to {sweep.max_dpt:.2f} dpt"
        console.print(f"  {sweep.number:4d}  {sweep.direction:<4}  {lasts_ms:8.1f} ms from {sweep.start_us}  {focus}")
    if len(summary.sweeps) > _SWEEPS_SHOWN:
        console.print(f"  ... and {len(summary.sweeps) - _SWEEPS_SHOWN} more (--json has all)", style="dim")
