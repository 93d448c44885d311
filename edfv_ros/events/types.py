"""The arrays that travel from a camera to the volume."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

EVENT_DTYPE = np.dtype(
    {
        "names": ["timestamp", "x", "y", "polarity"],
        "formats": ["<i8", "<i2", "<i2", "i1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
"""One event as dv-processing lays it out: unix time in us, pixel, polarity 0 (darker) or 1 (brighter).

The three pad bytes are not promised to be zero.
"""

EVENTS_NAME = "recording.aedat4"
"""The events of a sweep recording, in its folder."""

BAG_SUFFIX = ".mcap"
"""A file with this suffix is a bag: a recording as messages of ROS 2, see :mod:`edfv_ros.bags`."""

TRIGGER_DTYPE = np.dtype([("timestamp", "<i8"), ("type", "i1")])
"""A trigger: unix time in us and the number of a :class:`TriggerType`."""

IMU_DTYPE = np.dtype([("timestamp", "<i8"), ("accelerometer_g", "<f4", 3), ("gyroscope_deg_s", "<f4", 3)])
"""An inertial sample on the camera's clock, in the units dv-processing stores."""


class TriggerType:
    """Trigger kinds, numbered as in the AEDAT4 format."""

    TIMESTAMP_RESET = 0
    RISING_EDGE = 1
    FALLING_EDGE = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """An intensity image: uint8 [H, W], stamped at the start of its exposure."""

    timestamp_us: int
    exposure_us: int
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source offers. ``streams`` is a subset of events, frames, triggers, imu."""

    camera: str
    width_px: int
    height_px: int
    streams: tuple[str, ...]
    live: bool


@dataclass(frozen=True, slots=True)
class Packet:
    """What one read of a source returns; any part may be empty.

    Attributes:
        events: EVENT_DTYPE [N], ascending in time within and across packets.
        triggers: TRIGGER_DTYPE [M].
        imu: IMU_DTYPE [K].
        frames: images whose exposure has ended.
        lost_events: events that were dropped just before this packet because nobody took them in time.
    """

    events: NDArray[np.void] = field(default_factory=lambda: np.empty(0, EVENT_DTYPE))
    triggers: NDArray[np.void] = field(default_factory=lambda: np.empty(0, TRIGGER_DTYPE))
    imu: NDArray[np.void] = field(default_factory=lambda: np.empty(0, IMU_DTYPE))
    frames: tuple[Frame, ...] = ()
    lost_events: int = 0


def timestamps_us(events: NDArray[np.void]) -> NDArray[np.int64]:
    """Time stamps of EVENT_DTYPE [N] as a view, int64 [N]: much faster than the field of the padded record."""
    return events.view(np.int64).reshape(-1, 2)[:, 0]
