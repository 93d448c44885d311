"""The virtual rig as a process of its own, streaming like a camera."""

import json
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any

from edfv_ros.child_process import start_module, stop_process
from edfv_ros.errors import SourceError

STOP_TIMEOUT_S = 5.0
CHECK_S = 0.1


class SimulatedCamera:
    """Context manager around a process of :mod:`edfv_ros.simulation.live`.

    Args:
        arguments: command line arguments of the simulator.
        timeout_s: how long it may take until it streams.
        cancelled: set by another thread to give up waiting for it.

    Attributes:
        announcement: the JSON object with which the simulator says that it is ready.
    """

    def __init__(self, arguments: list[str], timeout_s: float = 60.0, cancelled: threading.Event | None = None) -> None:
        self._arguments = arguments
        self._timeout_s = timeout_s
        self._cancelled = cancelled or threading.Event()
        self._resources = ExitStack()
        self.announcement: dict[str, Any] = {}

    @property
    def uri(self) -> str:
        """Address of its event stream."""
        return str(self.announcement["uri"])

    @property
    def lens_port(self) -> str:
        """Pseudo-terminal of its lens."""
        return str(self.announcement["lens_port"])

    def __enter__(self) -> "SimulatedCamera":
        """Start the simulator and wait until it streams.

        Raises:
            SourceError: it ended, did not become ready in time, or was cancelled.
        """
        with ExitStack() as stack:
            complaints = stack.enter_context(tempfile.TemporaryFile())
            # Ctrl-C in the terminal is for the node, which then stops the simulator in order. It ends by itself when it
            # loses its parent, so it does not outlive a node that was killed.
            process = start_module(
                "edfv_ros.simulation.live", self._arguments, stdout=subprocess.PIPE, stderr=complaints
            )
            stack.callback(stop_process, process, signal.SIGTERM, STOP_TIMEOUT_S)
            self.announcement = self._wait_until_ready(process, complaints)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def _wait_until_ready(self, process: subprocess.Popen[bytes], complaints: IO[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        deadline_s = time.monotonic() + self._timeout_s
        text = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in text:
                if self._cancelled.is_set():
                    raise SourceError("starting the simulated camera was cancelled")
                if not selector.select(CHECK_S):
                    if time.monotonic() < deadline_s:
                        continue
                    waited = f"did not start within {self._timeout_s:g} s"
                    raise SourceError(f"the simulated camera {waited}{_last_line(complaints)}")
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    code = process.wait(STOP_TIMEOUT_S)
                    raise SourceError(f"the simulated camera ended with exit code {code}{_last_line(complaints)}")
                text += chunk
        announcement: dict[str, Any] = json.loads(text.split(b"\n")[0])
        return announcement


def _last_line(complaints: IO[bytes]) -> str:
    """What the simulator said last, to be put behind a message."""
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {last}" if last else ""
