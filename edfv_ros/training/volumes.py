"""Focus volumes of training samples, counted as the runtime counts them."""

import numpy as np
from numpy.typing import NDArray

from edfv_ros.optics import VergenceBins
from edfv_ros.simulation.crops import TrainingSweeps
from edfv_ros.volume import VolumeRing


def bin_volumes(sample: TrainingSweeps, bins: int) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Count a sample's events into vergence bins over the commanded sweep, hot pixels left out.

    Args:
        sample: the sweeps.
        bins: how many bins.

    Returns:
        Signed counts, int16 [2, bins, H, W], of the up-sweep and the down-sweep: dI/dv, so that the sign of the latter
        is reversed; and events of either polarity, uint16 [2, H, W].
    """
    ring = VolumeRing(VergenceBins(*sample.vergence_range_dpt, bins), sample.resolution, slots=2)
    events = sample.events()
    volumes = []
    for sweep in sample.sweeps():
        ring.open(sweep)
        ring.accumulate(events)
        volumes.append(ring.close())
    return np.stack([volume.counts for volume in volumes]), np.stack([volume.event_count for volume in volumes])
