"""Pairing sweeps ahead, with real volumes, so that whatever is not given back shows."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edfv_ros.events import Frame
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.track import LensTrack
from edfv_ros.offline import pair_ahead, track_doubts
from edfv_ros.optics import VergenceBins
from edfv_ros.rig import load_rig
from edfv_ros.volume import SweepSnapshot, SweepVolume, VolumeRing

BINS = VergenceBins(0.5, 4.5, 4)
SLOTS = 5


@pytest.fixture
def ring() -> Iterator[VolumeRing]:
    """A ring that must be whole again in the end."""
    ring = VolumeRing(BINS, (16, 16), slots=SLOTS)
    yield ring
    free = 0
    while ring.open(sweep(0, 1)):
        ring.close()
        free += 1
    assert free == SLOTS, "every volume is given back"


def sweep(start_us: int, direction: int) -> FocusSweep:
    ends_dpt = np.array([0.5, 4.5])[::direction]
    return FocusSweep(np.array([start_us, start_us + 100.0]), ends_dpt)


def snapshots(ring: VolumeRing, sweeps: Iterable[FocusSweep]) -> Iterator[SweepSnapshot]:
    """Snapshots as the pipeline makes them: paired with the sweep before where that ran the other way."""
    previous: SweepVolume | None = None
    try:
        for index, current in enumerate(sweeps):
            assert ring.open(current), "the ring is full"
            latest = ring.close()
            opposite = None
            if previous is not None and previous.sweep.direction != current.direction:
                opposite = previous.hold()
            if previous is not None:
                previous.release()
            previous = latest.hold()
            yield SweepSnapshot(
                index, latest, opposite, Frame(index, 0, np.zeros((16, 16), np.uint8)) if index else None
            )
    finally:
        if previous is not None:
            previous.release()


def partners(ring: VolumeRing, sweeps: list[FocusSweep]) -> list[tuple[int, float | None]]:
    """Index of each snapshot and the start of its partner."""
    found = []
    for snapshot in pair_ahead(snapshots(ring, sweeps)):
        partner = snapshot.opposite
        found.append((snapshot.index, None if partner is None else float(partner.sweep.timestamps_us[0])))
        snapshot.release()
    return found


def test_the_first_sweep_gets_the_second(ring: VolumeRing) -> None:
    sweeps = [sweep(100 * index, 1 - 2 * (index % 2)) for index in range(12)]
    assert partners(ring, sweeps) == [(0, 100.0)] + [(index, 100.0 * (index - 1)) for index in range(1, 12)]


def test_sweeps_of_one_direction_have_no_partner(ring: VolumeRing) -> None:
    assert partners(ring, [sweep(100 * index, 1) for index in range(12)]) == [(index, None) for index in range(12)]


def test_a_sweep_that_comes_much_later_is_no_partner(ring: VolumeRing) -> None:
    assert partners(ring, [sweep(0, 1), sweep(1000, -1)])[0] == (0, None)


@pytest.mark.parametrize("count", [0, 1])
def test_short_recordings(ring: VolumeRing, count: int) -> None:
    assert partners(ring, [sweep(0, 1)][:count]) == [(0, None)][:count]


def test_the_frame_of_the_partner_serves_where_there_is_none(ring: VolumeRing) -> None:
    first, second = pair_ahead(snapshots(ring, [sweep(0, 1), sweep(100, -1)]))
    assert first.frame is not None and first.frame.timestamp_us == 1
    for snapshot in (first, second):
        snapshot.release()


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_stopping_early_gives_everything_back(ring: VolumeRing, taken: int) -> None:
    paired = pair_ahead(source := snapshots(ring, [sweep(100 * index, 1 - 2 * (index % 2)) for index in range(6)]))
    for _ in range(taken):
        next(paired).release()
    paired.close()
    source.close()  # type: ignore[attr-defined]


def test_a_track_of_another_lens_or_with_a_hole_is_doubted() -> None:
    rig = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
    times_us = np.linspace(0.0, 1e5, 101)
    vergence_dpt = np.linspace(0.3, 4.2, 101)
    assert track_doubts(LensTrack(times_us, vergence_dpt), rig) == []
    assert (
        track_doubts(LensTrack(times_us[::100], vergence_dpt[::100]), rig) == []
    )  # linear between rows is the contract
    (units,) = track_doubts(LensTrack(times_us, 3.0 * vergence_dpt), rig)
    assert "0.9 to 12.6 dpt, beyond the rig's calibration, 0.3 to 4.2 dpt" in units
    kept = np.r_[0:30, 60:101]
    (hole,) = track_doubts(LensTrack(times_us[kept], vergence_dpt[kept]), rig)
    assert "no row for 31 ms from 29000 us on" in hole
