"""Threads that share the work on one sweep: compiled code that lets go of the interpreter's lock."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def usual_threads() -> int:
    """Half of the cores, at least two: the others are for camera and volumes."""
    return max(2, (os.cpu_count() or 1) // 2)


class Workers:
    """A pool of threads.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="depth worker")

    def do(self, work: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Do the work on each item, and return when all is done.

        Raises:
            Exception: what the first of them to fail raised.
        """
        for _ in self._pool.map(work, items):
            pass

    def share(self, work: Callable[[int, int], object], count: int, fewest: int = 1) -> None:
        """Do the work on ranges, ``work(first, last)``, which make up 0..``count``.

        Args:
            work: done at once by several threads.
            count: of rows, planes or whatever there is to do.
            fewest: of them that are worth a thread.
        """
        parts = max(1, min(self.threads, count // fewest))
        edges = np.linspace(0, count, parts + 1).astype(int).tolist()
        self.do(lambda part: work(*part), pairwise(edges))


@cache
def shared_workers() -> Workers:
    """Those of this process: one sweep is worked on at a time, by all of them."""
    return Workers(usual_threads())
