"""`edfv view`: the live viewer."""

import importlib.util
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from edfv_ros.commands.signals import signals_set
from edfv_ros.commands.terminal import notices, recording_progress, results
from edfv_ros.errors import EdfvError

if TYPE_CHECKING:
    from edfv_ros.viewer.viewer import Viewer

_ROS = "ros:"
_LIVE = ("camera:", "tcp://", "unix://")


def view(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A recording or bag | camera:\\[SERIAL] | tcp://HOST:PORT | unix:///PATH | ros:\\[NAMESPACE]",
        ),
    ],
    rig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rig file; needed for live sources, but not for ros:.")
    ] = None,
    estimator: Annotated[str, typer.Option(metavar="NAME", help="How depth is estimated; see edfv run.")] = "edpn",
    prior: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prior file (YAML), for estimators that take one.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE.onnx", help="Network file, for estimators that take one.")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.0, max=1.0, help="Points below it are not shown.")] = 0.5,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.rrd", help="Write a file for the viewer in place of opening it.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(metavar="N", help="Stop a live source after this time.")] = None,
) -> None:
    """Look at depth, points, events, focus and statistics, in Rerun.

    A recording is shown as fast as it is computed; go through it in time with
    the viewer's time panel. A live source is shown until Ctrl-C. ros: shows
    the topics of a running depth node, ros:/left those of one in a namespace.

    Needs Rerun: pip install edfv_ros\\[view]

    \b
    Examples:
      edfv view sweep
      edfv view sweep.mcap --estimator edpn
      edfv view camera: --rig rig.yaml
      edfv view ros:
      edfv view sweep --save sweep.rrd
    """
    _require("rerun", "Rerun is not installed: pip install 'edfv_ros[view]' (Python 3.11 or later)")
    if seconds is not None and not seconds > 0.0:
        raise EdfvError(f"--seconds {seconds:g}: give a time above 0")
    from edfv_ros.viewer.viewer import Viewer  # here, because Rerun takes its time to load

    def open_viewer() -> Viewer:
        viewer = Viewer(source, save)
        if source.startswith((_ROS, *_LIVE)):
            notices().print(f"showing {escape(source)}; Ctrl-C ends it", style="dim")
        return viewer

    if source.startswith(_ROS):
        shown = _view_topics(source.removeprefix(_ROS), open_viewer, seconds)
    elif source.startswith(_LIVE):
        from edfv_ros.viewer.pipeline_view import view_live

        with _stopping(seconds) as stop:
            shown = view_live(
                source,
                open_viewer,
                rig_path=rig,
                estimator=estimator,
                prior=prior,
                model=model,
                confidence=confidence,
                stop=stop,
            )
    else:
        from edfv_ros.viewer.pipeline_view import view_recording

        with recording_progress() as progress:
            task = progress.add_task(escape(source), total=1.0)
            shown = view_recording(
                Path(source),
                open_viewer,
                rig_path=rig,
                estimator=estimator,
                prior=prior,
                model=model,
                confidence=confidence,
                on_progress=lambda fraction: progress.update(task, completed=fraction),
            )
    where = f"; open {save} with: rerun {save}" if save else ""
    results().print(f"{source}: {shown} depth images shown{where}", markup=False)


def _view_topics(namespace: str, open_viewer: "Callable[[], Viewer]", seconds: float | None) -> int:
    _require("rclpy", "ros: needs ROS 2: source its setup.bash, or pip install 'edfv_ros[ros-wheels]'")
    from edfv_ros.viewer.topics_view import view_topics

    if namespace and not namespace.startswith("/"):
        namespace = f"/{namespace}"
    with _stopping(seconds) as stop:
        return view_topics(namespace, open_viewer, stop=stop)


@contextmanager
def _stopping(seconds: float | None) -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, or a timer."""
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set) if seconds is not None else None
    with signals_set(stop):
        if timer is not None:
            timer.start()
        try:
            yield stop
        finally:
            if timer is not None:
                timer.cancel()


def _require(module: str, otherwise: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise EdfvError(otherwise)
