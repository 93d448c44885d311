"""The volume against slow, obvious counting; the torch twin against the compiled kernel."""

import importlib.util
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edfv_ros.events.types import EVENT_DTYPE
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.optics import VergenceBins
from edfv_ros.volume import VolumeRing, same_mask
from edfv_ros.volume.hot_pixels import hot_pixels
from edfv_ros.volume.slots import HostSlot, TorchSlot

BINS = VergenceBins(0.5, 4.5, 8)


def make_events(seed: int, count: int, width: int, height: int, span_us: int = 1000) -> NDArray[np.void]:
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT_DTYPE)
    raw = events.view(np.uint8).reshape(-1, 16)
    raw[:] = rng.integers(0, 256, raw.shape)  # the padding is garbage on purpose
    events["timestamp"] = np.sort(rng.integers(0, span_us, count))
    events["x"] = rng.integers(0, width, count)
    events["y"] = rng.integers(0, height, count)
    events["polarity"] = rng.integers(0, 2, count)
    return events


def count_slowly(
    events: NDArray[np.void], sweep: FocusSweep, bins: VergenceBins, width: int, height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One event at a time, by the definition: bin of the vergence at its time, sign of dI/dv."""
    counts = np.zeros((bins.count, height, width), np.int64)
    totals = np.zeros((height, width), np.int64)
    for event in events:
        vergence = np.interp(event["timestamp"], sweep.timestamps_us, sweep.vergence_dpt, left=np.nan, right=np.nan)
        # an event at the very moment of an edge belongs to what follows in time
        place = (vergence - bins.min_dpt) / bins.width_dpt
        b = np.floor(place + 1e-9) if sweep.direction > 0 else np.ceil(place - 1e-9) - 1
        if 0 <= b < bins.count and 0 <= event["x"] < width and 0 <= event["y"] < height:
            b = int(b)
            counts[b, event["y"], event["x"]] += (1 if event["polarity"] else -1) * sweep.direction
            totals[event["y"], event["x"]] += 1
    return counts, totals


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 400),
    width=st.integers(1, 24),
    height=st.integers(1, 24),
    up=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=4),
)
def test_counts_equal_slow_counting(seed: int, count: int, width: int, height: int, up: bool, cuts: list[int]) -> None:
    """Random events, some outside the sensor and some outside the sweep, in batches cut anywhere."""
    events = make_events(seed, count, width + 3, height + 3)
    events["x"] -= 1
    vergence = np.array([0.2, 5.0]) if up else np.array([5.0, 0.2])
    sweep = FocusSweep(np.array([100.0, 900.0]), vergence)
    ring = VolumeRing(BINS, (width, height), slots=1)
    assert ring.open(sweep)
    for batch in np.split(events, sorted(min(cut, count) for cut in cuts)):
        ring.accumulate(batch)
    slot = ring._slot
    assert slot is not None
    counts, totals = count_slowly(events, sweep, BINS, width, height)
    np.testing.assert_array_equal(slot.counts(), counts)
    np.testing.assert_array_equal(slot.event_count(), totals)


@pytest.mark.parametrize("direction", [1, -1])
def test_torch_slot_equals_host_slot(direction: int) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra 'gpu')")
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    events = make_events(3, 5000, 40, 30)
    segments = np.searchsorted(events["timestamp"], np.linspace(100, 900, 9)).astype(np.int64)
    host, twin = HostSlot(8, 36, 28), TorchSlot(8, 36, 28, device)
    for _ in range(2):
        assert host.add(events, segments, direction) == twin.add(events, segments, direction) > 0
    np.testing.assert_array_equal(host.counts(), twin.counts())
    np.testing.assert_array_equal(host.event_count(), twin.event_count())
    hot = np.zeros((28, 36), bool)
    hot[5, 7] = True
    for slot in (host, twin):
        slot.suppress(hot)
    np.testing.assert_array_equal(host.counts(), twin.counts())
    twin.clear()
    assert not twin.counts().any()


def count_fused(direction: int, parts: int) -> None:
    """The kernel for GPUs against the one for the CPU; run in a process of its own, see below."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    host, twin = HostSlot(8, 36, 28, parts), TorchSlot(8, 36, 28, device, parts)
    outside = 0
    for seed in range(3):
        events = make_events(seed, 3000, 40, 30)
        segments = np.searchsorted(events["timestamp"], np.linspace(100, 900, 9)).astype(np.int64)
        outside += host.add(events, segments, direction)
        raw = events[segments[0] : segments[-1]].view(np.int64).reshape(-1, 2)
        outside -= twin.add_fused(torch.from_numpy(raw).to(device), segments - segments[0], direction)
    assert outside == 0
    np.testing.assert_array_equal(host.counts(), twin.counts())
    np.testing.assert_array_equal(host.event_count(), twin.event_count())


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("direction", [1, -1])
def test_fused_kernel_equals_host_kernel(direction: int, parts: int) -> None:
    """On the GPU where there is one, else in Triton's interpreter, which has to be chosen before Triton is loaded."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'gpu')")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (extra 'gpu')")
    environment = {**os.environ, "TRITON_INTERPRET": "0" if torch.cuda.is_available() else "1"}
    code = f"import test_volume; test_volume.count_fused({direction}, {parts})"
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_counts_saturate() -> None:
    events = np.zeros(70_000, EVENT_DTYPE)
    events["polarity"] = 1
    slot = HostSlot(1, 1, 1)
    slot.add(events, np.array([0, len(events)]), 1)
    assert slot.counts()[0, 0, 0] == 32767
    assert slot.event_count()[0, 0] == 65535


@pytest.mark.parametrize("direction", [1, -1])
def test_pixels_that_never_rest_are_counted_right(direction: int) -> None:
    """Far more events on a few pixels than a byte holds, and bins that are opened again, against bincount."""
    width, height, bins = 5, 3, 4
    rng = np.random.default_rng(11)
    slot = HostSlot(bins, width, height)
    expected = np.zeros((bins, height, width), np.int64)
    totals = np.zeros((height, width), np.int64)
    outside = told_outside = 0
    for seed in range(6):
        events = make_events(seed, 7000, width + 1, height)
        events["polarity"] = rng.random(len(events)) < 0.9
        events["x"][: len(events) // 2] = 2
        segments = np.concatenate([[100], np.sort(rng.integers(100, 6900, bins - 1)), [6900]])
        told_outside += slot.add(events, segments, direction)
        segment = np.searchsorted(segments, np.arange(len(events)), side="right") - 1
        inside = (segment >= 0) & (segment < bins) & (events["x"] < width)
        outside += int(np.count_nonzero((segment >= 0) & (segment < bins) & (events["x"] >= width)))
        plane = segment if direction > 0 else bins - 1 - segment
        signs = (np.where(events["polarity"] == 1, 1, -1) * direction)[inside]
        np.add.at(expected, (plane[inside], events["y"][inside], events["x"][inside]), signs)
        np.add.at(totals, (events["y"][inside], events["x"][inside]), 1)
        if seed % 2:  # looking in between changes nothing
            np.testing.assert_array_equal(slot.event_count(), totals)
    np.testing.assert_array_equal(slot.counts(), expected)
    np.testing.assert_array_equal(slot.event_count(), totals)
    assert told_outside == outside > 0


def test_a_cleared_slot_remembers_nothing() -> None:
    events = make_events(3, 4000, 16, 12)
    slot, fresh = HostSlot(4, 16, 12), HostSlot(4, 16, 12)
    slot.add(events, np.array([0, 900, 1800, 2500, 3000]), 1)
    slot.clear()  # with a bin open
    part = np.array([0, 0, 200, 200, 300])
    for one in (slot, fresh):
        one.add(events, part, -1)
    np.testing.assert_array_equal(slot.counts(), fresh.counts())
    np.testing.assert_array_equal(slot.event_count(), fresh.event_count())
    assert not slot.counts()[3].any() and slot.counts()[2].any(), "segment 0 of a down-sweep is the last bin"


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["host", "torch"])
def test_two_sweeps_are_joined_part_by_part(kind: str, cut: int) -> None:
    """8 bins in 3 parts: the parts begin at bins 0, 3 and 6; events are those of the joined parts alone."""
    if kind == "torch":
        pytest.importorskip("torch", reason="torch is not installed (extra 'gpu')")
    made = [HostSlot(8, 16, 12, 3) if kind == "host" else TorchSlot(8, 16, 12, "cpu", 3) for _ in range(3)]
    first, second, joined = made
    edges = np.linspace(0, 4000, 9).astype(np.int64)
    batches = make_events(1, 4000, 16, 12), make_events(2, 4000, 16, 12)
    for slot, events in zip((first, second), batches, strict=True):
        slot.add(events, edges, 1)
    joined.join((first, second), cut)
    from_bin = (0, 3, 6, 8)[cut]
    np.testing.assert_array_equal(joined.counts()[:from_bin], first.counts()[:from_bin])
    np.testing.assert_array_equal(joined.counts()[from_bin:], second.counts()[from_bin:])
    chosen = np.concatenate([batches[0][: edges[from_bin]], batches[1][edges[from_bin] :]])
    expected = np.zeros((12, 16), np.int64)
    np.add.at(expected, (chosen["y"], chosen["x"]), 1)
    np.testing.assert_array_equal(joined.event_count(), expected)
    joined.clear()
    assert not joined.counts().any() and not joined.event_count().any()


def test_a_batch_allocates_nothing() -> None:
    from numba.core.runtime import _nrt_python, rtsys

    _nrt_python.memsys_enable_stats()
    ring = VolumeRing(BINS, (64, 48))
    events = make_events(4, 20_000, 64, 48)
    ring.open(FocusSweep(np.array([0.0, 1000.0]), np.array([0.5, 4.5])))
    batches = np.split(events, 40)
    ring.accumulate(batches[0])  # compiles
    tracemalloc.start()
    try:
        before, before_numba = tracemalloc.get_traced_memory()[0], rtsys.get_allocation_stats()
        tracemalloc.reset_peak()
        for batch in batches:
            ring.accumulate(batch)
        grown, peak = (bytes - before for bytes in tracemalloc.get_traced_memory())
        after_numba = rtsys.get_allocation_stats()
        headers = 3 + 8  # one for each array that is handed to the two kernels
        assert after_numba.alloc - before_numba.alloc <= headers * len(batches), "the kernels make no array"
        assert after_numba.free - before_numba.free == after_numba.alloc - before_numba.alloc
    finally:
        tracemalloc.stop()
        _nrt_python.memsys_disable_stats()
    assert peak < 4000 < batches[0].nbytes, "headers of views, and not a copy of anything"
    assert grown < 1000


def test_up_and_down_sweep_of_the_same_scene_agree() -> None:
    """Reversing time and polarity is what a down-sweep does to the events of an up-sweep."""
    up = make_events(5, 2000, 16, 16)
    up["timestamp"] = np.sort(np.random.default_rng(1).choice(np.arange(1, 999), 2000)) * 10 + 3
    down = up[::-1].copy()
    down["timestamp"] = 10_000 - down["timestamp"]
    down["polarity"] = 1 - (down["polarity"] & 1)
    ring = VolumeRing(BINS, (16, 16))
    volumes = []
    for events, vergence in ((up, [0.5, 4.5]), (down, [4.5, 0.5])):
        ring.open(FocusSweep(np.array([0.0, 10_000.0]), np.array(vergence)))
        ring.accumulate(events)
        volumes.append(ring.close())
    np.testing.assert_array_equal(volumes[0].counts, volumes[1].counts)


def test_held_volumes_are_never_overwritten() -> None:
    ring = VolumeRing(BINS, (16, 16), slots=2)
    sweep = FocusSweep(np.array([0.0, 1000.0]), np.array([0.5, 4.5]))
    events = make_events(2, 500, 16, 16)
    ring.open(sweep)
    ring.accumulate(events)
    first = ring.close()
    kept = first.counts.copy()
    ring.open(sweep)
    second = ring.close().hold()
    assert not ring.open(sweep), "both slots are held"
    second.release()
    assert not ring.open(sweep), "one holder is left"
    second.release()
    assert ring.open(sweep)
    ring.accumulate(events[:10])
    np.testing.assert_array_equal(first.counts, kept)
    ring.discard()
    assert ring.open(sweep), "a discarded sweep gives its slot back"


def test_hot_pixels_are_found_and_texture_is_not() -> None:
    rng = np.random.default_rng(0)
    count = rng.poisson(12, (60, 80)).astype(np.uint16)
    count[:, 40:] = rng.poisson(60, (60, 40))  # a strongly textured half
    count[20, 10] = 400
    count[30, 60] = 2000
    hot = hot_pixels(count)
    assert hot[20, 10] and hot[30, 60]
    assert hot.sum() == 2


def test_closing_removes_hot_pixels() -> None:
    events = np.zeros(300, EVENT_DTYPE)
    events["x"], events["y"], events["timestamp"] = 7, 9, np.arange(300)
    ring = VolumeRing(BINS, (16, 16))
    ring.open(FocusSweep(np.array([0.0, 1000.0]), np.array([0.5, 4.5])))
    ring.accumulate(events)
    volume = ring.close()
    assert volume.hot_pixels == 1
    assert not volume.counts.any() and not volume.event_count.any()


def test_same_mask_is_relative_to_the_sensor() -> None:
    """Ten times the contrast threshold, a tenth of the events: the mask stays."""
    rng = np.random.default_rng(0)
    density = np.zeros((80, 100))
    density[20:60, 30:80] = 40.0
    many = rng.poisson(density * 10).astype(np.uint16)
    few = rng.poisson(density).astype(np.uint16)
    mask_many, mask_few = same_mask(many), same_mask(few)
    assert mask_many[40, 50] and not mask_many[5, 5]
    assert (mask_many != mask_few).mean() < 0.03
    guide = np.zeros((80, 100), np.uint8)
    guide[:, 50:] = 200
    with_edge = same_mask(many, guide)
    assert with_edge[40, 50] and not with_edge[40, 70]
    guide[0, 0] = 255  # one outlier changes nothing
    np.testing.assert_array_equal(same_mask(many, guide)[10:], with_edge[10:])


def test_same_mask_of_silence_is_empty() -> None:
    assert not same_mask(np.zeros((20, 20), np.uint16)).any()


def test_genuine_recording_equals_independent_count() -> None:
    """A real DAVIS346 file through the file source and the ring, against bincount."""
    path = Path(__file__).parents[2] / "shared/data/aedat4/faery_davis346.aedat4"
    if not path.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    import dv_processing as dv

    from edfv_ros.events import open_source

    reader = dv.io.MonoCameraRecording(str(path))
    index, sign = [], []
    span = reader.getTimeRange()
    edges = np.linspace(span[0], span[1] + 1, 33)
    while (store := reader.getNextEventBatch()) is not None:
        xy = store.coordinates().astype(np.int64)
        b = np.searchsorted(np.ceil(edges), store.timestamps(), side="right") - 1
        index.append((b * 260 + xy[:, 1]) * 346 + xy[:, 0])
        sign.append(store.polarities().astype(np.int64) * 2 - 1)
    expected = np.bincount(np.concatenate(index), np.concatenate(sign), minlength=32 * 260 * 346)

    slot = HostSlot(32, 346, 260)
    source = open_source(str(path))
    total = 0
    while (packet := source.read()) is not None:
        segments = np.searchsorted(packet.events["timestamp"], np.ceil(edges))
        slot.add(packet.events, segments, 1)
        total += len(packet.events)
    source.close()
    assert total == 78_830
    np.testing.assert_array_equal(slot.counts().reshape(-1), expected.astype(np.int64))
