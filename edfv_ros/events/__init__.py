"""Where events come from and where they are kept: cameras, files, network streams, the capture process."""

from edfv_ros.events.aedat4_writer import Aedat4Writer
from edfv_ros.events.network_sender import NetworkSender
from edfv_ros.events.source import EventSource
from edfv_ros.events.types import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Frame, Packet, SourceInfo, TriggerType

__all__ = [
    "EVENT_DTYPE",
    "IMU_DTYPE",
    "TRIGGER_DTYPE",
    "Aedat4Writer",
    "EventSource",
    "Frame",
    "NetworkSender",
    "Packet",
    "SourceInfo",
    "TriggerType",
]
