"""Save what is readable of a damaged recording: ``python3 -m edfv_ros.events.recovery DAMAGED.aedat4 NEW.aedat4``."""

import shutil
import struct
import sys
from pathlib import Path

from edfv_ros.errors import EdfvError, OutputError
from edfv_ros.events.aedat4_decoding import DamagedError, decompress
from edfv_ros.events.aedat4_index import HEADER_AT, open_recording, read_index


def recover(damaged: Path, recovered: Path) -> int:
    """Copy the whole packets before the damage to a new file without data table; return how many bytes were left out.

    Raises:
        SourceError: not even the header can be read.
        OutputError: the new file cannot be written.
    """
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


def main(arguments: list[str]) -> int:
    """Recover one recording; return the exit code."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        left_out = recover(Path(arguments[0]), Path(arguments[1]))
    except EdfvError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{arguments[1]}: recovered; {left_out} bytes were left out")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
