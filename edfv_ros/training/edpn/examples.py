"""From simulated sweeps to what the network sees, computed once: files of records beside the shards."""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, SCORED, score_input, volume_input
from edfv_ros.depth.evidence import FocusEvidence
from edfv_ros.depth.likelihood import CELL_PX, cell_grid
from edfv_ros.errors import EdfvError
from edfv_ros.optics import VergenceBins
from edfv_ros.outputs.files import make_folder, replace_atomically
from edfv_ros.simulation.crops import TrainingSweeps
from edfv_ros.simulation.dataset import Dataset, Manifest
from edfv_ros.training.volumes import bin_volumes

FORMAT = 3
"""Of the records; to be raised whenever the same sample would give another one."""

BOTH, SINGLE = 0, 1
"""Variants of an example: evidence of both sweeps, and of one of them."""

VOLUME_UNIT = 1.0 / 31.0
"""Volumes are kept as bytes in this unit."""

FOLDER_NAME = "examples"

_LARGEST_POSITION = 1e4  # bins: infinitely far is far enough


def record_dtype(width: int, height: int) -> np.dtype[np.void]:
    """Layout of an example; fields with two entries are of the variants BOTH and SINGLE.

    ``position_bins`` is NaN where unknown; ``single_up`` tells which sweep SINGLE is of; ``far_bins`` is the vergence
    of the far end of the sweep in bin widths, so that ``(position_bins + 0.5 + far_bins)`` is proportional to vergence.
    """
    rows, columns = cell_grid(width, height)
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
    """The record of a sample, an array of :func:`record_dtype` without axes."""
    width, height = sample.resolution
    record = np.zeros((), record_dtype(width, height))
    bins = VergenceBins(*sample.vergence_range_dpt, BINS)
    evidence_of = FocusEvidence(sample.blur_slope_px_per_dpt, bins, SCORED)
    counts, event_count = bin_volumes(sample, BINS)
    directed = list(zip(counts, (1, -1), strict=True))
    rng = np.random.default_rng([sample.seed, 0xE4A])
    single, latest = rng.integers(2, size=2)
    for variant, volumes, of_events, sweep in (
        (BOTH, directed, event_count.sum(0), latest),
        (SINGLE, directed[single : single + 1], event_count[single], single),
    ):
        evidence = evidence_of(*volumes)
        record["score"][variant] = score_input(evidence.score)
        volume = volume_input(evidence.change, height, width)
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


def prepare_examples(directory: Path, progress: Callable[[int, int], None] = lambda ready, count: None) -> int:
    """Make the examples of the whole shards of a data set that have none yet.

    Several processes may do so at once, but not several threads. A shard that has been made anew with more samples
    gets new ones.

    Args:
        directory: the data set; its folder ``examples`` gets the files.
        progress: called with the number of examples that are ready and that of all.

    Returns:
        How many examples there are.

    Raises:
        EdfvError: the folder holds no data set, a damaged one, or the files cannot be written.
    """
    dataset = Dataset(directory)
    if not len(dataset):
        return 0
    make_folder(directory / FOLDER_NAME)
    for number in range(math.ceil(len(dataset) / dataset.manifest.shard_size)):
        path, indices = _file(directory, dataset, number)
        if _length(path) != len(indices):
            _write(path, dataset, indices, progress)
        progress(indices.stop, len(dataset))
    return len(dataset)


class Examples:
    """The examples of a data set, those of the shards that are whole when it is opened.

    Args:
        directory: the data set.
        progress: see :func:`prepare_examples`.
        prepare: make those that are missing; else they are those that there are.

    Attributes:
        manifest: what made the data set.

    Raises:
        EdfvError: see :func:`prepare_examples`; or there is no whole shard yet.
    """

    def __init__(
        self,
        directory: Path,
        progress: Callable[[int, int], None] = lambda ready, count: None,
        *,
        prepare: bool = True,
    ) -> None:
        if prepare:
            prepare_examples(directory, progress)
        self._directory = directory
        self._files: list[NDArray[np.void]] = []
        self.extend()
        if not self._files:
            raise EdfvError(
                f"{directory}: holds no whole shard yet: make it with edfv dataset --out {directory} --count "
                f"{self.manifest.count}"
            )

    @property
    def resolution(self) -> tuple[int, int]:
        """Width and height of an example in pixels."""
        return self.manifest.resolution

    def extend(self) -> None:
        """Add the examples that have been prepared since; never while others draw from these."""
        dataset = Dataset(self._directory)
        self.manifest: Manifest = dataset.manifest
        files = []
        for number in range(math.ceil(len(dataset) / self.manifest.shard_size)):
            path, indices = _file(self._directory, dataset, number)
            if _length(path) != len(indices):
                break
            files.append(np.load(path, mmap_mode="r"))
        self._files = files

    def __len__(self) -> int:
        return sum(map(len, self._files))

    def __getitem__(self, index: int) -> NDArray[np.void]:
        """Example ``index``, mapped from its file."""
        number, place = divmod(index, self.manifest.shard_size)
        record: NDArray[np.void] = self._files[number][place]
        return record


class JoinedExamples:
    """The examples of several data sets, one after the other.

    Args:
        parts: of the same resolution; at least one.

    Raises:
        EdfvError: they are of different resolutions.
    """

    def __init__(self, parts: Sequence[Examples]) -> None:
        self._parts = parts
        for part in parts[1:]:
            if part.resolution != parts[0].resolution:
                first, other = (" x ".join(map(str, each.resolution)) for each in (parts[0], part))
                raise EdfvError(f"data sets of {first} and of {other} pixels: train on sets of one size")

    @property
    def resolution(self) -> tuple[int, int]:
        """Width and height of an example in pixels."""
        return self._parts[0].resolution

    def extend(self) -> None:
        """See :meth:`Examples.extend`."""
        for part in self._parts:
            part.extend()

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, index: int) -> NDArray[np.void]:
        """Example ``index``, mapped from its file."""
        for part in self._parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


AnyExamples = Examples | JoinedExamples


def _file(directory: Path, dataset: Dataset, number: int) -> tuple[Path, range]:
    """Where the examples of a shard lie, and which they are."""
    size = dataset.manifest.shard_size
    path = directory / FOLDER_NAME / f"v{FORMAT}_{number:05d}.npy"
    return path, range(number * size, min((number + 1) * size, len(dataset)))


def _length(path: Path) -> int:
    """How many examples a file holds; 0 where there is none."""
    try:
        return len(np.load(path, mmap_mode="r"))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise EdfvError(f"{path}: cannot be read: {reason}: delete it, and it is made anew") from None


def _write(path: Path, dataset: Dataset, indices: range, progress: Callable[[int, int], None]) -> None:
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        with replace_atomically(path) as temporary, temporary.open("wb") as file:
            _write_header(file, record_dtype(*dataset.manifest.resolution), len(indices))
            records = pool.map(lambda index: make_example(dataset[index]), indices)
            for index, record in zip(indices, records, strict=True):
                file.write(record.tobytes())
                progress(index + 1, len(dataset))
    finally:
        pool.shutdown(cancel_futures=True)


def _write_header(file: IO[bytes], dtype: np.dtype[np.void], count: int) -> None:
    """Begin a .npy file that is written record by record: mapped memory on a full disk would end the process."""
    head = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    npy.write_array_header_1_0(file, head)
