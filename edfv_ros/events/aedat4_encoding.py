"""The bytes of AEDAT4: one stream description and the packets that follow it, in a file or over a socket.

A container is a size-prefixed ``IOHeader`` flatbuffer (its XML names the streams), then packets: stream number
(int32), size (int32), and a size-prefixed flatbuffer. Files put a magic line in front. Events are flatbuffer structs
with the layout of EVENT_DTYPE, so their packets are a fixed prefix and the array itself; triggers and IMU samples are
tables of one size, so a packet of them is one structured array. Nothing here needs a flatbuffer builder.
"""

import struct
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.types import Frame, SourceInfo

MAGIC = b"#!AER-DAT4.0\r\n"
STREAMS = ("events", "frames", "imu", "triggers")
"""Streams by their number in a container, as DV software numbers them."""

Parts = list[bytes | memoryview]
"""A packet as buffers to be written one after the other."""

_TYPES = {"events": "EVTS", "frames": "FRME", "imu": "IMUS", "triggers": "TRIG"}
_LIST_PREFIX = struct.Struct("<II4s2x3HiII")  # size, root, identifier; vtable; table; vector: its offset and length

_TRIGGER_VTABLE = np.array([8, 16, 8, 4], "<u2")
_TRIGGER_TABLE = np.dtype(
    {"names": ["vtable", "type", "timestamp"], "formats": ["<i4", "i1", "<i8"], "offsets": [0, 4, 8], "itemsize": 16}
)
_IMU_VTABLE = np.array([26, 56, 8, *range(16, 56, 4)], "<u2")  # after the time: temperature, 3 x (x, y, z)
_IMU_TABLE = np.dtype(
    {
        "names": ["vtable", "timestamp", "accelerometer_g", "gyroscope_deg_s"],
        "formats": ["<i4", "<i8", ("<f4", 3), ("<f4", 3)],
        "offsets": [0, 8, 20, 32],
        "itemsize": 56,
    }
)
# A frame: size, root, identifier; vtable of 13 fields; table; pixel vector length.
_FRAME_PREFIX = struct.Struct("<II4s6x15HiIqqqq4hbb2xI")
_FRAME_VTABLE = (30, 52, 8, 0, 0, 16, 24, 48, 40, 42, 44, 46, 4, 32, 49)
_FRAME_SOURCE_SENSOR = 1


def file_header(info: SourceInfo) -> bytes:
    """Return how a file begins that holds all streams of ``info``."""
    return MAGIC + _io_header(info, {stream: STREAMS.index(stream) for stream in info.streams})


def network_header(info: SourceInfo, stream: str) -> bytes:
    """Return what a server of one stream sends first; its packets carry the number 0."""
    return _io_header(info, {stream: 0})


def network_message(parts: Parts) -> bytes:
    """Join a packet for the only stream of a socket."""
    return b"".join([b"\0\0\0\0", memoryview(parts[0])[4:], *parts[1:]])


def _io_header(info: SourceInfo, numbers: Mapping[str, int]) -> bytes:
    nodes = "".join(_stream_node(info, stream, number) for stream, number in numbers.items())
    xml = f'<dv version="2.0">\n<node name="outInfo" path="/outInfo/">\n{nodes}</node>\n</dv>\n'.encode()
    start = struct.pack("<I4s6x5H", 24, b"IOHE", 10, 20, 4, 12, 8)
    table = struct.pack("<iiIqI", 10, 0, 12, -1, len(xml))  # data table position -1: the reader scans the packets
    body = start + table + xml + b"\0"
    body += b"\0" * (-len(body) % 4)
    return struct.pack("<I", len(body)) + body


def event_packet(events: NDArray[np.void]) -> Parts:
    """Encode EVENT_DTYPE [N], contiguous, without copying it."""
    return _packet("events", [_list_prefix(b"EVTS", len(events), events.nbytes), events.view(np.uint8).data])


def trigger_packet(triggers: NDArray[np.void]) -> Parts:
    """Encode TRIGGER_DTYPE [N]."""
    tables = np.zeros(len(triggers), _TRIGGER_TABLE)
    tables["timestamp"] = triggers["timestamp"]
    tables["type"] = triggers["type"]
    return _table_packet("triggers", _TRIGGER_VTABLE, tables)


def imu_packet(samples: NDArray[np.void]) -> Parts:
    """Encode IMU_DTYPE [N]; temperature and magnetometer are written as zero."""
    tables = np.zeros(len(samples), _IMU_TABLE)
    for name in ("timestamp", "accelerometer_g", "gyroscope_deg_s"):
        tables[name] = samples[name]
    return _table_packet("imu", _IMU_VTABLE, tables)


def frame_packet(frame: Frame) -> Parts:
    """Encode one uint8 [H, W] frame."""
    image = np.ascontiguousarray(frame.image)
    height, width = image.shape
    start, exposure = frame.timestamp_us, frame.exposure_us
    prefix = _FRAME_PREFIX.pack(
        _FRAME_PREFIX.size - 4 + image.nbytes, 44, b"FRME", *_FRAME_VTABLE,
        30, 48, start, start, start + exposure, exposure, width, height, 0, 0, 0, _FRAME_SOURCE_SENSOR,
        image.nbytes,
    )  # fmt: skip
    return _packet("frames", [prefix, image.reshape(-1).data])


def _packet(stream: str, payload: Parts) -> Parts:
    return [struct.pack("<ii", STREAMS.index(stream), sum(len(part) for part in payload)), *payload]


def _list_prefix(identifier: bytes, length: int, content_bytes: int) -> bytes:
    size = _LIST_PREFIX.size - 4 + content_bytes
    return _LIST_PREFIX.pack(size, 16, identifier, 6, 8, 4, 6, 4, length)


def _table_packet(stream: str, vtable: NDArray[np.uint16], tables: NDArray[np.void]) -> Parts:
    """Offsets to the tables, the vtable they share, the tables."""
    count = len(tables)
    vtable_at = _LIST_PREFIX.size + 4 * count
    tables_at = -(-(vtable_at + vtable.nbytes) // 8) * 8
    positions = tables_at + tables.itemsize * np.arange(count)
    tables["vtable"] = positions - vtable_at
    offsets = (positions - (_LIST_PREFIX.size + 4 * np.arange(count))).astype("<u4")
    content = offsets.tobytes() + vtable.tobytes().ljust(tables_at - vtable_at, b"\0") + tables.tobytes()
    return _packet(stream, [_list_prefix(_TYPES[stream].encode(), count, len(content)), content])


def _stream_node(info: SourceInfo, stream: str, number: int) -> str:
    path = f"/outInfo/{number}/"
    size = [("sizeX", "int", info.width_px), ("sizeY", "int", info.height_px)] if stream in ("events", "frames") else []
    return (
        _node(path, [
            ("compression", "string", "NONE"),
            ("originalModuleName", "string", "edfv_ros"),
            ("originalOutputName", "string", stream),
            ("typeDescription", "string", stream),
            ("typeIdentifier", "string", _TYPES[stream]),
        ])
        + _node(f"{path}info/", [*size, ("source", "string", info.camera)])
        + "</node>\n</node>\n"
    )  # fmt: skip


def _node(path: str, attributes: Sequence[tuple[str, str, object]]) -> str:
    lines = [f"<node name={quoteattr(path.split('/')[-2])} path={quoteattr(path)}>\n"]
    lines += [f'<attr key="{key}" type="{kind}">{escape(str(value))}</attr>\n' for key, kind, value in attributes]
    return "".join(lines)
