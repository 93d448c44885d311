"""Topics of another driver as a capture, with publishers in the test's process."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from interface_build import EVENT_CAMERA_MSGS, interface_folder
from node_process import ros_context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState

from edfv_ros.bags import event_packets, messages
from edfv_ros.bags.messages import EventPacket, Header
from edfv_ros.errors import SourceError
from edfv_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, Packet, TriggerType
from edfv_ros.lens.driver import LensSample
from edfv_ros.lens.reports import FocusReports
from edfv_ros.nodes.input_topics import InputTopics
from edfv_ros.rig import load_rig
from edfv_ros.share import config_file

TOPICS = InputTopics("_test_source", "/", "/dvs/events", "/dvs/triggers", "/lens", "/dvs/image_raw")
T0_US = 1_700_000_000_000_000
WAIT_S = 20.0
CAMERA = load_rig(config_file("rig.yaml")).camera
WIDTH, HEIGHT = CAMERA.resolution


@pytest.fixture(scope="module")
def ros():
    interface_folder("event_camera_msgs", EVENT_CAMERA_MSGS)
    with ros_context() as (context, _):
        yield context


class Driver:
    """Publishes what drivers of cameras and lenses publish."""

    def __init__(self, context):
        from event_camera_msgs.msg import EventPacket as EventPacketMessage

        self.node = Node("driver", context=context)
        best_effort = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publishers = {
            TOPICS.events: self.node.create_publisher(EventPacketMessage, TOPICS.events, best_effort),
            TOPICS.triggers: self.node.create_publisher(EventPacketMessage, TOPICS.triggers, best_effort),
            TOPICS.lens: self.node.create_publisher(JointState, TOPICS.lens, 100),
            TOPICS.guide: self.node.create_publisher(Image, TOPICS.guide, 10),
        }

    def wait_for_subscribers(self):
        deadline_s = time.monotonic() + WAIT_S
        while not all(publisher.get_subscription_count() for publisher in self._publishers.values()):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def send(self, topic, data):
        self._publishers[topic].publish(data)

    def send_packet(self, number, encoded, encoding="mono", topic=TOPICS.events, size=(WIDTH, HEIGHT)):
        """A packet that arrived the moment its first event happened."""
        base_ns, words = encoded
        header = Header(base_ns, "camera")
        packet = EventPacket(header, size[1], size[0], number, base_ns, encoding, words.view(np.uint8))
        self.send(topic, messages.event_packet(packet))


@pytest.fixture
def driver(ros):
    driver = Driver(ros)
    yield driver
    driver.node.destroy_node()


@pytest.fixture
def capture(ros, driver):
    from edfv_ros.nodes.topic_capture import TopicCapture

    with TopicCapture(TOPICS, CAMERA, FocusReports(), context=ros) as capture:
        driver.wait_for_subscribers()
        yield capture


def events_at(start_us, count=10):
    events = np.zeros(count, EVENT_DTYPE)
    events["timestamp"] = T0_US + start_us + np.arange(count)
    events["x"], events["y"], events["polarity"] = np.arange(count), 3, 1
    return events


def read_until(capture, condition):
    """Read until the condition holds for the packets that came."""
    packets, deadline_s = [], time.monotonic() + WAIT_S
    while not condition(packets):
        assert time.monotonic() < deadline_s, packets
        packet = capture.read(0.05)
        capture.release(len(packet.events))
        packets.append(packet)
    return packets


def count_of(packets, part):
    return sum(len(getattr(packet, part)) for packet in packets)


def test_everything_that_drivers_send_arrives_as_it_was(capture, driver):
    assert (capture.info.width_px, capture.info.height_px) == CAMERA.resolution
    sent = [events_at(1000 * number) for number in range(20)]
    for number, events in enumerate(sent):
        driver.send_packet(number, event_packets.encode_events(events))
    edges = np.array([(T0_US + 5, TriggerType.RISING_EDGE), (T0_US + 9, TriggerType.FALLING_EDGE)], TRIGGER_DTYPE)
    driver.send_packet(0, event_packets.encode_triggers(edges), event_packets.TRIGGER, TOPICS.triggers)
    pixels = np.arange(HEIGHT * WIDTH, dtype=np.uint32).astype(np.uint8).reshape(HEIGHT, WIDTH)
    driver.send(TOPICS.guide, messages.image(Header(T0_US * 1000 + 7000, "camera"), pixels))

    def everything(packets):
        counts = [count_of(packets, part) for part in ("events", "triggers", "frames")]
        return counts == [200, 2, 1]

    packets = read_until(capture, everything)
    given = np.concatenate([packet.events for packet in packets], dtype=EVENT_DTYPE)
    for name in ("timestamp", "x", "y", "polarity"):
        np.testing.assert_array_equal(given[name], np.concatenate([events[name] for events in sent]))
    assert np.concatenate([packet.triggers for packet in packets]).tolist() == edges.tolist()
    (frame,) = (frame for packet in packets for frame in packet.frames)
    assert frame.timestamp_us == T0_US + 7
    np.testing.assert_array_equal(frame.image, pixels)
    assert capture.health.problems == {} and capture.health.events == 200


def test_the_focus_goes_to_the_lens_reports(ros, driver):
    from edfv_ros.nodes.topic_capture import TopicCapture

    reports = FocusReports()
    with TopicCapture(TOPICS, CAMERA, reports, context=ros) as capture:
        driver.wait_for_subscribers()
        other = JointState(name=["pan", "tilt"], position=[1.0, 2.0])
        among_others = JointState(name=["pan", "focus"], position=[1.0, 2.5])
        among_others.header.stamp.sec, among_others.header.stamp.nanosec = 1_700_000_000, 2_000
        without_time = JointState(name=["focus"], position=[3.0])
        for message in (other, among_others, without_time):
            driver.send(TOPICS.lens, message)
        driver.send(TOPICS.lens, messages.focus_state(Header((T0_US + 9) * 1000, ""), 4.25))
        samples, deadline_s = [], time.monotonic() + WAIT_S
        while len(samples) < 2 and time.monotonic() < deadline_s:
            capture.read(0.02)
            samples += reports.telemetry()
    assert samples == [LensSample(0, T0_US + 2, 2.5), LensSample(1, T0_US + 9, 4.25)]
    assert reports.garbled_lines == 1


def test_missing_packets_are_counted_where_they_are_missing(capture, driver):
    for number in (0, 1, 4, 5):
        driver.send_packet(number, event_packets.encode_events(events_at(1000 * number)))
    packets = read_until(capture, lambda packets: count_of(packets, "events") == 40)
    lost = [
        (packet.lost_events, int(packet.events["timestamp"][0]) - T0_US) for packet in packets if packet.lost_events
    ]
    assert lost == [(20, 4000)], "two packets of ten events, right before the packet that begins with the fifth"
    assert capture.health.lost_events == 20


def test_a_driver_that_begins_anew_has_lost_nothing(capture, driver):
    for number, start_us in ((7, 0), (8, 1000), (0, 2000), (1, 3000)):
        driver.send_packet(number, event_packets.encode_events(events_at(start_us)))
    read_until(capture, lambda packets: count_of(packets, "events") == 40)
    assert capture.health.lost_events == 0


def test_nothing_is_an_empty_packet_and_the_end_is_none(capture):
    packet = capture.read(0.0)
    assert isinstance(packet, Packet) and not len(packet.events)
    capture.close()
    assert capture.read(1.0) is None
    capture.close()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"size": (640, 480)}, r"/dvs/events: 640 x 480 pixels, but the camera of the rig has 346 x 260: correct"),
        ({"encoding": "evt9"}, r"/dvs/events: events encoded as 'evt9'; let the driver send one of mono"),
        (
            {"topic": TOPICS.triggers, "encoding": "evt9"},
            r"/dvs/triggers: events encoded as 'evt9'; let the driver send one of mono",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_that_names_the_topic(capture, driver, what, message):
    driver.send_packet(0, event_packets.encode_events(events_at(0)), **what)
    with pytest.raises(SourceError, match=message) as caught:
        read_until(capture, lambda packets: False)
    assert "\n" not in str(caught.value)


def test_an_image_of_another_camera_is_refused(capture, driver):
    driver.send(TOPICS.guide, messages.image(Header(T0_US * 1000, "other"), np.zeros((480, 640), np.uint8)))
    with pytest.raises(SourceError, match="/dvs/image_raw: 640 x 480 pixels, but the camera of the rig has 346 x 260"):
        read_until(capture, lambda packets: False)


def test_what_waits_is_bounded_when_nobody_reads(capture, driver):
    def send(number):
        driver.send_packet(number, event_packets.encode_events(events_at(1000 * number)))

    for number in range(1500):
        send(number)
    waiting = read_until(capture, lambda packets: packets and not len(packets[-1].events))
    assert 0 < count_of(waiting, "events") <= 10_000, "a thousand packets wait"
    more = iter(range(1500, 3000))

    def newer(packets):
        send(next(more))
        return packets and packets[-1].events["timestamp"][-1:] >= T0_US + 1_500_000

    assert count_of(read_until(capture, newer), "events")
    assert capture.health.events <= 10_000 + 10 * (next(more) - 1500), "and it goes on with what is new"
