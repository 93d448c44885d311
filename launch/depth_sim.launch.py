"""The virtual rig in place of camera and lens: the node, and rviz2 where wanted."""

from launch import LaunchDescription
from launch.actions import OpaqueFunction

from edfv_ros.nodes.launch_actions import LaunchArguments, camera_actions
from edfv_ros.nodes.launch_arguments import common_arguments, namespace_argument, node_arguments, place_arguments

SIMULATED = {"source": "sim", "path": ""}


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch edfv_ros depth_sim.launch.py` runs; the node starts the virtual rig and stops it."""
    of_node = node_arguments(leaving_out=(*SIMULATED, "loop"))
    arguments = LaunchArguments(*of_node, namespace_argument(), *place_arguments(), *common_arguments())
    return LaunchDescription(
        [*arguments.entities, OpaqueFunction(function=camera_actions, args=[arguments, SIMULATED])]
    )
