"""What a robot gets beside the code: udev rules, a systemd unit, a container image. None of the tools needed."""

import configparser
import re
import runpy
import shlex
from pathlib import Path
from unittest import mock

import pytest

from edfv_ros.doctor import check_udev_rule
from edfv_ros.nodes.launch_arguments import common_arguments, node_arguments, place_arguments, record_arguments

ROOT = Path(__file__).parents[1]
RULES = [
    line
    for line in (ROOT / "udev/60-edfv.rules").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
KEY = r"[A-Z]+(\{[\w/]+\})?"
OPERATOR = r"(==|!=|\+=|:=|=)"
SERIAL = [rule for rule in RULES if 'SUBSYSTEM=="tty"' in rule]


def launch_words(words):
    """The launch file and the names of the arguments of a `ros2 launch` command."""
    assert words[:2] == ["ros2", "launch"]
    name = next(word for word in words if word.endswith(".launch.py"))
    return name, {word.partition(":=")[0] for word in words if ":=" in word}


def test_setup_installs_them(monkeypatch):
    monkeypatch.chdir(ROOT)
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path("setup.py")
    installed = dict(setup.call_args.kwargs["data_files"])
    assert installed["share/edfv_ros/udev"] == ["udev/60-edfv.rules"]
    assert installed["share/edfv_ros/systemd"] == ["systemd/edfv-depth.service"]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_made_of_matches_and_assignments(rule):
    parts = rule.split(", ")
    for part in parts:
        assert re.fullmatch(rf'{KEY}{OPERATOR}"[^"]*"', part), part
    assert "==" in parts[0]
    assert any(re.search(r'[^=!]="', part) for part in parts), "it does something"


def test_the_camera_is_for_its_group_and_not_for_everybody():
    (rule,) = [rule for rule in RULES if "152a" in rule]
    assert 'ATTR{idProduct}=="84[01]?"' in rule, "the vendor id is shared with other makers"
    assert 'GROUP="plugdev"' in rule
    assert 'TAG+="uaccess"' in rule
    assert check_udev_rule([ROOT / "udev"]).status == "ok"
    assert not any('MODE="0666"' in line for line in RULES)
    assert int(Path("60-edfv.rules").name.split("-")[0]) < 73, "uaccess is heard before 73-seat-late.rules"


def test_no_modem_is_looked_for_where_a_lens_is():
    assert len(SERIAL) == 3
    for rule in SERIAL:
        assert 'GROUP="dialout"' in rule
        assert 'ENV{ID_MM_PORT_IGNORE}="1"' in rule
        assert "ATTRS{idVendor}==" in rule, "and only there"


def test_the_unit_launches_what_there_is_and_ends_it_in_order():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(ROOT / "systemd/edfv-depth.service", encoding="utf-8")
    service = unit["Service"]
    command = shlex.split(service["ExecStart"])[2]
    words = shlex.split(command.partition("exec ")[2])
    name, arguments = launch_words(words)
    assert (ROOT / "launch" / name).is_file()
    assert arguments <= {argument.name for argument in (*node_arguments(), *common_arguments())}
    assert "--noninteractive" in words, "launch passes an interrupt on only then"
    assert (service["KillSignal"], service["KillMode"]) == ("SIGINT", "mixed")
    assert "$$WORKSPACE" in service["ExecStart"], "expanded by the shell, not by systemd"


def test_the_image_launches_what_there_is():
    text = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    name, _ = launch_words(re.findall(r'"([^"]+)"', re.search(r"^CMD \[(.*)\]$", text, re.MULTILINE)[1]))
    assert (ROOT / "launch" / name).is_file()
    copied = [
        path
        for line in text.splitlines()
        if line.startswith("COPY ")
        for path in [word for word in line.split()[1:] if not word.startswith("--")][:-1]
    ]
    assert "requirements.lock" in copied
    assert all((ROOT / path).exists() for path in copied)
    assert text.rindex("USER robot") > text.rindex("USER root"), "the camera's process is not root's"


@pytest.mark.parametrize("name", ["README.md", "docs/ros.md", "docs/robot.md", "docs/hardware.md"])
def test_what_the_documents_launch_and_link_to_is_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for launched in re.findall(r"(?<!metavision_driver )\b(\w+)\.launch\.py", text):
        assert (ROOT / f"launch/{launched}.launch.py").is_file(), launched
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    for link in filter(None, links):
        assert ((ROOT / name).parent / link).exists(), link


def test_arguments_in_the_documents_are_arguments():
    known = {argument.name for argument in (*node_arguments(), *common_arguments(), *place_arguments())}
    known |= {argument.name for argument in record_arguments()} | {"namespace", "recording"}
    known |= {f"{name}{suffix}" for name in ("rig", "source", "path", "camera_name", "pose") for suffix in "12"}
    for name in ("README.md", "docs/ros.md", "docs/robot.md"):
        commands = re.findall(r"ros2 launch edfv_ros((?:[^\n`]|\\\n)*)", (ROOT / name).read_text(encoding="utf-8"))
        for command in commands:
            used = set(re.findall(r"(\w+):=", command))
            assert used <= known, (name, command)
