"""Which sweeps of a recording are wanted."""

import re
from dataclasses import dataclass

from edfv_ros.errors import EdfvError


@dataclass(frozen=True, slots=True)
class SweepRange:
    """Sweeps ``first`` up to but not including ``stop``, counted from 0; None is the end of the recording."""

    first: int = 0
    stop: int | None = None

    @classmethod
    def parse(cls, text: str) -> "SweepRange":
        """Read ``8`` (the first eight), ``2:6`` (2, 3, 4 and 5), ``2:`` (2 and all after) or ``:6``.

        Raises:
            EdfvError: the text is none of these, or names no sweep.
        """
        match = re.fullmatch(r"(?:(\d{0,9}):)?(\d{0,9})", text.strip())
        if match is None or not text.strip():
            raise EdfvError(f"--sweeps {text}: give a number (8: the first eight) or a range (2:6, 2:, :6)")
        first = int(match[1] or 0)
        stop = int(match[2]) if match[2] else None
        if stop is not None and stop <= first:
            raise EdfvError(
                f"--sweeps {text}: there is no sweep in this range; sweeps count from 0, the end is left out"
            )
        return cls(first, stop)

    def __contains__(self, index: int) -> bool:
        return self.first <= index and not self.is_past(index)

    def is_past(self, index: int) -> bool:
        """Whether a sweep and all after it are not wanted."""
        return self.stop is not None and index >= self.stop

    def check(self, found: int) -> None:
        """Compare with the number of sweeps a recording has.

        Raises:
            EdfvError: a sweep is asked for that is not there.
        """
        last = self.first if self.stop is None else self.stop - 1
        if last >= found:
            has = f"has {found} sweeps, 0 to {found - 1}" if found > 1 else f"has {found or 'no'} sweep"
            raise EdfvError(f"--sweeps asks for sweep {last}, but the recording {has}")
