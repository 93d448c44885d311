"""What the launch files are made of. Needs the ROS packages launch and launch_ros."""

from collections.abc import Mapping, Sequence

from launch import LaunchContext, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from edfv_ros.errors import EdfvError
from edfv_ros.nodes.camera_group import rig_in_use
from edfv_ros.nodes.fast_dds import fast_dds_environment
from edfv_ros.nodes.launch_arguments import Argument, LaunchError, parse_pose
from edfv_ros.nodes.parameters import FIELDS, default
from edfv_ros.share import config_file

TOPICS_SHOWN = ("depth", "points", "confidence", "guide")
STOP_TIMEOUT_S = "15"
"""Until SIGTERM follows SIGINT, and SIGKILL follows that: a lens that moves is parked first."""


class LaunchArguments:
    """The arguments of a launch file; tells those that somebody gave from those that are at their defaults.

    Only the former go before a parameter file, whatever the defaults are.
    """

    def __init__(self, *arguments: Argument) -> None:
        self._arguments = arguments
        self._given: set[str] = set()

    @property
    def entities(self) -> list[LaunchDescriptionEntity]:
        """The declarations, to be put into the launch description before whatever reads the arguments."""
        return [
            OpaqueFunction(function=self._look),
            *(
                DeclareLaunchArgument(
                    argument.name,
                    default_value=argument.default,
                    choices=list(argument.choices) or None,
                    description=argument.description,
                )
                for argument in self._arguments
            ),
        ]

    def _look(self, context: LaunchContext) -> None:
        self._given = {argument.name for argument in self._arguments} & context.launch_configurations.keys()

    def values(self, context: LaunchContext) -> dict[str, str]:
        """Every argument's value."""
        return {argument.name: context.launch_configurations[argument.name] for argument in self._arguments}

    def given(self, context: LaunchContext) -> dict[str, str]:
        """Those that were given."""
        return {name: value for name, value in self.values(context).items() if name in self._given}


def camera_actions(
    context: LaunchContext, arguments: LaunchArguments, fixed: Mapping[str, str] | None = None
) -> list[LaunchDescriptionEntity]:
    """One depth camera: its node, its place and rviz2 where wanted.

    Args:
        context: of the launch.
        arguments: of a launch file with the node's, the common and the place arguments.
        fixed: parameters of the node that are no arguments of this launch file.

    Raises:
        LaunchError: the pose is none, or a parameter that is a number was given something else.
    """
    values, fixed = arguments.values(context), fixed or {}
    parameters = {**arguments.given(context), **fixed}
    node = depth_node(parameters, values, namespace=values["namespace"])
    wants_rviz = values["rviz"] == "true"
    if not wants_rviz and not values["base_frame"]:
        return [node]
    name = camera_name({**values, **fixed})
    actions = [node, *mount(name, values["base_frame"], values["pose"], "pose")]
    if wants_rviz:
        remapped = [(f"/{topic}", topic) for topic in TOPICS_SHOWN]
        fixed_frame = values["base_frame"] or f"{name}_link"
        actions.append(rviz("edfv.rviz", fixed_frame, namespace=values["namespace"], remappings=remapped))
    return actions


def depth_node(parameters: Mapping[str, str], values: Mapping[str, str], *, namespace: str) -> Node:
    """The depth node.

    Args:
        parameters: of the node, as text; they go before the parameter file. Other names are passed over.
        values: of the common arguments.
        namespace: of the node.

    Raises:
        LaunchError: a parameter that is a number was given something else.
    """
    typed = {name: _typed(name, text) for name, text in parameters.items() if name in FIELDS}
    return Node(
        package="edfv_ros",
        executable="depth_node",
        name="depth_node",
        namespace=namespace,
        parameters=[values["params_file"], *([typed] if typed else [])],
        ros_arguments=["--log-level", values["log_level"]],
        additional_env=fast_dds_environment(),
        respawn=values["respawn"] == "true",
        respawn_delay=2.0,
        sigterm_timeout=STOP_TIMEOUT_S,
        sigkill_timeout=STOP_TIMEOUT_S,
        output="screen",
        emulate_tty=True,
    )


def _typed(name: str, text: str) -> bool | int | float | ParameterValue:
    """A parameter as launch_ros wants it; a string stays one even where YAML would read a number."""
    kind = type(default(name))
    if kind is str:
        return ParameterValue(text, value_type=str)
    if kind is bool:
        return text == "true"
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        raise LaunchError(f"{name}:={text}: give a {'whole ' * (kind is int)}number") from None


def camera_name(values: Mapping[str, str]) -> str:
    """The name in the frame ids, as the node will choose it; a rig that cannot be read is the node's to report."""
    try:
        return values["camera_name"] or rig_in_use(values["rig"], values["source"], values["path"]).camera.name
    except EdfvError:
        return "camera"


def mount(camera_name: str, base_frame: str, pose: str, argument: str) -> list[Node]:
    """What publishes where a camera is fixed, nothing where ``base_frame`` is empty.

    Raises:
        LaunchError: the pose, which was given as this argument, is none.
    """
    if not base_frame:
        return []
    place = [word for name, value in parse_pose(argument, pose).items() for word in (f"--{name}", value)]
    return [
        Node(
            package="tf2_ros",
            executable="static_transform_publisher",
            name=f"{camera_name}_mount",
            arguments=[*place, "--frame-id", base_frame, "--child-frame-id", f"{camera_name}_link"],
            output="log",
        )
    ]


def rviz(config: str, fixed_frame: str, *, namespace: str = "", remappings: Sequence[tuple[str, str]] = ()) -> Node:
    """rviz2 with a configuration of config/."""
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", str(config_file(config)), "-f", fixed_frame],
        remappings=list(remappings),
        output="log",
    )
