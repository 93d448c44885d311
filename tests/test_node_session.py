"""A session keeps a pipeline running over errors of its source; the pipelines here break when told to."""

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from edfv_ros.errors import LensError, SourceError
from edfv_ros.lens.driver import LensState
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
        self.is_unplugged = False
        self.lens = None
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
        if self.is_unplugged:
            raise SourceError("the lens went away")

    def wait_for(self, state):
        deadline_s = time.monotonic() + TIMEOUT_S
        while self.session.status.state is not state:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)

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
    assert bench.log == ["start", "stop", "park", "release"]
    assert bench.session.status.state is SessionState.STOPPED


def test_a_pipeline_that_does_not_end_is_in_the_log(caplog):
    with Bench() as bench:
        bench.session.start()
        bench.pipelines[0].ends_in_time = False
    assert bench.log == ["start", "stop", "park", "release"]
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
    assert bench.log == [
        "start",
        "stop",
        "release",
        "release",
        "release",
        "release",
        "start",
        "stop",
        "park",
        "release",
    ]


def test_a_recording_ends():
    with Bench() as bench:
        bench.session.start()
        bench.pipelines[0].end()
        bench.wait_for(SessionState.ENDED)
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


def output(start_us):
    """What a pipeline gives, as far as a session looks at it."""
    return SimpleNamespace(sweep=SimpleNamespace(start_us=start_us))


def done(request):
    return request.result(TIMEOUT_S)


def test_parking_stops_the_pipeline_and_keeps_what_it_used():
    with Bench() as bench:
        bench.session.start()
        done(bench.session.sweep(False))
        assert bench.session.status.state is SessionState.PARKED
        assert bench.log == ["start", "stop", "park"]
        done(bench.session.sweep(False))
        assert bench.log == ["start", "stop", "park"], "it is parked already"
        done(bench.session.sweep(True))
        assert bench.session.status.state is SessionState.RUNNING
    assert bench.log == ["start", "stop", "park", "start", "stop", "park", "release"]
    assert bench.session.status.reconnects == 0


def test_a_lens_that_cannot_be_parked_is_let_go(caplog):
    with Bench() as bench:
        bench.session.start()
        bench.is_unplugged = True
        with pytest.raises(SourceError, match="the lens went away"):
            done(bench.session.sweep(False))
        assert bench.session.status.state is SessionState.PARKED
        assert bench.log == ["start", "stop", "park", "release"]
        done(bench.session.sweep(True))
    assert bench.session.status.state is SessionState.STOPPED
    assert bench.log == ["start", "stop", "park", "release", "start", "stop", "park", "release"]
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "the lens went away" in record.getMessage()


def test_a_change_of_the_sweep_makes_a_new_pipeline_and_silences_the_old_one():
    with Bench() as bench:
        bench.session.start()
        old = bench.pipelines[0]
        old.on_depth("of the old sweep")
        done(bench.session.adopt(DepthParameters(region_near_m=0.5)))
        old.on_depth("of the old sweep, too late")
        bench.pipelines[1].on_depth("of the new sweep")
        assert bench.pipelines[1].parameters.region_near_m == 0.5
        done(bench.session.adopt(DepthParameters(region_near_m=0.5, confidence_threshold=0.9)))
        assert len(bench.pipelines) == 2, "nothing that a pipeline has for life has changed"
    assert bench.published == ["of the old sweep", "of the new sweep"]
    assert bench.log == ["start", "stop", "start", "stop", "park", "release"]


def test_a_change_that_cannot_be_leaves_the_pipeline_as_it_is():
    with Bench() as bench:
        bench.session.start()
        with pytest.raises(SourceError, match="does not focus there"):
            done(bench.session.adopt(DepthParameters(region_near_m=IMPOSSIBLE_M)))
        assert bench.session.status.state is SessionState.RUNNING
        bench.pipelines[0].on_depth("as before")
        done(bench.session.sweep(True))
    assert bench.published == ["as before"] and len(bench.pipelines) == 1
    assert bench.errors == ["the lens does not focus there"]


def test_a_shot_of_a_running_sweep_is_the_first_that_begins_after_it():
    with Bench() as bench:
        bench.session.start()
        shot = Shot()
        done(bench.session.begin(shot))
        begun_before, begun_after = output(999), output(1000)  # the pipeline's newest event is of 1000
        bench.pipelines[0].on_depth(begun_before)
        assert not shot.is_over
        bench.pipelines[0].on_depth(begun_after)
        assert shot.output is begun_after
        done(bench.session.end(shot))
    assert bench.published == [begun_before, begun_after] and len(bench.pipelines) == 1


def test_a_shot_of_a_parked_camera_publishes_one_image_and_parks_it_again():
    with Bench() as bench:
        bench.session.start()
        done(bench.session.sweep(False))
        shot = Shot()
        done(bench.session.begin(shot))
        for start_us in (1, 2, 3):
            bench.pipelines[1].on_depth(output(start_us))
        assert shot.output.sweep.start_us == 1
        done(bench.session.end(shot))
        assert bench.session.status.state is SessionState.PARKED
    assert [image.sweep.start_us for image in bench.published] == [1]
    assert bench.log == ["start", "stop", "park", "start", "stop", "park", "release"]


def test_a_shot_of_another_region_has_the_lens_for_itself():
    with Bench() as bench:
        bench.session.start()
        shot = Shot(0.4, 0.8)
        done(bench.session.begin(shot))
        with pytest.raises(ShotError, match="another image"):
            bench.session.begin(Shot())
        parameters = bench.pipelines[1].parameters
        assert (parameters.region_near_m, parameters.region_far_m) == (0.4, 0.8)
        bench.pipelines[1].on_depth(output(1))
        done(bench.session.end(shot))
        bench.pipelines[2].on_depth("as before")
        assert bench.pipelines[2].parameters.region_near_m == 0.0
    assert shot.output.sweep.start_us == 1 and len(bench.published) == 2


@pytest.mark.parametrize("region", [(-1.0, 0.0), (0.5, 0.5), (0.5, 0.4)])
def test_a_region_that_contradicts_itself_is_refused(region):
    with Bench() as bench:
        bench.session.start()
        with pytest.raises(ShotError, match="give 0 <= near_m < far_m"):
            bench.session.begin(Shot(*region))


@pytest.mark.parametrize(
    ("what", "reason"), [("sweep", "the lens was parked"), ("reset", "the node was reset"), ("stop", "was deactivated")]
)
def test_a_shot_fails_when_the_camera_is_taken_from_it(what, reason):
    with Bench() as bench:
        bench.session.start()
        shot = Shot()
        done(bench.session.begin(shot))
        {"sweep": lambda: bench.session.sweep(False), "reset": bench.session.reset, "stop": bench.session.stop}[what]()
        assert shot.wait(TIMEOUT_S)
        with pytest.raises(ShotError, match=reason):
            _ = shot.output


def test_a_shot_fails_with_the_source_and_the_session_recovers():
    with Bench() as bench:
        bench.session.start()
        done(bench.session.sweep(False))
        bench.refusals = []
        shot = Shot()
        done(bench.session.begin(shot))
        bench.pipelines[1].end("camera unplugged")
        assert shot.wait(TIMEOUT_S)
        with pytest.raises(ShotError, match="camera unplugged"):
            _ = shot.output
        done(bench.session.end(shot))
        assert bench.session.status.state is SessionState.PARKED, "that was wanted before the shot"
        done(bench.session.sweep(True))
        assert bench.session.status.state is SessionState.RUNNING


def test_a_reset_opens_everything_anew():
    with Bench() as bench:
        bench.session.start()
        done(bench.session.reset())
        assert bench.log == ["start", "stop", "release", "start"]
        bench.refusals = ["no camera found"]
        with pytest.raises(SourceError, match="no camera found"):
            done(bench.session.reset())
        assert bench.recovered.wait(TIMEOUT_S)


def test_a_recording_that_has_ended_is_played_again_when_that_is_asked_for():
    with Bench(at_end=AtEnd.STOP) as bench:
        bench.session.start()
        bench.pipelines[0].end()
        bench.wait_for(SessionState.ENDED)
        done(bench.session.adopt(DepthParameters(confidence_threshold=0.9)))
        assert bench.session.status.state is SessionState.ENDED
        done(bench.session.sweep(True))
        assert bench.session.status.state is SessionState.RUNNING


def test_what_is_asked_of_a_stopped_session_fails_at_once():
    with Bench() as bench:
        bench.session.start()
    with pytest.raises(SourceError, match="deactivated"):
        done(bench.session.sweep(True))


def test_the_lens_is_asked_now_and_then_and_one_that_does_not_answer_is_left_alone(monkeypatch):
    monkeypatch.setattr(depth_session, "LENS_CHECK_S", 0.01)

    def wait_for(told):
        deadline_s = time.monotonic() + TIMEOUT_S
        while bench.session.status.lens != told:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)

    warm, hot = LensState(True, None, 40.0), LensState(True, None, 50.0)
    with Bench() as bench:
        bench.session.start()
        assert bench.session.status.lens is None
        bench.lens = SimpleNamespace(state=lambda: warm)
        wait_for(warm)
        bench.lens = SimpleNamespace(state=lambda: hot)
        wait_for(hot)

        def broken():
            raise LensError("the lens went away")

        bench.lens = SimpleNamespace(state=broken)
        wait_for(None)
        assert bench.session.status.state is SessionState.RUNNING
