"""Trajectories against finite differences, spectra and plane geometry."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Camera
from edfv_ros.simulation.geometry import Pose, rotation_about
from edfv_ros.simulation.motion import (
    MOTIONS,
    CameraTrajectory,
    Motion,
    ObjectMotion,
    Oscillation,
    displacement_px,
    flow_px,
    random_object_motion,
)

CAMERA = Camera.model_validate(
    {
        "name": "cam",
        "model": "DAVIS346",
        "width_px": 346,
        "height_px": 260,
        "pixel_pitch_um": 18.5,
        "intrinsics": {
            "fx_px": 860.0,
            "fy_px": 870.0,
            "cx_px": 170.0,
            "cy_px": 131.0,
            "distortion": [0.0, 0.0, 0.0, 0.0, 0.0],
        },
    }
)
WILD = Motion(
    forward_m_s=(0.2, 0.3),
    drift_mm_s=40.0,
    turn_deg_s=80.0,
    sway=Oscillation(low_hz=0.5, high_hz=3.0, rotation_deg=15.0, translation_mm=20.0),
    tremor=Oscillation(low_hz=8.0, high_hz=12.0, rotation_deg=1.0, translation_mm=1.0),
    vibration=Oscillation(low_hz=10.0, high_hz=60.0, rotation_deg=0.1, translation_mm=0.1),
)
TIMES = np.linspace(-1.0, 5.0, 301)


@pytest.mark.parametrize("motion", [*MOTIONS.values(), WILD], ids=[*MOTIONS, "wild"])
def test_every_motion_begins_at_the_origin_of_the_world(motion):
    for seed in range(3):
        pose = CameraTrajectory(motion, seed).pose(0.0)
        assert pose.position_m == pytest.approx(np.zeros(3), abs=1e-15)
        assert pose.rotation == pytest.approx(np.eye(3), abs=1e-15)


def test_angular_velocity_is_the_rate_of_the_rotation_in_the_cameras_own_axes():
    trajectory = CameraTrajectory(WILD, 5)
    step = 1e-5
    rate = (trajectory.rotation(TIMES + step) - trajectory.rotation(TIMES - step)) / (2 * step)
    skew = np.swapaxes(trajectory.rotation(TIMES), -1, -2) @ rate
    expected = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=-1)
    assert np.abs(skew + np.swapaxes(skew, -1, -2)).max() < 1e-6
    assert np.abs(expected).max() > 3.0
    assert trajectory.angular_velocity_rad_s(TIMES) == pytest.approx(expected, abs=1e-5)


def test_velocity_and_acceleration_are_the_derivatives_of_the_position():
    trajectory = CameraTrajectory(WILD, 6)
    step = 1e-4
    before, here, after = (trajectory.position_m(TIMES + shift) for shift in (-step, 0.0, step))
    assert trajectory.velocity_m_s(TIMES) == pytest.approx((after - before) / (2 * step), abs=1e-4)
    assert trajectory.acceleration_m_s2(TIMES) == pytest.approx((after - 2 * here + before) / step**2, abs=1e-2)
    assert np.abs(trajectory.acceleration_m_s2(TIMES)).max() > 3.0


def test_poses_are_the_rotations_and_positions_at_single_times():
    trajectory = CameraTrajectory(WILD, 7)
    for number in (0, 77, 300):
        pose = trajectory.pose(float(TIMES[number]))
        assert pose.rotation == pytest.approx(trajectory.rotation(TIMES)[number], abs=1e-12)
        assert pose.position_m == pytest.approx(trajectory.position_m(TIMES)[number], abs=1e-15)
        assert pose.rotation @ pose.rotation.T == pytest.approx(np.eye(3), abs=1e-12)
        assert np.linalg.det(pose.rotation) == pytest.approx(1.0)


def test_an_oscillation_has_its_amplitude_and_stays_in_its_band():
    band = Oscillation(low_hz=8.0, high_hz=12.0, rotation_deg=0.05, translation_mm=0.4)
    trajectory = CameraTrajectory(Motion(tremor=band), 1)
    times = np.arange(0.0, 100.0, 0.004)
    shifts_mm = trajectory.position_m(times) * 1e3
    assert shifts_mm.std(axis=0) == pytest.approx(0.4, rel=0.03)
    turned = trajectory.rotation(times)
    angles_deg = np.degrees(np.stack([turned[:, 2, 1], turned[:, 0, 2], turned[:, 1, 0]], axis=-1))
    assert angles_deg.std(axis=0) == pytest.approx(0.05, rel=0.03)
    window = np.hanning(len(times))[:, None]
    power = np.abs(np.fft.rfft((shifts_mm - shifts_mm.mean(axis=0)) * window, axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(times), 0.004)
    outside = (frequency < 7.9) | (frequency > 12.1)
    assert power[outside].sum() < 1e-4 * power.sum()


def test_tremor_of_a_hand_is_at_8_to_12_hz_at_about_a_degree_per_second():
    still_hand = MOTIONS["handheld"].model_copy(update={"sway": Oscillation(), "turn_deg_s": 0.0})
    times = np.arange(0.0, 50.0, 0.004)
    rates = np.degrees(CameraTrajectory(still_hand, 2).angular_velocity_rad_s(times))
    assert 0.7 < rates.std() < 1.3
    power = np.abs(np.fft.rfft(rates * np.hanning(len(times))[:, None], axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(times), 0.004)
    assert 8.0 < np.sum(power.sum(axis=1) * frequency) / power.sum() < 12.0


def test_a_robot_drives_forward_within_its_speeds():
    speeds = []
    for seed in range(40):
        trajectory = CameraTrajectory(MOTIONS["robot"], seed)
        speeds.append(trajectory.velocity_m_s(np.arange(0.0, 60.0, 0.01))[:, 2].mean())
    assert 0.09 < min(speeds) < 0.2 < 0.4 < max(speeds) < 0.51


def test_seeds_tell_trajectories_apart_and_bring_them_back():
    first, same, other = (CameraTrajectory(MOTIONS["handheld"], seed).position_m(TIMES) for seed in (3, 3, 4))
    assert np.array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3


def test_only_a_still_camera_does_not_move():
    assert [name for name, motion in MOTIONS.items() if not CameraTrajectory(motion, 0).moves] == ["still"]
    assert not CameraTrajectory(MOTIONS["still"], 0).position_m(TIMES).any()


@pytest.mark.parametrize(
    "wrong",
    [{"forward_m_s": [0.5, 0.1]}, {"sway": {"low_hz": 3.0, "high_hz": 3.0}}, {"turn_deg_s": -1.0}, {"speed": 1}],
)
def test_an_impossible_motion_is_refused(wrong):
    with pytest.raises(ValidationError):
        Motion.model_validate(wrong)


def test_a_motion_reads_from_lists_and_whole_numbers_as_yaml_has_them():
    motion = Motion.model_validate({"forward_m_s": [0, 0.5], "sway": {"low_hz": 1, "high_hz": 2, "rotation_deg": 1}})
    assert motion.forward_m_s == (0.0, 0.5)
    assert motion.sway.rotation_deg == 1.0


def test_a_thing_turns_about_its_pivot_and_carries_it_along():
    pivot, velocity = np.array([0.1, -0.2, 0.9]), np.array([0.2, 0.0, -0.1])
    motion = ObjectMotion(pivot, velocity, np.array([0.0, 0.0, math.pi / 2]))
    assert motion.pose(0.0).apply([1.0, 2.0, 3.0]) == pytest.approx([1.0, 2.0, 3.0])
    assert motion.pose(2.0).apply(pivot) == pytest.approx(pivot + 2.0 * velocity)
    quarter = motion.pose(1.0).apply(pivot + np.array([1.0, 0.0, 0.0]))
    assert quarter == pytest.approx(pivot + velocity + np.array([0.0, 1.0, 0.0]))  # x turns to y about z


def test_a_swaying_thing_comes_back_every_period_and_is_fastest_in_the_middle():
    velocity = np.array([0.3, 0.0, 0.0])
    motion = ObjectMotion(np.zeros(3), velocity, np.array([0.0, 1.0, 0.0]), sway_hz=2.0, phase_rad=0.7)
    assert motion.pose(0.0).position_m == pytest.approx(np.zeros(3), abs=1e-15)
    for time in (0.1, 0.33):
        assert motion.pose(time + 0.5).position_m == pytest.approx(motion.pose(time).position_m, abs=1e-12)
        assert motion.pose(time + 0.5).rotation == pytest.approx(motion.pose(time).rotation, abs=1e-12)
    times = np.linspace(0.0, 0.5, 5001)
    x = np.array([motion.pose(float(t)).position_m[0] for t in times])
    assert np.abs(np.gradient(x, times)).max() == pytest.approx(0.3, rel=1e-3)
    assert np.ptp(x) == pytest.approx(2 * 0.3 / (2 * math.pi * 2.0), rel=1e-3)


def test_random_things_keep_to_their_limits_and_some_sway():
    rng = np.random.default_rng(0)
    motions = [
        random_object_motion(rng, [0.0, 0.0, 1.0], max_speed_m_s=0.5, max_turn_deg_s=90.0, sway_share=0.25)
        for _ in range(400)
    ]
    speeds = np.array([np.linalg.norm(motion.velocity_m_s) for motion in motions])
    turns = np.degrees([np.linalg.norm(motion.turn_rad_s) for motion in motions])
    assert 0.45 < speeds.max() < 0.5 and speeds.mean() == pytest.approx(0.25, abs=0.03)
    assert 80.0 < turns.max() < 90.0
    assert np.mean([motion.sway_hz > 0 for motion in motions]) == pytest.approx(0.25, abs=0.07)
    directions = np.array([motion.velocity_m_s for motion in motions]) / speeds[:, None]
    assert np.abs(directions.mean(axis=0)).max() < 0.1


def test_flow_of_a_sideways_step_is_that_of_the_nearest_point():
    step = Pose(position_m=np.array([-0.002, 0.0, 0.0]))
    assert flow_px(step, CAMERA, (0.5, math.inf)) == pytest.approx(860.0 * 0.002 / 0.5)


def test_flow_of_a_step_forward_grows_towards_the_corner():
    x, y = (345.5 - 170.0) / 860.0, (-0.5 - 131.0) / 870.0
    grown = 1.0 / (1.0 - 0.1 / 0.5) - 1.0
    forward = Pose(position_m=np.array([0.0, 0.0, -0.1]))
    assert flow_px(forward, CAMERA, (0.5, 3.0)) == pytest.approx(grown * math.hypot(860.0 * x, 870.0 * y))


def test_flow_of_a_roll_is_a_chord():
    square = CAMERA.model_copy(update={"intrinsics": CAMERA.intrinsics.model_copy(update={"fy_px": 860.0})})
    radius = math.hypot(345.5 - 170.0, -0.5 - 131.0)
    roll = Pose(rotation=rotation_about([0.0, 0.0, 0.02]))
    assert flow_px(roll, square, (0.3, 3.0)) == pytest.approx(2 * radius * math.sin(0.01))


def test_flow_past_the_camera_has_no_end():
    assert flow_px(Pose(position_m=np.array([0.0, 0.0, -0.6])), CAMERA, (0.5, 3.0)) == math.inf


def test_no_point_of_a_scene_moves_farther_than_the_displacement_says():
    rng = np.random.default_rng(8)
    for seed in range(4):
        trajectory = CameraTrajectory(WILD, seed)
        bound = displacement_px(trajectory, CAMERA, (0.4, 4.0), 0.30, 0.32)
        pixels = rng.uniform((-0.5, -0.5), (345.5, 259.5), (20_000, 2))
        rays = np.column_stack([(pixels[:, 0] - 170.0) / 860.0, (pixels[:, 1] - 131.0) / 870.0, np.ones(20_000)])
        world = trajectory.pose(0.30).apply(rays / rng.uniform(1 / 4.0, 1 / 0.4, 20_000)[:, None])
        seen = trajectory.pose(0.32).inverse().apply(world)
        after = seen[:, :2] / seen[:, 2:] * (860.0, 870.0) + (170.0, 131.0)
        farthest = np.linalg.norm(after - pixels, axis=1).max()
        assert 0.9 * bound < farthest < 1.002 * bound


def test_a_depth_range_behind_the_camera_is_refused():
    with pytest.raises(SimulationError, match="depth range"):
        flow_px(Pose(), CAMERA, (0.0, 1.0))
