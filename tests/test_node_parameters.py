"""One table feeds declaration, validation and the documentation."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from edfv_ros.nodes.parameters import FIELDS, DepthParameters, ParameterError, markdown, rules, usage

ROOT = Path(__file__).parents[1]


def test_defaults_are_valid_and_described():
    assert DepthParameters.from_values({}) == DepthParameters()
    for field in fields(DepthParameters):
        assert rules(field.name).description.endswith("."), field.name


def test_documentation_is_current():
    written = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert written == markdown(), "run: python -m edfv_ros.nodes.parameters > docs/parameters.md"


def test_configuration_file_names_parameters_and_their_defaults():
    config = yaml.safe_load((ROOT / "config/depth_node.yaml").read_text(encoding="utf-8"))
    for name, value in config["/**"]["ros__parameters"].items():
        assert value == FIELDS[name].default, name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "camara"}, "source = 'camara': allowed is camera, file, network, sim"),
        ({"estimator": "magic"}, "estimator = 'magic': allowed is "),
        ({"confidence_threshold": 1.5}, "confidence_threshold = 1.5: allowed is 0 to 1"),
        ({"confidence_threshold": float("nan")}, "confidence_threshold = nan: allowed is 0 to 1"),
        ({"far_m": 2}, "far_m = 2: it must be a double"),
        ({"autostart": 1}, "autostart = 1: it must be a bool"),
        ({"camera_name": "left cam"}, "camera_name = 'left cam': use a letter"),
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


@pytest.mark.parametrize("source", ["file", "network"])
def test_a_source_that_needs_a_path_says_so(source):
    with pytest.raises(ParameterError, match=f"path is empty: source {source} needs"):
        DepthParameters(source=source).require_path()


def test_help_names_every_parameter() -> None:
    text = usage()
    assert all(f"\n  {name} " in text for name in FIELDS)
    assert max(map(len, text.splitlines())) <= 100
