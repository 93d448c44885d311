"""Depth between turning points: the newest counts of every bin, against counting them one by one."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from recordings import write_small_recording
from typer.testing import CliRunner

from edfv_ros.cli import app
from edfv_ros.events import EVENT_DTYPE, TRIGGER_DTYPE, Packet, TriggerType
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sync import SweepSource, TrackSweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.lens.triggers import TriggerSweeps
from edfv_ros.pipeline_assembly import SweepAssembler
from edfv_ros.pipeline_rolling import expected_after, parts_for
from edfv_ros.rig import Rig, load_rig
from edfv_ros.volume import VolumeRing

T0 = 1_700_000_000_000_000
SWEEP_US = 100_000
SIZE = (24, 16)
Counted = tuple[int, int, int, float, NDArray[np.int16], NDArray[np.uint16], NDArray[np.int16] | None]


@pytest.fixture
def rig() -> Rig:
    rig = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
    return rig.model_copy(update={"camera": rig.camera.model_copy(update={"width_px": SIZE[0], "height_px": SIZE[1]})})


def drawn(count: int, sweeps: int) -> NDArray[np.void]:
    draw = np.random.default_rng(8)
    events = np.zeros(count, EVENT_DTYPE)
    events["timestamp"] = T0 + np.sort(draw.integers(0, sweeps * SWEEP_US, count))
    events["x"], events["y"] = draw.integers(0, SIZE[0], count), draw.integers(0, SIZE[1], count)
    events["polarity"] = draw.integers(0, 2, count)
    return events


def sweeps_of(rig: Rig, sync: str, sweeps: int) -> SweepSource:
    if sync == "trigger":
        return TriggerSweeps(rig)
    turns = np.arange(sweeps + 1)
    focus = np.where(turns % 2, rig.sweep.vergence_max_dpt, rig.sweep.vergence_min_dpt)
    return TrackSweeps(LensTrack(T0 + turns * float(SWEEP_US), focus), rig)


def run(rig: Rig, parts: int, sync: str, sweeps: int, packet_us: int, lost: range = range(0)) -> list[Counted]:
    """All that comes of it: index, part, start of the opposite sweep, middle, counts, events, opposite counts."""
    events = drawn(4000 * sweeps, sweeps)
    edges = np.array([(T0 + SWEEP_US * turn, TriggerType.RISING_EDGE) for turn in range(sweeps + 1)], TRIGGER_DTYPE)
    ring = VolumeRing(rig.bins, SIZE, parts=parts)
    assembler = SweepAssembler(sweeps_of(rig, sync, sweeps), ring, lambda count: None, None)
    found: list[Counted] = []

    def take(closed_sweeps) -> None:  # type: ignore[no-untyped-def]
        for closed in closed_sweeps:
            latest, opposite = closed.snapshot.latest, closed.snapshot.opposite
            found.append(
                (
                    closed.snapshot.index,
                    closed.snapshot.part,
                    latest.sweep.direction,
                    latest.sweep.middle_us - T0,
                    latest.counts.copy(),
                    latest.event_count.copy(),
                    opposite.counts.copy() if opposite else None,
                )
            )
            closed.snapshot.release()

    pending = 0
    for number, start_us in enumerate(range(T0, T0 + sweeps * SWEEP_US + 1, packet_us)):
        of_packet = (events["timestamp"] >= start_us) & (events["timestamp"] < start_us + packet_us)
        now = (edges["timestamp"] >= start_us) & (edges["timestamp"] < start_us + packet_us)
        if number in lost:
            pending += int(of_packet.sum())
            take(assembler.push(Packet(triggers=edges[now]), 0.0))
        else:
            take(assembler.push(Packet(events[of_packet], edges[now], lost_events=pending), 0.0))
            pending = 0
    take(assembler.finish())
    assembler.close()
    return found


def counted(rig: Rig, start_us: int, end_us: int, bins: range, sweeps: int) -> NDArray[np.int64]:
    """Signed counts of some segments of a sweep, in order of time, [segments, H, W]."""
    events = drawn(4000 * sweeps, sweeps)
    segment = (events["timestamp"] - start_us) * rig.bins.count // (end_us - start_us)
    counts = np.zeros((rig.bins.count, SIZE[1], SIZE[0]), np.int64)
    inside = (segment >= bins.start) & (segment < bins.stop)
    np.add.at(counts, (segment[inside], events["y"][inside], events["x"][inside]), events["polarity"][inside] * 2 - 1)
    return counts


@pytest.mark.parametrize("sync", ["file", "trigger"])
@pytest.mark.parametrize("packet_us", [7_000, 33_000, 250_000])
@pytest.mark.parametrize("parts", [2, 4])
def test_every_bin_has_its_newest_counts(rig: Rig, sync: str, packet_us: int, parts: int) -> None:
    sweeps, bins = 6, rig.bins.count
    found = run(rig, parts, sync, sweeps, packet_us)
    whole = {index: (counts, opposite) for index, part, *_, counts, _, opposite in found if not part}
    rolling = [one for one in found if one[1]]
    assert sorted(whole) == list(range(sweeps))
    # The first two sweeps tell what follows; the last sweep's end is not followed by anything.
    assert [(index, part) for index, part, *_ in rolling] == [
        (index, part) for index in range(2, sweeps) for part in range(1, parts)
    ]
    for index, part, direction, _, counts, event_count, opposite in rolling:
        passed = bins * part // parts
        start_us = T0 + index * SWEEP_US
        new = counted(rig, start_us, start_us + SWEEP_US, range(passed), sweeps)
        old_us = start_us - 2 * SWEEP_US
        old = counted(rig, old_us, old_us + SWEEP_US, range(passed, bins), sweeps)
        expected = (new + old) if direction > 0 else -(new + old)[::-1]
        np.testing.assert_array_equal(counts, expected)
        np.testing.assert_array_equal(opposite, whole[index - 1][0])
        assert direction == (1 if index % 2 == 0 else -1)
        events = drawn(4000 * sweeps, sweeps)["timestamp"]
        cut_us = SWEEP_US * part // parts
        expected_events = np.count_nonzero((events >= start_us) & (events < start_us + cut_us))
        expected_events += np.count_nonzero((events >= old_us + cut_us) & (events < old_us + SWEEP_US))
        assert event_count.sum() == expected_events


def test_the_whole_sweeps_are_what_they_are_without(rig: Rig) -> None:
    with_parts, without = run(rig, 3, "trigger", 5, 9_000), run(rig, 1, "trigger", 5, 9_000)
    whole = [one for one in with_parts if not one[1]]
    for mine, theirs in zip(whole, without, strict=True):
        assert mine[:4] == theirs[:4]
        np.testing.assert_array_equal(mine[4], theirs[4])
        np.testing.assert_array_equal(mine[5], theirs[5])


def test_time_goes_on_evenly_between_the_turns(rig: Rig) -> None:
    """The middle of a window is the mean time of its newest counts: part f of a sweep is over at
    ``f^2 / 2 - (1 - f) + (1 - f)^2 / 2`` sweeps after the beginning, and at 1/2 for f = 1."""
    found = run(rig, 4, "file", 5, 10_000)
    for index, part, _, middle_us, *_ in found:
        f = part / 4 or 1.0
        expected = (index + f**2 / 2 - (1 - f) + (1 - f) ** 2 / 2) * SWEEP_US
        assert middle_us == pytest.approx(expected, abs=2.0)
    later = [middle_us for index, _, _, middle_us, *_ in found if index >= 2]
    assert all(after > before for before, after in pairwise(later))


def test_a_loss_costs_what_it_touches(rig: Rig) -> None:
    """Sweep 4 loses events in its second quarter: what needs it is not there, and all comes back."""
    found = run(rig, 4, "file", 10, 5_000, lost=range(86, 88))
    kept = {(index, part) for index, part, *_ in found}
    assert (4, 0) not in kept and (4, 2) not in kept and (4, 3) not in kept
    assert {(4, 1), (3, 3), (5, 0), (6, 0)} <= kept
    assert not {(5, 1), (6, 1)} & kept, "sweep 4 is missing from both pairs"
    assert {(7, 1), (8, 2)} <= kept


def test_parts_for_a_rate() -> None:
    assert parts_for(0.0, 100_000, 32) == parts_for(10.0, 100_000, 32) == 1
    assert parts_for(10.1, 100_000, 32) == parts_for(20.0, 100_000, 32) == 2
    assert parts_for(1e6, 100_000, 32) == 32


def test_the_expected_sweep_follows_the_rhythm() -> None:
    up = FocusSweep(np.array([0.0, 60.0, 100.0]), np.array([1.0, 2.0, 4.0]))
    down = FocusSweep(np.array([110.0, 190.0]), np.array([4.0, 1.0]), number=7)
    expected = expected_after(up, down)
    assert expected.timestamps_us.tolist() == [200.0, 260.0, 300.0]
    assert expected.vergence_dpt.tolist() == [1.0, 2.0, 4.0] and expected.number == 8


def test_edfv_run_gives_depth_at_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    """Ten sweeps a second: two parts of each for 20 depth images a second, from the third sweep on."""
    recording, out = write_small_recording(tmp_path / "sweep", sweeps=4), tmp_path / "depth"
    arguments = ["run", str(recording), "--out", str(out), "--estimator", "reversal", "--rate", "20"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    names = [f"depth_{name}.npy" for name in ("0000", "0001", "0002", "0002_1", "0003", "0003_1")]
    assert sorted(path.name for path in out.glob("depth_*.npy")) == names
    told = json.loads((out / "report.json").read_text())["sweeps"]
    order = [(0, 0), (1, 0), (2, 1), (2, 0), (3, 1), (3, 0)]
    assert [(sweep["index"], sweep["part"]) for sweep in told] == order
    assert all(sweep["metrics"] is not None for sweep in told)
    assert CliRunner().invoke(app, [*arguments[:-2], "--overwrite"]).exit_code == 0
    assert len(list(out.glob("depth_*.npy"))) == 4, "what an earlier run gave between turns is gone"
    assert CliRunner().invoke(app, [*arguments[:-1], "-1", "--overwrite"]).exit_code == 2
