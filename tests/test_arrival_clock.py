"""A camera's time on the host's clock, from packets that arrive late by chance."""

import numpy as np
import pytest

from edfv_ros.errors import SourceError
from edfv_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, Packet
from edfv_ros.nodes.arrival_clock import ArrivalClock

T0_US = 1_700_000_000_000_000
PACKET_US = 1000


def packet(first_us, offsets_us=(0, 300, 999)):
    events = np.zeros(len(offsets_us), EVENT_DTYPE)
    events["timestamp"] = first_us + np.array(offsets_us, np.int64)
    return Packet(events)


def run(clock, packets, camera_us, host_us, delay_us):
    """Send packets, stamped when they arrive after their last event; return host time minus given time of each.

    Camera and host time of the first event of packet n, and the packet's delay, are functions of n.
    """
    errors = []
    for number in range(packets):
        given = clock.align(packet(camera_us(number)), int(host_us(number) + 999 + delay_us(number)))
        errors.append(host_us(number) - int(given.events["timestamp"][0]))
    return np.array(errors)


def test_packets_that_are_stamped_with_their_own_time_are_left_alone():
    clock = ArrivalClock("/events")
    for number in range(2000):
        at_us = T0_US + number * PACKET_US
        given = clock.align(packet(at_us), at_us)
        assert given.events["timestamp"].tolist() == [at_us, at_us + 300, at_us + 999]
    assert clock.shift_us == 0


def test_without_arrival_times_nothing_is_changed():
    given = ArrivalClock("/events").align(packet(5), 0)
    assert given.events["timestamp"].tolist() == [5, 305, 1004]


def test_a_camera_that_counts_from_its_start_is_brought_to_the_hosts_time():
    random = np.random.default_rng(1)
    errors_us = run(
        ArrivalClock("/events"),
        20_000,
        lambda n: 3_000_000 + n * PACKET_US,
        lambda n: T0_US + n * PACKET_US,
        lambda n: 200 + random.exponential(2000),
    )
    assert np.abs(errors_us[5000:] + 200).max() < 100, "the shortest delay stays in it, nothing else"


def test_drift_is_followed_and_intervals_stay_the_cameras():
    random = np.random.default_rng(2)
    clock = ArrivalClock("/events")
    drift = 1 + 80e-6
    given_us = []
    for number in range(60_000):
        camera_us = 3_000_000 + number * PACKET_US
        host_us = T0_US + round(number * PACKET_US * drift)
        given = clock.align(packet(camera_us), host_us + 999 + round(random.exponential(1000)))
        given_us.append(int(given.events["timestamp"][0]) - host_us)
    late_us = np.array(given_us[20_000:])
    assert np.abs(late_us).max() < 100
    steps_us = np.diff(given_us) + PACKET_US
    assert steps_us[5000:].min() >= PACKET_US - 3 and steps_us[5000:].max() <= PACKET_US + 3


def test_events_never_go_back_in_time():
    random = np.random.default_rng(3)
    clock = ArrivalClock("/events")
    last_us = 0
    for number in range(3000):
        times_us = number * PACKET_US + np.arange(1000)  # one each microsecond
        arrival_us = T0_US + (number + 1) * PACKET_US + round(random.exponential(5000))
        given = clock.align(packet(7_000_000, times_us), arrival_us)
        assert given.events["timestamp"][0] >= last_us
        assert np.all(np.diff(given.events["timestamp"]) >= 0)
        last_us = given.events["timestamp"][-1]


def test_triggers_are_shifted_as_the_events_are():
    clock = ArrivalClock("/events")
    clock.align(packet(1000), 51_999)
    triggers = np.array([(1500, 1), (1700, 2)], TRIGGER_DTYPE)
    assert clock.align(Packet(triggers=triggers), 60_000).triggers["timestamp"].tolist() == [51_500, 51_700]
    assert triggers["timestamp"].tolist() == [1500, 1700], "what was given is not changed"


@pytest.mark.parametrize(
    ("camera_us", "host_us"),
    [
        pytest.param(0, T0_US + 10_001_000, id="the camera began anew"),
        pytest.param(80_000_000, T0_US + 10_001_000, id="the camera's clock was set forward"),
        pytest.param(70_001_000, T0_US - 50_000_000, id="the host's clock was set back"),
    ],
)
def test_a_clock_that_was_set_is_an_error_at_once(camera_us, host_us):
    clock = ArrivalClock("/dvs/events")
    run(clock, 10_000, lambda n: 60_000_000 + n * PACKET_US, lambda n: T0_US + n * PACKET_US, lambda n: 0)
    with pytest.raises(SourceError, match=r"^/dvs/events: the camera's clock jumped by"):
        clock.align(packet(camera_us), host_us)


def test_time_that_begins_anew_is_an_error_without_arrival_times_too():
    clock = ArrivalClock("/dvs/events")
    for at_us in (T0_US, T0_US + 600_000, T0_US + 300_000):
        clock.align(packet(at_us), at_us)
    with pytest.raises(SourceError, match=r"^/dvs/events: the camera's clock jumped by -0.6 s: its driver was"):
        clock.align(packet(T0_US), T0_US)


def test_a_host_clock_that_was_set_forward_is_an_error_soon_and_a_stall_is_none():
    clock = ArrivalClock("/events")
    run(
        clock, 1000, lambda n: n * PACKET_US + 1, lambda n: T0_US + n * PACKET_US, lambda n: 2e6 if 400 < n < 450 else 0
    )
    with pytest.raises(SourceError, match="jumped"):
        run(
            clock,
            1200,
            lambda n: 1_000_001 + n * PACKET_US,
            lambda n: T0_US + 1_000_000 + n * PACKET_US,
            lambda n: 3e6,
        )
