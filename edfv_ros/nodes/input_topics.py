"""The topics that events and the focus come from where ROS is the source. No ROS in here."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edfv_ros.nodes.parameters import DepthParameters, ParameterError

OWN_LENS_TOPIC: Final = "lens/state"


@dataclass(frozen=True, slots=True)
class InputTopics:
    """Absolute names; empty for none.

    Attributes:
        node: name of the node that subscribes; a leading underscore hides it from lists.
        namespace: of that node.
        events: event_camera_msgs/EventPacket.
        triggers: event_camera_msgs/EventPacket of triggers, where the driver does not put them among the events.
        lens: sensor_msgs/JointState with the joint ``focus``, in dioptres.
        guide: sensor_msgs/Image.
    """

    node: str
    namespace: str
    events: str
    triggers: str
    lens: str
    guide: str


def input_topics(
    parameters: DepthParameters, node: str, namespace: str, resolve: Callable[[str], str]
) -> InputTopics | None:
    """The topics that the parameters name, where the source is one; None otherwise.

    Args:
        parameters: what the user asked for.
        node: name of the depth node.
        namespace: of the depth node.
        resolve: makes a name absolute, and remaps it.

    Raises:
        ParameterError: event_camera_msgs is not installed, or the lens's topic is the node's own.
    """
    if parameters.source != "topic":
        return None
    if importlib.util.find_spec("event_camera_msgs") is None:
        distribution = os.environ.get("ROS_DISTRO", "jazzy")
        raise ParameterError(
            "source = topic: the ROS package event_camera_msgs is not installed: sudo apt install "
            f"ros-{distribution}-event-camera-msgs"
        )
    lens = resolve(parameters.lens_topic) if parameters.lens_topic else ""
    if lens and lens == resolve(OWN_LENS_TOPIC):
        raise ParameterError(
            f"lens_topic = {parameters.lens_topic!r}: {lens} is what this node publishes itself: name the topic of the "
            "lens's driver"
        )
    return InputTopics(
        f"_{node}_source",
        namespace,
        resolve(parameters.events_topic),
        resolve(parameters.triggers_topic) if parameters.triggers_topic else "",
        lens,
        resolve(parameters.guide_topic) if parameters.guide_topic else "",
    )
