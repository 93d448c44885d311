"""What a recording holds, counted and not guessed."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import EdfvError
from edfv_ros.events.health import HealthCheck, possible
from edfv_ros.events.opening import open_file
from edfv_ros.events.source import EventSource
from edfv_ros.events.types import Packet
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sync import SweepSource, TriggerSweeps, open_sweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.optics import VergenceBins
from edfv_ros.recording import (
    SweepRecording,
    check_resolution,
    find_recording,
    load_depth_gt,
    load_recorded_rig,
    load_recorded_track,
)
from edfv_ros.rig import load_rig

TRIGGER_NAMES = {
    0: "timestamp reset",
    1: "rising edge",
    2: "falling edge",
    3: "pulse",
    4: "generator rising edge",
    5: "generator falling edge",
    6: "frame start",
    7: "frame end",
    8: "exposure start",
    9: "exposure end",
}

DIRECTION_NAMES = {1: "up", -1: "down"}


@dataclass(slots=True)
class StreamSummary:
    """Number of elements of one stream and the time stamps of the first and the last, None where it is empty.

    Elements with an impossible time are none of them; the counter ``out_of_range`` tells how many there were.
    """

    count: int = 0
    first_us: int | None = None
    last_us: int | None = None

    def add(self, timestamps_us: NDArray[np.int64]) -> None:
        """Take in the time stamps of some elements, int64 [N]."""
        timestamps_us = timestamps_us[possible(timestamps_us)]
        if not len(timestamps_us):
            return
        first, last = int(timestamps_us.min()), int(timestamps_us.max())
        self.count += len(timestamps_us)
        self.first_us = first if self.first_us is None else min(self.first_us, first)
        self.last_us = last if self.last_us is None else max(self.last_us, last)


@dataclass(frozen=True, slots=True)
class LensSummary:
    """The measured lens track beside a recording."""

    rows: int
    start_us: int
    end_us: int
    min_dpt: float
    max_dpt: float


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """One complete focus sweep; ``number`` is that of its files after `edfv run`."""

    number: int
    start_us: int
    end_us: int
    direction: str
    min_dpt: float
    max_dpt: float


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """What ``edfv info`` prints.

    Attributes:
        path: the events file.
        size_bytes: of the events file.
        camera, width_px, height_px: as the file says.
        streams: by name (events, frames, triggers, imu), those the file declares.
        trigger_kinds: number of triggers of each kind.
        lens: the lens track, None where there is none or it is unreadable.
        sweeps: complete sweeps found.
        sweeps_from: ``lens.csv``, ``triggers`` or, where nothing tells, empty.
        rig: name of the camera in the rig file, None without one.
        depth_gt: shape of the ground truth, None without one.
        counters: what was odd about the events and the lens, by name, where it is not zero.
        problems: what keeps depth from being computed, or makes it doubtful; one line each.
    """

    path: Path
    size_bytes: int
    camera: str
    width_px: int
    height_px: int
    streams: dict[str, StreamSummary]
    trigger_kinds: dict[str, int]
    lens: LensSummary | None
    sweeps: list[SweepSummary]
    sweeps_from: str
    rig: str | None
    depth_gt: tuple[int, ...] | None
    counters: dict[str, int]
    problems: list[str]


def inspect(
    path: Path, rig_path: Path | None = None, on_progress: Callable[[int], None] = lambda newest_us: None
) -> RecordingSummary:
    """Read a recording to its end and count. What is wrong beside the events is listed, not raised.

    Args:
        path: a sweep-recording folder, an AEDAT4 file or a bag.
        rig_path: a rig file to use in place of the recording's own.
        on_progress: called with the newest time stamp as reading goes on.

    Raises:
        SourceError: there is no recording, or its events cannot be read.
        RigError: the rig file named in ``rig_path`` is not valid.
    """
    files = find_recording(path)
    problems: list[str] = []
    rig = load_rig(rig_path) if rig_path else None
    track = truth = None
    if rig is None and files.rig:
        with _noting(problems):
            rig = load_recorded_rig(files.rig)
    if files.lens:
        with _noting(problems):
            track = load_recorded_track(files.lens)
    if rig and files.depth_gt:
        with _noting(problems):
            truth = load_depth_gt(files.depth_gt, rig)

    sweep_source: SweepSource | None = None
    if rig and (track is not None or not files.lens):  # an unreadable track is a problem already
        with _noting(problems):
            sweep_source = open_sweeps(rig, files.path)
    with closing(open_file(files.events)) as source:
        info = source.info
        if rig:
            with _noting(problems):
                check_resolution(rig, info, files.events)
        counts = _count(source, sweep_source, on_progress)
    sweeps = counts.sweeps
    if track is not None:
        sweeps = sweeps if rig else track.sweeps(_range_of(track))
        problems += _coverage_problems(track, sweeps, counts.streams["events"])
    elif rig is None:
        problems.append(_MISSING_LENS)
    problems += counts.problems
    return RecordingSummary(
        path=files.events,
        size_bytes=files.events.stat().st_size,
        camera=info.camera,
        width_px=info.width_px,
        height_px=info.height_px,
        streams=counts.streams,
        trigger_kinds=counts.trigger_kinds,
        lens=_summarise_track(track) if track is not None else None,
        sweeps=[_summarise_sweep(sweep) for sweep in sweeps],
        sweeps_from="lens.csv" if track is not None else "triggers" if sweep_source is not None else "",
        rig=rig.camera.name if rig else None,
        depth_gt=None if truth is None else truth.shape,
        counters=counts.counters,
        problems=problems,
    )


def count_sweeps(recording: SweepRecording) -> int:
    """Number of focus sweeps in a recording, found and counted as in a run, missed ones too; reads it once.

    Raises:
        SourceError, LensError: the recording cannot be read, or nothing tells where the focus was.
    """
    sweeps = open_sweeps(recording.rig, recording.files.path)
    with closing(open_file(recording.files.events)) as source:
        check = HealthCheck(source.info)
        while (packet := source.read()) is not None:
            sweeps.observe(check(packet))
    sweeps.finish()
    return 1 + max((sweep.number for sweep in iter(sweeps.take, None)), default=-1)


_MISSING_LENS = (
    "nothing tells where the focus was: edfv run needs lens.csv (timestamp_us,vergence_dpt) and rig.yaml beside the "
    "events, or --rig with sweep.sync: trigger and an edge at each turning point"
)


@dataclass(slots=True)
class _Counts:
    streams: dict[str, StreamSummary]
    trigger_kinds: dict[str, int] = field(default_factory=dict)
    sweeps: list[FocusSweep] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, packet: Packet) -> None:
        frames_us = np.array([frame.timestamp_us for frame in packet.frames], np.int64)
        for name, timestamps_us in (
            ("events", packet.events["timestamp"]),
            ("frames", frames_us),
            ("triggers", packet.triggers["timestamp"]),
            ("imu", packet.imu["timestamp"]),
        ):
            if name in self.streams:
                self.streams[name].add(timestamps_us)
        for kind, count in zip(*np.unique(packet.triggers["type"], return_counts=True), strict=True):
            name = TRIGGER_NAMES.get(int(kind), f"kind {kind}")
            self.trigger_kinds[name] = self.trigger_kinds.get(name, 0) + int(count)


def _count(source: EventSource, sweeps: SweepSource | None, on_progress: Callable[[int], None]) -> _Counts:
    """Count everything in the file, unsound or not; sweeps are looked for in what is sound, as a run does."""
    counts = _Counts({name: StreamSummary() for name in source.info.streams})
    check = HealthCheck(source.info)
    while (packet := source.read()) is not None:
        counts.add(packet)
        sound = check(packet)
        if len(sound.events):
            on_progress(int(sound.events["timestamp"][-1]))
        if sweeps is not None:
            problems = len(counts.problems)
            with _noting(counts.problems):
                sweeps.observe(sound)
            if len(counts.problems) > problems:  # the sweeps are given up, counting goes on
                sweeps = None
    counts.counters |= check.health.problems
    if isinstance(sweeps, TriggerSweeps):  # it knows more about the edges
        counts.counters.pop("non_alternating_edges", None)
    if sweeps is not None:
        with _noting(counts.problems):
            sweeps.finish()
        while (sweep := sweeps.take()) is not None:
            counts.sweeps.append(sweep)
        counts.counters |= {name: count for name, count in sweeps.counters.items() if count}
    return counts


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Turn an error that a user can act on into an entry of ``problems``."""
    try:
        yield
    except EdfvError as error:
        problems.append(str(error))


def _range_of(track: LensTrack) -> VergenceBins:
    """The track's own range, to find sweeps by where there is no rig."""
    return VergenceBins(float(track.vergence_dpt.min()), float(track.vergence_dpt.max()), 32)


def _coverage_problems(track: LensTrack, sweeps: list[FocusSweep], events: StreamSummary) -> list[str]:
    if events.first_us is None or events.last_us is None:
        return []
    overlap_us = min(track.end_us, events.last_us) - max(track.start_us, events.first_us)
    if overlap_us <= 0:
        return [
            f"lens.csv ({track.start_us:.0f} to {track.end_us:.0f} us) and the events ({events.first_us} to "
            f"{events.last_us} us) have no time in common: the track must be on the camera's clock"
        ]
    missing_us = events.last_us - events.first_us - overlap_us
    if missing_us <= 2.0 * max((sweep.end_us - sweep.start_us for sweep in sweeps), default=0):
        return []  # a recording begins and ends anywhere within a sweep
    return [f"lens.csv leaves {missing_us / 1e6:.3f} s of the events without focus"]


def _summarise_track(track: LensTrack) -> LensSummary:
    return LensSummary(
        rows=len(track.timestamps_us),
        start_us=round(track.start_us),
        end_us=round(track.end_us),
        min_dpt=float(track.vergence_dpt.min()),
        max_dpt=float(track.vergence_dpt.max()),
    )


def _summarise_sweep(sweep: FocusSweep) -> SweepSummary:
    return SweepSummary(
        number=sweep.number,
        start_us=sweep.start_us,
        end_us=sweep.end_us,
        direction=DIRECTION_NAMES[sweep.direction],
        min_dpt=float(sweep.vergence_dpt.min()),
        max_dpt=float(sweep.vergence_dpt.max()),
    )
