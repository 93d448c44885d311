"""The package with the action, as far as it can be looked at without ament."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import edfv_ros

FOLDER = Path(__file__).parents[1] / "interfaces"


def test_the_build_knows_every_definition_and_what_they_are_made_of():
    definitions = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.*"))
    build = (FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
    assert definitions and definitions == re.findall(r'"(\w+/\w+\.\w+)"', build)
    text = "".join((FOLDER / name).read_text(encoding="utf-8") for name in definitions)
    used = set(re.findall(r"^(\w+)/\w+ ", text, re.MULTILINE))
    assert used == set(re.search(r"DEPENDENCIES ([\w ]+)", build)[1].split())
    assert used <= set(re.findall(r"find_package\((\w+)", build))
    manifest = ElementTree.parse(FOLDER / "package.xml").getroot()
    assert {item.text for item in manifest.findall("depend")} == used | {"action_msgs"}


def test_the_manifest_is_that_of_an_interface_package():
    manifest = ElementTree.parse(FOLDER / "package.xml").getroot()
    assert (manifest.tag, manifest.get("format"), manifest.findtext("name")) == ("package", "3", "edfv_interfaces")
    assert manifest.findtext("version") == edfv_ros.__version__
    assert manifest.findtext("export/build_type") == "ament_cmake"
    assert manifest.findtext("member_of_group") == "rosidl_interface_packages"
    assert "rosidl_default_generators" in {item.text for item in manifest.findall("buildtool_depend")}


def test_the_manifest_validates_with_the_tools_of_ros():
    catkin_pkg = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed")
    assert catkin_pkg.parse_package(str(FOLDER / "package.xml")).get_build_type() == "ament_cmake"
