"""Event packets in the encodings of other drivers, by hand and by a stand-in for event_camera_py."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from edfv_ros.bags.event_decoder import EventDecoder
from edfv_ros.bags.messages import EventPacket, Header
from edfv_ros.events.types import TriggerType

T0_US = 1_700_000_000_123_456
CD = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "i1"), ("t", "<i4")], align=True)
TRIGGER = np.dtype([("p", "<i2"), ("t", "<i8"), ("id", "<i2")], align=True)


def packet(encoding, data=b"", time_base_us=T0_US):
    return EventPacket(Header(0, ""), 480, 640, 0, time_base_us * 1000, encoding, np.frombuffer(data, np.uint8))


def as_tuples(items):
    return [tuple(item) for item in items.tolist()]


@pytest.fixture
def event_camera_py(monkeypatch):
    """A module that gives what it is told to, in the types of event_camera_py, and notes what it is asked."""
    told = SimpleNamespace(events=[], triggers=[], asked=[], error=None)

    class Decoder:
        def decode_bytes(self, *arguments):
            told.asked.append(arguments)
            if told.error is not None:
                raise told.error

        def get_cd_events(self):
            wrapped = [(x, y, p, (t + 2**31) % 2**32 - 2**31) for x, y, p, t in told.events]
            return np.array(wrapped, CD)

        def get_ext_trig_events(self):
            return np.array(told.triggers, TRIGGER)

    monkeypatch.setitem(sys.modules, "event_camera_py", SimpleNamespace(Decoder=Decoder))
    return told


def test_libcaer_is_decoded_word_by_word():
    # x 5, y 7, brighter, 10 us after the base; x 639, y 479, darker, 12 us after it
    words = np.array([(5 << 17) | (7 << 2) | 2 | 1, 10, (639 << 17) | (479 << 2) | 1, 12], "<u4")
    decoded = EventDecoder().decode(packet("libcaer", words.tobytes()))
    assert as_tuples(decoded.events) == [(T0_US + 10, 5, 7, 1), (T0_US + 12, 639, 479, 0)]
    assert len(decoded.triggers) == 0


def test_a_roll_over_of_libcaers_31_bits_within_a_packet_goes_on_in_time():
    words = np.array([0, 2**31 - 1, 0, 3], "<u4")
    decoded = EventDecoder().decode(packet("libcaer", words.tobytes()))
    assert decoded.events["timestamp"].tolist() == [T0_US + 2**31 - 1, T0_US + 2**31 + 3]


def test_triggers_are_edges_and_no_events():
    words = np.array([2_000 | (1 << 63), 5_000], "<u8")  # nanoseconds since the base
    decoded = EventDecoder().decode(packet("trigger", words.tobytes()))
    assert as_tuples(decoded.triggers) == [(T0_US + 2, TriggerType.RISING_EDGE), (T0_US + 5, TriggerType.FALLING_EDGE)]
    assert len(decoded.events) == 0


def test_compressed_libcaer_gets_back_the_bits_of_its_times_that_were_cut_off(event_camera_py):
    event_camera_py.events = [(1, 2, 1, T0_US), (639, 479, 0, T0_US + 999)]
    decoded = EventDecoder().decode(packet("libcaer_cmp", b"abcd"))
    assert as_tuples(decoded.events) == [(T0_US, 1, 2, 1), (T0_US + 999, 639, 479, 0)]
    assert event_camera_py.asked == [("libcaer_cmp", 640, 480, T0_US * 1000, b"abcd")]


def test_compressed_libcaer_is_right_where_event_camera_py_takes_nanoseconds_for_microseconds(event_camera_py):
    event_camera_py.events = [(1, 2, 1, T0_US * 1000), (639, 479, 0, T0_US * 1000 + 999)]
    assert EventDecoder().decode(packet("libcaer_cmp")).events["timestamp"].tolist() == [T0_US, T0_US + 999]


def test_evt3_goes_on_in_time_for_longer_than_32_bits_of_microseconds(event_camera_py):
    decoder = EventDecoder()
    times_us = [5, 2**30, 2**31 + 7, 3 * 2**30, 2**32 - 1, 2**32 + 9]
    given = []
    for time_us in times_us:
        event_camera_py.events = [(0, 0, 1, time_us)]
        given += decoder.decode(packet("evt3")).events["timestamp"].tolist()
    assert given == times_us


def test_evt3_has_triggers_among_its_events(event_camera_py):
    event_camera_py.triggers = [(1, 40, 0), (0, 45, 0)]
    triggers = EventDecoder().decode(packet("evt3")).triggers
    assert as_tuples(triggers) == [(40, TriggerType.RISING_EDGE), (45, TriggerType.FALLING_EDGE)]


def test_a_damaged_packet_is_one_line(event_camera_py):
    event_camera_py.error = RuntimeError("got unsupported code!")
    with pytest.raises(ValueError, match=r"^events encoded as evt3: damaged: got unsupported code!$"):
        EventDecoder().decode(packet("evt3"))


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "event_camera_py", None)
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    with pytest.raises(ValueError) as caught:
        EventDecoder().decode(packet("evt3"))
    assert "'evt3' need event_camera_py: sudo apt install ros-kilted-event-camera-py" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("evt2", b"", "events encoded as 'evt2'; let the driver send one of mono, libcaer, trigger, evt3, libcaer_cmp"),
        ("mono", b"123456789", "half an event at the end of a packet"),
        ("trigger", b"1234", "half a trigger at the end of a packet"),
    ],
)
def test_what_cannot_be_decoded_is_said(encoding, data, message):
    with pytest.raises(ValueError, match=message):
        EventDecoder().decode(packet(encoding, data))
