"""Depth without a network: the vergence at which the polarity reverses, from a model of the whole sweep."""

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.aggregate import JUMP_COST, SMALL_STEP_COST, aggregate
from edfv_ros.depth.estimator import DepthEstimate
from edfv_ros.depth.evidence import FocusEvidence
from edfv_ros.depth.likelihood import CELL_PX, STEP_BINS, Buffers
from edfv_ros.depth.upsample import follow_image_edges, to_pixels
from edfv_ros.depth.workers import shared_workers
from edfv_ros.optics import ThinLens, VergenceBins
from edfv_ros.volume import SweepSnapshot

SHARPNESS = 4.0
"""Aggregated cost to log probability; fitted so that confidence is the fraction of right pixels (docs/estimator.md)."""

MIN_CONFIDENCE = 0.3
"""Below this a pixel's depth is unknown: it would be wrong more often than right."""

SAME_SURFACE_LABELS = 2.0

SPECKLE_CELLS = 40
"""Largest island of depth, 160 pixels, that no surface of its own is believed to make."""

RIM_STEP_BINS = 2.0
RIM_DOUBT = ((4, 0.92), (3, 0.85), (2, 0.7), (1, 0.5))
"""Distance in pixels from the rim of a nearer surface, and the share of pixels inside it that are as right as the rest.

A blurred rim brings the events of the near surface to pixels of the far one, so near surfaces come out too wide.
"""
REFINE_RADIUS_CELLS = 3


class PolarityReversal:
    """Model-free estimator: no training, any rig.

    The intensity change of the sweep (both directions, where there are two) is compared with what a textured surface
    at each candidate vergence would cause (:mod:`~edfv_ros.depth.blur_model`), neighbours are made to agree
    (:mod:`~edfv_ros.depth.aggregate`), which also carries depth into textureless regions from their rims, and the
    maximum is refined below a bin. Where the camera gives frames, depth edges follow the image's
    (:mod:`~edfv_ros.depth.upsample`). The confidence is the posterior probability of being right within one bin.

    Args:
        optics: the lens; only its blur slope matters.
        bins: the vergence axis of the volumes.
    """

    def __init__(self, optics: ThinLens, bins: VergenceBins) -> None:
        self._bins = bins
        self._buffers = Buffers()
        self._workers = shared_workers()
        self._evidence = FocusEvidence(optics.blur_slope_px_per_dpt, bins, workers=self._workers)

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        score = self._evidence(*((volume.counts, volume.sweep.direction) for volume in snapshot.volumes)).score
        height, width = snapshot.latest.counts.shape[1:]
        cost = self._buffers.get("cost", 2, *score.shape)
        aggregate(score, SMALL_STEP_COST, JUMP_COST, cost, self._workers)
        label, confidence, spread = _posterior(cost, SHARPNESS, round(1.0 / STEP_BINS))
        confidence[_speckles(label)] = 0.0
        position = _refine(score, label, REFINE_RADIUS_CELLS)
        cells = np.stack([position, confidence, spread])
        fine = to_pixels(cells, height, width, CELL_PX, SAME_SURFACE_LABELS)
        if snapshot.frame is not None:
            follow_image_edges(fine, cells, snapshot.frame.image, CELL_PX, SAME_SURFACE_LABELS)
        position, confidence, spread = fine
        return self._estimate_from(position, confidence * _rim_doubt(position), spread)

    def _estimate_from(
        self, position: NDArray[np.float32], confidence: NDArray[np.float32], spread: NDArray[np.float32]
    ) -> DepthEstimate:
        """Turn label positions into dioptres and metres; what is too doubtful becomes unknown."""
        candidates = self._evidence.candidates
        vergence_dpt = self._bins.vergence_dpt(candidates[0] + position * STEP_BINS).astype(np.float32)
        unknown = (confidence < MIN_CONFIDENCE) | (vergence_dpt <= 0)
        vergence_dpt[unknown] = np.nan
        return DepthEstimate(
            vergence_dpt=vergence_dpt,
            depth_m=1.0 / vergence_dpt,
            confidence=np.where(unknown, np.float32(0), confidence),
            sigma_dpt=np.where(unknown, np.float32(np.nan), spread * np.float32(STEP_BINS * self._bins.width_dpt)),
        )


def _speckles(label: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Islands too small for a surface, bool [rows, columns]: the blur of something else, taken for texture."""
    kept = label.astype(np.int16)
    cv2.filterSpeckles(kept, -1, SPECKLE_CELLS, int(SAME_SURFACE_LABELS))
    return kept < 0


def _rim_doubt(position: NDArray[np.float32]) -> NDArray[np.float32]:
    """Factor on the confidence, float32 [H, W], from the label positions."""
    factor = np.ones_like(position)
    for radius_px, share in RIM_DOUBT:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
        factor[(position - cv2.erode(position, disc)) * STEP_BINS > RIM_STEP_BINS] = share
    return factor


@nb.njit(nogil=True, cache=True, fastmath=True)
def _posterior(
    cost: NDArray[np.float32], sharpness: float, within: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Best label, its probability to within ``within`` labels, and the posterior's standard deviation in labels.

    Costs are the sums of two halves, [2, labels, rows, columns].
    """
    _, labels, height, width = cost.shape
    best = np.empty((height, width), np.int64)
    confidence = np.empty((height, width), np.float32)
    spread = np.empty((height, width), np.float32)
    summed = np.empty(labels, np.float32)
    for y in range(height):
        for x in range(width):
            chosen = 0
            for c in range(labels):
                summed[c] = cost[0, c, y, x] + cost[1, c, y, x]
                if summed[c] < summed[chosen]:
                    chosen = c
            total = np.float32(0.0)
            near = np.float32(0.0)
            square = np.float32(0.0)
            for c in range(labels):
                probability = np.exp(np.float32(sharpness) * (summed[chosen] - summed[c]))
                total += probability
                square += probability * np.float32((c - chosen) * (c - chosen))
                if abs(c - chosen) <= within:
                    near += probability
            best[y, x] = chosen
            confidence[y, x] = near / total
            spread[y, x] = np.sqrt(square / total)
    return best, confidence, spread


@nb.njit(nogil=True, cache=True, fastmath=True)
def _refine(score: NDArray[np.float32], label: NDArray[np.int64], radius: int) -> NDArray[np.float32]:
    """Position of the maximum between labels: parabolas through the data's own score, pooled over agreeing cells.

    Each cell's parabola gives a position and, as its curvature, the weight that position deserves; cells whose label
    differs by more than one belong to another surface.
    """
    labels, height, width = score.shape
    weight = np.zeros((height, width), np.float32)
    moment = np.zeros((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            c = min(max(label[y, x], 1), labels - 2)
            before, here, after = score[c - 1, y, x], score[c, y, x], score[c + 1, y, x]
            curvature = 2 * here - before - after
            if curvature > 1e-6:
                offset = min(max(np.float32(0.5) * (after - before) / curvature, np.float32(-1.5)), np.float32(1.5))
                weight[y, x] = curvature
                moment[y, x] = curvature * (c + offset)
    position = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            total = np.float32(1e-6)
            pooled = np.float32(1e-6) * label[y, x]
            for v in range(max(y - radius, 0), min(y + radius + 1, height)):
                for u in range(max(x - radius, 0), min(x + radius + 1, width)):
                    if abs(label[v, u] - label[y, x]) <= 1:
                        total += weight[v, u]
                        pooled += moment[v, u]
            position[y, x] = pooled / total
    return position
