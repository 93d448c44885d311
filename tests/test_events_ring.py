"""The ring hands on every event once, in order, and never overwrites one that is held."""

import os
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.events import EVENT_DTYPE
from edfv_ros.events.ring import EventRing


def make_ring(capacity: int) -> tuple[EventRing, EventRing]:
    descriptor = EventRing.create(capacity)
    pair = EventRing(descriptor), EventRing(descriptor)
    os.close(descriptor)
    return pair


def random_bytes(count: int, seed: int) -> np.ndarray:
    return np.frombuffer(np.random.default_rng(seed).bytes(16 * count), EVENT_DTYPE)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=60))
def test_every_event_comes_out_once_in_order(capacity: int, steps: list[tuple[bool, int]]) -> None:
    writer, reader = make_ring(capacity)
    held: deque[tuple[np.ndarray, bytes]] = deque()
    for seed, (write, count) in enumerate(steps):
        if write:
            events = random_bytes(count, seed)
            if count > writer.free:
                with pytest.raises(ValueError, match="do not fit"):
                    writer.write(events)
                continue
            runs = writer.write(events)
            assert len(runs) <= 2 and sum(length for _, length in runs) == count
            views = [reader.view(start, length) for start, length in runs]
            assert b"".join(view.tobytes() for view in views) == events.tobytes()
            held.extend((view, view.tobytes()) for view in views)
        elif held:
            view, _ = held.popleft()
            reader.release(len(view))
        assert all(view.tobytes() == content for view, content in held)
        assert writer.free == capacity - sum(len(view) for view, _ in held)
    writer.close()
    reader.close()


def test_views_are_read_only_and_outlive_the_ring() -> None:
    writer, reader = make_ring(10)
    events = random_bytes(5, 0)
    ((start, count),) = writer.write(events)
    view = reader.view(start, count)
    with pytest.raises(ValueError, match="read-only"):
        view["x"] = 1
    reader.close()
    writer.close()
    assert view.tobytes() == events.tobytes()
