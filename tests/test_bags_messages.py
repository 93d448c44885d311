"""Messages as bytes: what ROS's own deserialiser and MCAP's make of them, and packets of events by hand."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory
from recordings import small_rig

from edfv_ros.bags import event_packets, messages
from edfv_ros.bags.cdr import CdrError
from edfv_ros.bags.definitions import definition
from edfv_ros.bags.messages import EventPacket, Header
from edfv_ros.errors import OutputError
from edfv_ros.events import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE

STAMP_NS = 1_700_000_000_123_456_789
HEADER = Header(STAMP_NS, "cam_optical_frame")
Decode = Callable[[str, bytes], Any]


def by_rclpy(kind: str, data: bytes) -> Any:
    """The message that rclpy reads."""
    serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")
    from sensor_msgs import msg

    return serialization.deserialize_message(data, getattr(msg, kind.rpartition("/")[2]))


def by_definition(kind: str, data: bytes) -> Any:
    """The message that a reader makes of the definition in the bag, which is how Foxglove reads it."""
    schema = Schema(id=1, name=kind, encoding="ros2msg", data=definition(kind).encode())
    decode = DecoderFactory().decoder_for("cdr", schema)
    assert decode is not None
    return decode(data)


@pytest.fixture(params=[by_rclpy, by_definition])
def decode(request: pytest.FixtureRequest) -> Decode:
    return request.param  # type: ignore[no-any-return]


def check_header(message: Any) -> None:
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert message.header.frame_id == "cam_optical_frame"


@pytest.mark.parametrize("dtype, encoding", [("f4", "32FC1"), ("u1", "mono8")])
def test_image(decode: Decode, dtype: str, encoding: str) -> None:
    pixels = np.arange(15).reshape(3, 5).astype(dtype)
    message = decode("sensor_msgs/msg/Image", messages.image(HEADER, pixels))
    check_header(message)
    assert (message.height, message.width, message.encoding) == (3, 5, encoding)
    assert message.step == 5 * pixels.itemsize
    assert bytes(message.data) == pixels.tobytes()


def test_mono_image_comes_back() -> None:
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    found = messages.read_mono_image(messages.image(HEADER, pixels))
    assert found is not None and found[0] == HEADER
    np.testing.assert_array_equal(found[1], pixels)
    assert messages.read_mono_image(messages.image(HEADER, pixels.astype(np.float32))) is None


def test_camera_info(decode: Decode) -> None:
    camera = small_rig().camera
    k = camera.intrinsics
    message = decode("sensor_msgs/msg/CameraInfo", messages.camera_info(HEADER, camera))
    check_header(message)
    assert (message.height, message.width, message.distortion_model) == (48, 64, "plumb_bob")
    assert list(message.d) == list(k.distortion)
    assert list(message.k) == [k.fx_px, 0, k.cx_px, 0, k.fy_px, k.cy_px, 0, 0, 1]
    assert list(message.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert list(message.p) == [k.fx_px, 0, k.cx_px, 0, 0, k.fy_px, k.cy_px, 0, 0, 0, 1, 0]
    assert (message.binning_x, message.roi.width, message.roi.do_rectify) == (0, 0, False)


def test_point_cloud(decode: Decode) -> None:
    nan = np.nan
    given = np.array([[[1.0, -0.5, 2.0, 99.0, 0.75, 0.125], [nan, nan, nan, 7.0, 0.0, nan]]], np.float32)
    data = messages.point_cloud(HEADER, given)
    message = decode("sensor_msgs/msg/PointCloud2", data)
    check_header(message)
    assert (message.height, message.width, message.point_step, message.row_step) == (1, 2, 24, 48)
    assert [(field.name, field.offset, field.datatype, field.count) for field in message.fields] == [
        ("x", 0, 7, 1),
        ("y", 4, 7, 1),
        ("z", 8, 7, 1),
        ("intensity", 12, 7, 1),
        ("confidence", 16, 7, 1),
        ("uncertainty", 20, 7, 1),
    ]
    assert message.is_dense is False
    np.testing.assert_array_equal(np.frombuffer(bytes(message.data), np.float32).reshape(1, 2, 6), given)


def test_focus(decode: Decode) -> None:
    data = messages.focus_state(HEADER, 1.0 / 3.0)
    message = decode("sensor_msgs/msg/JointState", data)
    check_header(message)
    assert (list(message.name), list(message.position)) == (["focus"], [1.0 / 3.0])
    assert (len(message.velocity), len(message.effort)) == (0, 0)
    assert messages.read_focus_state(data) == (HEADER, 1.0 / 3.0)


def test_joints_of_a_robot_are_no_focus() -> None:
    rclpy = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")
    from sensor_msgs.msg import JointState

    arm = rclpy.serialize_message(JointState(name=["elbow"], position=[1.0]))
    assert messages.read_focus_state(arm) is None
    both = rclpy.serialize_message(JointState(name=["elbow", "focus"], position=[1.0, 2.5]))
    assert messages.read_focus_state(both) == (Header(0, ""), 2.5)


def test_imu(decode: Decode) -> None:
    random = np.random.default_rng(1)
    samples = np.zeros(50, IMU_DTYPE)
    samples["timestamp"] = STAMP_NS // 1000
    samples["accelerometer_g"] = random.normal(size=(50, 3))
    samples["gyroscope_deg_s"] = random.normal(size=(50, 3)) * 100
    message = decode("sensor_msgs/msg/Imu", messages.imu(HEADER, samples[0]))
    check_header(message)
    assert message.orientation_covariance[0] == -1.0, "no orientation"
    np.testing.assert_allclose(message.linear_acceleration.z, samples[0]["accelerometer_g"][2] * 9.80665)
    np.testing.assert_allclose(message.angular_velocity.x, samples[0]["gyroscope_deg_s"][0] * np.pi / 180)
    back = np.concatenate([messages.read_imu(messages.imu(HEADER, sample)) for sample in samples])
    assert back.tobytes() == samples.tobytes()


def test_time_reference(decode: Decode) -> None:
    data = messages.time_reference(HEADER, STAMP_NS + 5, "end of exposure")
    message = decode("sensor_msgs/msg/TimeReference", data)
    check_header(message)
    assert (message.time_ref.sec, message.time_ref.nanosec) == (1_700_000_000, 123_456_794)
    assert message.source == "end of exposure"
    assert messages.read_time_reference(data) == (HEADER, STAMP_NS + 5)


def test_event_packet() -> None:
    packet = EventPacket(HEADER, 260, 346, 7, STAMP_NS, "mono", np.arange(8, dtype=np.uint8))
    data = messages.event_packet(packet)
    message = by_definition("event_camera_msgs/msg/EventPacket", data)
    check_header(message)
    assert (message.height, message.width, message.seq, message.time_base) == (260, 346, 7, STAMP_NS)
    assert (message.encoding, message.is_bigendian, bytes(message.events)) == ("mono", False, bytes(range(8)))
    back = messages.read_event_packet(data)
    assert back[:6] == packet[:6]
    np.testing.assert_array_equal(back.data, packet.data)


def test_bytes_that_are_no_message() -> None:
    data = messages.event_packet(EventPacket(HEADER, 1, 1, 0, 0, "mono", np.zeros(8, np.uint8)))
    for broken in (b"", b"\7\7\7\7", *(data[:length] for length in range(4, len(data), 7))):
        with pytest.raises(CdrError):
            messages.read_event_packet(broken)


def test_time_beyond_ros() -> None:
    with pytest.raises(OutputError, match="1970 to 2038"):
        messages.focus_state(Header(2**31 * 1_000_000_000, ""), 1.0)


def events_of(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(list(rows), EVENT_DTYPE)


def same(events: np.ndarray, expected: np.ndarray) -> bool:
    return all(np.array_equal(events[name], expected[name]) for name in ("timestamp", "x", "y", "polarity"))


def test_mono_bit_by_bit() -> None:
    events = events_of((5_000_000, 3, 2, 1), (5_000_007, 345, 259, 0))
    time_base_ns, words = event_packets.encode_events(events)
    assert time_base_ns == 5_000_000_000
    assert words.tolist() == [1 << 63 | 2 << 48 | 3 << 32, 259 << 48 | 345 << 32 | 7000]
    assert same(event_packets.decode_events("mono", time_base_ns, words.view(np.uint8)), events)


def test_padding_does_not_leak_into_mono() -> None:
    """The three pad bytes of an event are not promised to be zero."""
    events = events_of((1, 3, 2, 1))
    events.view(np.uint8)[13:] = 0xFF
    assert event_packets.encode_events(events)[1].tolist() == [1 << 63 | 2 << 48 | 3 << 32]


def test_libcaer_bit_by_bit() -> None:
    """Polarity in bit 1, y in 2 to 16, x in 17 to 31; the time rolls over within the packet."""
    words = [(345 << 17 | 259 << 2 | 1 << 1 | 1, 2**31 - 1), (32767 << 17 | 0 << 2 | 1, 0)]
    data = np.frombuffer(b"".join(struct.pack("<Ii", *word) for word in words), np.uint8)
    expected = events_of((10 + 2**31 - 1, 345, 259, 1), (10 + 2**31, 32767, 0, 0))
    assert same(event_packets.decode_events("libcaer", 10_000, data), expected)


def test_other_encodings_are_named() -> None:
    with pytest.raises(ValueError, match="'evt3'"):
        event_packets.decode_events("evt3", 0, np.zeros(8, np.uint8))


def test_every_kind_of_trigger_comes_back() -> None:
    triggers = np.array([(1000 + kind, kind) for kind in range(10)], TRIGGER_DTYPE)
    time_base_ns, words = event_packets.encode_triggers(triggers)
    assert words[1:3].tolist() == [1 << 63 | 1000, 2000], "edges of input 0, rising with the upper bit"
    back = event_packets.decode_triggers(time_base_ns, words.view(np.uint8))
    assert back.tolist() == triggers.tolist()


def test_long_packets_are_split() -> None:
    times_us = [0, event_packets.MAX_PACKET_US, event_packets.MAX_PACKET_US + 1, 3 * event_packets.MAX_PACKET_US]
    events = events_of(*((time_us, 1, 1, 1) for time_us in times_us))
    parts = list(event_packets.split_by_time(events))
    assert [len(part) for part in parts] == [2, 1, 1]
    back = [
        event_packets.decode_events("mono", base, words.view(np.uint8))
        for base, words in map(event_packets.encode_events, parts)
    ]
    assert same(np.concatenate(back), events)
