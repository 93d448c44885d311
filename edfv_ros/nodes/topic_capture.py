"""Events, triggers, guide images and the focus from ROS topics: a capture for the pipeline."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import rclpy
from event_camera_msgs.msg import EventPacket as EventPacketMessage
from rclpy.context import Context
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState

from edfv_ros.bags.event_decoder import EventDecoder
from edfv_ros.bags.messages import read_event_packet, read_focus_state
from edfv_ros.errors import SourceError
from edfv_ros.events.health import HealthCheck, StreamHealth
from edfv_ros.events.packing import joined
from edfv_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, Frame, Packet, SourceInfo
from edfv_ros.lens.reports import FocusReports
from edfv_ros.nodes.arrival_clock import ArrivalClock
from edfv_ros.nodes.guide_images import guide_frame
from edfv_ros.nodes.input_topics import InputTopics
from edfv_ros.rig import Camera

_CAPACITY_EVENTS = 8 << 20
_DEPTH = 1000
_GUIDE_DEPTH = 5
_MAX_AT_ONCE = 64
_POLL_S = 0.002

T = TypeVar("T")


class TopicCapture:
    """What :class:`edfv_ros.events.Capture` is for cameras, for the topics of another driver.

    The subscriptions hold what has come, a second of events at the usual thousand packets a second, and drop the oldest
    when nobody reads; gaps in the packets' numbers tell how many. So nothing grows, and no thread or process of its own
    is needed: :meth:`read` takes what is there, and looks again every 2 ms. One thread at a time may use it.

    Args:
        topics: their names.
        camera: whose events they are; packets of another size are refused.
        reports: gets what is told of the focus, where there is a topic for it.
        context: of ROS; the default one where it is None.
    """

    def __init__(
        self, topics: InputTopics, camera: Camera, reports: FocusReports, *, context: Context | None = None
    ) -> None:
        self._camera = camera
        self._reports = reports
        self._decoder = EventDecoder()
        self._clock = ArrivalClock(topics.events)
        streams = ["events", "triggers"] + ["frames"] * bool(topics.guide)
        self._info = SourceInfo(topics.events, *camera.resolution, tuple(streams), live=True)
        self._check = HealthCheck(self._info)
        self._waiting: deque[Packet] = deque()
        self._is_open = True
        self._node = rclpy.create_node(
            topics.node,
            namespace=topics.namespace,
            context=context,
            use_global_arguments=False,  # the names are remapped already, and this node has its own
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._events = [
            _Input(self._node, EventPacketMessage, name, _DEPTH) for name in (topics.events, topics.triggers) if name
        ]
        self._lens = _Input(self._node, JointState, topics.lens, _DEPTH) if topics.lens else None
        self._guide = _Input(self._node, Image, topics.guide, _GUIDE_DEPTH) if topics.guide else None

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def health(self) -> StreamHealth:
        """Counters as of the newest packet."""
        return self._check.health

    @property
    def capacity_events(self) -> int:
        """Events that may wait for a sweep before the oldest are to be given up."""
        return _CAPACITY_EVENTS

    def read(self, timeout_s: float) -> Packet | None:
        """Return what has come, an empty packet after ``timeout_s`` without anything, None when it is closed.

        Raises:
            SourceError: a message cannot be used; the error names its topic.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._is_open:
            packet = self._take()
            if len(packet.events) or len(packet.triggers) or packet.frames or time.monotonic() >= deadline_s:
                return packet
            time.sleep(_POLL_S)
        return None

    def release(self, count: int) -> None:
        """Nothing has to be given back: events lie in arrays of their own, which go with the last view."""

    def close(self) -> None:
        """Unsubscribe; closing twice is fine."""
        if self._is_open:
            self._is_open = False
            self._node.destroy_node()

    def __enter__(self) -> "TopicCapture":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> Packet:
        """What has come, up to a loss: only then it is known which events it lies before."""
        if not self._waiting:
            for source in self._events:  # first: of what was sent before them, more is there then
                self._waiting.extend(source.take(_MAX_AT_ONCE, self._read_events))
        frames: list[Frame] = []
        if self._guide is not None:
            frames = self._guide.take(_GUIDE_DEPTH, self._read_frame)
        if self._lens is not None:
            self._lens.take(_DEPTH, self._read_focus)
        parts: list[Packet] = []
        while self._waiting and not (parts and self._waiting[0].lost_events):
            parts.append(self._waiting.popleft())
        return self._check(
            Packet(
                joined([part.events for part in parts], EVENT_DTYPE),
                joined([part.triggers for part in parts], TRIGGER_DTYPE),
                frames=tuple(frames),
                lost_events=parts[0].lost_events if parts else 0,
            )
        )

    def _read_events(self, data: bytes, source: "_Input") -> Packet:
        packet = read_event_packet(data)
        self._check_size(packet.width_px, packet.height_px)
        part = self._clock.align(self._decoder.decode(packet), packet.header.stamp_ns // 1000)
        # About as many events as this message has were in each that is missing.
        return replace(part, lost_events=source.missed(packet.sequence) * max(1, len(part.events)))

    def _read_frame(self, data: bytes, source: "_Input") -> Frame:
        frame = guide_frame(data)
        height_px, width_px = frame.image.shape
        self._check_size(width_px, height_px)
        return frame

    def _read_focus(self, data: bytes, source: "_Input") -> None:
        state = read_focus_state(data)
        if state is not None:  # else it is about other joints
            header, vergence_dpt = state
            self._reports.add(header.stamp_ns // 1000, vergence_dpt)

    def _check_size(self, width_px: int, height_px: int) -> None:
        if (width_px, height_px) != self._camera.resolution:
            raise ValueError(
                f"{width_px} x {height_px} pixels, but the camera of the rig has {self._camera.width_px} x "
                f"{self._camera.height_px}: correct camera.width_px and camera.height_px of the rig file, or subscribe "
                "to the camera that the rig file describes"
            )


class _Input:
    """A subscription whose messages are taken as they came, serialised, when they are wanted."""

    def __init__(self, node: Any, kind: type, name: str, depth: int) -> None:
        self._name = name
        self._next_sequence: int | None = None
        profile = QoSProfile(
            reliability=ReliabilityPolicy.BEST_EFFORT,  # matches every publisher
            history=HistoryPolicy.KEEP_LAST,
            depth=depth,
        )
        self._subscription = node.create_subscription(kind, name, _not_called, profile, raw=True)

    def take(self, count: int, read: Callable[[bytes, "_Input"], T]) -> list[T]:
        """Read at most ``count`` messages that have come.

        Raises:
            SourceError: one of them cannot be used.
        """
        found: list[T] = []
        handle = self._subscription.handle
        with handle:
            while (
                len(found) < count and (message := handle.take_message(self._subscription.msg_type, True)) is not None
            ):
                try:
                    found.append(read(message[0], self))
                except (ValueError, OverflowError) as error:
                    raise SourceError(f"{self._name}: {error}") from None
        return found

    def missed(self, sequence: int) -> int:
        """How many messages are missing before this one; a publisher that begins anew has lost none."""
        expected, self._next_sequence = self._next_sequence, sequence + 1
        return max(0, sequence - expected) if expected is not None else 0


def _not_called(data: bytes) -> None:
    """The callback of a subscription that no executor looks at."""
