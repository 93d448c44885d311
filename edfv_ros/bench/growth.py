"""How the counting grows: with the events of a sweep, with the resolution and with the bins."""

from collections.abc import Iterable
from functools import partial

import numpy as np

from edfv_ros.bench.clock import Work, least_seconds
from edfv_ros.bench.event_path import BATCH_EVENTS, copy_each, kernel
from edfv_ros.bench.made_up import RESOLUTIONS, random_events, rig_of
from edfv_ros.bench.rows import Group, Row

NAME = "growth"

_EVENTS = (100_000, 300_000, 1_000_000, 3_000_000)
_BINS = (16, 32, 64)
_USUAL_EVENTS = 1_000_000


def measure(*, quick: bool) -> Group:
    """Count one sweep at a time, opening and closing included, in ms."""
    shrink, rounds = (100, 1) if quick else (1, 4)
    copied = 2 * (_USUAL_EVENTS // shrink)
    works: dict[str, Work] = {"memcpy": _copying(copied)}
    works |= {
        f"{width} x {height}, {bins} bins, {events:,} events": _counting(width, height, bins, events)
        for width, height, bins, events in _cases(shrink)
    }
    seconds = {name: s / 2 for name, s in least_seconds(works, rounds).items()}
    reference = seconds.pop("memcpy")
    return Group(
        NAME,
        "how counting one sweep grows with events, resolution and bins, ms",
        f"memcpy of {copied // 2:,} events, {reference * 1e3:.3g} ms",
        tuple(Row(name, s * 1e3, "ms", s / reference) for name, s in seconds.items()),
    )


def _cases(shrink: int) -> Iterable[tuple[int, int, int, int]]:
    smallest = RESOLUTIONS[0]
    usual = _USUAL_EVENTS // shrink
    yield from ((*smallest, 32, events // shrink) for events in _EVENTS)
    yield from ((*resolution, 32, usual) for resolution in RESOLUTIONS[1:])
    yield from ((*smallest, bins, usual) for bins in _BINS if bins != 32)


def _copying(events: int) -> Work:
    drawn = random_events(rig_of(*RESOLUTIONS[0]), events, 2)
    batches = [drawn[start : start + BATCH_EVENTS] for start in range(0, events, BATCH_EVENTS)]
    return partial(copy_each, batches, np.empty_like(drawn))


def _counting(width: int, height: int, bins: int, events: int) -> Work:
    """Two sweeps, one up and one down."""
    rig = rig_of(width, height, bins=bins)
    drawn = random_events(rig, 2 * events, 2)
    size = min(BATCH_EVENTS, events)
    return kernel(rig, [drawn[start : start + size] for start in range(0, 2 * events, size)])
