"""Record a camera and its lens as a sweep recording, until Ctrl-C or for a time."""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import ExecuteProcess, OpaqueFunction
from launch_ros.substitutions import ExecutableInPackage

from edfv_ros.nodes.launch_actions import STOP_TIMEOUT_S, LaunchArguments
from edfv_ros.nodes.launch_arguments import record_arguments, record_command


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch edfv_ros record.launch.py rig:=my_rig.yaml out:=desk` runs."""
    arguments = LaunchArguments(*record_arguments())
    return LaunchDescription([*arguments.entities, OpaqueFunction(function=start, args=[arguments])])


def start(context: LaunchContext, arguments: LaunchArguments) -> list[LaunchDescriptionEntity]:
    """`edfv record`, now that the arguments are known."""
    command = record_command(arguments.values(context))
    return [
        ExecuteProcess(
            cmd=[ExecutableInPackage(executable="edfv", package="edfv_ros"), *command],
            name="edfv_record",
            sigterm_timeout=STOP_TIMEOUT_S,
            sigkill_timeout=STOP_TIMEOUT_S,
            output="screen",
        )
    ]
