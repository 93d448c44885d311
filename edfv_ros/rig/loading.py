"""Read a rig file, or say in one line what is wrong with it."""

from pathlib import Path

from edfv_ros.errors import RigError
from edfv_ros.rig.model import Rig
from edfv_ros.yaml_model import load_yaml_model, parse_yaml_model


def load_rig(path: str | Path) -> Rig:
    """Load and validate a rig file.

    Raises:
        RigError: the file is missing, is not YAML, or describes an impossible rig; the message names file, key,
            value and what is allowed.
    """
    return load_yaml_model(path, Rig, "rig", RigError, "config/rig.yaml")


def parse_rig(text: str, path: str | Path) -> Rig:
    """Validate the content of a rig file that was read from ``path``.

    Raises:
        RigError: as for :func:`load_rig`.
    """
    return parse_yaml_model(text, path, Rig, "rig", RigError)
