"""A sweep recording on disk: events, and what is known about the lens beside them."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.bags.contents import has_focus, read_attachment, read_lens_track
from edfv_ros.bags.contents import time_range_us as bag_time_range_us
from edfv_ros.bags.layout import RIG_ATTACHMENT, TRUTH_ATTACHMENT
from edfv_ros.bags.records import BagFile
from edfv_ros.errors import LensError, OutputError, RigError, SourceError
from edfv_ros.events import time_range_us
from edfv_ros.events.types import BAG_SUFFIX, EVENTS_NAME, SourceInfo
from edfv_ros.lens.track import LENS_NAME, LensTrack
from edfv_ros.outputs.files import check_folder
from edfv_ros.rig import Rig, load_rig
from edfv_ros.rig.loading import parse_rig

RIG_NAME = "rig.yaml"
DEPTH_GT_NAME = "depth_gt.npy"


@dataclass(frozen=True, slots=True)
class RecordingFiles:
    """The files of a recording; None where one is absent. A bag holds all of them itself.

    Attributes:
        path: what the user named, a folder, an events file or a bag.
        events: the AEDAT4 file or the bag.
        lens: measured track of the focus, ``timestamp_us,vergence_dpt``.
        rig: the rig that made the recording.
        depth_gt: true depth.
    """

    path: Path
    events: Path
    lens: Path | None = None
    rig: Path | None = None
    depth_gt: Path | None = None


@dataclass(frozen=True, slots=True)
class SweepRecording:
    """A recording with the rig that depth is computed by, and the rig file or bag that this was read from."""

    files: RecordingFiles
    rig: Rig
    rig_path: Path | None = None


def find_recording(path: Path) -> RecordingFiles:
    """Find the files of a recording: a folder with ``recording.aedat4`` (or that file), another AEDAT4 file, or a bag.

    Raises:
        SourceError: nothing of that kind is there.
    """
    try:
        is_folder = path.is_dir()
        if not path.exists():
            raise SourceError(
                f"{path}: no such recording: name a folder with {EVENTS_NAME} in it, an .aedat4 file, or a bag (.mcap)"
            )
        events = path / EVENTS_NAME if is_folder else path
        if not events.is_file():
            found = sorted(entry.name for entry in path.glob("*.aedat4")) if is_folder else []
            hint = f"; {path / found[0]} could be named directly" if found else ""
            raise SourceError(f"{path}: there is no {EVENTS_NAME} in this folder{hint}")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    if events.suffix == BAG_SUFFIX:
        return _find_in_bag(path)
    if events.suffix != ".aedat4":
        raise SourceError(f"{path}: a recording of events ends in .aedat4 or .mcap, not {events.suffix or 'nothing'!r}")
    if events.name != EVENTS_NAME:  # a file of its own, what lies beside it is not its
        return RecordingFiles(path, events)

    def beside(name: str) -> Path | None:
        return events.with_name(name) if events.with_name(name).exists() else None

    return RecordingFiles(path, events, lens=beside(LENS_NAME), rig=beside(RIG_NAME), depth_gt=beside(DEPTH_GT_NAME))


def _find_in_bag(path: Path) -> RecordingFiles:
    with BagFile(path) as bag:
        attachments = bag.summary().attachments
    return RecordingFiles(
        path,
        events=path,
        lens=path if has_focus(path) else None,
        rig=path if RIG_ATTACHMENT in attachments else None,
        depth_gt=path if TRUTH_ATTACHMENT in attachments else None,
    )


def require_no_recording(folder: Path) -> None:
    """Make sure that a recording can be written into a folder and overwrites none; nothing is made.

    Raises:
        OutputError: parts of a recording are there, something is in the way, or the folder may not be written.
    """
    check_folder(folder)
    for name in (EVENTS_NAME, LENS_NAME, RIG_NAME, DEPTH_GT_NAME):
        if (folder / name).exists():
            raise OutputError(f"{folder / name}: there is a recording already: name another folder or remove it")


def open_recording(path: Path, rig_path: Path | None = None) -> SweepRecording:
    """Find the files of a recording and load its rig; the events are not looked at yet.

    Args:
        path: a sweep-recording folder, an AEDAT4 file or a bag.
        rig_path: a rig file to use in place of the recording's own.

    Raises:
        SourceError: there is no recording.
        RigError: there is no rig, or it is invalid.
    """
    files = find_recording(path)
    rig_path = rig_path or files.rig
    if rig_path is None:
        raise RigError(
            f"{path}: nothing describes the camera and the lens: name a rig file with --rig, or put {RIG_NAME} (and "
            f"{LENS_NAME}, where no trigger marks the turning points) beside {EVENTS_NAME} in one folder"
        )
    return SweepRecording(files, load_recorded_rig(rig_path), rig_path)


def load_recorded_rig(path: Path) -> Rig:
    """Load a rig from a rig file, or from a bag that holds one.

    Raises:
        RigError: it is missing or invalid.
    """
    if path.suffix != BAG_SUFFIX:
        return load_rig(path)
    content = read_attachment(path, RIG_ATTACHMENT)
    if content is None:
        raise RigError(f"{path}: there is no {RIG_ATTACHMENT} in this bag: name a rig file")
    return parse_rig(content.decode(errors="replace"), f"{RIG_ATTACHMENT} in {path}")


def load_recorded_track(path: Path) -> LensTrack:
    """Read a lens track from ``lens.csv``, or from a bag that holds one.

    Raises:
        LensError: there is none, or it is damaged.
    """
    if path.suffix != BAG_SUFFIX:
        return LensTrack.from_csv(path)
    track = read_lens_track(path)
    if track is None:
        raise LensError(f"{path}: no message in this bag tells the focus")
    return track


def recorded_time_range_us(events: Path) -> tuple[int, int] | None:
    """The times of the first and the last event of a recording, without reading what lies between; of a bag about them.

    Raises:
        SourceError: the recording cannot be read.
    """
    return bag_time_range_us(events) if events.suffix == BAG_SUFFIX else time_range_us(events)


def load_depth_gt(path: Path, rig: Rig) -> NDArray[np.float32]:
    """Read true depth as float32 [N, H, W], metres, NaN unknown.

    Raises:
        SourceError: the file is damaged or does not fit the rig's camera.
    """
    try:
        if path.suffix == BAG_SUFFIX:
            depth_m = np.load(BytesIO(read_attachment(path, TRUTH_ATTACHMENT) or b""), allow_pickle=False)
        else:
            depth_m = np.load(path, mmap_mode="r", allow_pickle=False)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # whatever NumPy's parser of headers stumbles over
        raise SourceError(f"{path}: not a whole NumPy array file: write it again with numpy.save") from None
    height_px, width_px = rig.camera.height_px, rig.camera.width_px
    fits = isinstance(depth_m, np.ndarray) and depth_m.ndim in (2, 3) and depth_m.shape[-2:] == (height_px, width_px)
    if not fits or depth_m.size == 0 or not np.issubdtype(depth_m.dtype, np.floating):
        shape = f"{depth_m.dtype} {list(depth_m.shape)}" if isinstance(depth_m, np.ndarray) else "an archive"
        raise SourceError(
            f"{path}: holds {shape}, but true depth is float [{height_px}, {width_px}] or "
            f"[N, {height_px}, {width_px}] as the rig's camera"
        )
    depth_m = depth_m.astype(np.float32).reshape(-1, height_px, width_px)
    depth_m[~(depth_m > 0.0)] = np.nan
    return depth_m


def depth_gt_of_sweep(depth_gt_m: NDArray[np.float32], index: int) -> NDArray[np.float32] | None:
    """True depth [H, W] of one sweep from [N, H, W]: a single one is that of every sweep; None past the last."""
    if len(depth_gt_m) == 1:
        return depth_gt_m[0]
    return depth_gt_m[index] if index < len(depth_gt_m) else None


def check_resolution(rig: Rig, info: SourceInfo, source: Path | str) -> None:
    """Compare the rig's camera with the one the events come from.

    Raises:
        RigError: their resolutions differ.
    """
    if rig.camera.resolution != (info.width_px, info.height_px):
        raise RigError(
            f"camera.width_px x height_px = {rig.camera.width_px} x {rig.camera.height_px} in the rig contradicts "
            f"{source}, recorded at {info.width_px} x {info.height_px} by {info.camera}: use the rig that recorded it"
        )
