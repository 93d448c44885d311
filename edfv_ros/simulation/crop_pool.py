"""A pool of processes that make training samples, each in one thread."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Annotated, Literal

from pydantic import Field

from edfv_ros.child_process import start_module, stop_process
from edfv_ros.errors import SimulationError
from edfv_ros.simulation.domain import Domain
from edfv_ros.yaml_model import Part

SAMPLE, ERROR, BUG = b"s", b"e", b"b"
"""First byte of an answer: a sample follows, a message for the user, or the traceback of a bug."""

SUBSTITUTE_SEED = 1 << 40
"""Added to the seed of a sample that ended its worker twice: another scene stands in its place."""

_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("NUMBA", "OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")}
_TRIES = 2
_STOP_S = 2.0

Resolution = Annotated[
    tuple[Annotated[int, Field(ge=32, le=4096)], Annotated[int, Field(ge=32, le=4096)]], Field(strict=False)
]
Split = Literal["train", "validation", "test"]


class Request(Part):
    """One sample, asked of a worker."""

    seed: int
    split: Split
    resolution: Resolution
    domain: Domain


@dataclass(eq=False)
class _Worker:
    process: "subprocess.Popen[bytes]"
    connection: Connection
    index: int = -1


@dataclass
class CropPool:
    """Processes that make samples; what they are busy with is known, so that nothing is lost with one of them.

    Attributes:
        size: how many processes.
        split, resolution, domain: see :func:`~edfv_ros.simulation.crops.make_crop`.
        notice: called with a line about each failure that the pool makes good.
    """

    size: int
    split: Split
    resolution: Resolution
    domain: Domain
    notice: Callable[[str], None]
    _workers: list[_Worker] = field(default_factory=list)
    _failures: dict[int, int] = field(default_factory=dict)

    def __enter__(self) -> "CropPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            stop_process(worker.process, signal.SIGTERM, _STOP_S)

    def samples(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Encoded samples as they come, each with its index.

        Raises:
            SimulationError: a sample cannot be drawn, or workers cannot be started.
        """
        waiting = list(reversed(indices))
        for _ in range(self.size):
            self._give(self._start(), waiting.pop())
        while self._workers:
            ready = wait([worker.connection for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                index = worker.index
                try:
                    reply = worker.connection.recv_bytes()
                except (EOFError, ConnectionError):
                    self._bury(worker)
                    self._fail(index, f"its worker ended ({_ending(worker.process)})")
                    self._give(self._start(), index)
                    continue
                kind, content = reply[:1], reply[1:]
                if kind == ERROR:
                    raise SimulationError(content.decode())
                if kind != SAMPLE:
                    self._fail(index, f"a bug: {content.decode().strip().splitlines()[-1]}")
                    self._give(worker, index)
                    continue
                if waiting:
                    self._give(worker, waiting.pop())
                else:
                    self._bury(worker)
                yield index, content

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = start_module(
                    "edfv_ros.simulation.crop_worker",
                    [str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    environment={**os.environ, **_ONE_THREAD},
                )
            except OSError as error:
                ours.close()
                raise SimulationError(f"workers cannot be started: {error.strerror}") from None
        worker = _Worker(process, Connection(ours.detach()))
        self._workers.append(worker)
        return worker

    def _give(self, worker: _Worker, index: int) -> None:
        """Ask a worker for a sample. That it is dead is seen when its answer is awaited."""
        failed = self._failures.get(index, 0) >= _TRIES
        request = Request(
            seed=index + SUBSTITUTE_SEED * failed,
            split=self.split,
            resolution=self.resolution,
            domain=self.domain,
        )
        worker.index = index
        with suppress(ConnectionError):
            worker.connection.send_bytes(request.model_dump_json().encode())

    def _fail(self, index: int, why: str) -> None:
        """Say that a sample was not made.

        Raises:
            SimulationError: neither could the one that was to stand in its place.
        """
        failures = self._failures[index] = self._failures.get(index, 0) + 1
        if failures > _TRIES:
            raise SimulationError(f"seed {index} of {self.split}, {why}, and so did the seed in its place")
        what = "it is tried once more" if failures < _TRIES else f"seed {index + SUBSTITUTE_SEED} stands in its place"
        self.notice(f"seed {index} of {self.split}: {why}; {what}")

    def _bury(self, worker: _Worker) -> None:
        """Let go of a worker that has nothing to do any more, dead or alive."""
        self._workers.remove(worker)
        worker.connection.close()
        stop_process(worker.process, signal.SIGTERM, _STOP_S)


def _ending(process: "subprocess.Popen[bytes]") -> str:
    """How a process ended that has ended."""
    code = process.returncode
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"
