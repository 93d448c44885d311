"""The statistics of several recordings in one picture."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from edfv_ros.evaluation.metrics import SUPPORTED_EVENTS
from edfv_ros.evaluation.statistics import Curve, RecordingStatistics
from edfv_ros.outputs.files import replace_atomically

_LEGEND_COLUMNS = 4
_BAR_ROOM = 0.8
_NUMBERED_BARS = 8  # more have no room for their numbers


def save_statistics_picture(recordings: Sequence[RecordingStatistics], path: Path) -> None:
    """Draw the distributions of all recordings over each other, a colour for each, as a PNG of one page.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    figure = Figure(figsize=(13.0, 10.0), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    (rates, intervals), (vergence, neighbourhood), (polarity, noise) = figure.subplots(3, 2)
    palette = colormaps["tab10" if len(recordings) <= 10 else "tab20"]
    colours = [palette(index % palette.N) for index in range(len(recordings))]
    for recording, colour in zip(recordings, colours, strict=True):
        rates.plot(*_line(recording.pixel_rates), color=colour)
        _fill(intervals, recording.intervals, colour)
        intervals.axvline(recording.shortest_interval_us, color=colour, linestyle=":", linewidth=1.0)
        if recording.sweeps is not None:
            vergence.plot(*_line(recording.sweeps.by_vergence_up), color=colour)
            vergence.plot(*_line(recording.sweeps.by_vergence_down), color=colour, linestyle="--")
            neighbourhood.plot(*_line(recording.sweeps.neighbourhood), color=colour)
    rates.set(xscale="log", xlabel="at least so many events per second", ylabel="share of the pixels")
    rates.set_title("event rates of the pixels", fontsize="medium")
    intervals.set(xscale="log", xlabel="microseconds", ylabel="share of the intervals, per decade")
    intervals.set_title("time between events of a pixel (dotted: the shortest 0.1 %)", fontsize="medium")
    vergence.set(xlabel="focus (dpt)", ylabel="events per pixel, sweep and dpt")
    vergence.set_title("events over the sweep (dashed: downwards)", fontsize="medium")
    neighbourhood.axvline(SUPPORTED_EVENTS, color="0.4", linewidth=0.8)
    neighbourhood.set(xscale="log", xlabel="at least so many events within 2 px", ylabel="share of the pixels")
    for axes in (rates, neighbourhood):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    neighbourhood.set_title("support for depth: up- and down-sweep together, where both are there", fontsize="medium")
    for axes in (rates, intervals, vergence):
        axes.set_ylim(bottom=0.0)
    for axes in (vergence, neighbourhood):
        if all(recording.sweeps is None for recording in recordings):
            axes.text(0.5, 0.5, "no focus sweeps", ha="center", va="center", transform=axes.transAxes, color="0.4")
    _draw_polarity(polarity, recordings, colours)
    _draw_noise(noise, recordings, colours)
    for axes in (rates, intervals, vergence, neighbourhood):
        axes.grid(color="0.92")
    names = [Line2D([], [], color=colour, linewidth=3.0) for colour in colours]
    figure.legend(
        names, [recording.name for recording in recordings], loc="outside lower center", ncols=_LEGEND_COLUMNS,
        frameon=False,
    )  # fmt: skip
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file)


def _line(curve: Curve) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return curve.x, curve.y


def _fill(axes: Axes, curve: Curve, colour: object) -> None:
    """A histogram as an outline over a faint area, so that many can lie over each other."""
    axes.step(curve.x, curve.y, where="mid", color=colour, linewidth=1.3)
    axes.fill_between(curve.x, curve.y, step="mid", color=colour, alpha=0.12, linewidth=0.0)


def _draw_polarity(axes: Axes, recordings: Sequence[RecordingStatistics], colours: Sequence[object]) -> None:
    groups = ("all events", "up-sweeps", "down-sweeps")
    width = _BAR_ROOM / len(recordings)
    for index, (recording, colour) in enumerate(zip(recordings, colours, strict=True)):
        sweeps = recording.sweeps
        shares = (recording.on_share, *((sweeps.on_share_up, sweeps.on_share_down) if sweeps else (math.nan,) * 2))
        places = np.arange(len(groups)) + (index + 0.5) * width - _BAR_ROOM / 2
        bars = axes.bar(places, shares, width * 0.9, color=colour)
        if len(recordings) <= _NUMBERED_BARS:
            labels = [f"{share:.0%}" if math.isfinite(share) else "" for share in shares]
            axes.bar_label(bars, labels, fontsize="x-small", padding=1)
    axes.axhline(0.5, color="0.4", linewidth=0.8)
    axes.set(ylim=(0.0, 1.0), ylabel="share of ON")
    axes.set_xticks(np.arange(len(groups)), groups)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    axes.set_title("ON and OFF", fontsize="medium")


def _draw_noise(axes: Axes, recordings: Sequence[RecordingStatistics], colours: Sequence[object]) -> None:
    places = np.arange(len(recordings))
    noise_hz = [recording.noise_hz for recording in recordings]
    bars = axes.barh(places, noise_hz, _BAR_ROOM, color=colours)
    labels = [
        f"{recording.noise_hz:.2g} Hz, {recording.hot_pixels:,} hot pixels" if math.isfinite(recording.noise_hz) else ""
        for recording in recordings
    ]
    axes.bar_label(bars, labels, fontsize="small", padding=3)
    axes.set(xlabel="isolated events per pixel and second of quiet", yticks=[])
    axes.invert_yaxis()
    finite = [rate for rate in noise_hz if math.isfinite(rate)]
    axes.set_xlim(0.0, 1.5 * max(finite, default=1.0) or 1.0)
    axes.set_title("noise floor (an upper bound: the faintest signal counts too)", fontsize="medium")
