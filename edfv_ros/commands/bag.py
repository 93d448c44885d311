"""`edfv bag`: recordings as MCAP bags of ROS 2 messages, and back."""

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edfv_ros.commands.terminal import notices, print_json, recording_progress, results

if TYPE_CHECKING:
    from edfv_ros.bags.packing import Packed
    from edfv_ros.bags.records import BagSummary

bag_app = typer.Typer(
    help="Recordings as MCAP bags of ROS 2 messages, and back.", no_args_is_help=True, rich_markup_mode="rich"
)


@bag_app.callback()
def bag() -> None:
    """Recordings as MCAP bags of ROS 2 messages, and back."""


@bag_app.command()
def pack(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder or an .aedat4 file.")],
    out: Annotated[Path, typer.Option(metavar="FILE.mcap", help="The bag to write.")],
    rig: Annotated[Path | None, typer.Option(metavar="FILE", help="Rig file; the recording's own if left out.")] = None,
) -> None:
    """Write a recording as a bag that ros2 bag play, Foxglove and rviz open.

    Events become event_camera_msgs/EventPacket (mono), triggers the same
    (trigger), the focus sensor_msgs/JointState, frames sensor_msgs/Image. Rig
    and true depth come along. `edfv run`, `edfv info` and the node take the
    bag in place of the recording, and give the same depth bit by bit.

    For a bag with depth in it: edfv run RECORDING --out DIR --bag FILE.mcap

    \b
    Example:
      edfv bag pack sweep --out sweep.mcap
    """
    from edfv_ros.bags import packing  # here, because numpy and pydantic take their time to load

    with recording_progress() as progress:
        task = progress.add_task(escape(str(recording)), total=1.0)
        packed = packing.pack(
            recording, out, rig_path=rig, on_progress=lambda fraction: progress.update(task, completed=fraction)
        )
    _print_packed(out, packed)


@bag_app.command()
def unpack(
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="An .mcap file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the recording; never overwritten.")],
) -> None:
    """Write a bag as a sweep recording: recording.aedat4, lens.csv, rig.yaml.

    Also a bag of ros2 bag record with the events of libcaer_driver or
    metavision_driver (encodings libcaer and mono) and the focus as a
    sensor_msgs/JointState named focus. A bag whose writer was killed reads up
    to its last chunk.

    \b
    Example:
      edfv bag unpack sweep.mcap --out sweep
    """
    from edfv_ros.bags import packing

    with recording_progress() as progress:
        task = progress.add_task(escape(str(bag)), total=1.0)
        packed = packing.unpack(bag, out, on_progress=lambda fraction: progress.update(task, completed=fraction))
    _print_packed(out, packed)


@bag_app.command()
def topics(
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="An .mcap file.")],
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """List the topics of a bag, their types and their messages.

    `edfv info BAG` counts the events in it and finds the sweeps.

    \b
    Example:
      edfv bag topics sweep.mcap
    """
    from edfv_ros.bags.records import BagFile

    with notices().status(f"reading {escape(str(bag))}"), BagFile(bag) as opened:
        summary = opened.summary()
    if json:
        counts = [{"topic": topic.name, "type": topic.type, "messages": n} for topic, n in summary.counts.items()]
        print_json({"topics": counts, "attachments": summary.attachments, "closed": summary.is_closed})
    else:
        _print_summary(results(), bag, summary)


def _print_packed(out: Path, packed: "Packed") -> None:
    health = packed.health
    parts = [f"{health.events:,} events"]
    parts += [f"{count:,} {name}" for name in ("triggers", "frames", "imu") if (count := getattr(health, name))]
    if packed.focus_rows:
        parts.append(f"{packed.focus_rows:,} rows of the lens track")
    results().print(f"{out}: {', '.join(parts)}", markup=False)
    for name, count in health.problems.items():
        notices().print(f"! {name.replace('_', ' ')} of the events: {count:,}", style="yellow", soft_wrap=True)


def _print_summary(console: Console, path: Path, summary: "BagSummary") -> None:
    console.print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", markup=False)
    if summary.period_ns is not None:
        first_s, last_s = (time_ns * 1e-9 for time_ns in summary.period_ns)
        start = datetime.fromtimestamp(first_s, tz=timezone.utc)
        console.print(f"{last_s - first_s:.3f} s from {start:%Y-%m-%d %H:%M:%S.%f} UTC")
    if not summary.is_closed:
        console.print("! its writer was killed: it reads up to its last chunk, without an index", style="yellow")
    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0), pad_edge=False)
    table.add_column("topic")
    table.add_column("type")
    table.add_column("messages", justify="right")
    for topic, count in sorted(summary.counts.items(), key=lambda item: item[0].name):
        table.add_row(escape(topic.name), escape(topic.type), f"{count:,}")
    console.print(table)
    for name in summary.attachments:
        console.print(f"with {name}", markup=False)
