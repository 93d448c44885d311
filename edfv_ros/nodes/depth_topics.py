"""The topics of the depth node, each made only where somebody listens."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2

from edfv_ros.nodes import messages
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.rig import Camera
from edfv_ros.rig.rays import pixel_rays

if TYPE_CHECKING:
    from edfv_ros.pipeline import DepthOutput

TOPICS = {
    "depth": Image,
    "camera_info": CameraInfo,
    "points": PointCloud2,
    "confidence": Image,
    "guide": Image,
    "lens/state": JointState,
}


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
                kind, name, sensor_qos(), qos_overriding_options=QoSOverridingOptions.with_default_policies()
            )
            for name, kind in TOPICS.items()
        }
        self._camera: Camera | None = None
        self._rays: NDArray[np.float32] | None = None

    def configure(self, camera: Camera) -> None:
        """Set whose intrinsics and frame ids the messages carry."""
        self._camera = camera
        self._rays = None

    def publish(self, output: "DepthOutput", parameters: DepthParameters) -> None:
        """Publish what a sweep gave. Called from the depth thread.

        Everything made of the sweep carries one stamp, its middle, so that subscribers can join topics exactly; the
        lens state carries the moment of the turning point.
        """
        camera = self._camera
        if camera is None:
            return
        sweep = output.sweep
        header = messages.header(sweep.middle_us, camera.optical_frame)
        estimate = output.estimate
        if self._wanted("depth") or self._wanted("points"):
            depth_m = messages.limited_depth(
                estimate.depth_m,
                estimate.confidence,
                threshold=parameters.confidence_threshold,
                near_m=parameters.near_m,
                far_m=parameters.far_m,
            )
            if self._wanted("depth"):
                self._publishers["depth"].publish(messages.float_image(header, depth_m))
            if self._wanted("points"):
                cloud = messages.point_cloud(header, depth_m, estimate.confidence, self._camera_rays(camera))
                self._publishers["points"].publish(cloud)
        if self._wanted("camera_info"):
            self._publishers["camera_info"].publish(messages.camera_info(header, camera))
        if self._wanted("confidence"):
            self._publishers["confidence"].publish(messages.float_image(header, estimate.confidence))
        if output.frame is not None and self._wanted("guide"):
            self._publishers["guide"].publish(messages.mono_image(header, output.frame.image))
        if self._wanted("lens/state"):
            turning_point = messages.header(sweep.end_us, camera.link_frame)
            self._publishers["lens/state"].publish(messages.lens_state(turning_point, sweep))

    def _wanted(self, name: str) -> bool:
        return self._publishers[name].get_subscription_count() > 0

    def _camera_rays(self, camera: Camera) -> NDArray[np.float32]:
        if self._rays is None:
            self._rays = pixel_rays(camera)
        return self._rays
