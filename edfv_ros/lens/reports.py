"""A lens that somebody else drives and that reports its focus, on the host's clock."""

import math
import time
from collections import deque

from edfv_ros.lens.clock import RoundTrip
from edfv_ros.lens.driver import LensSample

_MAX_WAITING = 100_000


class FocusReports:
    """What is told of a lens's focus, for :class:`~edfv_ros.lens.telemetry.TelemetrySweeps`; for one thread.

    Attributes:
        garbled_lines: reports without a time or a finite focus.
    """

    def __init__(self) -> None:
        self.garbled_lines = 0
        self._count = 0
        self._waiting: deque[LensSample] = deque(maxlen=_MAX_WAITING)

    def add(self, time_us: int, vergence_dpt: float) -> None:
        """Take a report in: the set point at a time, unix microseconds of the host; linear between reports."""
        if time_us <= 0 or not math.isfinite(vergence_dpt):
            self.garbled_lines += 1
            return
        self._waiting.append(LensSample(self._count, time_us, vergence_dpt))
        self._count += 1

    def telemetry(self) -> list[LensSample]:
        """The samples since the last call, in order."""
        samples = list(self._waiting)
        self._waiting.clear()
        return samples

    def query_clock(self) -> RoundTrip:
        """The clock that stamps the reports is the host's own."""
        now_us = time.time_ns() // 1000
        return RoundTrip(now_us, now_us, now_us)
