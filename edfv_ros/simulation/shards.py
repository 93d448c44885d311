"""Shards: files of training samples with random access, whole or not there at all."""

import json
import os
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edfv_ros.errors import OutputError, SimulationError
from edfv_ros.simulation.crops import TrainingSweeps
from edfv_ros.simulation.sample_codec import decode

SUFFIX = ".edfv"

_MAGIC = b"EDFVSET1"
_HEAD = struct.Struct("<8sIII")  # magic, number of samples, checksum of the table, bytes of the table


def shard_path(directory: Path, number: int) -> Path:
    """Where shard ``number`` of a data set lies."""
    return directory / f"shard_{number:05d}{SUFFIX}"


def write_shard(path: Path, samples: Sequence[bytes]) -> None:
    """Write encoded samples under a temporary name, and rename when all is on the disk.

    Raises:
        OutputError: the file cannot be written.
    """
    ends, at = [], 0
    for sample in samples:
        at += len(sample)
        ends.append(at)
    table = json.dumps(ends, separators=(",", ":")).encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, len(samples), zlib.crc32(table), len(table)))
            file.write(table)
            for sample in samples:
                file.write(sample)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None


class ShardReader:
    """Random access to the samples of one file; it may be sent to other processes and used by several threads.

    Raises:
        SimulationError: the file is missing, damaged or none of these.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            with self._path.open("rb") as file:
                head = file.read(_HEAD.size)
                magic, count, checksum, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0, 0)
                table = file.read(length) if magic == _MAGIC else b""
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise SimulationError(f"{self._path}: cannot read this shard: {error.strerror}") from None
        if magic != _MAGIC or zlib.crc32(table) != checksum:
            raise self._damaged("its head is not that of a shard")
        ends = json.loads(table)
        self._begin = _HEAD.size + length
        if len(ends) != count or size != self._begin + (ends[-1] if ends else 0):
            raise self._damaged("it has not the length that its head says")
        self._bounds = [0, *ends]

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> TrainingSweeps:
        """Sample ``index``, negative ones from the end.

        Raises:
            IndexError: there is no such sample.
            SimulationError: the sample is damaged.
        """
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        begin, end = self._bounds[at : at + 2]
        try:
            with self._path.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), end - begin, self._begin + begin)
        except OSError as error:
            raise SimulationError(f"{self._path}: cannot read this shard: {error.strerror}") from None
        try:
            return decode(data)
        except SimulationError as error:
            raise self._damaged(f"sample {at}: {error}") from None

    def _damaged(self, what: str) -> SimulationError:
        return SimulationError(f"{self._path}: {what}: delete it and run the same edfv dataset again to make it anew")
