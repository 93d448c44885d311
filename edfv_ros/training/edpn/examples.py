"""From simulated sweeps to what the network sees, computed once: files of records beside the shards."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CELL_PX, score_input, volume_input
from edfv_ros.depth.evidence import FocusEvidence
from edfv_ros.errors import EdfvError
from edfv_ros.optics import VergenceBins
from edfv_ros.simulation.crops import TrainingSweeps
from edfv_ros.simulation.dataset import Dataset
from edfv_ros.training.volumes import bin_volumes

FORMAT = 1
"""Of the records; to be raised whenever the same sample would give another one."""

BOTH, SINGLE = 0, 1
"""Variants of an example: evidence of both sweeps, and of one of them."""

VOLUME_UNIT = 1.0 / 31.0
"""Volumes are kept as bytes in this unit."""

_LARGEST_POSITION = 1e4  # bins: infinitely far is far enough


def record_dtype(width: int, height: int) -> np.dtype[np.void]:
    """Layout of an example; fields with two entries are of the variants BOTH and SINGLE.

    ``position_bins`` is NaN where unknown; ``single_up`` tells which sweep SINGLE is of; ``far_bins`` is the vergence
    of the far end of the sweep in bin widths, so that ``(position_bins + 0.5 + far_bins)`` is proportional to vergence.
    """
    rows, columns = (-(-size // (2 * CELL_PX)) * 2 for size in (height, width))
    return np.dtype(
        [
            ("score", np.float16, (2, CANDIDATES, rows, columns)),
            ("volume", np.int8, (2, BINS, rows * CELL_PX, columns * CELL_PX)),
            ("event_count", np.uint16, (2, height, width)),
            ("position_bins", np.float32, (2, height, width)),
            ("frame", np.uint8, (height, width)),
            ("has_frame", np.bool_),
            ("single_up", np.bool_),
            ("slope_px_per_bin", np.float32),
            ("far_bins", np.float32),
        ]
    )


def make_example(sample: TrainingSweeps) -> NDArray[np.void]:
    """The record of a sample, a scalar of :func:`record_dtype`."""
    width, height = sample.resolution
    record = np.zeros((), record_dtype(width, height))
    bins = VergenceBins(*sample.vergence_range_dpt, BINS)
    evidence_of = FocusEvidence(sample.blur_slope_px_per_dpt, bins, CANDIDATES)
    counts, event_count = bin_volumes(sample, BINS)
    directed = list(zip(counts, (1, -1), strict=True))
    rng = np.random.default_rng([sample.seed, 0xE4A])
    single, latest = rng.integers(2, size=2)
    rows, columns = record["score"].shape[2:]
    for variant, volumes, of_events, sweep in (
        (BOTH, directed, event_count.sum(0), latest),
        (SINGLE, directed[single : single + 1], event_count[single], single),
    ):
        evidence = evidence_of(*volumes)
        record["score"][variant] = score_input(evidence.score)
        volume = volume_input(evidence.change, rows, columns)
        record["volume"][variant] = np.rint(volume / np.float32(VOLUME_UNIT))
        record["event_count"][variant] = of_events
        with np.errstate(divide="ignore"):
            position = bins.position(1.0 / sample.depth_m[sweep].astype(np.float64))
        record["position_bins"][variant] = np.minimum(position, _LARGEST_POSITION)
    if sample.frame is not None:
        record["frame"], record["has_frame"] = sample.frame, True
    record["single_up"] = single == 0
    record["slope_px_per_bin"] = evidence_of.slope_px_per_bin
    record["far_bins"] = bins.min_dpt / bins.width_dpt
    return record


class Examples:
    """The examples of a data set, those that are whole when it is opened.

    Args:
        directory: the data set; its folder ``examples`` gets the files.
        progress: called with the number of examples that are ready and that of all.

    Raises:
        EdfvError: the folder holds no data set, or no whole shard yet.
    """

    def __init__(self, directory: Path, progress: Callable[[int, int], None] = lambda ready, count: None) -> None:
        dataset = Dataset(directory)
        if not len(dataset):
            raise EdfvError(f"{directory}: holds no whole shard yet: make it with edfv dataset --out {directory}")
        self.resolution = dataset.manifest.resolution
        self._size = dataset.manifest.shard_size
        self._files: list[NDArray[np.void]] = []
        folder = directory / "examples"
        folder.mkdir(exist_ok=True)
        for number in range(math.ceil(len(dataset) / self._size)):
            path = folder / f"v{FORMAT}_{number:05d}.npy"
            indices = range(number * self._size, min((number + 1) * self._size, len(dataset)))
            if not path.exists():
                self._write(path, dataset, indices, progress)
            self._files.append(np.load(path, mmap_mode="r"))
            progress(indices.stop, len(dataset))

    def __len__(self) -> int:
        return sum(map(len, self._files))

    def __getitem__(self, index: int) -> NDArray[np.void]:
        """Example ``index``, mapped from its file."""
        record: NDArray[np.void] = self._files[index // self._size][index % self._size]
        return record

    def _write(self, path: Path, dataset: Dataset, indices: range, progress: Callable[[int, int], None]) -> None:
        temporary = path.with_name(f".{path.name}")
        out = open_memmap(temporary, "w+", record_dtype(*self.resolution), (len(indices),))
        for place, index in enumerate(indices):
            out[place] = make_example(dataset[index])
            progress(index + 1, len(dataset))
        out.flush()
        temporary.replace(path)
