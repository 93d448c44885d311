"""The arguments of the launch files: tables, and what they say together. Imports no ROS."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edfv_ros.errors import EdfvError
from edfv_ros.nodes.parameters import FIELDS, default, rules
from edfv_ros.rig import load_rig
from edfv_ros.share import config_file

BOOLEANS = ("true", "false")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
POSE_NAMES = ("x", "y", "z", "yaw", "pitch", "roll")


class LaunchError(EdfvError):
    """Arguments of a launch file that cannot be; the message names one, its value and what would do."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a launch file; a default of None means that it has to be given."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...] = ()


def node_arguments(leaving_out: Collection[str] = ()) -> tuple[Argument, ...]:
    """Every parameter of the depth node as an argument with the same name, default, choices and description."""
    return tuple(_node_argument(name) for name in FIELDS if name not in leaving_out)


def _node_argument(name: str) -> Argument:
    value, rule = default(name), rules(name)
    if isinstance(value, bool):
        return Argument(name, str(value).lower(), rule.description, BOOLEANS)
    if rule.allowed and not rule.choices:
        return Argument(name, str(value), f"{rule.description} Allowed: {rule.allowed}.")
    return Argument(name, str(value), rule.description, rule.choices)


def common_arguments() -> tuple[Argument, ...]:
    """What every launch file with a node has beside the node's own parameters."""
    return (
        Argument(
            "params_file",
            str(config_file("depth_node.yaml")),
            "YAML file with parameters of the node; those given as arguments go before it.",
        ),
        Argument("rviz", "false", "Show depth, confidence and points in rviz2.", BOOLEANS),
        Argument("respawn", "false", "Start the node again where its process dies.", BOOLEANS),
        Argument("log_level", "info", "Least severe messages that the node logs.", LOG_LEVELS),
    )


def namespace_argument() -> Argument:
    """The namespace of one camera."""
    return Argument("namespace", "", "Namespace of the node and its topics.")


def place_arguments() -> tuple[Argument, ...]:
    """Where one camera sits."""
    return base_frame_argument(), pose_argument("pose")


def base_frame_argument() -> Argument:
    """The frame that cameras are fixed to."""
    return Argument(
        "base_frame",
        "",
        "Frame that the camera is fixed to, such as base_link: its pose there is published on /tf_static. Empty "
        "where somebody else does that, such as a robot_state_publisher.",
    )


def pose_argument(name: str) -> Argument:
    """The pose of one camera in that frame."""
    return Argument(
        name,
        "0 0 0 0 0 0",
        "Where the camera's NAME_link (x forward, y left, z up) is in base_frame: x y z in metres, yaw pitch roll in "
        "radians. Without base_frame it is not used.",
    )


def parse_pose(name: str, text: str) -> dict[str, str]:
    """The six numbers of a pose by their names, as static_transform_publisher takes them.

    Raises:
        LaunchError: they are not six finite numbers.
    """
    words = text.replace(",", " ").split()
    try:
        finite = [abs(float(word)) < float("inf") for word in words]  # also false for NaN
    except ValueError:
        finite = [False]
    if len(words) != len(POSE_NAMES) or not all(finite):
        raise LaunchError(f"{name}:='{text}': give six numbers: x y z in metres, yaw pitch roll in radians")
    return dict(zip(POSE_NAMES, words, strict=True))


def record_arguments() -> tuple[Argument, ...]:
    """Of record.launch.py."""
    return (
        Argument("out", None, "Folder for the recording; it must hold none yet."),
        Argument("rig", "", "Path of the rig file; its lens sweeps meanwhile. Empty records events without a lens."),
        Argument("source", "camera", "Where events come from.", ("camera", "network")),
        Argument(
            "path",
            "",
            "For source network: the stream, tcp://HOST:PORT or unix:///PATH. For source camera: a serial number, "
            "empty for the one in the rig file.",
        ),
        Argument("seconds", "", "How long to record. Empty: until Ctrl-C."),
        Argument("bag", "", "An .mcap bag to record to at the same time. Empty for none."),
    )


def record_command(values: Mapping[str, str]) -> list[str]:
    """Those arguments as `edfv` takes them.

    Raises:
        EdfvError: the rig cannot be read, or a network source has no path.
    """
    address = values["path"]
    if values["source"] == "network" and not address:
        raise LaunchError("path is empty: source network needs a stream such as tcp://127.0.0.1:7777")
    if values["source"] == "camera":
        serial = address or (load_rig(Path(values["rig"]).expanduser()).camera.serial if values["rig"] else "")
        address = f"camera:{serial}"
    command = ["record", address, "--out", values["out"]]
    for name in ("rig", "seconds", "bag"):
        if values[name]:
            command += [f"--{name}", values[name]]
    return command
