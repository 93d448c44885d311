"""What lies in an MCAP file: topics, messages and attachments, also where its writer was killed."""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from mcap.data_stream import ReadDataStream
from mcap.exceptions import UnsupportedCompressionError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Attachment, Channel, Chunk, Message, Metadata, Schema
from mcap.stream_reader import breakup_chunk

from edfv_ros.errors import SourceError

_MAGIC: Final = b"\x89MCAP0\r\n"
_PREFIX_BYTES: Final = 9  # of a record: its kind and its length
_READ: Final = (Opcode.CHUNK, Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.ATTACHMENT, Opcode.METADATA)


@dataclass(frozen=True, slots=True)
class BagTopic:
    """A topic in a bag: its name, and the type of its messages as ROS 2 writes it, ``package/msg/Type``."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class BagSummary:
    """What a bag holds.

    Attributes:
        counts: messages of each topic.
        attachments: names of the files within.
        metadata: named texts, by the name of their record.
        period_ns: log times of the first and the last message, unix nanoseconds; None without any.
        is_closed: whether its writer ended it; one that was killed leaves a bag that reads up to its last chunk.
    """

    counts: dict[BagTopic, int]
    attachments: tuple[str, ...]
    metadata: dict[str, dict[str, str]]
    period_ns: tuple[int, int] | None
    is_closed: bool


class BagFile:
    """An MCAP file, read in the order it was written."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            SourceError: it is missing, unreadable or no MCAP file.
        """
        self.path = path
        try:
            self._file: IO[bytes] = path.open("rb")
        except FileNotFoundError:
            raise SourceError(f"{path}: no such bag; check the path") from None
        except OSError as error:
            raise SourceError(f"{path}: cannot read this bag: {error.strerror}") from None
        self._size = os.fstat(self._file.fileno()).st_size
        start = self._file.read(len(_MAGIC))
        if start != _MAGIC:
            self._file.close()
            what = "it does not begin like one" if start else "it is empty"
            raise SourceError(f"{path}: not an MCAP file: {what}; bags of sqlite3 are converted with ros2 bag convert")
        self._file.seek(-len(_MAGIC), os.SEEK_END)
        self.is_closed = self._size > 2 * len(_MAGIC) and self._file.read() == _MAGIC

    def summary(self) -> BagSummary:
        """What the bag holds: from its own summary, or counted where it has none.

        Raises:
            SourceError: the bag is damaged.
        """
        return self._own_summary() or self._counted()

    def messages(self, wanted: Callable[[BagTopic], bool]) -> Iterator[tuple[BagTopic, Message]]:
        """The messages of the topics that are wanted, in the order of the file.

        Raises:
            SourceError: the bag is damaged here; what came before was fine.
        """
        summary = self._own_summary()
        schemas: dict[int, str] = {}
        topics: dict[int, BagTopic | None] = {}
        missing = Counter(summary.counts if summary else {})
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record.name
            elif isinstance(record, Channel):
                topic = BagTopic(record.topic, schemas.get(record.schema_id, ""))
                topics[record.id] = topic if record.message_encoding == "cdr" and wanted(topic) else None
            elif isinstance(record, Message):
                if record.channel_id not in topics:
                    raise self._damaged("a message of an unknown topic")
                if (found := topics[record.channel_id]) is not None:
                    missing[found] -= 1
                    yield found, record
        # A record whose kind is damaged looks like one of a later version of the format, which are skipped.
        if any(missing[topic] > 0 for topic in topics.values() if topic is not None) or (summary and not topics):
            raise self._damaged("messages are missing")

    def attachment(self, name: str) -> bytes | None:
        """The newest file of that name within the bag, None where there is none.

        Raises:
            SourceError: the bag is damaged.
        """
        found = None
        for record in self._records((Opcode.ATTACHMENT,)):
            if isinstance(record, Attachment) and record.name == name:
                found = record.data
        return found

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()

    def __enter__(self) -> "BagFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _own_summary(self) -> BagSummary | None:
        if not self.is_closed:
            return None
        self._file.seek(0)
        try:
            reader = SeekingReader(self._file)
            summary = reader.get_summary()
            if summary is None or summary.statistics is None:
                return None
            statistics = summary.statistics
            counts = Counter[BagTopic]()  # a topic may have several channels
            for channel in summary.channels.values():
                kind = summary.schemas[channel.schema_id].name if channel.schema_id else ""
                counts[BagTopic(channel.topic, kind)] += statistics.channel_message_counts.get(channel.id, 0)
            metadata = {record.name: record.metadata for record in reader.iter_metadata()}
        except Exception:  # whatever the reader stumbles over where the summary is damaged: the data may be sound
            return None
        return BagSummary(
            counts,
            tuple(index.name for index in summary.attachment_indexes),
            metadata,
            (statistics.message_start_time, statistics.message_end_time) if statistics.message_count else None,
            is_closed=True,
        )

    def _counted(self) -> BagSummary:
        counts: dict[BagTopic, int] = {}
        first_ns, last_ns = 2**64, -1
        for topic, message in self.messages(lambda topic: True):
            counts[topic] = counts.get(topic, 0) + 1
            first_ns, last_ns = min(first_ns, message.log_time), max(last_ns, message.log_time)
        others = list(self._records((Opcode.ATTACHMENT, Opcode.METADATA)))
        return BagSummary(
            counts,
            tuple(record.name for record in others if isinstance(record, Attachment)),
            {record.name: record.metadata for record in others if isinstance(record, Metadata)},
            (first_ns, last_ns) if counts else None,
            self.is_closed,
        )

    def _records(self, kinds: tuple[Opcode, ...] = _READ) -> Iterator[Any]:
        """The records of some kinds, those within chunks, too, up to the summary or the last whole one."""
        at = len(_MAGIC)
        while True:
            self._file.seek(at)
            prefix = self._file.read(_PREFIX_BYTES)
            kind, length = (prefix[0], int.from_bytes(prefix[1:], "little")) if len(prefix) == _PREFIX_BYTES else (0, 0)
            if kind == Opcode.DATA_END:
                return
            at += _PREFIX_BYTES + length
            if not kind or at > self._size:
                if self.is_closed:
                    raise self._damaged("a record is longer than the file")
                return  # what was being written when the writer died
            if kind in kinds:
                yield from self._read(Opcode(kind), self._file.read(length))

    def _read(self, kind: Opcode, content: bytes) -> list[Any]:
        try:
            stream = ReadDataStream(BytesIO(content))
            match kind:
                case Opcode.CHUNK:
                    return breakup_chunk(Chunk.read(stream), validate_crc=True)
                case Opcode.SCHEMA:
                    return [Schema.read(stream)]
                case Opcode.CHANNEL:
                    return [Channel.read(stream)]
                case Opcode.MESSAGE:
                    return [Message.read(stream, len(content))]
                case Opcode.ATTACHMENT:
                    stated = int.from_bytes(content[-4:], "little")
                    if stated not in (0, zlib.crc32(content[:-4])):
                        raise ValueError("wrong check sum")
                    return [Attachment.read(stream)]
            return [Metadata.read(stream)]
        except UnsupportedCompressionError as error:
            raise SourceError(f"{self.path}: {error}: rewrite it with ros2 bag convert") from None
        except Exception:  # whatever decompression and the readers of records stumble over
            raise self._damaged(f"{kind.name.lower()} record") from None

    def _damaged(self, what: str) -> SourceError:
        return SourceError(
            f"{self.path}: damaged before byte {self._file.tell()}: {what}; copy it again, or save what is readable: "
            "mcap recover"
        )
