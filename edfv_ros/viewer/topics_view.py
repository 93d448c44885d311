"""The topics of a running depth node in the viewer."""

import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2

from edfv_ros.viewer.viewer import Viewer

_SPIN_S: Final = 0.1
_QUEUED: Final = 5
_PIXELS: Final = {"32FC1": "f4", "16UC1": "u2", "mono8": "u1"}
_FOCUS: Final = "focus"


class TopicsView:
    """Subscribes to a depth node; a best-effort subscriber hears reliable and best-effort publishers.

    Attributes:
        depths: depth images shown.
    """

    def __init__(self, node: Node, viewer: Viewer, namespace: str) -> None:
        self._viewer = viewer
        self.depths = 0
        qos = QoSProfile(depth=_QUEUED, reliability=ReliabilityPolicy.BEST_EFFORT)
        prefix = namespace.rstrip("/")
        for name, kind, show in (
            ("depth", Image, self._show_depth),
            ("points", PointCloud2, self._show_points),
            ("confidence", Image, self._show_confidence),
            ("guide", Image, self._show_guide),
            ("camera_info", CameraInfo, self._show_camera),
            ("lens/state", JointState, self._show_focus),
        ):
            node.create_subscription(kind, f"{prefix}/{name}", show, qos)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._show_diagnostics, qos)

    def _show_depth(self, message: Image) -> None:
        pixels = _pixels(message)
        if pixels is None:
            return
        depth_m = pixels.astype(np.float32)
        if message.encoding == "16UC1":  # millimetres, 0 unknown
            depth_m = np.where(depth_m > 0, depth_m * np.float32(1e-3), np.float32(np.nan))
        known_m = depth_m[np.isfinite(depth_m)]
        range_m = (float(known_m.min()), float(known_m.max())) if len(known_m) else (0.0, 1.0)
        self._viewer.show_depth(_time_us(message), depth_m, range_m)
        self.depths += 1

    def _show_points(self, message: PointCloud2) -> None:
        points_m = _points(message)
        self._viewer.show_points(_time_us(message), points_m[np.isfinite(points_m).all(axis=1)], None)

    def _show_confidence(self, message: Image) -> None:
        pixels = _pixels(message)
        if pixels is not None:
            self._viewer.show_confidence(_time_us(message), pixels.astype(np.float32))

    def _show_guide(self, message: Image) -> None:
        pixels = _pixels(message)
        if pixels is not None:
            self._viewer.show_guide(_time_us(message), pixels.astype(np.uint8))

    def _show_camera(self, message: CameraInfo) -> None:
        self._viewer.show_camera(np.reshape(message.k, (3, 3)), message.width, message.height)

    def _show_focus(self, message: JointState) -> None:
        if _FOCUS in message.name:
            vergence_dpt = message.position[list(message.name).index(_FOCUS)]
            self._viewer.show_focus(np.array([_time_us(message)], np.float64), np.array([vergence_dpt]))

    def _show_diagnostics(self, message: DiagnosticArray) -> None:
        values = {f"{status.name}": status.message for status in message.status}
        for status in message.status:
            values |= {pair.key: pair.value for pair in status.values}
        self._viewer.show_statistics(_time_us(message), values)


def view_topics(namespace: str, open_viewer: Callable[[], Viewer], *, stop: threading.Event) -> int:
    """Show the topics of a depth node until ``stop`` is set.

    Args:
        namespace: of the node, empty for none.
        open_viewer: opens the viewer.
        stop: ends it.

    Returns:
        How many depth images were shown.
    """
    context = Context()
    rclpy.init(context=context)
    try:
        node = Node("edfv_view", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        with open_viewer() as viewer:
            view = TopicsView(node, viewer, namespace)
            while not stop.is_set():
                executor.spin_once(timeout_sec=_SPIN_S)
        node.destroy_node()
        return view.depths
    finally:
        rclpy.try_shutdown(context=context)


def _time_us(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000 + int(stamp.nanosec) // 1000


def _pixels(message: Image) -> NDArray[np.generic] | None:
    """The pixels [H, W] of an image of one channel; None for other encodings."""
    if message.encoding not in _PIXELS:
        return None
    dtype = np.dtype((">" if message.is_bigendian else "<") + _PIXELS[message.encoding])
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width * dtype.itemsize].view(dtype)


def _points(message: PointCloud2) -> NDArray[np.float32]:
    """x, y and z, float32 [N, 3], of a cloud with any fields beside these."""
    offsets = {field.name: field.offset for field in message.fields}
    kind = (">" if message.is_bigendian else "<") + "f4"
    dtype = np.dtype(
        {
            "names": ["x", "y", "z"],
            "formats": [kind] * 3,
            "offsets": [offsets[name] for name in ("x", "y", "z")],
            "itemsize": message.point_step,
        }
    )
    cloud = np.frombuffer(message.data, dtype, count=message.height * message.width)
    return np.stack([cloud[name] for name in ("x", "y", "z")], axis=1).astype(np.float32)
