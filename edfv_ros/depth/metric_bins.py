"""A focus axis in equal steps of metres, for networks that were trained with one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.estimator import DepthEstimate
from edfv_ros.errors import RigError
from edfv_ros.optics import VergenceBins

FARTHEST_M = 30.0
"""Equal steps of metres have to end somewhere, where a sweep may reach infinity; the published network's end here."""


@dataclass(frozen=True, eq=False)
class MetricBins:
    """Bins of depth over the range of a sweep, nearest first.

    Events are counted in equal bins between the ends of the range. Depth is read at other places, which are the
    network's choice: those of the published one are as many, in equal steps from one end to the other, so that they
    differ from the bins' centres by up to half a bin.

    Attributes:
        near_m, far_m: ends of the range.
        depths_m: float64 [bins], ascending from ``near_m`` to ``far_m``: what the network's bins stand for.
    """

    near_m: float
    far_m: float
    depths_m: NDArray[np.float64]

    @classmethod
    def over(cls, bins: VergenceBins, places: NDArray[np.float64]) -> "MetricBins":
        """Lay bins over the range of a sweep, at most to :data:`FARTHEST_M`.

        Args:
            bins: the sweep's vergence axis.
            places: float64 [bins], ascending: where depth is read, from 0 at the near end to 1 at the far end.

        Raises:
            RigError: the whole sweep is farther than :data:`FARTHEST_M`.
        """
        far_m = 1.0 / max(bins.min_dpt, 1.0 / FARTHEST_M)
        if bins.max_dpt <= 1.0 / far_m:
            raise RigError(
                f"vergence_max_dpt = {bins.max_dpt:g}: the published network sees no farther than {FARTHEST_M:g} m: "
                "sweep nearer, or use the estimator reversal"
            )
        near_m = 1.0 / bins.max_dpt
        return cls(near_m, far_m, near_m + (far_m - near_m) * places)

    def weights(self, bins: VergenceBins) -> NDArray[np.float32]:
        """What part of a vergence bin lies in each metric bin, float32 [bins, vergence bins].

        The counts within a vergence bin are taken as spread evenly. What lies beyond the range is left out.
        """
        edges_dpt = 1.0 / np.linspace(self.near_m, self.far_m, len(self.depths_m) + 1)
        low_dpt = np.maximum(edges_dpt[1:, None], bins.edges_dpt[:-1])
        high_dpt = np.minimum(edges_dpt[:-1, None], bins.edges_dpt[1:])
        return (np.maximum(high_dpt - low_dpt, 0.0) / bins.width_dpt).astype(np.float32)

    @cached_property
    def cells_m(self) -> NDArray[np.float64]:
        """Borders between the depths, half way, and the ends; float64 [bins + 1]."""
        return np.concatenate([[self.near_m], (self.depths_m[1:] + self.depths_m[:-1]) / 2.0, [self.far_m]])

    def read(self, distribution: NDArray[np.float32], width_dpt: float) -> DepthEstimate:
        """Turn a distribution over the bins into depth: its expectation in metres.

        For confidence and standard deviation, each bin's probability is spread evenly over the depths that are nearer
        to its own than to another bin's: so they know how coarse equal steps of metres are near the camera.

        Args:
            distribution: float32 [bins, H, W], adding up to 1 over the bins.
            width_dpt: width of a vergence bin, within which a right answer is.
        """
        depth_m = np.tensordot(self.depths_m.astype(np.float32), distribution, 1)
        vergence_dpt = 1.0 / depth_m
        near_m, far_m = self.cells_m[:-1], self.cells_m[1:]
        # of 1 / d with d even between a and b, the mean is ln(b / a) / (b - a) and the mean square 1 / (a b)
        mean_dpt = np.tensordot((np.log(far_m / near_m) / (far_m - near_m)).astype(np.float32), distribution, 1)
        square_dpt2 = np.tensordot((1.0 / (near_m * far_m)).astype(np.float32), distribution, 1)
        variance_dpt2 = square_dpt2 - 2.0 * vergence_dpt * mean_dpt + vergence_dpt**2
        return DepthEstimate(
            vergence_dpt=vergence_dpt,
            depth_m=depth_m,
            confidence=self._mass_within(distribution, vergence_dpt, np.float32(width_dpt)),
            sigma_dpt=np.sqrt(np.maximum(variance_dpt2, np.float32(0))),
        )

    def _mass_within(
        self, distribution: NDArray[np.float32], vergence_dpt: NDArray[np.float32], width_dpt: np.float32
    ) -> NDArray[np.float32]:
        """Probability of a vergence nearer to the given one than a width, float32 [H, W]."""
        from_m = 1.0 / (vergence_dpt + width_dpt)
        to_m = 1.0 / np.maximum(vergence_dpt - width_dpt, np.float32(1.0 / self.far_m))
        mass = np.zeros_like(vergence_dpt)
        cells_m = self.cells_m.astype(np.float32)
        for probability, near_m, far_m in zip(distribution, cells_m[:-1], cells_m[1:], strict=True):
            shared_m = np.minimum(to_m, far_m) - np.maximum(from_m, near_m)
            mass += probability * np.maximum(shared_m, np.float32(0)) / (far_m - near_m)
        return np.minimum(mass, np.float32(1))
