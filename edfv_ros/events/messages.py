"""What the capture process tells its parent, in lists, in the order it happened."""

from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.health import StreamHealth
from edfv_ros.events.types import IMU_DTYPE, TRIGGER_DTYPE, Frame, SourceInfo

_NO_TRIGGERS = np.empty(0, TRIGGER_DTYPE)
_NO_IMU = np.empty(0, IMU_DTYPE)
_health_values = attrgetter(*(field.name for field in fields(StreamHealth)))


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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle plain numbers, and arrays only where something is in them: several times faster."""
        triggers = self.triggers if len(self.triggers) else None
        imu = self.imu if len(self.imu) else None
        numbers = self.start, self.count, self.lost_events, _health_values(self.health)
        return _unpickled_batch, (*numbers, triggers, imu, self.frames)


def _unpickled_batch(
    start: int,
    count: int,
    lost_events: int,
    health: tuple[int, ...],
    triggers: NDArray[np.void] | None,
    imu: NDArray[np.void] | None,
    frames: tuple[Frame, ...],
) -> Batch:
    return Batch(
        start,
        count,
        lost_events,
        StreamHealth(*health),
        _NO_TRIGGERS if triggers is None else triggers,
        _NO_IMU if imu is None else imu,
        frames,
    )


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
