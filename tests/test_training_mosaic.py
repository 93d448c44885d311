import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training_records import FixedExamples, plane_record  # noqa: E402

from edfv_ros.training.edpn.drawing import batches  # noqa: E402
from edfv_ros.training.edpn.mosaic import SIDES, drawn_side, mosaic, tiled, untiled  # noqa: E402
from edfv_ros.training.edpn.network import Edpn  # noqa: E402


@pytest.mark.parametrize("shape", [(16, 3, 4, 5), (16, 4, 5)])
def test_crops_lie_side_by_side(shape: tuple[int, ...]) -> None:
    crops = torch.rand(shape)
    pictures = tiled(crops, 2)
    assert pictures.shape == (4, *shape[1:-2], 8, 10)
    for index in range(16):
        picture, row, column = pictures[index // 4], index // 2 % 2, index % 2
        part = picture[..., 4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
        torch.testing.assert_close(part, crops[index])


@pytest.mark.parametrize("side", [1, 2, 4])
def test_what_comes_of_a_mosaic_belongs_to_its_crops(side: int) -> None:
    crops = torch.rand(16, 4, 6), torch.rand(16, 2, 8, 12)
    cut = untiled((tiled(crops[0], side), (tiled(crops[1], side),)), side)
    torch.testing.assert_close(cut, (crops[0], (crops[1],)))


def test_a_network_sees_each_crop_with_its_conditions() -> None:
    """Far from seams a crop of a mosaic is seen as it would be alone, by a network that does not look far."""
    examples = FixedExamples([plane_record(seed, 5.0, 64, 64) for seed in range(4)])
    (batch,) = batches(examples, 4, range(4), seed=0, augment=False)
    batch = batch._replace(conditions=torch.rand(4, 3))
    torch.manual_seed(0)
    network = Edpn((8, 8)).eval()
    with torch.no_grad():
        alone = network(batch.score, batch.cells, batch.guide, batch.conditions)
        tiles = mosaic(batch, 2)
        assert tiles.guide.shape[0] == 1 and tiles.guide.shape[-2:] == (128, 128)
        together = untiled(network(tiles.score, tiles.cells, tiles.guide, tiles.conditions), 2)
    inner = slice(24, 40)
    for one, other in zip(alone.prediction[:2], together.prediction[:2], strict=True):
        assert one.shape == other.shape == (4, 64, 64)
        torch.testing.assert_close(one[:, inner, inner], other[:, inner, inner], rtol=1e-4, atol=1e-4)
    assert (alone.prediction.log_scale - together.prediction.log_scale).abs().max() > 1e-3, "seams are seen"


def test_sides_are_drawn_for_steps() -> None:
    sides = [drawn_side(0, step, (16, 6, 128, 128)) for step in range(60)]
    assert sides == [drawn_side(0, step, (16, 6, 128, 128)) for step in range(60)]
    assert set(sides) == set(SIDES)
    assert {drawn_side(0, step, (4, 6, 128, 128)) for step in range(60)} == {1, 2}
    assert {drawn_side(0, step, (16, 6, 128, 100)) for step in range(60)} == {1}
