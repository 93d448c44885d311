"""The sub-commands of `edfv`, one file each."""

import platform
from typing import Annotated

import typer

from edfv_ros import __version__
from edfv_ros.commands.doctor import doctor
from edfv_ros.commands.info import info
from edfv_ros.commands.record import record
from edfv_ros.commands.rig import rig_app
from edfv_ros.commands.run import run
from edfv_ros.commands.simulate import simulate
from edfv_ros.commands.terminal import EdfvGroup

app = typer.Typer(
    name="edfv",
    cls=EdfvGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # what is not an EdfvError is a bug and deserves its plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(info)
app.command()(record)
app.command()(simulate)
app.command()(doctor)
app.add_typer(rig_app, name="rig")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edfv {__version__} (Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def edfv(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Metric depth from an event camera whose lens sweeps focus.

    \b
    First steps:
      edfv doctor                     what works here, what is missing
      edfv simulate --out sweep       make a recording with known depth
      edfv run sweep --out depth      turn it into depth images
      edfv record camera: --rig rig.yaml --out mine
                                      record your own
    """
