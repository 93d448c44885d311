"""What is shown, and how: arrays to Rerun."""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import rerun as rr
from numpy.typing import NDArray

from edfv_ros.errors import EdfvError, OutputError
from edfv_ros.optics import VergenceBins
from edfv_ros.outputs.depth_picture import colour_depth
from edfv_ros.outputs.files import check_file
from edfv_ros.viewer import layout
from edfv_ros.viewer.event_pictures import EventPicture

TIMELINE: Final = "camera"
"""Time on the camera's clock, unix; everything is shown at the moment it happened."""

_SUFFIX: Final = ".rrd"
_FAR_M: Final = 30.0  # where a sweep reaches infinity
_FRUSTUM_M: Final = 0.1
_POINT_PX: Final = -2.0  # negative radii are in pixels of the screen
_MICROSECONDS: Final = "datetime64[us]"


class Viewer:
    """Shows a depth camera; every method may be called from any thread.

    Args:
        name: of what is shown.
        save: a ``.rrd`` file to write in place of opening a window; must not exist yet.

    Raises:
        EdfvError: there is no display, the file cannot be written, or the viewer does not start.
    """

    def __init__(self, name: str, save: Path | None = None) -> None:
        if save is not None:
            _check_new(save)
        elif sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise EdfvError(
                "there is no display to open a window on: add --save FILE.rrd and open it with rerun elsewhere"
            )
        self._stream = rr.RecordingStream("edfv_ros")
        self._stream.send_recording_name(name)
        try:
            if save is not None:
                self._stream.save(save, default_blueprint=layout.layout())
            else:
                self._stream.spawn(default_blueprint=layout.layout())
        except (OSError, RuntimeError) as error:
            raise EdfvError(f"the viewer does not start: {error}") from None
        self._stream.log(layout.CLOUD, rr.ViewCoordinates.RDF, static=True)  # REP 103: x right, y down, z forward
        for path, label, colour in (
            (layout.FOCUS, "focus", (240, 170, 60)),
            (layout.EVENT_RATE, "events per second", (110, 170, 250)),
            (layout.LATENCY, "latency", (150, 220, 120)),
        ):
            self._stream.log(path, rr.SeriesLines(names=label, colors=colour), static=True)

    def show_camera(self, matrix: NDArray[np.float64], width_px: int, height_px: int) -> None:
        """Draw the camera's frustum from its float [3, 3] matrix."""
        pinhole = rr.Pinhole(
            image_from_camera=matrix,
            width=width_px,
            height=height_px,
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=_FRUSTUM_M,
        )
        self._stream.log(f"{layout.CLOUD}/camera", pinhole, static=True)

    def show_depth(self, time_us: int, depth_m: NDArray[np.float32], range_m: tuple[float, float]) -> None:
        """Show float32 [H, W], metres, unknown where not finite, in colours from near, warm, to far, cold."""
        self._at(time_us)
        known_m = np.where(np.isfinite(depth_m), depth_m, np.float32(0.0))
        near_m, far_m = range_m
        image = rr.DepthImage(known_m, meter=1.0, colormap="spectral", depth_range=(near_m, min(far_m, _FAR_M)))
        self._stream.log(layout.DEPTH, image)

    def show_points(self, time_us: int, points_m: NDArray[np.float32], bins: VergenceBins | None) -> None:
        """Show points, float32 [N, 3], in the optical frame; coloured by depth over the sweep, or as it comes."""
        self._at(time_us)
        if not len(points_m):  # OpenCV colours no empty image
            self._stream.log(layout.CLOUD, rr.Points3D([]))
            return
        depth_m = np.ascontiguousarray(points_m[:, 2])[None]
        colours = colour_depth(depth_m, bins or _bins_of(depth_m))[0, :, ::-1]
        self._stream.log(layout.CLOUD, rr.Points3D(points_m, colors=colours, radii=_POINT_PX))

    def show_confidence(self, time_us: int, confidence: NDArray[np.float32]) -> None:
        """Show float32 [H, W], 0 to 1."""
        self._at(time_us)
        self._stream.log(layout.CONFIDENCE, rr.Image(np.rint(np.nan_to_num(confidence) * 255.0).astype(np.uint8)))

    def show_guide(self, time_us: int, image: NDArray[np.uint8]) -> None:
        """Show the camera's frame, uint8 [H, W]."""
        self._at(time_us)
        self._stream.log(layout.GUIDE, rr.Image(image))

    def show_events(self, picture: EventPicture) -> None:
        """Show events, and how many there are in a second."""
        self._at(picture.end_us)
        self._stream.log(layout.EVENTS, rr.Image(picture.image))
        self._stream.log(layout.EVENT_RATE, rr.Scalars(picture.events_per_s))

    def show_focus(self, timestamps_us: NDArray[np.float64], vergence_dpt: NDArray[np.float64]) -> None:
        """Draw the focus over time: both float64 [N], unix microseconds and dioptres."""
        times = rr.TimeColumn(TIMELINE, timestamp=np.rint(timestamps_us).astype(np.int64).astype(_MICROSECONDS))
        self._stream.send_columns(layout.FOCUS, [times], rr.Scalars.columns(scalars=vergence_dpt))

    def show_latency(self, time_us: int, latency_ms: float) -> None:
        """Draw how long a depth image took."""
        self._at(time_us)
        self._stream.log(layout.LATENCY, rr.Scalars(latency_ms))

    def show_statistics(self, time_us: int, values: Mapping[str, object]) -> None:
        """Show a table of names and values."""
        self._at(time_us)
        rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
        table = f"| | |\n|-|-|\n{rows}"
        self._stream.log(layout.STATISTICS, rr.TextDocument(table, media_type=rr.MediaType.MARKDOWN))

    def close(self) -> None:
        """Hand everything over; closing twice is fine."""
        self._stream.flush()
        self._stream.disconnect()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _at(self, time_us: int) -> None:
        self._stream.set_time(TIMELINE, timestamp=np.datetime64(time_us, "us"))


def range_m(bins: VergenceBins) -> tuple[float, float]:
    """Nearest and farthest depth of a sweep, the latter perhaps infinite."""
    return 1.0 / bins.max_dpt, 1.0 / bins.min_dpt if bins.min_dpt > 0.0 else math.inf


def _bins_of(depth_m: NDArray[np.float32]) -> VergenceBins:
    """The range of vergence to colour points over where nobody says that of the sweep."""
    known_m = depth_m[np.isfinite(depth_m) & (depth_m > 0.0)]
    if not len(known_m):
        return VergenceBins(0.0, 1.0, 4)
    near_m, far_m = np.percentile(known_m, (2.0, 98.0)).tolist()
    return VergenceBins(1.0 / far_m, 1.0 / near_m + 1e-3, 4)


def _check_new(path: Path) -> None:
    check_file(path)
    if path.suffix != _SUFFIX:
        raise OutputError(f"{path}: name the file with the suffix {_SUFFIX}, rerun insists on it")
    if path.exists():
        raise OutputError(f"{path}: there is a file already: name another or remove it")
