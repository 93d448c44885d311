"""The depth camera: the node, and rviz where wanted."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from edfv_ros.errors import EdfvError
from edfv_ros.nodes.fast_dds import fast_dds_environment
from edfv_ros.nodes.parameters import default, rules
from edfv_ros.rig import load_rig

NODE_ARGUMENTS = ("rig", "source", "path", "camera_name", "estimator", "prior", "model", "autostart")
TOPICS = ("depth", "points", "confidence", "guide")


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch edfv_ros depth.launch.py` runs; `--show-args` lists the arguments."""
    config = Path(get_package_share_directory("edfv_ros")) / "config"
    return LaunchDescription(
        [
            *(node_argument(name) for name in NODE_ARGUMENTS),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(config / "depth_node.yaml"),
                description="YAML file with the parameters that are not arguments here.",
            ),
            boolean_argument("rviz", False, "Show depth, confidence and points in rviz2."),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="Least severe messages that the node logs.",
            ),
            OpaqueFunction(function=start, args=[config]),
        ]
    )


def node_argument(name: str) -> DeclareLaunchArgument:
    """A parameter of the node as a launch argument with the same default, choices and description."""
    value, rule = default(name), rules(name)
    if isinstance(value, bool):
        return boolean_argument(name, value, rule.description)
    return DeclareLaunchArgument(
        name, default_value=value, choices=list(rule.choices) or None, description=rule.description
    )


def boolean_argument(name: str, value: bool, description: str) -> DeclareLaunchArgument:
    """An argument that is true or false."""
    return DeclareLaunchArgument(
        name, default_value=str(value).lower(), choices=["true", "false"], description=description
    )


def start(context: LaunchContext, config: Path) -> list[LaunchDescriptionEntity]:
    """The node, and rviz2 where wanted, now that the arguments are known."""
    namespace = LaunchConfiguration("namespace")
    arguments = {
        # With its type: a serial number is a string even where YAML would read a number.
        name: ParameterValue(LaunchConfiguration(name), value_type=type(default(name)))
        for name in NODE_ARGUMENTS
    }
    depth_node = Node(
        package="edfv_ros",
        executable="depth_node",
        name="depth_node",
        namespace=namespace,
        parameters=[LaunchConfiguration("params_file"), arguments],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        additional_env=fast_dds_environment(),
        output="screen",
        emulate_tty=True,
    )
    if LaunchConfiguration("rviz").perform(context) == "false":
        return [depth_node]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", str(config / "edfv.rviz"), "-f", f"{camera_name(context, config)}_link"],
        remappings=[(f"/{topic}", topic) for topic in TOPICS],
        output="log",
    )
    return [depth_node, rviz]


def camera_name(context: LaunchContext, config: Path) -> str:
    """The name in the frame ids, as the node will choose it; a rig that cannot be read is the node's to report."""
    given = LaunchConfiguration("camera_name").perform(context)
    rig = LaunchConfiguration("rig").perform(context) or str(config / "rig.yaml")
    try:
        return given or load_rig(rig).camera.name
    except EdfvError:
        return "camera"
