"""Times that ascend: stragglers are told from breaks of the clock, and breaks are mended."""

import numpy as np
from numpy.typing import NDArray

CLOCK_BREAK_US = 500_000
"""Events that stay in the past for so long of their own time are no stragglers: the clock was set back."""

Times = NDArray[np.int64]


def ascending(times_us: Times, last_us: int | None) -> NDArray[np.bool_]:
    """Return which items to keep so that times ascend from ``last_us`` on: those that came late go, or, where that
    removes fewer, those that came too early."""
    floor_us = times_us[0] if last_us is None else last_us
    not_late = times_us >= np.maximum.accumulate(np.maximum(times_us, floor_us))
    not_early = (times_us <= np.minimum.accumulate(times_us[::-1])[::-1]) & (times_us >= floor_us)
    return not_late if np.count_nonzero(not_late) >= np.count_nonzero(not_early) else not_early


class EventClock:
    """The time of the events, which rules the camera.

    Attributes:
        last_us: time of the last event, after mending; None before the first.
        shift_us: what mending adds to the camera's times.
    """

    def __init__(self) -> None:
        self.last_us: int | None = None
        self.shift_us = 0
        self._break_expected = False
        self._past_since_us: int | None = None

    def expect_break(self) -> None:
        """Take the next step back for a break: the camera said that it reset its clock."""
        self._break_expected = True

    def advance(self, time_us: int) -> None:
        self.last_us = time_us
        self._past_since_us = None

    def mend(self, times_us: Times) -> tuple[Times, int]:
        """Shift what follows a break of the clock; return the times and the number of breaks, 0 or 1."""
        if self.last_us is None:
            return times_us, 0
        steps_us = np.diff(times_us, prepend=self.last_us)
        at = int(steps_us.argmin())
        if not (self._break_expected and steps_us[at] < 0) and not self._stays_in_the_past(times_us):
            return times_us, 0
        delta_us = 1 - int(steps_us[at])
        mended = times_us.copy()
        mended[at:] += delta_us
        self.shift_us += delta_us
        self._break_expected = False
        return mended, 1

    def _stays_in_the_past(self, times_us: Times) -> bool:
        if self.last_us is None or times_us.max() >= self.last_us:
            return False
        if self._past_since_us is None:
            self._past_since_us = int(times_us.min())
        return bool(times_us.max() - self._past_since_us >= CLOCK_BREAK_US)


class Follower:
    """The time of triggers, frames or inertial samples, which breaks where that of the events does."""

    def __init__(self) -> None:
        self._last_us: int | None = None
        self._shift_us = 0

    def follow(self, times_us: Times, clock: EventClock) -> tuple[Times, NDArray[np.bool_]]:
        """Return the mended times and which of them ascend."""
        mended = times_us + self._shift_us
        if self._shift_us != clock.shift_us and clock.last_us is not None:
            shifted = times_us + clock.shift_us
            after_break = np.abs(shifted - clock.last_us) < np.abs(mended - clock.last_us)
            if after_break.any():
                first = int(after_break.argmax())
                mended[first:] = shifted[first:]
                self._shift_us = clock.shift_us
        sound = ascending(mended, self._last_us)
        if sound.any():
            self._last_us = int(mended[sound][-1])
        return mended, sound
