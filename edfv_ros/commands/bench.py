"""`edfv bench`: how fast this machine is."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    groups: Annotated[list[str] | None, typer.Argument(metavar="[GROUP]...", help="All if left out.")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say in words what this machine can do, and nothing else.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the numbers, and a picture beside them.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show the ratios of an earlier --json beside.")
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Also count on the GPU, through CUDA.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, to see that it runs.")] = False,
) -> None:
    """Measure how fast things are here, each against a reference of the same run.

    Every figure is given as a ratio, too, so that a busy machine does not
    mislead. docs/performance.md says what the groups are and what was found.

    \b
    Examples:
      edfv bench --profile
      edfv bench events-346x260 latency-346x260
      edfv bench --json now.json --compare before.json
    """
    from edfv_ros.bench.__main__ import main  # here, because all that is measured takes its time to load

    options = [("--profile", profile), ("--gpu", gpu), ("--quick", quick)]
    files = [("--json", json), ("--compare", compare)]
    arguments = [name for name, wanted in options if wanted]
    arguments += [text for name, path in files if path is not None for text in (name, str(path))]
    raise typer.Exit(main([*(groups or []), *arguments]))
