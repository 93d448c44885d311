"""Scenes and the recordings made of them, read back with other code than wrote them."""

from itertools import pairwise

import dv_processing as dv
import numpy as np
import pytest
from recordings import small_rig

from edfv_ros.errors import OutputError, SimulationError
from edfv_ros.rig import Rig, load_rig
from edfv_ros.simulation import SCENE_KINDS, Layer, PixelModel, Scene, VirtualRig, make_scene, write_recording

QUIET = PixelModel().signal_only()


def changed(rig: Rig, part: str, **values: object) -> Rig:
    data = rig.model_dump()
    data[part] |= values
    return Rig.model_validate(data)


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


def textured_plane(depth_m: float, rig: Rig) -> Scene:
    """A fronto-parallel plane of random dots of 2 pixels."""
    margin = 24
    height, width = rig.camera.height_px + 2 * margin, rig.camera.width_px + 2 * margin
    cells = np.random.default_rng(5).uniform(0.1, 0.9, (height // 2, width // 2))
    radiance = np.kron(cells, np.ones((4, 4))).astype(np.float32)
    layer = Layer(0, 0, radiance, None, np.full(radiance.shape, depth_m, np.float32))
    return Scene("plane", rig.camera.width_px, rig.camera.height_px, margin, (layer,))


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_scene_lies_within_the_sweep_and_repeats_by_seed(kind):
    rig = small_rig()
    scene, again, other = (make_scene(kind, seed, rig) for seed in (4, 4, 5))
    assert scene.depth_m.shape == scene.sharp.shape == (48, 64)
    assert scene.depth_m.dtype == np.float32
    assert scene.depth_m.min() > 1 / rig.sweep.vergence_max_dpt
    assert scene.depth_m.max() < 1 / rig.sweep.vergence_min_dpt
    assert np.array_equal(scene.depth_m, again.depth_m)
    assert np.array_equal(scene.sharp, again.sharp)
    assert not np.array_equal(scene.sharp, other.sharp)
    assert len(scene.layers) > 4
    for layer in scene.layers:
        assert np.isfinite(layer.radiance).all()
        assert layer.radiance.min() >= 0


def test_scene_fills_the_sweep_of_another_rig():
    rig = small_rig()
    rig = changed(rig, "sweep", vergence_min_dpt=2.0, vergence_max_dpt=4.0)
    rig = changed(rig, "lens", calibration={"control": [0.0, 1.0], "vergence_up_dpt": [1.0, 12.0]})
    rig = changed(rig, "sweep", vergence_min_dpt=2.0, vergence_max_dpt=10.0)
    depth_m = make_scene("cards", 0, rig).depth_m
    assert depth_m.min() > 0.1
    assert depth_m.max() < 0.5


def test_unknown_scene_and_negative_seed_are_one_line_errors():
    with pytest.raises(SimulationError, match="'attic' is not known: choose one of tabletop"):
        make_scene("attic", 0, small_rig())
    with pytest.raises(SimulationError, match="seed -1"):
        make_scene("cards", -1, small_rig())


def test_recording_holds_what_the_contract_asks_for(tmp_path):
    rig = small_rig()
    scene = make_scene("cards", 1, rig)
    summary = write_recording(tmp_path / "a", rig, scene, sweeps=3, steps_per_sweep=32, start_us=1_000_000_000)
    events, triggers, frames = read_back(tmp_path / "a")
    assert len(events) == summary.events > 10_000
    assert (np.diff(events["timestamp"]) >= 0).all()
    assert events["timestamp"][0] >= 1_000_000_000
    assert events["timestamp"][-1] <= 1_000_300_000
    assert events["x"].max() == 63
    assert events["y"].max() == 47
    rises = [time for time, kind in triggers if kind == 1]
    widths = [fall - rise for (rise, first), (fall, second) in pairwise(triggers) if (first, second) == (1, 2)]
    assert rises == [1_000_000_000 + 100_000 * i for i in range(4)]
    assert widths == [1000, 500, 1000, 500]
    assert len(frames) == summary.frames == 6
    assert frames[0].image.shape == (48, 64)
    assert 20 < frames[0].image.mean() < 220
    track = np.loadtxt(tmp_path / "a" / "lens.csv", delimiter=",", skiprows=1)
    assert (np.diff(track[:, 0]) > 0).all()
    assert track[[0, 32, 64, 96], 1].tolist() == [0.3, 4.2, 0.3, 4.2]
    assert load_rig(tmp_path / "a" / "rig.yaml") == rig
    assert np.array_equal(np.load(tmp_path / "a" / "depth_gt.npy"), scene.depth_m)


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
    scene = textured_plane(depth_m, rig)
    undelayed = {"refractory_us": 0.0, "cutoff_hz_per_lux": 0.0, "cutoff_max_hz": 0.0}
    pixels = PixelModel(threshold_on=0.03, threshold_off=0.03, **undelayed).signal_only()
    write_recording(tmp_path / "plane", rig, scene, pixels=pixels, sweeps=2, frames_hz=0.0)
    events, triggers, _ = read_back(tmp_path / "plane")
    track = np.loadtxt(tmp_path / "plane" / "lens.csv", delimiter=",", skiprows=1)
    bright = np.where(scene.sharp > np.median(scene.sharp), 1, -1)
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
    assert np.abs(peaks).max() < 2 * tenth_bin  # pixels fire late by a threshold, so after the peak either way
    if waveform != "sawtooth":
        assert abs(np.mean(peaks)) < tenth_bin


def test_triggers_lead_the_optics_by_the_delay_of_the_lens(tmp_path):
    rig = changed(small_rig(), "lens", delay_ms=7.0)
    scene = make_scene("cards", 0, rig)
    write_recording(tmp_path / "a", rig, scene, sweeps=1, steps_per_sweep=16, frames_hz=0.0, start_us=10**12)
    _, triggers, _ = read_back(tmp_path / "a")
    track = np.loadtxt(tmp_path / "a" / "lens.csv", delimiter=",", skiprows=1)
    assert track[0, 0] - triggers[0][0] == 7000


def test_breathing_scales_the_picture():
    rig = changed(small_rig(), "lens", breathing={"vergence_dpt": [0.3, 4.2], "scale": [1.0, 1.04]})
    scene = textured_plane(2.0, rig)
    layer = scene.layers[0]
    layer.radiance[:] = 0.0
    layer.radiance[2 * (24 + 24) : 2 * (24 + 24) + 2, 2 * (24 + 45) : 2 * (24 + 45) + 2] = 1.0  # at x = 45, y = 24
    for picture, scale in zip(VirtualRig(rig, scene).pictures([0.3, 4.2]), (1.0, 1.04), strict=True):
        y, x = np.indices(picture.shape)
        bright = np.where(picture > 0.1 * picture.max(), picture, 0.0)
        assert (bright * x).sum() / bright.sum() == pytest.approx(31.5 + scale * (45 - 31.5), abs=0.1)
        assert (bright * y).sum() / bright.sum() == pytest.approx(23.5 + scale * (24 - 23.5), abs=0.1)


def test_impossible_recordings_are_one_line_errors(tmp_path):
    rig = small_rig()
    scene = make_scene("cards", 0, rig)
    with pytest.raises(SimulationError, match="sweeps = 0"):
        write_recording(tmp_path / "a", rig, scene, sweeps=0)
    with pytest.raises(SimulationError, match="exposure must fit"):
        write_recording(tmp_path / "a", rig, scene, frames_hz=100.0, exposure_us=20_000)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_recording(tmp_path / "file", rig, scene, sweeps=1, steps_per_sweep=16)
