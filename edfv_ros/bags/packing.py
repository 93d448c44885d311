"""A sweep recording becomes a bag, and a bag a sweep recording."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edfv_ros.bags.contents import read_attachment, read_lens_track
from edfv_ros.bags.layout import RIG_ATTACHMENT, TRUTH_ATTACHMENT
from edfv_ros.bags.parts import FocusRows, attachments_of, check_new_bag, newest_us
from edfv_ros.bags.writer import BagWriter
from edfv_ros.errors import SourceError
from edfv_ros.events import Aedat4Writer, StreamHealth, open_source
from edfv_ros.events.types import BAG_SUFFIX, EVENTS_NAME, Packet
from edfv_ros.lens.track import CSV_HEADER, LENS_NAME, LensTrack
from edfv_ros.outputs.files import make_folder, replace_atomically
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
        bag: the file to write, ``.mcap``; must not exist yet; it appears when it is whole.
        rig_path: a rig file to use in place of the recording's own.
        on_progress: called with the fraction of the recording's time that is done.

    Raises:
        EdfvError: the recording, its rig or its lens track cannot be read, or the bag cannot be written.
    """
    files = find_recording(recording)
    rig_path = rig_path or files.rig
    camera = load_recorded_rig(rig_path).camera if rig_path else None
    track = load_recorded_track(files.lens) if files.lens else None
    check_new_bag(bag)
    with closing(open_source(str(files.events))) as source, replace_atomically(bag) as temporary:
        with BagWriter(temporary, source.info, camera, attachments_of(rig_path, files.depth_gt)) as writer:
            focus = FocusRows(track)
            advance = _advancer(files, on_progress)
            while (packet := source.read()) is not None:
                focus.write_until(newest_us(packet), writer)
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
