"""Replaying at the pace of the recording."""

import time


class Pace:
    """Maps recorded time to the clock on the wall."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def wait_until(self, time_us: int) -> None:
        """Sleep until a recorded time has come, unix microseconds."""
        now_s = time.monotonic()
        if self._offset_s is None:
            self._offset_s = now_s - time_us * 1e-6
        delay_s = self._offset_s + time_us * 1e-6 - now_s
        if 0 < delay_s < 1.0:
            time.sleep(delay_s)
        elif delay_s >= 1.0:  # a long silence or a jump of the clock: go on from here
            self._offset_s = None
