"""`edfv rig`: what a rig can resolve, and whether its file is sound."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from edfv_ros.commands.terminal import notices, print_json, results
from edfv_ros.optics.resolution import TEXTURED_PIXEL_SNR, DepthResolution
from edfv_ros.rig import Rig, load_rig
from edfv_ros.rig.report import RigReport, rig_doubts, rig_report

rig_app = typer.Typer(
    help="What a rig can resolve, and whether its file is sound.", no_args_is_help=True, rich_markup_mode="rich"
)
RigArgument = Annotated[Path, typer.Argument(metavar="RIG", help="Rig file, e.g. config/rig.yaml.")]


@rig_app.command()
def show(
    rig: RigArgument,
    out: Annotated[Path | None, typer.Option(metavar="PNG", help="Also draw the optics as a picture.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Print what a rig resolves over distance: bins, depth of field, error.

    \b
    Examples:
      edfv rig show config/rig.yaml
      edfv rig show rig.yaml --out optics.png
    """
    loaded = load_rig(rig)
    report = rig_report(loaded)
    if json:
        print_json(report)
    else:
        _print_report(loaded, report)
    if out is not None:
        from edfv_ros.outputs.rig_picture import save_rig_picture  # matplotlib takes a second to load

        save_rig_picture(loaded, out)
        notices().print(f"picture: {out}", style="dim")


@rig_app.command()
def check(rig: RigArgument) -> None:
    """Check a rig file: errors end with code 2, doubts are printed.

    \b
    Example:
      edfv rig check rig.yaml
    """
    loaded = load_rig(rig)
    doubts = rig_doubts(loaded)
    console = results()
    for doubt in doubts:
        console.print(Text.assemble(("doubt ", "yellow"), doubt))
    verdict = f"valid, {len(doubts)} doubt{'s' if len(doubts) != 1 else ''}" if doubts else "valid"
    console.print(Text.assemble((verdict, "green"), f": {loaded.camera.name} in {rig}"))


def _print_report(rig: Rig, report: RigReport) -> None:
    console = results()
    camera, sweep = rig.camera, rig.sweep
    width_deg, height_deg = report.field_of_view_deg
    summary = Table.grid(padding=(0, 2))
    summary.add_row(
        "camera",
        f"{camera.name}: {camera.model}, {camera.width_px} x {camera.height_px} px, "
        f"{width_deg:.1f} x {height_deg:.1f} deg",
    )
    summary.add_row(
        "lens",
        f"{rig.lens.driver}, aperture {rig.lens.aperture_mm:g} mm, sensor {rig.lens.image_distance_mm:g} mm behind it",
    )
    summary.add_row(
        "sweep",
        f"{_metres(report.near_m)} to {_metres(report.far_m)} ({sweep.vergence_min_dpt:g} to "
        f"{sweep.vergence_max_dpt:g} dpt), {sweep.waveform} at {sweep.frequency_hz:g} Hz, "
        f"{report.sweep_duration_ms:g} ms a sweep, sync by {sweep.sync}",
    )
    summary.add_row(
        "blur",
        f"slope {report.blur_slope_px_per_dpt:.2f} px/dpt, {report.blur_over_sweep_px:.1f} px over "
        "the sweep, the same at every distance",
    )
    summary.add_row(
        "bins",
        f"{rig.bins.count} of {report.bin_width_dpt:.4f} dpt; depth of field "
        f"{report.depth_of_field_dpt:.4f} dpt; best error {report.best_error_dpt:.4f} dpt "
        f"({report.best_error_dpt / report.bin_width_dpt:.2f} bin)",
    )
    console.print(summary)
    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0), pad_edge=False)
    for heading in (
        "distance\nm",
        "focus\ndpt",
        "blur slope\npx/dpt",
        "bin width\nm",
        "depth of field\nm",
        "best error\nm",
        "\n%",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(*_cells(row, report.blur_slope_px_per_dpt))
    console.print()
    console.print(table)
    console.print(
        f"\nbest error: one standard deviation; one sweep, focus peak {TEXTURED_PIXEL_SNR:g} times above its noise",
        style="dim",
    )


def _cells(row: DepthResolution, blur_slope_px_per_dpt: float) -> list[str]:
    relative = row.best_error_m / row.depth_m if math.isfinite(row.depth_m) else math.inf
    return [
        _number(row.depth_m),
        f"{row.vergence_dpt:.3f}",
        f"{blur_slope_px_per_dpt:.2f}",
        _number(row.bin_width_m),
        f"{_number(row.field_near_m)} to {_number(row.field_far_m)}",
        _number(row.best_error_m),
        f"{relative * 100.0:.1f}" if math.isfinite(relative) else "",
    ]


def _number(length_m: float) -> str:
    if math.isinf(length_m):
        return "inf"
    return f"{length_m:.4f}" if length_m < 0.1 else f"{length_m:.3f}"


def _metres(length_m: float) -> str:
    return "infinity" if math.isinf(length_m) else f"{length_m:.3g} m"
