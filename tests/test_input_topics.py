"""Which topics the node subscribes to as its source."""

import importlib.util

import pytest

from edfv_ros.nodes.input_topics import InputTopics, input_topics
from edfv_ros.nodes.parameters import DepthParameters, ParameterError


def resolve(name):
    """As a node in the namespace /left does, with one topic remapped."""
    absolute = name if name.startswith("/") else f"/left/{name}"
    return {"/left/event_camera/events": "/dvs/events"}.get(absolute, absolute)


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """The packages that are installed."""
    packages = {"event_camera_msgs"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in packages else None)
    return packages


def test_names_are_resolved_where_the_source_is_a_topic():
    parameters = DepthParameters(source="topic", lens_topic="/lens/set_point", guide_topic="image_raw")
    assert input_topics(parameters, "depth_node", "/left", resolve) == InputTopics(
        node="_depth_node_source",
        namespace="/left",
        events="/dvs/events",
        triggers="",
        lens="/lens/set_point",
        guide="/left/image_raw",
    )
    assert input_topics(DepthParameters(source="sim"), "depth_node", "/left", resolve) is None


def test_the_lens_is_not_what_the_node_says_of_it_itself():
    parameters = DepthParameters(source="topic", lens_topic="/left/lens/state")
    with pytest.raises(ParameterError, match="lens_topic = '/left/lens/state': /left/lens/state is what this node"):
        input_topics(parameters, "depth_node", "/left", resolve)


def test_missing_messages_are_named_with_their_package(found, monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    found.clear()
    with pytest.raises(ParameterError) as caught:
        input_topics(DepthParameters(source="topic"), "depth_node", "/", resolve)
    assert str(caught.value).endswith("not installed: sudo apt install ros-kilted-event-camera-msgs")
    assert "\n" not in str(caught.value)
