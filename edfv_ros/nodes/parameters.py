"""The node's parameters: one table that feeds declaration, validation, docs/parameters.md and config/depth_node.yaml.

The table is the dataclass :class:`DepthParameters`: a field is a parameter, its type and default are the field's, and
range, choices and description are kept in the field's metadata. Imports no ROS, so the table can be printed anywhere:
``python -m edfv_ros.nodes.parameters`` as Markdown, with ``--yaml`` as a parameter file.
"""

import dataclasses
import difflib
import json
import re
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edfv_ros.depth import ESTIMATORS, estimators_with
from edfv_ros.depth.temporal_filter import MAX_STRENGTH
from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.events.camera_settings import MAX_EXPOSURE_US, parse_biases

SOURCES = ("camera", "file", "network", "sim", "topic")
DEVICES = ("cpu", "cuda")
DEPTH_ENCODINGS = ("32FC1", "16UC1")
FRAME_NAME_PATTERN = re.compile("[A-Za-z][A-Za-z0-9_]*")


class ParameterError(EdfvError):
    """A parameter has a value that is not allowed; the message names it, the value and what is."""


@dataclass(frozen=True, slots=True)
class ParameterRules:
    """What is known of a parameter beyond its name, type and default."""

    description: str
    runtime: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    @property
    def allowed(self) -> str:
        """The allowed values in words, empty where any value of the type will do."""
        if self.choices:
            return ", ".join(self.choices)
        return "" if self.minimum is None else f"{self.minimum:g} to {self.maximum:.7g}"


def _parameter(default: Any, description: str, **rules: Any) -> Any:
    return dataclasses.field(default=default, metadata={"rules": ParameterRules(description, **rules)})


@dataclass(frozen=True, slots=True)
class DepthParameters:
    """A checked set of parameters, taken as a whole by whoever works with it."""

    rig: str = _parameter(
        "", "Path of the rig file (camera, lens, sweep). Empty takes the recording's own, or the example rig with sim."
    )
    source: str = _parameter("camera", "Where events come from.", choices=SOURCES)
    path: str = _parameter(
        "",
        "For source file: a sweep recording (a folder or its .aedat4). For source network: the stream, "
        "tcp://HOST:PORT or unix:///PATH. For source camera: a serial number, empty for the one in the rig file.",
    )
    events_topic: str = _parameter(
        "event_camera/events",
        "For source topic: event_camera_msgs/EventPacket of the camera's driver. Encodings mono, libcaer and trigger; "
        "evt3 and libcaer_cmp where event_camera_py is installed (docs/ros.md).",
    )
    triggers_topic: str = _parameter(
        "",
        "For source topic: event_camera_msgs/EventPacket of the trigger edges, where the driver does not send them "
        "among the events.",
    )
    lens_topic: str = _parameter(
        "",
        "For source topic: sensor_msgs/JointState of the lens's driver, with the set point in dioptres as position of "
        "a joint named focus. Empty takes the lens at lens.port of the rig file, or trigger edges.",
    )
    guide_topic: str = _parameter(
        "", "For source topic: sensor_msgs/Image of the same camera, in whose edges depth is filled in."
    )
    camera_name: str = _parameter(
        "", "Name of the camera in frame ids (NAME_link, NAME_optical_frame). Empty takes the rig file's."
    )
    estimator: str = _parameter(
        "edpn", "How depth is estimated from the focus volume.", runtime=True, choices=tuple(ESTIMATORS)
    )
    prior: str = _parameter(
        "",
        f"For estimator {' or '.join(estimators_with('prior'))}: path of the prior file, which names a monocular depth "
        "network (ONNX) and how to use it.",
        runtime=True,
    )
    model: str = _parameter(
        "",
        f"For estimator {' or '.join(estimators_with('model'))}: path of the network (ONNX). Empty takes the one that "
        "comes with the estimator, where one does.",
        runtime=True,
    )
    device: str = _parameter(
        "cpu", "Where events become focus volumes; cuda needs an NVIDIA GPU and the gpu extra.", choices=DEVICES
    )
    depth_rate_hz: float = _parameter(
        0.0,
        "Depth images a second: where sweeps are fewer, depth is also given while they run, of the newest events at "
        "every focus; 0 for one a sweep.",
        minimum=0.0,
        maximum=1e3,
    )
    correct_lag: bool = _parameter(
        False,
        "Take out the lag between lens and events that comparing up-sweeps with down-sweeps shows (docs/lenses.md). "
        "It is found and told in the diagnostics in any case.",
        runtime=True,
    )
    autostart: bool = _parameter(
        True,
        "Configure and activate at start. Where the source cannot be opened, activating is tried again, at first after "
        "1 s, later every 8 s; a failed configure is not tried again, and a deactivate, cleanup or shutdown by "
        "somebody else ends the retries. Set false under a lifecycle manager.",
    )
    loop: bool = _parameter(False, "For source file: start again at its end.")
    region_near_m: float = _parameter(
        0.0,
        "Nearest depth of the sweep: with region_far_m it focuses the sweep on a region, for finer depth there. 0 "
        "takes the rig's. Needs a lens that this node drives.",
        runtime=True,
        minimum=0.0,
        maximum=1e3,
    )
    region_far_m: float = _parameter(
        0.0, "Farthest depth of the sweep; 0 takes the rig's.", runtime=True, minimum=0.0, maximum=1e3
    )
    sweep_frequency_hz: float = _parameter(
        0.0,
        "Whole sweep periods a second (a triangle has two sweeps in each); 0 takes the rig's. Needs a lens that this "
        "node drives.",
        runtime=True,
        minimum=0.0,
        maximum=1e3,
    )
    record_to: str = _parameter(
        "",
        "Where the service record saves to: a folder for a sweep recording, or a bag, .mcap. Neither may exist yet.",
        runtime=True,
    )
    confidence_threshold: float = _parameter(
        0.5, "Depth of lower confidence becomes NaN in depth and points.", runtime=True, minimum=0.0, maximum=1.0
    )
    near_m: float = _parameter(
        0.0, "Nearer depth becomes -Inf in depth (REP 117) and NaN in points.", runtime=True, minimum=0.0, maximum=1e3
    )
    far_m: float = _parameter(
        0.0,
        "Farther depth becomes +Inf in depth (REP 117) and NaN in points; 0 sets no limit.",
        runtime=True,
        minimum=0.0,
        maximum=1e3,
    )

    temporal_filter: float = _parameter(
        0.0,
        "How much of the depth of the sweeps before is mixed into the next one where both agree: 0 for none, 0.8 for "
        "depth that flickers a quarter as much where nothing moves. What has moved is not mixed.",
        runtime=True,
        minimum=0.0,
        maximum=MAX_STRENGTH,
    )
    exposure_us: int = _parameter(
        0,
        "For source camera: exposure of its frames in microseconds; 0 leaves it to the camera.",
        minimum=0,
        maximum=MAX_EXPOSURE_US,
    )
    biases: str = _parameter(
        "",
        "For source camera: biases of the event pixels, NAME=COARSE/FINE (DAVIS346; NAME as in dv-processing's "
        "Davis346BiasCF: On, Off, Diff, Refractory, Photoreceptor ...) or ContrastThresholdOn=N and "
        "ContrastThresholdOff=N (DVXplorer), separated by spaces. Empty leaves them as they are.",
    )
    depth_encoding: str = _parameter(
        "32FC1",
        "Encoding of depth (REP 118): metres as 32FC1, or whole millimetres as 16UC1, in which 0 is whatever is no "
        "depth.",
        choices=DEPTH_ENCODINGS,
    )
    points_organised: bool = _parameter(
        True,
        "Whether points keep the image's rows and columns, with NaN where there is no depth; false leaves those out.",
        runtime=True,
    )
    points_stride: int = _parameter(
        1, "Every how manieth row and column of the image becomes points.", runtime=True, minimum=1, maximum=16
    )
    volume_slice_bin: int = _parameter(
        0,
        "Which vergence bin of the focus volume volume/slice shows; 0 is the farthest, and volume.bins of the rig says "
        "how many there are.",
        runtime=True,
        minimum=0,
        maximum=255,
    )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "DepthParameters":
        """Check each value and how they fit together.

        Raises:
            ParameterError: a name is unknown, or a value is of the wrong type, out of range or contradicts another.
        """
        for name, value in values.items():
            check_value(name, value)
        parameters = cls(**values)
        try:
            parse_biases(parameters.biases)
        except SourceError as error:
            raise ParameterError(f"biases: {error}") from None
        if parameters.region_far_m and parameters.region_far_m <= parameters.region_near_m:
            raise ParameterError(
                f"region_far_m = {parameters.region_far_m:g} must be above region_near_m = "
                f"{parameters.region_near_m:g}, or 0 for the rig's"
            )
        if parameters.far_m and parameters.far_m <= parameters.near_m:
            raise ParameterError(
                f"far_m = {parameters.far_m:g} must be above near_m = {parameters.near_m:g}, or 0 for no limit"
            )
        return parameters

    def require_bin(self, bins: int) -> None:
        """Check that the volumes have the bin that is to be shown, which depends on the rig.

        Raises:
            ParameterError: they have not.
        """
        if self.volume_slice_bin >= bins:
            raise ParameterError(
                f"volume_slice_bin = {self.volume_slice_bin}: the volumes have {bins} bins: allowed is 0 to {bins - 1}"
            )

    def require_path(self) -> None:
        """Check that the source has the path it needs; a node may be created before it is known.

        Raises:
            ParameterError: the path is missing.
        """
        if not self.path and self.source in ("file", "network"):
            what = "a sweep recording" if self.source == "file" else "a stream such as tcp://127.0.0.1:7777"
            raise ParameterError(f"the parameter path is empty: source {self.source} needs {what}")


FIELDS = {field.name: field for field in dataclasses.fields(DepthParameters)}


def rules(name: str) -> ParameterRules:
    """What the table says of a parameter."""
    found: ParameterRules = FIELDS[name].metadata["rules"]
    return found


def default(name: str) -> Any:
    """Its default, whose type is the parameter's."""
    value: Any = FIELDS[name].default
    return value


def check_value(name: str, value: Any) -> None:
    """Check one value by itself.

    Raises:
        ParameterError: the name is unknown or the value is of the wrong type, out of range or not a choice.
    """
    if name not in FIELDS:
        close = difflib.get_close_matches(name, FIELDS, n=1)
        raise ParameterError(f"unknown parameter {name}" + (f": did you mean {close[0]}?" if close else ""))
    expected = type(default(name))
    if type(value) is not expected:  # an int is no double for rclpy either
        raise ParameterError(f"{name} = {value!r}: it must be {_article(_TYPE_NAMES[expected])}")
    rule = rules(name)
    outside = rule.minimum is not None and rule.maximum is not None and not rule.minimum <= value <= rule.maximum
    if outside or (rule.choices and value not in rule.choices):
        raise ParameterError(f"{name} = {value!r}: allowed is {rule.allowed}")
    if name == "camera_name" and value and not FRAME_NAME_PATTERN.fullmatch(value):
        raise ParameterError(f"{name} = {value!r}: use a letter, then letters, digits and underscores")


_TYPE_NAMES = {str: "string", bool: "bool", int: "integer", float: "double"}


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def markdown() -> str:
    """The table as it stands in docs/parameters.md."""
    lines = [
        "# Parameters of the depth node",
        "",
        "Written by `python -m edfv_ros.nodes.parameters > docs/parameters.md`; change the table in",
        "`edfv_ros/nodes/parameters.py`. A parameter that can change at runtime takes effect with the next depth",
        "image; the others are read when the node is configured.",
        "",
        "| name | type | default | allowed | at runtime | meaning |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in FIELDS:
        rule, value = rules(name), default(name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        cells = (f"`{name}`", _TYPE_NAMES[type(value)], f"`{text}`" if text else "", rule.allowed)
        lines.append(f"| {' | '.join(cells)} | {'yes' if rule.runtime else 'no'} | {rule.description} |")
    return "\n".join(lines) + "\n"


def parameter_file() -> str:
    """The table with its defaults as it stands in config/depth_node.yaml: a file for ``--params-file``."""
    lines = [
        "# Parameters of the depth node, at their defaults. Give a copy of your own, of any part of this, to",
        "# `ros2 launch edfv_ros depth.launch.py params_file:=FILE`, where arguments that are given go before it, or",
        "# to `depth_node --ros-args --params-file FILE`. [runtime]: can be changed while the node runs.",
        "#",
        "# Written by `python -m edfv_ros.nodes.parameters --yaml > config/depth_node.yaml`; change the table in",
        "# edfv_ros/nodes/parameters.py.",
        "/**:",
        "  ros__parameters:",
    ]
    for name in FIELDS:
        rule = rules(name)
        words = [rule.description, f"Allowed: {rule.allowed}." if rule.allowed else "", "[runtime]" * rule.runtime]
        comment = " ".join(word for word in words if word)
        lines += textwrap.wrap(
            comment, 110, initial_indent="    # ", subsequent_indent="    # ", break_long_words=False
        )
        lines.append(f"    {name}: {json.dumps(default(name))}")  # a scalar of JSON is one of YAML
    return "\n".join(lines) + "\n"


def usage() -> str:
    """What `depth_node --help` prints."""
    lines = [
        "usage: depth_node [--ros-args -p NAME:=VALUE ...]",
        "",
        "Metric depth from an event camera whose lens sweeps focus: the ROS 2 node. Ctrl-C ends it.",
        "",
        "  depth_node --ros-args -p source:=sim",
        "  depth_node --ros-args -p source:=file -p path:=sweep -p loop:=true",
        "  depth_node --ros-args -p rig:=my_rig.yaml -r __ns:=/front",
        "",
        "parameters:",
    ]
    for name in FIELDS:
        given = f" (default {default(name)})" if default(name) != "" else ""
        lines += textwrap.wrap(
            f"{rules(name).description}{given}", 100, initial_indent=f"  {name:<22}", subsequent_indent=" " * 24
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(parameter_file() if sys.argv[1:] == ["--yaml"] else markdown(), end="")
