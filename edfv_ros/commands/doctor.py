"""`edfv doctor`: what works, what is missing, what to do."""

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from edfv_ros.commands.terminal import print_json, results
from edfv_ros.doctor import Check, examine, is_healthy

EXIT_BROKEN = 1
_MARKS = {"ok": ("ok", "green"), "missing": ("missing", "yellow"), "broken": ("BROKEN", "bold red")}


def doctor(json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Look at this machine: packages, camera, lens ports, GPU, ROS.

    What is "missing" is optional; what is "BROKEN" is needed, and ends with
    exit code 1. Either comes with what to do.

    \b
    Examples:
      edfv doctor
      edfv doctor --json
    """
    checks = examine()
    if json:
        print_json({"healthy": is_healthy(checks), "checks": checks})
    else:
        _print_checks(results(), checks)
    if not is_healthy(checks):
        raise typer.Exit(EXIT_BROKEN)


def _print_checks(console: Console, checks: list[Check]) -> None:
    name_width = max(len(check.name) for check in checks)
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            console.print(group, style="bold")
        mark, colour = _MARKS[check.status]
        console.print(Text.assemble("  ", (f"{mark:<9}", colour), f"{check.name:<{name_width}}  {check.finding}"))
        if check.advice:  # unwrapped, so that a command can be copied
            console.print(Text(f"{'':11}-> {check.advice}", "dim"), soft_wrap=True)
    broken = sum(check.status == "broken" for check in checks)
    verdict = ("everything needed works", "green") if not broken else (f"{broken} needed thing(s) broken", "bold red")
    console.print(Text(*verdict))
