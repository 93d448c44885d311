import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training_records import FixedExamples, plane_record  # noqa: E402

from edfv_ros.depth.edpn_inputs import BINS, CELL_PX, SCORE_FLOOR, Guide  # noqa: E402
from edfv_ros.training.edpn.drawing import SCORE_GAIN, assemble, batches, simulate_prior  # noqa: E402

MARKED, ELSEWHERE = 10.0, 20.0
CELLS = slice(2, 5), slice(8, 11)  # off both diagonals and both middles
PIXELS = slice(4, 10), slice(16, 22)


def marked_record(width: int = 32, height: int = 32) -> np.ndarray:
    """Every map differs in the same square from what it is elsewhere."""
    record = plane_record(0, ELSEWHERE, width, height)
    for name in ("score", "volume", "event_count", "frame"):
        record[name] = 0
    record["score"][(slice(None), 5, *CELLS)] = 1.0
    record["volume"][(slice(None), 7, *PIXELS)] = 31
    record["event_count"][(slice(None), *PIXELS)] = 50
    record["position_bins"][(slice(None), *PIXELS)] = MARKED
    record["frame"][PIXELS] = 200
    return record


@pytest.mark.parametrize("size", [(32, 32), (44, 32), (34, 38)])
def test_all_maps_are_turned_alike(size: tuple[int, int]) -> None:
    record = marked_record(*size)
    places, signs, images = set(), set(), set()
    for seed in range(120):
        score, volume, guide, position, _, _ = assemble(record, np.random.default_rng(seed))
        assert position.shape == volume.shape[1:] == guide.shape[1:] == tuple(CELL_PX * n for n in score.shape[1:])
        marked = position == MARKED
        assert marked.sum() == 36
        by_score = score[5].repeat(CELL_PX, 0).repeat(CELL_PX, 1) > 0.0
        np.testing.assert_array_equal(by_score, marked)
        if volume.any():
            np.testing.assert_array_equal(np.abs(volume[7]) > 0.5, marked)
        density = guide[Guide.DENSITY]
        assert marked[np.unravel_index(density.argmax(), density.shape)]
        if guide[Guide.HAS_IMAGE].any() and volume.any():
            brightness = np.sign(volume[7][marked][0]) * guide[Guide.IMAGE]
            assert brightness[marked].min() == pytest.approx(0.5) and brightness[~marked].max() <= 0.0
        images.add(bool(guide[Guide.HAS_IMAGE].any()))
        places.add(tuple(int(n) for n in np.argwhere(marked)[0]))
        signs.add(float(np.sign(volume[7][marked][0])))
    assert len(places) == (8 if size[0] == size[1] else 4)
    assert signs == {-1.0, 0.0, 1.0} and images == {False, True}


def test_pixels_beyond_the_picture_have_no_truth() -> None:
    _, volume, _, position, _, _ = assemble(plane_record(0, 5.0, 34, 38), None)
    assert position.shape == volume.shape[1:] == (40, 36)
    assert np.isnan(position[38:]).all() and np.isnan(position[:, 34:]).all()
    assert (position[:38, :34] == 5.0).all()


def test_a_sweep_that_is_left_out_is_left_out_everywhere() -> None:
    record = plane_record(0, 5.0)
    record["score"][0], record["score"][1] = 1.0, 2.0
    record["position_bins"][0], record["position_bins"][1] = 1.0, 2.0
    seen = set()
    for seed in range(40):
        score, _, _, position, conditions, far = assemble(record, np.random.default_rng(seed))
        variant = float(position.max())
        assert (position == variant).all()
        assert variant / SCORE_GAIN <= score.min() == score.max() <= variant * SCORE_GAIN
        np.testing.assert_allclose(conditions, [np.log2(0.7), 1.0, variant == 1.0], rtol=1e-6)
        assert far == 1.0
        seen.add(variant)
    assert seen == {1.0, 2.0}


def test_without_a_generator_all_there_is_is_used_as_it_is() -> None:
    record = plane_record(3, 5.0)
    score, volume, guide, _, conditions, _ = assemble(record, None)
    np.testing.assert_array_equal(score, record["score"][0].astype(np.float32))
    np.testing.assert_allclose(volume, record["volume"][0] / 31.0, rtol=1e-6)
    assert guide[Guide.HAS_IMAGE].all() and not guide[Guide.HAS_PRIOR].any()
    assert volume.shape[0] == BINS and tuple(conditions[1:]) == (1.0, 1.0)


def test_priors_lie_between_0_and_1_whatever_is_known() -> None:
    rng = np.random.default_rng(0)
    slope = np.linspace(0.0, 31.0, 48, dtype=np.float32)[None].repeat(40, 0)
    holed = np.where(rng.random(slope.shape) < 0.3, np.nan, slope).astype(np.float32)
    for truth in (slope, holed, np.full_like(slope, np.nan), np.full_like(slope, 4.0), slope * 300):
        for seed in range(8):
            prior = simulate_prior(truth, np.random.default_rng(seed))
            assert prior.shape == truth.shape and prior.dtype == np.float32
            assert prior.min() >= 0.0 and prior.max() <= 1.0
    assert np.corrcoef(prior_of(slope), slope.ravel())[0, 1] > 0.7


def prior_of(truth: np.ndarray) -> np.ndarray:
    return simulate_prior(truth, np.random.default_rng(1)).ravel()


def test_a_draw_depends_on_its_number_alone() -> None:
    examples = FixedExamples([plane_record(number, float(number)) for number in range(5)])
    whole = list(batches(examples, 4, range(12), seed=7, augment=True, workers=3))  # type: ignore[arg-type]
    (later,) = batches(examples, 4, range(8, 12), seed=7, augment=True, workers=1)  # type: ignore[arg-type]
    for expected, value in zip(whole[2], later, strict=True):
        assert torch.equal(expected, value)
    (other,) = batches(examples, 4, range(8, 12), seed=8, augment=True)  # type: ignore[arg-type]
    assert not torch.equal(whole[2].volume, other.volume)


def test_an_epoch_has_each_example_once_and_another_order_each_time() -> None:
    examples = FixedExamples([plane_record(number, float(number)) for number in range(6)])
    (first, second) = batches(examples, 6, range(12), seed=1, augment=True)  # type: ignore[arg-type]
    orders = [batch.position_bins[:, 0, 0].tolist() for batch in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1]) == [0, 1, 2, 3, 4, 5]
    assert orders[0] != orders[1]
    (plain,) = batches(examples, 6, range(6), seed=1, augment=False)  # type: ignore[arg-type]
    assert plain.position_bins[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_what_goes_wrong_while_drawing_is_raised() -> None:
    broken = FixedExamples([np.zeros((), np.dtype([("nothing", np.uint8)]))])
    with pytest.raises(ValueError):
        list(batches(broken, 1, range(1), seed=0, augment=False))  # type: ignore[arg-type]


def test_evidence_is_shown_louder_and_softer() -> None:
    record = plane_record(0, 5.0)
    record["score"] = -1.0
    record["score"][:, 3] = -3.0
    gains = []
    for seed in range(60):
        score, *_ = assemble(record, np.random.default_rng(seed))
        gains.append(-float(score[0, 0, 0]))
        np.testing.assert_allclose(score[3], max(-3.0 * gains[-1], SCORE_FLOOR), rtol=1e-5)
    assert 1.0 / SCORE_GAIN <= min(gains) < 0.6 and 1.7 < max(gains) <= SCORE_GAIN
    assert (assemble(record, None)[0][0] == -1.0).all()
