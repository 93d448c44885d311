"""Events shared by two processes without being copied twice."""

import mmap
import os

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.types import EVENT_DTYPE

_HEADER_BYTES = 4096


class EventRing:
    """A ring of EVENT_DTYPE slots in anonymous shared memory, for one writer and one reader.

    The writer tells the reader by other means (a pipe, whose system calls order the memory too) which slots it filled;
    the reader's position lies in the shared header. The memory has no name, so nothing can be left behind, and the size
    of /dev/shm does not matter.
    """

    def __init__(self, descriptor: int) -> None:
        """Map the memory behind a file descriptor made by :meth:`create`; the descriptor may be closed afterwards."""
        memory = mmap.mmap(descriptor, 0)  # kept by the arrays
        self._read_position = np.frombuffer(memory, np.int64, 1)
        self._slots = np.frombuffer(memory, np.int64, offset=_HEADER_BYTES).reshape(-1, 2)
        self._written = 0

    @staticmethod
    def create(capacity: int) -> int:
        """Return the file descriptor of new memory for ``capacity`` events."""
        descriptor = os.memfd_create("edfv-events")
        os.ftruncate(descriptor, _HEADER_BYTES + capacity * EVENT_DTYPE.itemsize)
        return descriptor

    @property
    def capacity(self) -> int:
        return len(self._slots)

    @property
    def written(self) -> int:
        """Writer: events written since the beginning."""
        return self._written

    @property
    def free(self) -> int:
        """Writer: events that fit now."""
        return self.capacity - (self._written - int(self._read_position[0]))

    def write(self, events: NDArray[np.void]) -> list[tuple[int, int]]:
        """Writer: copy EVENT_DTYPE [N] into the ring; return (first slot, count) of one run, or two around the end.

        Raises:
            ValueError: fewer than N slots are free.
        """
        if len(events) > self.free:
            raise ValueError(f"{len(events)} events do not fit into {self.free} free slots")
        raw = events.view(np.int64).reshape(-1, 2)  # field by field would be slow
        runs = []
        while len(raw):
            start = self._written % self.capacity
            count = min(len(raw), self.capacity - start)
            self._slots[start : start + count] = raw[:count]
            self._written += count
            raw = raw[count:]
            runs.append((start, count))
        return runs

    def view(self, start: int, count: int) -> NDArray[np.void]:
        """Reader: EVENT_DTYPE [count] in place, read-only, good until the slots are released."""
        events: NDArray[np.void] = self._slots[start : start + count].view(EVENT_DTYPE).reshape(-1)
        events.flags.writeable = False
        return events

    def release(self, count: int) -> None:
        """Reader: hand the oldest ``count`` slots back to the writer."""
        self._read_position[0] += count

    def close(self) -> None:
        """Let go of the memory; views that are still held keep it until they go."""
        self._slots = np.empty((0, 2), np.int64)
        self._read_position = np.zeros(1, np.int64)
