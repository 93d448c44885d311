"""The history of a training run as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from edfv_ros.outputs.files import replace_atomically

_TRAINING, _VALIDATION = "tab:orange", "tab:blue"


class _Panel(NamedTuple):
    column: str
    title: str
    percent: bool


_PANELS = (
    _Panel("val_loss", "loss", False),
    _Panel("val_delta1", "δ1: depth within a factor of 1.25", True),
    _Panel("val_abs_rel", "mean relative error of depth (AbsRel)", True),
    _Panel("val_median_bins", "median error of vergence, bins of 32", False),
)


def save_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw loss, delta1, relative error and median error over the steps and the hours, as a PNG of one page.

    Args:
        history: rows of :meth:`~edfv_ros.training.edpn.loop.Moment.row`, one or more.
        path: of the picture.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    figure = Figure(figsize=(11.0, 7.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    steps, hours = _column(history, "step"), _column(history, "hours")
    for axes, panel in zip(figure.subplots(2, 2, sharex=True).flat, _PANELS, strict=True):
        values = _column(history, panel.column)
        axes.plot(steps, values, color=_VALIDATION, marker=".", label="validation")
        if panel.column == "val_loss":
            axes.plot(steps, _column(history, "loss"), color=_TRAINING, marker=".", label="training")
            axes.legend(frameon=False)
        if panel.percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(f"{panel.title}: {_last(values, panel)}", fontsize="medium")
        axes.grid(color="0.92")
        _label_steps(axes, steps, hours)
    last = history[-1]
    figure.suptitle(
        f"step {last['step']:,}, {last['hours']:.1f} h, {last['examples']:,} examples; "
        f"{last['val_inside_1_sigma']:.0%} of the errors within one sigma (76 % is honest)",
        fontsize="medium",
    )
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file)


def _column(history: Sequence[Mapping[str, float]], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in history], float)


def _last(values: NDArray[np.float64], panel: _Panel) -> str:
    return f"{values[-1]:.1%}" if panel.percent else f"{values[-1]:.3g}"


def _label_steps(axes: Axes, steps: NDArray[np.float64], hours: NDArray[np.float64]) -> None:
    """Steps, and below them the hours in which they were done; steps that were not done have none."""

    def label(step: float, _: object) -> str:
        done = 0.0 <= step <= steps[-1]
        hour = np.interp(step, np.r_[0.0, steps], np.r_[0.0, hours])
        return f"{step:,.0f}" + (f"\n{hour:.2g} h" if done else "")

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(label))
    axes.set_xlim(left=0.0)
    axes.tick_params(labelbottom=True)
