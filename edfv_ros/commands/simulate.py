"""`edfv simulate`: a recording with known depth, made by the virtual rig."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from edfv_ros.commands.signals import EXIT_INTERRUPTED, terminated_as_interrupted
from edfv_ros.commands.terminal import is_interrupt, notices, recording_progress, results
from edfv_ros.errors import SimulationError
from edfv_ros.outputs.files import check_file
from edfv_ros.recording import DEPTH_GT_NAME, require_no_recording
from edfv_ros.rig import Rig, load_rig
from edfv_ros.share import config_file

if TYPE_CHECKING:
    from edfv_ros.simulation import LensPlan, PictureSource, Scene, SimulationSettings, VirtualRig


def simulate(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the recording.")],
    rig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rig to simulate; the example rig if left out.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Kind of scene; a wrong one lists them all.")] = "tabletop",
    seed: Annotated[int, typer.Option(help="Another number, another scene, sensor and motion.")] = 0,
    sweeps: Annotated[int, typer.Option(help="Focus sweeps.")] = 2,
    motion: Annotated[
        str | None, typer.Option(metavar="NAME", help="Camera motion: still, tripod, handheld, robot or shake.")
    ] = None,
    lens: Annotated[
        str | None, typer.Option(metavar="NAME", help="Lens dynamics: ideal, el-10-30 or el-16-40.")
    ] = None,
    sensor: Annotated[str | None, typer.Option(metavar="NAME", help="Pixels: davis346, dvxplorer or ideal.")] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Every parameter, as in config/simulation.yaml.")
    ] = None,
    frames: Annotated[float | None, typer.Option(metavar="HZ", help="Intensity frames per second, 0 for none.")] = None,
    rgbd: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Look at the seed's pair of this folder of RGB-D images.")
    ] = None,
    renderer: Annotated[
        Literal["layers", "blender"],
        typer.Option(help="Blender path-traces still scenes, minutes a sweep; pip install --no-deps bpy==5.0.1."),
    ] = "layers",
    preview: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw the sweep: a .png strip or an .mp4 video.")
    ] = None,
) -> None:
    """Make a sweep recording of a random scene, with its true depth.

    DIR gets recording.aedat4 (events, triggers, frames, inertial samples),
    lens.csv, rig.yaml and depth_gt.npy, and of the truth also lens_state.csv,
    camera_motion.csv and simulation.yaml, the parameters it was made with.

    \b
    Examples:
      edfv simulate --out sweep
      edfv simulate --out room --kind room --seed 7 --preview room.mp4
      edfv simulate --out hand --motion handheld --lens el-16-40 --sweeps 6
      edfv simulate --out real --rgbd my_rgbd_images --seed 1
      edfv simulate --out traced --renderer blender --kind shelf
    """
    from edfv_ros.simulation import CameraTrajectory, ScenePictures, VirtualRig, plan_sweeps, record

    loaded = load_rig(rig or config_file("rig.yaml"))
    require_no_recording(out)
    if preview is not None:
        _require_drawable(preview)
    if seed < 0:
        raise SimulationError(f"--seed {seed}: give 0 or more")
    chosen = _settings(settings, motion=motion, lens=lens, sensor=sensor, frames=frames)
    plan = plan_sweeps(loaded, chosen.lens_response, sweeps=sweeps, seed=seed)
    trajectory = CameraTrajectory(chosen.motion, seed)
    with _told_when_interrupted(out, preview), terminated_as_interrupted(), recording_progress() as progress:
        task = progress.add_task("making the scene", total=1.0)

        def show(done: int, total: int, doing: str = "simulating") -> None:
            progress.update(task, completed=done / total, description=doing)

        source: PictureSource
        if renderer == "blender":
            source = _path_traced(loaded, kind, seed, out, chosen, show)
        else:
            scene = _scene(loaded, kind, seed, rgbd, chosen)
            source = ScenePictures(loaded, scene, chosen.imaging, trajectory, plan)
        written = record(out, VirtualRig(loaded, source, chosen, seed=seed), plan, trajectory, progress=show)
        if preview is not None:
            show(1, 1, "drawing")
            _draw(preview, VirtualRig(loaded, source, chosen, seed=seed), plan)
        if renderer == "blender":
            shutil.rmtree(_stack_folder(out))
    results().print(
        f"{escape(str(out))}: {written.sweeps} sweeps in {written.duration_us / 1e6:g} s, {written.events:,} events, "
        f"{written.frames} frames of {escape(f'{kind} {seed}' if rgbd is None else 'a real scene')}"
    )
    if written.lost_events:
        notices().print(f"! the sensor's read-out lost {written.lost_events:,} events", style="yellow")
    if chosen.lens_response.lag_ms:
        needed_ms = loaded.lens.delay_ms + chosen.lens_response.lag_ms
        notices().print(
            f"! the optics run {chosen.lens_response.lag_ms:.2g} ms late: lens.csv says so; a rig that relies on the "
            f"triggers alone needs lens.delay_ms: {needed_ms:.2g}",
            style="yellow",
        )
    notices().print(f"next: edfv run {escape(str(out))} --out depth", style="dim")


@contextmanager
def _told_when_interrupted(out: Path, preview: Path | None) -> Iterator[None]:
    """End the command with a line that says what is left of it."""
    try:
        yield
    except (KeyboardInterrupt, SystemError) as error:
        if not is_interrupt(error):
            raise
        left = f"no recording is left in {out}"
        if preview is not None and (out / DEPTH_GT_NAME).exists():
            left = f"{out} is whole, {preview} is not"
        notices().print(f"interrupted; {escape(left)}")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _settings(
    file: Path | None, *, motion: str | None, lens: str | None, sensor: str | None, frames: float | None
) -> "SimulationSettings":
    """The settings of the file, or the usual ones, with what was asked for by name in their place."""
    from edfv_ros.simulation import LENS_RESPONSES, MOTIONS, SENSORS, SimulationSettings, load_settings

    chosen = SimulationSettings() if file is None else load_settings(file)
    parts: dict[str, object] = {}
    if motion is not None:
        parts["motion"] = _named("motion", motion, MOTIONS)
    if lens is not None:
        parts["lens_response"] = _named("lens", lens, LENS_RESPONSES)
    if sensor is not None:
        parts["pixels"], parts["readout"] = _named("sensor", sensor, SENSORS)
    if frames is not None:
        if not 0 <= frames <= 1000:
            raise SimulationError(f"--frames {frames:g}: give 0 to 1000 frames per second")
        parts["frames"] = chosen.frames.model_copy(update={"rate_hz": frames})
    return chosen.model_copy(update=parts)


def _named(what: str, name: str, choices: Mapping[str, Any]) -> Any:
    if name not in choices:
        raise SimulationError(f"--{what} {name}: choose one of {', '.join(choices)}")
    return choices[name]


def _scene(rig: Rig, kind: str, seed: int, rgbd: Path | None, settings: "SimulationSettings") -> "Scene":
    from edfv_ros.simulation import make_scene, set_in_motion
    from edfv_ros.simulation.rgbd import RgbdScene, rgbd_scenes

    if rgbd is None:
        return set_in_motion(make_scene(kind, seed, rig), settings.things, seed)
    pairs = rgbd_scenes(rgbd)
    return RgbdScene(pairs[seed % len(pairs)], rig)


def _path_traced(
    rig: Rig, kind: str, seed: int, out: Path, settings: "SimulationSettings", show: Callable[[int, int, str], None]
) -> "PictureSource":
    """Pictures rendered by Blender, kept beside the recording until it is written: a second try goes on from them."""
    from edfv_ros.simulation import CameraTrajectory, StackPictures
    from edfv_ros.simulation.blender import focus_steps, render_stack

    if CameraTrajectory(settings.motion, seed).moves or not settings.lens_response.is_ideal:
        raise SimulationError("--renderer blender: give no motion and no lens: it renders still scenes")
    stack = render_stack(
        rig,
        kind,
        seed,
        focus_steps(rig),
        folder=_stack_folder(out),
        progress=lambda done, total: show(done, total, "path tracing"),
    )
    return StackPictures(stack)


def _stack_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}_stack")


def _require_drawable(preview: Path) -> None:
    from edfv_ros.simulation.preview import VIDEO_CODECS

    if preview.suffix.lower() not in (".png", *VIDEO_CODECS):
        raise SimulationError(
            f"--preview {preview}: name a picture with .png or a video with {' or '.join(VIDEO_CODECS)}"
        )
    check_file(preview)


def _draw(preview: Path, unused: "VirtualRig", plan: "LensPlan") -> None:
    from edfv_ros.outputs.depth_picture import save_png
    from edfv_ros.simulation import sweep_strip, write_sweep_video

    if preview.suffix.lower() == ".png":
        save_png(sweep_strip(unused, plan), preview)
    else:
        write_sweep_video(preview, unused, plan)
