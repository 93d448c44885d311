"""What every depth estimator takes and gives."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
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

    @property
    def sigma_m(self) -> NDArray[np.float32]:
        """Standard deviation of the depth, float32 [H, W]: to first order ``sigma_dpt * depth_m**2``, as z = 1 / v."""
        return self.sigma_dpt * self.depth_m * self.depth_m


class DepthEstimator(Protocol):
    """Turns closed sweeps into depth. One instance serves one rig and one thread."""

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        """Estimate depth for the latest sweep of the snapshot; the snapshot stays the caller's."""
        ...


def _reversal(rig: Rig, prior: Path | None, model: Path | None) -> DepthEstimator:
    from edfv_ros.depth.reversal import PolarityReversal

    return PolarityReversal(rig.optics, rig.bins)


def _aligned_prior(rig: Rig, prior: Path | None, model: Path | None) -> DepthEstimator:
    from edfv_ros.depth.aligned_prior import AlignedPrior
    from edfv_ros.depth.prior import MonocularPrior, load_prior
    from edfv_ros.depth.reversal import PolarityReversal

    assert prior is not None, "open_estimator has checked it"
    monocular = MonocularPrior(load_prior(prior), rig.camera.resolution)
    return AlignedPrior(PolarityReversal(rig.optics, rig.bins), monocular, rig.bins)


def _edpn_published(rig: Rig, prior: Path | None, model: Path | None) -> DepthEstimator:
    from edfv_ros.depth.prior import MonocularPrior, load_prior
    from edfv_ros.depth.published import PublishedEdpn, PublishedModel
    from edfv_ros.depth.reversal import PolarityReversal

    assert prior is not None and model is not None, "open_estimator has checked it"
    monocular = MonocularPrior(load_prior(prior), rig.camera.resolution)
    return PublishedEdpn(PublishedModel(model), monocular, PolarityReversal(rig.optics, rig.bins), rig.bins)


def _edpn(rig: Rig, prior: Path | None, model: Path | None) -> DepthEstimator:
    from edfv_ros.depth.edpn import EventDepthPrompting
    from edfv_ros.depth.edpn_network import EdpnNetwork
    from edfv_ros.depth.likelihood import cell_grid
    from edfv_ros.depth.prior import MonocularPrior, load_prior

    network = EdpnNetwork(model, *cell_grid(*rig.camera.resolution))
    monocular = None if prior is None else MonocularPrior(load_prior(prior), rig.camera.resolution)
    return EventDepthPrompting(network, rig.optics, rig.bins, monocular)


class Need(Enum):
    """What an estimator does with a file that a user may give it."""

    NONE = "none"
    OPTIONAL = "optional"
    NEEDED = "needed"


@dataclass(frozen=True, slots=True)
class EstimatorKind:
    """How to make an estimator of one kind, and which files it takes.

    Attributes:
        make: from a rig, the path of a prior file and that of a network file; a path is None where it was not given.
        prior: whether it takes a prior file (:mod:`~edfv_ros.depth.prior`), and with it looks at frames.
        model: whether it takes a network file (ONNX).
    """

    make: Callable[[Rig, Path | None, Path | None], DepthEstimator]
    prior: Need = Need.NONE
    model: Need = Need.NONE


ESTIMATORS: dict[str, EstimatorKind] = {
    "reversal": EstimatorKind(_reversal),
    "edpn": EstimatorKind(_edpn, prior=Need.OPTIONAL, model=Need.OPTIONAL),
    "aligned_prior": EstimatorKind(_aligned_prior, prior=Need.NEEDED),
    "edpn_published": EstimatorKind(_edpn_published, prior=Need.NEEDED, model=Need.NEEDED),
}
"""Estimators by the name users give."""


def open_estimator(name: str, rig: Rig, *, prior: Path | None = None, model: Path | None = None) -> DepthEstimator:
    """Make the estimator called ``name`` for a rig.

    Args:
        name: one of :data:`ESTIMATORS`.
        rig: camera, lens and sweep.
        prior: a prior file (:mod:`~edfv_ros.depth.prior`), for the estimators that take one.
        model: a network file (ONNX), for the estimators that take one.

    Raises:
        EdfvError: there is no such estimator, it lacks a file that it needs or takes none of those given, or a file
            cannot be used.
    """
    check_estimator(name, prior, model)
    return ESTIMATORS[name].make(rig, prior, model)


def check_estimator(name: str, prior: Path | None, model: Path | None) -> None:
    """Check that there is an estimator of that name, has the files that it needs, and takes those that it has.

    Raises:
        EdfvError: it is not so.
    """
    if name not in ESTIMATORS:
        raise EdfvError(f"no estimator is called {name!r}; choose from: {', '.join(sorted(ESTIMATORS))}")
    _check_file(name, "prior", prior, "give a file such as config/prior_depth_anything_v2_small.yaml")
    _check_file(name, "model", model, "give an ONNX file such as `edfv model import` writes")


def estimators_with(what: str) -> list[str]:
    """Names of the estimators that take a file: ``prior`` or ``model``."""
    return [name for name, kind in ESTIMATORS.items() if getattr(kind, what) is not Need.NONE]


def _check_file(name: str, what: str, given: Path | None, advice: str) -> None:
    """Check what was given as the file that the field ``what`` of :class:`EstimatorKind` is about."""
    need = getattr(ESTIMATORS[name], what)
    if need is Need.NEEDED and given is None:
        raise EdfvError(f"the estimator {name} needs a {what}: {advice}")
    if need is Need.NONE and given is not None:
        users = " or ".join(estimators_with(what))
        raise EdfvError(f"the estimator {name} uses no {what}, but {given} was given: leave it out, or use {users}")


def check_streams(name: str, streams: Collection[str], source: str, *, prior: Path | None = None) -> None:
    """Check that a source has what the estimator called ``name`` looks at: with a prior, frames.

    Args:
        name: one of :data:`ESTIMATORS`.
        streams: of the source, as in :class:`~edfv_ros.events.SourceInfo`.
        source: its name, for the message.
        prior: the prior file that the estimator was given.

    Raises:
        SourceError: it has no frames, and the prior needs them.
    """
    if prior is None or "frames" in streams:
        return
    if ESTIMATORS[name].prior is Need.NEEDED:
        raise SourceError(f"{source}: it has no frames, which the estimator {name} needs: use the estimator reversal")
    raise SourceError(f"{source}: it has no frames, which the prior {prior} needs: leave the prior out")
