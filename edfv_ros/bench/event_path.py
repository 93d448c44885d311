"""From the camera library's batches to counts in the volume: each stage, all of them, and other ways to count."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edfv_ros.bench.clock import Work, least_seconds, processor_seconds
from edfv_ros.bench.made_up import random_events, rig_of, track_of
from edfv_ros.bench.rows import Group, Row
from edfv_ros.errors import EdfvError
from edfv_ros.events import Aedat4Writer, Capture, Packet, SourceInfo
from edfv_ros.events.health import HealthCheck
from edfv_ros.events.ring import EventRing
from edfv_ros.events.types import timestamps_us
from edfv_ros.lens.sync import TrackSweeps
from edfv_ros.pipeline import assembled, make_assembler
from edfv_ros.pipeline_assembly import SweepAssembler
from edfv_ros.rig import Rig
from edfv_ros.volume import VolumeRing
from edfv_ros.volume.kernels import find_segments
from edfv_ros.volume.slots import TorchSlot, make_slot

BATCH_EVENTS = 50_000
_SWEEPS = 2

Events = NDArray[np.void]
Count = Callable[[Rig, Events, NDArray[np.int64], int], object]


def measure(width_px: int, height_px: int, *, quick: bool, gpu: bool) -> Group:
    """Count the events of two sweeps, 2 million each, in batches of 50 000, on one core.

    Raises:
        EdfvError: ``gpu``, and there is none.
    """
    rig = rig_of(width_px, height_px)
    count, rounds = (100_000, 1) if quick else (4_000_000, 4)
    events = random_events(rig, count, _SWEEPS)
    batches = [events[start : start + BATCH_EVENTS] for start in range(0, count, BATCH_EVENTS)]
    stores = _dv_stores(rig, batches)
    works: dict[str, Work] = {
        "memcpy": partial(copy_each, batches, np.empty_like(events)),
        "dv batch to array": lambda: [store.numpy() for store in stores],
        "check": partial(_check, rig, batches),
        "into the shared ring and out": partial(_through_ring, EventRing(EventRing.create(8 * BATCH_EVENTS)), batches),
        "kernel": kernel(rig, batches),
        "all of these, dv batch to volume": _whole_path(rig, stores),
        "numpy bincount instead of the kernel": _other_way(rig, events, by_bincount),
        "numpy add.at": _other_way(rig, events, by_add_at),
        **_torch_ways(rig, events, gpu=gpu),
    }
    seconds = least_seconds(works, rounds)
    seconds["two processes, file to volume"] = _captured_seconds(rig, batches)
    reference = count / seconds.pop("memcpy")
    return Group(
        f"events-{width_px}x{height_px}",
        f"events at {width_px} x {height_px}, {count // _SWEEPS:,} a sweep, millions a second of processor time",
        f"memcpy of the events, {reference * 1e-6:.3g} M/s",
        tuple(Row(name, count / s * 1e-6, "M/s", count / s / reference) for name, s in seconds.items()),
    )


def _info(rig: Rig) -> SourceInfo:
    return SourceInfo(rig.camera.model, *rig.camera.resolution, ("events",), live=False)


def _written(folder: Path, rig: Rig, batches: list[Events]) -> Path:
    path = folder / "events.aedat4"
    with Aedat4Writer(path, _info(rig)) as writer:
        for batch in batches:
            writer.write_events(batch)
    return path


def _dv_stores(rig: Rig, batches: list[Events]) -> list[Any]:
    """The batches as the camera library gives them."""
    import dv_processing as dv

    with TemporaryDirectory() as folder:
        reader = dv.io.MonoCameraRecording(str(_written(Path(folder), rig, batches)))
        stores, store = [], dv.EventStore()
        while (part := reader.getNextEventBatch()) is not None:
            store.add(part)
            if store.size() >= BATCH_EVENTS:
                stores.append(store)
                store = dv.EventStore()
    return stores


def copy_each(batches: list[Events], out: Events) -> None:
    """What the figures are compared with: the events copied, batch by batch, to memory that is there."""
    start, words = 0, out.view(np.uint64)
    for batch in batches:
        words[2 * start : 2 * (start + len(batch))] = batch.view(np.uint64)
        start += len(batch)


def _check(rig: Rig, batches: list[Events]) -> None:
    check = HealthCheck(_info(rig))
    for batch in batches:
        check(Packet(batch))


def _through_ring(ring: EventRing, batches: list[Events]) -> None:
    for batch in batches:
        for start, count in ring.write(batch):
            ring.view(start, count)
            ring.release(count)


def kernel(rig: Rig, batches: list[Events]) -> Work:
    """Counting alone, two sweeps: cleared, every batch cut into bins and counted, the last bin poured out."""
    slot = make_slot(rig.bins.count, *rig.camera.resolution, "cpu")
    sweeps = track_of(rig, _SWEEPS).sweeps(rig.bins)
    size = len(batches) // _SWEEPS

    def run() -> None:
        for number, sweep in enumerate(sweeps):
            slot.clear()
            edges_us = sweep.bin_edge_times_us(rig.bins)
            for batch in batches[number * size : (number + 1) * size]:
                slot.add(batch, _segments(batch, edges_us), sweep.direction)
            slot.counts()

    return run


def _segments(events: Events, edges_us: NDArray[np.int64]) -> NDArray[np.int64]:
    segments = np.empty(len(edges_us), np.int64)
    find_segments(events.view(np.uint64).reshape(-1, 2), edges_us, segments)
    return segments


def _whole_path(rig: Rig, stores: list[Any]) -> Work:
    """What the capture process and the pipeline do, in one thread, but for the pipe between them."""
    volumes = VolumeRing(rig.bins, rig.camera.resolution)
    shared = EventRing(EventRing.create(8 * BATCH_EVENTS))

    def run() -> None:
        check, sweeps = HealthCheck(_info(rig)), TrackSweeps(track_of(rig, _SWEEPS), rig)
        assembler = SweepAssembler(sweeps, volumes, shared.release, None)
        for store in stores:
            for start, count in shared.write(check(Packet(store.numpy())).events):
                for closed in assembler.push(Packet(shared.view(start, count)), 0.0):
                    closed.snapshot.release()
        for closed in assembler.finish():
            closed.snapshot.release()
        assembler.close()

    return run


def _captured_seconds(rig: Rig, batches: list[Events]) -> float:
    """Processor time of both processes, from the first packet to the last."""
    with TemporaryDirectory() as folder, Capture(str(_written(Path(folder), rig, batches)), ring_mib=16) as capture:
        volumes = VolumeRing(rig.bins, rig.camera.resolution)
        assembler = make_assembler(rig, capture, TrackSweeps(track_of(rig, _SWEEPS), rig), volumes)
        left = sum(map(len, batches))
        seconds: list[float] = []

        def note(packet: Packet) -> None:
            nonlocal left
            left -= len(packet.events)
            if not seconds or not left:
                seconds.append(time.thread_time() + processor_seconds(capture.process_id))

        for closed in assembled(capture, assembler, on_packet=note):
            closed.snapshot.release()
        return seconds[-1] - seconds[0]


def _other_way(rig: Rig, events: Events, count: Count) -> Work:
    """Count whole sweeps, cut out of the events beforehand."""
    sweeps = []
    for sweep in track_of(rig, _SWEEPS).sweeps(rig.bins):
        edges = np.searchsorted(timestamps_us(events), sweep.bin_edge_times_us(rig.bins))
        sweeps.append((events[edges[0] : edges[-1]], edges - edges[0], sweep.direction))

    def run() -> None:
        for of_sweep, edges, direction in sweeps:
            count(rig, of_sweep, edges, direction)

    return run


def _cells_and_signs(
    rig: Rig, events: Events, edges: NDArray[np.int64], direction: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    width, height = rig.camera.resolution
    place = events.view(np.int64).reshape(-1, 2)[:, 1]
    planes = np.arange(rig.bins.count)[::direction]
    cells = np.repeat(planes * (width * height), np.diff(edges)) + ((place >> 16) & 0xFFFF) * width + (place & 0xFFFF)
    return cells, (((place >> 31) & 2) - 1) * direction


def by_bincount(rig: Rig, events: Events, edges: NDArray[np.int64], direction: int) -> NDArray[np.int64]:
    """Count a sweep with numpy: one histogram of all cells and signs."""
    width, height = rig.camera.resolution
    cells, signs = _cells_and_signs(rig, events, edges, direction)
    both = np.bincount(2 * cells + (signs > 0), minlength=2 * rig.bins.count * width * height)
    return both[1::2] - both[::2]


def by_add_at(rig: Rig, events: Events, edges: NDArray[np.int64], direction: int) -> NDArray[np.int32]:
    """Count a sweep with numpy: signs added where they belong."""
    width, height = rig.camera.resolution
    cells, signs = _cells_and_signs(rig, events, edges, direction)
    counts = np.zeros(rig.bins.count * width * height, np.int32)
    np.add.at(counts, cells, signs.astype(np.int32))
    return counts


def _torch_ways(rig: Rig, events: Events, *, gpu: bool) -> dict[str, Work]:
    """Counting by torch, where it is installed, and on the GPU where that is asked for."""
    try:
        import torch
    except ImportError:
        if gpu:
            raise EdfvError("--gpu needs torch: pip install edfv_ros[gpu]") from None
        return {}
    if gpu and not torch.cuda.is_available():
        raise EdfvError("--gpu: torch finds no CUDA device here; leave --gpu out, or run this where there is one")
    torch.set_num_threads(1)

    def on(device: str) -> Work:
        slot = TorchSlot(rig.bins.count, *rig.camera.resolution, device)

        def count(_rig: Rig, of_sweep: Events, edges: NDArray[np.int64], direction: int) -> None:
            slot.clear()
            slot.add(of_sweep, edges, direction)
            if device != "cpu":
                torch.cuda.synchronize()

        return _other_way(rig, events, count)

    return {"torch index_add_": on("cpu"), **({"kernel on the GPU, copy included": on("cuda")} if gpu else {})}
