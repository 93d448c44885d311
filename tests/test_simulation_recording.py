"""Scenes and the recordings made of them, read back with other code than wrote them."""

from itertools import pairwise

import dv_processing as dv
import numpy as np
import pytest
from recordings import small_rig
from still_scene import StillScene, changed, dotted_plane

from edfv_ros.errors import OutputError, SimulationError
from edfv_ros.rig import load_rig
from edfv_ros.simulation import (
    LENS_RESPONSES,
    MOTIONS,
    Layer,
    PixelModel,
    SimulationSettings,
    ThingMotion,
    VirtualRig,
    load_settings,
    make_scene,
    set_in_motion,
    write_recording,
)
from edfv_ros.simulation.aps import FrameModel
from edfv_ros.simulation.imu import ImuModel
from edfv_ros.simulation.readout import Readout

QUIET = PixelModel().signal_only()
EVENTS_ONLY = SimulationSettings(frames=FrameModel(rate_hz=0.0), imu=ImuModel(rate_hz=0.0))


def read_back(folder):
    """Events, triggers and frames through dv-processing."""
    reader = dv.io.MonoCameraRecording(str(folder / "recording.aedat4"))
    events, triggers, frames = [], [], []
    while (batch := reader.getNextEventBatch()) is not None:
        events.append(batch.numpy())
    while (triggers_read := reader.getNextTriggerBatch()) is not None:
        triggers += [(t.timestamp, int(t.type)) for t in triggers_read]
    while reader.isFrameStreamAvailable() and (frame := reader.getNextFrame()) is not None:
        frames.append(frame)
    return np.concatenate(events), triggers, frames


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError])
@pytest.mark.parametrize("was_there", [False, True])
def test_a_recording_that_does_not_get_to_its_end_is_not_left_in_parts(tmp_path, error, was_there):
    folder = tmp_path / "a"
    if was_there:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")

    def fail(done, total):
        assert (folder / "recording.aedat4").exists() and (folder / "rig.yaml").exists()
        raise error

    rig = small_rig()
    expected = (OutputError, "No space left") if isinstance(error, OSError) else (error, None)
    with pytest.raises(expected[0], match=expected[1]):
        write_recording(folder, rig, make_scene("cards", 1, rig), steps_per_sweep=32, progress=fail)
    assert folder.exists() == was_there
    assert not was_there or [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_recording_holds_what_the_contract_asks_for(tmp_path):
    rig = small_rig()
    scene = make_scene("cards", 1, rig)
    summary = write_recording(tmp_path / "a", rig, scene, sweeps=3, steps_per_sweep=32, start_us=1_000_000_000)
    events, triggers, frames = read_back(tmp_path / "a")
    assert len(events) == summary.events > 10_000
    assert (np.diff(events["timestamp"]) >= 0).all()
    assert events["timestamp"][0] >= 1_000_000_000
    assert events["timestamp"][-1] <= 1_000_300_100
    assert events["x"].max() == 63
    assert events["y"].max() == 47
    rises = [time for time, kind in triggers if kind == 1]
    widths = [fall - rise for (rise, first), (fall, second) in pairwise(triggers) if (first, second) == (1, 2)]
    assert rises == [1_000_000_000 + 100_000 * i for i in range(4)]
    assert widths == [1000, 500, 1000, 500]
    assert len(frames) == summary.frames == 8
    assert frames[0].image.shape == (48, 64)
    assert 20 < frames[0].image.mean() < 220
    track = np.loadtxt(tmp_path / "a" / "lens.csv", delimiter=",", skiprows=1)
    assert (np.diff(track[:, 0]) > 0).all()
    assert track[[0, 32, 64, 96], 1].tolist() == [0.3, 4.2, 0.3, 4.2]
    assert load_rig(tmp_path / "a" / "rig.yaml") == rig
    assert np.array_equal(np.load(tmp_path / "a" / "depth_gt.npy"), VirtualRig.of_scene(rig, scene).source.depth_m(0.0))
    assert load_settings(tmp_path / "a" / "simulation.yaml") == SimulationSettings()


def test_recording_repeats_by_seed(tmp_path):
    rig = small_rig()
    scene = make_scene("room", 2, rig)
    written = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_recording(tmp_path / name, rig, scene, seed=seed, sweeps=1, steps_per_sweep=16)
        written.append((tmp_path / name / "recording.aedat4").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


@pytest.mark.parametrize("waveform", ["triangle", "sine", "sawtooth"])
def test_polarity_reverses_where_the_plane_is_in_focus(tmp_path, waveform):
    rig = changed(small_rig(), "sweep", waveform=waveform)
    depth_m, tenth_bin = 0.55, rig.bins.width_dpt / 10
    scene = dotted_plane(depth_m)
    pixels = PixelModel.ideal(threshold_on=0.01, threshold_off=0.01)  # every pixel fires late by its threshold
    settings = EVENTS_ONLY.model_copy(update={"pixels": pixels, "readout": Readout.ideal()})
    write_recording(tmp_path / "plane", rig, scene, settings=settings, sweeps=2)
    events, triggers, _ = read_back(tmp_path / "plane")
    track = np.loadtxt(tmp_path / "plane" / "lens.csv", delimiter=",", skiprows=1)
    sharp = VirtualRig.of_scene(rig, scene).source.sharp
    bright = np.where(sharp > np.median(sharp), 1, -1)
    sign = bright[events["y"], events["x"]] * (2 * events["polarity"].astype(int) - 1)
    vergence = np.interp(events["timestamp"], track[:, 0], track[:, 1])
    peaks = []
    turns = [time for time, kind in triggers if kind == 1]
    for start, end in pairwise(turns):
        during = (events["timestamp"] > start + 2) & (events["timestamp"] < end - 2)
        edges = np.linspace(0.3, 4.2, 400)
        counts = np.histogram(vergence[during], edges, weights=sign[during])[0]
        direction = 1 if np.diff(np.interp([start + 5, end - 5], track[:, 0], track[:, 1])) > 0 else -1
        sharpness = np.cumsum(direction * counts)
        near = np.abs(edges[1:] - 1 / depth_m) < 0.25
        quadratic = np.polyfit(edges[1:][near] - 1 / depth_m, sharpness[near], 2)
        peaks.append(-quadratic[1] / (2 * quadratic[0]))
    assert len(peaks) == 2
    assert np.abs(peaks).max() < tenth_bin


def test_triggers_lead_the_optics_by_the_delay_of_the_lens(tmp_path):
    rig = changed(small_rig(), "lens", delay_ms=7.0)
    scene = make_scene("cards", 0, rig)
    write_recording(tmp_path / "a", rig, scene, sweeps=1, steps_per_sweep=16, settings=EVENTS_ONLY, start_us=10**12)
    _, triggers, _ = read_back(tmp_path / "a")
    track = np.loadtxt(tmp_path / "a" / "lens.csv", delimiter=",", skiprows=1)
    assert track[0, 0] - triggers[0][0] == 7000


def test_breathing_scales_the_picture():
    rig = changed(small_rig(), "lens", breathing={"vergence_dpt": [0.3, 4.2], "scale": [1.0, 1.04]})

    def spot(canvas):
        radiance = np.full((2 * canvas.height_px, 2 * canvas.width_px), 1e-4, np.float32)
        row, column = 2 * (canvas.margin_px + 24), 2 * (canvas.margin_px + 45)
        radiance[row : row + 2, column : column + 2] = 1.0  # at x = 45, y = 24
        return (Layer(0, 0, radiance, None, np.full(radiance.shape, 2.0, np.float32)),)

    virtual = VirtualRig.of_scene(rig, StillScene(spot, (2.0, 2.0)))
    for picture, scale in zip(virtual.source.pictures([0.3, 4.2], 0.0), (1.0, 1.04), strict=True):
        y, x = np.indices(picture.shape)
        bright = np.where(picture > 0.1 * picture.max(), picture, 0.0)
        assert (bright * x).sum() / bright.sum() == pytest.approx(31.5 + scale * (45 - 31.5), abs=0.1)
        assert (bright * y).sum() / bright.sum() == pytest.approx(23.5 + scale * (24 - 23.5), abs=0.1)


def test_a_moving_recording_tells_where_everything_was(tmp_path):
    rig = small_rig()
    settings = SimulationSettings(
        motion=MOTIONS["handheld"], lens_response=LENS_RESPONSES["el-16-40"], things=ThingMotion(share=1.0)
    )
    scene = set_in_motion(make_scene("cards", 3, rig), settings.things, 3)
    summary = write_recording(tmp_path / "a", rig, scene, settings=settings, sweeps=3, steps_per_sweep=32, seed=3)
    depth_m = np.load(tmp_path / "a" / "depth_gt.npy")
    assert depth_m.shape == (3, 48, 64)
    assert np.abs(depth_m[2] - depth_m[0]).max() > 0
    motion = np.loadtxt(tmp_path / "a" / "camera_motion.csv", delimiter=",", skiprows=1)
    assert np.linalg.norm(motion[:, 4:], axis=1) == pytest.approx(np.ones(len(motion)), abs=1e-6)
    assert motion[0, 1:].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert 1e-4 < np.ptp(motion[:, 1:4], axis=0).max() < 0.05
    lens = np.loadtxt(tmp_path / "a" / "lens_state.csv", delimiter=",", skiprows=1)
    assert np.abs(lens[:, 1] - lens[:, 2]).max() > 0.03  # the optics lag behind
    assert load_settings(tmp_path / "a" / "simulation.yaml") == settings
    reader = dv.io.MonoCameraRecording(str(tmp_path / "a" / "recording.aedat4"))
    samples = []
    while (batch := reader.getNextImuBatch()) is not None:
        samples += [(s.timestamp, s.accelerometerY) for s in batch]
    assert len(samples) == pytest.approx(300, abs=2)
    assert np.mean([g for _, g in samples]) == pytest.approx(-1.0, abs=0.1)
    assert summary.events > 10_000


def test_impossible_recordings_are_one_line_errors(tmp_path):
    rig = small_rig()
    scene = make_scene("cards", 0, rig)
    with pytest.raises(SimulationError, match="sweeps = 0"):
        write_recording(tmp_path / "a", rig, scene, sweeps=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_recording(tmp_path / "file", rig, scene, sweeps=1, steps_per_sweep=16)
