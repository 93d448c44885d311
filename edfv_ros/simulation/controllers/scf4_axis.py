"""A stepper motor and what it pushes: a counter, play between both, hard stops, a photo-interrupter."""

import math

from edfv_ros.simulation.lens import LensMove

COUNTS = 65536
_ENDLESS = 10**9


class Axis:
    """Positions are in steps; the counter is 16 bits of the steps that were sent, wherever they went.

    The thing moves up once the motor is ``play`` ahead of it, and down once the motor is back at it, so that the same
    count is two places. At a hard stop the motor loses its steps and the counter does not know.

    Args:
        lowest: hard stop of the thing.
        highest: the other one.
        interrupter: the photo-interrupter is 1 from here on upwards.
        play: between motor and thing.
        position: where the thing is at the start.
    """

    def __init__(self, lowest: float, highest: float, interrupter: float, play: float, position: float) -> None:
        self._lowest, self._highest = lowest, highest
        self._interrupter = interrupter
        self._play = play
        self._count = 0
        self._motor = self._thing = position
        self._steps = 0
        self._start_us = 0.0
        self._steps_per_s = 1.0

    def count(self, now_us: float) -> int:
        """The counter."""
        return (self._count + self._sent(now_us)) % COUNTS

    def position(self, now_us: float) -> float:
        """Where the thing is."""
        return self._thing_at(self._motor_at(now_us))

    def interrupted(self, now_us: float) -> bool:
        """The photo-interrupter."""
        return self.position(now_us) >= self._interrupter

    def moving(self, now_us: float) -> bool:
        """Whether the motor turns."""
        return self._steps != 0 and self._start_us <= now_us < self._end_us

    def set_count(self, count: int, now_us: float) -> None:
        """Call where it is something else."""
        self._count = (count - self._sent(now_us)) % COUNTS

    def stop(self, now_us: float) -> None:
        """Stop where it is."""
        self._count = self.count(now_us)
        motor = self._motor_at(now_us)
        self._thing, self._motor = self._thing_at(motor), motor
        self._steps = 0

    def move(self, steps: int, steps_per_s: float, start_us: float) -> list[LensMove]:
        """Send steps at a rate; return how the thing will move, if it will."""
        self.stop(start_us)
        self._steps, self._steps_per_s, self._start_us = steps, steps_per_s, start_us
        end = self._thing_at(self._motor_at(self._end_us))
        if end == self._thing:
            return []
        slack = self._thing + self._play - self._motor if steps > 0 else self._motor - self._thing
        begin_us = start_us + slack / steps_per_s * 1e6
        return [LensMove(begin_us, begin_us + abs(end - self._thing) / steps_per_s * 1e6, self._thing, end)]

    def search(self, direction: int, steps_per_s: float, start_us: float, sees: bool) -> list[LensMove]:
        """Turn until the photo-interrupter changes, if it ever does and is lit.

        Args:
            direction: +1 or -1.
            steps_per_s: rate.
            start_us: when.
            sees: whether the photo-interrupter is lit.
        """
        self.stop(start_us)
        steps = _ENDLESS
        if sees and self.interrupted(start_us) != (direction > 0):
            if direction > 0:
                steps = math.ceil(self._interrupter + self._play - self._motor)
            else:
                steps = math.floor(self._motor - self._interrupter) + 1
        return self.move(direction * steps, steps_per_s, start_us)

    @property
    def _end_us(self) -> float:
        return self._start_us + abs(self._steps) / self._steps_per_s * 1e6

    def _sent(self, now_us: float) -> int:
        done = max(0, min(abs(self._steps), int((now_us - self._start_us) * 1e-6 * self._steps_per_s + 1e-6)))
        return done if self._steps > 0 else -done

    def _motor_at(self, now_us: float) -> float:
        return max(self._lowest, min(self._highest + self._play, self._motor + self._sent(now_us)))

    def _thing_at(self, motor: float) -> float:
        return max(self._thing, motor - self._play) if self._steps > 0 else min(self._thing, motor)
