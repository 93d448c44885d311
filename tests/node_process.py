"""The depth node as a process, and a ROS context to talk to it: helpers of the tests of the nodes."""

import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

ROOT = Path(__file__).parents[1]
_NUMBERS = itertools.count()


class NodeProcess:
    """``python -m edfv_ros.nodes.start`` with parameters, in a ROS domain of its own."""

    def __init__(self, domain_id: int, parameters: dict[str, object], *ros_arguments: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        mark = f"node-{os.getpid()}-{next(_NUMBERS)}"
        self._mark = f"EDFV_TEST_PROCESS={mark}".encode()
        given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={_yaml(value)}")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edfv_ros.nodes.start", "--ros-args", *given, *ros_arguments],
            cwd=ROOT,
            env=dict(
                os.environ,
                ROS_DOMAIN_ID=str(domain_id),
                ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
                EDFV_TEST_PROCESS=mark,
            ),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGINT, timeout_s: float = 20.0) -> int:
        """Send a signal, wait for the end and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def leftover_processes(self) -> list[str]:
        """Processes of the node, itself among them, that are still there."""
        found = []
        for process in self._processes():
            with suppress(OSError):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def _processes(self) -> Iterator[Path]:
        """Folders in /proc of what has the node's environment: its children too, which have sessions of their own."""
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it ended meanwhile, or is somebody else's
                if self._mark in environment.read_bytes().split(b"\0"):
                    yield environment.parent

    def shared_memory(self) -> set[Path]:
        """Segments that the node's processes have mapped; without those of whole ROS domains, which all nodes share."""
        found = set()
        for process in self._processes():
            with suppress(OSError):  # it ended meanwhile
                words = (process / "maps").read_text().split()
                found |= {Path(word) for word in words if word.startswith("/dev/shm/fastrtps_") and "_port" not in word}
        return found

    def __enter__(self) -> "NodeProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


def _yaml(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


@contextmanager
def ros_context() -> Iterator[tuple[Context, int]]:
    """A ROS context in a random domain, of this machine only."""
    domain_id = random.randrange(1, 100)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    context = Context()
    rclpy.init(context=context, domain_id=domain_id)
    try:
        yield context, domain_id
    finally:
        rclpy.try_shutdown(context=context)


class Observer:
    """A node in the test's process that keeps what it receives."""

    def __init__(self, context: Context) -> None:
        self.node = Node("observer", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.received: dict[str, list] = {}

    def subscribe(self, kind: type, topic: str, qos: object) -> None:
        messages = self.received.setdefault(topic, [])
        self.node.create_subscription(kind, topic, messages.append, qos)

    def spin_also(self, node: Node) -> None:
        self._executor.add_node(node)

    def wait_for(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Spin until the condition holds; False where it does not within the time."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                return False
            self._executor.spin_once(timeout_sec=0.1)
        return True


def last_status(observer: Observer) -> DiagnosticStatus:
    """What the node has said of itself last, on a subscribed /diagnostics."""
    arrays = observer.received["/diagnostics"]
    status: DiagnosticStatus = arrays[-1].status[0] if arrays else DiagnosticStatus(level=DiagnosticStatus.STALE)
    return status


def stamp_us(message: Any) -> int:
    """The stamp of a message in unix microseconds."""
    return int(message.header.stamp.sec) * 1_000_000 + int(message.header.stamp.nanosec) // 1000
