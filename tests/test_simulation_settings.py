"""The simulation file, and the previews of what it makes."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from recordings import small_rig
from typer.testing import CliRunner

from edfv_ros.cli import app
from edfv_ros.errors import SimulationError
from edfv_ros.rig import load_rig
from edfv_ros.simulation import (
    SimulationSettings,
    VirtualRig,
    load_settings,
    make_scene,
    plan_sweeps,
    sweep_strip,
    write_sweep_video,
)

EXAMPLE = Path(__file__).parent.parent / "config" / "simulation.yaml"


def test_the_example_lists_every_key_with_its_default():
    assert yaml.safe_load(EXAMPLE.read_text()) == SimulationSettings().model_dump(mode="json")
    assert load_settings(EXAMPLE) == SimulationSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pixels: {treshold_on: 0.2}", "unknown key pixels.treshold_on: did you mean threshold_on?"),
        ("pixels: {threshold_on: 0}", "pixels.threshold_on = 0"),
        ("imaging: {blades: 3}", "5 to 12"),
        ("motion: {sway: {low_hz: 3.0, high_hz: 1.0}}", "low_hz = 3 must be below high_hz = 1"),
        ("readout: {latency_us: .nan}", "readout.latency_us = nan"),
        ("things: {share: 2}", "things.share = 2"),
        ("frames: none", "frames = 'none': a group of keys must stand here"),
        ("motion: {forward_m_s: [1.0e+9, 1.0e+9]}", "motion.forward_m_s.0 = 1000000000.0"),
        ("pixels: {threshold_on: 1.0e+9}", "pixels.threshold_on = 1000000000.0"),
        ("pixels: {leak_hz: 1.0e+9}", "pixels.leak_hz = 1000000000.0"),
        ("imaging: {field_curvature_dpt: 100.0}", "imaging.field_curvature_dpt = 100.0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    path = tmp_path / "simulation.yaml"
    path.write_text(text)
    with pytest.raises(SimulationError) as caught:
        load_settings(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_comments_changes_nothing(tmp_path):
    path = tmp_path / "simulation.yaml"
    path.write_text("# nothing yet\n")
    assert load_settings(path) == SimulationSettings()


def test_parts_of_a_file_change_only_what_they_name(tmp_path):
    path = tmp_path / "simulation.yaml"
    path.write_text("pixels:\n  leak_hz: 0.0\nmotion:\n  turn_deg_s: 2.0\n")
    settings = load_settings(path)
    assert settings.pixels.leak_hz == 0.0
    assert settings.motion.turn_deg_s == 2.0
    assert settings.pixels.threshold_on == SimulationSettings().pixels.threshold_on


def test_the_strip_shows_each_focus_and_its_events():
    rig = small_rig()
    plan = plan_sweeps(rig, SimulationSettings().lens_response, sweeps=1, steps_per_sweep=48)
    strip = sweep_strip(VirtualRig.of_scene(rig, make_scene("cards", 2, rig), plan=plan), plan, columns=3)
    height, width = strip.shape[0] // 2, strip.shape[1] // 4
    assert strip.shape == (2 * height, 4 * width, 3)
    pictures = [strip[30 : height - 8, c * width + 8 : (c + 1) * width - 8].astype(float) for c in range(1, 4)]
    assert min(np.abs(a - b).mean() for a, b in pairwise(pictures)) > 0.5
    events = strip[height + 30 : -8, width + 8 : 2 * width - 8].reshape(-1, 3)
    coloured = (events.max(axis=1).astype(int) - events.min(axis=1)) > 60
    assert 0.003 < coloured.mean() < 0.6


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_the_video_holds_every_second_step(tmp_path, suffix):
    rig = small_rig()
    plan = plan_sweeps(rig, SimulationSettings().lens_response, sweeps=2, steps_per_sweep=16)
    virtual = VirtualRig.of_scene(rig, make_scene("cards", 2, rig), plan=plan)
    write_sweep_video(tmp_path / f"sweep{suffix}", virtual, plan)
    video = cv2.VideoCapture(str(tmp_path / f"sweep{suffix}"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 16
    assert video.read()[1].mean() > 50


def test_every_option_reaches_the_recording(tmp_path):
    rig_path = tmp_path / "rig.yaml"
    rig_path.write_text(yaml.safe_dump(small_rig().model_dump(mode="json")))
    options = ["--rig", str(rig_path), "--sweeps", "1", "--motion", "handheld", "--lens", "el-10-30"]
    options += ["--sensor", "dvxplorer", "--frames", "0", "--preview", str(tmp_path / "strip.png"), "--kind", "cards"]
    done = CliRunner().invoke(app, ["simulate", "--out", str(tmp_path / "sweep"), *options])
    assert done.exit_code == 0, done.output
    made = load_settings(tmp_path / "sweep" / "simulation.yaml")
    assert made.readout.scan_period_us == 200.0
    assert made.lens_response.resonance_hz == 150.0
    assert made.motion.tremor.rotation_deg > 0
    assert made.frames.rate_hz == 0.0
    assert load_rig(tmp_path / "sweep" / "rig.yaml") == small_rig()
    assert cv2.imread(str(tmp_path / "strip.png")).shape[2] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--motion", "wobble"], "--motion wobble: choose one of still, tripod, handheld, robot, shake"),
        (["--lens", "el"], "--lens el: choose one of ideal"),
        (["--sensor", "eye"], "--sensor eye: choose one of davis346"),
        (["--frames", "-1"], "--frames -1: give 0 to 1000"),
        (["--preview", "strip.gif"], "--preview strip.gif: name a picture with .png or a video with .mp4 or .avi"),
        (["--preview", "nowhere/strip.png"], "nowhere/strip.png: there is no folder"),
        (["--rgbd", "nowhere"], "nowhere"),
        (["--kind", "attic"], "'attic' is not known: choose one of tabletop"),
        (["--renderer", "blender", "--motion", "shake"], "give no motion and no lens"),
        (["--renderer", "blender", "--kind", "attic"], "attic"),
    ],
)
def test_bad_options_are_one_line_and_leave_no_recording(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["simulate", "--out", "sweep", "--sweeps", "1", *options])
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "sweep").exists()
