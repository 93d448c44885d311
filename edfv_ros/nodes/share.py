"""Where the files of config/ lie, in a checkout and installed, and what of them every node needs."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from edfv_ros.errors import EdfvError

FAST_DDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy, Kilted


def config_file(name: str) -> Path:
    """Find config/NAME of this package.

    Raises:
        EdfvError: it was not installed.
    """
    package = Path(__file__).parents[1]
    prefixes = (Path(sys.prefix), *package.parents)
    for folder in (package.parent, *(prefix / "share/edfv_ros" for prefix in prefixes)):
        if (folder / "config" / name).is_file():
            return folder / "config" / name
    raise EdfvError(f"config/{name} was not installed with edfv_ros: install the package again")


def fast_dds_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment that lets Fast DDS carry depth images and clouds whole; empty where the user has a profile."""
    if any(environment.get(name) for name in FAST_DDS_VARIABLES):
        return {}
    return dict.fromkeys(FAST_DDS_VARIABLES, str(config_file("fastdds.xml")))
