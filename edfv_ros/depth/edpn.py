"""Event-based Depth Prompting Network: the evidence of the events, filled in by a trained network."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.edpn_inputs import BINS, SCORED, cell_volume, conditions_input, guide_input, score_input
from edfv_ros.depth.estimator import DepthEstimate
from edfv_ros.depth.evidence import FocusEvidence
from edfv_ros.depth.prior import MonocularPrior
from edfv_ros.optics import ThinLens, VergenceBins
from edfv_ros.volume import SweepSnapshot

MIN_CONFIDENCE = 0.1
"""Below this a pixel's depth is unknown: twice what a blind guess among the bins would have."""


class Network(Protocol):
    """The trained network; its inputs are those of :mod:`~edfv_ros.depth.edpn_inputs`."""

    def __call__(
        self,
        score: NDArray[np.float32],
        volume: NDArray[np.float32],
        guide: NDArray[np.float32],
        conditions: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Position in bins of 32, and scale of its Laplace distributed error in bins; both float32 [H, W]."""
        ...


class EventDepthPrompting:
    """Dense depth with an honest uncertainty, from whatever there is: one sweep or two, a frame, a prior, or neither.

    The network knows bins and not metres, and of the rig nothing but its blur slope, so one serves any rig.

    Args:
        network: the trained network.
        optics: the lens; only its blur slope matters.
        bins: the vergence axis of the volumes; any number of them.
        prior: makes relative vergence from frames; None to do without.
    """

    def __init__(
        self, network: Network, optics: ThinLens, bins: VergenceBins, prior: MonocularPrior | None = None
    ) -> None:
        self._network = network
        self._bins = bins
        self._network_bins = VergenceBins(bins.min_dpt, bins.max_dpt, BINS)
        self._slope_px_per_bin = optics.blur_slope_px_per_dpt * self._network_bins.width_dpt
        self._evidence = FocusEvidence(optics.blur_slope_px_per_dpt, bins, SCORED)
        self._prior = prior

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        directions = [volume.sweep.direction for volume in snapshot.volumes]
        evidence = self._evidence(
            *((volume.counts, direction) for volume, direction in zip(snapshot.volumes, directions, strict=True))
        )
        rows, columns = evidence.score.shape[1:]
        height, width = snapshot.latest.counts.shape[1:]
        image = snapshot.frame.image if snapshot.frame is not None else None
        prior = self._prior.at(snapshot.latest.sweep.end_us, snapshot.frame) if self._prior is not None else None
        guide = guide_input(snapshot.event_count(), image, prior, rows, columns)
        position, scale = self._network(
            score_input(evidence.score),
            cell_volume(in_bins(evidence.change, BINS), guide, height, width),
            guide,
            conditions_input(self._slope_px_per_bin, up=1 in directions, down=-1 in directions),
        )
        return self._estimate_from(position[:height, :width], scale[:height, :width])

    def _estimate_from(self, position: NDArray[np.float32], scale: NDArray[np.float32]) -> DepthEstimate:
        """Turn positions in bins, and the scales of their Laplace distributed errors, into dioptres and metres."""
        width_dpt = self._network_bins.width_dpt
        vergence_dpt = self._network_bins.vergence_dpt(position).astype(np.float32)
        confidence = -np.expm1(-np.float32(self._bins.width_dpt / width_dpt) / scale)
        unknown = (confidence < MIN_CONFIDENCE) | (vergence_dpt <= 0)
        vergence_dpt[unknown] = np.nan
        confidence[unknown] = 0.0
        sigma_dpt = np.where(unknown, np.float32(np.nan), np.float32(np.sqrt(2.0) * width_dpt) * scale)
        return DepthEstimate(vergence_dpt, 1.0 / vergence_dpt, confidence, sigma_dpt)


def in_bins(change: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The intensity change [bins, H, W] in another number of bins of the same sweep, each bin's spread evenly."""
    bins = len(change)
    if bins == count:
        return change
    edges, wanted = np.linspace(0.0, 1.0, bins + 1), np.linspace(0.0, 1.0, count + 1)
    low = np.maximum(edges[None, :-1], wanted[:-1, None])
    high = np.minimum(edges[None, 1:], wanted[1:, None])
    share = (np.maximum(high - low, 0.0) * bins).astype(np.float32)
    shared: NDArray[np.float32] = np.tensordot(share, change, axes=1)
    return shared
