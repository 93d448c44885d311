"""The transform from camera body to optical frame on /tf_static, latched."""

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from edfv_ros.nodes.messages import optical_transform
from edfv_ros.rig import Camera

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # it is not on PyPI
    TFMessage = None


class StaticFrames:
    """Publishes where the optical frame is; without tf2_msgs, says once what that means."""

    def __init__(self, node: Node) -> None:
        self._node = node
        if TFMessage is None:
            node.get_logger().info(
                "tf2_msgs is not installed: no /tf_static (in a ROS environment: apt install ros-$ROS_DISTRO-tf2-msgs)"
            )
            return
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(TFMessage, "/tf_static", latched)

    def publish(self, camera: Camera) -> None:
        if TFMessage is None:
            return
        stamp = self._node.get_clock().now().to_msg()
        transform = optical_transform(stamp, camera.link_frame, camera.optical_frame)
        self._publisher.publish(TFMessage(transforms=[transform]))
