"""What our network is given and what becomes of its answer; the network itself is not asked."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edfv_ros.depth.edpn import MIN_CONFIDENCE, EventDepthPrompting, in_bins
from edfv_ros.depth.edpn_inputs import (
    BINS,
    CANDIDATES,
    SCORE_FLOOR,
    SCORED,
    Guide,
    cell_volume,
    conditions_input,
    guide_input,
    pooled_volume,
    score_input,
    volume_input,
)
from edfv_ros.depth.evidence import FocusEvidence
from edfv_ros.events import EVENT_DTYPE, Frame
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.optics import VergenceBins
from edfv_ros.rig import Rig, load_rig
from edfv_ros.volume import SweepSnapshot, SweepVolume, VolumeRing

CONFIG = Path(__file__).parents[1] / "config"
WIDTH, HEIGHT = 50, 38
ROWS, COLUMNS = 20, 26

Floats = NDArray[np.float32]


class Answer:
    """Gives the same answer to all and remembers what it was shown."""

    def __init__(self, position_bins: float, scale_bins: float) -> None:
        self.shown: tuple[Floats, ...] = ()
        self._values = position_bins, scale_bins

    def __call__(self, *inputs: Floats) -> tuple[Floats, Floats]:
        self.shown = inputs
        position, scale = (np.full((2 * ROWS, 2 * COLUMNS), value, np.float32) for value in self._values)
        return position, scale


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_rig(CONFIG / "rig.yaml")


def sweep_volume(bins: VergenceBins, *, up: bool) -> SweepVolume:
    """A sweep in which random pixels fire at random times."""
    rng = np.random.default_rng(int(up))
    events = np.zeros(20_000, EVENT_DTYPE)
    events["timestamp"] = np.sort(rng.integers(0, 100_000, len(events)))
    events["x"], events["y"] = rng.integers(WIDTH, size=len(events)), rng.integers(HEIGHT, size=len(events))
    events["polarity"] = rng.integers(2, size=len(events))
    ring = VolumeRing(bins, (WIDTH, HEIGHT), slots=1)
    ends = (bins.min_dpt, bins.max_dpt)
    ring.open(FocusSweep(np.array([0.0, 1e5]), np.array(ends if up else ends[::-1])))
    ring.accumulate(events)
    return ring.close()


def snapshot(bins: VergenceBins, directions: tuple[bool, ...], frame: Frame | None = None) -> SweepSnapshot:
    latest, *others = (sweep_volume(bins, up=up) for up in directions)
    return SweepSnapshot(0, latest, others[0] if others else None, frame)


def test_scores_are_relative_to_the_best() -> None:
    of_all = np.random.default_rng(0).normal(0.0, 0.2, SCORED).astype(np.float32)
    shown = score_input(np.tile(of_all[:, None, None], (1, 1, 1)))
    best = shown[::2, 0, 0].max()
    np.testing.assert_allclose(shown[::2, 0, 0] - best, of_all - of_all.max(), atol=1e-6)
    many = score_input(np.tile(of_all[:, None, None], (1, 9, 12)))
    assert many.shape == (CANDIDATES, 9, 12)
    assert (many.max(axis=0) == 0).all() and many.min() >= SCORE_FLOOR
    assert (many.argmax(axis=0) == shown[:, 0, 0].argmax()).all()


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_between_the_edges_of_bins_scores_follow_a_cubic(power: int) -> None:
    place = np.arange(CANDIDATES) / 2 - 11.3
    wanted = -0.01 / 10**power * np.abs(place.max()) ** -power * place**power
    shown = score_input(wanted[::2, None, None].astype(np.float32) * np.ones((1, 1, 1), np.float32))
    inner = slice(2, -2)  # beyond the ends it is continued as a straight line
    np.testing.assert_allclose(shown[inner, 0, 0], (wanted - wanted.max())[inner], atol=2e-6)
    if power < 2:
        np.testing.assert_allclose(shown[:, 0, 0], wanted - wanted.max(), atol=2e-6)


def test_a_plain_surface_takes_the_depth_of_its_rim() -> None:
    rim, wrong = 10, 50
    score = np.zeros((SCORED, 61, 61), np.float32)
    score[rim // 2] = 2.0
    score[:, 1:-1, 1:-1] = 0.0  # nothing is known inside, as far as 29 cells from the rim
    score[wrong // 2, 30, 30] = 0.5  # but for one cell's weak opinion
    assert (score_input(score).argmax(axis=0) == rim).all()
    score[wrong // 2, 30, 30] = 5.0  # one that is sure is heard
    assert score_input(score)[:, 30, 30].argmax() == wrong


def test_the_volume_has_no_contrast_left_in_it() -> None:
    change = np.random.default_rng(0).normal(size=(BINS, 2 * ROWS, 2 * COLUMNS)).astype(np.float32)
    change[:, :, WIDTH // 2 :] *= 20.0
    volume = volume_input(change, HEIGHT, WIDTH)
    assert volume.shape == (BINS, 2 * ROWS, 2 * COLUMNS)
    np.testing.assert_allclose(volume_input(7.0 * change, HEIGHT, WIDTH), volume, atol=1e-5)
    np.testing.assert_allclose(volume_input(-change, HEIGHT, WIDTH), -volume, atol=1e-5)
    assert not volume[:, HEIGHT:].any() and not volume[:, :, WIDTH:].any()
    right = volume[:, :HEIGHT, WIDTH - 6 : WIDTH]
    assert np.sqrt(np.mean(right**2)) == pytest.approx(1.0, abs=0.1)
    np.testing.assert_array_equal(np.sign(right), np.sign(change[:, :HEIGHT, WIDTH - 6 : WIDTH]))


def test_silence_is_an_empty_volume() -> None:
    assert not volume_input(np.zeros((BINS, 2 * ROWS, 2 * COLUMNS), np.float32), HEIGHT, WIDTH).any()


def test_cells_are_means_of_what_there_are_events_for() -> None:
    """Of the left half, with 8 events a pixel, half is believed; of the right one, without any, nothing."""
    change = np.random.default_rng(0).normal(size=(BINS, 2 * ROWS, 2 * COLUMNS)).astype(np.float32)
    guide = np.zeros((Guide.COUNT, 2 * ROWS, 2 * COLUMNS), np.float32)
    middle = 2 * (COLUMNS // 2)
    guide[Guide.DENSITY, :, :middle] = np.log(9.0) / 4.0
    volume = volume_input(change, HEIGHT, WIDTH)
    cells = cell_volume(change, guide, HEIGHT, WIDTH)
    assert cells.shape == (BINS, ROWS, COLUMNS)
    assert not cells[:, :, middle // 2 :].any()
    for row, column in ((0, 0), (ROWS - 1, 3), (5, middle // 2 - 1)):
        pixels = volume[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(cells[:, row, column], pixels.mean((1, 2)) / 2, atol=1e-5)
    np.testing.assert_allclose(pooled_volume(volume, guide), cells, atol=1e-5)


def test_the_guide_says_what_there_is() -> None:
    rng = np.random.default_rng(0)
    event_count = np.full((HEIGHT, WIDTH), 9, np.uint16)
    image = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    prior = rng.uniform(-0.5, 1.5, (HEIGHT, WIDTH)).astype(np.float32)
    bare = guide_input(event_count, None, None, ROWS, COLUMNS)
    full = guide_input(event_count, image, prior, ROWS, COLUMNS)
    inside = np.s_[:HEIGHT, :WIDTH]
    for guide in (bare, full):
        assert guide.shape == (Guide.COUNT, 2 * ROWS, 2 * COLUMNS)
        np.testing.assert_allclose(guide[Guide.DENSITY][inside], np.log(10.0) / 4.0, rtol=1e-5)
        assert not guide[:, HEIGHT:].any() and not guide[:, :, WIDTH:].any()
    for channel in (Guide.IMAGE, Guide.HAS_IMAGE, Guide.PRIOR, Guide.HAS_PRIOR):
        assert not bare[channel].any()
    for channel in (Guide.HAS_IMAGE, Guide.HAS_PRIOR):
        assert (full[channel][inside] == 1).all()
    np.testing.assert_allclose(full[Guide.PRIOR][inside], np.clip(prior, 0, 1) - 0.5)
    picture = full[Guide.IMAGE][inside]
    assert picture.min() == -0.5 and picture.max() == 0.5
    assert np.corrcoef(picture.ravel(), np.sqrt(image.ravel()))[0, 1] > 0.99


@pytest.mark.parametrize("bins", [16, 32, 64, 48])
def test_other_bins_hold_the_same_change(bins: int) -> None:
    change = np.random.default_rng(0).normal(size=(bins, 3, 5)).astype(np.float32)
    shared = in_bins(change, BINS)
    assert shared.shape == (BINS, 3, 5)
    sums = [some.reshape(16, -1, 3, 5).sum(axis=1) for some in (change, shared)]  # 16 divides all of these numbers
    np.testing.assert_allclose(*sums, atol=1e-5)


def test_an_answer_becomes_metres(rig: Rig) -> None:
    bins = rig.bins
    answer = Answer(position_bins=15.5, scale_bins=0.5)
    estimate = EventDepthPrompting(answer, rig.optics, bins).estimate(snapshot(bins, (True, False)))
    middle_dpt = (bins.min_dpt + bins.max_dpt) / 2  # 15.5 is the middle of 32 bins
    assert estimate.depth_m.shape == (HEIGHT, WIDTH)
    np.testing.assert_allclose(estimate.vergence_dpt, middle_dpt, rtol=1e-6)
    np.testing.assert_allclose(estimate.depth_m, 1 / middle_dpt, rtol=1e-6)
    width_dpt = (bins.max_dpt - bins.min_dpt) / 32
    np.testing.assert_allclose(estimate.sigma_dpt, np.sqrt(2.0) * 0.5 * width_dpt, rtol=1e-5)
    one_bin_in_scales = bins.width_dpt / (0.5 * width_dpt)
    np.testing.assert_allclose(estimate.confidence, 1 - np.exp(-one_bin_in_scales), rtol=1e-5)


@pytest.mark.parametrize("count", [16, 32, 64])
def test_the_network_sees_32_bins_of_any_rig(rig: Rig, count: int) -> None:
    bins = VergenceBins(rig.bins.min_dpt, rig.bins.max_dpt, count)
    answer = Answer(position_bins=-0.5, scale_bins=0.1)
    estimate = EventDepthPrompting(answer, rig.optics, bins).estimate(snapshot(bins, (True, False)))
    score, volume, guide, conditions = answer.shown
    assert score.shape == (CANDIDATES, ROWS, COLUMNS)
    assert volume.shape == (BINS, ROWS, COLUMNS)
    assert guide.shape == (Guide.COUNT, 2 * ROWS, 2 * COLUMNS)
    slope_px = rig.optics.blur_slope_px_per_dpt * (bins.max_dpt - bins.min_dpt) / 32
    np.testing.assert_allclose(conditions, [np.log2(slope_px), 1, 1], rtol=1e-6)
    np.testing.assert_allclose(estimate.vergence_dpt, bins.min_dpt, rtol=1e-5)  # the far end


@pytest.mark.parametrize(("directions", "flags"), [((True,), (1, 0)), ((False,), (0, 1)), ((False, True), (1, 1))])
def test_the_network_is_told_which_sweeps_there_are(
    rig: Rig, directions: tuple[bool, ...], flags: tuple[int, int]
) -> None:
    answer = Answer(10.0, 0.5)
    EventDepthPrompting(answer, rig.optics, rig.bins).estimate(snapshot(rig.bins, directions))
    assert tuple(answer.shown[3][1:]) == flags


def test_a_frame_is_shown(rig: Rig) -> None:
    image = np.arange(WIDTH * HEIGHT, dtype=np.uint32).reshape(HEIGHT, WIDTH).astype(np.uint8)
    answer = Answer(10.0, 0.5)
    seen = snapshot(rig.bins, (True, False), Frame(0, 1000, image))
    EventDepthPrompting(answer, rig.optics, rig.bins).estimate(seen)
    expected = guide_input(seen.event_count(), image, None, ROWS, COLUMNS)
    np.testing.assert_array_equal(answer.shown[2], expected)


def test_what_the_network_does_not_know_is_unknown(rig: Rig) -> None:
    for position_bins, scale_bins in ((10.0, 40.0), (-1e3, 0.5)):  # no idea; beyond infinity
        answer = Answer(position_bins, scale_bins)
        estimate = EventDepthPrompting(answer, rig.optics, rig.bins).estimate(snapshot(rig.bins, (True, False)))
        for values in (estimate.vergence_dpt, estimate.depth_m, estimate.sigma_dpt):
            assert np.isnan(values).all()
        assert not estimate.confidence.any()
    assert 1 - np.exp(-1 / 40.0) < MIN_CONFIDENCE


def test_candidates_cover_any_bins() -> None:
    for count in (16, 32, 50):
        candidates = FocusEvidence(7.0, VergenceBins(0.3, 4.3, count), CANDIDATES).candidates
        assert len(candidates) == CANDIDATES
        assert candidates[[0, -1]] == pytest.approx([-0.5, count - 0.5])
        assert np.diff(candidates) == pytest.approx(np.full(CANDIDATES - 1, count / 64))


def test_conditions_are_per_bin_of_32() -> None:
    np.testing.assert_allclose(conditions_input(0.5, up=False, down=True), [-1, 0, 1])
