"""A device's clock against the host's, from round trips."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import LensError

MAX_DRIFT = 2e-3
"""No oscillator drifts by more than this; a steeper fit is scatter."""

_KEPT = 256
_USED_PART = 1 / 3
_LEAST_USED = 5
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One query of a device's clock.

    Attributes:
        send_us: host time just before the query was sent, unix microseconds.
        device_us: device time in the answer, microseconds since whenever.
        receive_us: host time just after the answer came.
    """

    send_us: int
    device_us: int
    receive_us: int

    @property
    def duration_us(self) -> int:
        return self.receive_us - self.send_us


class ClockModel:
    """Offset and drift of a device's clock, fitted to the quickest of the last round trips.

    A round trip says that the device's time stamp was taken somewhere between its two host times. The quickest
    bound it best, so a third of the last ones is used; medians of slopes and of residuals (Theil and Sen) are not
    moved by the few that were held up on one way only.

    Attributes:
        restarts: times the device's clock went backwards (a restarted device) and the model began anew.
    """

    def __init__(self) -> None:
        self._trips: deque[RoundTrip] = deque(maxlen=_KEPT)
        self._device0_us = 0
        self._host0_us = 0
        self._offset_us = 0.0
        self._drift = 0.0
        self._uncertainty_us = float("inf")
        self._round_trip_us = float("inf")
        self.restarts = 0

    @property
    def ready(self) -> bool:
        """Whether there has been a round trip to go by."""
        return bool(self._trips)

    @property
    def drift_ppm(self) -> float:
        """How much the device's clock loses on the host's, in parts per million."""
        return self._drift * 1e6

    @property
    def uncertainty_us(self) -> float:
        """One sigma of the fit plus half the quickest round trip, whose asymmetry nobody can see."""
        return self._uncertainty_us

    @property
    def round_trip_us(self) -> float:
        """The quickest of the last round trips; infinite before the first."""
        return self._round_trip_us

    def add(self, trip: RoundTrip) -> None:
        """Learn from a round trip; one that ends before it began (a host clock that was set) is ignored."""
        if trip.duration_us < 0:
            return
        if self._trips and trip.device_us < self._trips[-1].device_us:
            self._trips.clear()
            self.restarts += 1
        self._trips.append(trip)
        self._fit()

    def host_us(self, device_us: int) -> float:
        """Host time of a device time, unix microseconds.

        Raises:
            LensError: there has been no round trip yet.
        """
        if not self._trips:
            raise LensError("the lens driver's clock is unknown: it has answered no time query")
        elapsed = device_us - self._device0_us
        # whole microseconds of 1.7e15 are exact in a double, their sum with a fraction is good to a quarter
        return float(self._host0_us + elapsed) + (self._offset_us + self._drift * elapsed)

    def _fit(self) -> None:
        quickest = sorted(reversed(self._trips), key=lambda trip: trip.duration_us)  # of equal ones the latest
        used = quickest[: max(_LEAST_USED, int(len(quickest) * _USED_PART))]
        # Differences to the last trip keep the numbers small: unix microseconds times a slope would not be exact.
        self._device0_us = self._trips[-1].device_us
        self._host0_us = self._trips[-1].send_us
        device = np.array([trip.device_us - self._device0_us for trip in used], np.float64)
        middle = np.array([trip.send_us - self._host0_us + trip.duration_us / 2.0 for trip in used], np.float64)
        lead = middle - device
        slack_us = max(float(np.median([trip.duration_us for trip in used])), 1.0)
        self._drift = _median_slope(device, lead, slack_us)
        self._offset_us = float(np.median(lead - self._drift * device))
        residual = lead - self._drift * device - self._offset_us
        sigma_us = _MAD_TO_SIGMA * float(np.median(np.abs(residual)))
        self._round_trip_us = float(used[0].duration_us)
        self._uncertainty_us = sigma_us + self._round_trip_us / 2.0


def _median_slope(x_us: NDArray[np.float64], y_us: NDArray[np.float64], slack_us: float) -> float:
    """Median slope over the pairs far enough apart that their scatter ``slack_us`` means less than MAX_DRIFT."""
    first, second = np.triu_indices(len(x_us), k=1)
    run = x_us[second] - x_us[first]
    apart = np.abs(run) > slack_us / MAX_DRIFT
    if np.count_nonzero(apart) < _LEAST_USED:
        return 0.0
    slope = np.median((y_us[second] - y_us[first])[apart] / run[apart])
    return float(np.clip(slope, -MAX_DRIFT, MAX_DRIFT))
