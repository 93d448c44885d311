"""How the commands speak to a terminal: results on stdout, progress and one-line errors on stderr."""

import os
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from edfv_ros.errors import EdfvError
from edfv_ros.outputs.plain_json import to_json

EXIT_USER_ERROR = 2
EXIT_BROKEN_PIPE = 141


class ResultConsole(Console):
    """A console whose reader may leave early, as `| head` does."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


class EdfvGroup(TyperGroup):
    """The command group in which every error a user can act on becomes one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except EdfvError as error:
            print_error(str(error))
            raise typer.Exit(EXIT_USER_ERROR) from None
        except SystemError as error:
            if not is_interrupt(error):
                raise
            raise KeyboardInterrupt from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter flushes into it again
            raise typer.Exit(EXIT_BROKEN_PIPE) from None


def is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: compiled code that it interrupts reports one of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def results() -> Console:
    """Console for what a command was asked for."""
    return ResultConsole(highlight=False, soft_wrap=not sys.stdout.isatty())


def notices() -> Console:
    """Console for progress and remarks, kept off stdout so that results can be piped."""
    return Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """Print one line to stderr, whatever the message holds."""
    line = " ".join(message.split("\n"))
    colour = "\033[31m" if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else ""
    print(f"{colour}edfv:{chr(27) + '[0m' if colour else ''} {line}", file=sys.stderr)


def print_json(data: Any) -> None:
    """Print a result as JSON on stdout."""
    print(to_json(data))


def recording_progress() -> Progress:
    """Progress over a recording, in fractions of its time; silent where nobody watches."""
    console = notices()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
