"""One monotone pass of the focus: the unit the volume is built from."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edfv_ros.optics import VergenceBins

_ROUNDING_US = 1e-6  # of an edge that is crossed at a whole microsecond
_ADJACENT_RATIO = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class FocusSweep:
    """Focus vergence against time between two turning points, on the camera's clock.

    Attributes:
        timestamps_us: float64 [N], strictly ascending, unix microseconds.
        vergence_dpt: float64 [N], strictly ascending (up-sweep) or descending (down-sweep); linear between rows.
        number: which sweep of its source it is, from 0; sweeps that the source knows to have missed count too.
        lag_us: how much later than its source said it is taken to be, to match the events: in the time stamps already.
    """

    timestamps_us: NDArray[np.float64]
    vergence_dpt: NDArray[np.float64]
    number: int = 0
    lag_us: float = 0.0

    @property
    def start_us(self) -> int:
        return int(np.ceil(self.timestamps_us[0]))

    @property
    def end_us(self) -> int:
        """First microsecond after the sweep."""
        return int(np.ceil(self.timestamps_us[-1]))

    @property
    def middle_us(self) -> int:
        return (self.start_us + self.end_us) // 2

    @property
    def direction(self) -> int:
        """+1 while the focus moves towards higher vergence (nearer), -1 while it moves away."""
        return 1 if self.vergence_dpt[-1] > self.vergence_dpt[0] else -1

    def later(self, lag_us: float) -> "FocusSweep":
        """The same sweep ``lag_us`` later."""
        return replace(self, timestamps_us=self.timestamps_us + lag_us, lag_us=self.lag_us + lag_us)

    def bin_edge_times_us(self, bins: VergenceBins) -> NDArray[np.int64]:
        """Times at which the focus crosses the bin edges, ascending, shape [bins.count + 1].

        Segment ``i`` of an up-sweep is bin ``i``; of a down-sweep it is bin ``count - 1 - i``. Edges that the sweep
        does not reach get its first or last moment, so their bins stay empty. An event at time ``t`` belongs to
        segment ``i`` where ``edge[i] <= t < edge[i + 1]``.
        """
        base_us = np.floor(self.timestamps_us[0])
        elapsed_us = self.timestamps_us - base_us  # unix microseconds leave a double no digits to interpolate with
        if self.direction > 0:
            times = np.interp(bins.edges_dpt, self.vergence_dpt, elapsed_us)
        else:
            times = np.interp(bins.edges_dpt, self.vergence_dpt[::-1], elapsed_us[::-1])[::-1]
        return np.int64(base_us) + np.ceil(times - _ROUNDING_US).astype(np.int64)


def is_pair(before: FocusSweep, after: FocusSweep) -> bool:
    """Whether two sweeps run in opposite directions, one right after the other."""
    gap_us = after.start_us - before.end_us
    return before.direction != after.direction and gap_us <= _ADJACENT_RATIO * (after.end_us - after.start_us)
