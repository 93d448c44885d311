"""Sweeps of a lens whose controller knows no waveform: the host sends set point after set point."""

import threading
import time
from collections.abc import Callable

from edfv_ros.errors import LensError
from edfv_ros.lens.plan import SetPoints

_END_S = 5.0


class SetPointStream:
    """Sends the set points of a sweep at their times, in a thread of its own, until it is stopped or cannot go on.

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
        self._points = points
        self._step_s = step_s
        self._lead_s = lead_s
        self._send = send
        self._report = report
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lens set points", daemon=True)
        self.error: LensError | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread. The caller must hold no lock that ``send`` or ``report`` takes."""
        self._stop.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            self._send(float(self._points.vergence_dpt[0]), 1)
            if not self._stop.wait(self._lead_s):
                self._sweep(time.monotonic())
        except LensError as error:
            self.error = error

    def _sweep(self, began_s: float) -> None:
        vergence_dpt, direction = self._points.vergence_dpt.tolist(), self._points.direction.tolist()
        half_us = round(self._step_s * 5e5)
        tick = 0
        while not self._stop.wait(max(0.0, began_s + tick * self._step_s - time.monotonic())):
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
