"""A session keeps a pipeline running over errors of its source; the pipelines here break when told to."""

import threading
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from edfv_ros.errors import SourceError
from edfv_ros.nodes import depth_session
from edfv_ros.nodes.depth_session import AtEnd, DepthSession, SessionState
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.nodes.shot import Shot, ShotError

TIMEOUT_S = 10.0
IMPOSSIBLE_M = 999.0


@dataclass
class Statistics:
    error: str | None = None


class Pipeline:
    def __init__(self, log, parameters, on_depth):
        self._log = log
        self.parameters, self.on_depth = parameters, on_depth
        self.newest_us = 1000
        self._error = None
        self.ends_in_time = True
        self.is_running = False
        self.is_open = True

    def start(self):
        self._log.append("start")
        self.is_running = True

    def stop(self):
        self._log.append("stop")
        self.is_running = False
        return self.ends_in_time

    def wait(self, timeout_s):
        return not self.is_running

    def end(self, error=None):
        self._error = error
        self.is_running = False

    def statistics(self):
        return Statistics(self._error)


class Bench:
    """A source that can be opened, refuses while ``refusals`` lasts, and keeps a log."""

    def __init__(self, *, at_end=AtEnd.STOP, refusals=()):
        self.log, self.errors = [], []
        self.refusals = list(refusals)
        self.pipelines = []
        self.opened, self.recovered = threading.Semaphore(0), threading.Event()
        self.published = []
        self.session = DepthSession(
            self.open,
            DepthParameters(),
            self.published.append,
            at_end=at_end,
            on_error=self.errors.append,
            on_recovery=self.recovered.set,
        )

    def open(self, stack: ExitStack, cancelled: threading.Event):
        stack.callback(self.log.append, "release")
        if self.refusals:
            raise SourceError(self.refusals.pop(0))
        return self

    def make_pipeline(self, parameters, on_depth):
        if parameters.region_near_m == IMPOSSIBLE_M:
            raise SourceError("the lens does not focus there")
        self.pipelines.append(Pipeline(self.log, parameters, on_depth))
        self.opened.release()
        return self.pipelines[-1]

    def check(self, parameters):
        return None

    def park(self):
        self.log.append("park")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.stop()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(depth_session, "PIPELINE_CHECK_S", 0.005)
    monkeypatch.setattr(depth_session, "FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(depth_session, "LONGEST_PAUSE_S", 0.02)


def test_stop_stops_the_pipeline_before_what_it_uses():
    with Bench() as bench:
        bench.session.start()
        assert bench.session.status.state is SessionState.RUNNING
    assert bench.log == ["start", "stop", "release"]
    assert bench.session.status.state is SessionState.STOPPED


def test_a_pipeline_that_does_not_end_is_in_the_log(caplog):
    with Bench() as bench:
        bench.session.start()
        bench.pipelines[0].ends_in_time = False
    assert bench.log == ["start", "stop", "release"]
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "still busy" in record.getMessage()


def test_pipelines_are_told_apart_by_when_they_were_opened():
    with Bench(at_end=AtEnd.REPEAT) as bench:
        bench.session.start()
        first_s = bench.session.status.opened_s
        assert bench.opened.acquire(timeout=TIMEOUT_S)
        bench.pipelines[0].end()
        assert bench.opened.acquire(timeout=TIMEOUT_S)
    assert bench.session.status.opened_s > first_s > 0, "the last one, also when it has stopped"


def test_a_source_that_cannot_be_opened_fails_the_start_and_leaves_nothing_open():
    with Bench(refusals=["no camera found"]) as bench, pytest.raises(SourceError, match="no camera found"):
        bench.session.start()
    assert bench.log == ["release"]


def test_an_unplugged_source_is_opened_again_and_each_error_reported_once():
    with Bench() as bench:
        bench.session.start()
        assert bench.opened.acquire(timeout=TIMEOUT_S)
        bench.refusals = ["no camera found", "no camera found", "camera busy"]
        bench.pipelines[0].end("camera unplugged")
        assert bench.recovered.wait(TIMEOUT_S)
        status = bench.session.status
        assert (status.state, status.reconnects, status.error) == (SessionState.RUNNING, 1, "")
    assert bench.errors == ["camera unplugged", "no camera found", "camera busy"]
    assert len(bench.pipelines) == 2
    assert bench.log == ["start", "stop", "release", "release", "release", "release", "start", "stop", "release"]


def test_a_recording_ends():
    ended = threading.Event()
    with Bench() as bench:
        bench.session.start()
        bench.pipelines[0].end()
        for _ in range(2000):
            if bench.session.status.state is SessionState.ENDED:
                break
            ended.wait(0.005)
        assert bench.session.status.state is SessionState.ENDED
    assert bench.errors == []


def test_a_looped_recording_begins_again_without_an_error():
    with Bench(at_end=AtEnd.REPEAT) as bench:
        bench.session.start()
        for _ in range(3):
            assert bench.opened.acquire(timeout=TIMEOUT_S)
            bench.pipelines[-1].end()
        assert bench.opened.acquire(timeout=TIMEOUT_S)
        assert bench.session.status.reconnects == 0
    assert bench.errors == []


def test_the_end_of_a_live_source_is_an_error():
    with Bench(at_end=AtEnd.ERROR) as bench:
        bench.session.start()
        bench.pipelines[0].end()
        assert bench.recovered.wait(TIMEOUT_S)
    assert bench.errors == ["the source ended its stream"]


def test_stopping_interrupts_the_pause_before_a_retry(monkeypatch):
    monkeypatch.setattr(depth_session, "FIRST_PAUSE_S", 1e3)
    monkeypatch.setattr(depth_session, "LONGEST_PAUSE_S", 1e3)
    reported = threading.Event()
    bench = Bench()
    bench.session._on_error = lambda _: reported.set()
    bench.session.start()
    bench.pipelines[0].end("camera unplugged")
    assert reported.wait(TIMEOUT_S)
    stopper = threading.Thread(target=bench.session.stop, daemon=True)
    stopper.start()
    stopper.join(TIMEOUT_S)
    assert not stopper.is_alive()
