"""Two depth cameras beside each other, each with its own lens, namespace and frames."""

from dataclasses import replace

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import OpaqueFunction

from edfv_ros.nodes.camera_group import GroupedCamera, require_apart
from edfv_ros.nodes.launch_actions import TOPICS_SHOWN, LaunchArguments, depth_node, mount, rviz
from edfv_ros.nodes.launch_arguments import (
    Argument,
    base_frame_argument,
    common_arguments,
    namespace_argument,
    node_arguments,
    pose_argument,
)

IDENTITY = ("rig", "source", "path", "camera_name")
OWN = (*IDENTITY, "record_to")
SUFFIXES = ("1", "2")


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch edfv_ros multi_camera.launch.py rig1:=left.yaml rig2:=right.yaml` runs."""
    shared = node_arguments(leaving_out=OWN)
    own = [argument for suffix in SUFFIXES for argument in own_arguments(suffix)]
    arguments = LaunchArguments(*own, base_frame_argument(), *shared, *common_arguments())
    return LaunchDescription([*arguments.entities, OpaqueFunction(function=start, args=[arguments])])


def own_arguments(suffix: str) -> list[Argument]:
    """The arguments that each camera has for itself."""
    of_node = [argument for argument in node_arguments() if argument.name in OWN]
    namespace = replace(namespace_argument(), description="Namespace of its node and topics. Empty: the camera's name.")
    own = (*of_node, namespace, pose_argument("pose"))
    return [
        replace(argument, name=argument.name + suffix, description=f"Camera {suffix}: {argument.description}")
        for argument in own
    ]


def start(context: LaunchContext, arguments: LaunchArguments) -> list[LaunchDescriptionEntity]:
    """Both nodes, their places, and rviz2 where wanted; refuses cameras that would get in each other's way."""
    values, given = arguments.values(context), arguments.given(context)
    cameras = [
        GroupedCamera.of(suffix, **{name: values[name + suffix] for name in (*IDENTITY, "namespace")})
        for suffix in SUFFIXES
    ]
    require_apart(cameras)
    actions: list[LaunchDescriptionEntity] = []
    remappings = []
    for camera in cameras:
        own = {name: values[name + camera.suffix] for name in IDENTITY} | {"camera_name": camera.camera_name}
        if record_to := values["record_to" + camera.suffix]:
            own["record_to"] = record_to
        actions.append(depth_node({**given, **own}, values, namespace=camera.namespace))
        pose = f"pose{camera.suffix}"
        actions += mount(camera.camera_name, values["base_frame"], values[pose], pose)
        remappings += [(f"/camera{camera.suffix}/{topic}", f"/{camera.namespace}/{topic}") for topic in TOPICS_SHOWN]
    if values["rviz"] == "true":
        fixed_frame = values["base_frame"] or f"{cameras[0].camera_name}_link"
        actions.append(rviz("two_cameras.rviz", fixed_frame, remappings=remappings))
    return actions
