"""The package as ROS tools see it: manifest, configuration."""

import ast
import re
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from unittest import mock

import pytest
import yaml

import edfv_ros
from edfv_ros.doctor import NEEDED_PACKAGES

ROOT = Path(__file__).parents[1]

# Distributions and rosdep keys where they are not called as the module is.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "mcap_ros2": "mcap-ros2-support",
    "rerun": "rerun-sdk",
    "serial": "pyserial",
    "yaml": "pyyaml",
}
ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    **{name: f"python3-{name}" for name in ("matplotlib", "numba", "numpy", "rich", "serial", "typer", "yaml")},
}
OPTIONAL = {"torch", "triton", "onnx", "onnxruntime", "rerun"}
FROM_PIP_ALONE = OPTIONAL | {"dv_processing", "lz4", "mcap", "pydantic", "threadpoolctl", "zstandard"}
STARTED_BY_THE_LAUNCH_FILES = {"rviz2", "tf2_ros"}
BLENDER = {"bpy", "bmesh", "mathutils"}  # in a process of its own, by hand: its metadata forbid the numpy that we need
IF_INSTALLED = {"edfv_interfaces", "event_camera_msgs"}  # ROS packages that the node does without
NOT_ON_PYPI = {"launch", "launch_ros", "tf2_msgs"} | IF_INSTALLED
WITH_RCLPY = {"builtin_interfaces", "rcl_interfaces"}
MESSAGES = {"diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "sensor_msgs", "std_msgs", "std_srvs"}
ROS_PACKAGES = {"rclpy"} | MESSAGES | WITH_RCLPY | NOT_ON_PYPI
TOOLS = {"setuptools", "ruff", "mypy", "types-pyyaml", "onnxruntime-gpu"}  # needed, imported under no name of theirs


def imports(*folders):
    """Modules that the Python files of these folders import, without the standard library's and our own."""
    found = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.partition(".")[0])
    own = {"edfv_ros"} | {path.stem for path in (ROOT / "tests").iterdir()}
    return found - sys.stdlib_module_names - BLENDER - own


def distributions(modules):
    """What the modules are called on PyPI."""
    names = {DISTRIBUTIONS.get(name, name).replace("_", "-") for name in modules - NOT_ON_PYPI - WITH_RCLPY}
    ros = {name.replace("_", "-") for name in ROS_PACKAGES}
    return {f"ros-{name}" if name in ros else name for name in names}


def test_setup_asks_for_what_is_imported_and_nothing_else(monkeypatch):
    monkeypatch.chdir(ROOT)
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path("setup.py")
    given = setup.call_args.kwargs
    lines = [*given["install_requires"], *(line for lines in given["extras_require"].values() for line in lines)]
    always, asked = (
        {re.match(r"[\w-]+", line)[0].lower() for line in part} for part in (given["install_requires"], lines)
    )
    imported = distributions(imports("edfv_ros", "launch", "tests") - {"catkin_pkg"})  # the last comes with ROS
    assert imported - asked == set()
    assert asked - imported - TOOLS == set()
    needed = distributions(imports("edfv_ros") - ROS_PACKAGES - OPTIONAL)
    assert needed - always == set(), "what is not optional comes without an extra"
    assert {name.lower() for name in NEEDED_PACKAGES} == needed, "edfv doctor looks at all of them"


def test_manifest_names_what_the_package_uses():
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    assert (manifest.tag, manifest.get("format")) == ("package", "3")
    assert manifest.findtext("name") == "edfv_ros"
    assert manifest.findtext("version") == edfv_ros.__version__
    assert manifest.findtext("license") == "Apache-2.0"
    assert manifest.findtext("export/build_type") == "ament_python"
    used = imports("edfv_ros", "launch")
    needed = {ROSDEP_KEYS.get(name, name) for name in used - FROM_PIP_ALONE - IF_INSTALLED}
    assert {item.text for item in manifest.findall("exec_depend")} == needed | STARTED_BY_THE_LAUNCH_FILES
    test_needed = {item.text for item in manifest.findall("test_depend")}
    assert test_needed == (imports("tests") & ROS_PACKAGES) - used | {"python3-pytest"}
    comment = " ".join((ROOT / "package.xml").read_text(encoding="utf-8").split())
    for name in FROM_PIP_ALONE - OPTIONAL:
        assert f" {name.replace('_', '-')}" in comment, f"{name} comes from pip: the comment says so"
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
    from edfv_ros.nodes.fast_dds import fast_dds_environment

    ours = fast_dds_environment({})
    assert Path(ours["FASTRTPS_DEFAULT_PROFILES_FILE"]).is_file()
    assert fast_dds_environment({"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"}) == {}


def test_rviz_asks_for_what_the_node_offers():
    config = yaml.safe_load((ROOT / "config/edfv.rviz").read_text(encoding="utf-8"))
    topics = [display["Topic"] for display in config["Visualization Manager"]["Displays"] if "Topic" in display]
    pictures = {"/depth", "/confidence", "/uncertainty", "/guide", "/event_image", "/volume/slice"}
    assert {topic["Value"] for topic in topics} == {"/points", *pictures}
    assert {topic["Reliability Policy"] for topic in topics} == {"Reliable"}
