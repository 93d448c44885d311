"""`edfv statistics`: recordings side by side, in numbers."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edfv_ros.commands.terminal import notices, recording_progress, results
from edfv_ros.outputs.files import check_file, replace_atomically
from edfv_ros.outputs.plain_json import to_json

if TYPE_CHECKING:
    from edfv_ros.evaluation.statistics import RecordingStatistics, SweepStatistics

_NONE = "-"
_PADDING = 2
_WIDEST_NAME = 18


def statistics(
    recordings: Annotated[list[Path], typer.Argument(metavar="RECORDING", help="Recording folders or .aedat4 files.")],
    out: Annotated[Path | None, typer.Option(metavar="PNG", help="Also draw the distributions as a picture.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write all numbers as JSON.")] = None,
) -> None:
    """Compare what the events of recordings are like.

    A column for each recording; recordings without focus sweeps get what
    needs none. "4 events near" is the share of the pixels with an average of
    four events or more in a 2 px Gaussian neighbourhood: there depth can be
    told. Up- and down-sweep together are what depth is computed from; 62 to
    93 % is what path-traced scenes have. Noise is the rate of events that no
    other event within 1 px and 5 ms explains; faint signal counts as noise.

    \b
    Examples:
      edfv statistics sweep
      edfv statistics simulated recorded --out statistics.png
      edfv statistics sweeps/* events.aedat4 --json statistics.json
    """
    from edfv_ros.evaluation.statistics import distinct_names, recording_statistics  # numba takes its time to load

    for file in (out, json):
        if file is not None:
            check_file(file)
    compared = []
    with recording_progress() as progress:
        for path, name in zip(recordings, distinct_names(recordings), strict=True):
            task = progress.add_task(escape(name), total=1.0)

            def advance(fraction: float, task: int = task) -> None:
                progress.update(task, completed=fraction)  # type: ignore[arg-type]

            compared.append(recording_statistics(path, name, advance))
            progress.update(task, completed=1.0)
    _print_table(results(), compared)
    if out is not None:
        from edfv_ros.evaluation.statistics_picture import save_statistics_picture  # matplotlib takes a second to load

        save_statistics_picture(compared, out)
        notices().print(f"picture: {escape(str(out))}", style="dim")
    if json is not None:
        with replace_atomically(json) as temporary:
            temporary.write_text(to_json({"recordings": compared}) + "\n", encoding="utf-8")
        notices().print(f"numbers: {escape(str(json))}", style="dim")


Row = tuple[str, "Callable[[RecordingStatistics], str]"]


def _of_sweeps(cell: "Callable[[SweepStatistics], str]") -> "Callable[[RecordingStatistics], str]":
    return lambda recording: cell(recording.sweeps) if recording.sweeps is not None else _NONE


_ROWS: tuple[Row, ...] = (
    ("camera", lambda r: r.camera.split("_")[0]),
    ("pixels", lambda r: f"{r.width_px} x {r.height_px}"),
    ("seconds", lambda r: f"{r.duration_s:.3f}"),
    ("whole sweeps: up, down", _of_sweeps(lambda s: f"{s.up}, {s.down}")),
    ("events", lambda r: f"{r.events:,}"),
    ("  per second", lambda r: f"{r.events_per_s:,.0f}"),
    ("  per pixel and second", lambda r: _number(r.events_per_px_s)),
    ("  per pixel and sweep", _of_sweeps(lambda s: _number(s.events_per_px))),
    ("4 events near: a sweep", _of_sweeps(lambda s: _percent(s.supported))),
    ("  up and down together", _of_sweeps(lambda s: _percent(s.supported_by_pair))),
    ("ON of all events", lambda r: _percent(r.on_share)),
    ("  of up-sweeps", _of_sweeps(lambda s: _percent(s.on_share_up))),
    ("  of down-sweeps", _of_sweeps(lambda s: _percent(s.on_share_down))),
    ("between events of a pixel", lambda r: ""),
    ("  median, ms", lambda r: _ms(r.interval_us.median)),
    ("  5 to 95 %, ms", lambda r: _range(_ms(r.interval_us.low), _ms(r.interval_us.high))),
    ("  shortest 0.1 %, ms", lambda r: _ms(r.shortest_interval_us)),
    ("rate of a pixel, Hz", lambda r: ""),
    ("  median", lambda r: _number(r.pixel_rate_hz.median)),
    ("  5 to 95 %", lambda r: _range(_number(r.pixel_rate_hz.low), _number(r.pixel_rate_hz.high))),
    ("hot pixels", lambda r: f"{r.hot_pixels:,}"),
    ("noise of a pixel, Hz, up to", lambda r: _number(r.noise_hz)),
    ("  could be told in", lambda r: _percent(r.quiet_share)),
    ("clock step, us", lambda r: _number(r.clock_step_us)),
    ("events per time stamp", lambda r: _number(r.events_per_time_stamp)),
)


def _print_table(console: Console, recordings: "Sequence[RecordingStatistics]") -> None:
    """Print as many columns beside each other as the terminal has room for, the others below."""
    label_width = max(cell_len(label) for label, _ in _ROWS)
    columns = [[cell(recording) for _, cell in _ROWS] for recording in recordings]
    widths = [
        max(min(cell_len(recording.name), _WIDEST_NAME), *map(cell_len, column))
        for recording, column in zip(recordings, columns, strict=True)
    ]
    begin = 0
    while begin < len(recordings):
        end, room = begin, console.width - label_width
        while end < len(recordings) and (end == begin or room >= widths[end] + _PADDING):
            room -= widths[end] + _PADDING
            end += 1
        table = Table(box=None, header_style="bold", padding=(0, 0, 0, _PADDING), pad_edge=False)
        table.add_column("", no_wrap=True)
        for recording, width in zip(recordings[begin:end], widths[begin:end], strict=True):
            table.add_column(Text(recording.name), justify="right", overflow="fold", width=width)
        for row, (label, _) in enumerate(_ROWS):
            table.add_row(label, *(column[row] for column in columns[begin:end]))
        if begin:
            console.print()
        console.print(table)
        begin = end
    for recording in recordings:
        for note in recording.notes:
            console.print(Text.assemble(("! ", "bold yellow"), f"{recording.name}: {note}"), soft_wrap=True)


def _number(value: float) -> str:
    """Three digits that count."""
    if not math.isfinite(value):
        return _NONE
    return f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %") if math.isfinite(share) else _NONE


def _ms(time_us: float) -> str:
    return _number(time_us * 1e-3)


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
