"""Read the bytes of AEDAT4 that :mod:`.aedat4_encoding` and DV software write, and distrust every one of them."""

import struct
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.packing import grey
from edfv_ros.events.types import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Frame

Buffer = bytes | memoryview

_STREAM_OF_TYPE = {"EVTS": "events", "FRME": "frames", "IMUS": "imu", "TRIG": "triggers"}
_PIXEL_TYPES = {0: np.uint8, 2: np.uint16, 5: np.float32}  # OpenCV depth codes
_MAX_DECODED_BYTES = 64 << 20  # of one packet: 4 million events, or a frame of 1280 x 720 in float RGB six times

_TOO_LARGE = f"a packet of more than {_MAX_DECODED_BYTES >> 20} MiB"


class DamagedError(ValueError):
    """These bytes are not what the format promises; the message says why, in a few words."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One declared stream: ``kind`` is events, frames, imu or triggers."""

    kind: str
    source: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Container:
    """What an IOHeader says.

    Attributes:
        compression: one of none, lz4, lz4_high, zstd, zstd_high.
        table_position: where in the file the data table lies, -1 where none was written.
        table_position_at: where in the header that is said; None where it is not.
        streams: by their number in packets.
    """

    compression: str
    table_position: int
    table_position_at: int | None
    streams: dict[int, Stream]


def read_container(header: Buffer) -> Container:
    """Decode an IOHeader without its size prefix.

    Raises:
        DamagedError: it is none.
    """
    root = _root(header, b"IOHE", at=0)
    compression = root.integer(0, "<i", 0)
    if not 0 <= compression < len(_COMPRESSIONS):
        raise DamagedError(f"unknown compression {compression}")
    start, length = root.vector(2, 1)
    try:
        tree = ElementTree.fromstring(bytes(header[start : start + length]))
    except (ElementTree.ParseError, ValueError):
        raise DamagedError("its description of the streams is not XML") from None
    streams = {}
    for node in tree.findall("./node[@name='outInfo']/node"):
        kind = _STREAM_OF_TYPE.get(_attribute(node, "typeIdentifier"))
        number, info = node.get("name", ""), node.find("./node[@name='info']")
        if kind is not None and number.isdecimal():
            size = [_attribute(info, key) for key in ("sizeX", "sizeY")]
            width_px, height_px = (int(value) if value.isdecimal() else 0 for value in size)
            streams[int(number)] = Stream(kind, _attribute(info, "source"), width_px, height_px)
    return Container(_COMPRESSIONS[compression], root.integer(1, "<q", -1), root.field(1), streams)


def main_streams(container: Container) -> dict[int, Stream]:
    """Return the first event stream and the first of each other kind that comes from the same camera."""
    chosen: dict[str, int] = {}
    events = [stream for stream in container.streams.values() if stream.kind == "events"]
    for number, stream in sorted(container.streams.items()):
        if not events or stream.source == events[0].source:
            chosen.setdefault(stream.kind, number)
    return {number: container.streams[number] for number in chosen.values()}


def decompress(payload: Buffer, compression: str) -> Buffer:
    """Undo the compression of one packet.

    Raises:
        DamagedError: the payload is damaged.
    """
    return _DECOMPRESSORS[compression](payload)


def decode_events(payload: Buffer) -> NDArray[np.void]:
    """Return EVENT_DTYPE [N], a view into ``payload``."""
    start, length = _root(payload, b"EVTS").vector(0, EVENT_DTYPE.itemsize)
    return np.frombuffer(payload, EVENT_DTYPE, length, start)


def decode_triggers(payload: Buffer) -> NDArray[np.void]:
    """Return TRIGGER_DTYPE [N]."""
    return _structured(payload, b"TRIG", TRIGGER_DTYPE, [("timestamp", 0), ("type", 1)])


def decode_imu(payload: Buffer) -> NDArray[np.void]:
    """Return IMU_DTYPE [N]."""
    fields = [("timestamp", 0), *(("accelerometer_g", field) for field in (2, 3, 4))]
    fields += [("gyroscope_deg_s", field) for field in (5, 6, 7)]
    return _structured(payload, b"IMUS", IMU_DTYPE, fields)


def decode_frame(payload: Buffer) -> Frame:
    """Return the frame as uint8 grey, whatever its pixel format."""
    table = _root(payload, b"FRME")
    start_us = table.integer(3, "<q", 0) or table.integer(0, "<q", 0)
    exposure_us = table.integer(11, "<q", 0) or max(0, table.integer(4, "<q", 0) - start_us)
    pixel_format = table.integer(5, "<b", 0)
    pixel_type, channels = _PIXEL_TYPES.get(pixel_format & 7), (pixel_format >> 3) + 1
    width, height = table.integer(6, "<h", 0), table.integer(7, "<h", 0)
    if pixel_type is None or channels not in (1, 3, 4) or width <= 0 or height <= 0:
        raise DamagedError(f"a frame of format {pixel_format}, {width} x {height}")
    start, length = table.vector(10, 1)
    shape = (height, width) if channels == 1 else (height, width, channels)
    if length != np.prod(shape) * np.dtype(pixel_type).itemsize:
        raise DamagedError(f"a frame of {width} x {height} with {length} bytes")
    pixels = np.frombuffer(payload, np.uint8, length, start).view(pixel_type).reshape(shape)
    return Frame(start_us, exposure_us, grey(pixels))


DECODERS: dict[str, Callable[[Buffer], Any]] = {
    "events": decode_events,
    "triggers": decode_triggers,
    "imu": decode_imu,
    "frames": decode_frame,
}
"""What decodes a decompressed packet, by the kind of its stream; all raise DamagedError."""


class _Table:
    """A flatbuffer table, every access checked against the buffer."""

    def __init__(self, buffer: Buffer, position: int) -> None:
        self._buffer = buffer
        self._position = position
        self._vtable = position - _integer(buffer, position, "<i")
        self._vtable_bytes = _integer(buffer, self._vtable, "<H")

    def integer(self, field: int, code: str, default: int) -> int:
        position = self.field(field)
        return default if position is None else _integer(self._buffer, position, code)

    def vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Position of the first item and number of items; an absent vector is empty."""
        position = self.field(field)
        if position is None:
            return 0, 0
        position += _integer(self._buffer, position, "<I")
        length = _integer(self._buffer, position, "<I")
        if position + 4 + length * item_bytes > len(self._buffer):
            raise DamagedError("a list that is longer than its packet")
        return position + 4, length

    def field(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._vtable_bytes:
            return None
        offset = _integer(self._buffer, self._vtable + slot, "<H")
        return self._position + offset if offset else None


def _structured(
    payload: Buffer, identifier: bytes, dtype: np.dtype[np.void], fields: Sequence[tuple[str, int]]
) -> NDArray[np.void]:
    """Gather a list of tables into one array; a name given several times is a vector, filled in that order.

    Tables share few vtables, mostly one, so this takes one step per field and not one per table.
    """
    start, length = _root(payload, identifier).vector(0, 4)
    content = np.frombuffer(payload, np.uint8)
    slots = start + 4 * np.arange(length)
    positions = slots + _gather(content, slots, "<u4")
    vtables = positions - _gather(content, positions, "<i4")
    result = np.zeros(length, dtype)
    for vtable in np.unique(vtables).tolist():
        members = vtables == vtable
        vtable_bytes = _integer(payload, vtable, "<H")
        filled: Counter[str] = Counter()
        for name, field in fields:
            slot = 4 + 2 * field
            offset = _integer(payload, vtable + slot, "<H") if slot + 2 <= vtable_bytes else 0
            column = result[name] if result[name].ndim == 1 else result[name][:, filled[name]]
            filled[name] += 1
            if offset:
                column[members] = _gather(content, positions[members] + offset, column.dtype.str)
    return result


def _gather(content: NDArray[np.uint8], positions: NDArray[np.int64], code: str) -> NDArray[Any]:
    """Read one number at each position."""
    item_bytes = np.dtype(code).itemsize
    if len(positions) and (positions.min() < 0 or positions.max() + item_bytes > len(content)):
        raise DamagedError("an offset out of its packet")
    return content[positions[:, np.newaxis] + np.arange(item_bytes)].view(code)[:, 0]


def _root(buffer: Buffer, identifier: bytes, at: int = 4) -> _Table:
    """Root table of a flatbuffer; packets begin with their size, hence ``at`` 4."""
    if bytes(buffer[at + 4 : at + 8]) != identifier:
        raise DamagedError(f"a packet that is not of type {identifier.decode()}")
    return _Table(buffer, at + _integer(buffer, at, "<I"))


def _integer(buffer: Buffer, position: int, code: str) -> int:
    return int(_unpack(buffer, position, code))


def _unpack(buffer: Buffer, position: int, code: str) -> float:
    if position < 0:
        raise DamagedError("an offset out of its packet")
    try:
        value: float = struct.unpack_from(code, buffer, position)[0]
    except struct.error:
        raise DamagedError("an offset out of its packet") from None
    return value


def _attribute(node: ElementTree.Element | None, key: str) -> str:
    found = None if node is None else node.find(f"./attr[@key='{key}']")
    return "" if found is None or found.text is None else found.text


def _stored(payload: Buffer) -> Buffer:
    return payload


def _lz4(payload: Buffer) -> Buffer:
    import lz4.frame

    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        content: bytes = decompressor.decompress(payload, _MAX_DECODED_BYTES)
    except (RuntimeError, EOFError, MemoryError):
        raise DamagedError("a packet that does not decompress") from None
    if not decompressor.eof:
        raise DamagedError("a packet that ends early" if decompressor.needs_input else _TOO_LARGE)
    return content


def _zstd(payload: Buffer) -> Buffer:
    import zstandard

    try:
        if zstandard.frame_content_size(payload) > _MAX_DECODED_BYTES:  # -1 where it is not said
            raise DamagedError(_TOO_LARGE)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_DECODED_BYTES)
        content: bytes = decompressor.decompress(payload, max_output_size=_MAX_DECODED_BYTES)
    except (zstandard.ZstdError, MemoryError):
        raise DamagedError("a packet that ends early or does not decompress") from None
    return content


_COMPRESSIONS = ("none", "lz4", "lz4_high", "zstd", "zstd_high")
_DECOMPRESSORS: dict[str, Callable[[Buffer], Buffer]] = {
    "none": _stored,
    "lz4": _lz4,
    "lz4_high": _lz4,
    "zstd": _zstd,
    "zstd_high": _zstd,
}
