"""The ring hands on every event once, in order, and never overwrites one that is held."""

import os
import pickle
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.events import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Frame
from edfv_ros.events.health import StreamHealth
from edfv_ros.events.messages import Batch
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


def test_what_goes_with_a_batch_arrives_as_it_was_sent() -> None:
    triggers = np.array([(5, 1), (7, 2)], TRIGGER_DTYPE)
    imu = np.zeros(1, IMU_DTYPE)
    frame = Frame(3, 4, np.arange(6, dtype=np.uint8).reshape(2, 3))
    health = StreamHealth(events=9, gaps=2, lost_others=1)
    for sent in (
        Batch(1, 2, 3, health, triggers, imu, (frame,)),
        Batch(4, 0, 0, StreamHealth(), triggers[:0], imu[:0], ()),
    ):
        got = pickle.loads(pickle.dumps(sent))
        assert (got.start, got.count, got.lost_events, got.health) == (
            sent.start,
            sent.count,
            sent.lost_events,
            sent.health,
        )
        for mine, theirs in ((got.triggers, sent.triggers), (got.imu, sent.imu)):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
        assert len(got.frames) == len(sent.frames)
        for mine, theirs in zip(got.frames, sent.frames, strict=True):
            assert (mine.timestamp_us, mine.exposure_us) == (theirs.timestamp_us, theirs.exposure_us)
            np.testing.assert_array_equal(mine.image, theirs.image)
