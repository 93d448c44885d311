"""What this machine can do with a camera, in words: resolution, sweep rate, latency, and the settings for it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edfv_ros.bench.clock import least_seconds, resident_mib
from edfv_ros.bench.event_path import BATCH_EVENTS, kernel
from edfv_ros.bench.latency import alone_ms
from edfv_ros.bench.made_up import RESOLUTIONS, random_events, rig_of
from edfv_ros.depth import open_estimator
from edfv_ros.depth.models import EDPN, shipped_model

EVENTS_PER_PIXEL_AND_SWEEP = 3.0
"""What a textured scene gives a sweep at a contrast threshold of 20 %."""

SLACK = 0.8
"""Part of the time that the estimator may take: the rest is for capture, counting, messages, and other programs."""

_SENSOR_NAMES = ("a DAVIS346", "a DVXplorer", "a camera of a megapixel")


@dataclass(frozen=True, slots=True)
class Capability:
    """What is possible with a sensor of one resolution.

    Attributes:
        width_px, height_px: of the sensor.
        estimator: by the name users give.
        depth_hz: depth images a second, with ``SLACK``.
        latency_ms: from the last event of a sweep to its depth.
        memory_mib: of the process so far, this resolution and the smaller ones measured before.
        events_per_s: what one core counts.
    """

    width_px: int
    height_px: int
    estimator: str
    depth_hz: float
    latency_ms: float
    memory_mib: float
    events_per_s: float


def measure(*, quick: bool) -> Iterator[Capability]:
    """Measure the estimators at every resolution, smallest first."""
    for width, height in RESOLUTIONS[:1] if quick else RESOLUTIONS:
        rig = rig_of(width, height)
        events = int(EVENTS_PER_PIXEL_AND_SWEEP * width * height)
        drawn = random_events(rig, 2 * events, 2)
        batches = np.array_split(drawn, max(2, 2 * round(events / BATCH_EVENTS)))
        counting_s = least_seconds({"count": kernel(rig, batches)}, 1 if quick else 3)["count"] / 2
        for estimator in ("edpn", "reversal"):
            estimate_ms = alone_ms(rig, open_estimator(estimator, rig), drawn)
            yield Capability(
                width,
                height,
                estimator,
                SLACK * 1e3 / estimate_ms,
                estimate_ms + counting_s * 1e3 / rig.bins.count,
                resident_mib(os.getpid()),
                events / counting_s,
            )


def in_words(capabilities: list[Capability]) -> Iterator[str]:
    """Say it, one line for each thing."""
    processors = len(os.sched_getaffinity(0))
    precision = shipped_model(EDPN).entry.precision
    yield f"{processors} processor{'s' * (processors > 1)}; the network runs in {precision}"
    if os.getloadavg()[0] > processors / 2:
        yield f"the machine is busy (load {os.getloadavg()[0]:.1f}): it can do more than what follows"
    for one in capabilities:
        name = _SENSOR_NAMES[[width for width, _ in RESOLUTIONS].index(one.width_px)]
        yield (
            f"{name} ({one.width_px} x {one.height_px}), estimator {one.estimator}: up to {one.depth_hz:.2g} depth "
            f"images a second, {one.latency_ms:.0f} ms after a sweep's last event; {one.events_per_s * 1e-6:.0f} "
            f"million events a second on one core; {one.memory_mib:.0f} MiB"
        )
    yield from _advice(capabilities, processors)


def _advice(capabilities: list[Capability], processors: int) -> Iterator[str]:
    network = [capability for capability in capabilities if capability.estimator == "edpn"]
    fast_enough = [capability for capability in network if capability.depth_hz >= 5.0]
    if fast_enough:
        largest = fast_enough[-1]
        yield (
            f"advice: up to {largest.width_px} x {largest.height_px}, with sweep.frequency_hz "
            f"{largest.depth_hz / 2:.2g} in the rig file (two sweeps a period); of faster sweeps some are dropped "
            "and counted, and latency stays"
        )
    else:
        yield (
            f"advice: below 5 depth images a second even at {network[0].width_px} x {network[0].height_px}: set "
            f"sweep.frequency_hz to {network[0].depth_hz / 2:.2g}, or use the estimator reversal or fewer bins"
        )
    if processors < 3:
        yield "advice: close other programs; the capture process and the estimator already share the processors"
    yield "settings for a small board: volume.bins: 16 in the rig file halves what volumes take, in memory and in time"
