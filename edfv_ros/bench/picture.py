"""The ratios of all groups as bars."""

from collections.abc import Sequence
from pathlib import Path

from edfv_ros.bench.rows import Group
from edfv_ros.outputs.files import replace_atomically

_BAR_INCHES = 0.22
_HEADING_INCHES = 0.9


def draw(groups: Sequence[Group], path: Path) -> None:
    """Write a PNG: one chart for each group, its ratios on a logarithmic scale with the reference at 1.

    Raises:
        EdfvError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    charts = [(group, [row for row in group.rows if row.ratio is not None]) for group in groups]
    charts = [(group, rows) for group, rows in charts if rows]
    heights = [_HEADING_INCHES + _BAR_INCHES * len(rows) for _, rows in charts]
    figure = Figure(figsize=(10.0, max(sum(heights), 1.0)), layout="constrained")
    FigureCanvasAgg(figure)
    if charts:
        axes = figure.subplots(len(charts), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axis, (group, rows) in zip(axes, charts, strict=True):
            ratios = [max(row.ratio or 0.0, 1e-6) for row in rows]
            bars = axis.barh([row.name.strip() for row in rows], ratios, color="#4477aa")
            axis.bar_label(bars, [f"{row.ratio:.3g}" for row in rows], padding=3, fontsize=7)
            axis.axvline(1.0, color="#cc3311", linewidth=1.0)
            axis.set(xscale="log", title=group.title, xlabel=f"times {group.reference}")
            axis.title.set_fontsize(9)
            axis.xaxis.label.set_fontsize(8)
            axis.tick_params(labelsize=7)
            axis.invert_yaxis()
            axis.margins(x=0.15)
    with replace_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
