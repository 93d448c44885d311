"""Keeps a depth pipeline running: starts it, and starts it again after its source broke. No ROS in here."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.pipeline import DepthPipeline, PipelineStatistics

PIPELINE_CHECK_S = 0.1
OPEN_CHECK_S = 0.02
OPEN_TIMEOUT_S = 30.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0

logger = logging.getLogger(__name__)


class SessionState(Enum):
    """What a session is doing."""

    STOPPED = "stopped"
    RUNNING = "running"
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
    """

    state: SessionState
    error: str
    reconnects: int
    statistics: PipelineStatistics | None
    opened_s: float


class _Opened(NamedTuple):
    """A pipeline and when it was opened, in one piece, so that other threads never mix two."""

    pipeline: DepthPipeline
    time_s: float


class DepthSession:
    """A pipeline that outlives its source.

    Args:
        open_pipeline: makes a pipeline, not started yet; whatever else it opens it hands to the stack, which is
            closed when the pipeline has stopped. Where it has to wait, it gives up when the event is set.
        at_end: what to do when the source ends.
        on_error: called from the session's thread with the error when the source breaks, and with a later one where
            that says something else.
        on_recovery: called from the session's thread when it runs again.
    """

    def __init__(
        self,
        open_pipeline: Callable[[ExitStack, threading.Event], DepthPipeline],
        *,
        at_end: AtEnd,
        on_error: Callable[[str], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self._open_pipeline = open_pipeline
        self._at_end = at_end
        self._on_error = on_error
        self._on_recovery = on_recovery
        self._resources = ExitStack()
        self._opened: _Opened | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="depth session")
        self._status = SessionStatus(SessionState.STOPPED, "", 0, None, 0.0)

    @property
    def status(self) -> SessionStatus:
        opened, status = self._opened, self._status
        if opened is None:
            return status
        return replace(status, statistics=opened.pipeline.statistics(), opened_s=opened.time_s)

    def start(self) -> None:
        """Open the source and run.

        Raises:
            EdfvError: the source cannot be opened; nothing is left open.
        """
        self._open()
        self._set(SessionState.RUNNING)
        self._thread.start()

    def cancel(self) -> None:
        """Let an opening in progress fail soon; may be called from any thread."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop the pipeline and release what it had opened."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close()
        self._set(SessionState.STOPPED)

    def _open(self) -> None:
        with ExitStack() as stack:
            pipeline = self._open_pipeline(stack, self._stopping)
            stack.callback(_stop, pipeline)
            pipeline.start()
            self._wait_until_open(pipeline)
            self._resources = stack.pop_all()
        self._opened = _Opened(pipeline, time.monotonic())

    def _wait_until_open(self, pipeline: DepthPipeline) -> None:
        """Wait until a started pipeline has opened its source, or has come to its end already.

        Raises:
            SourceError: it failed, took too long or is no longer wanted.
        """
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

    def _close(self) -> None:
        self._resources.close()
        self._status = self.status
        self._opened = None

    def _set(self, state: SessionState, error: str = "", reconnects: int | None = None) -> None:
        last = self._status
        count = last.reconnects if reconnects is None else reconnects
        self._status = replace(last, state=state, error=error, reconnects=count)

    def _watch(self) -> None:
        while not self._stopping.wait(PIPELINE_CHECK_S):
            opened = self._opened
            if opened is None or opened.pipeline.is_running:
                continue
            error = opened.pipeline.statistics().error
            self._close()
            if error is None and self._at_end is AtEnd.STOP:
                self._set(SessionState.ENDED)
                return
            if error is None and self._at_end is AtEnd.ERROR:
                error = "the source ended its stream"
            self._reopen(error or "")

    def _reopen(self, error: str) -> None:
        """Open again, at once at the end of a recording, with growing pauses after an error."""
        pause_s = 0.0
        reported = None
        while True:
            if error:
                self._set(SessionState.WAITING, error)
                if error != reported:
                    self._on_error(error)
                    reported = error
                pause_s = min(max(FIRST_PAUSE_S, 2.0 * pause_s), LONGEST_PAUSE_S)
            if self._stopping.wait(pause_s):
                return
            try:
                self._open()
            except EdfvError as failure:
                error = str(failure)
                continue
            except Exception as failure:  # a bug, but trying again is better than a camera that stays dead
                error = f"unexpected {type(failure).__name__}: {failure}"
                continue
            self._set(SessionState.RUNNING, reconnects=self._status.reconnects + bool(error))
            if error:
                self._on_recovery()
            return


def _stop(pipeline: DepthPipeline) -> None:
    if not pipeline.stop():
        logger.warning("the depth pipeline is still busy and was left behind: it ends with the work it is at")
