"""Training crops: how many a minute, and where the time of one goes."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

from edfv_ros.bench.rows import Group, Row
from edfv_ros.bench.stages import STAGES, fft_seconds, stage_seconds
from edfv_ros.simulation.crops import make_crop
from edfv_ros.simulation.dataset import Progress, generate

NAME = "crops"

_WARM_UP = 2
_PICTURES = 160  # about what a crop has


def measure(*, quick: bool) -> Group:
    """Make crops in this process in one thread, then by one worker for each processor."""
    size, number = (48, 2) if quick else (128, 24)
    processors = 1 if quick else len(os.sched_getaffinity(0))
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for seed in range(_WARM_UP):
            make_crop(seed, (size, size), split="test")
        reference_s = fft_seconds((size, size), _PICTURES)
        measured = [
            stage_seconds(lambda seed=seed: make_crop(seed, (size, size), split="test"))  # type: ignore[misc]
            for seed in range(number)
        ]
        reference_s = 0.5 * (reference_s + fft_seconds((size, size), _PICTURES))
    finally:
        cv2.setNumThreads(threads)
    mean_s = {stage: sum(seconds[stage] for seconds in measured) / number for stage in measured[0]}
    rows = [Row("crops a minute, one worker", 60.0 / mean_s["whole"], "1/min")]
    all_s = _seconds_of_a_pool(size, number * processors, processors)
    rows.append(Row(f"crops a minute, {processors} worker{'s' * (processors > 1)}", 60.0 / all_s, "1/min"))
    for stage in ("whole", *STAGES):
        seconds = mean_s[stage]
        rows.append(Row("a crop" if stage == "whole" else f"  {stage}", seconds, "s", seconds / reference_s))
    rows.append(Row("a crop, all workers", all_s, "s", all_s / reference_s))
    return Group(
        NAME,
        f"training crops of {size} x {size}, drawn from the usual domain",
        f"{_PICTURES} transforms of such a picture there and back by numpy, {reference_s:.3g} s",
        tuple(rows),
    )


def _seconds_of_a_pool(size: int, number: int, workers: int) -> float:
    """Seconds for one crop while ``workers`` make them, from the first one that is done on: all have started then."""
    stamps: list[float] = []

    def note(progress: Progress) -> None:
        if progress.made >= workers:
            stamps.append(time.perf_counter())

    with TemporaryDirectory() as folder:
        generate(Path(folder), number + workers, "test", (size, size), workers=workers, progress=note)
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1)
