"""Camera frames against photon statistics and integrals."""

import numpy as np
import pytest
from pydantic import ValidationError

from edfv_ros.errors import SimulationError
from edfv_ros.simulation.aps import FrameModel, FrameSensor, weights_over_exposure

SIZE = (200, 150)


def sensor(model=None, *, bright=1.0, lux=300.0, seed=0):
    return FrameSensor(model or FrameModel(), SIZE, bright_radiance=bright, illuminance_lux=lux, seed=seed)


def flat(radiance):
    return np.full(SIZE[::-1], radiance, np.float32)


def test_weights_integrate_straight_lines_exactly():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(10.0, 900.0, 40))
    for start, end in ((times[0], times[-1]), (times[7] + 3.3, times[7] + 4.4), (times[3], times[20] + 1.5)):
        weights = weights_over_exposure(times, start, end)
        assert weights.dtype == np.float32 and weights.min() >= 0.0
        assert weights.sum() == pytest.approx(1.0, abs=1e-6)
        assert weights @ (3.0 * times - 5.0) == pytest.approx(3.0 * (start + end) / 2.0 - 5.0, rel=1e-6)


def test_weights_integrate_what_is_linear_between_the_times():
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(10.0, 900.0, 30))
    values = rng.uniform(0.0, 1.0, 30)
    start, end = times[4] + 1.0, times[25] - 7.0
    corners = np.r_[start, times[(times > start) & (times < end)], end]
    level = np.interp(corners, times, values)
    area = np.sum((level[1:] + level[:-1]) / 2.0 * np.diff(corners))
    assert weights_over_exposure(times, start, end) @ values == pytest.approx(area / (end - start), rel=1e-6)


def test_weights_of_rows_are_those_of_each_row():
    times = np.arange(0.0, 20_001.0, 1000.0)
    starts = 2000.0 + 40.0 * np.arange(100)
    weights = weights_over_exposure(times, starts, starts + 5000.0)
    assert weights.shape == (100, 21)
    assert weights @ times == pytest.approx(starts + 2500.0, rel=1e-6)
    assert np.array_equal(weights[37], weights_over_exposure(times, starts[37], starts[37] + 5000.0))


@pytest.mark.parametrize(("start", "end"), [(500.0, 500.0), (-1.0, 300.0), (900.0, 1001.0)])
def test_an_exposure_that_cannot_be_averaged_is_refused(start, end):
    with pytest.raises(SimulationError, match="exposure"):
        weights_over_exposure(np.array([0.0, 400.0, 1000.0]), start, end)


def photon_transfer(camera, radiances):
    """Means and variances in grey levels; the difference of two frames has no fixed pattern."""
    means, variances = [], []
    for number, radiance in enumerate(radiances):
        first, second = (camera.expose(flat(radiance), 100 * number + i).image.astype(float) for i in (0, 1))
        means.append((first.mean() + second.mean()) / 2.0)
        variances.append(np.var(first - second) / 2.0)
    return np.array(means), np.array(variances)


@pytest.mark.parametrize("lux", [300.0, 60.0])
def test_photon_transfer_gives_back_the_conversion_gain_and_the_read_noise(lux):
    model = FrameModel(read_noise_electrons=120.0)
    camera = sensor(model, lux=lux)
    means, variances = photon_transfer(camera, np.linspace(0.2, 0.95, 40))
    slope, floor = np.polyfit(means, variances, 1)
    assert 1.0 / slope == pytest.approx(camera.electrons_per_level, rel=0.04)
    expected = (120.0 / camera.electrons_per_level) ** 2 + 1.0 / 12.0  # rounding to whole levels
    assert floor == pytest.approx(expected, rel=0.15)


def test_means_are_proportional_to_the_light():
    camera = sensor()
    radiances = np.linspace(0.1, 0.95, 20)
    means, _ = photon_transfer(camera, radiances)
    per_level = camera.electrons_per_level
    assert means == pytest.approx(radiances * camera.electrons_per_radiance / per_level, abs=0.1)


def test_bright_scenes_are_exposed_to_just_below_white():
    for lux, bright in ((100_000.0, 1.0), (1000.0, 2.5), (400.0, 0.9)):
        camera = sensor(lux=lux, bright=bright)
        assert camera.expose(flat(bright), 5).image.mean() == pytest.approx(0.92 * 255, abs=2.5)
    assert sensor(lux=2000.0).exposure_us == pytest.approx(sensor(lux=1000.0).exposure_us / 2, abs=1)


def test_dim_scenes_are_amplified_with_their_noise_until_the_gain_ends():
    bright, dim, dark = (sensor(lux=lux) for lux in (1000.0, 100.0, 5.0))
    assert dim.exposure_us == dark.exposure_us == 10_000
    assert dim.expose(flat(1.0), 0).image.mean() == pytest.approx(0.92 * 255, abs=1.0)
    assert dim.expose(flat(1.0), 0).image.std() > 1.5 * bright.expose(flat(1.0), 0).image.std()
    electrons = 5000.0 * 5.0 * 0.01
    assert dark.expose(flat(1.0), 0).image.mean() == pytest.approx(electrons * 8.0 / 18_000.0 * 255, rel=0.02)


def test_a_fixed_exposure_stays_and_saturates():
    camera = sensor(FrameModel(exposure_us=5000.0), lux=3000.0)
    assert camera.exposure_us == 5000
    image = camera.expose(flat(1.0), 0).image  # 75 000 electrons
    assert image.min() >= 250
    assert camera.expose(flat(0.1), 0).image.mean() == pytest.approx(7500.0 / 18_000.0 * 255, rel=0.01)


def test_the_fixed_pattern_stays_while_noise_averages_out():
    camera = sensor(FrameModel(fixed_pattern=0.02))
    images = np.array([camera.expose(flat(0.5), number).image for number in range(60)], float)
    pattern = images.mean(axis=0)
    noise = images.std(axis=0, ddof=1).mean() / np.sqrt(60)
    relative = np.sqrt(pattern.var() - noise**2) / pattern.mean()
    assert relative == pytest.approx(0.02, rel=0.05)
    assert sensor(FrameModel(fixed_pattern=0.0)).expose(flat(0.5), 0).image.std() < images[0].std()


def test_frames_repeat_with_seed_and_time_and_differ_otherwise():
    first = sensor().expose(flat(0.5), 1_700_000_000_000_000)
    again = sensor().expose(flat(0.5), 1_700_000_000_000_000)
    assert np.array_equal(first.image, again.image)
    assert first.timestamp_us == 1_700_000_000_000_000
    assert first.image.dtype == np.uint8 and first.image.shape == SIZE[::-1]
    assert not np.array_equal(first.image, sensor().expose(flat(0.5), 1_700_000_000_000_001).image)
    assert not np.array_equal(first.image, sensor(seed=1).expose(flat(0.5), 1_700_000_000_000_000).image)


def brightening(times):
    """Pictures whose radiance is the time in seconds, everywhere."""
    return np.multiply.outer((times * 1e-6).astype(np.float32), np.ones(SIZE[::-1], np.float32))


def test_a_global_shutter_sees_the_middle_of_the_exposure():
    camera = sensor(FrameModel(exposure_us=5000.0))
    times = np.array([0.0, 700.0, 4000.0, 9000.0, 20_000.0])
    mean = camera.exposed_radiance(brightening(times), times, 1200.0)
    assert mean == pytest.approx(np.full(SIZE[::-1], 3700e-6), rel=1e-5)
    assert camera.readout_end_us(1200.0) == 6200


def test_a_rolling_shutter_sees_each_row_later():
    camera = sensor(FrameModel(exposure_us=5000.0, row_us=30.0))
    times = np.linspace(0.0, 20_000.0, 33)
    mean = camera.exposed_radiance(brightening(times), times, 1000.0)
    expected = (3500.0 + 30.0 * np.arange(SIZE[1])) * 1e-6
    assert mean == pytest.approx(np.tile(expected[:, None], SIZE[0]), rel=1e-5)
    assert camera.readout_end_us(1000.0) == 1000 + 5000 + 30 * (SIZE[1] - 1)


def test_a_moving_edge_blurs_into_a_ramp():
    camera = sensor(FrameModel(exposure_us=4000.0))
    times = np.arange(0.0, 10_001.0, 50.0)
    speed = 10.0 / 1000.0  # pixels per microsecond
    columns = np.arange(SIZE[0])
    pictures = np.clip(20.0 + speed * times[:, None, None] - columns, 0.0, 1.0).astype(np.float32)
    pictures = np.ascontiguousarray(np.broadcast_to(pictures, (len(times), SIZE[1], SIZE[0])))
    row = camera.exposed_radiance(pictures, times, 2000.0)[10]
    assert row[:40] == pytest.approx(np.ones(40))
    assert row[80:] == pytest.approx(np.zeros(SIZE[0] - 80))
    inside = np.arange(45, 75)  # the edge crosses 40 pixels during the exposure
    assert row[inside] == pytest.approx((80.0 - inside - 0.5) / 40.0, abs=2e-3)


@pytest.mark.parametrize(
    "wrong",
    [{"rate_hz": 300.0, "exposure_us": 5000.0}, {"rate_hz": 200.0}, {"largest_gain": 0.5}, {"white_level": 0.0}],
)
def test_an_impossible_camera_is_refused(wrong):
    with pytest.raises(ValidationError):
        FrameModel.model_validate(wrong)


def test_frames_in_no_light_are_refused():
    with pytest.raises(SimulationError, match="no light"):
        sensor(lux=0.0)
