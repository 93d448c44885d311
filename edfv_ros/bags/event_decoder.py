"""Event packets of one camera, in whatever encoding its driver sends, to events and triggers."""

import importlib
import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edfv_ros.bags.event_packets import LIBCAER, MONO, TRIGGER, decode_events, decode_triggers
from edfv_ros.bags.messages import EventPacket
from edfv_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, Packet, TriggerType

EVT3: Final = "evt3"
LIBCAER_COMPRESSED: Final = "libcaer_cmp"

DECODED_ELSEWHERE: Final = (EVT3, LIBCAER_COMPRESSED)
"""Encodings that are left to the ROS package event_camera_py."""


class EventDecoder:
    """Decodes the packets of one camera in their order.

    ``mono``, ``libcaer`` and ``trigger`` are decoded here, ``evt3`` and ``libcaer_cmp`` by event_camera_py. Times are
    sensor time: that of ``mono``, ``trigger`` and both of libcaer counts from the packet's ``time_base``, that of
    ``evt3`` from when its camera was started, give or take multiples of 16.8 s.
    """

    def __init__(self) -> None:
        self._decoder: Any = None
        self._last_us = 0

    def decode(self, packet: EventPacket) -> Packet:
        """Return the packet's events and triggers, in sensor time.

        Raises:
            ValueError: half an event, an encoding that is not known, or that needs a package which is not there.
        """
        if packet.encoding == TRIGGER:
            return Packet(triggers=decode_triggers(packet.time_base_ns, packet.data))
        if packet.encoding in DECODED_ELSEWHERE:
            return self._decode_elsewhere(packet)
        if packet.encoding not in (MONO, LIBCAER):
            known = ", ".join((MONO, LIBCAER, TRIGGER, *DECODED_ELSEWHERE))
            raise ValueError(f"events encoded as {packet.encoding!r}; let the driver send one of {known}")
        return Packet(decode_events(packet.encoding, packet.time_base_ns, packet.data))

    def _decode_elsewhere(self, packet: EventPacket) -> Packet:
        if self._decoder is None:
            self._decoder = _load_decoder(packet.encoding)
        size_px = packet.width_px, packet.height_px
        try:
            self._decoder.decode_bytes(packet.encoding, *size_px, packet.time_base_ns, packet.data.tobytes())
        except RuntimeError as error:
            raise ValueError(f"events encoded as {packet.encoding}: damaged: {error}") from None
        found, edges = self._decoder.get_cd_events(), self._decoder.get_ext_trig_events()
        raw = np.empty((len(found), 2), np.int64)
        if packet.encoding == LIBCAER_COMPRESSED:
            # The first event is at time_base. event_camera_py may take nanoseconds of that for microseconds.
            raw[:, 0] = packet.time_base_ns // 1000 + _since(found["t"], found["t"][:1])
        else:
            raw[:, 0] = self._last_us + _since(found["t"], self._last_us)
        raw[:, 1] = found["x"].astype(np.int64) | (found["y"].astype(np.int64) << 16)
        raw[:, 1] |= (found["p"].astype(np.int64) & 1) << 32
        triggers = np.empty(len(edges), TRIGGER_DTYPE)
        triggers["timestamp"] = self._last_us + _since(edges["t"], self._last_us)
        triggers["type"] = np.where(edges["p"] > 0, TriggerType.RISING_EDGE, TriggerType.FALLING_EDGE)
        if len(raw):
            self._last_us = int(raw[-1, 0])
        return Packet(raw.view(EVENT_DTYPE).reshape(-1), triggers)


def _load_decoder(encoding: str) -> Any:
    try:
        return importlib.import_module("event_camera_py").Decoder()
    except ImportError:
        distribution = os.environ.get("ROS_DISTRO", "jazzy")
        raise ValueError(
            f"events encoded as {encoding!r} need event_camera_py: sudo apt install "
            f"ros-{distribution}-event-camera-py, or let the driver send {LIBCAER} or {MONO} (parameter encoding)"
        ) from None


def _since(times_us: NDArray[Any], from_us: NDArray[Any] | int) -> NDArray[np.int64]:
    """Time from ``from_us`` to times of which only the lowest 32 bits may be left, int64 [N]; wraps as they did."""
    return (times_us.astype(np.int64) - from_us).astype(np.int32).astype(np.int64)
