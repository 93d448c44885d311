"""Examples for training tests, made without a simulation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.edpn_inputs import CANDIDATES, SCORE_FLOOR
from edfv_ros.training.edpn.examples import record_dtype


class FixedExamples:
    """Examples that are at hand, in place of those of a data set."""

    def __init__(self, records: Sequence[NDArray[np.void]]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> NDArray[np.void]:
        return self._records[index]

    def extend(self) -> None:
        """There are no more."""


def plane_record(seed: int, position_bins: float, width: int = 32, height: int = 32) -> NDArray[np.void]:
    """A plane whose evidence is off by up to two bins from cell to cell; all else is noise."""
    rng = np.random.default_rng(seed)
    record = np.zeros((), record_dtype(width, height))
    cells = record["score"].shape[2:]
    best = 2 * (position_bins + 0.5 + rng.uniform(-2.0, 2.0, (2, 1, *cells)))
    distance = np.abs(np.arange(CANDIDATES)[None, :, None, None] - best)
    record["score"] = np.maximum(-0.2 * distance, SCORE_FLOOR)
    record["volume"] = rng.integers(-60, 60, record["volume"].shape)
    record["event_count"] = rng.poisson(6.0, record["event_count"].shape)
    record["position_bins"] = position_bins
    record["frame"] = rng.integers(0, 255, record["frame"].shape)
    record["has_frame"] = True
    record["single_up"] = True
    record["slope_px_per_bin"] = 0.7
    record["far_bins"] = 1.0
    return record
