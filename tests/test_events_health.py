"""Whatever a camera sends, what is delivered ascends in time and lies on the sensor, and the rest is counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.events import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Frame, Packet, SourceInfo, TriggerType
from edfv_ros.events.health import GAP_US, HealthCheck
from edfv_ros.events.timeline import CLOCK_BREAK_US

INFO = SourceInfo("X", 20, 10, ("events", "triggers", "imu", "frames"), live=True)


def events(times_us: list[int], x: int | list[int] = 0, y: int | list[int] = 0) -> np.ndarray:
    array = np.zeros(len(times_us), EVENT_DTYPE)
    array["timestamp"], array["x"], array["y"] = times_us, x, y
    return array


def triggers(*rows: tuple[int, int]) -> np.ndarray:
    return np.array(list(rows), TRIGGER_DTYPE)


def times(packet: Packet) -> list[int]:
    return packet.events["timestamp"].tolist()


def test_sound_packets_pass_without_a_copy() -> None:
    check = HealthCheck(INFO)
    packet = Packet(events([1, 2, 2, 3]))
    assert np.shares_memory(check(packet).events, packet.events)
    assert check.health.problems == {} and check.health.events == 4


def test_stragglers_go() -> None:
    check = HealthCheck(INFO)
    assert times(check(Packet(events([10, 20, 15, 30])))) == [10, 20, 30]
    assert times(check(Packet(events([25, 30, 40])))) == [30, 40]
    assert check.health.problems == {"time_reversals": 2}


def test_one_event_from_the_future_does_not_take_the_others_with_it() -> None:
    check = HealthCheck(INFO)
    assert times(check(Packet(events([10, 10**15, 11, 12, 13])))) == [10, 11, 12, 13]
    assert check.health.problems == {"time_reversals": 1}


@pytest.mark.parametrize(("x", "y"), [(20, 0), (0, 10), (-1, 0), (0, -1), (32767, 32767)])
def test_events_off_the_sensor_go(x: int, y: int) -> None:
    check = HealthCheck(INFO)
    assert times(check(Packet(events([1, 2, 3], [19, x, 0], [9, y, 0])))) == [1, 3]
    assert check.health.problems == {"out_of_range": 1}


@pytest.mark.parametrize("shape", [(10, 21), (11, 20), (20, 10), (5, 10), (480, 640)])
def test_frames_of_another_resolution_go(shape: tuple[int, int]) -> None:
    check = HealthCheck(INFO)
    frames = [Frame(at, 0, np.full(size, at, np.uint8)) for at, size in ((1, (10, 20)), (2, shape), (3, (10, 20)))]
    passed = check(Packet(frames=tuple(frames))).frames
    assert [(frame.timestamp_us, int(frame.image.max())) for frame in passed] == [(1, 1), (3, 3)]
    assert check.health.problems == {"misfit_frames": 1} and check.health.frames == 2


def test_gaps_are_counted_within_and_between_packets() -> None:
    check = HealthCheck(INFO)
    check(Packet(events([0, GAP_US, GAP_US + 1])))
    check(Packet(events([2 * GAP_US + 1])))
    check(Packet(events([2 * GAP_US + 2])))
    assert check.health.problems == {"gaps": 2}


def test_announced_clock_break_is_survived_by_all_streams() -> None:
    check = HealthCheck(INFO)
    check(Packet(events([5_000_000, 5_001_000]), triggers((5_000_500, 1))))
    after = check(
        Packet(
            events([5_002_000, 100, 200]),
            triggers((5_001_500, 2), (90, TriggerType.TIMESTAMP_RESET), (150, 1)),
            frames=(Frame(120, 10, np.zeros((10, 20), np.uint8)),),
        )
    )
    assert times(after) == [5_002_000, 5_002_001, 5_002_101]
    assert after.triggers["timestamp"].tolist() == [5_001_500, 5_001_991, 5_002_051]
    assert after.frames[0].timestamp_us == 5_002_021
    later = check(Packet(events([300]), triggers((250, 2)), np.zeros(1, IMU_DTYPE)))
    assert times(later) == [5_002_201] and later.triggers["timestamp"].tolist() == [5_002_151]
    assert check.health.problems == {"timestamp_resets": 1}


def test_unannounced_clock_break_is_survived_after_a_while() -> None:
    check = HealthCheck(INFO)
    check(Packet(events([10_000_000])))
    delivered = [check(Packet(events([start, start + 9_000]))) for start in range(0, 2 * CLOCK_BREAK_US, 10_000)]
    assert check.health.timestamp_resets == 1
    assert check.health.time_reversals == 2 * CLOCK_BREAK_US // 10_000
    joined = [time_us for packet in delivered for time_us in times(packet)]
    assert joined == sorted(joined) and joined[0] == 10_000_001


def test_data_older_than_the_opening_go() -> None:
    check = HealthCheck(INFO, opened_us=1000)
    packet = check(Packet(events([5, 999, 1000]), triggers((7, 1), (1001, 2))))
    assert times(packet) == [1000] and packet.triggers["timestamp"].tolist() == [1001]
    assert check.health.problems == {"stale": 3}


@pytest.mark.parametrize(
    ("kinds", "repeated"), [([1, 2, 1, 2], 0), ([1, 1, 1, 1], 0), ([1, 2, 2, 1, 1], 2), ([1, 2, 0, 1], 0)]
)
def test_edges_that_do_not_alternate_are_counted(kinds: list[int], repeated: int) -> None:
    check = HealthCheck(INFO)
    check(Packet(triggers=triggers(*enumerate(kinds))))
    assert check.health.non_alternating_edges == repeated
    assert check.health.triggers == len(kinds)


def test_what_cannot_be_handed_on_is_lost() -> None:
    check = HealthCheck(INFO)
    check.lose(check(Packet(events([1, 2]), triggers((1, 1)))))
    assert check.health.events == 0
    assert check.health.problems == {"lost_events": 2, "lost_others": 1}


TIMES = st.one_of(st.integers(0, 50), st.integers(0, 10**7), st.integers(-(2**63), 2**63 - 1))
EVENTS = st.lists(st.tuples(TIMES, st.integers(-(2**15), 2**15 - 1), st.integers(-2, 12)), max_size=30)
TRIGGERS = st.lists(st.tuples(TIMES, st.integers(0, 9)), max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(EVENTS, TRIGGERS), max_size=6), st.sampled_from([None, 0, 100]))
def test_anything_comes_out_sound_and_nothing_goes_uncounted(
    packets: list[tuple[list[tuple[int, int, int]], list[tuple[int, int]]]], opened_us: int | None
) -> None:
    check = HealthCheck(INFO, opened_us=opened_us)
    newest_us = newest_trigger_us = -(2**63)
    given_in = passed = 0
    for rows, edges in packets:
        columns = np.array(rows, np.int64).reshape(-1, 3)
        array = events(columns[:, 0], columns[:, 1], columns[:, 2] % 10)
        out = check(Packet(array, triggers(*edges)))
        for time_us in times(out):
            assert time_us >= newest_us
            newest_us = time_us
        for time_us in out.triggers["timestamp"].tolist():
            assert time_us >= newest_trigger_us
            newest_trigger_us = time_us
        assert np.all((out.events["x"] >= 0) & (out.events["x"] < 20) & (out.events["y"] < 10))
        given_in += len(rows) + len(edges)
        passed += len(out.events) + len(out.triggers)
    health = check.health
    assert passed == health.events + health.triggers
    assert given_in == passed + health.time_reversals + health.out_of_range + health.stale


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 7))
def test_cutting_a_sound_stream_into_packets_changes_nothing(times_us: list[int], size: int) -> None:
    check = HealthCheck(INFO)
    times_us = sorted(times_us)
    out = [check(Packet(events(times_us[start : start + size]))) for start in range(0, len(times_us), size)]
    assert [time_us for packet in out for time_us in times(packet)] == times_us
    assert check.health.problems == {}


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("column", ["x", "y"])
def test_one_event_outside_is_found_wherever_it_is(count: int, column: str) -> None:
    """Padding and polarity may be anything; times are large numbers, too."""
    for place in {0, count // 2, count - 1}:
        events = np.zeros(count, EVENT_DTYPE)
        events.view(np.uint8).reshape(-1, 16)[:, 12:] = 255
        events["timestamp"] = 1_700_000_000_000_000 + np.arange(count)
        events["x"], events["y"] = 345, 259
        check = HealthCheck(SourceInfo("camera", 346, 260, ("events",), live=False))
        assert len(check(Packet(events)).events) == count and not check.health.problems
        events[column][place] += 1
        check = HealthCheck(SourceInfo("camera", 346, 260, ("events",), live=False))
        assert len(check(Packet(events)).events) == count - 1
        assert check.health.problems == {"out_of_range": 1}
        events[column][place] = -1
        check = HealthCheck(SourceInfo("camera", 346, 260, ("events",), live=False))
        assert len(check(Packet(events)).events) == count - 1
