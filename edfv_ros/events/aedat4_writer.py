"""Write AEDAT4 files that survive the death of their writer."""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import OutputError
from edfv_ros.events import aedat4_encoding
from edfv_ros.events.types import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Frame, Packet, SourceInfo

EVENTS_PER_PACKET = 10_000


class Aedat4Writer:
    """Numpy arrays to an uncompressed AEDAT4 file that DV software reads.

    Every write goes to the operating system before it returns: whatever ends the process, the file reads up to the
    last write. There is no data table to be lost; readers find the packets by scanning.

    Times must not decrease within a stream, across writes too; nothing here looks at them.
    """

    def __init__(self, path: str | Path, info: SourceInfo) -> None:
        """Create or overwrite ``path`` with the camera name, resolution and streams of ``info``.

        Raises:
            OutputError: the suffix is not ``.aedat4`` (DV software insists on it) or the file cannot be written.
        """
        self.path = Path(path)
        if self.path.suffix != ".aedat4":
            raise OutputError(f"{self.path}: name the recording with the suffix .aedat4, other readers insist on it")
        self._streams = info.streams
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot write this recording: {error.strerror}") from None
        self._write([aedat4_encoding.file_header(info)], stream=None)

    def write(self, packet: Packet) -> None:
        """Write all parts of a packet; parts of streams that were not declared raise ValueError."""
        self.write_events(packet.events)
        self.write_triggers(packet.triggers)
        self.write_imu(packet.imu)
        for frame in packet.frames:
            self.write_frame(frame)

    def write_events(self, events: NDArray[np.void]) -> None:
        """Append EVENT_DTYPE [N]; N may be anything, files get packets of at most EVENTS_PER_PACKET."""
        events = _contiguous(events, EVENT_DTYPE)
        for start in range(0, len(events), EVENTS_PER_PACKET):
            self._write(aedat4_encoding.event_packet(events[start : start + EVENTS_PER_PACKET]), "events")

    def write_triggers(self, triggers: NDArray[np.void]) -> None:
        """Append TRIGGER_DTYPE [N]."""
        if len(triggers):
            self._write(aedat4_encoding.trigger_packet(_contiguous(triggers, TRIGGER_DTYPE)), "triggers")

    def write_imu(self, samples: NDArray[np.void]) -> None:
        """Append IMU_DTYPE [N]."""
        if len(samples):
            self._write(aedat4_encoding.imu_packet(_contiguous(samples, IMU_DTYPE)), "imu")

    def write_frame(self, frame: Frame) -> None:
        """Append one uint8 [H, W] frame."""
        if frame.image.ndim != 2 or frame.image.dtype != np.uint8:
            raise ValueError(f"a frame is uint8 [H, W], not {frame.image.dtype} {list(frame.image.shape)}")
        self._write(aedat4_encoding.frame_packet(frame), "frames")

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "Aedat4Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, parts: Iterable[bytes | memoryview], stream: str | None) -> None:
        if stream is not None and stream not in self._streams:
            raise ValueError(f"{self.path}: it was opened without {stream}, with {', '.join(self._streams)}")
        views = [memoryview(part) for part in parts]
        try:
            while views:
                written = os.writev(self._file, views)
                while views and written >= len(views[0]):
                    written -= len(views.pop(0))
                if views:
                    views[0] = views[0][written:]
        except OSError as error:
            raise OutputError(f"{self.path}: cannot go on recording: {error.strerror}") from None


def _contiguous(array: NDArray[np.void], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    if array.dtype != dtype:
        raise ValueError(f"expected an array of {dtype}, not {array.dtype}")
    return np.ascontiguousarray(array)
