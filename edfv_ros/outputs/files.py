"""Files that are whole or not there at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edfv_ros.errors import OutputError


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: the file cannot be written there.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if path.is_dir():
            raise OutputError(f"{path}: a folder of that name is in the way: name another file")
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # it may not be there, and nothing may be where it should be
            temporary.unlink()


def check_file(path: Path) -> None:
    """Make sure, before long work, that a file can be written.

    Raises:
        OutputError: its folder is missing or not writable, or the file is one.
    """
    folder = path.absolute().parent
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{path}: a file is in the way at {folder}: name another folder")
    if not folder.exists():
        raise OutputError(f"{path}: there is no folder {folder}: make it first")
    if path.is_dir():
        raise OutputError(f"{path}: this is a folder: name a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: {folder} is not writable: change its permissions or name another folder")


def check_folder(path: Path) -> None:
    """Make sure, without making anything, that a folder is there or can be made, and written.

    Raises:
        OutputError: something else is there, or it may not be made or written there.
    """
    try:
        nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    except OSError as error:
        raise OutputError(f"{path}: this folder cannot be made: {error.strerror}") from None
    if not nearest.is_dir():
        raise OutputError(f"{path}: a file is in the way at {nearest}: name another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: {nearest} is not writable: change its permissions or name another folder")


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        OutputError: something else is there, or it may not be made or written there.
    """
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: this folder cannot be made: {error.strerror}") from None
