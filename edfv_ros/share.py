"""Where the files of config/ lie, in a checkout and installed."""

import sys
from pathlib import Path

from edfv_ros.errors import EdfvError


def config_file(name: str) -> Path:
    """Find config/NAME of this package.

    Raises:
        EdfvError: it was not installed.
    """
    package = Path(__file__).parent
    prefixes = (Path(sys.prefix), *package.parents)
    for folder in (package.parent, *(prefix / "share/edfv_ros" for prefix in prefixes)):
        if (folder / "config" / name).is_file():
            return folder / "config" / name
    raise EdfvError(f"config/{name} was not installed with edfv_ros: install the package again")
