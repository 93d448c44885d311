"""Sweep recordings through the capture process and the pipeline, by lens track and by triggers."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edfv_ros.depth import DepthEstimate
from edfv_ros.errors import LensError
from edfv_ros.events import EVENT_DTYPE, TRIGGER_DTYPE, Aedat4Writer, Capture, SourceInfo, TriggerType, open_source
from edfv_ros.inspection import count_sweeps
from edfv_ros.lens.sync import Sync, open_sweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.lens.waveform import sweep_between, waveform_vergence_dpt
from edfv_ros.pipeline import DepthOutput, DepthPipeline, snapshots
from edfv_ros.recording import SweepRecording, find_recording
from edfv_ros.rig import Rig, load_rig
from edfv_ros.volume import SweepSnapshot, VolumeRing

PATHTRACED = Path(__file__).parents[2] / "shared" / "data" / "pathtraced"
T0 = 1_700_000_000_000_000
WAIT_S = 60.0


def volumes(rig: Rig, folder: Path, sync: Sync, ring_mib: int = 32) -> list[tuple[int, int, int, NDArray[np.int16]]]:
    found = []
    ring = VolumeRing(rig.bins, rig.camera.resolution)
    with Capture(str(folder), ring_mib=ring_mib) as capture:
        for snapshot in snapshots(rig, capture, open_sweeps(rig, folder, sync=sync), ring=ring):
            sweep = snapshot.latest.sweep
            found.append((sweep.start_us, sweep.end_us, sweep.direction, snapshot.latest.counts.copy()))
            snapshot.release()
    return found


def counted(rig: Rig, events: NDArray[np.void], start_us: int, end_us: int, direction: int) -> NDArray[np.int64]:
    """dI/dv of a straight sweep, counted event by event from the vergence at its time."""
    part = events[(events["timestamp"] >= start_us) & (events["timestamp"] < end_us)]
    segment = (part["timestamp"] - start_us) * rig.volume.bins // (end_us - start_us)
    bin_index = segment if direction > 0 else rig.volume.bins - 1 - segment
    counts = np.zeros((rig.volume.bins, rig.camera.height_px, rig.camera.width_px), np.int64)
    np.add.at(counts, (bin_index, part["y"], part["x"]), np.where(part["polarity"] == 1, direction, -direction))
    return counts


def all_events(path: Path) -> NDArray[np.void]:
    source = open_source(str(path))
    parts = []
    while (packet := source.read()) is not None:
        parts.append(packet.events.copy())
    source.close()
    return np.concatenate(parts, dtype=EVENT_DTYPE)


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, Rig]:
    """Four sweeps of random events over a small sensor, with triggers and the lens track."""
    rig = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
    rig = rig.model_copy(update={"camera": rig.camera.model_copy(update={"width_px": 64, "height_px": 48})})
    rng = np.random.default_rng(5)
    events = np.zeros(400_000, EVENT_DTYPE)
    events["timestamp"] = T0 + np.sort(rng.integers(0, 400_001, len(events)))
    events["x"], events["y"] = rng.integers(0, 64, len(events)), rng.integers(0, 48, len(events))
    events["polarity"] = rng.integers(0, 2, len(events))
    turns = [(T0 + 100_000 * i, TriggerType.RISING_EDGE) for i in range(5)]
    info = SourceInfo("test", 64, 48, ("events", "triggers"), live=False)
    with Aedat4Writer(tmp_path / "recording.aedat4", info) as writer:
        writer.write_events(events)
        writer.write_triggers(np.array(turns, TRIGGER_DTYPE))
    rows = np.linspace(0.0, 2.0, 129)
    lines = [f"{T0 + row * 200_000:.0f},{waveform_vergence_dpt(rig, row):.6f}\n" for row in rows]
    (tmp_path / "lens.csv").write_text("timestamp_us,vergence_dpt\n" + "".join(lines))
    return tmp_path, rig


@pytest.mark.parametrize("sync", ["file", "trigger"])
def test_a_recording_gives_the_volume_counted_independently(recording: tuple[Path, Rig], sync: Sync) -> None:
    folder, rig = recording
    found = volumes(rig, folder, sync)
    assert [(start - T0, end - T0, direction) for start, end, direction, _ in found] == [
        (100_000 * i, 100_000 * (i + 1), 1 - 2 * (i % 2)) for i in range(4)
    ]
    events = all_events(folder)
    for start_us, end_us, direction, counts in found:
        expected = counted(rig, events, start_us, end_us, direction)
        moved = np.abs(counts - expected).sum() / 2
        assert moved <= (0 if sync == "trigger" else 40)  # lens.csv has whole microseconds: bins shift by one


def test_a_ring_too_small_for_a_sweep_ends_in_words_and_not_in_a_deadlock(
    recording: tuple[Path, Rig], caplog: pytest.LogCaptureFixture
) -> None:
    folder, rig = recording
    assert len(volumes(rig, folder, "file", ring_mib=1)) == 4  # a known track needs no waiting
    assert volumes(rig, folder, "trigger", ring_mib=1) == []
    assert "too small for a sweep" in caplog.text


@pytest.mark.parametrize("scene", ["scene_201", "scene_202"])
def test_track_and_triggers_of_a_path_traced_recording_give_the_same_volume(scene: str) -> None:
    folder = PATHTRACED / scene
    if not folder.exists():
        pytest.skip("the path-traced recordings are not beside this checkout")
    rig = load_rig(folder / "rig.yaml")
    by_track, by_trigger = volumes(rig, folder, "file"), volumes(rig, folder, "trigger")
    assert [sweep[:3] for sweep in by_track] == [sweep[:3] for sweep in by_trigger]
    assert [(s - T0, e - T0, d) for s, e, d, _ in by_track] == [(0, 100_000, 1), (100_000, 200_000, -1)]
    for (*_, tracked), (*_, triggered) in zip(by_track, by_trigger, strict=True):
        assert np.abs(tracked.astype(int) - triggered).sum() / 2 <= 1e-3 * np.abs(triggered).sum()


class CountingEstimator:
    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        total = snapshot.latest.event_count.astype(np.float32)
        return DepthEstimate(total, total, total, total)


def test_the_live_pipeline_runs_on_the_capture_process(recording: tuple[Path, Rig]) -> None:
    folder, rig = recording
    outputs: list[DepthOutput] = []
    live = DepthPipeline(
        rig,
        lambda: Capture(str(folder), real_time=True),
        lambda: open_sweeps(rig, folder, sync="trigger"),
        CountingEstimator(),
        outputs.append,
    )
    live.start()
    assert live.wait(WAIT_S)
    statistics = live.statistics()
    assert statistics.error is None and statistics.sweeps == 4 and statistics.events == 400_000
    assert statistics.health is not None and statistics.health.events == 400_000
    assert len(outputs) >= 3 and outputs[-1].index == 3
    assert all(output.estimate.depth_m.sum() == output.events for output in outputs)
    assert 0 < statistics.latency_ms["p50"] < 1000


def test_a_source_that_is_not_there_is_the_pipeline_s_error(recording: tuple[Path, Rig], tmp_path: Path) -> None:
    _, rig = recording
    live = DepthPipeline(
        rig,
        lambda: Capture(str(tmp_path / "absent.aedat4")),
        lambda: open_sweeps(rig),
        CountingEstimator(),
        lambda output: None,
    )
    live.start()
    assert live.wait(WAIT_S)
    assert "absent.aedat4" in (live.statistics().error or "")


def test_events_without_lens_information_end_in_an_explanation(recording: tuple[Path, Rig]) -> None:
    folder, rig = recording
    (folder / "lens.csv").unlink()
    info = SourceInfo("test", 64, 48, ("events",), live=False)
    events = all_events(folder)
    with Aedat4Writer(folder / "recording.aedat4", info) as writer:
        writer.write_events(events)
    with pytest.raises(LensError, match=r"trigger.*lens\.csv"):
        volumes(rig, folder, "trigger")


def test_waveform_and_track_agree(recording: tuple[Path, Rig]) -> None:
    folder, rig = recording
    sweep = LensTrack.from_csv(folder / "lens.csv").sweeps(rig.bins)[0]
    made = sweep_between(rig, T0, T0 + 100_000, 1)
    difference = sweep.bin_edge_times_us(rig.bins) - made.bin_edge_times_us(rig.bins)
    assert np.abs(difference).max() <= 1


def test_sweeps_are_counted_as_they_are_numbered(recording: tuple[Path, Rig]) -> None:
    folder, rig = recording
    (folder / "lens.csv").unlink()
    info = SourceInfo("test", 64, 48, ("events", "triggers"), live=False)
    events = all_events(folder)
    turns = [(T0 + 50_000 * i, TriggerType.RISING_EDGE) for i in range(8) if i != 4]
    with Aedat4Writer(folder / "recording.aedat4", info) as writer:
        writer.write_events(events)
        writer.write_triggers(np.array(turns, TRIGGER_DTYPE))
    rig = rig.model_copy(update={"sweep": rig.sweep.model_copy(update={"frequency_hz": 10.0})})
    assert count_sweeps(SweepRecording(find_recording(folder), rig)) == 7
    ring = VolumeRing(rig.bins, rig.camera.resolution)
    with Capture(str(folder)) as capture:
        indices = []
        for snapshot in snapshots(rig, capture, open_sweeps(rig, folder), ring=ring):
            indices.append(snapshot.index)
            snapshot.release()
    assert indices == [0, 1, 2, 5, 6]
