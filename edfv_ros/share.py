"""Where the files of config/ and models/ lie, in a checkout and installed."""

import sys
from pathlib import Path

from edfv_ros.errors import EdfvError


def config_file(name: str) -> Path:
    """Find config/NAME of this package.

    Raises:
        EdfvError: it was not installed.
    """
    path = shared_file(f"config/{name}")
    if path is None:
        raise EdfvError(f"config/{name} was not installed with edfv_ros: install the package again")
    return path


def shared_file(name: str) -> Path | None:
    """Find a file by its path in the repository, None where there is none."""
    return next((folder / name for folder in shared_folders() if (folder / name).is_file()), None)


def shared_folders() -> list[Path]:
    """Where such files may lie: the checkout first, then where pip and colcon put them; those folders that exist."""
    package = Path(__file__).parent
    prefixes = (Path(sys.prefix), *package.parents)
    installed = (prefix / "share/edfv_ros" for prefix in prefixes)
    return [package.parent, *(folder for folder in installed if folder.is_dir())]
