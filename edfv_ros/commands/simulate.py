"""`edfv simulate`: a recording with known depth, made by the virtual rig."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from edfv_ros.commands.terminal import notices, results
from edfv_ros.recording import require_no_recording
from edfv_ros.rig import load_rig
from edfv_ros.share import config_file


def simulate(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the recording.")],
    rig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rig to simulate; the example rig if left out.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Scene: tabletop, cards or room.")] = "tabletop",
    seed: Annotated[int, typer.Option(help="Another number, another scene and sensor.")] = 0,
    sweeps: Annotated[int, typer.Option(help="Focus sweeps.")] = 2,
    frames: Annotated[float, typer.Option(metavar="HZ", help="Intensity frames per second, 0 for none.")] = 20.0,
    preview: Annotated[Path | None, typer.Option(metavar="PNG", help="Also draw scene and depth as a picture.")] = None,
) -> None:
    """Make a sweep recording of a random scene, with its true depth.

    \b
    Examples:
      edfv simulate --out sweep
      edfv simulate --out room --kind room --seed 7 --sweeps 4 --preview room.png
      edfv run sweep --out depth
    """
    from edfv_ros.outputs.depth_picture import save_png
    from edfv_ros.simulation import make_scene, sweep_picture, write_recording

    loaded = load_rig(rig or config_file("rig.yaml"))
    require_no_recording(out)
    with notices().status("simulating"):
        scene = make_scene(kind, seed, loaded)
        written = write_recording(out, loaded, scene, sweeps=sweeps, seed=seed, frames_hz=frames)
    if preview is not None:
        save_png(sweep_picture(loaded, scene, seed=seed), preview)
    results().print(
        f"{escape(str(out))}: {written.sweeps} sweeps in {written.duration_us / 1e6:g} s, {written.events:,} events, "
        f"{written.frames} frames of a {escape(kind)}"
    )
    notices().print(f"next: edfv run {escape(str(out))} --out depth", style="dim")
