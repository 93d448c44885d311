"""The example rig that comes with the package."""

import sys
from pathlib import Path

from edfv_ros.errors import RigError


def example_rig_file() -> Path:
    """``config/rig.yaml`` of this package, in a checkout or installed.

    Raises:
        RigError: it is in neither place.
    """
    package = Path(__file__).parents[1]
    prefixes = (Path(sys.prefix), *package.parents)
    for folder in (package.parent, *(prefix / "share" / "edfv_ros" for prefix in prefixes)):
        if (folder / "config" / "rig.yaml").is_file():
            return folder / "config" / "rig.yaml"
    raise RigError("config/rig.yaml was not installed with edfv_ros: name a rig file of your own with --rig")
