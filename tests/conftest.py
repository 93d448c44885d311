"""What several tests share."""

import signal
from pathlib import Path

import pytest

# A shell ignores Ctrl-C in what it starts in the background, and so would every program that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def aedat4_dir() -> Path:
    """Folder of the genuine recordings, which are not part of this repository."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "aedat4"
    if not folder.is_dir():
        pytest.skip(f"the genuine recordings are not there: {folder}")
    return folder
