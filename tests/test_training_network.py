import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor  # noqa: E402

from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CONDITIONS, Guide  # noqa: E402
from edfv_ros.training.edpn.network import WIDTHS, Edpn, Prediction  # noqa: E402

SMALL = (8, 8, 8)
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def inputs(height: int, width: int, seed: int = 0) -> Inputs:
    draw = torch.Generator().manual_seed(seed)
    score = -4.0 * torch.rand(1, CANDIDATES, height // 2, width // 2, generator=draw)
    volume = torch.randn(1, BINS, height // 2, width // 2, generator=draw)
    guide = torch.rand(1, Guide.COUNT, height, width, generator=draw)
    return score, volume, guide, torch.tensor([[-0.5, 1.0, 1.0]])


def trained(widths: tuple[int, ...] = SMALL) -> Edpn:
    """Weights and statistics as different from the first ones as training might make them."""
    torch.manual_seed(1)
    network = Edpn(widths).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value))
    return network


@torch.no_grad()
def run(network: Edpn, given: Inputs) -> Prediction:
    prediction: Prediction = network(*given).prediction
    return prediction


@pytest.mark.parametrize("widths", [SMALL, (8, 8, 8, 8, 8)])
@pytest.mark.parametrize(("height", "width"), [(130, 174), (32, 48), (36, 34), (2, 2)])
def test_any_even_size(widths: tuple[int, ...], height: int, width: int) -> None:
    said = run(trained(widths), inputs(height, width))
    assert said.position_bins.shape == said.log_scale.shape == (1, height, width)
    assert said.logits[-1].shape == (1, CANDIDATES, height // 2, width // 2) and len(said.logits) == len(widths)
    assert torch.isfinite(said.position_bins).all() and torch.isfinite(said.log_scale).all()
    assert said.position_bins.min() >= -0.5 - 1e-4 and said.position_bins.max() <= 31.5 + 1e-4


def test_a_shifted_picture_gives_the_shifted_depth() -> None:
    network = trained()
    wide = inputs(160, 320)
    left, right = (tuple(_columns(value, first, 288) for value in wide) for first in (0, 32))
    first, second = run(network, left), run(network, right)  # type: ignore[arg-type]
    inner = slice(128, 160)
    for name in ("position_bins", "log_scale"):
        here, there = getattr(first, name)[:, :, 32:], getattr(second, name)[:, :, :-32]
        torch.testing.assert_close(here[:, :, inner], there[:, :, inner], rtol=1e-4, atol=1e-4)
        assert (here - there).abs().max() > 1e-3  # the border does matter, to what is near it


def _columns(value: Tensor, first: int, count: int) -> Tensor:
    if value.ndim < 4:
        return value
    part = 1 if value.shape[1] == Guide.COUNT else 2
    return value[..., first // part : (first + count) // part]


def test_what_is_far_away_does_not_matter() -> None:
    network = trained()
    given, other = inputs(64, 320), inputs(64, 320, seed=5)
    far = [
        torch.cat((_columns(a, 0, 192), _columns(b, 192, 128)), 3) for a, b in zip(given[:3], other[:3], strict=True)
    ]
    near, changed = run(network, given), run(network, (*far, given[3]))  # type: ignore[arg-type]
    torch.testing.assert_close(near.position_bins[..., :64], changed.position_bins[..., :64], rtol=1e-4, atol=1e-4)
    assert (near.position_bins - changed.position_bins)[..., 200:].abs().max() > 0.1


def test_an_untrained_network_says_what_the_evidence_says() -> None:
    network = Edpn(SMALL).eval()
    score, volume, guide, conditions = inputs(64, 64)
    candidates = torch.arange(CANDIDATES)[None, :, None, None]
    score = (-0.5 * (candidates - 21).abs()).clamp_min(-4.0).expand(1, CANDIDATES, 32, 32).clone()
    score += 0.01 * torch.randn_like(score)
    said = run(network, (score, volume, guide, conditions))
    torch.testing.assert_close(said.position_bins, torch.full((1, 64, 64), 10.0), rtol=0.0, atol=0.2)
    score[:, :, 13:17, 13:17] = 0.0  # no texture: the surroundings tell
    said = run(network, (score, volume, guide, conditions))
    torch.testing.assert_close(said.position_bins, torch.full((1, 64, 64), 10.0), rtol=0.0, atol=0.2)
    score[:, :, :, 16:] = score[:, :, :, 16:].roll(20, 1)
    said = run(network, (score, volume, guide, conditions))
    assert (said.position_bins[:, :, :16] - 10.0).abs().max() < 0.5
    assert (said.position_bins[:, :, 48:] - 20.0).abs().max() < 0.5


def test_its_size() -> None:
    assert sum(value.numel() for value in Edpn(WIDTHS).parameters()) < 1.5e6
    assert inputs(2, 2)[3].shape[1] == CONDITIONS
