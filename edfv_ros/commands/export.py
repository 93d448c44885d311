"""`edfv export`: a trained network as an ONNX file."""

import importlib.util
import re
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from edfv_ros.commands.terminal import notices, results
from edfv_ros.errors import EdfvError
from edfv_ros.outputs.files import check_file

_MIB = 2**20


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training run (edfv train).")],
    out: Annotated[Path, typer.Option(metavar="FILE.onnx", help="ONNX file to write.")] = Path("models/edpn.onnx"),
    precision: Annotated[
        Literal["float32", "int8"],
        typer.Option(help="int8 is twice as fast on a CPU; it is refused where it costs more than 0.005 of delta1."),
    ] = "float32",
    calibration: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For int8: data set that shows how large activations are.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For int8: data set of another split, to compare on.")
    ] = None,
    ship: Annotated[
        bool, typer.Option("--ship", help="Also enter it into manifest.json beside it, as the network used by default.")
    ] = False,
) -> None:
    """Turn a training run into an ONNX file.

    The file takes pictures of any even size, needs nothing but ONNX Runtime,
    and says in its metadata what it takes, gives and was trained on. It is
    written only if it computes what the run's network does. Of a run with
    --network published or event_stack it is for edfv evaluate compare.

    \b
    Examples:
      edfv export run --out edpn.onnx
      edfv export peer --out published.onnx
      edfv export run --precision int8 --calibration train --validation validation --ship
    """
    for module in ("torch", "onnx"):
        if importlib.util.find_spec(module) is None:
            raise EdfvError(f"edfv export needs {module}, which is not installed: pip install edfv_ros[train]")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx", out.name):
        raise EdfvError(f"--out {out}: name it with letters, digits, _, - and ., and .onnx at its end")
    check_file(out)
    if precision == "float32" and (calibration or validation):
        raise EdfvError("--calibration and --validation are for int8: leave them out, or add --precision int8")
    from edfv_ros.training.edpn.examples import Examples  # torch takes seconds to load
    from edfv_ros.training.edpn.shipping import export_run, write_manifest

    sets = None
    if precision == "int8":
        if calibration is None or validation is None:
            raise EdfvError("int8 needs --calibration and --validation: name two data sets of edfv dataset")
        sets = Examples(calibration), Examples(validation)
    model = export_run(run, out, sets, ship=ship)
    table = Table.grid(padding=(0, 2))
    trained = model.provenance
    table.add_row(
        "model", f"{model.network}, {model.parameters / 1e6:.2f} million parameters, {model.size_bytes / _MIB:.2f} MiB"
    )
    table.add_row("trained", f"{trained['steps']} steps, {trained['hours']} h, {trained['examples']} examples")
    table.add_row("precision", model.precision)
    table.add_row("parity", f"within {model.difference:.1e} of the run's network")
    if model.quantised is not None:
        before, after = model.quantised.float32, model.quantised.int8
        table.add_row("int8", f"delta1 {before.delta1:.4f} -> {after.delta1:.4f}")
        table.add_row("", f"AbsRel {before.abs_rel:.4f} -> {after.abs_rel:.4f}")
        table.add_row("", f"median error {before.median_bins:.3f} -> {after.median_bins:.3f} bins")
    table.add_row("sha256", model.sha256)
    results().print(table)
    notices().print(f"written: {escape(str(out))}", style="dim")
    if ship:
        notices().print(f"written: {escape(str(write_manifest(model, out.absolute().parent)))}", style="dim")
