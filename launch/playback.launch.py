"""A recording in place of camera and lens, at its own pace: the node, and rviz2 where wanted."""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import OpaqueFunction

from edfv_ros.nodes.launch_actions import LaunchArguments, camera_actions
from edfv_ros.nodes.launch_arguments import (
    Argument,
    common_arguments,
    namespace_argument,
    node_arguments,
    place_arguments,
)

RECORDING = Argument("recording", None, "What to play: a sweep recording (a folder or its .aedat4) or an .mcap bag.")


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch edfv_ros playback.launch.py recording:=desk` runs."""
    of_node = node_arguments(leaving_out=("source", "path"))
    arguments = LaunchArguments(RECORDING, *of_node, namespace_argument(), *place_arguments(), *common_arguments())
    return LaunchDescription([*arguments.entities, OpaqueFunction(function=play, args=[arguments])])


def play(context: LaunchContext, arguments: LaunchArguments) -> list[LaunchDescriptionEntity]:
    """The camera's actions, now that the recording is known."""
    recording = arguments.values(context)[RECORDING.name]
    return camera_actions(context, arguments, {"source": "file", "path": recording})
