"""Measure and print: ``python -m edfv_ros.bench [GROUP ...] [--json FILE] [--quick]``."""

import argparse
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edfv_ros import __version__
from edfv_ros.bench import crops, networks, sweeps
from edfv_ros.bench.rows import Group
from edfv_ros.commands.terminal import print_error
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import check_file, replace_atomically
from edfv_ros.outputs.plain_json import to_json

GROUPS: Mapping[str, Callable[..., Group]] = {module.NAME: module.measure for module in (crops, sweeps, networks)}

EXIT_USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edfv_ros.bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"all of {', '.join(GROUPS)} if left out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.groups if name not in GROUPS]
    if unknown:
        parser.error(f"{unknown[0]}: no such group; choose from {', '.join(GROUPS)}")
    console, progress = Console(highlight=False), Console(stderr=True, highlight=False)
    measured = []
    try:
        if given.json is not None:
            check_file(given.json)
        for name in given.groups or GROUPS:
            with progress.status(f"measuring {name}"):
                measured.append(GROUPS[name](quick=given.quick))
            _print(console, measured[-1])
        if given.json is not None:
            _write(given.json, measured)
    except EdfvError as error:
        print_error(str(error))
        return EXIT_USER_ERROR
    return 0


def _print(console: Console, group: Group) -> None:
    table = Table(box=None, show_header=True, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    table.add_column("ratio", justify="right")
    for row in group.rows:
        value = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3g}"
        table.add_row(row.name, value, row.unit, "" if row.ratio is None else f"{row.ratio:.3g}")
    console.print(f"[bold]{group.title}[/bold]", soft_wrap=True)
    console.print(table)
    console.print(f"ratio: times {group.reference}\n", style="dim", soft_wrap=True)


def _write(path: Path, groups: Sequence[Group]) -> None:
    machine = {
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "edfv_ros": __version__,
    }
    with replace_atomically(path) as temporary:
        temporary.write_text(to_json({"machine": machine, "groups": groups}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
