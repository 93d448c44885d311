"""What every depth estimator takes and gives."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import EdfvError, SourceError
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


def _reversal(rig: Rig, prior: Path | None) -> DepthEstimator:
    from edfv_ros.depth.reversal import PolarityReversal

    return PolarityReversal(rig.optics, rig.bins)


def _aligned_prior(rig: Rig, prior: Path | None) -> DepthEstimator:
    from edfv_ros.depth.aligned_prior import AlignedPrior
    from edfv_ros.depth.prior import MonocularPrior, load_prior
    from edfv_ros.depth.reversal import PolarityReversal

    assert prior is not None, "open_estimator has checked it"
    monocular = MonocularPrior(load_prior(prior), rig.camera.resolution)
    return AlignedPrior(PolarityReversal(rig.optics, rig.bins), monocular, rig.bins)


@dataclass(frozen=True, slots=True)
class EstimatorKind:
    """How to make an estimator of one kind, and what it needs.

    Attributes:
        make: from a rig and, where ``needs_prior``, the path of a prior file.
        needs_prior: it looks at frames through a monocular prior.
    """

    make: Callable[[Rig, Path | None], DepthEstimator]
    needs_prior: bool = False


ESTIMATORS: dict[str, EstimatorKind] = {
    "reversal": EstimatorKind(_reversal),
    "aligned_prior": EstimatorKind(_aligned_prior, needs_prior=True),
}
"""Estimators by the name users give."""


def open_estimator(name: str, rig: Rig, *, prior: Path | None = None) -> DepthEstimator:
    """Make the estimator called ``name`` for a rig.

    Args:
        name: one of :data:`ESTIMATORS`.
        rig: camera, lens and sweep.
        prior: a prior file (:mod:`~edfv_ros.depth.prior`), for the estimators that need one.

    Raises:
        EdfvError: there is no such estimator, it needs a prior and has none, or the other way round, or the prior
            cannot be used.
    """
    check_estimator(name, prior)
    return ESTIMATORS[name].make(rig, prior)


def check_estimator(name: str, prior: Path | None) -> None:
    """Check that there is an estimator of that name, and that it has a prior file if and only if it needs one.

    Raises:
        EdfvError: it is not so.
    """
    if name not in ESTIMATORS:
        raise EdfvError(f"no estimator is called {name!r}; choose from: {', '.join(sorted(ESTIMATORS))}")
    if ESTIMATORS[name].needs_prior and prior is None:
        raise EdfvError(
            f"the estimator {name} needs a prior: give a file such as config/prior_depth_anything_v2_small.yaml"
        )
    if prior is not None and not ESTIMATORS[name].needs_prior:
        users = ", ".join(kind for kind, what in ESTIMATORS.items() if what.needs_prior)
        raise EdfvError(f"the estimator {name} uses no prior, but {prior} was given: leave it out, or use {users}")


def check_streams(name: str, streams: Collection[str], source: str) -> None:
    """Check that a source has what the estimator called ``name`` looks at.

    Args:
        name: one of :data:`ESTIMATORS`.
        streams: of the source, as in :class:`~edfv_ros.events.SourceInfo`.
        source: its name, for the message.

    Raises:
        SourceError: it has no frames, and the estimator needs them.
    """
    if ESTIMATORS[name].needs_prior and "frames" not in streams:
        raise SourceError(f"{source}: it has no frames, which the estimator {name} needs: use the estimator reversal")
