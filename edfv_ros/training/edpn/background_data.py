"""A data set that is made while a network is trained on what is there of it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from edfv_ros.simulation.dataset import MANIFEST_NAME, Dataset, generate
from edfv_ros.simulation.dataset import Progress as Made
from edfv_ros.training.edpn.examples import prepare_examples

_POLL_S = 1.0


class BackgroundData:
    """Simulates the samples that a data set lacks and prepares the examples of its whole shards, from entry to exit.

    Args:
        directory: the data set; made where there is none. One that is there keeps its resolution and domain.
        count: samples that it is to have; one with more keeps them.
        size_px: width and height of the samples of a new set.
        workers: processes; one for each processor if None.
        notice: called, from another thread, with a line about what went wrong without ending the simulation.
        shard_size: samples of a shard of a new set.

    Attributes:
        done: samples that are there.
        count: samples that are wanted.
    """

    def __init__(
        self,
        directory: Path,
        count: int,
        size_px: int,
        workers: int | None = None,
        notice: Callable[[str], None] = lambda line: None,
        *,
        shard_size: int = 64,
    ) -> None:
        self.done = 0
        self.count = count
        self._directory = directory
        self._workers = workers
        self._notice = notice
        self._resolution, self._domain, self._shard_size = (size_px, size_px), None, shard_size
        if (directory / MANIFEST_NAME).exists():
            manifest = Dataset(directory).manifest
            self.count = max(count, manifest.count)
            self._resolution, self._domain, self._shard_size = (
                manifest.resolution,
                manifest.domain,
                manifest.shard_size,
            )
        self._stopped = threading.Event()
        self._begun = threading.Event()
        self._problem: BaseException | None = None
        self._threads = [threading.Thread(target=self._run, args=(task,)) for task in (self._simulate, self._prepare)]

    def __enter__(self) -> "BackgroundData":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Raise what ended the work, if anything did.

        Raises:
            EdfvError: a sample cannot be drawn, or files cannot be written.
        """
        if self._problem is not None:
            raise self._problem

    def wait_for_first(self, progress: Callable[[int, int], None]) -> None:
        """Wait until there are examples to begin with.

        Args:
            progress: called now and then with the number of samples that are there and that of a shard.

        Raises:
            EdfvError: see :meth:`check`.
        """
        while not self._begun.is_set():
            self.check()
            progress(self.done, min(self._shard_size, self.count))
            time.sleep(0.1)

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except _Stopped:
            pass
        except BaseException as problem:  # the thread that trains raises it
            self._problem = problem
            self._stopped.set()

    def _simulate(self) -> None:
        generate(
            self._directory,
            self.count,
            "train",
            self._resolution,
            self._domain,
            self._workers,
            self._made,
            self._notice,
            shard_size=self._shard_size,
        )

    def _made(self, made: Made) -> None:
        self.done = made.done
        if self._stopped.is_set():
            raise _Stopped

    def _prepare(self) -> None:
        while True:
            is_last = self.done == self.count  # whole shards are there before they are counted
            if (self._directory / MANIFEST_NAME).exists() and prepare_examples(self._directory, self._prepared):
                self._begun.set()
            if is_last:
                return
            if self._stopped.wait(_POLL_S):
                raise _Stopped

    def _prepared(self, ready: int, count: int) -> None:
        if self._stopped.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Nobody wants more."""
