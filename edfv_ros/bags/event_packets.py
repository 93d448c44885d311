"""Events and triggers as event_camera_msgs/EventPacket carries them.

Layouts from the documentation and headers of event_camera_codecs (ros-event-camera on GitHub). ``mono`` is eight bytes
an event: nanoseconds since ``time_base`` in bits 0 to 31, x in 32 to 47, y in 48 to 62, polarity in 63. ``trigger``
puts the number of the input where ``mono`` has y, and the edge, 1 rising, where it has the polarity. ``libcaer`` is
two words of 32 bits: polarity in bit 1, y in 2 to 16, x in 17 to 31; and microseconds since ``time_base``.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, TriggerType, timestamps_us

MONO: Final = "mono"
LIBCAER: Final = "libcaer"
TRIGGER: Final = "trigger"

MAX_PACKET_US: Final = (2**32 - 1) // 1000
"""Longest time between the first and the last event of a ``mono`` packet."""

_LOW: Final = np.uint64(0xFFFFFFFF)
_OTHER_KINDS: Final = 64  # what is no edge: input 64 + its kind, far from any real input
_ROLL_OVER_NS: Final = 1000 << 31


def split_by_time(items: NDArray[np.void]) -> Iterator[NDArray[np.void]]:
    """Yield views of ascending EVENT_DTYPE or TRIGGER_DTYPE [N], none longer than MAX_PACKET_US."""
    while len(items):
        times_us = items["timestamp"]
        cut = len(items)
        if int(times_us[-1]) - int(times_us[0]) > MAX_PACKET_US:
            cut = int(np.searchsorted(times_us, int(times_us[0]) + MAX_PACKET_US, side="right"))
        yield items[:cut]
        items = items[cut:]


def encode_events(events: NDArray[np.void]) -> tuple[int, NDArray[np.uint64]]:
    """Encode EVENT_DTYPE [N], N > 0, ascending, of at most MAX_PACKET_US, as ``mono``.

    Returns:
        time_base in nanoseconds, and uint64 [N].
    """
    words = np.ascontiguousarray(events).view(np.uint64).reshape(-1, 2)[:, 1]
    times_us = timestamps_us(events)
    since_ns = ((times_us - times_us[0]) * 1000).astype(np.uint64)
    polarity = (words >> np.uint64(32)) & np.uint64(1)
    return int(times_us[0]) * 1000, since_ns | ((words & _LOW) << np.uint64(32)) | (polarity << np.uint64(63))


def decode_events(encoding: str, time_base_ns: int, data: NDArray[np.uint8]) -> NDArray[np.void]:
    """Decode uint8 [8 N] as EVENT_DTYPE [N].

    Raises:
        ValueError: an encoding that is neither ``mono`` nor ``libcaer``, or half an event.
    """
    if len(data) % 8:
        raise ValueError("half an event at the end of a packet")
    raw = np.empty((len(data) // 8, 2), np.int64)
    if encoding == MONO:
        words = data.view("<u8")
        raw[:, 0] = (time_base_ns + (words & _LOW).astype(np.int64)) // 1000
        address = (words >> np.uint64(32)) & np.uint64(0x7FFFFFFF)
        raw[:, 1] = (address | ((words >> np.uint64(63)) << np.uint64(32))).view(np.int64)
    elif encoding == LIBCAER:
        halves = data.view("<u4").reshape(-1, 2)
        fields = halves[:, 0].astype(np.int64)
        since_us = data.view("<i4").reshape(-1, 2)[:, 1].astype(np.int64)
        rolled = np.cumsum(np.diff(since_us, prepend=since_us[:1]) < 0)
        raw[:, 0] = (time_base_ns + rolled * _ROLL_OVER_NS) // 1000 + since_us
        raw[:, 1] = ((fields >> 17) & 0x7FFF) | (((fields >> 2) & 0x7FFF) << 16) | (((fields >> 1) & 1) << 32)
    else:
        raise ValueError(f"events encoded as {encoding!r}, not as {MONO} or {LIBCAER}")
    return raw.view(EVENT_DTYPE).reshape(-1)


def encode_triggers(triggers: NDArray[np.void]) -> tuple[int, NDArray[np.uint64]]:
    """Encode TRIGGER_DTYPE [N], N > 0, ascending, of at most MAX_PACKET_US, as ``trigger``.

    Edges are those of input 0. Other kinds of AEDAT4 triggers, which are no edges, get inputs from 64 on.

    Returns:
        time_base in nanoseconds, and uint64 [N].
    """
    times_us, kinds = triggers["timestamp"], triggers["type"].astype(np.int64)
    is_edge = (kinds == TriggerType.RISING_EDGE) | (kinds == TriggerType.FALLING_EDGE)
    inputs = np.where(is_edge, 0, kinds + _OTHER_KINDS).astype(np.uint64)
    rising = (kinds == TriggerType.RISING_EDGE).astype(np.uint64)
    since_ns = ((times_us - times_us[0]) * 1000).astype(np.uint64)
    return int(times_us[0]) * 1000, since_ns | (inputs << np.uint64(48)) | (rising << np.uint64(63))


def decode_triggers(time_base_ns: int, data: NDArray[np.uint8]) -> NDArray[np.void]:
    """Decode uint8 [8 N] as TRIGGER_DTYPE [N]; the edges of every input are taken for those of one.

    Raises:
        ValueError: half a trigger.
    """
    if len(data) % 8:
        raise ValueError("half a trigger at the end of a packet")
    words = data.view("<u8")
    inputs = ((words >> np.uint64(48)) & np.uint64(0x7FFF)).astype(np.int64)
    edges = np.where(words >> np.uint64(63), TriggerType.RISING_EDGE, TriggerType.FALLING_EDGE)
    triggers = np.empty(len(words), TRIGGER_DTYPE)
    triggers["timestamp"] = (time_base_ns + (words & _LOW).astype(np.int64)) // 1000
    triggers["type"] = np.where(inputs < _OTHER_KINDS, edges, inputs - _OTHER_KINDS)
    return triggers
