"""What the capture process tells its parent, in lists, in the order it happened."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.health import StreamHealth
from edfv_ros.events.types import Frame, SourceInfo


@dataclass(frozen=True, slots=True)
class Request:
    """What to capture; the only message that goes the other way."""

    uri: str
    real_time: bool
    record_to: Path | None


@dataclass(frozen=True, slots=True)
class Opened:
    """The source is open."""

    info: SourceInfo


@dataclass(frozen=True, slots=True)
class Batch:
    """A packet whose events lie in the ring."""

    start: int
    count: int
    lost_events: int
    health: StreamHealth
    triggers: NDArray[np.void]
    imu: NDArray[np.void]
    frames: tuple[Frame, ...]

    @property
    def pipe_bytes(self) -> int:
        """About how much this takes in the pipe."""
        return 1000 + self.triggers.nbytes + self.imu.nbytes + sum(frame.image.nbytes for frame in self.frames)


@dataclass(frozen=True, slots=True)
class RingFull:
    """A file waits for ``needed`` free slots, after ``written`` events in all."""

    written: int
    needed: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The source or the recording broke; nothing follows."""

    error: Exception
    health: StreamHealth


@dataclass(frozen=True, slots=True)
class Ended:
    """The source ended as it should; nothing follows."""

    health: StreamHealth


Message = Opened | Batch | RingFull | Failed | Ended
