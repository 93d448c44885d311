"""Data sets of training samples: made by a pool of processes, kept in shards, read at random.

Sample ``i`` is ``make_crop(i, ...)``, whoever makes it and when: a run that was killed goes on where whole shards end,
and any number of workers writes the same files.
"""

import bisect
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from edfv_ros import __version__
from edfv_ros.errors import OutputError, SimulationError
from edfv_ros.simulation.crop_pool import CropPool, Resolution, Split
from edfv_ros.simulation.crops import TrainingSweeps
from edfv_ros.simulation.domain import Domain
from edfv_ros.simulation.shards import SUFFIX, ShardReader, shard_path, write_shard
from edfv_ros.yaml_model import Part, first_problem

MANIFEST_NAME = "dataset.json"
FORMAT = 1


class Manifest(Part):
    """``dataset.json``: what made a data set.

    Attributes:
        format: of the shards.
        edfv_ros: version of this package; another one may draw other samples from the same seeds.
        count: how many samples the set is to have.
        split, resolution, domain: see :func:`~edfv_ros.simulation.crops.make_crop`.
        shard_size: samples of a shard; the last one may have fewer.
    """

    format: int = FORMAT
    edfv_ros: str = __version__
    count: Annotated[int, Field(ge=1)]
    split: Split
    resolution: Resolution
    domain: Domain
    shard_size: Annotated[int, Field(ge=1)]

    @property
    def shards(self) -> int:
        return -(-self.count // self.shard_size)

    def indices(self, shard: int) -> range:
        """The samples of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.count))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: samples that exist, those of earlier runs included.
        made: samples made by this run.
        count: samples wanted.
    """

    done: int
    made: int
    count: int


def generate(
    directory: str | Path,
    count: int,
    split: str = "train",
    resolution: tuple[int, int] = (128, 128),
    domain: Domain | None = None,
    workers: int | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
    notice: Callable[[str], None] = lambda line: None,
    *,
    shard_size: int = 64,
) -> Manifest:
    """Make a data set, or what is missing of one.

    Where it is interrupted, by whatever, whole shards stay, and the next call with the same arguments goes on. A
    larger ``count`` makes a set longer. A worker that dies is replaced, and its sample tried once more by another;
    then the sample of seed ``i + SUBSTITUTE_SEED`` takes its place.

    Args:
        directory: gets ``dataset.json`` and the shards.
        count: samples.
        split: ``train``, ``validation`` or ``test``.
        resolution: width and height of a sample in pixels.
        domain: what samples are drawn from.
        workers: processes; as many as this one may use processors if None.
        progress: called after each sample.
        notice: called with a line about what went wrong without ending the run.
        shard_size: samples of a shard.

    Raises:
        SimulationError: an argument is impossible, the folder holds another data set, or a sample cannot be drawn.
        OutputError: the folder cannot be written.
    """
    folder = Path(directory)
    try:
        manifest = Manifest.model_validate(
            {
                "count": count,
                "split": split,
                "resolution": resolution,
                "domain": domain or Domain(),
                "shard_size": shard_size,
            }
        )
    except ValidationError as problem:
        raise SimulationError(f"data set: {first_problem(problem, Manifest)}") from None
    _claim(folder, manifest)
    missing = [number for number in range(manifest.shards) if not _is_whole(folder, manifest, number)]
    wanted = [index for number in missing for index in manifest.indices(number)]
    workers = min(len(os.sched_getaffinity(0)) if workers is None else workers, len(wanted))
    if workers < 1 and wanted:
        raise SimulationError(f"workers = {workers}: give at least 1")
    made: dict[int, bytes] = {}
    done = manifest.count - len(wanted)
    progress(Progress(done, 0, manifest.count))
    with CropPool(workers, manifest.split, manifest.resolution, manifest.domain, notice) as pool:
        for number_made, (index, sample) in enumerate(pool.samples(wanted), start=1):
            made[index] = sample
            indices = manifest.indices(index // manifest.shard_size)
            if all(i in made for i in indices):
                write_shard(shard_path(folder, index // manifest.shard_size), [made.pop(i) for i in indices])
            progress(Progress(done + number_made, number_made, manifest.count))
    return manifest


class Dataset(Sequence[TrainingSweeps]):
    """The samples of a folder, by index: those of the whole shards from the first on that are there.

    A set can be read while it is being made; what comes later is seen by who opens it later.

    Attributes:
        manifest: what made it.

    Raises:
        SimulationError: the folder holds no data set, or a shard is damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        folder = Path(directory)
        self.manifest = _load_manifest(folder / MANIFEST_NAME)
        self._shards: list[ShardReader] = []
        self._ends: list[int] = []
        for number in range(self.manifest.shards):
            path = shard_path(folder, number)
            if not path.exists():
                break
            self._shards.append(ShardReader(path))
            self._ends.append(len(self._shards[-1]) + (self._ends[-1] if self._ends else 0))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> TrainingSweeps:  # type: ignore[override]
        """Sample ``index``, negative ones from the end.

        Raises:
            IndexError: there is no such sample.
            SimulationError: the sample is damaged.
        """
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = bisect.bisect_right(self._ends, at)
        return self._shards[number][at - (self._ends[number - 1] if number else 0)]


def _claim(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, unless one is there that says the same."""
    path = folder / MANIFEST_NAME
    if path.exists():
        present = _load_manifest(path)
        for name in Manifest.model_fields:
            was, is_now = getattr(present, name), getattr(manifest, name)
            if name == "count" and was <= is_now:
                continue
            if was != is_now:
                remedy = f"give {was} or more" if name == "count" else "use another folder"
                raise SimulationError(f"{folder}: holds a data set {_difference(name, was, is_now)}: {remedy}")
        if present == manifest:
            return
    elif folder.is_dir() and any(folder.glob(f"*{SUFFIX}")):
        raise SimulationError(f"{folder}: holds shards but no {MANIFEST_NAME}, so that nobody knows of what: empty it")
    temporary = folder / f".{MANIFEST_NAME}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the data set: {error.strerror or error}") from None


def _difference(name: str, was: object, is_now: object) -> str:
    if isinstance(was, Domain) and isinstance(is_now, Domain):
        key = next(key for key in Domain.model_fields if getattr(was, key) != getattr(is_now, key))
        return _difference(f"domain.{key}", getattr(was, key), getattr(is_now, key))
    return f"made with {name} = {was}, not {is_now}"


def _load_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise SimulationError(f"{path}: no such file, so that {path.parent} is no data set") from None
    except OSError as error:
        raise SimulationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as problem:
        raise SimulationError(f"{path}: {first_problem(problem, Manifest)}") from None


def _is_whole(folder: Path, manifest: Manifest, number: int) -> bool:
    """Whether a shard is there as it should be; a damaged one is not, and will be made again."""
    path = shard_path(folder, number)
    if not path.exists():
        return False
    try:
        return len(ShardReader(path)) == len(manifest.indices(number))
    except SimulationError:
        return False
