"""The one interface every source of events implements."""

from typing import Protocol

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
