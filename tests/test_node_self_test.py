"""The self-test names the link that fails; the session here does what a test wants to see."""

from dataclasses import dataclass, field, replace
from itertools import cycle
from types import SimpleNamespace

import pytest
from recordings import small_rig

from edfv_ros.errors import LensError
from edfv_ros.nodes import self_test
from edfv_ros.nodes.depth_session import SessionState

RIG = small_rig()  # 0.3 to 4.2 dpt, a sweep of 100 ms in 32 bins of 3125 us


@dataclass(frozen=True)
class Statistics:
    events: int = 0
    lost_events: int = 0
    sweeps: int = 0
    depths: int = 0
    dropped_sweeps: dict = field(default_factory=dict)
    lens: dict = field(default_factory=dict)
    timing: dict = field(default_factory=lambda: {"clock_uncertainty_us": 80.0})
    latency_ms: dict = field(default_factory=lambda: {"p50": 42.0})


class Lens:
    """Goes from end to end."""

    def __init__(self, *vergences_dpt, error=""):
        self._vergences_dpt, self._error = cycle(vergences_dpt), error

    def state(self):
        if self._error:
            raise LensError(self._error)
        return SimpleNamespace(last=SimpleNamespace(vergence_dpt=next(self._vergences_dpt)))


class Session:
    """Each look finds more: ``grows`` says how much of what, ``counts`` what is counted once a look."""

    def __init__(self, *, state=SessionState.RUNNING, lens=None, error="", first=None, counts=None, **grows):
        self.lens = lens
        self._state, self._error, self._grows, self._counts = state, error, grows, counts or {}
        self._now, self._looks = first or Statistics(), 0

    @property
    def status(self):
        now, self._looks = self._now, self._looks + 1
        grown = {name: getattr(now, name) + by for name, by in self._grows.items()}
        counted = {name: {reason: self._looks} for name, reason in self._counts.items()}
        self._now = replace(now, **grown, **counted)
        return SimpleNamespace(state=self._state, error=self._error, statistics=now)


ALL_GROW = {"events": 10_000, "sweeps": 1, "depths": 1}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(self_test, "SWEEPS", 1)
    monkeypatch.setattr(self_test, "_LEAST_S", 0.3)


def findings(session):
    checks = self_test.self_test(session, RIG, "tcp://127.0.0.1:7777")
    assert all("\n" not in check.finding for check in checks)
    return {check.name: (check.status, check.finding) for check in checks}


def test_a_camera_that_measures_passes_everything():
    found = findings(Session(lens=Lens(0.4, 2.0, 4.1), **ALL_GROW))
    assert list(found) == ["source", "events", "lens", "sweeps", "estimator", "clock"]
    assert {status for status, _ in found.values()} == {"ok"}
    assert found["source"][1] == "tcp://127.0.0.1:7777"
    assert found["lens"][1] == "moves from 0.40 to 4.10 dpt"
    assert found["clock"][1] == "fit of the lens's clock 80 us, a bin lasts 3125 us"
    assert found["estimator"][1].endswith("42 ms after their sweep")


@pytest.mark.parametrize(
    ("session", "name", "finding"),
    [
        (Session(state=SessionState.WAITING, error="no camera found"), "source", "no camera found"),
        (Session(state=SessionState.PARKED), "source", "the lens is parked, and nothing is read"),
        (Session(sweeps=1, depths=1), "events", "none in"),
        (Session(**ALL_GROW, lost_events=5), "events", "lost"),
        (Session(lens=Lens(error="the lens went away"), **ALL_GROW), "lens", "the lens went away"),
        (Session(lens=Lens(1.0, 1.5), **ALL_GROW), "lens", "moves from 1.00 to 1.50 dpt, not over 0.30 to 4.20 dpt"),
        (Session(events=1), "sweeps", "0 in"),
        (
            Session(**ALL_GROW, counts={"dropped_sweeps": "events lost inside the sweep"}),
            "sweeps",
            "lost inside the sweep)",
        ),
        (Session(events=1, counts={"lens": "missed_edges"}), "sweeps", " missed edges)"),
        (Session(events=1, sweeps=1), "estimator", "no depth of"),
        (
            Session(first=Statistics(timing={"edge_jitter_us": 5000.0}), **ALL_GROW),
            "clock",
            "jitter of the triggers 5000 us, a bin lasts 3125 us",
        ),
        (Session(first=Statistics(timing={"edges": 2}), **ALL_GROW), "clock", "no rhythm yet"),
    ],
)
def test_what_fails_is_named(session, name, finding):
    status, found = findings(session)[name]
    assert status == "broken" and finding in found


def test_what_there_is_not_fails_nothing():
    found = findings(Session(first=Statistics(timing={}), **ALL_GROW))
    assert {name for name, (status, _) in found.items() if status == "missing"} == {"lens", "clock"}
    assert "broken" not in {status for status, _ in found.values()}
