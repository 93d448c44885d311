"""What the pipeline gives: depth of a sweep, and how it has been doing."""

from dataclasses import dataclass

from edfv_ros.depth import DepthEstimate
from edfv_ros.events import StreamHealth
from edfv_ros.events.types import Frame
from edfv_ros.lag_check import LagReport
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.volume import SweepSnapshot


@dataclass(frozen=True, slots=True, eq=False)
class DepthOutput:
    """Depth of one sweep.

    Attributes:
        index: number of the sweep since the start, those that were missed or not whole included.
        sweep: its track; start_us, end_us, middle_us, direction.
        estimate: depth, vergence, confidence, sigma.
        frame: the newest intensity image exposed during the sweep or its pair, if any.
        events: events in the sweep.
        latency_ms: wall time from the moment this process received the sweep's last event to the finished estimate.
            It holds the wait for the event (and the trigger) that shows the sweep to be over, accumulation, any wait
            for the estimator, and the estimate; it does not hold the camera's and the capture process's buffering
            nor what becomes of the output.
        snapshot: what the estimate was made of. Its volumes are reused: read them while ``on_depth`` runs and not
            afterwards, and copy what is to be kept.
    """

    index: int
    sweep: FocusSweep
    estimate: DepthEstimate
    frame: Frame | None
    events: int
    latency_ms: float
    snapshot: SweepSnapshot


@dataclass(frozen=True, slots=True)
class PipelineStatistics:
    """Counters since the start.

    Attributes:
        events: events received.
        lost_events: events dropped because nobody took them in time.
        unplaced_events: events given up because the ring was full before their sweep was known.
        sweeps: whole sweeps.
        depths: sweeps that became depth.
        dropped_sweeps: sweeps that did not, by reason.
        lens: the sweep source's own counters.
        timing: how the focus is bound to time at present, by name with the unit at its end.
        lag: how far events lag behind the focus.
        latency_ms: p50, p95 and max of the latest depths; empty before the first.
        health: the capture's counters; None before it opened.
        error: why the pipeline stopped by itself, in one line; None while all is well.
    """

    events: int
    lost_events: int
    unplaced_events: int
    sweeps: int
    depths: int
    dropped_sweeps: dict[str, int]
    lens: dict[str, int]
    timing: dict[str, float]
    lag: LagReport
    latency_ms: dict[str, float]
    health: StreamHealth | None
    error: str | None
