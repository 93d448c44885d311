from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.errors import SimulationError
from edfv_ros.simulation.crops import SPLITS, TrainingSweeps, make_crop, setup_seed
from edfv_ros.simulation.dataset import Dataset, generate
from edfv_ros.simulation.domain import Domain, draw_setup
from edfv_ros.simulation.motion import CameraTrajectory, displacement_px
from edfv_ros.simulation.sample_codec import decode, encode
from edfv_ros.training.volumes import bin_volumes

SIZE = (40, 32)
FEW = Domain(kinds=("cards", "wires"), least_supported=0.1)


@pytest.fixture(scope="module")
def sample() -> TrainingSweeps:
    return make_crop(3, SIZE, FEW)


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(SimulationError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is drawn


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**62), size=st.sampled_from([(32, 32), (128, 128), (200, 64)]))
def test_whatever_is_drawn_can_be_simulated(seed: int, size: tuple[int, int]) -> None:
    domain = Domain()
    setup = draw_setup(seed, size, domain)
    rig, optics = setup.rig, setup.rig.optics  # the models themselves refuse what is not finite
    low, high = rig.sweep.vergence_min_dpt, rig.sweep.vergence_max_dpt
    assert domain.farthest_dpt[0] <= low and high <= domain.nearest_dpt[1] + 1e-9
    assert high - low >= domain.least_span_dpt - 1e-9
    blur_px = optics.blur_slope_px_per_dpt * (high - low)
    assert 0.15 * 32 * 0.999 <= blur_px <= min(1.4 * 32, 0.6 * min(size)) * 1.001
    assert domain.threshold[0] / 1.2 <= setup.settings.pixels.threshold_on <= domain.threshold[1] * 1.2
    sweep_s = rig.sweep.duration_us * 1e-6
    trajectory = CameraTrajectory(setup.settings.motion, seed)
    depths_m = 1.0 / high, 1.0 / low
    moved_px = displacement_px(trajectory, rig.camera, depths_m, 0.0, sweep_s)
    assert moved_px <= 1.3 * domain.motion_px[1]
    assert draw_setup(seed, size, domain) == setup


def test_half_of_the_rigs_stand_still_and_the_others_move_a_little_to_a_lot() -> None:
    drawn = [draw_setup(setup_seed("train", seed, 0), SIZE).settings for seed in range(150)]
    still = sum(s.motion == type(s.motion)() and s.things.share == 0 for s in drawn)
    assert 55 <= still <= 95
    assert sum(s.things.share > 0 for s in drawn) > 15
    assert len({round(s.pixels.threshold_on, 2) for s in drawn}) > 15


def test_a_domain_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from"):
        Domain(kinds=("attic",))
    with pytest.raises(ValueError, match="smaller number first"):
        Domain(threshold=(0.3, 0.1))
    with pytest.raises(ValueError, match="above 0"):
        Domain(frequency_hz=(0.0, 10.0))
    with pytest.raises(ValueError, match="must reach"):
        Domain(nearest_dpt=(1.0, 1.5))
    one_line(lambda: draw_setup(-1, SIZE))
    one_line(lambda: draw_setup(0, (16, 128)))
    one_line(lambda: make_crop(0, SIZE, split="holdout"))


@given(seeds=st.tuples(*[st.tuples(st.integers(0, 2**50), st.integers(0, 63))] * 3))
def test_no_two_splits_share_a_seed(seeds: tuple[tuple[int, int], ...]) -> None:
    drawn = {setup_seed(split, *seed) for split, seed in zip(SPLITS, seeds, strict=True)}
    assert len(drawn) == len(SPLITS)


def test_the_seeds_of_a_split_do_not_meet() -> None:
    drawn = [setup_seed("train", seed, attempt) for seed in range(10_000) for attempt in range(3)]
    assert len(set(drawn)) == len(drawn)


# --- one sample


def test_a_sample_is_what_it_says(sample: TrainingSweeps) -> None:
    width, height = sample.resolution
    assert sample.depth_m.shape == (2, height, width) and sample.depth_m.dtype == np.float32
    assert np.all(np.diff(sample.t_us.astype(np.int64)) >= 0)
    assert sample.pixel.max() < width * height and set(np.unique(sample.polarity)) <= {0, 1}
    assert sample.track_us[0] == 0 and np.all(np.diff(sample.track_us.astype(np.int64)) > 0)
    up, down = sample.sweeps()
    assert (up.direction, down.direction) == (1, -1)
    assert up.start_us <= int(sample.t_us[0]) and int(sample.t_us[-1]) < sample.track_us[-1]
    low, high = sample.vergence_range_dpt
    known = sample.depth_m[np.isfinite(sample.depth_m)]
    assert known.size and np.all((1 / known > low - 0.1 * (high - low)) & (1 / known < high + 0.1 * (high - low)))
    events = sample.events()
    assert np.array_equal(events["y"].astype(int) * width + events["x"], sample.pixel)
    assert sample.event_count().sum() == len(events)


def test_the_same_seed_makes_the_same_sample_whatever_ran_before(sample: TrainingSweeps) -> None:
    other = make_crop(4, SIZE, FEW)
    assert encode(make_crop(3, SIZE, FEW)) == encode(sample) != encode(other)
    validation = make_crop(3, SIZE, FEW, "validation")
    assert not np.array_equal(validation.depth_m, sample.depth_m)


def test_reading_is_bit_exact(sample: TrainingSweeps) -> None:
    holes = sample.depth_m.copy()
    holes[0, :3] = np.nan
    for written in (sample, replace(sample, depth_m=holes, frame=None, frame_us=0)):
        read = decode(encode(written))
        for name in TrainingSweeps.__dataclass_fields__:
            before, after = getattr(written, name), getattr(read, name)
            if isinstance(before, np.ndarray):
                assert before.dtype == after.dtype and before.shape == after.shape
                assert before.tobytes() == after.tobytes(), name
            else:
                assert before == after, name


def test_volumes_count_events_at_the_focus_they_came_at(sample: TrainingSweeps) -> None:
    bins = 16
    low, high = sample.vergence_range_dpt
    focus_dpt = low + (np.array([2, 9, 13]) + 0.5) / bins * (high - low)  # the middles of bins 2, 9 and 13
    up, down = sample.sweeps()
    rising = np.interp(focus_dpt, up.vergence_dpt, up.timestamps_us)
    falling = np.interp(-focus_dpt[::-1], -down.vergence_dpt, down.timestamps_us)
    made = replace(
        sample,
        t_us=np.concatenate([rising, falling]).astype(np.uint32),
        pixel=np.array([0, 1, 2, 2, 1, 0], np.uint32),
        polarity=np.array([1, 0, 1, 1, 0, 0], np.uint8),
    )
    counts, events = bin_volumes(made, bins)
    assert counts.shape == (2, bins, SIZE[1], SIZE[0]) and counts.dtype == np.int16
    expected = np.zeros_like(counts)
    expected[0, [2, 9, 13], 0, [0, 1, 2]] = [1, -1, 1]
    expected[1, [13, 9, 2], 0, [2, 1, 0]] = [-1, 1, 1]  # brighter while the focus recedes: darker as it nears
    assert np.array_equal(counts, expected)
    assert events.dtype == np.uint16 and events.sum() == 6 and np.array_equal(events[0], events[1])


def test_samples_are_as_full_of_events_as_real_sweeps(tmp_path: Path) -> None:
    generate(tmp_path, 20, "train", (48, 48))
    made = Dataset(tmp_path)
    shares = np.array([made[index].supported_share() for index in range(len(made))])
    assert shares.min() >= Domain().least_supported
    assert 0.6 <= np.median(shares) <= 0.95, np.sort(shares).round(2)
