"""Measure and print: ``python -m edfv_ros.bench [GROUP ...]``."""

import argparse
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edfv_ros import __version__
from edfv_ros.bench import crops, event_path, growth, hand_over, latency, networks, profile, rolling, sweeps
from edfv_ros.bench.earlier import Earlier, read_earlier
from edfv_ros.bench.made_up import RESOLUTIONS
from edfv_ros.bench.picture import draw
from edfv_ros.bench.rows import Group
from edfv_ros.commands.terminal import print_error
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import check_file, replace_atomically
from edfv_ros.outputs.plain_json import to_json

EXIT_USER_ERROR = 2

Measure = Callable[..., Group]


def _at_each_resolution(name: str, measure: Measure) -> dict[str, Measure]:
    return {f"{name}-{width}x{height}": partial(measure, width, height) for width, height in RESOLUTIONS}


def groups(*, gpu: bool) -> Mapping[str, Measure]:
    """What can be measured, by name."""
    return {
        **_at_each_resolution("events", partial(event_path.measure, gpu=gpu)),
        growth.NAME: growth.measure,
        **_at_each_resolution("sweep", hand_over.measure),
        **_at_each_resolution("latency", latency.measure),
        rolling.NAME: rolling.measure,
        crops.NAME: crops.measure,
        sweeps.NAME: sweeps.measure,
        networks.NAME: networks.measure,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edfv_ros.bench", description=__doc__)
    known = groups(gpu=False)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"all of {', '.join(known)} if left out")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the numbers, and FILE.png with the ratios"
    )
    parser.add_argument("--compare", type=Path, metavar="FILE", help="show the ratios of an earlier --json beside")
    parser.add_argument("--gpu", action="store_true", help="also count on the GPU, through CUDA")
    parser.add_argument(
        "--profile", action="store_true", help="say in words what this machine can do, and nothing else"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.groups if name not in known]
    if unknown:
        parser.error(f"{unknown[0]}: no such group; choose from {', '.join(known)}")
    console, progress = Console(highlight=False), Console(stderr=True, highlight=False)
    measured: list[Group] = []
    try:
        if given.profile:
            with progress.status("measuring"):
                capabilities = list(profile.measure(quick=given.quick))
            for line in profile.in_words(capabilities):
                console.print(line, soft_wrap=True)
            return 0
        earlier = Earlier({}) if given.compare is None else read_earlier(given.compare)
        if given.json is not None:
            check_file(given.json)
        for name in given.groups or known:
            with progress.status(f"measuring {name}"):
                measured.append(groups(gpu=given.gpu)[name](quick=given.quick))
            _print(console, measured[-1], earlier)
        if given.json is not None:
            _write(given.json, measured)
            draw(measured, given.json.with_suffix(".png"))
    except EdfvError as error:
        print_error(str(error))
        return EXIT_USER_ERROR
    return 0


def _print(console: Console, group: Group, earlier: Earlier) -> None:
    table = Table(box=None, show_header=True, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    table.add_column("ratio", justify="right")
    if earlier:
        table.add_column("was", justify="right")
    for row in group.rows:
        value = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3g}"
        ratios = [row.ratio, earlier.ratio(group.name, row.name)] if earlier else [row.ratio]
        table.add_row(row.name, value, row.unit, *("" if ratio is None else f"{ratio:.3g}" for ratio in ratios))
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
