"""Pictures of a closed sweep, of volumes whose events are known."""

import numpy as np
import pytest

from edfv_ros.events.types import EVENT_DTYPE
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.optics import VergenceBins
from edfv_ros.volume import VolumeRing
from edfv_ros.volume.pictures import event_picture, volume_slice

BINS = VergenceBins(0.0, 4.0, 4)
START_US, SWEEP_US = 1_000_000, 400_000
RED, GREEN, BLUE = 0, 1, 2


def closed(first_dpt, last_dpt):
    """Three brighter and one darker event of pixel (1, 0) in the first quarter; four darker of (2, 1) in the last."""
    events = np.zeros(8, EVENT_DTYPE)
    events["timestamp"] = START_US + np.array([10, 20, 30, 40, 350_000, 350_001, 350_002, 350_003])
    events["x"], events["y"] = [1] * 4 + [2] * 4, [0] * 4 + [1] * 4
    events["polarity"] = [1, 1, 0, 1, 0, 0, 0, 0]
    ring = VolumeRing(BINS, (4, 3))
    ring.open(FocusSweep(np.array([START_US, START_US + SWEEP_US], float), np.array([first_dpt, last_dpt])))
    ring.accumulate(events)
    return ring.close()


@pytest.mark.parametrize(("first_dpt", "last_dpt"), [(0.0, 4.0), (4.0, 0.0)])
def test_colours_are_the_polarities_whatever_the_direction(first_dpt, last_dpt):
    picture = event_picture(closed(first_dpt, last_dpt))
    assert picture.shape == (3, 4, 3) and picture.dtype == np.uint8
    assert picture[0, 1].tolist() == [int(255 * 3 / 7), 0, int(255 * 1 / 5)]
    assert picture[1, 2].tolist() == [0, 0, 127], "four events are half bright"
    picture[0, 1] = picture[1, 2] = 0
    assert not picture.any()


def test_a_slice_is_signed_by_the_direction_of_the_sweep():
    up, down = closed(0.0, 4.0), closed(4.0, 0.0)
    assert volume_slice(up, 0)[0, 1] == 2 and volume_slice(up, 3)[1, 2] == -4
    assert volume_slice(down, 3)[0, 1] == -2 and volume_slice(down, 0)[1, 2] == 4
    assert volume_slice(up, 0).dtype == np.float32
    with pytest.raises(IndexError):
        volume_slice(up, 4)
