"""The depth camera: the node, its place on the robot, and rviz2 where wanted."""

from launch import LaunchDescription
from launch.actions import OpaqueFunction

from edfv_ros.nodes.launch_actions import LaunchArguments, camera_actions
from edfv_ros.nodes.launch_arguments import common_arguments, namespace_argument, node_arguments, place_arguments


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch edfv_ros depth.launch.py` runs; `--show-args` lists the arguments."""
    arguments = LaunchArguments(*node_arguments(), namespace_argument(), *place_arguments(), *common_arguments())
    return LaunchDescription([*arguments.entities, OpaqueFunction(function=camera_actions, args=[arguments])])
