"""The topics of the depth node, each made only where somebody listens."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2

from edfv_ros.depth.temporal_filter import TemporalFilter
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.nodes.sweep_messages import SweepMessages
from edfv_ros.outputs.cloud import prepare_cloud_points
from edfv_ros.rig import Camera
from edfv_ros.rig.rays import pixel_rays

if TYPE_CHECKING:
    from edfv_ros.pipeline import DepthOutput


class Topic(NamedTuple):
    """A type of message, and how it is made of a sweep; None where the sweep has none."""

    kind: type
    make: Callable[[SweepMessages], Any]


TOPICS = {
    "depth": Topic(Image, SweepMessages.depth),
    "camera_info": Topic(CameraInfo, SweepMessages.camera_info),
    "points": Topic(PointCloud2, SweepMessages.points),
    "confidence": Topic(Image, SweepMessages.confidence),
    "uncertainty": Topic(Image, SweepMessages.uncertainty),
    "guide": Topic(Image, SweepMessages.guide),
    "event_image": Topic(Image, SweepMessages.event_image),
    "volume/slice": Topic(Image, SweepMessages.volume_slice),
    "lens/state": Topic(JointState, SweepMessages.lens_state),
}
"""By name; what is waited for most comes first."""


def sensor_qos() -> QoSProfile:
    """Quality of service of every topic; a new object each time, since overrides are written into it."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,  # matches every subscriber; rviz asks reliable for clouds
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        durability=DurabilityPolicy.VOLATILE,
    )


class DepthTopics:
    """Publishers of one camera. A topic without subscribers costs nothing; an inactive node publishes nothing."""

    def __init__(self, node: LifecycleNode) -> None:
        self._publishers: dict[str, LifecyclePublisher] = {
            name: node.create_lifecycle_publisher(
                topic.kind, name, sensor_qos(), qos_overriding_options=QoSOverridingOptions.with_default_policies()
            )
            for name, topic in TOPICS.items()
        }
        self._camera: Camera | None = None
        self._rays: NDArray[np.float32] | None = None
        self._filter = TemporalFilter()

    def configure(self, camera: Camera) -> None:
        """Set whose intrinsics and frame ids the messages carry."""
        self._camera = camera
        self._rays = pixel_rays(camera)
        self._filter = TemporalFilter()
        prepare_cloud_points()

    def publish(self, output: "DepthOutput", parameters: DepthParameters) -> None:
        """Publish what a sweep gave. Called from the depth thread, while the output's snapshot is good."""
        if self._camera is None or self._rays is None:
            return
        wanted = [name for name, publisher in self._publishers.items() if publisher.get_subscription_count()]
        if not wanted:
            return
        filtered = self._filter(output.estimate, output.sweep, parameters.temporal_filter)
        sweep = SweepMessages(replace(output, estimate=filtered), self._camera, self._rays, parameters)
        for name in wanted:
            message = TOPICS[name].make(sweep)
            if message is not None:
                self._publishers[name].publish(message)

    def messages(self, output: "DepthOutput", parameters: DepthParameters) -> SweepMessages | None:
        """What a sweep gave, as messages; None before the camera is known."""
        if self._camera is None or self._rays is None:
            return None
        return SweepMessages(output, self._camera, self._rays, parameters)
