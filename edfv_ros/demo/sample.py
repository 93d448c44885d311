"""A focus volume of the running stream, recorded beside the node."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import SourceError
from edfv_ros.events import Capture
from edfv_ros.lens.sync import open_sweeps
from edfv_ros.pipeline import snapshots
from edfv_ros.rig import Rig
from edfv_ros.volume import VolumeRing
from edfv_ros.volume.kernels import EVENT_COUNT_MAX


@dataclass(frozen=True)
class SweepSample:
    """One sweep of the stream, copied out of the ring.

    Attributes:
        counts: int16 [bins, H, W], the focus volume.
        event_count: uint16 [H, W], events of this sweep and of the one before it.
        events: events of this sweep.
        direction: +1 towards nearer focus, -1 away.
        frame: uint8 [H, W], None where the camera gives no frames.
    """

    counts: NDArray[np.int16]
    event_count: NDArray[np.uint16]
    events: int
    direction: int
    frame: NDArray[np.uint8] | None


def take_sample(uri: str, rig: Rig) -> SweepSample:
    """Take the first sweep that has a partner of the other direction.

    Raises:
        SourceError, LensError, RigError: the stream ended before, or cannot be used.
    """
    ring = VolumeRing(rig.bins, rig.camera.resolution)
    with Capture(uri) as capture:
        for snapshot in snapshots(rig, capture, open_sweeps(rig), ring=ring):
            try:
                latest, opposite = snapshot.latest, snapshot.opposite
                if opposite is None:
                    continue
                return SweepSample(
                    latest.counts.copy(),
                    saturating_sum(latest.event_count, opposite.event_count),
                    latest.events,
                    latest.sweep.direction,
                    None if snapshot.frame is None else snapshot.frame.image,
                )
            finally:
                snapshot.release()
    raise SourceError(f"{uri}: the stream ended before two sweeps were complete")


def saturating_sum(first: NDArray[np.uint16], second: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Sum of two event counts, uint16 [H, W], that stays at the highest count instead of wrapping round."""
    return first + np.minimum(second, EVENT_COUNT_MAX - first)
