"""The lens track: focus vergence over time, in memory and as ``lens.csv``."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import LensError, OutputError
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sweep_search import SweepSearch, find_sweeps
from edfv_ros.optics import VergenceBins

LENS_NAME = "lens.csv"
CSV_HEADER = "timestamp_us,vergence_dpt"

_WRITTEN_ROW = re.compile(r"\d+,-?\d+\.\d{6}")
_MAX_VERGENCE_DPT = 1000.0
_MAX_TIMESTAMP_US = 2**53  # beyond it a double no longer holds every microsecond


@dataclass(frozen=True, slots=True, eq=False)
class LensTrack:
    """Optical focus vergence against time on the camera's clock, linear between rows.

    Attributes:
        timestamps_us: float64 [N], N >= 2, strictly ascending unix microseconds; read-only.
        vergence_dpt: float64 [N]; read-only.

    Raises:
        LensError: too few rows, rows of different number, a value that is not finite or impossible, time that does
            not advance.
    """

    timestamps_us: NDArray[np.float64]
    vergence_dpt: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("timestamps_us", "vergence_dpt"):
            column = np.array(getattr(self, name), dtype=np.float64)
            column.setflags(write=False)
            object.__setattr__(self, name, column)
        if self.timestamps_us.ndim != 1 or self.timestamps_us.shape != self.vergence_dpt.shape:
            raise LensError(
                f"lens track: timestamps_us {self.timestamps_us.shape} and vergence_dpt {self.vergence_dpt.shape} "
                "must be two columns of equal length"
            )
        problem = _first_problem(self.timestamps_us, self.vergence_dpt)
        if problem is not None:
            row, text = problem
            raise LensError(f"lens track: row {row}: {text}" if row >= 0 else f"lens track: {text}")

    @classmethod
    def from_csv(cls, path: str | Path) -> "LensTrack":
        """Read ``lens.csv``: the header ``timestamp_us,vergence_dpt``, then one row per line.

        A last line without its line end that was cut while :class:`LensTrackWriter` wrote it is left out.

        Raises:
            LensError: the file is missing, unreadable or not a lens track; the message names file and line.
        """
        path = Path(path)
        lines = _read_lines(path)
        if lines[0].replace(" ", "") != CSV_HEADER:
            raise LensError(f"{path}:1: the header must be {CSV_HEADER}, not {_shorten(lines[0])!r}")
        rows = [(number, line) for number, line in enumerate(lines[1:], start=2) if line.strip()]
        values = np.array([_parse_row(path, number, line) for number, line in rows], dtype=np.float64).reshape(-1, 2)
        problem = _first_problem(values[:, 0], values[:, 1])
        if problem is not None:
            row, text = problem
            raise LensError(f"{path}:{rows[row][0]}: {text}" if row >= 0 else f"{path}: {text}")
        return cls(values[:, 0], values[:, 1])

    @property
    def start_us(self) -> float:
        return float(self.timestamps_us[0])

    @property
    def end_us(self) -> float:
        return float(self.timestamps_us[-1])

    def search(self, bins: VergenceBins) -> SweepSearch:
        """The sweeps in the track, with counts of what was left out."""
        return find_sweeps(self.timestamps_us, self.vergence_dpt, bins, complete=True)

    def sweeps(self, bins: VergenceBins) -> list[FocusSweep]:
        """The complete sweeps in the track, in time order."""
        return list(self.search(bins).sweeps)


class LensTrackRows:
    """Sweeps as rows of a lens track, as they become known: whole microseconds, and vergences of six decimals."""

    def __init__(self) -> None:
        self._last: FocusSweep | None = None
        self._last_us = -1

    def of(self, sweep: FocusSweep) -> list[tuple[int, float]]:
        """The rows that a sweep adds, unix microseconds and dioptres; none where it begins before the last one ended.

        The track is linear between rows, and a straight line across a stretch without a sweep could be taken for one.
        So the focus is said to stand there, and to jump within a microsecond, which is no sweep.
        """
        rows = list(
            zip(np.rint(sweep.timestamps_us).astype(np.int64).tolist(), sweep.vergence_dpt.tolist(), strict=True)
        )
        if self._last is not None:
            rows = self._joined(self._last, rows)
        self._last = sweep if rows else self._last
        new = []
        for time_us, vergence_dpt in rows:
            if time_us > self._last_us:
                new.append((time_us, round(vergence_dpt, 6)))
                self._last_us = time_us
        return new

    def _joined(self, last: FocusSweep, rows: list[tuple[int, float]]) -> list[tuple[int, float]]:
        """The rows of the next sweep, and before them what joins them to the last one."""
        last_dpt = float(last.vergence_dpt[-1])
        start_us, start_dpt = rows[0]
        gap_us = start_us - self._last_us
        if gap_us < 0:
            return []
        if gap_us == 0 and abs(start_dpt - last_dpt) > 1e-6:  # a sawtooth's jump
            return [(start_us + 1, start_dpt), *rows[1:]]
        if gap_us > 1:
            # The outer of the two ends is where the turning point will be found; the way to the other is the jump.
            standing_dpt = max(last_dpt, start_dpt) if last.direction > 0 else min(last_dpt, start_dpt)
            return [(self._last_us + 1, standing_dpt), (start_us - 1, standing_dpt), *rows]
        return rows


class LensTrackWriter:
    """Write sweeps to a ``lens.csv`` as they become known; each call leaves a file that reads up to its last row.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._rows = LensTrackRows()
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot write the lens track: {error.strerror}") from None
        self._write(CSV_HEADER + "\n")

    def append_sweep(self, sweep: FocusSweep) -> list[tuple[int, float]]:
        """Append the rows of a sweep, see :meth:`LensTrackRows.of`, and return them."""
        written = self._rows.of(sweep)
        self._write("".join(f"{time_us},{vergence_dpt:.6f}\n" for time_us, vergence_dpt in written))
        return written

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "LensTrackWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, text: str) -> None:
        data = text.encode()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise OutputError(f"{self._path}: cannot write the lens track: {error.strerror}") from None


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LensError(f"{path}: no such lens track") from None
    except OSError as error:
        raise LensError(f"{path}: cannot read this lens track: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LensError(f"{path}: not a lens track: it is not UTF-8 text") from None
    if not text.strip():
        raise LensError(f"{path}: the lens track is empty; it begins with the header {CSV_HEADER}")
    lines = text.splitlines()
    cut = not text.endswith("\n") and len(lines) > 2 and _WRITTEN_ROW.fullmatch(lines[-2])
    if cut and not _WRITTEN_ROW.fullmatch(lines[-1]):
        lines.pop()
    return lines


def _parse_row(path: Path, number: int, line: str) -> tuple[float, float]:
    try:
        timestamp_us, vergence_dpt = (float(value) for value in line.split(","))
    except ValueError:
        raise LensError(f"{path}:{number}: expected two numbers, {CSV_HEADER}, not {_shorten(line)!r}") from None
    return timestamp_us, vergence_dpt


def _first_problem(timestamps_us: NDArray[np.float64], vergence_dpt: NDArray[np.float64]) -> tuple[int, str] | None:
    """Row and description of the first thing wrong with a track; row -1 where it is the track as a whole."""
    problems: list[tuple[int, str]] = []
    for name, column, low, high in (
        ("timestamp_us", timestamps_us, 0, _MAX_TIMESTAMP_US),
        ("vergence_dpt", vergence_dpt, -_MAX_VERGENCE_DPT, _MAX_VERGENCE_DPT),
    ):
        bad = np.flatnonzero(~((column >= low) & (column <= high)))
        if len(bad):
            problems.append((int(bad[0]), f"{name} = {column[bad[0]]:.17g} must lie within {low:.0f} to {high:.0f}"))
    back = np.flatnonzero(np.diff(timestamps_us) <= 0)
    if len(back):
        row = int(back[0]) + 1
        before, after = timestamps_us[row - 1], timestamps_us[row]
        problems.append((row, f"timestamp_us must rise from row to row, but {before:.17g} is followed by {after:.17g}"))
    if problems:
        return min(problems)
    if len(timestamps_us) < 2:
        return -1, f"a lens track needs two rows or more, this one has {len(timestamps_us)}"
    return None


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
