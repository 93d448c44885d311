"""What can be asked of a camera that is measuring depth, each a call that returns when it is done. No ROS in here."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

from edfv_ros.depth import check_streams
from edfv_ros.doctor import Check
from edfv_ros.errors import EdfvError, OutputError
from edfv_ros.nodes.depth_devices import needs_new_pipeline, parameter_path
from edfv_ros.nodes.depth_session import DepthSession
from edfv_ros.nodes.depth_setup import DepthSetup
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.nodes.self_test import self_test
from edfv_ros.nodes.shot import Shot, ShotError
from edfv_ros.pipeline import DepthOutput
from edfv_ros.running_recording import RunningRecording

Progress = Callable[[float, str], None]

_POLL_S = 0.05
_SHOT_SWEEPS = 8
_SHOT_AT_LEAST_S = 5.0
_SWEEPING_FROM, _SWEEPING_TO = 0.2, 0.9  # of the progress of a shot


class NotActive(EdfvError):
    """Nothing is being measured."""

    def __init__(self) -> None:
        super().__init__("the node is not active: configure and activate it first")


class DepthOperations:
    """The camera's services; every method may be called from any thread and raises EdfvError where it cannot.

    Args:
        recording: taps the session's pipelines.
    """

    def __init__(self, recording: RunningRecording) -> None:
        self._recording = recording
        self._active: tuple[DepthSetup, DepthSession] | None = None
        self._parameters = DepthParameters()

    def serve(self, setup: DepthSetup, session: DepthSession) -> None:
        """These are active now."""
        self._active = setup, session

    def release(self) -> None:
        """Nothing is active any more; a recording ends."""
        self._active = None
        self._recording.stop()

    def check(self, before: DepthParameters, after: DepthParameters) -> None:
        """Check that a change of parameters can be made while the node is active; returns at once.

        Raises:
            EdfvError: the lens cannot follow the sweep, the source has not what the estimator needs, or a recording in
                progress would get two sweeps.
        """
        active = self._active
        if active is None or not needs_new_pipeline(before, after):
            return
        setup, session = active
        setup.check_sweep(after)
        session.check(after)
        info = session.source_info
        if info is not None:
            check_streams(after.estimator, info.streams, setup.source_name, prior=parameter_path(after.prior))
        recording = self._recording.status
        if recording is not None and not recording.error:
            raise OutputError(f"a recording has one sweep and estimator: stop the one to {recording.path} first")

    def adopt(self, parameters: DepthParameters) -> None:
        """Go on with these, which have been checked."""
        self._parameters = parameters
        if self._active is not None:
            self._active[1].adopt(parameters)

    def sweep(self, on: bool) -> str:
        """Start or stop sweeping; a lens that does not sweep is parked."""
        _, session = self._require()
        session.sweep(on).result()
        return "sweeping" if on else "parked"

    def reset(self) -> str:
        """Open everything anew and forget what has been learnt, clock models included."""
        _, session = self._require()
        session.reset().result()
        return "opened anew"

    def take_image(
        self,
        near_m: float = 0.0,
        far_m: float = 0.0,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        on_progress: Progress = lambda progress, phase: None,
    ) -> DepthOutput:
        """Depth of one sweep that begins after the call; a lens that was parked is parked again.

        Args:
            near_m, far_m: region to sweep over, 0 for the sweep's own.
            cancelled: asked now and then whether to give up.
            on_progress: told of the progress, 0 to 1, and what is being done.

        Raises:
            EdfvError: there is no image.
        """
        setup, session = self._require()
        shot = Shot(near_m, far_m)
        wanted = shot.parameters(self._parameters)
        rig = setup.check_sweep(wanted)
        session.check(wanted)
        begun = session.begin(shot)
        try:
            self._wait(begun, shot, cancelled, on_progress)
            self._expect(shot, rig.sweep.duration_us * 1e-6, cancelled, on_progress)
        finally:
            ended = session.end(shot)
        if not cancelled():
            ended.exception()  # what fails now is no failure of the image
        return shot.output

    def test(self) -> list[Check]:
        """Look whether everything works."""
        setup, session = self._require()
        return self_test(session, setup.check_sweep(self._parameters), setup.source_name)

    def record(self, on: bool) -> str:
        """Begin to record to the parameter ``record_to``, or stop."""
        return self._start_recording() if on else self._stop_recording()

    def _start_recording(self) -> str:
        setup, session = self._require()
        target = self._parameters.record_to
        if not target:
            raise OutputError("the parameter record_to is empty: set it to a folder, or to a bag such as sweep.mcap")
        info = session.source_info
        if info is None:
            raise OutputError("nothing is being read: start the sweep first")
        path = Path(target).expanduser()
        self._recording.start(path, info, setup.check_sweep(self._parameters))
        return f"recording to {path}"

    def _stop_recording(self) -> str:
        status = self._recording.stop()
        if status is None:
            raise OutputError("nothing is being recorded")
        if status.error:
            raise OutputError(f"{status.path}: {status.error}")
        lost = f", {status.lost_events} events lost: the disk is too slow" if status.lost_events else ""
        return f"{status.path}: {status.seconds:.1f} s, {status.events} events, {status.sweeps} sweeps{lost}"

    def _require(self) -> tuple[DepthSetup, DepthSession]:
        if self._active is None:
            raise NotActive
        return self._active

    def _wait(self, begun: "Future[None]", shot: Shot, cancelled: Callable[[], bool], on_progress: Progress) -> None:
        """Wait until the lens is there for the shot."""
        on_progress(0.0, "preparing")
        while True:
            self._stop_if(cancelled, shot)
            try:
                begun.result(_POLL_S)
                return
            except FutureTimeoutError:
                continue

    def _expect(self, shot: Shot, sweep_s: float, cancelled: Callable[[], bool], on_progress: Progress) -> None:
        """Wait for the image."""
        began_s = time.monotonic()
        patience_s = max(_SHOT_AT_LEAST_S, _SHOT_SWEEPS * sweep_s)
        while not shot.wait(_POLL_S):
            self._stop_if(cancelled, shot)
            elapsed_s = time.monotonic() - began_s
            if elapsed_s > patience_s:
                shot.fail(f"no depth within {patience_s:.0f} s: the self-test says what is missing")
                return
            part = min(1.0, elapsed_s / sweep_s)
            phase = "sweeping" if part < 1.0 else "estimating"
            on_progress(_SWEEPING_FROM + part * (_SWEEPING_TO - _SWEEPING_FROM), phase)
        on_progress(1.0, "done")

    def _stop_if(self, cancelled: Callable[[], bool], shot: Shot) -> None:
        if cancelled():
            shot.fail("cancelled")
            raise ShotError("cancelled")
