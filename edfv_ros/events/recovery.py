"""Save what is readable of a damaged recording."""

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from edfv_ros.errors import OutputError, SourceError
from edfv_ros.events.aedat4 import source_info
from edfv_ros.events.aedat4_decoding import (
    DECODERS,
    Container,
    DamagedError,
    decompress,
    main_streams,
    read_container,
)
from edfv_ros.events.aedat4_index import HEADER_AT, FileIndex, open_recording, read_index

_PREFIX_BYTES = 8  # of a packet: the number of its stream and its size


def recover(damaged: Path, recovered: Path) -> int:
    """Copy the packets that can be read to a new file without data table, which thus reads to its end.

    Returns:
        How many bytes of packets were left out; 0 where nothing was damaged.

    Raises:
        SourceError: the header cannot be read, or it declares no events.
        OutputError: the new file has not the suffix ``.aedat4``, exists, or cannot be written.
    """
    if recovered.suffix != ".aedat4":
        raise OutputError(f"{recovered}: name the new file with the suffix .aedat4, readers insist on it")
    with open_recording(damaged) as file:
        index = read_index(file, damaged)
        source_info(damaged, main_streams(index.container))
        header = _header_without_table(file, damaged, index.container)
        try:
            with recovered.open("xb") as copy:
                copy.write(header)
                copy.writelines(_readable_packets(file, index))
                kept_bytes = copy.tell()
        except OSError as error:
            raise OutputError(f"{recovered}: cannot write the recovered recording: {error.strerror}") from None
        only_table_follows = index.damage is None and index.container.table_position >= 0
        return (index.end if only_table_follows else file.seek(0, 2)) - kept_bytes


def _header_without_table(file: BinaryIO, path: Path, container: Container) -> bytes:
    """Return how the file begins, up to its first packet, saying that there is no data table."""
    file.seek(HEADER_AT - 4)
    header = bytearray(file.read(struct.unpack("<I", file.read(4))[0]))
    if container.table_position_at is not None:
        struct.pack_into("<q", header, container.table_position_at, -1)
    try:
        sound = read_container(bytes(header)) == replace(container, table_position=-1)
    except DamagedError:
        sound = False
    if not sound:  # what tells of the table lies within something else
        raise SourceError(f"{path}: damaged AEDAT4 header; copy the file again from where it was made")
    file.seek(0)
    return file.read(HEADER_AT) + header


def _readable_packets(file: BinaryIO, index: FileIndex) -> Iterator[bytes]:
    """Yield, in file order and with their prefix, the packets that a reader of their stream decodes."""
    container = index.container
    kinds = {number: stream.kind for number, stream in container.streams.items()}
    found = sorted(
        (span, kinds[number]) for number, spans in index.packets.items() if number in kinds for span in spans
    )
    for span, kind in found:
        try:
            file.seek(span.position - _PREFIX_BYTES)
            packet = file.read(_PREFIX_BYTES + span.size)
            if len(packet) < _PREFIX_BYTES + span.size:
                raise DamagedError("the file became shorter while it was read")
            DECODERS[kind](decompress(memoryview(packet)[_PREFIX_BYTES:], container.compression))
        except (DamagedError, OSError):  # damaged in itself, or on a damaged disk
            continue
        yield packet
