"""An AEDAT4 file as a source of events."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import SourceError
from edfv_ros.events.aedat4_decoding import (
    Buffer,
    DamagedError,
    Stream,
    decode_events,
    decode_frame,
    decode_imu,
    decode_triggers,
    decompress,
    main_streams,
)
from edfv_ros.events.aedat4_index import FileIndex, PacketSpan, PacketSpans, open_recording, read_index
from edfv_ros.events.pace import Pace
from edfv_ros.events.types import EVENT_DTYPE, EVENTS_NAME, IMU_DTYPE, TRIGGER_DTYPE, Frame, Packet, SourceInfo

PACKET_EVENTS = 10_000
PACKET_US = 10_000

Decoded = TypeVar("Decoded")


def time_range_us(path: Path) -> tuple[int, int] | None:
    """Return the times of the first and the last event in an AEDAT4 file, without reading what lies between.

    None where the file holds no events, or the first or last of them are damaged.

    Raises:
        SourceError: it is not an AEDAT4 file.
    """
    with open_recording(path) as file:
        index = read_index(file, path)
        streams = main_streams(index.container).items()
        number = next((number for number, stream in streams if stream.kind == "events"), -1)
        spans = index.packets.get(number, PacketSpans())
        if not len(spans):
            return None
        ends = []
        try:
            for span in (spans[0], spans[-1]):
                file.seek(span.position)
                ends.append(decode_events(decompress(file.read(span.size), index.container.compression))["timestamp"])
        except DamagedError:
            return None
    first, last = ends
    return (int(first[0]), int(last[-1])) if len(first) and len(last) else None


def source_info(path: Path, streams: dict[int, Stream]) -> SourceInfo:
    """Describe the camera whose ``streams``, by their number, a file holds.

    Raises:
        SourceError: there are no events among them, or the resolution is unknown.
    """
    by_kind: dict[str, Any] = {stream.kind: stream for stream in streams.values()}
    if "events" not in by_kind:
        raise SourceError(f"{path}: this recording has no event stream, only {', '.join(by_kind) or 'nothing'}")
    events = by_kind["events"]
    if events.width_px <= 0 or events.height_px <= 0:
        raise SourceError(f"{path}: this recording does not say the resolution of its events; record it again with DV")
    return SourceInfo(events.source, events.width_px, events.height_px, tuple(by_kind), live=False)


class Aedat4Source:
    """The streams of one camera in a file, interleaved in time.

    Packets end after PACKET_EVENTS events or PACKET_US, whichever comes first; triggers, imu and frames come with the
    packet their time (for frames: the end of exposure) falls into. Recordings whose writer was killed are read up to
    their last whole packet.
    """

    def __init__(self, path: str | Path, *, real_time: bool = False) -> None:
        """Open ``path``, an .aedat4 file or a folder with recording.aedat4; ``real_time`` replays at the recorded pace.

        Raises:
            SourceError: no such file, not an AEDAT4 recording, damaged, or without events.
        """
        self._path = Path(path)
        if self._path.is_dir() and (self._path / EVENTS_NAME).exists():
            self._path /= EVENTS_NAME
        self._file: BinaryIO = open_recording(self._path)
        try:
            index = read_index(self._file, self._path)
            if index.damage:
                raise SourceError(f"{self._path}: {index.damage}; {_advice(self._path)}")
            streams = main_streams(index.container)
            self._info = source_info(self._path, streams)
        except SourceError:
            self._file.close()
            raise
        numbers = {stream.kind: number for number, stream in streams.items()}
        open_stream = partial(self._decoded, index, numbers)
        self._events = _TimedArrays(open_stream("events", decode_events), EVENT_DTYPE)
        self._triggers = _TimedArrays(open_stream("triggers", decode_triggers), TRIGGER_DTYPE)
        self._imu = _TimedArrays(open_stream("imu", decode_imu), IMU_DTYPE)
        self._frames = _TimedFrames(open_stream("frames", decode_frame))
        self._pace = Pace() if real_time else None

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Packet | None:
        """Return the next packet, None at the end.

        Raises:
            SourceError: the file is damaged here; what came before it was fine.
        """
        streams = (self._events, self._triggers, self._imu, self._frames)
        times_us = [stream.next_us for stream in streams if stream.next_us is not None]
        if not times_us:
            return None
        before_us = min(times_us) + PACKET_US
        events = self._events.take_some(before_us, PACKET_EVENTS)
        if self._events.next_us is not None:
            # Never run ahead of the events still to come in this interval.
            before_us = min(before_us, self._events.next_us + 1)
        packet = Packet(
            events, self._triggers.take(before_us), self._imu.take(before_us), tuple(self._frames.take(before_us))
        )
        if self._pace is not None:
            self._pace.wait_until(before_us)
        return packet

    def close(self) -> None:
        self._file.close()

    def _decoded(
        self, index: FileIndex, numbers: dict[str, int], kind: str, decode: Callable[[Buffer], Decoded]
    ) -> Iterator[Decoded]:
        spans = index.packets.get(numbers.get(kind, -1), ())
        return (self._decode(span, index.container.compression, decode) for span in spans)

    def _decode(self, span: PacketSpan, compression: str, decode: Callable[[Buffer], Decoded]) -> Decoded:
        try:
            self._file.seek(span.position)
            payload = self._file.read(span.size)
            if len(payload) < span.size:
                raise DamagedError("the file became shorter while it was read")
            return decode(decompress(payload, compression))
        except DamagedError as error:
            raise SourceError(
                f"{self._path}: damaged at byte {span.position}: {error}; {_advice(self._path)}"
            ) from None
        except OSError as error:
            raise SourceError(f"{self._path}: cannot read on: {error.strerror}; check the disk") from None


class _TimedArrays:
    """Structured arrays with a timestamp, handed out up to a given time."""

    def __init__(self, arrays: Iterator[NDArray[np.void]], dtype: np.dtype[np.void]) -> None:
        self._arrays = arrays
        self._rest: NDArray[np.void] = np.empty(0, dtype)
        self._empty = self._rest
        self.next_us: int | None = None
        self._refill()

    def take_some(self, before_us: int, count: int) -> NDArray[np.void]:
        """Return at most ``count`` items of one array, all before ``before_us``; no copy."""
        if self.next_us is None:
            return self._empty
        # Sound arrays ascend; in others this finds some place to cut, and nothing is lost. Not np.searchsorted: that
        # copies the times out of the records first.
        cut = bisect_left(self._rest["timestamp"], before_us, 0, min(count, len(self._rest)))
        if cut == 0 and self.next_us < before_us:
            cut = 1
        taken, self._rest = self._rest[:cut], self._rest[cut:]
        self._refill()
        return taken

    def take(self, before_us: int) -> NDArray[np.void]:
        """Return all items before ``before_us``."""
        taken = []
        while self.next_us is not None and self.next_us < before_us:
            taken.append(self.take_some(before_us, len(self._rest)))
        return np.concatenate(taken) if taken else self._empty

    def _refill(self) -> None:
        while not len(self._rest):
            array = next(self._arrays, None)
            if array is None:
                self.next_us = None
                return
            self._rest = array
        self.next_us = int(self._rest["timestamp"][0])


class _TimedFrames:
    """Frames, handed out when their exposure has ended."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self._pending: deque[Frame] = deque()
        self._refill()

    @property
    def next_us(self) -> int | None:
        return self._pending[0].timestamp_us + self._pending[0].exposure_us if self._pending else None

    def take(self, before_us: int) -> Iterator[Frame]:
        while self.next_us is not None and self.next_us < before_us:
            yield self._pending.popleft()
            self._refill()

    def _refill(self) -> None:
        self._pending.extend(frame for frame in [next(self._frames, None)] if frame is not None)


def _advice(path: Path) -> str:
    return f"copy it again, or save what is readable: edfv recover {path} recovered.aedat4"
