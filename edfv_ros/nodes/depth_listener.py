"""A subscriber as a robot would be: rates, latency and the last messages of a depth camera.

``python -m edfv_ros.nodes.depth_listener --seconds 10 --out FOLDER`` prints a JSON line with what it has so far twice a
second, and leaves the arrays of the last messages in ``FOLDER/last_messages.npz``. Exits with code 1 if no depth came.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState, PointCloud2

from edfv_ros.nodes.depth_topics import TOPICS
from edfv_ros.nodes.messages import cloud_array, image_array

LISTENED = ("depth", "camera_info", "points", "confidence", "guide", "lens/state")
"""What a robot takes; the other topics are for people."""

REPORT_PERIOD_S = 0.5
QUEUED_MESSAGES = 10  # a measurement must not miss messages that arrive close together


def seconds(stamp: Time) -> float:
    """A stamp in unix seconds."""
    return stamp.sec + stamp.nanosec * 1e-9


@dataclass
class TopicRecord:
    """Arrivals on one topic: when, and how long after the sweep had ended."""

    arrivals_s: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    def rate_hz(self) -> float:
        if len(self.arrivals_s) < 2:
            return 0.0
        return (len(self.arrivals_s) - 1) / (self.arrivals_s[-1] - self.arrivals_s[0])


@dataclass(frozen=True)
class TopicReport:
    """What a :class:`TopicRecord` comes to; latencies are None while unknown."""

    messages: int
    rate_hz: float
    latency_p50_ms: float | None
    latency_p90_ms: float | None
    latency_max_ms: float | None

    @classmethod
    def of(cls, record: TopicRecord) -> "TopicReport":
        if not record.latencies_ms:
            return cls(len(record.arrivals_s), record.rate_hz(), None, None, None)
        p50, p90, highest = np.percentile(record.latencies_ms, [50, 90, 100])
        return cls(len(record.arrivals_s), record.rate_hz(), float(p50), float(p90), float(highest))


class DepthListener(Node):
    """Subscribes to the topics of a depth node in its own namespace.

    The stamp of depth is the middle of its sweep; how long after that the sweep ended is taken from lens/state, which
    carries the moment of the turning point.
    """

    def __init__(self) -> None:
        super().__init__("depth_listener")
        self.records = {name: TopicRecord() for name in LISTENED}
        self.last: dict[str, object] = {}
        self._half_sweep_s: float | None = None
        for name in LISTENED:
            self.create_subscription(TOPICS[name].kind, name, partial(self._receive, name), QUEUED_MESSAGES)

    def _receive(self, name: str, message: Image | PointCloud2 | JointState) -> None:
        now_s = time.time()
        stamp_s = seconds(message.header.stamp)
        record = self.records[name]
        record.arrivals_s.append(now_s)
        if name == "lens/state":
            depth = self.last.get("depth")
            if isinstance(depth, Image) and stamp_s > seconds(depth.header.stamp):
                self._half_sweep_s = stamp_s - seconds(depth.header.stamp)
            record.latencies_ms.append((now_s - stamp_s) * 1e3)
        elif self._half_sweep_s is not None:
            record.latencies_ms.append((now_s - stamp_s - self._half_sweep_s) * 1e3)
        self.last[name] = message

    def report(self) -> dict[str, dict[str, float | None]]:
        return {name: asdict(TopicReport.of(record)) for name, record in self.records.items()}

    def save(self, path: Path) -> None:
        """Write the arrays of the last messages, and the stamp of the depth in microseconds."""
        arrays: dict[str, Any] = {}
        for name in ("depth", "confidence", "guide"):
            message = self.last.get(name)
            if isinstance(message, Image):
                arrays[name] = image_array(message)
        points = self.last.get("points")
        if isinstance(points, PointCloud2):
            arrays["points"] = cloud_array(points)
        depth = self.last.get("depth")
        if isinstance(depth, Image):
            stamp = depth.header.stamp
            arrays["stamp_us"] = np.array(stamp.sec * 1_000_000 + stamp.nanosec // 1000)
        np.savez(path, **arrays)


def listen(listener: DepthListener, duration_s: float, timeout_s: float) -> None:
    """Spin for ``duration_s`` from the first depth on, at most ``timeout_s`` in all, printing reports."""
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(listener)
    deadline_s = time.monotonic() + timeout_s
    next_report_s = time.monotonic() + REPORT_PERIOD_S
    arrivals = listener.records["depth"].arrivals_s
    while (now_s := time.monotonic()) < deadline_s:
        executor.spin_once(timeout_sec=0.05)
        if now_s >= next_report_s:
            next_report_s += REPORT_PERIOD_S
            print(json.dumps(listener.report()), flush=True)
        if arrivals and time.time() - arrivals[0] >= duration_s:
            return


def main() -> int:
    """Listen; 0 where depth arrived, 1 where none did."""
    parser = argparse.ArgumentParser(description="Measure rates and latency of a depth camera's topics.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to listen from the first depth on")
    parser.add_argument("--timeout", type=float, default=60.0, help="how long to wait in all, in seconds")
    parser.add_argument("--out", type=Path, help="folder for last_messages.npz")
    arguments, ros_arguments = parser.parse_known_args()
    rclpy.init(args=ros_arguments)
    try:
        listener = DepthListener()
        listen(listener, arguments.seconds, arguments.timeout)
        print(json.dumps(listener.report()), flush=True)
        if arguments.out is not None:
            listener.save(arguments.out / "last_messages.npz")
        return 0 if listener.records["depth"].arrivals_s else 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 1
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
