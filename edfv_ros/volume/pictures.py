"""Pictures of a closed sweep, for people to look at."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edfv_ros.volume.ring import SweepVolume

_HALF_BRIGHT_EVENTS: Final = 4.0


def event_picture(volume: SweepVolume) -> NDArray[np.uint8]:
    """The events of a sweep, uint8 [H, W, 3] in RGB: red the brightening ones, blue the darkening ones, magenta both.

    A fixed curve, half bright at four events, so that pictures of one scene can be compared.
    """
    total = volume.event_count.astype(np.float32)
    # counts follow the direction of the sweep: undo that to have polarities as the camera gave them
    net = volume.counts.sum(axis=0, dtype=np.int32) * np.float32(volume.sweep.direction)
    picture = np.zeros((*total.shape, 3), np.uint8)
    for channel, sign in ((0, 1.0), (2, -1.0)):
        events = np.maximum((total + np.float32(sign) * net) * np.float32(0.5), np.float32(0.0))
        picture[..., channel] = 255.0 * events / (events + np.float32(_HALF_BRIGHT_EVENTS))
    return picture


def volume_slice(volume: SweepVolume, vergence_bin: int) -> NDArray[np.float32]:
    """Signed events of one bin, dI/dv, float32 [H, W]; bin 0 is the farthest.

    Raises:
        IndexError: there is no such bin.
    """
    return volume.counts[vergence_bin].astype(np.float32)
