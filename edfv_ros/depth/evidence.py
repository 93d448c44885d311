"""What the events of a sweep say about each candidate vergence: the input of every estimator that fills in the rest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.likelihood import CELL_PX, Buffers, DepthLikelihood, cell_grid
from edfv_ros.depth.reconstruct import add_intensity_change
from edfv_ros.depth.workers import Workers, shared_workers
from edfv_ros.optics import VergenceBins

SPREAD_BLUR_PX = 1.5
"""An event is laid back over at most the time in which the blur grows by this much."""


def spread_bins(slope_px_per_bin: float, count: int) -> float:
    """How far back an event is laid, in bins: one at least, a quarter of the ``count`` of a sweep at most."""
    return float(np.clip(SPREAD_BLUR_PX / slope_px_per_bin, 1.0, count / 4))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Intensity change and likelihood; both are overwritten by the next sweep.

    Cells are 2x2 pixels. Those beyond the image continue it: there are an even number of rows and columns.

    Attributes:
        change: float32 [bins, CELL_PX * rows, CELL_PX * columns], change of log intensity per bin in contrast
            thresholds.
        score: float32 [candidates, rows, columns], log likelihood per bin up to a constant.
    """

    change: NDArray[np.float32]
    score: NDArray[np.float32]


class FocusEvidence:
    """Rebuilds the intensity change of a sweep and scores the candidates by it.

    Args:
        blur_slope_px_per_dpt: growth of the circle of confusion's diameter; it is all that is asked of the lens.
        bins: the vergence axis of the volumes.
        candidates: how many; half a bin apart if None.
        workers: threads to do it with.

    Attributes:
        candidates: float64 [candidates], bin positions.
        slope_px_per_bin: growth of the circle of confusion's diameter.
    """

    def __init__(
        self,
        blur_slope_px_per_dpt: float,
        bins: VergenceBins,
        candidates: int | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.slope_px_per_bin = blur_slope_px_per_dpt * bins.width_dpt
        self._workers = workers or shared_workers()
        self._likelihood = DepthLikelihood(blur_slope_px_per_dpt, bins, candidates, self._workers)
        self.candidates = self._likelihood.candidates
        self._buffers = Buffers()
        self._spread_bins = spread_bins(self.slope_px_per_bin, bins.count)

    def __call__(self, *volumes: tuple[NDArray[np.int16], int]) -> Evidence:
        """Take the evidence of one sweep, or of an up-sweep and a down-sweep together.

        Args:
            volumes: signed counts, int16 [bins, H, W], dI/dv; and the direction of the sweep, +1 (up) or -1.
        """
        bins, height, width = volumes[0][0].shape
        rows, columns = cell_grid(width, height)
        change = self._buffers.get("change", bins, rows * CELL_PX, columns * CELL_PX)

        def reconstruct(first: int, last: int) -> None:
            change[:, first:last] = 0.0
            for counts, direction in volumes:
                add_intensity_change(counts, direction, self._spread_bins, 1.0 / len(volumes), change, first, last)

        self._workers.share(reconstruct, height)
        change[:, :height, width:] = change[:, :height, width - 1 : width]
        change[:, height:] = change[:, height - 1 : height]
        return Evidence(change, self._likelihood(change))
