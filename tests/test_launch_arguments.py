"""The launch files as far as they can be looked at without the ROS package launch."""

import ast
import runpy
from pathlib import Path
from unittest import mock

import pytest
import typer
import yaml

from edfv_ros.cli import app
from edfv_ros.errors import EdfvError
from edfv_ros.nodes.camera_group import GroupedCamera, require_apart, rig_in_use
from edfv_ros.nodes.launch_arguments import (
    LaunchError,
    common_arguments,
    namespace_argument,
    node_arguments,
    parse_pose,
    place_arguments,
    record_arguments,
    record_command,
)
from edfv_ros.nodes.parameters import FIELDS

ROOT = Path(__file__).parents[1]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.py"))
RIG = ROOT / "config/rig.yaml"


def rig_file(path, *, name="davis0", serial="", port=""):
    """The example rig with another name, serial number and lens port."""
    data = yaml.safe_load(RIG.read_text(encoding="utf-8"))
    data["camera"].update(name=name, serial=serial)
    data["lens"].update(port=port, driver="edfv" if port else "virtual")
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(path)


def test_there_is_a_launch_file_for_each_use():
    names = [path.name.removesuffix(".launch.py") for path in LAUNCH_FILES]
    assert names == ["depth", "depth_sim", "multi_camera", "playback", "record"]


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_describes_a_launch_from_parts_that_exist(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert "generate_launch_description" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    ours = [node for node in tree.body if isinstance(node, ast.ImportFrom) and str(node.module).startswith("edfv_ros.")]
    assert ours
    for node in ours:
        module = ast.parse((ROOT / f"{node.module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        functions = {item.name for item in module.body if isinstance(item, (ast.FunctionDef, ast.ClassDef))}
        constants = {
            target.id
            for item in module.body
            if isinstance(item, ast.Assign)
            for target in item.targets
            if isinstance(target, ast.Name)
        }
        assert {alias.name for alias in node.names} <= functions | constants


def test_setup_installs_what_a_robot_needs_beside_the_code(monkeypatch):
    monkeypatch.chdir(ROOT)
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path("setup.py")
    installed = dict(setup.call_args.kwargs["data_files"])
    assert installed["share/edfv_ros/launch"] == [str(path.relative_to(ROOT)) for path in LAUNCH_FILES]
    assert {"config/edfv.rviz", "config/two_cameras.rviz"} <= set(installed["share/edfv_ros/config"])


def test_every_parameter_of_the_node_is_an_argument():
    arguments = {argument.name: argument for argument in node_arguments()}
    assert arguments.keys() == FIELDS.keys()
    assert arguments["source"].choices == ("camera", "file", "network", "sim", "topic")
    assert (arguments["autostart"].default, arguments["autostart"].choices) == ("true", ("true", "false"))
    assert arguments["confidence_threshold"].default == "0.5"
    assert arguments["confidence_threshold"].description.endswith("Allowed: 0 to 1.")
    left = {argument.name for argument in node_arguments(leaving_out=("source", "path"))}
    assert left == FIELDS.keys() - {"source", "path"}


def test_every_argument_says_what_it_is_for():
    arguments = [
        *node_arguments(),
        *common_arguments(),
        namespace_argument(),
        *place_arguments(),
        *record_arguments(),
    ]
    for argument in arguments:
        assert argument.description.endswith("."), argument.name
        assert not argument.choices or argument.default in argument.choices, argument.name
    assert [argument.name for argument in arguments if argument.default is None] == ["out"]


def test_a_pose_is_six_numbers():
    expected = {"x": "0.1", "y": "0", "z": "-0.2", "yaw": "1.57", "pitch": "0", "roll": "0"}
    assert parse_pose("pose", "0.1 0 -0.2 1.57 0 0") == expected
    assert parse_pose("pose", "0.1, 0, -0.2, 1.57, 0, 0") == expected


@pytest.mark.parametrize("text", ["", "1 2 3", "1 2 3 4 5 6 7", "a b c d e f", "0 0 0 0 0 nan", "0 0 inf 0 0 0"])
def test_anything_else_is_no_pose(text):
    with pytest.raises(LaunchError, match=r"^pose2:='.*': give six numbers: x y z in metres"):
        parse_pose("pose2", text)


def test_the_rig_of_a_node_is_the_one_that_it_would_find(tmp_path):
    own = rig_file(tmp_path / "own.yaml", name="left")
    assert rig_in_use(own, "camera", "").camera.name == "left"
    assert rig_in_use("", "sim", "").camera.name == "davis0"
    with pytest.raises(EdfvError, match="rig is empty: source camera needs a rig file"):
        rig_in_use("", "camera", "")
    with pytest.raises(EdfvError, match="nowhere"):
        rig_in_use("", "file", str(tmp_path / "nowhere"))


@pytest.fixture
def pair(tmp_path):
    """Two cameras by what differs from two good ones."""
    (tmp_path / "ttyUSB0").touch()
    (tmp_path / "ttyUSB1").touch()
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")

    def make(first=None, second=None):
        cameras = []
        for suffix, changes in (("1", first or {}), ("2", second or {})):
            rig = {
                "name": f"camera{suffix}",
                "serial": f"DXA0000{suffix}",
                "port": str(tmp_path / f"ttyUSB{int(suffix) - 1}"),
            }
            own = {"source": "camera", "path": ""}
            for name, value in changes.items():
                (rig if name in rig else own)[name] = value
            path = rig_file(tmp_path / f"{suffix}.yaml", **rig)
            cameras.append(GroupedCamera.of(suffix, rig=path, **own))
        return cameras

    make.folder = tmp_path
    return make


def test_two_cameras_that_differ_are_named_after_themselves(pair):
    cameras = pair()
    require_apart(cameras)
    assert [(camera.namespace, camera.camera_name) for camera in cameras] == [
        ("camera1", "camera1"),
        ("camera2", "camera2"),
    ]
    assert [camera.address for camera in cameras] == ["DXA00001", "DXA00002"]
    assert pair(second={"namespace": "/robot/right/"})[1].namespace == "robot/right"


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ({}, {"name": "camera1", "namespace": "right"}, "both named camera1"),
        ({}, {"camera_name": "camera1", "namespace": "right"}, "give camera_name1 or camera_name2"),
        ({"namespace": "front"}, {"namespace": "/front"}, "both in namespace front"),
        ({}, {"serial": ""}, "camera 2 has no serial number"),
        ({"serial": ""}, {"serial": ""}, "has no serial number"),
        ({}, {"serial": "DXA00001"}, "both read DXA00001"),
        ({}, {"path": "DXA00001"}, "give path1 or path2"),
        (
            {"source": "network", "path": "tcp://127.0.0.1:7777"},
            {"source": "network", "path": "tcp://127.0.0.1:7777"},
            "both read tcp://127.0.0.1:7777",
        ),
    ],
)
def test_cameras_that_would_be_mixed_up_are_refused(pair, first, second, problem):
    with pytest.raises(LaunchError) as error:
        require_apart(pair(first, second))
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("port", ["ttyUSB0", "by-id", "ttyUSB0?lens=stepper&speed=3000"])
def test_one_lens_port_for_two_cameras_is_refused(pair, port):
    with pytest.raises(LaunchError, match="have their lens at one port"):
        require_apart(pair(second={"port": str(pair.folder / port)}))


def test_simulated_cameras_share_neither_lens_nor_events(pair):
    port = str(pair.folder / "ttyUSB0")
    require_apart(pair({"source": "sim", "port": port}, {"source": "sim", "port": port}))


def test_a_recording_is_made_by_the_command_that_makes_recordings(tmp_path):
    given = {"out": "desk", "rig": "", "source": "camera", "path": "", "seconds": "", "bag": ""}
    assert record_command(given) == ["record", "camera:", "--out", "desk"]
    rig = rig_file(tmp_path / "rig.yaml", serial="DXA00080")
    command = record_command({**given, "rig": rig, "seconds": "2.5", "bag": "desk.mcap"})
    assert command == [
        "record", "camera:DXA00080", "--out", "desk", "--rig", rig, "--seconds", "2.5", "--bag", "desk.mcap",
    ]  # fmt: skip
    stream = "tcp://127.0.0.1:7777"
    assert record_command({**given, "source": "network", "path": stream})[1] == stream
    with pytest.raises(LaunchError, match="path is empty"):
        record_command({**given, "source": "network"})
    options = {option for parameter in record_options() for option in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= options


def record_options():
    group = typer.main.get_command(app)
    return group.get_command(None, "record").params


def test_rviz_shows_two_cameras_with_what_their_nodes_offer():
    config = yaml.safe_load((ROOT / "config/two_cameras.rviz").read_text(encoding="utf-8"))
    groups = [display for display in config["Visualization Manager"]["Displays"] if "Displays" in display]
    assert [group["Name"] for group in groups] == ["Camera 1", "Camera 2"]
    for number, group in enumerate(groups, 1):
        topics = [display["Topic"] for display in group["Displays"]]
        wanted = {f"/camera{number}/{name}" for name in ("depth", "points", "confidence", "guide")}
        assert {topic["Value"] for topic in topics} == wanted
        assert {topic["Reliability Policy"] for topic in topics} == {"Reliable"}
        hidden = [display["Name"] for display in group["Displays"] if not display["Enabled"]]
        assert hidden == [f"Guide {number}"], "depth, cloud and confidence are shown at once"
