"""Children: modules of this package that run as processes of their own, and end when they are told to."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import edfv_ros

_RUN = "import sys; sys.path[:] = [{root!r}, *filter(None, sys.path)]; from {module} import main; sys.exit(main())"


def start_module(
    module: str,
    arguments: Sequence[str],
    *,
    pass_fds: Sequence[int] = (),
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> subprocess.Popen[bytes]:
    """Run ``main()`` of a module of this package, with its command line arguments, in a session of its own.

    The child finds this package where the parent found it, and imports nothing from the working directory: ``python
    -m`` would, where Python is older than 3.11. Ctrl-C in the terminal does not reach it.

    Raises:
        OSError: the process does not start.
    """
    # Never the file by its path: its folder would come first, and events/types.py in place of the types of Python.
    code = _RUN.format(root=str(Path(edfv_ros.__file__).parents[1]), module=module)
    # An empty entry means the working directory.
    search_path = os.pathsep.join(filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)))
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**environment, "PYTHONPATH": search_path},
        start_new_session=True,
    )


def stop_process(process: subprocess.Popen[bytes], by: signal.Signals, timeout_s: float = 5.0) -> None:
    """Send a signal, wait, kill what is still there, and close the pipe from its stdout."""
    process.send_signal(by)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
