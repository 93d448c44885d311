"""The interfaces between sources of events and those who use them."""

from types import TracebackType
from typing import Protocol

from edfv_ros.events.health import StreamHealth
from edfv_ros.events.types import Packet, SourceInfo


class EventSource(Protocol):
    """A camera, a file or a network stream, read in the process that opened it."""

    @property
    def info(self) -> SourceInfo: ...

    def read(self) -> Packet | None:
        """Return the next packet, an empty one where a live source has nothing yet, None at the end.

        Raises:
            SourceError: the source broke (unplugged, damaged file).
        """
        ...

    def close(self) -> None: ...


class PacketReader(Protocol):
    """What the pipeline reads: :class:`~edfv_ros.events.capture.Capture`, or whatever keeps the same promises.

    Events ascend in time and lie inside the resolution. They are good until they are released; whoever releases none
    makes the reader drop events and count them, never grow.
    """

    @property
    def info(self) -> SourceInfo: ...

    @property
    def health(self) -> StreamHealth:
        """Counters as of the newest packet."""
        ...

    @property
    def capacity_events(self) -> int:
        """Events that may be held."""
        ...

    def read(self, timeout_s: float) -> Packet | None:
        """Return the next packet, an empty one after ``timeout_s`` without any, None at the end.

        Raises:
            EdfvError: the source broke.
        """
        ...

    def release(self, count: int) -> None:
        """Give back the oldest ``count`` events that were read."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> "PacketReader": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
