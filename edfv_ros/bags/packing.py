"""A sweep recording becomes a bag, and a bag a sweep recording."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edfv_ros.bags.contents import read_attachment, read_lens_track
from edfv_ros.bags.focus import FocusRows
from edfv_ros.bags.layout import RIG_ATTACHMENT, TRUTH_ATTACHMENT
from edfv_ros.bags.writer import BagWriter
from edfv_ros.errors import SourceError
from edfv_ros.events import Aedat4Writer, StreamHealth, open_source
from edfv_ros.events.types import BAG_SUFFIX, EVENTS_NAME, Packet
from edfv_ros.lens.track import CSV_HEADER, LENS_NAME, LensTrack
from edfv_ros.outputs.files import check_file, make_folder, replace_atomically
from edfv_ros.recording import (
    DEPTH_GT_NAME,
    RIG_NAME,
    RecordingFiles,
    find_recording,
    load_recorded_rig,
    load_recorded_track,
    recorded_time_range_us,
    require_no_recording,
)

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Packed:
    """What went from one form of a recording to the other.

    Attributes:
        health: events, triggers, frames and inertial samples, and what was unsound and left out.
        focus_rows: rows of the lens track.
    """

    health: StreamHealth
    focus_rows: int


def pack(
    recording: Path, bag: Path, *, rig_path: Path | None = None, on_progress: Progress = lambda fraction: None
) -> Packed:
    """Write a sweep recording as a bag: events, triggers, frames, inertial samples, focus, rig and true depth.

    Args:
        recording: a sweep-recording folder or an AEDAT4 file.
        bag: the file to write, ``.mcap``; it appears when it is whole.
        rig_path: a rig file to use in place of the recording's own.
        on_progress: called with the fraction of the recording's time that is done.

    Raises:
        EdfvError: the recording, its rig or its lens track cannot be read, or the bag cannot be written.
    """
    files = find_recording(recording)
    rig_path = rig_path or files.rig
    camera = load_recorded_rig(rig_path).camera if rig_path else None
    track = load_recorded_track(files.lens) if files.lens else None
    check_file(bag)
    with closing(open_source(str(files.events))) as source, replace_atomically(bag) as temporary:
        with BagWriter(temporary, source.info, camera, attachments_of(files, rig_path)) as writer:
            focus = FocusRows(track)
            advance = _advancer(files, on_progress)
            while (packet := source.read()) is not None:
                focus.write_until(_newest_us(packet), writer)
                writer.write_packet(packet)
                advance(packet)
            focus.write_until(np.inf, writer)
        return Packed(source.health, focus.written)


def unpack(bag: Path, folder: Path, *, on_progress: Progress = lambda fraction: None) -> Packed:
    """Write a bag as a sweep recording; what the bag has not is not written.

    Args:
        bag: the bag to read; also one of another writer, see :class:`edfv_ros.bags.source.BagSource`.
        folder: made where it does not exist; must hold no recording yet.
        on_progress: called with the fraction of the bag's time that is done.

    Raises:
        EdfvError: the bag cannot be read, or the recording cannot be written.
    """
    if bag.suffix != BAG_SUFFIX:
        raise SourceError(f"{bag}: a bag has the suffix {BAG_SUFFIX}")
    files = find_recording(bag)
    track = read_lens_track(bag)
    require_no_recording(folder)
    with closing(open_source(str(bag))) as source:
        make_folder(folder)
        advance = _advancer(files, on_progress)
        with (
            replace_atomically(folder / EVENTS_NAME) as temporary,
            Aedat4Writer(temporary, source.info) as writer,
        ):
            while (packet := source.read()) is not None:
                writer.write(packet)
                advance(packet)
        for attachment, name in ((RIG_ATTACHMENT, RIG_NAME), (TRUTH_ATTACHMENT, DEPTH_GT_NAME)):
            content = read_attachment(bag, attachment)
            if content is not None:
                with replace_atomically(folder / name) as temporary:
                    temporary.write_bytes(content)
        if track is not None:
            _write_track(track, folder / LENS_NAME)
        return Packed(source.health, len(track.timestamps_us) if track is not None else 0)


def attachments_of(files: RecordingFiles, rig_path: Path | None) -> dict[str, bytes]:
    """What a bag holds as files: the rig and the true depth, where there are any, byte by byte.

    Raises:
        SourceError: one of them cannot be read.
    """
    attachments = {}
    for name, path in ((RIG_ATTACHMENT, rig_path), (TRUTH_ATTACHMENT, files.depth_gt)):
        if path is None:
            continue
        try:
            content = read_attachment(path, name) if path.suffix == BAG_SUFFIX else path.read_bytes()
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
        if content is not None:
            attachments[name] = content
    return attachments


def _newest_us(packet: Packet) -> float:
    """The time that a packet gets to: what is later than it is known later."""
    parts = (packet.events, packet.triggers, packet.imu)
    return max((float(part["timestamp"][-1]) for part in parts if len(part)), default=-np.inf)


def _advancer(files: RecordingFiles, on_progress: Progress) -> Callable[[Packet], None]:
    period_us = recorded_time_range_us(files.events)

    def advance(packet: Packet) -> None:
        if period_us is not None and len(packet.events):
            done_us = int(packet.events["timestamp"][-1]) - period_us[0]
            on_progress(done_us / max(period_us[1] - period_us[0], 1))

    return advance


def _write_track(track: LensTrack, path: Path) -> None:
    """Write every digit, so that the same track is read again."""
    rows = zip(track.timestamps_us.tolist(), track.vergence_dpt.tolist(), strict=True)
    lines = [f"{int(time_us) if time_us.is_integer() else repr(time_us)},{focus!r}\n" for time_us, focus in rows]
    with replace_atomically(path) as temporary:
        temporary.write_text("".join([f"{CSV_HEADER}\n", *lines]), encoding="utf-8")
