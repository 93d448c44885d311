"""What several tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def aedat4_dir() -> Path:
    """Folder of the genuine recordings, which are not part of this repository."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "aedat4"
    if not folder.is_dir():
        pytest.skip(f"the genuine recordings are not there: {folder}")
    return folder
