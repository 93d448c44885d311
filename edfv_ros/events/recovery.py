"""Save what is readable of a damaged recording."""

import shutil
import struct
from pathlib import Path

from edfv_ros.errors import OutputError
from edfv_ros.events.aedat4_decoding import DamagedError, decompress
from edfv_ros.events.aedat4_index import HEADER_AT, open_recording, read_index


def recover(damaged: Path, recovered: Path) -> int:
    """Copy the whole packets before the damage to a new file without data table; return how many bytes were left out.

    Raises:
        SourceError: not even the header can be read.
        OutputError: the new file has not the suffix ``.aedat4``, exists, or cannot be written.
    """
    if recovered.suffix != ".aedat4":
        raise OutputError(f"{recovered}: name the new file with the suffix .aedat4, readers insist on it")
    with open_recording(damaged) as file:
        index = read_index(file, damaged)
        end = index.end
        spans = sorted((span for spans in index.packets.values() for span in spans), key=lambda span: span.position)
        for span in spans:
            file.seek(span.position)
            try:
                decompress(file.read(span.size), index.container.compression)
            except DamagedError:
                end = span.position - 8
                break
        file.seek(0)
        try:
            with recovered.open("xb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.truncate(end)
                if index.container.table_position_at is not None:
                    copy.seek(HEADER_AT + index.container.table_position_at)
                    copy.write(struct.pack("<q", -1))
        except OSError as error:
            raise OutputError(f"{recovered}: cannot write the recovered recording: {error.strerror}") from None
        return file.seek(0, 2) - end
