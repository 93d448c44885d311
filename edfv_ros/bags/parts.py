"""What goes into a bag beside the packets of a source."""

from pathlib import Path

import numpy as np

from edfv_ros.bags.contents import read_attachment
from edfv_ros.bags.layout import RIG_ATTACHMENT, TRUTH_ATTACHMENT
from edfv_ros.bags.writer import BagWriter
from edfv_ros.errors import OutputError, SourceError
from edfv_ros.events.types import BAG_SUFFIX, Packet
from edfv_ros.lens.track import LensTrack
from edfv_ros.outputs.files import check_file


class FocusRows:
    """Writes a lens track beside the events: each row before the first packet that gets past it.

    Attributes:
        written: rows so far.
    """

    def __init__(self, track: LensTrack | None) -> None:
        """``track`` is None where triggers tell the focus: nothing is written then."""
        self._track = track
        self.written = 0

    def write_until(self, time_us: float, writer: BagWriter) -> None:
        """Write the rows up to a time, unix microseconds, that have not been written."""
        if self._track is None:
            return
        end = int(np.searchsorted(self._track.timestamps_us, time_us, side="right"))
        if end > self.written:
            rows = slice(self.written, end)
            writer.write_focus(self._track.timestamps_us[rows], self._track.vergence_dpt[rows])
            self.written = end


def check_new_bag(path: Path) -> None:
    """Make sure, before long work, that a bag can be written and overwrites none.

    Raises:
        OutputError: its suffix is not ``.mcap``, it exists, or its folder is missing or not writable.
    """
    check_file(path)
    if path.suffix != BAG_SUFFIX:
        raise OutputError(f"{path}: name the bag with the suffix {BAG_SUFFIX}, players insist on it")
    if path.exists():
        raise OutputError(f"{path}: there is a bag already: name another file or remove it")


def attachments_of(rig_path: Path | None, truth_path: Path | None) -> dict[str, bytes]:
    """What a bag holds as files: the rig and the true depth, where there are any, byte by byte.

    Raises:
        SourceError: one of them cannot be read.
    """
    attachments = {}
    for name, path in ((RIG_ATTACHMENT, rig_path), (TRUTH_ATTACHMENT, truth_path)):
        if path is None:
            continue
        try:
            content = read_attachment(path, name) if path.suffix == BAG_SUFFIX else path.read_bytes()
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
        if content is not None:
            attachments[name] = content
    return attachments


def newest_us(packet: Packet) -> float:
    """The time that a packet gets to: what is later than it is known later."""
    parts = (packet.events, packet.triggers, packet.imu)
    return max((float(part["timestamp"][-1]) for part in parts if len(part)), default=-np.inf)
