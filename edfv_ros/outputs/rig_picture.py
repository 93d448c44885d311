"""The optics of a rig as a picture."""

import math
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from edfv_ros.optics.resolution import depth_resolution
from edfv_ros.outputs.files import replace_atomically
from edfv_ros.rig.model import Rig
from edfv_ros.rig.report import rig_report

_CURVES = 5
_INFINITY_IN_NEAR = 100.0


def save_rig_picture(rig: Rig, path: Path) -> None:
    """Draw blur over the sweep, and bin width, depth of field and best expected error over distance, as a PNG.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    report = rig_report(rig)
    figure = Figure(figsize=(12.0, 4.8), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    blur, error = figure.subplots(1, 2)

    far_m = report.far_m if math.isfinite(report.far_m) else report.near_m * _INFINITY_IN_NEAR
    focus_dpt = np.linspace(rig.bins.min_dpt, rig.bins.max_dpt, 400)
    for vergence_dpt in np.linspace(1.0 / far_m, rig.bins.max_dpt, _CURVES):
        depth_m = 1.0 / vergence_dpt
        blur.plot(focus_dpt, rig.optics.blur_diameter_px(focus_dpt, depth_m), label=f"{depth_m:.2f} m")
    blur.axhspan(0.0, 1.0, color="0.9", zorder=0)
    blur.set(xlabel="focus (dpt)", ylabel="blur diameter (px)", xlim=(focus_dpt[0], focus_dpt[-1]), ylim=(0.0, None))
    blur.set_title(f"blur of a point: {report.blur_slope_px_per_dpt:.2f} px per dpt of defocus", fontsize="medium")
    blur.legend(title="distance", frameon=False, loc="upper center", ncols=2)
    edges_dpt = rig.bins.edges_dpt
    blur.vlines(edges_dpt, 0.0, 0.35, color="0.4", linewidth=0.7)

    depths_m = np.geomspace(report.near_m, far_m, 300)
    resolutions = [depth_resolution(rig.optics, rig.bins, float(depth_m)) for depth_m in depths_m]
    field_m = [r.field_far_m - r.field_near_m for r in resolutions]
    error.plot(depths_m, field_m, label="depth of field (blur up to 1 px)", color="C0")
    error.plot(depths_m, [r.bin_width_m for r in resolutions], label=f"one of {rig.bins.count} bins", color="C1")
    error.plot(depths_m, [r.best_error_m for r in resolutions], label="best expected error (1 sigma)", color="C2")
    error.set(xscale="log", yscale="log", xlabel="distance (m)", ylabel="metres", xlim=(depths_m[0], depths_m[-1]))
    error.set_ylim(top=min(error.get_ylim()[1], 3.0 * far_m))  # a bin that reaches infinity ends above the picture
    for axis in (error.xaxis, error.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    error.xaxis.set_minor_formatter(FuncFormatter(_label_some))
    error.grid(which="both", color="0.92")
    error.legend(frameon=False)
    error.set_title("depth resolution", fontsize="medium")
    camera = rig.camera
    figure.suptitle(
        f"{camera.name}: {camera.model} {camera.width_px} x {camera.height_px}, aperture {rig.lens.aperture_mm:g} mm, "
        f"{rig.bins.min_dpt:g} to {rig.bins.max_dpt:g} dpt at {rig.sweep.frequency_hz:g} Hz"
    )
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file)


def _label_some(value: float, _: int) -> str:
    """Label the 2, 3 and 5 between the powers of ten."""
    leading = round(value / 10 ** math.floor(math.log10(value)))
    return f"{value:g}" if leading in (2, 3, 5) else ""
