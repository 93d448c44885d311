"""A camera's clock against the host's, from when its packets arrived. No ROS in here."""

from dataclasses import replace

import numpy as np

from edfv_ros.errors import SourceError
from edfv_ros.events.types import Packet, timestamps_us
from edfv_ros.lens.clock import ClockModel, RoundTrip

BLOCK_US = 500_000
"""The quickest packet of so much time is what counts."""

MAX_SLEW = 1e-3
"""How much faster or slower than the camera's clock the times that are given may run."""

JUMP_US = 500_000
"""A difference between the clocks that changes by more than this was not drift."""


class ArrivalClock:
    """Brings a camera's time stamps to the host's clock.

    The drivers stamp a packet with the host's time when it arrived, and the camera stamps the events. What lies
    between the last of them and the arrival is the delay, never negative, and the difference between the clocks. The
    packets that were quickest, one in half a second, tell the difference (with the shortest delay in it, which nobody
    can see); the clock model makes offset and drift of them. Times follow that so slowly, by a thousandth at most, that
    intervals stay the camera's. Where packets are stamped with the time of their first event, nothing is known of
    their arrival, and times stay as they are.

    Args:
        name: whose clock it is, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._model = ClockModel()
        self._quickest: RoundTrip | None = None
        self._block_start_us = 0
        self._shift_us: float | None = None
        self._newest_us = 0
        self._last_given_us = 0

    @property
    def shift_us(self) -> float:
        """What is added to the camera's times at present."""
        return self._shift_us or 0.0

    def align(self, packet: Packet, arrival_us: int) -> Packet:
        """Give a packet the host's times; events ascend from packet to packet, and are changed where they are.

        Args:
            packet: in the camera's time.
            arrival_us: when it arrived, unix microseconds of the host; 0 for not known.

        Raises:
            SourceError: one of the clocks was set.
        """
        times_us = timestamps_us(packet.events)
        if len(times_us):
            last_us = int(times_us[-1])
            if last_us < self._newest_us - JUMP_US:
                raise self._jumped((self._newest_us - last_us) * -1e-6)
            if arrival_us not in (0, int(times_us[0])):
                self._learn(last_us, arrival_us)
            self._newest_us = max(self._newest_us, last_us)
        shift_us = round(self.shift_us)
        if not shift_us and not self._last_given_us:  # it never was another
            return packet
        if len(times_us):
            times_us += shift_us
            np.maximum(times_us, self._last_given_us, out=times_us)
            self._last_given_us = int(times_us[-1])
        triggers = packet.triggers.copy()
        triggers["timestamp"] += shift_us
        return replace(packet, triggers=triggers)

    def _learn(self, last_us: int, arrival_us: int) -> None:
        """Learn from the last time stamp of a packet and its arrival."""
        difference_us = arrival_us - last_us
        if self._shift_us is None:
            self._shift_us = float(difference_us)
            self._block_start_us = last_us
        if difference_us - self._shift_us < -JUMP_US:
            raise self._jumped((self._shift_us - difference_us) * 1e-6, " against the host's")
        if self._quickest is None or difference_us < self._quickest.receive_us - self._quickest.device_us:
            self._quickest = RoundTrip(arrival_us, last_us, arrival_us)
        if last_us - self._block_start_us >= BLOCK_US:
            self._close_block(self._quickest, last_us)
        self._follow(last_us)

    def _close_block(self, quickest: RoundTrip, now_us: int) -> None:
        difference_us = quickest.receive_us - quickest.device_us
        if difference_us - self.shift_us > JUMP_US:
            raise self._jumped((self.shift_us - difference_us) * 1e-6, " against the host's")
        self._model.add(quickest)
        self._quickest = None
        self._block_start_us = now_us

    def _follow(self, now_us: int) -> None:
        if self._model.ready:
            aim_us = self._model.host_us(now_us) - now_us
            most_us = MAX_SLEW * max(0, now_us - self._newest_us)
            self._shift_us = self.shift_us + min(max(aim_us - self.shift_us, -most_us), most_us)

    def _jumped(self, jump_s: float, against: str = "") -> SourceError:
        return SourceError(
            f"{self._name}: the camera's clock jumped by {jump_s:+.3g} s{against}: its driver was started again, a bag "
            "began anew, or a clock was set"
        )
