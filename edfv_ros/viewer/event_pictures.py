"""Events as pictures, one for each thirtieth of a second."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.types import timestamps_us

PICTURE_US: Final = 33_333

_BACKGROUND: Final = (32, 32, 36)
_COLOURS: Final = np.array([(70, 140, 235), (250, 205, 90)], np.uint8)  # darker, brighter


@dataclass(frozen=True, slots=True, eq=False)
class EventPicture:
    """The events of PICTURE_US.

    Attributes:
        end_us: the moment after the last one that it may hold.
        image: uint8 [H, W, 3], RGB: the newest event of each pixel, yellow brighter, blue darker.
        events: how many there were.
    """

    end_us: int
    image: NDArray[np.uint8]
    events: int

    @property
    def events_per_s(self) -> float:
        return self.events * 1e6 / PICTURE_US


class EventPictures:
    """Draws pictures of events as they come; a silence has no picture.

    Args:
        width_px, height_px: resolution of the camera.
    """

    def __init__(self, width_px: int, height_px: int) -> None:
        self._image = np.empty((height_px, width_px, 3), np.uint8)
        self._image[:] = _BACKGROUND
        self._events = 0
        self._end_us: int | None = None

    def add(self, events: NDArray[np.void]) -> Iterator[EventPicture]:
        """Draw EVENT_DTYPE [N], ascending, and yield the pictures that are finished."""
        while len(events):
            times_us = timestamps_us(events)
            if self._end_us is None:
                self._end_us = int(times_us[0]) + PICTURE_US
            cut = int(np.searchsorted(times_us, self._end_us))
            now, events = events[:cut], events[cut:]
            self._image[now["y"], now["x"]] = _COLOURS[now["polarity"]]
            self._events += cut
            if len(events):
                if self._events:
                    yield EventPicture(self._end_us, self._image.copy(), self._events)
                    self._image[:] = _BACKGROUND
                    self._events = 0
                self._end_us += PICTURE_US * max(1, (int(timestamps_us(events)[0]) - self._end_us) // PICTURE_US)
