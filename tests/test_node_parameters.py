"""One table feeds declaration, validation and the documentation."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from edfv_ros.nodes.parameters import FIELDS, DepthParameters, ParameterError, markdown, parameter_file, rules, usage

ROOT = Path(__file__).parents[1]


def test_defaults_are_valid_and_described():
    assert DepthParameters.from_values({}) == DepthParameters()
    for field in fields(DepthParameters):
        assert rules(field.name).description.endswith("."), field.name


def test_documentation_is_current():
    written = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert written == markdown(), "run: python -m edfv_ros.nodes.parameters > docs/parameters.md"


def test_configuration_file_is_current_and_holds_every_default():
    text = (ROOT / "config/depth_node.yaml").read_text(encoding="utf-8")
    assert text == parameter_file(), "run: python -m edfv_ros.nodes.parameters --yaml > config/depth_node.yaml"
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert {name: (type(value), value) for name, value in values.items()} == {
        name: (type(field.default), field.default) for name, field in FIELDS.items()
    }
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "camara"}, "source = 'camara': allowed is camera, file, network, sim, topic"),
        ({"estimator": "magic"}, "estimator = 'magic': allowed is "),
        ({"confidence_threshold": 1.5}, "confidence_threshold = 1.5: allowed is 0 to 1"),
        ({"confidence_threshold": float("nan")}, "confidence_threshold = nan: allowed is 0 to 1"),
        ({"far_m": 2}, "far_m = 2: it must be a double"),
        ({"autostart": 1}, "autostart = 1: it must be a bool"),
        ({"camera_name": "left cam"}, "camera_name = 'left cam': use a letter"),
        ({"depth_encoding": "16uc1"}, "depth_encoding = '16uc1': allowed is 32FC1, 16UC1"),
        ({"exposure_us": -1}, "exposure_us = -1: allowed is 0 to 1000000"),
        ({"biases": "On=9/1"}, "biases: bias On=9/1: allowed is 0/0 to 7/255"),
        ({"points_stride": 0}, "points_stride = 0: allowed is 1 to 16"),
        ({"points_stride": 2.0}, "points_stride = 2.0: it must be an integer"),
        ({"points_stride": True}, "points_stride = True: it must be an integer"),
        ({"near_m": 2.0, "far_m": 1.0}, "far_m = 1 must be above near_m = 2"),
        ({"sorce": "sim"}, "unknown parameter sorce: did you mean source?"),
    ],
)
def test_a_bad_value_is_refused_with_its_reason(values, message):
    with pytest.raises(ParameterError) as caught:
        DepthParameters.from_values(values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_no_far_limit_goes_with_any_near_limit():
    assert DepthParameters.from_values({"near_m": 2.0, "far_m": 0.0}).near_m == 2.0


def test_a_bin_beyond_the_volumes_is_refused():
    parameters = DepthParameters(volume_slice_bin=32)
    parameters.require_bin(33)
    with pytest.raises(ParameterError, match="volume_slice_bin = 32: the volumes have 32 bins: allowed is 0 to 31"):
        parameters.require_bin(32)


@pytest.mark.parametrize("source", ["file", "network"])
def test_a_source_that_needs_a_path_says_so(source):
    with pytest.raises(ParameterError, match=f"path is empty: source {source} needs"):
        DepthParameters(source=source).require_path()


def test_help_names_every_parameter() -> None:
    text = usage()
    assert all(f"\n  {name} " in text for name in FIELDS)
    assert max(map(len, text.splitlines())) <= 100
