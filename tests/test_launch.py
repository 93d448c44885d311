"""The launch files as launch reads them: arguments, and what they start. Skipped where launch is not installed."""

import importlib.util
from pathlib import Path

import pytest
import yaml

# Their submodules, as the folder launch/ of this repository looks like a package of that name.
pytest.importorskip("launch.actions", reason="the ROS package launch is not installed")
pytest.importorskip("launch_ros.actions", reason="the ROS package launch_ros is not installed")

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.utilities import perform_substitutions
from launch_ros.utilities import evaluate_parameters, normalize_parameters

from edfv_ros.errors import EdfvError
from edfv_ros.nodes import launch_actions
from edfv_ros.nodes.parameters import FIELDS

ROOT = Path(__file__).parents[1]
NEEDED = {"playback": {"recording": "desk"}, "record": {"out": "desk"}}
TWO = {"source1": "sim", "source2": "sim", "camera_name1": "left", "camera_name2": "right"}


def description(name):
    path = ROOT / f"launch/{name}.launch.py"
    spec = importlib.util.spec_from_file_location(f"{name}_launch", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


class StartedNode:
    """What a launch_ros Node was made of."""

    def __init__(self, **given):
        self.given = given
        self.name = f"{given['package']}/{given['executable']}"

    def parameters(self, context):
        """Files as paths, the rest as a dictionary; the later go before the earlier."""
        evaluated = evaluate_parameters(context, normalize_parameters(self.given["parameters"]))
        return [dict(item) if isinstance(item, dict) else item for item in evaluated]


@pytest.fixture
def launched(monkeypatch):
    """What a launch file starts, given these arguments; nothing is started."""
    monkeypatch.setattr(launch_actions, "Node", StartedNode)
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)

    def launch(name, **given):
        context = LaunchContext()
        context.launch_configurations.update({**NEEDED.get(name, {}), **given})
        started = []
        for entity in description(name).entities:
            made = entity.visit(context) or []
            started += [] if isinstance(entity, DeclareLaunchArgument) else made
        return context, started

    return launch


@pytest.mark.parametrize("name", ["depth", "depth_sim", "multi_camera", "playback", "record"])
def test_every_launch_argument_is_described(name):
    arguments = {argument.name: argument for argument in description(name).get_launch_arguments()}
    for argument in arguments.values():
        assert argument.description.strip() not in ("", "no description given")
    needed = {argument.name for argument in arguments.values() if argument.default_value is None}
    assert needed == NEEDED.get(name, {}).keys()
    for switch in {"rviz", "respawn", "autostart", "loop"} & arguments.keys():
        assert list(arguments[switch].choices) == ["true", "false"]


def test_the_camera_has_every_parameter_as_an_argument():
    arguments = {argument.name: argument for argument in description("depth").get_launch_arguments()}
    beside = {"namespace", "base_frame", "pose", "params_file", "rviz", "respawn", "log_level"}
    assert arguments.keys() == FIELDS.keys() | beside
    assert list(arguments["source"].choices) == ["camera", "file", "network", "sim", "topic"]


@pytest.mark.parametrize(("rviz", "expected"), [("true", 2), ("false", 1)])
def test_launch_makes_the_node_and_rviz_where_wanted(launched, rviz, expected):
    _, started = launched("depth", source="sim", rviz=rviz, namespace="front")
    assert [node.name for node in started] == ["edfv_ros/depth_node", "rviz2/rviz2"][:expected]
    assert {node.given["namespace"] for node in started} == {"front"}
    assert started[0].given["additional_env"]["FASTRTPS_DEFAULT_PROFILES_FILE"].endswith("config/fastdds.xml")
    if expected == 2:
        arguments = started[1].given["arguments"]
        assert arguments[arguments.index("-f") + 1] == "davis0_link"
        assert ("/depth", "depth") in started[1].given["remappings"]


def test_the_profile_of_the_user_stays(launched, monkeypatch):
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "mine.xml")
    _, (node,) = launched("depth", source="sim")
    assert node.given["additional_env"] == {}


def test_only_arguments_that_were_given_go_before_the_parameter_file(launched, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**:\n  ros__parameters:\n    estimator: edpn\n", encoding="utf-8")
    context, (node,) = launched("depth", params_file=str(mine))
    assert node.parameters(context) == [mine]
    context, (node,) = launched("depth", params_file=str(mine), path="00012", far_m="2", loop="true")
    first, second = node.parameters(context)
    assert first == mine
    assert second == {"path": "00012", "far_m": 2.0, "loop": True}
    assert [type(second[name]) for name in ("path", "far_m", "loop")] == [str, float, bool]
    with pytest.raises(EdfvError, match="far_m:=two: give a number"):
        launched("depth", far_m="two")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("depth_sim", {"source": "sim", "path": ""}), ("playback", {"source": "file", "path": "desk"})],
)
def test_the_others_fix_the_source(launched, name, expected):
    context, (node,) = launched(name, near_m="0.3")
    assert node.parameters(context)[1] == {**expected, "near_m": 0.3}


def test_a_base_frame_asks_for_the_pose_in_it(launched):
    _, started = launched("depth_sim", base_frame="base_link", pose="0.1 0 0.2 0 0.5 0", rviz="true")
    names = [node.name for node in started]
    assert names == ["edfv_ros/depth_node", "tf2_ros/static_transform_publisher", "rviz2/rviz2"]
    expected = "--x 0.1 --y 0 --z 0.2 --yaw 0 --pitch 0.5 --roll 0 --frame-id base_link --child-frame-id davis0_link"
    assert started[1].given["arguments"] == expected.split()
    assert started[2].given["arguments"][-1] == "base_link"


def test_two_cameras_have_namespaces_frames_and_poses_of_their_own(launched):
    context, started = launched(
        "multi_camera",
        **TWO,
        base_frame="head",
        pose2="0 -0.1 0 0 0 0",
        rviz="true",
        estimator="edpn",
        record_to2="right.mcap",
    )
    nodes = [node for node in started if node.name == "edfv_ros/depth_node"]
    assert [node.given["namespace"] for node in nodes] == ["left", "right"]
    for node, name in zip(nodes, ("left", "right"), strict=True):
        own = node.parameters(context)[1]
        expected = {"rig": "", "source": "sim", "path": "", "camera_name": name, "estimator": "edpn"}
        assert own == expected | ({"record_to": "right.mcap"} if name == "right" else {})
    mounts = [node.given["arguments"] for node in started if node.name.startswith("tf2_ros/")]
    assert [arguments[-1] for arguments in mounts] == ["left_link", "right_link"]
    assert mounts[1][:4] == ["--x", "0", "--y", "-0.1"]
    (rviz,) = [node for node in started if node.name == "rviz2/rviz2"]
    config = yaml.safe_load((ROOT / "config/two_cameras.rviz").read_text(encoding="utf-8"))
    shown = {
        display["Topic"]["Value"]
        for group in config["Visualization Manager"]["Displays"]
        for display in group.get("Displays", [])
    }
    remapped = dict(rviz.given["remappings"])
    assert remapped.keys() == shown
    assert remapped["/camera2/points"] == "/right/points"


def test_cameras_that_would_be_mixed_up_are_refused(launched):
    with pytest.raises(EdfvError, match="cameras 1 and 2 are both named davis0"):
        launched("multi_camera", source1="sim", source2="sim")
    with pytest.raises(EdfvError, match="both in namespace front"):
        launched("multi_camera", **TWO, namespace1="front", namespace2="front")
    with pytest.raises(EdfvError, match=r"^camera 1: the parameter rig is empty"):
        launched("multi_camera")


def test_recording_runs_the_recorder(launched):
    context, (process,) = launched("record", source="network", path="tcp://127.0.0.1:7777", seconds="5")
    assert isinstance(process, ExecuteProcess)
    words = [part if isinstance(part, str) else perform_substitutions(context, part) for part in process.cmd[1:]]
    assert words == ["record", "tcp://127.0.0.1:7777", "--out", "desk", "--seconds", "5"]
