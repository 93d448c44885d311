"""The node and the subscriber of the demonstration as processes of their own."""

import json
import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edfv_ros.child_process import start_module, stop_process
from edfv_ros.nodes.fast_dds import fast_dds_environment

STOP_TIMEOUT_S = 15.0


def ros_environment() -> dict[str, str]:
    """A ROS domain of this machine only, so that the demonstration meets no robot."""
    domain = {"ROS_DOMAIN_ID": str(random.randrange(1, 100)), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    return {**os.environ, **fast_dds_environment(), **domain}


@contextmanager
def running_node(parameters: dict[str, str], environment: dict[str, str]) -> Iterator["NodeLog"]:
    """Run the depth node; afterwards it is stopped as by Ctrl-C."""
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    with tempfile.TemporaryFile() as file:
        process = start_module(
            "edfv_ros.nodes.start",
            ["--ros-args", *given],
            stdout=file,
            stderr=subprocess.STDOUT,
            environment=environment,
        )
        try:
            yield NodeLog(file.fileno())
        finally:
            stop_process(process, signal.SIGINT, STOP_TIMEOUT_S)


class NodeLog:
    """What the node has said."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def text(self) -> str:
        size = os.fstat(self._descriptor).st_size
        return os.pread(self._descriptor, size, 0).decode(errors="replace")


def listen(seconds: float, timeout_s: float, out: Path, environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Run the subscriber, and yield its reports as they come; the last one stands for the whole time."""
    process = start_module(
        "edfv_ros.nodes.depth_listener",
        [f"--seconds={seconds}", f"--timeout={timeout_s}", f"--out={out}"],
        stdout=subprocess.PIPE,
        environment=environment,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    finally:
        stop_process(process, signal.SIGINT, STOP_TIMEOUT_S)
