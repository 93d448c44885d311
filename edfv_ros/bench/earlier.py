"""The figures of an earlier run, to be shown beside those of this one."""

import json
from dataclasses import dataclass
from pathlib import Path

from edfv_ros.errors import EdfvError


@dataclass(frozen=True, slots=True)
class Earlier:
    """Ratios by the names of their group and row."""

    ratios: dict[tuple[str, str], float]

    def __bool__(self) -> bool:
        return bool(self.ratios)

    def ratio(self, group: str, row: str) -> float | None:
        """What the row was then; None where it was not there, or had no ratio."""
        return self.ratios.get((group, row))


def read_earlier(path: Path) -> Earlier:
    """Read what ``--json`` wrote.

    Raises:
        EdfvError: there is no such file, or it is something else.
    """
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
        return Earlier(
            {
                (group["name"], row["name"]): float(row["ratio"])
                for group in groups
                for row in group["rows"]
                if row["ratio"] is not None
            }
        )
    except OSError as error:
        raise EdfvError(f"{path}: cannot be read: {error.strerror}; give a file that --json wrote") from None
    except (ValueError, KeyError, TypeError):
        raise EdfvError(f"{path}: is no result of the benchmark; give a file that --json wrote") from None
