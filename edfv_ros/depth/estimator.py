"""What every depth estimator takes and gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import EdfvError
from edfv_ros.rig import Rig
from edfv_ros.volume import SweepSnapshot


@dataclass(frozen=True, slots=True, eq=False)
class DepthEstimate:
    """Dense depth of one sweep; every array is float32 [H, W].

    Attributes:
        vergence_dpt: inverse depth along the optical axis, NaN where unknown.
        depth_m: depth along the optical axis (REP 118: z, not ray length), NaN where unknown.
        confidence: probability that the vergence is right to within one bin, 0 where unknown.
        sigma_dpt: standard deviation of the vergence, NaN where unknown.
    """

    vergence_dpt: NDArray[np.float32]
    depth_m: NDArray[np.float32]
    confidence: NDArray[np.float32]
    sigma_dpt: NDArray[np.float32]


class DepthEstimator(Protocol):
    """Turns closed sweeps into depth. One instance serves one rig and one thread."""

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        """Estimate depth for the latest sweep of the snapshot; the snapshot stays the caller's."""
        ...


def _reversal(rig: Rig) -> DepthEstimator:
    from edfv_ros.depth.reversal import PolarityReversal

    return PolarityReversal(rig.optics, rig.bins)


ESTIMATORS: dict[str, Callable[[Rig], DepthEstimator]] = {"reversal": _reversal}
"""Estimators by the name users give."""


def open_estimator(name: str, rig: Rig) -> DepthEstimator:
    """Make the estimator called ``name`` for a rig.

    Raises:
        EdfvError: there is no such estimator.
    """
    if name not in ESTIMATORS:
        raise EdfvError(f"no estimator is called {name!r}; choose from: {', '.join(sorted(ESTIMATORS))}")
    return ESTIMATORS[name](rig)
