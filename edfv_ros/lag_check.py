"""The lag of the events behind the focus, checked while sweeps become depth; no wire is needed for it."""

from collections import Counter
from dataclasses import dataclass

from edfv_ros.depth.sweep_lag import LagMeter
from edfv_ros.lens.lag import Lag, LagCorrectedSweeps, LagFilter
from edfv_ros.lens.sync import SweepSource
from edfv_ros.rig import Rig
from edfv_ros.volume import SweepSnapshot

EVERY = 15
"""Sweeps from one measurement to the next: it costs a third of a depth image, so two in a hundred of the work."""

_FIRST = 2  # measurements without a pause, one in each order


@dataclass(frozen=True, slots=True)
class LagReport:
    """How far events lag behind the focus, and what is done about it.

    Attributes:
        lag: over the last measurements, what has been taken out included; None before the first.
        bins: the same in bins of the rig's sweep, at its mean speed.
        measurements: those that said something.
        rejected: those that did not, by reason.
        correction_us: what is being taken out; None where nobody asked for it.
    """

    lag: Lag | None
    bins: float | None
    measurements: int
    rejected: dict[str, int]
    correction_us: float | None


class LagCheck:
    """Compares an up-sweep with a down-sweep now and then (:mod:`edfv_ros.depth.sweep_lag`).

    One thread looks, any may ask for the report.

    Args:
        rig: its sweep and bins.
        corrects: whether what is found is to be taken out of the sweeps that :meth:`corrected` gives.
    """

    def __init__(self, rig: Rig, *, corrects: bool) -> None:
        self._bin_us = rig.sweep.duration_us / rig.bins.count
        self._corrects = corrects
        self._meter = LagMeter(rig.bins)
        self._filter = LagFilter(rig)
        self._looked = 0
        self._tried = 0
        self._tried_at = 0
        self._last_order = 0
        self._measurements = 0
        self._rejected = Counter[str]()

    def corrected(self, sweeps: SweepSource) -> SweepSource:
        """The source itself, or the source with the lag taken out as it becomes known."""
        return LagCorrectedSweeps(sweeps, self._filter) if self._corrects else sweeps

    def look(self, snapshot: SweepSnapshot, *, often: bool = False) -> None:
        """Measure the snapshot's lag where it has both directions and it is time to.

        The order of the two sweeps takes turns where it can: a surface that approaches shifts them apart in one
        order and together in the other.

        Args:
            snapshot: remains the caller's.
            often: whether it is always time to.
        """
        self._looked += 1
        if snapshot.opposite is None:
            return
        latest, opposite = snapshot.latest, snapshot.opposite
        order = latest.sweep.direction * (1 if latest.sweep.start_us < opposite.sweep.start_us else -1)
        pause = 0 if often or self._tried < _FIRST else EVERY
        since = self._looked - self._tried_at
        if self._tried and (since < pause or (order == self._last_order and since < pause + EVERY)):
            return
        self._tried += 1
        self._tried_at, self._last_order = self._looked, order
        measured = self._meter.measure(latest, opposite)
        if measured.rejected:
            self._rejected[measured.rejected] += 1
            return
        self._measurements += 1
        taken_out_us = (latest.sweep.lag_us + opposite.sweep.lag_us) / 2.0
        self._filter.add(measured.lag_us + taken_out_us, measured.sigma_us)

    @property
    def report(self) -> LagReport:
        """How it stands."""
        lag = self._filter.lag
        return LagReport(
            lag=lag,
            bins=None if lag is None else lag.lag_us / self._bin_us,
            measurements=self._measurements,
            rejected=dict(self._rejected),
            correction_us=self._filter.correction_us if self._corrects else None,
        )
