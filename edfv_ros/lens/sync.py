"""Where sweeps come from: a recorded track, trigger edges, or the lens's telemetry."""

from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from edfv_ros.bags.contents import read_lens_track
from edfv_ros.errors import LensError
from edfv_ros.events.types import BAG_SUFFIX, EVENTS_NAME, Packet
from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.telemetry import TelemetrySweeps
from edfv_ros.lens.track import CSV_HEADER, LENS_NAME, LensTrack
from edfv_ros.lens.triggers import TriggerSweeps
from edfv_ros.rig import Rig

__all__ = ["SweepSource", "TelemetrySweeps", "TrackSweeps", "TriggerSweeps", "open_sweeps"]

Sync = Literal["trigger", "telemetry", "file"]

_NEVER_US = 2**63 - 1


class SweepSource(Protocol):
    """What the pipeline asks for sweeps: show it every packet, then take what it has."""

    @property
    def discard_before_us(self) -> int:
        """Events before this time belong to no sweep to come; never goes back."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """What went wrong so far, by name; those that are not zero."""
        ...

    @property
    def timing(self) -> dict[str, float]:
        """How the focus is bound to time at present, by name with the unit at its end; what is known of it."""
        ...

    def observe(self, packet: Packet) -> None:
        """Learn the packet's triggers and how far its events have got; raises LensError where all hope is lost."""
        ...

    def take(self) -> FocusSweep | None:
        """The next sweep, in order of time, whose track is certain; its events may still be to come.

        Its ``number`` counts the sweeps that were not given out, too, so far as they are known.
        """
        ...

    def finish(self) -> None:
        """The source ended: raises LensError where it held no sweep at all, and says why."""
        ...


class TrackSweeps:
    """Sweeps from a lens track known beforehand.

    Attributes:
        track: what was given.
        counters: ``partial_sweeps`` and ``fly_backs`` in the track, ``sweeps_without_events``,
            ``ms_of_events_without_track`` (only where it is long enough for a sweep).
        timing: nothing; the track is taken as it is.

    Raises:
        LensError: there is no complete sweep in the track.
    """

    def __init__(self, track: LensTrack, rig: Rig, name: str = "lens track") -> None:
        search = track.search(rig.bins)
        if not search.sweeps:
            low_dpt, high_dpt = track.vergence_dpt.min(), track.vergence_dpt.max()
            raise LensError(
                f"{name}: no complete focus sweep: the track spans {low_dpt:.3g} to {high_dpt:.3g} dpt, the rig's "
                f"sweep {rig.bins.min_dpt:.3g} to {rig.bins.max_dpt:.3g} dpt"
            )
        self.track = track
        self.timing: dict[str, float] = {}
        self._name = name
        self._coming = deque(replace(sweep, number=number) for number, sweep in enumerate(search.sweeps))
        self._track_us = track.start_us, track.end_us
        self._span_us = search.sweeps[0].start_us, search.sweeps[-1].end_us
        self._shortest_us = min(sweep.end_us - sweep.start_us for sweep in search.sweeps)
        self._events_us: tuple[int, int] | None = None
        self._counts = Counter({"partial_sweeps": search.partial, "fly_backs": search.fly_backs})

    @property
    def counters(self) -> dict[str, int]:
        return {name: count for name, count in dict(self._counts).items() if count}

    @property
    def discard_before_us(self) -> int:
        """Events before this time belong to no sweep to come."""
        return self._coming[0].start_us if self._coming else _NEVER_US

    def observe(self, packet: Packet) -> None:
        """Learn how far the packet's events have got.

        Raises:
            LensError: the events begin after the track's last sweep.
        """
        if not len(packet.events):
            return
        first_us = int(packet.events["timestamp"][0]) if self._events_us is None else self._events_us[0]
        self._events_us = first_us, int(packet.events["timestamp"][-1])
        while self._coming and self._coming[0].end_us <= first_us:
            self._coming.popleft()
            self._counts["sweeps_without_events"] += 1
        if first_us >= self._span_us[1]:
            raise self._apart()

    def take(self) -> FocusSweep | None:
        """The next sweep, as soon as there are events at all."""
        return self._coming.popleft() if self._coming and self._events_us is not None else None

    def finish(self) -> None:
        """The source ended.

        Raises:
            LensError: its events ended before the track's first sweep.
        """
        if self._events_us is None:
            return
        if self._events_us[1] < self._span_us[0]:
            raise self._apart()
        while self._coming and self._coming[-1].start_us > self._events_us[1]:
            self._coming.pop()
            self._counts["sweeps_without_events"] += 1
        for untracked_us in (self._track_us[0] - self._events_us[0], self._events_us[1] - self._track_us[1]):
            if untracked_us > self._shortest_us:
                self._counts["ms_of_events_without_track"] += round(untracked_us / 1000)

    def _apart(self) -> LensError:
        assert self._events_us is not None
        events, sweeps = (f"{start / 1e6:.3f} to {end / 1e6:.3f} s" for start, end in (self._events_us, self._span_us))
        return LensError(
            f"{self._name}: does not cover the events: events from {events}, sweeps from {sweeps}; "
            "both must be on the camera's clock (unix microseconds)"
        )


def open_sweeps(
    rig: Rig, recording: Path | None = None, driver: LensDriver | None = None, *, sync: Sync | None = None
) -> SweepSource:
    """Find out where the sweeps of a source come from.

    Args:
        rig: its ``sweep.sync`` decides where nothing else does.
        recording: a sweep-recording folder, an AEDAT4 file or a bag, where events come from one. A ``lens.csv`` in the
            folder (or beside ``recording.aedat4``), or the focus in the bag, is used whatever the rig says.
        driver: the open lens, where there is one.
        sync: use this in place of the rig's ``sweep.sync`` and of a ``lens.csv`` that happens to be there.

    Raises:
        LensError: what is needed is not there; the message says how to provide it.
    """
    if sync is None and recording is not None and recording.suffix == BAG_SUFFIX:
        track = read_lens_track(recording)
        if track is not None:
            return TrackSweeps(track, rig, str(recording))
    track_path = _track_path(recording)
    if sync is None and track_path is not None and track_path.exists():
        sync = "file"
    sync = sync or rig.sweep.sync
    if sync == "trigger":
        return TriggerSweeps(rig)
    if sync == "telemetry":
        if driver is None:
            raise LensError(
                f"{recording or 'this source'}: sweep.sync = telemetry needs the lens itself to report its focus: "
                f"use a live source with lens.port (or the parameter lens_topic) set, or put the recorded focus beside "
                f"the events as {LENS_NAME}"
            )
        return TelemetrySweeps(rig, driver)
    if track_path is None or not track_path.exists():
        raise LensError(
            f"{track_path or LENS_NAME}: no such lens track: a {LENS_NAME} tells the focus over time (header "
            f"{CSV_HEADER}, unix microseconds on the camera's clock, linear between rows); put it beside "
            "recording.aedat4, or set sweep.sync: trigger in the rig file if an edge marks each turning point"
        )
    return TrackSweeps(LensTrack.from_csv(track_path), rig, str(track_path))


def _track_path(recording: Path | None) -> Path | None:
    """Where the lens.csv of a recording would lie; None for a bag, or an events file without a folder of its own."""
    if recording is None or recording.suffix == BAG_SUFFIX:
        return None
    if recording.is_dir():
        return recording / LENS_NAME
    return recording.with_name(LENS_NAME) if recording.name == EVENTS_NAME else None
