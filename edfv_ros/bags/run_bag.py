"""A bag of a run: what was read, and the depth that came of it."""

from pathlib import Path
from types import TracebackType

import numpy as np

from edfv_ros.bags.parts import FocusRows, attachments_of, check_new_bag, newest_us
from edfv_ros.bags.writer import BagWriter
from edfv_ros.depth import DepthEstimate
from edfv_ros.events.types import Packet, SourceInfo
from edfv_ros.outputs.cloud import cloud_points
from edfv_ros.recording import SweepRecording, load_recorded_track
from edfv_ros.rig.rays import pixel_rays
from edfv_ros.volume import SweepSnapshot


class RunBag:
    """Writes a bag while a recording becomes depth; at any moment it reads up to that moment.

    Args:
        path: the file to write, ``.mcap``; must not exist yet.
        recording: where the packets come from.
        info: its source.

    Raises:
        OutputError: the bag exists already or cannot be written.
    """

    def __init__(self, path: Path, recording: SweepRecording, info: SourceInfo) -> None:
        check_new_bag(path)
        files, camera = recording.files, recording.rig.camera
        self._rays = pixel_rays(camera)
        self._focus = FocusRows(load_recorded_track(files.lens) if files.lens else None)
        attachments = attachments_of(recording.rig_path, files.depth_gt)
        self._writer = BagWriter(path, info, camera, attachments)

    def write_packet(self, packet: Packet) -> None:
        """Append a packet, and the focus up to its time."""
        self._focus.write_until(newest_us(packet), self._writer)
        self._writer.write_packet(packet)

    def write_depth(self, snapshot: SweepSnapshot, estimate: DepthEstimate) -> None:
        """Append what a sweep gave, with the points that the node publishes of it."""
        sweep, frame = snapshot.latest.sweep, snapshot.frame
        intensity = snapshot.event_count() if frame is None else frame.image
        points = cloud_points(estimate.depth_m, self._rays, intensity, estimate.confidence, estimate.sigma_m)
        self._writer.write_depth(sweep.middle_us, sweep.end_us, estimate.depth_m, estimate.confidence, points)

    def __enter__(self) -> "RunBag":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._focus.write_until(np.inf, self._writer)
        self._writer.close()
