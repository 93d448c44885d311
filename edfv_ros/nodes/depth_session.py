"""Keeps a depth pipeline as it is wanted: sweeping or parked, with these parameters, and again after its source broke.

No ROS in here.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, Protocol

from edfv_ros.errors import EdfvError, LensError, SourceError
from edfv_ros.events import SourceInfo
from edfv_ros.lens.driver import LensDriver, LensState
from edfv_ros.nodes.depth_devices import OnDepth, needs_new_pipeline
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.nodes.shot import Shot, ShotError
from edfv_ros.pipeline import DepthOutput, DepthPipeline, PipelineStatistics
from edfv_ros.rig import Rig

PIPELINE_CHECK_S = 0.1
LENS_CHECK_S = 5.0  # a question takes the lens a moment that its set points would have had
OPEN_CHECK_S = 0.02
OPEN_TIMEOUT_S = 30.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0

logger = logging.getLogger(__name__)


class SessionState(Enum):
    """What a session is doing."""

    STOPPED = "stopped"
    RUNNING = "running"
    PARKED = "parked"
    WAITING = "waiting to reconnect"
    ENDED = "end of the recording"


class AtEnd(Enum):
    """What the end of a source means."""

    STOP = "the recording has been played"
    REPEAT = "play the recording again"
    ERROR = "a live source is not supposed to end"


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """How a session stands.

    Attributes:
        state: what it is doing.
        error: why it is waiting, one line; empty otherwise.
        reconnects: how often it was started again after an error.
        statistics: of the pipeline now running or the last one; None before the first.
        opened_s: when that pipeline was opened, on the monotonic clock; tells pipelines apart.
        lens: what the lens said of itself within the last LENS_CHECK_S; None where nobody here drives one.
    """

    state: SessionState
    error: str
    reconnects: int
    statistics: PipelineStatistics | None
    opened_s: float
    lens: LensState | None = None


class Devices(Protocol):
    """What a session needs of :class:`edfv_ros.nodes.depth_devices.DepthDevices`."""

    def make_pipeline(self, parameters: DepthParameters, on_depth: OnDepth) -> DepthPipeline: ...

    @property
    def lens(self) -> LensDriver | None: ...

    def check(self, parameters: DepthParameters) -> Rig: ...

    def park(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a pipeline is to be; ``shot`` is the one that it is for, where it is for a single one."""

    sweeping: bool
    parameters: DepthParameters
    shot: Shot | None = None

    def is_served_by(self, other: "_Wanted") -> bool:
        """Whether a pipeline for ``other`` is one for this."""
        return self.shot is other.shot and not needs_new_pipeline(self.parameters, other.parameters)


class _Running(NamedTuple):
    """A pipeline and what belongs to it, in one piece, so that other threads never mix two."""

    pipeline: DepthPipeline
    outlet: "_Outlet"
    wanted: _Wanted
    opened_s: float


class _Listener(NamedTuple):
    """A shot of the sweeps that are being made anyway: of that pipeline, one that begins from a time on."""

    shot: Shot
    outlet: "_Outlet | None"
    since_us: int


class DepthSession:
    """A pipeline that outlives its source, and changes when it is told to.

    What is asked of a session is done by a thread of its own, one after the other; each method returns at once with a
    future that ends when it is done, with an EdfvError where it could not be.

    Args:
        open_devices: opens what pipelines need into the stack; where it has to wait, it gives up when the event is set.
        parameters: of the first pipeline.
        publish: called with each depth image in a depth thread; never with one of a pipeline that has been replaced.
        at_end: what to do when the source ends.
        on_error: called from the session's thread with the error when the source breaks, and with a later one where
            that says something else.
        on_recovery: called from the session's thread when it runs again.
    """

    def __init__(
        self,
        open_devices: Callable[[ExitStack, threading.Event], Devices],
        parameters: DepthParameters,
        publish: Callable[[DepthOutput], None],
        *,
        at_end: AtEnd,
        on_error: Callable[[str], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self._open_devices = open_devices
        self._publish = publish
        self._at_end = at_end
        self._on_error = on_error
        self._on_recovery = on_recovery
        self._resources = ExitStack()
        self._devices: Devices | None = None
        self._running: _Running | None = None
        self._status = SessionStatus(SessionState.STOPPED, "", 0, None, 0.0)
        self._lock = threading.Lock()  # of what is wanted; never held while anything is done
        self._wanted = _Wanted(True, parameters)
        self._ended = False
        self._shot: Shot | None = None  # one that has the lens for itself
        self._listener: _Listener | None = None
        self._resetting = False
        self._requests: list[Future[None]] = []
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._reported = ""
        self._pause_s = 0.0
        self._retry_at_s = 0.0
        self._lens_check_s = 0.0
        self._thread = threading.Thread(target=self._watch, name="depth session")

    @property
    def status(self) -> SessionStatus:
        running, status = self._running, self._status
        if running is None:
            return status
        return replace(status, statistics=running.pipeline.statistics(), opened_s=running.opened_s)

    @property
    def source_info(self) -> SourceInfo | None:
        """What the open source says of itself; None where none is open."""
        running = self._running
        return None if running is None else running.pipeline.source_info

    @property
    def lens(self) -> LensDriver | None:
        """The open lens; None where none is open, or somebody else drives it."""
        devices = self._devices
        return None if devices is None else devices.lens

    def check(self, parameters: DepthParameters) -> None:
        """Ask the open lens whether it can do that; says nothing to it and does not wait.

        Raises:
            EdfvError: it cannot.
        """
        devices = self._devices
        if devices is not None:
            devices.check(parameters)

    def start(self) -> None:
        """Open the source and run.

        Raises:
            EdfvError: the source cannot be opened; nothing is left open.
        """
        try:
            self._bring_to(self._wanted)
        except BaseException:
            self._close()
            raise
        self._thread.start()

    def cancel(self) -> None:
        """Let an opening in progress fail soon; may be called from any thread."""
        self._stopping.set()
        self._changed.set()

    def stop(self) -> None:
        """Stop the pipeline, park the lens and release what had been opened."""
        self.cancel()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._park()
        except EdfvError as error:
            logger.warning("the lens was not parked: %s", error)
        self._close()
        self._set(SessionState.STOPPED)
        self._fail_shot("the node was deactivated")
        with self._lock:
            requests, self._requests = self._requests, []
        for request in requests:
            request.set_exception(_stopped())

    def sweep(self, on: bool) -> "Future[None]":
        """Start sweeping, from the beginning where a recording has ended; or park the lens and go on holding it."""
        with self._lock:
            self._wanted = replace(self._wanted, sweeping=on)
            self._ended = self._ended and not on
            request = self._ask()
        if not on:
            self._fail_shot("the lens was parked")
        return request

    def adopt(self, parameters: DepthParameters) -> "Future[None]":
        """Go on with other parameters: with a new pipeline where the present one cannot."""
        with self._lock:
            self._wanted = replace(self._wanted, parameters=parameters)
            return self._ask()

    def reset(self) -> "Future[None]":
        """Close everything and begin anew."""
        with self._lock:
            self._resetting, self._ended = True, False
            request = self._ask()
        self._fail_shot("the node was reset")
        return request

    def begin(self, shot: Shot) -> "Future[None]":
        """Take an image: of the next sweep where that will do, else with the lens for itself, and only that image.

        Give every shot back with :meth:`end`.

        Raises:
            ShotError: another one is being taken, or the shot's region contradicts itself.
        """
        with self._lock:
            if self._shot is not None or self._listener is not None:
                raise ShotError("another image is being taken: try again when it is there")
            parameters, running = shot.parameters(self._wanted.parameters), self._running
            wanted = _Wanted(True, parameters)
            if self._effective().sweeping and running is not None and wanted.is_served_by(running.wanted):
                self._listener = _Listener(shot, running.outlet, running.pipeline.newest_us)
            else:
                self._shot = shot
            return self._ask()

    def end(self, shot: Shot) -> "Future[None]":
        """Go back to what it was like before a shot."""
        with self._lock:
            if self._listener is not None and self._listener.shot is shot:
                self._listener = None
            if self._shot is shot:
                self._shot = None
            return self._ask()

    def _ask(self) -> "Future[None]":
        """Wake the thread; the lock is held."""
        request: Future[None] = Future()
        if self._stopping.is_set():
            request.set_exception(_stopped())
        else:
            self._requests.append(request)
            self._changed.set()
        return request

    def _effective(self) -> _Wanted:
        """What is wanted at present; the lock is held."""
        wanted = self._wanted
        if self._shot is not None:
            return _Wanted(True, self._shot.parameters(wanted.parameters), self._shot)
        return replace(wanted, sweeping=wanted.sweeping and not self._ended)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait(PIPELINE_CHECK_S)
            self._changed.clear()
            if not self._stopping.is_set():
                self._step()
                self._look_at_lens()

    def _look_at_lens(self) -> None:
        """Ask for its temperature and complaints; one that does not answer is the pipeline's to notice."""
        if time.monotonic() < self._lens_check_s:
            return
        self._lens_check_s = time.monotonic() + LENS_CHECK_S
        lens, state = self.lens, None
        if lens is not None:
            with suppress(LensError):
                state = lens.state()
        self._status = replace(self._status, lens=state)

    def _step(self) -> None:
        """Do what was asked for, or look after the pipeline."""
        with self._lock:
            requests, self._requests = self._requests, []
            resetting, self._resetting = self._resetting, False
            wanted = self._effective()
        running, state = self._running, self._status.state
        if requests:
            if resetting:
                self._close()
            error = self._try(wanted)
            for request in requests:
                if error:
                    request.set_exception(SourceError(error))
                else:
                    request.set_result(None)
        elif running is not None and not running.pipeline.is_running:
            self._after_end(running, wanted)
        elif state is SessionState.WAITING and time.monotonic() >= self._retry_at_s:
            self._try(wanted)

    def _after_end(self, running: _Running, wanted: _Wanted) -> None:
        """The pipeline ended by itself."""
        error = running.pipeline.statistics().error
        if error is None and self._at_end is AtEnd.ERROR:
            error = "the source ended its stream"
        if error is not None:
            self._close()
            self._wait_after(error)
            return
        self._close_pipeline()
        if running.wanted.shot is not None or self._at_end is AtEnd.STOP:
            self._fail_shot("the recording ended before the next sweep did")
            with self._lock:
                self._ended = True
            self._set(SessionState.ENDED)
        else:
            self._try(wanted)

    def _try(self, wanted: _Wanted) -> str:
        """Bring the session to what is wanted; returns why not, empty where it is so."""
        try:
            self._bring_to(wanted)
        except EdfvError as failure:
            error = str(failure)
        except Exception as failure:  # a bug, but trying again is better than a camera that stays dead
            error = f"unexpected {type(failure).__name__}: {failure}"
        else:
            if self._reported and self._status.state is SessionState.RUNNING:
                self._reported = ""
                self._set(SessionState.RUNNING, reconnects=self._status.reconnects + 1)
                self._on_recovery()
            return ""
        if self._stopping.is_set():
            return error
        if self._running is not None:  # it goes on as it was
            if wanted.shot is not None:
                wanted.shot.fail(error)
                return error
            with self._lock:
                self._wanted = replace(self._wanted, parameters=self._running.wanted.parameters)
            self._on_error(error)
        elif wanted.sweeping:
            self._wait_after(error)
        else:
            self._set(SessionState.PARKED)
        return error

    def _bring_to(self, wanted: _Wanted) -> None:
        """Raises EdfvError where that cannot be: a pipeline that ran then still does, unless the source failed."""
        if not wanted.sweeping:
            self._park()
            return
        running = self._running
        if running is not None and running.pipeline.is_running and wanted.is_served_by(running.wanted):
            return
        if self._devices is None:
            with ExitStack() as stack:
                self._devices = self._open_devices(stack, self._stopping)
                self._resources = stack.pop_all()
        outlet = _Outlet()
        outlet.open(lambda output: self._hand_on(output, outlet, wanted.shot))
        pipeline = self._devices.make_pipeline(wanted.parameters, outlet)  # while the last one goes on
        self._close_pipeline()
        try:
            self._start(pipeline)
        except BaseException:
            self._close()
            raise
        self._running = _Running(pipeline, outlet, wanted, time.monotonic())
        self._set(SessionState.RUNNING)

    def _start(self, pipeline: DepthPipeline) -> None:
        """Start a pipeline and wait until it has opened its source, or has come to its end already.

        Raises:
            SourceError: it failed, took too long or is no longer wanted.
        """
        pipeline.start()
        try:
            deadline_s = time.monotonic() + OPEN_TIMEOUT_S
            while not pipeline.wait(OPEN_CHECK_S):
                if pipeline.is_open:
                    return
                if self._stopping.is_set():
                    raise SourceError("opening the source was cancelled")
                if time.monotonic() > deadline_s:
                    raise SourceError(f"the source did not open within {OPEN_TIMEOUT_S:g} s")
            error = pipeline.statistics().error
            if error is not None:
                raise SourceError(error)
        except BaseException:
            _stop(pipeline)
            raise

    def _park(self) -> None:
        self._close_pipeline()
        try:
            if self._devices is not None and self._status.state is not SessionState.PARKED:
                self._devices.park()
        except EdfvError:
            self._close()
            raise
        self._set(SessionState.ENDED if self._ended else SessionState.PARKED)

    def _hand_on(self, output: DepthOutput, outlet: "_Outlet", shot: Shot | None) -> None:
        """Called in a pipeline's depth thread."""
        if shot is None:
            self._publish(output)
            listener = self._listener
            if listener is None:
                return
            if outlet is not listener.outlet or output.sweep.start_us >= listener.since_us:
                listener.shot.take(output)
        elif not shot.is_over:
            self._publish(output)
            shot.take(output)

    def _fail_shot(self, reason: str) -> None:
        listener, shot = self._listener, self._shot
        for waiting in (shot, listener.shot if listener is not None else None):
            if waiting is not None:
                waiting.fail(reason)

    def _close_pipeline(self) -> None:
        running = self._running
        if running is None:
            return
        running.outlet.close()
        _stop(running.pipeline)
        self._status = self.status
        self._running = None

    def _close(self) -> None:
        """Close the pipeline and what it used."""
        self._close_pipeline()
        self._devices = None
        self._resources.close()

    def _wait_after(self, error: str) -> None:
        """Try again later, with growing pauses while it fails."""
        self._pause_s = (
            min(max(FIRST_PAUSE_S, 2.0 * self._pause_s), LONGEST_PAUSE_S) if self._reported else FIRST_PAUSE_S
        )
        self._retry_at_s = time.monotonic() + self._pause_s
        self._set(SessionState.WAITING, error)
        self._fail_shot(error)
        if error != self._reported:
            self._reported = error
            self._on_error(error)

    def _set(self, state: SessionState, error: str = "", reconnects: int | None = None) -> None:
        last = self._status
        count = last.reconnects if reconnects is None else reconnects
        self._status = replace(last, state=state, error=error, reconnects=count)


class _Outlet:
    """Hands the depth of one pipeline on until it is closed: nothing comes out later, whatever is still computed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hand_on: Callable[[DepthOutput], None] | None = None

    def open(self, hand_on: Callable[[DepthOutput], None]) -> None:
        self._hand_on = hand_on

    def close(self) -> None:
        with self._lock:
            self._hand_on = None

    def __call__(self, output: DepthOutput) -> None:
        with self._lock:
            if self._hand_on is not None:
                self._hand_on(output)


def _stop(pipeline: DepthPipeline) -> None:
    if not pipeline.stop():
        logger.warning("the depth pipeline is still busy and was left behind: it ends with the work it is at")


def _stopped() -> SourceError:
    return SourceError("the node was deactivated")
