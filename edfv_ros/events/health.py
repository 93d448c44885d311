"""What is wrong with a stream of events: counted, removed, survived."""

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edfv_ros.events.timeline import EventClock, Follower, ascending
from edfv_ros.events.types import EVENT_DTYPE, Frame, Packet, SourceInfo, TriggerType

GAP_US = 100_000
"""A silence this long is a gap: a sensor in front of a moving focus is never silent."""

MAX_US = 253_402_300_799_999_999
"""The end of the year 9999, with which calendars end: no clock gets that far."""


def possible(times_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of int64 [N] can be times of a clock at all: neither negative nor beyond MAX_US."""
    within: NDArray[np.bool_] = (times_us >= 0) & (times_us <= MAX_US)
    return within


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """Counters since the source was opened.

    Attributes:
        events: events that passed.
        triggers: triggers that passed.
        frames: frames that passed.
        imu: inertial samples that passed.
        time_reversals: items removed because their time went back.
        out_of_range: items removed because they lie outside the resolution or outside any possible time.
        misfit_frames: frames removed because they have not the resolution of the events.
        gaps: silences of GAP_US and more between events.
        non_alternating_edges: trigger edges, rising or falling, that follow one of their own kind: bounces or gaps.
        timestamp_resets: breaks of the clock; times after one are shifted so that they go on ascending.
        stale: items removed because they are older than the opening of their camera.
        lost_events: events dropped because nobody took them in time.
        lost_others: triggers, frames and inertial samples dropped because nobody took them in time.
    """

    events: int = 0
    triggers: int = 0
    frames: int = 0
    imu: int = 0
    time_reversals: int = 0
    out_of_range: int = 0
    misfit_frames: int = 0
    gaps: int = 0
    non_alternating_edges: int = 0
    timestamp_resets: int = 0
    stale: int = 0
    lost_events: int = 0
    lost_others: int = 0

    @property
    def problems(self) -> dict[str, int]:
        """The counters of what was removed, missed or lost, those that are not zero."""
        good = {"events", "triggers", "frames", "imu"}
        return {name: count for name, count in asdict(self).items() if count and name not in good}


class HealthCheck:
    """Makes the packets of one source ascend in time and lie inside its resolution, and counts what did not.

    A break of the clock (a TIMESTAMP_RESET trigger, or events that stay in the past) shifts all later times so that
    they follow the last one seen; how long the break itself took is unknown and taken as nothing.
    """

    def __init__(self, info: SourceInfo, *, opened_us: int | None = None) -> None:
        """``opened_us``: for a camera, the time before which nothing can be genuine."""
        self._size = (info.width_px, info.height_px)
        self._opened_us = opened_us
        self._counters = StreamHealth()
        self._clock = EventClock()
        self._followers = {"triggers": Follower(), "imu": Follower(), "frames": Follower()}
        self._last_edge: int | None = None
        self._edge_kinds: set[int] = set()

    @property
    def health(self) -> StreamHealth:
        return self._counters

    def __call__(self, packet: Packet) -> Packet:
        """Return what is sound of a packet; no event is copied where nothing is wrong."""
        if np.any(packet.triggers["type"] == TriggerType.TIMESTAMP_RESET):
            self._clock.expect_break()
        events = self._check_events(packet.events)
        triggers = self._check_array("triggers", packet.triggers)
        imu = self._check_array("imu", packet.imu)
        frames = self._check_frames(packet.frames)
        self._check_edges(triggers["type"].tolist())
        self._count(
            events=len(events), triggers=len(triggers), imu=len(imu), frames=len(frames), lost_events=packet.lost_events
        )
        return Packet(events, triggers, imu, frames, packet.lost_events)

    def lose(self, packet: Packet) -> None:
        """Count what had passed but could not be handed on."""
        events, triggers, frames, imu = (
            len(part) for part in (packet.events, packet.triggers, packet.frames, packet.imu)
        )
        self._count(events=-events, triggers=-triggers, frames=-frames, imu=-imu)
        self._count(lost_events=events, lost_others=triggers + frames + imu)

    def _check_events(self, events: NDArray[np.void]) -> NDArray[np.void]:
        raw = events.view(np.int64).reshape(-1, 2)  # time; x, y, polarity
        raw = raw[self._fresh(raw[:, 0])]
        if self._clock.shift_us:
            raw = raw + np.array([self._clock.shift_us, 0])
        if not self._is_sound(raw):
            raw = self._sound_part(raw)
        if not len(raw):
            return np.empty(0, EVENT_DTYPE)
        # A packet shorter than a gap has none within, so the fast path looks at its ends only.
        since_us = int(raw[0, 0]) if self._clock.last_us is None else self._clock.last_us
        if int(raw[-1, 0]) - since_us >= GAP_US:
            steps_us = np.diff(raw[:, 0], prepend=since_us)
            self._count(gaps=int(np.count_nonzero(steps_us >= GAP_US)))
        self._clock.advance(int(raw[-1, 0]))
        return raw.view(EVENT_DTYPE).reshape(-1)

    def _is_sound(self, raw: NDArray[np.int64]) -> bool:
        if not len(raw):
            return True
        x, y = _coordinates(raw)
        inside = int(x.max()) < self._size[0] and int(y.max()) < self._size[1]
        times_us = raw[:, 0]
        follows = self._clock.last_us is None or int(times_us[0]) >= self._clock.last_us
        within = int(times_us[0]) >= 0 and int(times_us[-1]) <= MAX_US
        return inside and follows and within and bool(np.all(times_us[1:] >= times_us[:-1]))

    def _sound_part(self, raw: NDArray[np.int64]) -> NDArray[np.int64]:
        x, y = _coordinates(raw)
        inside = raw[(x < self._size[0]) & (y < self._size[1]) & possible(raw[:, 0])]
        self._count(out_of_range=len(raw) - len(inside))
        if not len(inside):
            return inside
        times_us, breaks = self._clock.mend(inside[:, 0])
        sound = np.column_stack([times_us, inside[:, 1]])[ascending(times_us, self._clock.last_us)]
        self._count(time_reversals=len(inside) - len(sound), timestamp_resets=breaks)
        return sound

    def _check_array(self, kind: str, items: NDArray[np.void]) -> NDArray[np.void]:
        if not len(items):
            return items
        items = items[self._fresh(items["timestamp"])]
        within = items[possible(items["timestamp"])]
        self._count(out_of_range=len(items) - len(within))
        if not len(within):
            return within
        items = within
        times_us, sound = self._followers[kind].follow(items["timestamp"], self._clock)
        self._count(time_reversals=len(items) - int(np.count_nonzero(sound)))
        mended = items.copy()
        mended["timestamp"] = times_us
        return mended[sound]

    def _check_frames(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        fitting = [frame for frame in frames if frame.image.shape[::-1] == self._size]
        self._count(misfit_frames=len(frames) - len(fitting))
        stamps = np.array([(frame.timestamp_us, index) for index, frame in enumerate(fitting)], _STAMP_DTYPE)
        sound = self._check_array("frames", stamps).tolist()
        return tuple(replace(fitting[index], timestamp_us=time_us) for time_us, index in sound)

    def _fresh(self, times_us: NDArray[np.int64]) -> "slice | NDArray[np.bool_]":
        if self._opened_us is None or not len(times_us) or times_us.min() >= self._opened_us:
            return slice(None)
        fresh: NDArray[np.bool_] = times_us >= self._opened_us
        self._count(stale=len(times_us) - int(np.count_nonzero(fresh)))
        return fresh

    def _check_edges(self, kinds: list[int]) -> None:
        repeated = 0
        for kind in kinds:
            if kind in (TriggerType.RISING_EDGE, TriggerType.FALLING_EDGE):
                # Until both kinds were seen, the camera may well report only one.
                repeated += kind == self._last_edge and len(self._edge_kinds) == 2
                self._last_edge = kind
                self._edge_kinds.add(kind)
        self._count(non_alternating_edges=repeated)

    def _count(self, **counts: int) -> None:
        changed = {name: getattr(self._counters, name) + count for name, count in counts.items() if count}
        if changed:
            self._counters = replace(self._counters, **changed)


_STAMP_DTYPE = np.dtype([("timestamp", "<i8"), ("index", "<i8")])


def _coordinates(raw: NDArray[np.int64]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """x and y as unsigned numbers: a negative coordinate becomes a large one."""
    halves = raw.view(np.uint16).reshape(-1, 8)
    return halves[:, 4], halves[:, 5]
