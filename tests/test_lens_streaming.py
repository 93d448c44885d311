"""Set points that the host sends, on a clock of the test's own."""

from types import SimpleNamespace

import numpy as np
import pytest

from edfv_ros.lens import streaming
from edfv_ros.lens.plan import SetPoints
from edfv_ros.lens.streaming import SetPointStream

STEP_S = 0.002
UNIX_NS = 1_700_000_000 * 10**9
POINTS = SetPoints(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]), np.array([1, 1, 1, 1, 1, -1, -1, -1]), (0, 4))


class Clock:
    """Time that passes only while somebody waits or sends; also the event that ends a stream."""

    def __init__(self, until_s: float) -> None:
        self.now_s = 0.0
        self._until_s = until_s

    def monotonic(self) -> float:
        return self.now_s

    def time_ns(self) -> int:
        return UNIX_NS + round(self.now_s * 1e9)

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        return self.now_s >= self._until_s


def stream(
    monkeypatch: pytest.MonkeyPatch, until_s: float, late_s: dict[int, float]
) -> tuple[list[tuple[float, float, int]], list[tuple[float, float]]]:
    """Time, vergence and direction of what is sent, and time and vergence of what is reported, from the lead's end on.

    ``late_s`` is how long the sending of the set points with these numbers takes.
    """
    clock = Clock(0.05 + until_s)
    monkeypatch.setattr(streaming, "time", SimpleNamespace(monotonic=clock.monotonic, time_ns=clock.time_ns))
    sent: list[tuple[float, float, int]] = []
    told: list[tuple[float, float]] = []

    def send(vergence_dpt: float, direction: int) -> None:
        clock.now_s += late_s.get(len(sent), 0.0)
        sent.append((clock.now_s - 0.05, vergence_dpt, direction))

    def report(time_us: int, vergence_dpt: float) -> None:
        told.append(((time_us - UNIX_NS // 1000) * 1e-6 - 0.05, vergence_dpt))

    SetPointStream(POINTS, STEP_S, 0.05, send, report)._move(clock)  # type: ignore[arg-type]
    return sent, told


def test_set_points_go_at_their_pace_after_the_lead_and_are_reported_for_their_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent, told = stream(monkeypatch, 0.032, {})
    assert sent[0] == (pytest.approx(-0.05), 0.0, 1)
    assert len(sent) - 1 == len(told) == 16
    for index, (time_s, vergence_dpt, direction) in enumerate(sent[1:]):
        assert time_s == pytest.approx(index * STEP_S, abs=1e-9)
        assert (vergence_dpt, direction) == (POINTS.vergence_dpt[index % 8], POINTS.direction[index % 8])
        assert told[index] == (pytest.approx(time_s + STEP_S / 2, abs=1e-6), vergence_dpt)


def test_what_is_overdue_is_left_out_but_for_the_turns_and_the_pace_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, told = stream(monkeypatch, 0.048, {2: 0.013})  # the second one of the sweep takes till 15 ms
    told_dpt = [vergence_dpt for _, vergence_dpt in told]
    # the near turn though overdue, then what is due at 14 ms
    assert told_dpt[:5] == [0.0, 1.0, 4.0, 1.0, 0.0]
    assert told[1][0] == pytest.approx(0.015 + STEP_S / 2, abs=1e-6)  # stamped when it was really sent
    times_s = [time_s for time_s, _, _ in sent[1:]]
    assert times_s[4:] == pytest.approx([0.016 + STEP_S * index for index in range(len(times_s) - 4)], abs=1e-9)
    assert [d for _, _, d in sent[1:]][:5] == [1, 1, 1, -1, 1]
