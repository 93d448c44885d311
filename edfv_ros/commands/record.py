"""`edfv record`: a live source becomes a sweep recording."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from edfv_ros.commands.signals import signals_set
from edfv_ros.commands.terminal import notices, results
from edfv_ros.errors import EdfvError

if TYPE_CHECKING:
    from edfv_ros.live_recording import RecordingStatus


def record(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="camera: | camera:SERIAL | tcp://HOST:PORT | unix:///PATH")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the recording; never overwritten.")],
    rig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rig that records; without one there is no lens track.")
    ] = None,
    bag: Annotated[Path | None, typer.Option(metavar="FILE.mcap", help="Also record a bag for ROS 2.")] = None,
    seconds: Annotated[float | None, typer.Option(metavar="N", help="Stop after this time.")] = None,
) -> None:
    """Record a live source and its lens track; Ctrl-C ends it well.

    The lens sweeps meanwhile where the rig names its port. Whatever ends the
    recording, what was recorded until then can be read.

    \b
    Examples:
      edfv record camera: --rig rig.yaml --out desk
      edfv record tcp://127.0.0.1:7777 --rig rig.yaml --out desk --seconds 10
      edfv record camera: --rig rig.yaml --out desk --bag desk.mcap
      edfv record camera:DXA00080 --out events-only
    """
    from edfv_ros import live_recording  # here, because numpy and pydantic take their time to load

    if seconds is not None and not seconds > 0.0:
        raise EdfvError(f"--seconds {seconds:g}: give a time above 0")
    stop = threading.Event()
    console = notices()
    with signals_set(stop), console.status(f"opening {escape(source)}") as line:
        status = live_recording.record(
            source,
            out,
            rig_path=rig,
            bag_path=bag,
            seconds=seconds,
            stop=stop,
            on_progress=lambda status: line.update(escape(f"{_in_words(status)}  {status.problem}")),
        )
    results().print(f"{out}: {_in_words(status)}", markup=False)
    if status.problem:
        console.print(f"! {status.problem}", style="yellow", markup=False, soft_wrap=True)
    if rig is None:
        console.print("! no rig given: edfv run will need --rig, and triggers in the recording", style="yellow")


def _in_words(status: "RecordingStatus") -> str:
    parts = [f"{status.seconds:.1f} s", f"{status.events:,} events"]
    for name in ("frames", "triggers", "imu"):
        if count := getattr(status, name):
            parts.append(f"{count:,} {name}")
    parts.append(f"{status.sweeps} sweeps")
    if status.lost_events:
        parts.append(f"{status.lost_events:,} events not looked at for the lens track")
    return ", ".join(parts)
