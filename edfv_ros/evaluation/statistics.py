"""What the events of a recording are like, in numbers that can be compared between recordings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numba as nb
import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import LensError, SourceError
from edfv_ros.evaluation.intervals import IntervalHistogram, TimeStamps
from edfv_ros.evaluation.metrics import SUPPORTED_EVENTS
from edfv_ros.evaluation.noise_floor import NoiseFloor
from edfv_ros.events import open_source
from edfv_ros.events.types import BAG_SUFFIX, Packet, SourceInfo, timestamps_us
from edfv_ros.lens.sweep import FocusSweep, is_pair
from edfv_ros.lens.sync import open_sweeps
from edfv_ros.optics import VergenceBins
from edfv_ros.pipeline_assembly import UNCOVERED_RATIO
from edfv_ros.recording import (
    RecordingFiles,
    check_resolution,
    find_recording,
    load_recorded_rig,
    recorded_time_range_us,
)
from edfv_ros.rig import Rig
from edfv_ros.volume.hot_pixels import hot_pixels
from edfv_ros.volume.kernels import EVENT_COUNT_MAX
from edfv_ros.volume.same import neighbourhood_events

INTERVAL_EDGES_US = np.geomspace(1.0, 1e7, 141)
RATES_HZ = np.geomspace(1e-1, 1e4, 201)
NEIGHBOURHOOD_EVENTS = np.geomspace(1e-1, 1e2, 121)

_SHORTEST = 0.001
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles of a distribution: 5 %, 25 %, 50 %, 75 % and 95 %."""

    low: float
    lower_quarter: float
    median: float
    upper_quarter: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A line to draw: ``y`` at ``x``."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SweepStatistics:
    """What the whole focus sweeps of a recording are like.

    Attributes:
        up, down: number of whole sweeps in either direction.
        events_per_px: mean events of a pixel in a sweep.
        supported: share of the pixels with at least four events of one sweep in their 2 px Gaussian neighbourhood
            (:func:`edfv_ros.volume.same.neighbourhood_events`), mean over the sweeps.
        supported_by_pair: the same with the events of an up-sweep and the down-sweep beside it together, which is what
            the estimator sees and ``supported_fraction`` of :func:`~edfv_ros.evaluation.depth_metrics` counts; NaN
            without a pair.
        on_share_up, on_share_down: share of ON events in the sweeps of either direction, NaN without one.
        by_vergence_up, by_vergence_down: events per pixel, sweep and dioptre over the vergence, dpt.
        neighbourhood: share of pixels over the events in their neighbourhood that they have at least, pairs of sweeps
            where there are any, else single sweeps.
    """

    up: int
    down: int
    events_per_px: float
    supported: float
    supported_by_pair: float
    on_share_up: float
    on_share_down: float
    by_vergence_up: Curve
    by_vergence_down: Curve
    neighbourhood: Curve


@dataclass(frozen=True, slots=True)
class RecordingStatistics:
    """What the events of a recording are like.

    Attributes:
        name: short, different for every recording that is compared.
        path: as it was given.
        camera, width_px, height_px: as the file says.
        events: how many passed the health check.
        duration_s: from the first event to the last.
        events_per_s, events_per_px_s: mean rates, of all pixels and of one.
        on_share: share of ON events.
        pixel_rate_hz: rates of the pixels.
        hot_pixels: pixels that :func:`edfv_ros.volume.hot_pixels.hot_pixels` finds in the events of all the time.
        interval_us: time between consecutive events of a pixel, microseconds.
        shortest_interval_us: the interval that 0.1 % do not exceed, where a refractory period shows.
        noise_hz: noise events per pixel and second without hot pixels, see
            :class:`~edfv_ros.evaluation.noise_floor.NoiseFloor`; an upper bound.
        quiet_share: share of the pixels' time in which noise can be told from signal.
        clock_step_us: greatest common divisor of all steps between time stamps.
        events_per_time_stamp: mean number of events that share a time stamp.
        intervals: share of the intervals per decade, over the interval in microseconds.
        pixel_rates: share of the pixels that fire at least so often, over the rate in Hz.
        sweeps: None where the recording holds no whole sweep.
        notes: what the numbers leave out, or makes them doubtful; one line each.
    """

    name: str
    path: Path
    camera: str
    width_px: int
    height_px: int
    events: int
    duration_s: float
    events_per_s: float
    events_per_px_s: float
    on_share: float
    pixel_rate_hz: Spread
    hot_pixels: int
    interval_us: Spread
    shortest_interval_us: float
    noise_hz: float
    quiet_share: float
    clock_step_us: float
    events_per_time_stamp: float
    intervals: Curve
    pixel_rates: Curve
    sweeps: SweepStatistics | None
    notes: tuple[str, ...]


def recording_statistics(
    path: Path, name: str = "", on_progress: Callable[[float], None] = lambda fraction: None
) -> RecordingStatistics:
    """Read a recording to its end, twice where it has sweeps: first to find them, then to count.

    Memory does not grow with the length of the recording, but for a few numbers per sweep.

    Args:
        path: a sweep-recording folder or an AEDAT4 file.
        name: what to call it; by default that of the folder, or of the file.
        on_progress: called with the part that is done, 0 to 1.

    Raises:
        SourceError: there is no recording, its events cannot be read, or there are fewer than two.
        RigError: its rig file is invalid or that of another camera.
    """
    files = find_recording(path)
    rig = load_recorded_rig(files.rig) if files.rig else None
    sweeps: list[FocusSweep] = []
    notes: list[str] = []
    if rig is not None:
        try:
            sweeps = _find_sweeps(files, rig, lambda fraction: on_progress(fraction / 2))
        except LensError as error:
            notes.append(f"no sweeps: {error}")
    begin = 0.5 if rig is not None else 0.0
    counts: _Counts | None = None
    with closing(open_source(str(files.events))) as source:
        info = source.info
        for packet in _packets(source.read, files.events, lambda f: on_progress(begin + (1.0 - begin) * f)):
            if not len(packet.events):
                continue
            if counts is None:
                counts = _Counts(info, rig, sweeps, int(timestamps_us(packet.events)[0]))
            counts.add(packet.events)
        notes += [f"{count:,} {problem.replace('_', ' ')}" for problem, count in source.health.problems.items()]
    if counts is None or counts.last_us == counts.first_us:
        raise SourceError(f"{path}: there are no events over some time to be counted in it: record it again")
    return counts.result(path, name or _parts(path)[-1], notes)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Name recordings by as few of the last parts of their paths as tell them apart; the same path twice by number."""
    parts = [_parts(path) for path in paths]
    names = []
    for index, own in enumerate(parts):
        others = [other for other in parts if other != own]
        length = next(
            (n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), max(len(own), 1)
        )
        earlier = parts[:index].count(own)
        names.append("/".join(own[-length:]) + (f" ({earlier + 1})" if earlier else ""))
    return names


def _parts(path: Path) -> tuple[str, ...]:
    path = path.absolute()
    return (*path.parent.parts[1:], path.stem if path.suffix in (".aedat4", BAG_SUFFIX) else path.name)


def _packets(read: Callable[[], Packet | None], events: Path, on_progress: Callable[[float], None]) -> Iterator[Packet]:
    """The packets of a source, with progress by the time of their events."""
    period_us = recorded_time_range_us(events)
    while (packet := read()) is not None:
        yield packet
        if period_us is not None and len(packet.events):
            done_us = int(timestamps_us(packet.events)[-1]) - period_us[0]
            on_progress(min(max(done_us / max(period_us[1] - period_us[0], 1), 0.0), 1.0))


def _find_sweeps(files: RecordingFiles, rig: Rig, on_progress: Callable[[float], None]) -> list[FocusSweep]:
    """The sweeps that the events cover, found as in a run."""
    search = open_sweeps(rig, files.path)
    first_us = last_us = -1
    with closing(open_source(str(files.events))) as source:
        check_resolution(rig, source.info, files.events)
        for packet in _packets(source.read, files.events, on_progress):
            search.observe(packet)
            if len(packet.events):
                times_us = timestamps_us(packet.events)
                first_us = int(times_us[0]) if first_us < 0 else first_us
                last_us = int(times_us[-1])
    search.finish()
    slack = UNCOVERED_RATIO
    return [
        sweep
        for sweep in iter(search.take, None)
        if first_us - sweep.start_us <= slack * (sweep.end_us - sweep.start_us)
        and sweep.end_us - last_us <= slack * (sweep.end_us - sweep.start_us)
    ]


class _Counts:
    """Everything that is counted of one recording."""

    def __init__(self, info: SourceInfo, rig: Rig | None, sweeps: list[FocusSweep], first_us: int) -> None:
        resolution = (info.width_px, info.height_px)
        self._info = info
        self._intervals = IntervalHistogram(resolution)
        self._noise = NoiseFloor(resolution)
        self._stamps = TimeStamps()
        self._by_pixel = np.zeros(info.width_px * info.height_px, np.int64)
        self._polarity = np.zeros(2, np.int64)
        self._sweeps = _SweepCounts(rig.bins, resolution, sweeps) if rig is not None and sweeps else None
        self.first_us = self.last_us = first_us

    def add(self, events: NDArray[np.void]) -> None:
        """Take in EVENT_DTYPE [N], ascending in time, within the resolution, N > 0."""
        words = events.view(np.int64).reshape(-1, 2)
        _count_pixels(words, self._by_pixel, self._polarity, self._info.width_px)
        self._intervals.add(events)
        self._noise.add(events)
        self._stamps.add(events)
        if self._sweeps is not None:
            self._sweeps.add(events)
        self.last_us = int(words[-1, 0])

    def result(self, path: Path, name: str, notes: list[str]) -> RecordingStatistics:
        """All that can be said."""
        info = self._info
        shape = (info.height_px, info.width_px)
        events = int(self._by_pixel.sum())
        duration_s = (self.last_us - self.first_us) * 1e-6
        by_pixel = self._by_pixel.reshape(shape)
        hot = hot_pixels(np.minimum(by_pixel, EVENT_COUNT_MAX).astype(np.uint16))
        rates_hz = self._by_pixel / duration_s
        intervals = self._intervals.shares(INTERVAL_EDGES_US)
        reached = 1.0 - np.searchsorted(np.sort(rates_hz), RATES_HZ) / len(rates_hz)
        return RecordingStatistics(
            name=name,
            path=path,
            camera=info.camera,
            width_px=info.width_px,
            height_px=info.height_px,
            events=events,
            duration_s=duration_s,
            events_per_s=events / duration_s,
            events_per_px_s=events / duration_s / len(self._by_pixel),
            on_share=self._polarity[1] / events,
            pixel_rate_hz=Spread(*np.quantile(rates_hz, _QUANTILES).tolist()),
            hot_pixels=int(np.count_nonzero(hot)),
            interval_us=Spread(*self._intervals.quantiles_us(_QUANTILES).tolist()),
            shortest_interval_us=float(self._intervals.quantiles_us(_SHORTEST)),
            noise_hz=self._noise.rate_hz(hot),
            quiet_share=float(self._noise.quiet_s()[~hot].mean()) / duration_s,
            clock_step_us=self._stamps.step_us,
            events_per_time_stamp=self._stamps.events_each,
            intervals=_per_decade(INTERVAL_EDGES_US, intervals),
            pixel_rates=Curve(tuple(RATES_HZ.tolist()), tuple(reached.tolist())),
            sweeps=self._sweeps.result() if self._sweeps is not None else None,
            notes=tuple(notes),
        )


def _per_decade(edges: NDArray[np.float64], shares: NDArray[np.float64]) -> Curve:
    centres = np.sqrt(edges[1:] * edges[:-1])
    return Curve(tuple(centres.tolist()), tuple((shares / np.diff(np.log10(edges))).tolist()))


class _SweepCounts:
    """What is counted by sweep. The sweeps are in order of time and do not overlap."""

    def __init__(self, bins: VergenceBins, resolution: tuple[int, int], sweeps: list[FocusSweep]) -> None:
        self._bins = bins
        self._shape = resolution[1], resolution[0]
        self._sweeps = sweeps
        self._edges_us = [sweep.bin_edge_times_us(bins) for sweep in sweeps]
        self._open = 0
        self._by_pixel = np.zeros(resolution[0] * resolution[1], np.uint16)
        self._by_bin = np.zeros((2, bins.count, 2), np.int64)  # down and up, bins, OFF and ON
        self._previous: NDArray[np.uint16] | None = None
        self._singles = _Neighbourhood()
        self._pairs = _Neighbourhood()

    def add(self, events: NDArray[np.void]) -> None:
        """Count the events that fall into sweeps."""
        words = events.view(np.int64).reshape(-1, 2)
        times_us = timestamps_us(events)
        while self._open < len(self._sweeps):
            edges_us = self._edges_us[self._open]
            segments = np.searchsorted(times_us, edges_us)
            is_up = self._sweeps[self._open].direction > 0
            by_segment = self._by_bin[1] if is_up else self._by_bin[0, ::-1]
            _count_segments(words, segments, self._by_pixel, by_segment, self._shape[1])
            if times_us[-1] < edges_us[-1]:
                return
            self._close()

    def result(self) -> SweepStatistics:
        """All that can be said of the sweeps."""
        if self._open < len(self._sweeps):  # the last one, which ends with the events
            self._close()
        directions = [sweep.direction for sweep in self._sweeps]
        down, up = directions.count(-1), directions.count(1)
        pixels = self._shape[0] * self._shape[1]
        by_direction = self._by_bin.sum(axis=1)
        density = [
            by_bin.sum(axis=1) / (pixels * count * self._bins.width_dpt) if count else None
            for by_bin, count in zip(self._by_bin, (down, up), strict=True)
        ]
        neighbourhood = self._pairs if self._pairs.count else self._singles
        return SweepStatistics(
            up=up,
            down=down,
            events_per_px=int(by_direction.sum()) / (pixels * len(self._sweeps)),
            supported=self._singles.supported,
            supported_by_pair=self._pairs.supported,
            on_share_up=_share(*by_direction[1]),
            on_share_down=_share(*by_direction[0]),
            by_vergence_up=self._curve(density[1]),
            by_vergence_down=self._curve(density[0]),
            neighbourhood=Curve(tuple(NEIGHBOURHOOD_EVENTS.tolist()), neighbourhood.curve),
        )

    def _close(self) -> None:
        count = self._by_pixel.reshape(self._shape).copy()
        self._by_pixel[:] = 0
        count[hot_pixels(count)] = 0  # as in the volume that the estimator gets
        self._singles.add(count)
        if self._previous is not None and is_pair(self._sweeps[self._open - 1], self._sweeps[self._open]):
            both = count.astype(np.uint32) + self._previous
            self._pairs.add(np.minimum(both, EVENT_COUNT_MAX).astype(np.uint16))
        self._previous = count
        self._open += 1

    def _curve(self, values: NDArray[np.float64] | None) -> Curve:
        return (
            Curve((), ()) if values is None else Curve(tuple(self._bins.centres_dpt.tolist()), tuple(values.tolist()))
        )


class _Neighbourhood:
    """Means of what the neighbourhoods of pixels hold, over event counts [H, W]."""

    def __init__(self) -> None:
        self.count = 0
        self._supported = 0.0
        self._reached = np.zeros(len(NEIGHBOURHOOD_EVENTS))

    def add(self, event_count: NDArray[np.uint16]) -> None:
        around = np.sort(neighbourhood_events(event_count), axis=None)
        self._reached += 1.0 - np.searchsorted(around, NEIGHBOURHOOD_EVENTS) / around.size
        self._supported += float(np.mean(around >= SUPPORTED_EVENTS))
        self.count += 1

    @property
    def supported(self) -> float:
        return self._supported / self.count if self.count else float("nan")

    @property
    def curve(self) -> tuple[float, ...]:
        return tuple((self._reached / max(self.count, 1)).tolist())


def _share(off: int, on: int) -> float:
    return int(on) / int(on + off) if on + off else float("nan")


@nb.njit(nogil=True, cache=True)
def _count_pixels(
    words: NDArray[np.int64], by_pixel: NDArray[np.int64], polarity: NDArray[np.int64], width: int
) -> None:
    for i in range(len(words)):
        word = words[i, 1]
        by_pixel[((word >> 16) & 0xFFFF) * width + (word & 0xFFFF)] += 1
        polarity[(word >> 32) & 1] += 1


@nb.njit(nogil=True, cache=True)
def _count_segments(
    words: NDArray[np.int64],
    segments: NDArray[np.int64],
    by_pixel: NDArray[np.uint16],
    by_segment: NDArray[np.int64],
    width: int,
) -> None:
    for segment in range(len(segments) - 1):
        for i in range(segments[segment], segments[segment + 1]):
            word = words[i, 1]
            pixel = ((word >> 16) & 0xFFFF) * width + (word & 0xFFFF)
            if by_pixel[pixel] < EVENT_COUNT_MAX:
                by_pixel[pixel] += np.uint16(1)
            by_segment[segment, (word >> 32) & 1] += 1
