"""`edfv model`: networks made ready to run."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edfv_ros.commands.terminal import notices, results
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import check_folder
from edfv_ros.training.published.operators import SamplingOperator

model_app = typer.Typer(help="Networks made ready to run.", no_args_is_help=True, rich_markup_mode="rich")


@model_app.callback()
def model() -> None:
    """Networks made ready to run."""


@model_app.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Checkpoint of the published EDPN (.pth).")],
    out: Annotated[Path, typer.Option(metavar="FILE.onnx", help="ONNX file to write.")],
    operator: Annotated[
        SamplingOperator | None,
        typer.Option(
            help="What deformable convolutions become: deform-conv is faster and needs ONNX Runtime 1.25 or later, "
            "grid-sample runs on any. By default what runs here.",
        ),
    ] = None,
) -> None:
    """Turn a checkpoint of the published network into an ONNX file.

    The checkpoint is one that the authors of "Dense Metric Depth Estimation
    via Event-based Differential Focus Volume Prompting" published, or one
    trained with their code, with 32 bins. The file says in its metadata what
    its inputs are, and needs nothing but ONNX Runtime to run. It is written
    only if it computes what the checkpoint does.

    \b
    Examples:
      edfv model import upload.pth --out edpn_published.onnx
      edfv model import upload.pth --out old.onnx --operator grid-sample
      edfv run sweep --out depth --estimator edpn_published --prior prior.yaml
               --model edpn_published.onnx
    """
    for module in ("torch", "onnx"):
        if importlib.util.find_spec(module) is None:
            raise EdfvError(f"edfv model import needs {module}, which is not installed: pip install edfv_ros[train]")
    from edfv_ros.training.published.importing import import_checkpoint  # torch takes seconds to load

    check_folder(out.absolute().parent)
    imported = import_checkpoint(checkpoint, out, operator)
    table = Table.grid(padding=(0, 2))
    epoch = f", epoch {imported.epoch}" if imported.epoch is not None else ""
    table.add_row("model", f"{imported.name}, {imported.parameters / 1e6:.2f} million parameters{epoch}")
    for name, shape in imported.inputs.items():
        table.add_row("input", f"{name}: {' x '.join(map(str, shape))}")
    table.add_row("operator", imported.operator.value)
    table.add_row("parity", f"within {imported.difference:.1e} of the checkpoint")
    table.add_row("sha256", imported.sha256)
    results().print(table)
    notices().print(f"written: {escape(str(out))}", style="dim")
