"""Where events come from and where they are kept: cameras, files, network streams, the capture process."""

from edfv_ros.events.aedat4 import time_range_us
from edfv_ros.events.aedat4_writer import Aedat4Writer
from edfv_ros.events.capture import Capture
from edfv_ros.events.health import StreamHealth
from edfv_ros.events.network_sender import NetworkSender
from edfv_ros.events.opening import CheckedSource, open_source
from edfv_ros.events.recovery import recover
from edfv_ros.events.source import EventSource
from edfv_ros.events.types import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Frame, Packet, SourceInfo, TriggerType

__all__ = [
    "EVENT_DTYPE",
    "IMU_DTYPE",
    "TRIGGER_DTYPE",
    "Aedat4Writer",
    "Capture",
    "CheckedSource",
    "EventSource",
    "Frame",
    "NetworkSender",
    "Packet",
    "SourceInfo",
    "StreamHealth",
    "TriggerType",
    "open_source",
    "recover",
    "time_range_us",
]
