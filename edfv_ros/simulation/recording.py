"""Write a sweep recording with ground truth."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from edfv_ros.errors import OutputError
from edfv_ros.events import Aedat4Writer, SourceInfo
from edfv_ros.rig import Rig
from edfv_ros.simulation.geometry import quaternion
from edfv_ros.simulation.imu import imu_samples
from edfv_ros.simulation.lens_plan import STEPS_PER_SWEEP, LensPlan, plan_sweeps
from edfv_ros.simulation.motion import CameraTrajectory
from edfv_ros.simulation.pictures import ScenePictures
from edfv_ros.simulation.settings import SimulationSettings, streams_of
from edfv_ros.simulation.view import Scene
from edfv_ros.simulation.virtual_rig import VirtualRig

START_US = 1_700_000_000_000_000
_BLOCK_ROWS = 32  # of the plan at a time, so that frames can follow the events soon
_MOTION_ROW_US = 1000


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """What was written."""

    directory: Path
    events: int
    lost_events: int
    frames: int
    sweeps: int
    duration_us: int


def write_recording(
    directory: str | Path,
    rig: Rig,
    scene: Scene,
    *,
    sweeps: int = 2,
    settings: SimulationSettings | None = None,
    seed: int = 0,
    steps_per_sweep: int = STEPS_PER_SWEEP,
    start_us: int = START_US,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RecordingSummary:
    """Simulate ``sweeps`` focus sweeps over a scene, from a far turn on, and write them: see :func:`record`.

    The same arguments write the same events.

    Raises:
        SimulationError: ``sweeps`` or ``steps_per_sweep`` is too small.
        OutputError: the folder cannot be written.
    """
    settings = settings or SimulationSettings()
    plan = plan_sweeps(rig, settings.lens_response, sweeps=sweeps, steps_per_sweep=steps_per_sweep, seed=seed)
    trajectory = CameraTrajectory(settings.motion, seed)
    pictures = ScenePictures(rig, scene, settings.imaging, trajectory, plan)
    virtual = VirtualRig(rig, pictures, settings, seed=seed)
    return record(directory, virtual, plan, trajectory, start_us=start_us, progress=progress)


def record(
    directory: str | Path,
    virtual: VirtualRig,
    plan: LensPlan,
    trajectory: CameraTrajectory,
    *,
    start_us: int = START_US,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RecordingSummary:
    """Write what a rig records while its lens follows a plan.

    The folder gets ``recording.aedat4`` (events, trigger pulses at the turning points of the command, frames, inertial
    samples), ``lens.csv`` (the optical focus), ``lens_state.csv`` (command and optical focus), ``camera_motion.csv``
    (position and attitude in the frame of the camera at the start), ``rig.yaml``, ``simulation.yaml`` and
    ``depth_gt.npy``: [H, W], or [N, H, W] in the middle of each sweep where camera or scene move. Where it does not get
    to its end, whatever the reason, none of them is left.

    Raises:
        OutputError: the folder cannot be written.
    """
    directory = Path(directory)
    rig, settings = virtual.rig, virtual.settings
    streams = streams_of(settings)
    info = SourceInfo(f"{rig.camera.model}_VIRTUAL", *rig.camera.resolution, streams, live=False)
    events = frames = 0
    depths = []
    with _all_or_none(directory) as file:
        _write_yaml(file("rig.yaml"), rig.model_dump(mode="json", exclude_none=True))
        _write_yaml(file("simulation.yaml"), settings.model_dump(mode="json"))
        _write_lens(file("lens.csv"), file("lens_state.csv"), plan, start_us)
        _write_motion(file("camera_motion.csv"), trajectory, plan.duration_us, start_us)
        with Aedat4Writer(file("recording.aedat4"), info) as writer:
            triggers = plan.triggers.copy()
            triggers["timestamp"] += start_us
            writer.write_triggers(triggers)
            if "imu" in streams:
                during = start_us, start_us + plan.duration_us
                writer.write_imu(imu_samples(trajectory, settings.imu, *during, virtual.seed, epoch_us=start_us))
            frame_times = deque(_frame_times(virtual, plan))
            middles_us = deque(plan.sweep_middles_us if virtual.source.moves else plan.sweep_middles_us[:1])
            for first, last in _blocks(plan):
                rows = slice(first, last + 1)
                fired = virtual.events(plan.vergence_dpt[rows], plan.times_us[rows])
                fired["timestamp"] += start_us
                writer.write_events(fired)
                events += len(fired)
                while frame_times and virtual.frames.readout_end_us(frame_times[0]) <= plan.times_us[last]:
                    frame = virtual.frame(frame_times.popleft(), plan.times_us, plan.vergence_dpt)
                    writer.write_frame(replace(frame, timestamp_us=frame.timestamp_us + start_us))
                    frames += 1
                while middles_us and middles_us[0] <= plan.times_us[last]:
                    depths.append(virtual.source.depth_m(middles_us.popleft() * 1e-6))
                progress(last, len(plan.times_us) - 1)
        np.save(file("depth_gt.npy"), np.stack(depths) if virtual.source.moves else depths[0])
    return RecordingSummary(directory, events, virtual.readout.lost, frames, plan.sweeps, plan.duration_us)


@contextmanager
def _all_or_none(directory: Path) -> Iterator[Callable[[str], Path]]:
    """Make a folder and give paths of files in it, which are removed again if what is done within does not end well.

    Raises:
        OutputError: the folder cannot be written.
    """
    is_new = not directory.exists()
    begun: list[Path] = []

    def path(name: str) -> Path:
        begun.append(directory / name)
        return begun[-1]

    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield path
    except BaseException as error:  # Ctrl-C too
        with suppress(OSError):
            for file in begun:
                file.unlink(missing_ok=True)
            if is_new:
                directory.rmdir()
        if isinstance(error, OSError):
            raise OutputError(f"{directory}: cannot write the recording: {error.strerror}") from None
        raise


def _blocks(plan: LensPlan) -> Iterator[tuple[int, int]]:
    """First and last row of short stretches of the plan, each from where the last one ended."""
    for first in range(0, len(plan.times_us) - 1, _BLOCK_ROWS):
        yield first, min(first + _BLOCK_ROWS, len(plan.times_us) - 1)


def _frame_times(virtual: VirtualRig, plan: LensPlan) -> list[float]:
    """Starts of the exposures that end within the recording."""
    rate_hz = virtual.settings.frames.rate_hz
    if not rate_hz:
        return []
    times = np.arange(0.0, plan.duration_us, 1e6 / rate_hz).tolist()
    return [time for time in times if virtual.frames.readout_end_us(time) <= plan.duration_us]


def _write_lens(optical_path: Path, state_path: Path, plan: LensPlan, start_us: int) -> None:
    stamps = start_us + plan.times_us.astype(np.int64)
    optical = [f"{t},{v:.6f}\n" for t, v in zip(stamps, plan.vergence_dpt, strict=True)]
    _write_table(optical_path, "timestamp_us,vergence_dpt", optical)
    state = [f"{t},{c:.6f},{v:.6f}\n" for t, c, v in zip(stamps, plan.command_dpt, plan.vergence_dpt, strict=True)]
    _write_table(state_path, "timestamp_us,command_dpt,vergence_dpt", state)


def _write_motion(path: Path, trajectory: CameraTrajectory, duration_us: int, start_us: int) -> None:
    times_us = np.arange(0, duration_us + _MOTION_ROW_US, _MOTION_ROW_US)
    places, turns = trajectory.position_m(times_us * 1e-6), trajectory.rotation(times_us * 1e-6)
    rows = []
    for time_us, (x, y, z), turn in zip(times_us, places, turns, strict=True):
        qx, qy, qz, qw = quaternion(turn)
        rows.append(f"{start_us + time_us},{x:.9f},{y:.9f},{z:.9f},{qx:.9f},{qy:.9f},{qz:.9f},{qw:.9f}\n")
    _write_table(path, "timestamp_us,x_m,y_m,z_m,qx,qy,qz,qw", rows)


def _write_table(path: Path, header: str, rows: list[str]) -> None:
    path.write_text(header + "\n" + "".join(rows), encoding="utf-8")


def _write_yaml(path: Path, values: dict[str, object]) -> None:
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
