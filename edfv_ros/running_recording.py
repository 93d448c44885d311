"""Record what a running pipeline reads, and the depth that comes of it: started and stopped while it runs."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from edfv_ros.bags.layout import RIG_ATTACHMENT
from edfv_ros.bags.parts import check_new_bag
from edfv_ros.bags.writer import BagWriter
from edfv_ros.depth import DepthEstimate
from edfv_ros.errors import EdfvError, OutputError
from edfv_ros.events.aedat4_writer import Aedat4Writer
from edfv_ros.events.types import BAG_SUFFIX, EVENTS_NAME, Packet, SourceInfo, timestamps_us
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.track import LENS_NAME, LensTrackRows, LensTrackWriter
from edfv_ros.outputs.cloud import cloud_points
from edfv_ros.outputs.files import make_folder
from edfv_ros.pipeline_outputs import DepthOutput
from edfv_ros.recording import RIG_NAME, require_no_recording
from edfv_ros.rig import Rig
from edfv_ros.rig.rays import pixel_rays

WAITING_MIB = 128
"""What may wait for the disk, copied; events that come while it is full are lost to the recording, and counted."""


@dataclass(frozen=True, slots=True)
class RunningRecordingStatus:
    """How a recording goes.

    Attributes:
        path: the folder or bag.
        seconds: since it began.
        events: written, or waiting for the disk.
        lost_events: that the disk was too slow for.
        sweeps: complete sweeps among them.
        error: why it ended before it was told to, one line; empty while all is well.
    """

    path: Path
    seconds: float = 0.0
    events: int = 0
    lost_events: int = 0
    sweeps: int = 0
    error: str = ""


class _Files(Protocol):
    """What is written. Every method raises OutputError where it cannot.

    Attributes:
        keeps_depth: whether depth is written.
    """

    keeps_depth: bool

    def write_packet(self, packet: Packet) -> None: ...

    def write_sweep(self, sweep: FocusSweep) -> None: ...

    def write_depth(self, sweep: FocusSweep, estimate: DepthEstimate, intensity: NDArray[np.generic]) -> None: ...

    def close(self) -> None: ...


class RunningRecording:
    """Taps a pipeline (``on_packet``, ``on_sweep``, ``on_depth``) and writes what passes while it is told to.

    A thread writes: a slow disk holds up nobody. Both formats read up to their last moment whatever ends the process.
    Without a recording in progress the taps cost nothing.

    Args:
        on_error: called from the writing thread when a recording cannot go on.
    """

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self._lock = threading.Lock()
        self._writing: _Writing | None = None

    @property
    def status(self) -> RunningRecordingStatus | None:
        """Of the recording in progress; None where there is none."""
        writing = self._writing
        return None if writing is None else writing.status

    def start(self, path: Path, info: SourceInfo, rig: Rig) -> None:
        """Begin to record.

        Args:
            path: a folder, which gets ``recording.aedat4``, ``rig.yaml`` and ``lens.csv``; or a bag, ``.mcap``, which
                gets all that and the depth.
            info: the source's.
            rig: with the sweep that is being made.

        Raises:
            OutputError: a recording is in progress, or there is one at that place, or it cannot be written.
        """
        with self._lock:
            if self._writing is not None:
                raise OutputError(f"already recording to {self._writing.path}: stop that first")
            files = (_BagFiles if path.suffix == BAG_SUFFIX else _FolderFiles)(path, info, rig)
            self._writing = _Writing(path, files, self._on_error)

    def stop(self) -> RunningRecordingStatus | None:
        """Write what waits, and end; None where nothing was being recorded."""
        with self._lock:
            writing, self._writing = self._writing, None
        return None if writing is None else writing.close()

    def on_packet(self, packet: Packet) -> None:
        """Take a packet; its events are copied."""
        writing = self._writing
        if writing is not None:
            writing.put_packet(packet)

    def on_sweep(self, sweep: FocusSweep) -> None:
        writing = self._writing
        if writing is not None:
            writing.put_sweep(sweep)

    def on_depth(self, output: DepthOutput) -> None:
        writing = self._writing
        if writing is not None:
            writing.put_depth(output)


class _Writing:
    """One recording in progress: what waits for the disk, and the thread that writes it."""

    def __init__(self, path: Path, files: _Files, on_error: Callable[[str], None]) -> None:
        self.path = path
        self._files = files
        self._on_error = on_error
        self._began_s = time.monotonic()
        self._first_us = self._newest_us = -1
        self._lost = 0  # since the last packet that was taken
        self._status = RunningRecordingStatus(path)
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    @property
    def status(self) -> RunningRecordingStatus:
        with self._changed:
            return replace(self._status, seconds=time.monotonic() - self._began_s)

    def put_packet(self, packet: Packet) -> None:
        count = len(packet.events)
        if count and int(timestamps_us(packet.events)[0]) < self._newest_us:
            self._fail("time went back: the source began again, or its clock was put back")
        if self._is_full(packet.events.nbytes):
            self._lost += count
            self._count(lost_events=count)
            return
        kept = replace(packet, events=packet.events.copy(), lost_events=packet.lost_events + self._lost)
        if not self._put(partial(self._files.write_packet, kept), kept.events.nbytes):
            return
        self._lost = 0
        self._count(events=count)
        if count:
            self._newest_us = int(timestamps_us(kept.events)[-1])
            self._first_us = self._first_us if self._first_us >= 0 else int(timestamps_us(kept.events)[0])

    def put_sweep(self, sweep: FocusSweep) -> None:
        if 0 <= self._first_us < sweep.end_us and self._put(partial(self._files.write_sweep, sweep), 0):
            self._count(sweeps=1)

    def put_depth(self, output: DepthOutput) -> None:
        if not self._files.keeps_depth:
            return
        estimate, frame = output.estimate, output.frame
        size_bytes = 4 * estimate.depth_m.nbytes  # depth, confidence, sigma and intensity, about
        if not self._is_full(size_bytes):
            intensity = output.snapshot.event_count() if frame is None else frame.image
            self._put(partial(self._files.write_depth, output.sweep, estimate, intensity), size_bytes)

    def close(self) -> RunningRecordingStatus:
        """Write what waits and close the files."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        return self.status

    def _is_full(self, size_bytes: int) -> bool:
        with self._changed:
            return not self._closed and self._waiting_bytes + size_bytes > WAITING_MIB << 20

    def _count(self, events: int = 0, lost_events: int = 0, sweeps: int = 0) -> None:
        with self._changed:
            now = self._status
            self._status = replace(
                now, events=now.events + events, lost_events=now.lost_events + lost_events, sweeps=now.sweeps + sweeps
            )

    def _put(self, write: Callable[[], None], size_bytes: int) -> bool:
        """Queue it; false where the recording is over."""
        with self._changed:
            if not self._closed:
                self._waiting.append((write, size_bytes))
                self._waiting_bytes += size_bytes
                self._changed.notify_all()
            return not self._closed

    def _write(self) -> None:
        for work in (self._write_all, self._files.close):
            try:
                work()
            except EdfvError as error:
                self._fail(str(error))
            except Exception as error:  # a bug, and the recording is whole up to it
                self._fail(f"unexpected {type(error).__name__}: {error}")

    def _write_all(self) -> None:
        while (waiting := self._next()) is not None:
            write, size_bytes = waiting
            write()
            with self._changed:
                self._waiting_bytes -= size_bytes

    def _next(self) -> tuple[Callable[[], None], int] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.popleft() if self._waiting else None

    def _fail(self, error: str) -> None:
        """End the recording; what waits is still written, where it can be."""
        with self._changed:
            if self._status.error:
                return
            self._status = replace(self._status, error=error)
            self._closed = True
            self._changed.notify_all()
        self._on_error(f"{self.path}: the recording ended: {error}")


class _FolderFiles:
    """A sweep recording: ``recording.aedat4``, ``rig.yaml``, ``lens.csv``."""

    keeps_depth = False

    def __init__(self, folder: Path, info: SourceInfo, rig: Rig) -> None:
        require_no_recording(folder)
        make_folder(folder)
        self._folder = folder
        self._lens: LensTrackWriter | None = None  # without a single sweep there is no lens.csv
        rig_path = folder / RIG_NAME
        try:
            rig_path.write_bytes(_yaml_of(rig))
        except OSError as error:
            raise OutputError(f"{rig_path}: cannot be written: {error.strerror}") from None
        self._events = Aedat4Writer(folder / EVENTS_NAME, info)

    def write_packet(self, packet: Packet) -> None:
        self._events.write(packet)

    def write_sweep(self, sweep: FocusSweep) -> None:
        self._lens = self._lens or LensTrackWriter(self._folder / LENS_NAME)
        self._lens.append_sweep(sweep)

    def write_depth(self, sweep: FocusSweep, estimate: DepthEstimate, intensity: NDArray[np.generic]) -> None:
        """Nothing: it can be computed again."""

    def close(self) -> None:
        self._events.close()
        if self._lens is not None:
            self._lens.close()


class _BagFiles:
    """A bag with the same, and with the depth."""

    keeps_depth = True

    def __init__(self, path: Path, info: SourceInfo, rig: Rig) -> None:
        check_new_bag(path)
        self._rows = LensTrackRows()
        self._rays = pixel_rays(rig.camera)
        self._bag = BagWriter(path, info, rig.camera, {RIG_ATTACHMENT: _yaml_of(rig)})

    def write_packet(self, packet: Packet) -> None:
        self._bag.write_packet(packet)

    def write_sweep(self, sweep: FocusSweep) -> None:
        rows = np.array(self._rows.of(sweep), np.float64).reshape(-1, 2)
        self._bag.write_focus(rows[:, 0], rows[:, 1])

    def write_depth(self, sweep: FocusSweep, estimate: DepthEstimate, intensity: NDArray[np.generic]) -> None:
        points = cloud_points(estimate.depth_m, self._rays, intensity, estimate.confidence, estimate.sigma_m)
        self._bag.write_depth(sweep.middle_us, sweep.end_us, estimate.depth_m, estimate.confidence, points)

    def close(self) -> None:
        self._bag.close()


def _yaml_of(rig: Rig) -> bytes:
    values = rig.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None).encode()
