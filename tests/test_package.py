"""The package as ROS tools see it: manifest, launch file, configuration."""

import importlib.util
import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

import edfv_ros

ROOT = Path(__file__).parents[1]


def test_manifest_names_what_the_package_uses():
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    assert (manifest.tag, manifest.get("format")) == ("package", "3")
    assert manifest.findtext("name") == "edfv_ros"
    assert manifest.findtext("version") == edfv_ros.__version__
    assert manifest.findtext("license") == "Apache-2.0"
    assert manifest.findtext("export/build_type") == "ament_python"
    needed = {item.text for item in manifest.findall("exec_depend")}
    messages = {"sensor_msgs", "std_msgs", "geometry_msgs", "diagnostic_msgs", "tf2_msgs", "rcl_interfaces"}
    assert {"rclpy", "launch", "launch_ros", *messages} <= needed
    order = [child.tag for child in manifest]
    assert order.index("maintainer") < order.index("license") < order.index("exec_depend") < order.index("export")


def test_manifest_validates_with_the_tools_of_ros():
    catkin_pkg = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed")
    assert catkin_pkg.parse_package(str(ROOT / "package.xml")).get_build_type() == "ament_python"


def test_fast_dds_profile_gives_large_messages_room():
    space = {"dds": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    profile = ElementTree.parse(ROOT / "config/fastdds.xml").getroot()
    assert int(profile.findtext(".//dds:segment_size", namespaces=space)) == 64 << 20
    assert profile.findtext(".//dds:useBuiltinTransports", namespaces=space) == "false"
    defined = {item.text for item in profile.findall(".//dds:transport_descriptor/dds:transport_id", space)}
    used = {item.text for item in profile.findall(".//dds:userTransports/dds:transport_id", space)}
    assert defined == used


def test_profile_is_for_us_unless_the_user_has_one():
    from edfv_ros.nodes.share import fast_dds_environment

    ours = fast_dds_environment({})
    assert Path(ours["FASTRTPS_DEFAULT_PROFILES_FILE"]).is_file()
    assert fast_dds_environment({"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"}) == {}


def test_rviz_asks_for_what_the_node_offers():
    config = yaml.safe_load((ROOT / "config/edfv.rviz").read_text(encoding="utf-8"))
    topics = [display["Topic"] for display in config["Visualization Manager"]["Displays"] if "Topic" in display]
    assert {topic["Value"] for topic in topics} == {"/depth", "/confidence", "/points", "/guide"}
    assert {topic["Reliability Policy"] for topic in topics} == {"Reliable"}


@pytest.fixture
def launch_description(tmp_path, monkeypatch):
    # launch.actions, as the folder launch/ of this repository looks like a package of that name.
    pytest.importorskip("launch.actions", reason="the ROS package launch is not installed")
    pytest.importorskip("launch_ros.actions", reason="the ROS package launch_ros is not installed")
    index = tmp_path / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "edfv_ros").touch()
    (tmp_path / "share/edfv_ros").symlink_to(ROOT)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}{os.pathsep}{os.environ.get('AMENT_PREFIX_PATH', '')}")
    spec = importlib.util.spec_from_file_location("depth_launch", ROOT / "launch/depth.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "depth_launch", module)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def test_every_launch_argument_is_described(launch_description):
    arguments = {argument.name: argument for argument in launch_description.get_launch_arguments()}
    wanted = {"rig", "source", "path", "camera_name", "namespace", "rviz", "autostart", "estimator", "log_level"}
    assert wanted <= arguments.keys()
    assert list(arguments["source"].choices) == ["camera", "file", "network", "sim"]
    for argument in arguments.values():
        assert argument.description.strip() not in ("", "no description given")
        assert argument.default_value is not None


@pytest.mark.parametrize("rviz", ["true", "false"])
def test_launch_makes_the_node_and_rviz_where_wanted(launch_description, rviz):
    from launch import LaunchContext
    from launch.actions import OpaqueFunction
    from launch_ros.actions import Node

    context = LaunchContext()
    context.launch_configurations.update(rviz=rviz, camera_name="left")
    started = []
    for entity in launch_description.entities:
        made = entity.visit(context)
        if isinstance(entity, OpaqueFunction):
            started = [action for action in made if isinstance(action, Node)]
    executables = [node.node_executable for node in started]
    assert executables == (["depth_node", "rviz2"] if rviz == "true" else ["depth_node"])
