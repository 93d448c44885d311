"""Record a live source as a sweep recording: events as they come, the lens track as it becomes known."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edfv_ros.bags.parts import attachments_of, check_new_bag
from edfv_ros.bags.writer import BagWriter
from edfv_ros.errors import EdfvError, LensError, OutputError, SourceError
from edfv_ros.events import Capture, Packet, SourceInfo
from edfv_ros.events.aedat4_decoding import decode_events, decode_imu, decode_triggers, main_streams
from edfv_ros.events.aedat4_index import PacketSpans, open_recording, read_index
from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.sweeping import borrowed_lens, start_sweeping
from edfv_ros.lens.sync import open_sweeps
from edfv_ros.lens.track import LensTrack, LensTrackWriter
from edfv_ros.outputs.files import make_folder
from edfv_ros.recording import EVENTS_NAME, LENS_NAME, RIG_NAME, check_resolution, require_no_recording
from edfv_ros.rig import Rig, load_rig

LIVE_SCHEMES = ("camera:", "tcp://", "unix://")
_READ_TIMEOUT_S = 0.1
_ARRAY_DECODERS = {"events": decode_events, "triggers": decode_triggers, "imu": decode_imu}


@dataclass(slots=True)
class RecordingStatus:
    """How a recording goes.

    Attributes:
        seconds: since the source was opened.
        events, frames, triggers, imu: received so far; in the end, those in the file.
        lost_events: dropped on their way to the lens track.
        sweeps: complete focus sweeps found so far; in the end, those in the lens track.
        problem: what is wrong with the lens at present, one line; empty where nothing is.
    """

    seconds: float = 0.0
    events: int = 0
    frames: int = 0
    triggers: int = 0
    imu: int = 0
    lost_events: int = 0
    sweeps: int = 0
    problem: str = ""


def record(
    uri: str,
    folder: Path,
    *,
    rig_path: Path | None = None,
    bag_path: Path | None = None,
    seconds: float | None = None,
    stop: threading.Event,
    on_progress: Callable[[RecordingStatus], None] = lambda status: None,
) -> RecordingStatus:
    """Record until ``stop`` is set, ``seconds`` have passed or the source ends.

    The folder gets ``recording.aedat4`` and, with a rig, ``rig.yaml`` and ``lens.csv``. Both data files read up to
    their last moment whatever ends the process. A lens that goes silent costs the lens track and not the events.

    Args:
        uri: ``camera:``, ``camera:SERIAL``, ``tcp://HOST:PORT`` or ``unix:///PATH``.
        folder: made where it does not exist; must hold no recording yet.
        rig_path: the rig that records; its lens sweeps meanwhile where the rig names its port.
        bag_path: a bag to record to, too, ``.mcap``; must not exist yet. What this process could not take in time is
            missing there, and only there.
        seconds: time to record for, None for no limit.
        stop: ends the recording well.
        on_progress: called about ten times a second with one object that changes.

    Raises:
        EdfvError: the source, the lens or the folder cannot be opened, or the source broke.
    """
    if not uri.startswith(LIVE_SCHEMES):
        raise SourceError(f"{uri}: not a live source: give camera:, camera:SERIAL, tcp://HOST:PORT or unix:///PATH")
    rig = load_rig(rig_path) if rig_path else None
    if bag_path:
        check_new_bag(bag_path)
    with ExitStack() as stack:
        with _nothing_left_behind(folder, bag_path):
            lens = stack.enter_context(borrowed_lens(rig)) if rig and rig.lens.port else None
            capture = stack.enter_context(Capture(uri, record_to=folder / EVENTS_NAME))
            if rig and rig_path:
                check_resolution(rig, capture.info, uri)
                _copy_rig(rig_path, folder / RIG_NAME)
            bag = stack.enter_context(_open_bag(bag_path, capture.info, rig, rig_path)) if bag_path else None
            if rig and lens is not None:
                start_sweeping(lens, rig)
            follower = _LensFollower(rig, lens, folder / LENS_NAME, bag) if rig else None
            if follower is not None:
                stack.callback(follower.close)
        status = _follow(capture, follower, bag, seconds, stop, on_progress)
    # Only the closed files tell: the capture process goes on recording until it is told to end.
    for kind, count in _count_recorded(folder / EVENTS_NAME).items():
        setattr(status, kind, count)
    if rig and (folder / LENS_NAME).exists():
        status.sweeps = len(LensTrack.from_csv(folder / LENS_NAME).sweeps(rig.bins))
    return status


def _count_recorded(path: Path) -> dict[str, int]:
    """Number of events, frames, triggers and inertial samples in an uncompressed AEDAT4 file."""
    with open_recording(path) as file:
        index = read_index(file, path)
    content = np.memmap(path, np.uint8, "r").data  # of the events, only where their number is said gets read
    counts = {}
    for number, stream in main_streams(index.container).items():
        spans = index.packets.get(number, PacketSpans())
        decode = _ARRAY_DECODERS.get(stream.kind)
        lengths = (len(decode(content[at : at + size])) if decode else 1 for at, size in spans)  # a frame is a packet
        counts[stream.kind] = sum(lengths)
    return counts


def _follow(
    capture: Capture,
    follower: "_LensFollower | None",
    bag: BagWriter | None,
    seconds: float | None,
    stop: threading.Event,
    on_progress: Callable[[RecordingStatus], None],
) -> RecordingStatus:
    status = RecordingStatus()
    began_s = time.monotonic()
    reported_s = -1.0
    try:
        while not stop.is_set() and (seconds is None or status.seconds < seconds):
            packet = capture.read(_READ_TIMEOUT_S)
            status.seconds = time.monotonic() - began_s
            if packet is None:
                break
            status.events += len(packet.events)
            status.frames += len(packet.frames)
            status.triggers += len(packet.triggers)
            status.imu += len(packet.imu)
            status.lost_events += packet.lost_events
            if bag is not None:
                bag.write_packet(packet)
            if follower is not None:
                follower.observe(packet)
                status.sweeps, status.problem = follower.sweeps, follower.problem
            capture.release(len(packet.events))
            if status.seconds - reported_s >= _READ_TIMEOUT_S:
                on_progress(status)
                reported_s = status.seconds
    finally:  # the last sweep is known where the source broke, too
        if follower is not None:
            follower.finish()
            status.sweeps, status.problem = follower.sweeps, follower.problem
    on_progress(status)
    return status


class _LensFollower:
    """Writes ``lens.csv`` as sweeps become known; a lens that goes silent leaves a gap in it. The bag gets the same."""

    def __init__(self, rig: Rig, lens: LensDriver | None, path: Path, bag: BagWriter | None) -> None:
        self._bag = bag
        self._source = open_sweeps(rig, None, lens)
        self._path = path
        self._writer: LensTrackWriter | None = None  # without a single sweep there is no lens.csv
        self.sweeps = 0
        self.problem = ""

    def observe(self, packet: Packet) -> None:
        try:
            self._source.observe(packet)
        except LensError as error:
            self.problem = str(error)
        self._take()

    def finish(self) -> None:
        try:
            self._source.finish()
        except LensError as error:
            self.problem = str(error)
        self._take()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _take(self) -> None:
        while (sweep := self._source.take()) is not None:
            self._writer = self._writer or LensTrackWriter(self._path)
            rows = np.array(self._writer.append_sweep(sweep), np.float64).reshape(-1, 2)
            if self._bag is not None:
                self._bag.write_focus(rows[:, 0], rows[:, 1])
            self.sweeps += 1
            self.problem = ""


def _open_bag(path: Path, info: SourceInfo, rig: Rig | None, rig_path: Path | None) -> BagWriter:
    return BagWriter(path, info, rig.camera if rig else None, attachments_of(rig_path, None))


@contextmanager
def _nothing_left_behind(folder: Path, bag_path: Path | None) -> Iterator[None]:
    """Make the folder; where opening what is to fill it fails, remove what that has made."""
    require_no_recording(folder)
    is_new = not folder.exists()
    make_folder(folder)
    try:
        yield
    except EdfvError:
        for name in (EVENTS_NAME, LENS_NAME, RIG_NAME):
            (folder / name).unlink(missing_ok=True)
        if bag_path:
            bag_path.unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):  # somebody else has put something there meanwhile
                folder.rmdir()
        raise


def _copy_rig(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(f"{target}: the rig cannot be copied there: {error.strerror}") from None
