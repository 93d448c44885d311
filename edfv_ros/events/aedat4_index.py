"""Where the packets of an AEDAT4 file lie, found without trusting its data table."""

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edfv_ros.errors import SourceError
from edfv_ros.events.aedat4_decoding import Container, DamagedError, read_container
from edfv_ros.events.aedat4_encoding import MAGIC

HEADER_AT = len(MAGIC) + 4
"""Where the header begins, behind the magic line and its own size."""

_MAX_PACKET_BYTES = 1 << 30


class PacketSpan(NamedTuple):
    """Position and size of one packet's payload in its file, in bytes."""

    position: int
    size: int


class PacketSpans:
    """Many spans in little memory: an hour of recording has millions of packets."""

    def __init__(self) -> None:
        self._numbers = array("q")

    def append(self, span: PacketSpan) -> None:
        self._numbers.extend(span)

    def __len__(self) -> int:
        return len(self._numbers) // 2

    def __getitem__(self, index: int) -> PacketSpan:
        at = range(len(self))[index] * 2  # negative and out-of-range indices as in any sequence
        return PacketSpan(self._numbers[at], self._numbers[at + 1])

    def __iter__(self) -> Iterator[PacketSpan]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, slots=True)
class FileIndex:
    """All whole packets of a file.

    Attributes:
        container: what the header declares.
        packets: payloads by stream number, in file order.
        end: position after the last whole packet.
        damage: why the file ends there rather than where it should; None for a sound file. A recording whose writer was
            killed has no data table and may end in a part of a packet: that is sound.
    """

    container: Container
    packets: dict[int, PacketSpans]
    end: int
    damage: str | None


def open_recording(path: Path) -> BinaryIO:
    """Open an AEDAT4 file for reading.

    Raises:
        SourceError: it is missing, unreadable, empty or something else.
    """
    if path.is_dir():
        raise SourceError(
            f"{path}: this is a folder without recording.aedat4; name an .aedat4 file or a sweep recording"
        )
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise SourceError(f"{path}: no such recording; check the path") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot read this recording: {error.strerror}") from None
    if path.suffix != ".aedat4":
        file.close()
        raise SourceError(
            f"{path}: a recording has the suffix .aedat4, not {path.suffix or 'none'}; convert it with DV, or rename it"
        )
    start = file.read(len(MAGIC))
    if start != MAGIC:
        file.close()
        what = "it is empty" if not start else "it does not begin like one"
        raise SourceError(f"{path}: not an AEDAT4 recording: {what}; record it again, or convert it with DV")
    return file


def read_index(file: BinaryIO, path: Path) -> FileIndex:
    """Find all packets of a file opened by :func:`open_recording`.

    Raises:
        SourceError: the header is damaged, so that nothing can be had.
    """
    file_bytes = os.fstat(file.fileno()).st_size
    file.seek(len(MAGIC))
    try:
        size = struct.unpack("<I", _read(file, 4))[0]
        if size > file_bytes:
            raise DamagedError("it ends within its header")
        container = read_container(_read(file, size))
    except DamagedError as error:
        raise SourceError(
            f"{path}: damaged AEDAT4 header: {error}; copy the file again from where it was made"
        ) from None
    packets = {number: PacketSpans() for number in container.streams}
    closed = container.table_position >= 0
    end, damage = file.tell(), None
    stop = min(container.table_position, file_bytes) if closed else file_bytes
    for number, span in _scan(file, end, stop):
        if span.size <= 0 or span.size > _MAX_PACKET_BYTES or number < 0:
            damage = f"it is damaged at byte {end}"
            break
        if span.position + span.size > stop:
            damage = f"it is cut off at byte {file_bytes}" if closed else None
            break
        end = span.position + span.size
        packets.setdefault(number, PacketSpans()).append(span)
    if closed and damage is None and file_bytes <= container.table_position:
        damage = f"it is cut off at byte {file_bytes} of more than {container.table_position}"
    return FileIndex(container, packets, end, damage)


def _scan(file: BinaryIO, position: int, stop: int) -> Iterator[tuple[int, PacketSpan]]:
    while position + 8 <= stop:
        file.seek(position)
        number, size = struct.unpack("<ii", _read(file, 8))
        yield number, PacketSpan(position + 8, size)
        position += 8 + size


def _read(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise DamagedError("it ends within its header")
    return content
