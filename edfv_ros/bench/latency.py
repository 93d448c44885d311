"""From a sweep's last event to its depth, live: a camera on a local socket, the capture process, the whole pipeline."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from edfv_ros.bench.clock import resident_mib
from edfv_ros.bench.made_up import random_events, rig_of, track_of
from edfv_ros.bench.rows import Group, Row
from edfv_ros.child_process import start_module, stop_process
from edfv_ros.depth import DepthEstimate, DepthEstimator, open_estimator
from edfv_ros.errors import EdfvError
from edfv_ros.events import Capture
from edfv_ros.lens.triggers import TriggerSweeps
from edfv_ros.pipeline import DepthOutput, DepthPipeline
from edfv_ros.rig import Rig
from edfv_ros.volume import SweepSnapshot, VolumeRing

FREQUENCY_HZ = 7.5
EVENTS_PER_S = 3e6

_EVENTS_OF_TWO_SWEEPS = 400_000
_ALONE = 5
_IDLE_S = 30.0


def measure(width_px: int, height_px: int, *, quick: bool, seconds: float = 20.0, estimator: str = "edpn") -> Group:
    """Fifteen sweeps a second of three million events a second, for some time.

    Raises:
        EdfvError: the pipeline broke, or gave no depth.
    """
    shrink = 8 if quick else 1
    rig = rig_of(width_px // shrink, height_px // shrink, frequency_hz=FREQUENCY_HZ)
    clock = _Clock(open_estimator(estimator, rig))
    reference_ms = alone_ms(rig, clock, random_events(rig, _EVENTS_OF_TWO_SWEEPS, 2))
    clock.milliseconds.clear()
    totals_ms: list[float] = []
    inside_ms: list[float] = []
    stamps_s: list[float] = []

    def note(output: DepthOutput) -> None:
        stamps_s.append(time.monotonic())
        totals_ms.append(time.time() * 1e3 - output.sweep.end_us * 1e-3)
        inside_ms.append(output.latency_ms)

    captures: list[Capture] = []

    def open_capture(uri: str) -> Capture:
        captures.append(Capture(uri))
        return captures[-1]

    with _camera(rig, 1.5 if quick else seconds, EVENTS_PER_S / shrink**2) as uri:
        pipeline = DepthPipeline(rig, lambda: open_capture(uri), lambda: TriggerSweeps(rig), clock, note)
        pipeline.start()
        began_s = time.monotonic()
        memory: list[float] = []
        while pipeline.is_running and time.monotonic() - began_s < seconds + _IDLE_S:
            if captures:
                memory = _memory_mib(captures[0]) or memory
            pipeline.wait(0.5)
        pipeline.stop()
    statistics = pipeline.statistics()
    if statistics.error or not totals_ms:
        raise EdfvError(f"the latency cannot be measured: {statistics.error or 'no sweep became depth'}")
    dropped = sum(statistics.dropped_sweeps.values())
    middle, high, worst = np.percentile(totals_ms, (50, 95, 99))
    inside, estimate = np.median(inside_ms), np.median(clock.milliseconds)
    in_ms = {
        "last event to depth, median": middle,
        "  95th percentile": high,
        "  99th percentile": worst,
        "of it: socket, capture process, pipe": np.median(np.subtract(totals_ms, inside_ms)),
        "of it: waiting, counting, closing": inside - estimate,
        "of it: estimator": estimate,
    }
    rows = [Row(name, float(ms), "ms", float(ms) / reference_ms) for name, ms in in_ms.items()]
    rows += [
        Row("depth images a second", (len(totals_ms) - 1) / max(stamps_s[-1] - stamps_s[0], 1e-6), "1/s"),
        Row("whole sweeps", statistics.sweeps, ""),
        Row("sweeps dropped, the estimator busy or not whole", dropped, ""),
        Row("memory of the pipeline's process", memory[0] if memory else float("nan"), "MiB"),
        Row("memory of the capture process, the shared ring in it", memory[1] if memory else float("nan"), "MiB"),
    ]
    return Group(
        f"latency-{width_px}x{height_px}",
        f"live at {width_px} x {height_px}: {2 * FREQUENCY_HZ:g} sweeps and {EVENTS_PER_S * 1e-6:g} million events a "
        f"second, {estimator}",
        f"the estimator alone, {reference_ms:.3g} ms",
        tuple(rows),
    )


class _Clock:
    """An estimator, and how long each of its estimates took."""

    def __init__(self, estimator: DepthEstimator) -> None:
        self._estimator = estimator
        self.milliseconds: list[float] = []

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        begin_s = time.perf_counter()
        estimate = self._estimator.estimate(snapshot)
        self.milliseconds.append((time.perf_counter() - begin_s) * 1e3)
        return estimate


def alone_ms(rig: Rig, estimator: DepthEstimator, events: NDArray[np.void]) -> float:
    """Median time of one estimate of a pair of sweeps while nothing else runs here, after one that warms up."""
    ring = VolumeRing(rig.bins, rig.camera.resolution)
    volumes = []
    for sweep in track_of(rig, 2).sweeps(rig.bins):
        ring.open(sweep)
        ring.accumulate(events)
        volumes.append(ring.close())
    clock = _Clock(estimator)
    for _ in range(_ALONE + 1):
        clock.estimate(SweepSnapshot(1, volumes[1], volumes[0], None))
    return float(np.median(clock.milliseconds[1:]))


@contextmanager
def _camera(rig: Rig, seconds: float, events_per_s: float) -> Iterator[str]:
    with TemporaryDirectory() as folder:
        socket = Path(folder) / "camera.sock"
        settings = {
            "width_px": rig.camera.width_px,
            "height_px": rig.camera.height_px,
            "frequency_hz": rig.sweep.frequency_hz,
            "events_per_s": events_per_s,
            "seconds": seconds,
            "socket": str(socket),
        }
        process = start_module("edfv_ros.bench.live_source", [json.dumps(settings)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield f"unix://{socket}"
        finally:
            stop_process(process, signal.SIGTERM)


def _memory_mib(capture: Capture) -> list[float]:
    """Of this process and of the capture process; nothing where that has just ended."""
    try:
        return [resident_mib(os.getpid()), resident_mib(capture.process_id)]
    except (OSError, StopIteration):
        return []
