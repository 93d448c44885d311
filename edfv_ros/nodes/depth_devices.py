"""What a depth pipeline needs open beside its events: the simulated camera and the lens. No ROS in here."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from edfv_ros.depth import DepthEstimator, check_streams, open_estimator
from edfv_ros.errors import EdfvError
from edfv_ros.events import Capture, Packet
from edfv_ros.events.source import PacketReader
from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.noted import NotedSweeps
from edfv_ros.lens.plan import plan_of
from edfv_ros.lens.reports import FocusReports
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sweeping import park, start_sweeping
from edfv_ros.lens.sync import SweepSource, open_sweeps
from edfv_ros.lens.telemetry import TelemetrySweeps
from edfv_ros.nodes.input_topics import InputTopics
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.pipeline import DepthOutput, DepthPipeline
from edfv_ros.rig import Rig
from edfv_ros.rig.region import SweepSettings


class Tap(Protocol):
    """Sees everything that goes through a pipeline; each method is called in one of the pipeline's threads."""

    def on_packet(self, packet: Packet) -> None: ...

    def on_sweep(self, sweep: FocusSweep) -> None: ...


class OnDepth(Protocol):
    """Takes what a pipeline gives, in its depth thread."""

    def __call__(self, output: DepthOutput) -> None: ...


@dataclass(frozen=True, slots=True)
class DepthDevices:
    """Open devices, which outlive pipelines.

    Attributes:
        rig: with the lens's port.
        uri: where events come from.
        recording: folder of the sweep recording, None for live sources.
        lens: the open lens; None where nobody here drives it.
        tap: is shown what the pipelines read.
        topics: where events come from in ROS; None where they come from elsewhere.
    """

    rig: Rig
    uri: str
    recording: Path | None
    lens: LensDriver | None
    tap: Tap
    topics: InputTopics | None = None

    def make_pipeline(self, parameters: DepthParameters, on_depth: OnDepth) -> DepthPipeline:
        """Make a pipeline, ready to be started; may take a second. One pipeline at a time may run.

        Each has an estimator of its own: the thread of the one before may still be using the last.

        Raises:
            EdfvError: the parameters ask for something that cannot be.
        """
        rig = self.check(parameters)
        reports = FocusReports()
        return DepthPipeline(
            rig,
            partial(self._open_capture, parameters, reports),
            partial(self._open_sweeps, rig, reports),
            make_estimator(parameters, rig),
            on_depth,
            device=parameters.device,
            rate_hz=parameters.depth_rate_hz,
            correct_lag=parameters.correct_lag,
            find_lag=not (parameters.region_near_m or parameters.region_far_m),
            on_packet=self.tap.on_packet,
        )

    def check(self, parameters: DepthParameters) -> Rig:
        """The rig with the sweep that is asked for, which the lens can follow; says nothing to the lens.

        Raises:
            EdfvError: it cannot.
        """
        rig = rig_for(parameters, self.rig)
        if self.lens is not None:
            self.lens.check(plan_of(rig))
        return rig

    def park(self) -> None:
        """Let the lens stand still at the far end of its sweep, where there is one.

        Raises:
            LensError: it does not answer.
        """
        if self.lens is not None:
            park(self.lens, self.rig)

    def _open_capture(self, parameters: DepthParameters, reports: FocusReports) -> PacketReader:
        """Called by the pipeline; a source that lacks what the estimator looks at is closed again."""
        capture = self._capture(reports)
        try:
            prior = parameter_path(parameters.prior)
            check_streams(parameters.estimator, capture.info.streams, self.uri, prior=prior)
        except EdfvError:
            capture.close()
            raise
        return capture

    def _capture(self, reports: FocusReports) -> PacketReader:
        if self.topics is None:
            return Capture(self.uri, real_time=self.recording is not None)
        from edfv_ros.nodes.topic_capture import TopicCapture  # only here is there ROS below the nodes

        return TopicCapture(self.topics, self.rig.camera, reports)

    def _open_sweeps(self, rig: Rig, reports: FocusReports) -> SweepSource:
        """Called by the pipeline once events are being read."""
        if self.topics is not None and self.topics.lens:
            advice = f"{self.topics.lens} must carry the joint focus in dioptres, with time stamps"
            return NotedSweeps(TelemetrySweeps(rig, reports, advice=advice), self.tap.on_sweep)
        if self.lens is not None:
            start_sweeping(self.lens, rig)
        return NotedSweeps(open_sweeps(rig, self.recording, self.lens), self.tap.on_sweep)


def rig_for(parameters: DepthParameters, rig: Rig) -> Rig:
    """The rig with the region and the frequency that the parameters ask for.

    Raises:
        RigError: the lens does not focus there.
    """
    settings = SweepSettings(parameters.region_near_m, parameters.region_far_m, parameters.sweep_frequency_hz)
    return settings.applied_to(rig)


def make_estimator(parameters: DepthParameters, rig: Rig) -> DepthEstimator:
    """The estimator that the parameters ask for.

    Raises:
        EdfvError: there is none of that name, or it lacks a file.
    """
    prior, model = parameter_path(parameters.prior), parameter_path(parameters.model)
    return open_estimator(parameters.estimator, rig, prior=prior, model=model)


def parameter_path(parameter: str) -> Path | None:
    """The path that a parameter names; None where it is empty."""
    return Path(parameter).expanduser() if parameter else None


PIPELINE_PARAMETERS = (
    "region_near_m",
    "region_far_m",
    "sweep_frequency_hz",
    "estimator",
    "prior",
    "model",
    "device",
    "correct_lag",
)
"""Parameters that a pipeline has for life."""


def needs_new_pipeline(before: DepthParameters, after: DepthParameters) -> bool:
    """Whether a pipeline that was made with the one cannot go on with the other."""
    return any(getattr(before, name) != getattr(after, name) for name in PIPELINE_PARAMETERS)
