"""The `edfv` command: reads arguments, calls the rooms that do the work, prints what they return."""

import platform
from typing import Annotated

import typer

from edfv_ros import __version__
from edfv_ros.commands import (
    bag,
    bench,
    dataset,
    doctor,
    evaluate,
    export,
    firmware,
    info,
    lens,
    model,
    record,
    recover,
    rig,
    run,
    simulate,
    statistics,
    train,
    view,
)
from edfv_ros.commands.terminal import EdfvGroup

app = typer.Typer(
    name="edfv",
    cls=EdfvGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # what is not an EdfvError is a bug and deserves its plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(info.info)
app.command()(view.view)
app.command()(record.record)
app.command()(recover.recover)
app.command()(simulate.simulate)
app.command()(statistics.statistics)
app.command()(dataset.dataset)
app.command()(train.train)
app.command()(export.export)
app.command()(doctor.doctor)
app.command()(bench.bench)
app.add_typer(bag.bag_app, name="bag")
app.add_typer(evaluate.evaluate_app, name="evaluate")
app.add_typer(rig.rig_app, name="rig")
app.add_typer(firmware.firmware_app, name="firmware")
app.add_typer(lens.lens_app, name="lens")
app.add_typer(model.model_app, name="model")


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


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
