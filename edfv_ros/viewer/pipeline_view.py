"""A recording or a live source, through the pipeline, in the viewer."""

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from edfv_ros.depth import DepthEstimate, check_estimator, check_streams, open_estimator
from edfv_ros.errors import LensError, RigError, SourceError
from edfv_ros.events import Capture, Packet
from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sweeping import borrowed_lens, start_sweeping
from edfv_ros.lens.sync import SweepSource, open_sweeps
from edfv_ros.offline import pair_ahead
from edfv_ros.pipeline import DepthOutput, DepthPipeline, assembled, make_assembler
from edfv_ros.recording import open_recording, recorded_time_range_us
from edfv_ros.rig import Rig, load_rig
from edfv_ros.rig.rays import pixel_rays
from edfv_ros.viewer.event_pictures import EventPictures
from edfv_ros.viewer.viewer import Viewer, range_m
from edfv_ros.volume import VolumeRing

_WAIT_S: Final = 0.2


class PipelineView:
    """Shows packets and depth of one rig.

    Args:
        viewer: where.
        rig: camera and sweep.
        confidence: points below it are not shown.
    """

    def __init__(self, viewer: Viewer, rig: Rig, confidence: float) -> None:
        self._viewer = viewer
        self._rig = rig
        self._confidence = confidence
        self._rays = pixel_rays(rig.camera)
        self._pictures = EventPictures(*rig.camera.resolution)
        k = rig.camera.intrinsics
        matrix = np.array([[k.fx_px, 0.0, k.cx_px], [0.0, k.fy_px, k.cy_px], [0.0, 0.0, 1.0]])
        viewer.show_camera(matrix, *rig.camera.resolution)

    def show_packet(self, packet: Packet) -> None:
        """Show events and frames; called from the thread that reads."""
        for picture in self._pictures.add(packet.events):
            self._viewer.show_events(picture)
        for frame in packet.frames:
            self._viewer.show_guide(frame.timestamp_us, frame.image)

    def show_depth(self, sweep: FocusSweep, estimate: DepthEstimate, statistics: dict[str, object]) -> None:
        """Show what a sweep gave."""
        viewer, time_us = self._viewer, sweep.middle_us
        viewer.show_depth(time_us, estimate.depth_m, range_m(self._rig.bins))
        viewer.show_confidence(time_us, estimate.confidence)
        shown = np.isfinite(estimate.depth_m) & (estimate.confidence >= self._confidence)
        viewer.show_points(time_us, self._rays[shown] * estimate.depth_m[shown, None], self._rig.bins)
        viewer.show_focus(sweep.timestamps_us, sweep.vergence_dpt)
        known, confident = np.isfinite(estimate.depth_m).mean(), (estimate.confidence > 0.5).mean()
        viewer.show_statistics(
            time_us, {**statistics, "known": f"{known:.0%}", "confident, of all pixels": f"{confident:.0%}"}
        )


def view_recording(
    path: Path,
    open_viewer: Callable[[], Viewer],
    *,
    rig_path: Path | None,
    estimator: str,
    prior: Path | None = None,
    model: Path | None = None,
    confidence: float = 0.5,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> int:
    """Show every sweep of a recording or a bag, as fast as they are computed; time in the viewer is the recording's.

    Returns:
        How many sweeps were shown.

    Raises:
        EdfvError: the recording, the estimator or the viewer cannot be used.
    """
    recording = open_recording(path, rig_path)
    rig, events = recording.rig, recording.files.events
    check_estimator(estimator, prior, model)
    sweeps = open_sweeps(rig, recording.files.path)
    period_us = recorded_time_range_us(events)
    shown = 0
    with ExitStack() as stack:
        capture = stack.enter_context(Capture(str(events)))
        check_streams(estimator, capture.info.streams, str(events), prior=prior)
        depth_estimator = open_estimator(estimator, rig, prior=prior, model=model)
        assembler = make_assembler(rig, capture, sweeps, VolumeRing(rig.bins, rig.camera.resolution))
        view = PipelineView(stack.enter_context(open_viewer()), rig, confidence)
        in_turn = (closed.snapshot for closed in assembled(capture, assembler, on_packet=view.show_packet))
        with closing(assembler), closing(pair_ahead(in_turn)) as paired:
            for snapshot in paired:
                try:
                    estimate = depth_estimator.estimate(snapshot)
                    latest = snapshot.latest
                    counted: dict[str, object] = {"sweep": snapshot.index, "events in the sweep": f"{latest.events:,}"}
                    view.show_depth(latest.sweep, estimate, counted | dict(assembler.dropped_sweeps))
                finally:
                    snapshot.release()
                shown += 1
                if period_us is not None:
                    on_progress((latest.sweep.end_us - period_us[0]) / max(period_us[1] - period_us[0], 1))
    if not shown:
        raise LensError(f"{path}: no whole focus sweep among the events")
    return shown


def view_live(
    uri: str,
    open_viewer: Callable[[], Viewer],
    *,
    rig_path: Path | None,
    estimator: str,
    stop: threading.Event,
    prior: Path | None = None,
    model: Path | None = None,
    confidence: float = 0.5,
) -> int:
    """Show a camera or a network stream until ``stop`` is set or the source ends; the lens sweeps meanwhile.

    Returns:
        How many sweeps were shown.

    Raises:
        EdfvError: rig, source, lens, estimator or viewer cannot be used, or the source broke.
    """
    if rig_path is None:
        raise RigError(f"{uri}: nothing describes camera and lens: name a rig file with --rig")
    rig = load_rig(rig_path)
    check_estimator(estimator, prior, model)
    with ExitStack() as stack:
        depth_estimator = open_estimator(estimator, rig, prior=prior, model=model)
        lens = stack.enter_context(borrowed_lens(rig)) if rig.lens.port else None
        viewer = stack.enter_context(open_viewer())
        view = PipelineView(viewer, rig, confidence)

        def show(output: DepthOutput) -> None:
            statistics = pipeline.statistics()
            dropped = {f"dropped: {reason}": count for reason, count in statistics.dropped_sweeps.items()}
            counted = {
                "sweep": output.index,
                "events in the sweep": f"{output.events:,}",
                "latency": f"{output.latency_ms:.0f} ms",
                "events lost": f"{statistics.lost_events:,}",
            }
            view.show_depth(output.sweep, output.estimate, {**counted, **dropped, **statistics.lens})
            viewer.show_latency(output.sweep.middle_us, output.latency_ms)

        pipeline = DepthPipeline(
            rig,
            partial(_open_capture, uri, estimator, prior),
            partial(_open_sweeps, rig, lens),
            depth_estimator,
            show,
            on_packet=view.show_packet,
        )
        pipeline.start()
        try:
            while not pipeline.wait(_WAIT_S) and not stop.is_set():
                pass
        finally:
            pipeline.stop()
        statistics = pipeline.statistics()
        if statistics.error is not None:
            raise SourceError(statistics.error)
        return statistics.depths


def _open_capture(uri: str, estimator: str, prior: Path | None) -> Capture:
    capture = Capture(uri)
    try:
        check_streams(estimator, capture.info.streams, uri, prior=prior)
    except Exception:
        capture.close()
        raise
    return capture


def _open_sweeps(rig: Rig, lens: LensDriver | None) -> SweepSource:
    if lens is not None:
        start_sweeping(lens, rig)
    return open_sweeps(rig, None, lens)
