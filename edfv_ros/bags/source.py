"""A bag as a source of events."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mcap.records import Message

from edfv_ros.bags import event_packets, messages
from edfv_ros.bags.definitions import EVENT_PACKET, IMAGE, IMU, TIME_REFERENCE
from edfv_ros.bags.layout import METADATA_NAME
from edfv_ros.bags.records import BagFile, BagSummary, BagTopic
from edfv_ros.errors import SourceError
from edfv_ros.events.pace import Pace
from edfv_ros.events.types import Frame, Packet, SourceInfo

_FRAME_NAMES: Final = ("frame", "image_raw")
_EXPOSURE_SUFFIX: Final = "/exposure"


class BagSource:
    """Events, triggers, frames and inertial samples of a bag, one message a packet, in the order of the file.

    Bags of :class:`edfv_ros.bags.writer.BagWriter` give exactly what went into them. Others need one topic of
    event_camera_msgs/EventPacket with events encoded as ``mono`` or ``libcaer``; triggers, inertial samples and mono8
    frames (``frame`` or ``image_raw``) are used where they are there.
    """

    def __init__(self, path: str | Path, *, real_time: bool = False) -> None:
        """Open a bag; ``real_time`` replays at the recorded pace.

        Raises:
            SourceError: no such file, no MCAP file, damaged, without events, or with those of several cameras.
        """
        self._path = Path(path)
        self._bag = BagFile(self._path)
        self._exposures_us: dict[int, int] = {}
        self._next_sequence: int | None = None
        self._pace = Pace() if real_time else None
        try:
            topics = _topics_of_one_camera(self._path, self._bag.summary())
            self._info = self._describe(topics)
        except SourceError:
            self._bag.close()
            raise
        self._messages = self._bag.messages(topics.__contains__)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Packet | None:
        """Return the next packet, None at the end.

        Raises:
            SourceError: the bag is damaged here, or its events are encoded in another way.
        """
        for topic, message in self._messages:
            packet = self._decoded(topic, message)
            if packet is not None:
                if self._pace is not None:
                    self._pace.wait_until(message.log_time // 1000)
                return packet
        return None

    def close(self) -> None:
        self._bag.close()

    def _describe(self, topics: set[BagTopic]) -> SourceInfo:
        """What the camera was: from the bag's own record, or from its first packet of events."""
        noted = self._bag.summary().metadata.get(METADATA_NAME, {})
        try:
            size_px = int(noted["width_px"]), int(noted["height_px"])
            return SourceInfo(noted["camera"], *size_px, tuple(noted["streams"].split(",")), live=False)
        except (KeyError, ValueError):  # somebody else's bag
            pass
        kinds = {EVENT_PACKET: "events", IMAGE: "frames", IMU: "imu"}
        for topic, message in self._bag.messages(lambda topic: topic in topics and topic.type == EVENT_PACKET):
            with _naming(self._path, topic):
                packet = messages.read_event_packet(message.data)
            if packet.encoding != event_packets.TRIGGER:
                streams = dict.fromkeys(kinds[topic.type] for topic in topics if topic.type in kinds)
                # Triggers look like events until they are read.
                return SourceInfo(topic.name, packet.width_px, packet.height_px, (*streams, "triggers"), live=False)
        raise SourceError(f"{self._path}: there are no events in this bag, only triggers; record the events, too")

    def _decoded(self, topic: BagTopic, message: Message) -> Packet | None:
        with _naming(self._path, topic):
            if topic.type == EVENT_PACKET:
                return self._decoded_events(message.data)
            if topic.type == IMU:
                return Packet(imu=messages.read_imu(message.data))
            if topic.type == TIME_REFERENCE:
                header, end_ns = messages.read_time_reference(message.data)
                self._exposures_us[header.stamp_ns] = (end_ns - header.stamp_ns) // 1000
                return None
            image = messages.read_mono_image(message.data)
        if image is None:
            return None
        header, pixels = image
        exposure_us = self._exposures_us.pop(header.stamp_ns, 0)
        return Packet(frames=(Frame(header.stamp_ns // 1000, exposure_us, pixels),))

    def _decoded_events(self, data: bytes) -> Packet:
        packet = messages.read_event_packet(data)
        if packet.encoding == event_packets.TRIGGER:
            return Packet(triggers=event_packets.decode_triggers(packet.time_base_ns, packet.data))
        events = event_packets.decode_events(packet.encoding, packet.time_base_ns, packet.data)
        expected, self._next_sequence = self._next_sequence, packet.sequence + 1
        return Packet(events, lost_events=max(0, packet.sequence - expected) if expected is not None else 0)


def _topics_of_one_camera(path: Path, summary: BagSummary) -> set[BagTopic]:
    """The topics to read: packets of events, and what lies beside them in their namespace."""
    of_events = {topic for topic in summary.counts if topic.type == EVENT_PACKET}
    if not of_events:
        raise SourceError(
            f"{path}: there are no events in this bag (a topic of {EVENT_PACKET}), only "
            f"{', '.join(sorted(topic.name for topic in summary.counts)) or 'nothing'}; record the events, too"
        )
    namespaces = {topic.name.rpartition("/")[0] for topic in of_events}
    if len(namespaces) > 1:
        raise SourceError(
            f"{path}: events of several cameras: {', '.join(sorted(topic.name for topic in of_events))}; make a bag of "
            "one of them with ros2 bag convert"
        )
    namespace = namespaces.pop()
    frame = next((name for name in _FRAME_NAMES if BagTopic(f"{namespace}/{name}", IMAGE) in summary.counts), "")
    beside = {
        BagTopic(f"{namespace}/{frame}", IMAGE),
        BagTopic(f"{namespace}/{frame}{_EXPOSURE_SUFFIX}", TIME_REFERENCE),
        BagTopic(f"{namespace}/imu", IMU),
    }
    return of_events | (beside & set(summary.counts))


@contextmanager
def _naming(path: Path, topic: BagTopic) -> Iterator[None]:
    """Say in which topic of which bag something could not be understood."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise SourceError(f"{path}: topic {topic.name}: {error}") from None
