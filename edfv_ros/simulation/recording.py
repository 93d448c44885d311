"""Write a sweep recording with ground truth."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from edfv_ros.errors import OutputError, SimulationError
from edfv_ros.events import TRIGGER_DTYPE, Aedat4Writer, SourceInfo, TriggerType
from edfv_ros.rig import Rig
from edfv_ros.simulation.event_model import PixelModel, join_events
from edfv_ros.simulation.lens import LensMove, sweep_moves
from edfv_ros.simulation.scene import Scene
from edfv_ros.simulation.virtual_rig import VirtualRig, mean_picture

_FRAME_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """What was written."""

    directory: Path
    events: int
    frames: int
    sweeps: int
    duration_us: int


def write_recording(
    directory: str | Path,
    rig: Rig,
    scene: Scene,
    *,
    sweeps: int = 2,
    pixels: PixelModel | None = None,
    seed: int = 0,
    steps_per_sweep: int = 128,
    frames_hz: float = 20.0,
    exposure_us: int = 5000,
    start_us: int = 1_700_000_000_000_000,
) -> RecordingSummary:
    """Simulate ``sweeps`` focus sweeps over a scene, from a far turn on, and write them as a sweep recording.

    The folder gets ``recording.aedat4`` (events, trigger pulses at the turning points, frames unless ``frames_hz`` is
    0), ``lens.csv`` (where the focus was; triggers come ``lens.delay_ms`` earlier), ``rig.yaml`` and ``depth_gt.npy``.
    The same arguments write the same events.

    Raises:
        SimulationError: ``sweeps``, ``steps_per_sweep`` or the frame timing is impossible.
        OutputError: the folder cannot be written.
    """
    if sweeps < 1 or steps_per_sweep < 8:
        raise SimulationError(f"sweeps = {sweeps}, steps per sweep = {steps_per_sweep}: give at least 1 and 8")
    if frames_hz < 0 or exposure_us < 1 or frames_hz * exposure_us > 1e6:
        raise SimulationError(f"{frames_hz:g} frames/s of {exposure_us} us: the exposure must fit between frames")
    directory = Path(directory)
    virtual = VirtualRig(rig, scene, pixels=pixels, seed=seed)
    moves, after = _first_sweeps(rig, sweeps)
    track = _track(moves, steps_per_sweep)
    grid = np.unique(track[:, 1].round(9))
    pictures = virtual.pictures(grid)
    events = _expose(virtual, track, grid, pictures, start_us)
    streams = ("events", "triggers", "frames") if frames_hz else ("events", "triggers")
    info = SourceInfo(f"{rig.camera.model}_VIRTUAL", rig.camera.width_px, rig.camera.height_px, streams, live=False)
    frame_times = np.arange(0.0, track[-1, 0] - exposure_us if frames_hz else 0.0, 1e6 / (frames_hz or 1.0))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with Aedat4Writer(directory / "recording.aedat4", info) as writer:
            writer.write_triggers(_triggers(moves, after, start_us - round(rig.lens.delay_ms * 1e3)))
            writer.write_events(events)
            for time in frame_times:
                at = time + (np.arange(_FRAME_SAMPLES) + 0.5) / _FRAME_SAMPLES * exposure_us
                exposed = mean_picture(pictures, grid, np.interp(at, track[:, 0], track[:, 1]))
                writer.write_frame(virtual.frame(start_us + int(time), exposure_us, exposed))
        rows = "".join(f"{start_us + int(t)},{v:.6f}\n" for t, v in track)
        (directory / "lens.csv").write_text("timestamp_us,vergence_dpt\n" + rows, encoding="utf-8")
        rig_text = yaml.safe_dump(rig.model_dump(mode="json", exclude_none=True), sort_keys=False)
        (directory / "rig.yaml").write_text(rig_text, encoding="utf-8")
        np.save(directory / "depth_gt.npy", scene.depth_m)
    except OSError as error:
        raise OutputError(f"{directory}: cannot write the recording: {error.strerror}") from None
    return RecordingSummary(directory, len(events), len(frame_times), sweeps, int(track[-1, 0]))


def _first_sweeps(rig: Rig, sweeps: int) -> tuple[list[LensMove], LensMove]:
    """The moves of the first ``sweeps`` sweeps from time 0, with the flybacks, and the sweep after them."""
    moves: list[LensMove] = []
    for move in sweep_moves(rig.sweep, 0.0):
        if sum(m.pulse_us > 0 for m in moves) == sweeps and move.pulse_us:
            return moves, move
        moves.append(move)
    raise AssertionError("a sweep has no end")


def _track(moves: list[LensMove], steps: int) -> NDArray[np.float64]:
    """Whole microseconds and vergence [N, 2], close enough for straight lines between rows."""
    rows = [(0.0, moves[0].start_dpt)]
    for move in moves:
        phase = np.arange(1, (1 if move.is_flyback else steps) + 1) / (1 if move.is_flyback else steps)
        times = np.round(move.start_us + phase * (move.end_us - move.start_us))
        rows += zip(times, move.vergence_dpt(times), strict=True)
    return np.array(rows)


def _expose(
    virtual: VirtualRig,
    track: NDArray[np.float64],
    grid: NDArray[np.float64],
    pictures: NDArray[np.float32],
    start_us: int,
) -> NDArray[np.void]:
    light = pictures * np.float32(virtual.illuminance_lux)
    index = np.searchsorted(grid, track[:, 1].round(9))
    turns = np.flatnonzero(np.diff(np.sign(np.diff(track[:, 1])))) + 1
    parts = []
    for first, last in pairwise([0, *turns, len(track) - 1]):
        rows = slice(first, last + 1)
        parts.append(virtual.sensor.expose(light[index[rows]], track[rows, 0])[0])
    events = join_events(parts)
    events["timestamp"] += start_us
    return events


def _triggers(moves: list[LensMove], end: LensMove, start_us: int) -> NDArray[np.void]:
    """A pulse at the start of every sweep and at that of ``end``, the one that is not recorded any more."""
    edges = []
    for move in [*moves, end]:
        if move.pulse_us:
            rise = start_us + round(move.start_us)
            edges += [(rise, TriggerType.RISING_EDGE), (rise + move.pulse_us, TriggerType.FALLING_EDGE)]
    return np.array(edges, TRIGGER_DTYPE)
