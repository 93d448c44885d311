"""Sweeps of a lens whose controller knows no waveform: the host sends set point after set point."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from edfv_ros.errors import LensError
from edfv_ros.lens.plan import SetPoints

_END_S = 5.0


class LensThread(ABC):
    """Keeps a lens moving until it is stopped or cannot go on.

    Attributes:
        error: why it could not go on.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lens sweep", daemon=True)
        self.error: LensError | None = None

    @abstractmethod
    def _move(self, stop: threading.Event) -> None:
        """Move the lens until told to stop; raises LensError where it cannot."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread. The caller must hold no lock that it waits for."""
        self._stop.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            self._move(self._stop)
        except LensError as error:
            self.error = error


class SetPointStream(LensThread):
    """Sends the set points of a sweep at their times.

    A set point holds until the next one, so that on the average it stands for the middle of that time: this is what is
    reported. Times are those at which set points were really sent. Where the thread comes late, overdue set points are
    left out, except those of the turns: the pace on the average stays the plan's.

    Args:
        points: one period.
        step_s: time between them.
        lead_s: time to wait at the first point before the sweep begins.
        send: sends a vergence on the way up (+1) or down (-1); raises LensError where it cannot.
        report: told of the host time (unix microseconds) and the vergence of each set point of the sweep.
    """

    def __init__(
        self,
        points: SetPoints,
        step_s: float,
        lead_s: float,
        send: Callable[[float, int], None],
        report: Callable[[int, float], None],
    ) -> None:
        super().__init__()
        self._points = points
        self._step_s = step_s
        self._lead_s = lead_s
        self._send = send
        self._report = report

    def _move(self, stop: threading.Event) -> None:
        vergence_dpt, direction = self._points.vergence_dpt.tolist(), self._points.direction.tolist()
        self._send(vergence_dpt[0], 1)
        if stop.wait(self._lead_s):
            return
        half_us = round(self._step_s * 5e5)
        tick, began_s = 0, time.monotonic()
        while not stop.wait(max(0.0, began_s + tick * self._step_s - time.monotonic())):
            row = tick % len(vergence_dpt)
            self._send(vergence_dpt[row], direction[row])
            self._report(time.time_ns() // 1000 + half_us, vergence_dpt[row])
            overdue = int((time.monotonic() - began_s) / self._step_s)
            tick = min(max(tick + 1, overdue), self._next_turn(tick))

    def _next_turn(self, tick: int) -> int:
        period, row = divmod(tick, len(self._points.vergence_dpt))
        ahead = [turn for turn in self._points.turns if turn > row]
        later = ahead[0] if ahead else len(self._points.vergence_dpt) + self._points.turns[0]
        return period * len(self._points.vergence_dpt) + later
