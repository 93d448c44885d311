"""The way of an event from its pixel to its time stamp: arbiter or scan, limited throughput, quantisation.

An event camera stamps an event when it leaves the pixel array, not when the pixel fires. What delays it on the way
therefore shows in its time stamp.
"""

from typing import Annotated

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edfv_ros.events import EVENT_DTYPE
from edfv_ros.simulation.event_model import join_events
from edfv_ros.yaml_model import NotNegative, Part


class Readout(Part):
    """How a sensor gets its events out; the defaults are those of a DAVIS346, :data:`DAVIS346`.

    Attributes:
        timestamp_resolution_us: time stamps are multiples of it.
        scan_period_us: time between two readings of a row in a sensor whose rows are read in turn. A pixel keeps one
            event until its row is read and is blind meanwhile: what else it fires is lost. 0: every pixel asks for
            itself and is served at once (the asynchronous arbiter of Lichtsteiner et al., IEEE JSSC 2008).
        throughput_meps: most events that leave the sensor, in millions per second; the others queue. 0: no limit.
        buffer_events: longest queue; what does not fit is lost.
        latency_us: constant delay from the pixel's decision to its time stamp.
    """

    timestamp_resolution_us: Annotated[int, Field(ge=1)] = 1
    scan_period_us: NotNegative = 0.0
    throughput_meps: NotNegative = 12.0
    buffer_events: Annotated[int, Field(ge=1)] = 89_960
    latency_us: NotNegative = 20.0

    @classmethod
    def ideal(cls) -> "Readout":
        """Every event at once, stamped in whole microseconds."""
        return cls(scan_period_us=0.0, throughput_meps=0.0, latency_us=0.0)


DAVIS346 = Readout()
"""The data sheet ("Specifications - current models", iniVation) gives 12 million events per second and stamps of 1 us.

The latency is a guess: Lichtsteiner et al. measured 15 us from light to event in bright light, the rest of what they
measured in less light being the pixel's bandwidth, which the pixels have. A waiting event sits in its pixel; so
that as many can wait as there are pixels is a bound and not a measurement.
"""

DVXPLORER = Readout(scan_period_us=200.0, throughput_meps=165.0, buffer_events=307_200, latency_us=20.0)
"""The data sheet gives 165 million events per second and a resolution in time of 65 to 200 us.

The default of the driver is 5000 scans per second, fewer when busy, and the stamps run on within a scan (L. Longinotti
of iniVation in the dv-users group, https://groups.google.com/g/dv-users/c/ilz6Dx6RkAE). That the rows are read at
an even pace, the latency and the buffer (one event per pixel) are guesses.
"""


class SensorReadout:
    """The read-out of one sensor over time.

    Attributes:
        lost: number of events that never got out so far.
    """

    def __init__(self, resolution: tuple[int, int], readout: Readout) -> None:
        width, height = resolution
        self._width, self._height = width, height
        self._readout = readout
        self._last_scan = np.full((height, width), np.iinfo(np.int64).min)
        self._free_us = -np.inf  # when the last event in the queue will be out
        self._held = np.empty(0, EVENT_DTYPE)
        self._held_us = np.empty(0)
        self.lost = 0

    def read(
        self, events: NDArray[np.void], exact_us: NDArray[np.float64], until_us: float = np.inf
    ) -> NDArray[np.void]:
        """Read out what has fired.

        Calls continue one another; time stamps ascend over all of them.

        Args:
            events: EVENT_DTYPE [N] in the order of firing; their stamps are not used.
            exact_us: when they fired, float64 [N] ascending, none before the ``until_us`` of the call before. Row 0 is
                scanned at time 0.
            until_us: how far in time the sensor has got. Rows to be scanned later keep their events for the next
                call; events are queued and delayed beyond it.

        Returns:
            Events with their time stamps, EVENT_DTYPE [M].
        """
        if self._readout.scan_period_us > 0.0:
            events, arrival_us = self._scan(events, exact_us, until_us)
        else:
            arrival_us = np.asarray(exact_us, float)
        leave_us = np.empty(len(events))
        service_us = 1.0 / self._readout.throughput_meps if self._readout.throughput_meps else 0.0
        self._free_us = _queue(arrival_us, service_us, self._readout.buffer_events, self._free_us, leave_us)
        out = ~np.isnan(leave_us)
        self.lost += len(events) - int(out.sum())
        read = join_events([events if out.all() else events[out]])
        resolution_us = self._readout.timestamp_resolution_us
        stamps = np.floor((leave_us[out] + self._readout.latency_us) / resolution_us)
        read["timestamp"] = stamps.astype(np.int64) * resolution_us
        return read

    def _scan(
        self, events: NDArray[np.void], exact_us: NDArray[np.float64], until_us: float
    ) -> tuple[NDArray[np.void], NDArray[np.float64]]:
        """Events in the order in which their rows are read, and when."""
        period_us = self._readout.scan_period_us
        scans = np.empty(len(events), np.int64)
        x, y = np.ascontiguousarray(events["x"]), np.ascontiguousarray(events["y"])
        _hold(x, y, exact_us, period_us, self._last_scan, scans)
        kept = scans != np.iinfo(np.int64).min
        self.lost += len(events) - int(kept.sum())
        row_us = scans[kept] * period_us + y[kept] * period_us / self._height
        held = join_events([self._held, events[kept]])
        held_us = np.concatenate([self._held_us, row_us])
        order = np.lexsort((held["x"], held["y"], held_us))
        due = int(np.searchsorted(held_us[order], until_us, "right"))
        self._held, self._held_us = join_events([held[order[due:]]]), held_us[order[due:]]
        return held[order[:due]], held_us[order[:due]]


@numba.njit(nogil=True, cache=True)
def _hold(x, y, exact_us, period_us, last_scan, scans):  # type: ignore[no-untyped-def]
    """Number of the scan that reads each event; the lowest integer for those whose pixel still holds another."""
    nothing = np.iinfo(np.int64).min
    height = last_scan.shape[0]
    for i in range(len(x)):
        scan = np.int64(np.ceil((exact_us[i] - y[i] * period_us / height) / period_us))
        if scan <= last_scan[y[i], x[i]]:
            scans[i] = nothing
        else:
            scans[i] = last_scan[y[i], x[i]] = scan


@numba.njit(nogil=True, cache=True)
def _queue(arrival_us, service_us, room, free_us, leave_us):  # type: ignore[no-untyped-def]
    """First come, first served, each in ``service_us``; NaN for those who find ``room`` others waiting."""
    for i in range(len(arrival_us)):
        if free_us - arrival_us[i] > room * service_us:
            leave_us[i] = np.nan
        else:
            free_us = max(free_us, arrival_us[i]) + service_us
            leave_us[i] = free_us
    return free_us
