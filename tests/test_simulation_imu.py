"""Inertial samples against the motion they come from, noise statistics and a genuine recording."""

import math
from itertools import pairwise

import numpy as np
import pytest

from edfv_ros.errors import SimulationError
from edfv_ros.events import IMU_DTYPE
from edfv_ros.events.aedat4 import Aedat4Source
from edfv_ros.simulation.geometry import rotation_about
from edfv_ros.simulation.imu import STANDARD_GRAVITY_M_S2, Imu, ImuModel, imu_samples
from edfv_ros.simulation.motion import MOTIONS, CameraTrajectory, Motion, Oscillation

STILL = CameraTrajectory(MOTIONS["still"], 0)
PERFECT = ImuModel(
    bandwidth_hz=0.0,
    gyroscope_noise_deg_s=0.0,
    gyroscope_bias_deg_s=0.0,
    accelerometer_noise_g=0.0,
    accelerometer_bias_g=0.0,
)
JOINED_92_HZ = np.sinc(0.092) ** 2  # left of 92 Hz by straight lines between samples at 1 kHz
UNBIASED = ImuModel(gyroscope_bias_deg_s=0.0, accelerometer_bias_g=0.0)


def changed(model, **fields):
    return model.model_copy(update=fields)


def test_a_level_camera_at_rest_reads_gravity_upwards():
    samples = imu_samples(STILL, PERFECT, 0, 10_000, 0)
    assert samples.dtype == IMU_DTYPE
    assert samples["accelerometer_g"] == pytest.approx(np.tile([0.0, -1.0, 0.0], (10, 1)), abs=1e-4)
    assert not samples["gyroscope_deg_s"].any()


def test_samples_come_at_their_rate_from_the_start_to_before_the_end():
    model = changed(PERFECT, rate_hz=805.0)  # a period of 1242.2 us, that of a DVXplorer
    times = imu_samples(STILL, model, 1_000_000, 2_000_000, 0)["timestamp"]
    assert times[0] == 1_000_000
    assert len(times) == 805
    assert set(np.diff(times)) == {1242, 1243}
    assert times[-1] < 2_000_000


def test_the_gyroscope_integrates_to_the_rotation_of_the_camera():
    trajectory = CameraTrajectory(MOTIONS["shake"], 4)
    samples = imu_samples(trajectory, changed(PERFECT, rate_hz=4000.0), 0, 1_000_000, 0)
    rates = np.radians(samples["gyroscope_deg_s"].astype(float))
    turned = np.eye(3)
    for first, second in pairwise(rates):
        turned = turned @ rotation_about((first + second) / 2.0 / 4000.0)
    expected = trajectory.pose(samples["timestamp"][-1] * 1e-6).rotation
    left = np.degrees(np.arccos(np.clip((np.trace(turned.T @ expected) - 1.0) / 2.0, -1.0, 1.0)))
    assert np.degrees(np.linalg.norm(expected - np.eye(3))) > 3.0
    assert left < 0.02


def test_the_accelerometer_integrates_to_the_path_of_the_camera():
    trajectory = CameraTrajectory(MOTIONS["shake"], 5)
    model = changed(PERFECT, rate_hz=4000.0)
    samples = imu_samples(trajectory, model, 0, 1_000_000, 0)
    time_s = np.arange(len(samples)) / 4000.0
    force = np.einsum("nij,nj->ni", trajectory.rotation(time_s), samples["accelerometer_g"].astype(float))
    acceleration = (force + np.array([0.0, 1.0, 0.0])) * STANDARD_GRAVITY_M_S2
    velocity = trajectory.velocity_m_s(0.0) + np.cumsum(acceleration, axis=0) / 4000.0
    travelled = np.cumsum(velocity, axis=0) / 4000.0
    expected = trajectory.position_m(time_s + 1.0 / 4000.0)
    assert np.ptp(expected, axis=0).min() > 0.015
    assert travelled == pytest.approx(expected, abs=5e-4)


def test_the_clock_of_the_samples_may_show_any_time_at_the_start_of_the_trajectory():
    trajectory = CameraTrajectory(MOTIONS["robot"], 2)
    plain = imu_samples(trajectory, PERFECT, 300_000, 400_000, 0)
    shifted = imu_samples(
        trajectory, PERFECT, 1_700_000_000_300_000, 1_700_000_000_400_000, 0, epoch_us=1_700_000_000_000_000
    )
    assert np.array_equal(plain["timestamp"] + 1_700_000_000_000_000, shifted["timestamp"])
    assert np.array_equal(plain["gyroscope_deg_s"], shifted["gyroscope_deg_s"])


def test_samples_do_not_depend_on_how_they_are_asked_for():
    trajectory = CameraTrajectory(MOTIONS["handheld"], 1)
    whole = imu_samples(trajectory, ImuModel(), 500, 200_500, 9)
    imu = Imu(ImuModel(), trajectory, start_us=500, seed=9)
    parts = [imu.advance(to_us) for to_us in (500, 7_123, 7_124, 60_000, 59_000, 200_500)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(whole, imu_samples(trajectory, ImuModel(), 500, 200_500, 10))


def test_noise_has_the_density_it_is_given():
    samples = imu_samples(STILL, UNBIASED, 0, 60_000_000, 3)
    for key, density in (("gyroscope_deg_s", 0.01), ("accelerometer_g", 300e-6)):
        blocks = (samples[key] - samples[key].mean(axis=0)).astype(float).reshape(60, 1000, 3)
        power = 2.0 * np.abs(np.fft.rfft(blocks * np.hanning(1000)[:, None], axis=1)) ** 2
        power /= 1000.0 * np.sum(np.hanning(1000) ** 2)  # one-sided, per hertz
        frequency = np.fft.rfftfreq(1000, 1e-3)
        low = power[:, (frequency >= 3) & (frequency <= 25)].mean()
        assert np.sqrt(low) == pytest.approx(density, rel=0.04)
        cut = power[:, np.abs(frequency - 92.0) <= 5].mean()
        assert np.sqrt(cut) == pytest.approx(density * math.sqrt(0.5) * JOINED_92_HZ, rel=0.04)


def test_without_a_low_pass_noise_is_white_up_to_half_the_rate():
    samples = imu_samples(STILL, changed(UNBIASED, bandwidth_hz=0.0), 0, 20_000_000, 3)
    noise = samples["gyroscope_deg_s"].astype(float)
    assert noise.std(axis=0) == pytest.approx(0.01 * math.sqrt(500.0), rel=0.03)
    assert np.mean(noise[1:] * noise[:-1], axis=0) == pytest.approx(0.0, abs=0.03 * noise.var())


def test_the_low_pass_takes_half_the_power_at_its_corner():
    tone = Oscillation(low_hz=91.9, high_hz=92.1, rotation_deg=0.01, translation_mm=0.01)
    trajectory = CameraTrajectory(Motion(vibration=tone), 0)
    raw = imu_samples(trajectory, PERFECT, 0, 20_000_000, 0)
    filtered = imu_samples(trajectory, changed(PERFECT, bandwidth_hz=92.0), 0, 20_000_000, 0)
    for key in ("gyroscope_deg_s", "accelerometer_g"):
        ratio = filtered[key].std(axis=0) / raw[key].std(axis=0)
        assert ratio == pytest.approx(math.sqrt(0.5) * JOINED_92_HZ, rel=0.01)


def test_offsets_stay_for_a_seed_and_spread_over_seeds():
    means = []
    for seed in range(200):
        samples = imu_samples(STILL, ImuModel(), 0, 100_000, seed)
        means.append(
            np.r_[
                samples["gyroscope_deg_s"].mean(axis=0), samples["accelerometer_g"].mean(axis=0) + np.array([0, 1, 0])
            ]
        )
    spread = np.std(means, axis=0)
    assert spread == pytest.approx([0.5, 0.5, 0.5, 0.02, 0.02, 0.02], rel=0.2)


def test_values_are_whole_steps_of_sixteen_bits_and_end_at_full_scale():
    trajectory = CameraTrajectory(MOTIONS["shake"], 3)
    model = changed(PERFECT, gyroscope_range_deg_s=20.0, accelerometer_range_g=0.9)
    samples = imu_samples(trajectory, model, 0, 2_000_000, 0)
    steps = samples["gyroscope_deg_s"].astype(float) / (20.0 / 32768)
    assert steps == pytest.approx(np.round(steps), abs=1e-2)
    assert samples["gyroscope_deg_s"].max() == pytest.approx(20.0 * 32767 / 32768)
    assert samples["gyroscope_deg_s"].min() == pytest.approx(-20.0)
    assert samples["accelerometer_g"].min() == pytest.approx(-0.9)


def test_no_sensor_cannot_be_sampled():
    with pytest.raises(SimulationError, match="rate_hz"):
        Imu(ImuModel(rate_hz=0.0), STILL, start_us=0, seed=0)


def test_a_genuine_camera_at_rest_reads_the_same_axes_and_noise(aedat4_dir):
    source = Aedat4Source(aedat4_dir / "faery_davis346.aedat4")
    parts = []
    while (packet := source.read()) is not None:
        parts.append(packet.imu)
    genuine = np.concatenate(parts)
    simulated = imu_samples(STILL, UNBIASED, 0, 2_363_000, 0)
    assert abs(len(genuine) - len(simulated)) <= 5
    assert (
        np.argmin(genuine["accelerometer_g"].mean(axis=0)) == np.argmin(simulated["accelerometer_g"].mean(axis=0)) == 1
    )
    for key in ("gyroscope_deg_s", "accelerometer_g"):
        ratio = simulated[key].std(axis=0) / genuine[key].std(axis=0)
        assert np.all((ratio > 0.6) & (ratio < 1.6))
