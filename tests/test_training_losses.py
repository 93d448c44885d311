import math

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor  # noqa: E402

from edfv_ros.depth.edpn_inputs import CANDIDATES  # noqa: E402
from edfv_ros.training.edpn.losses import BEYOND_BINS, Losses, losses  # noqa: E402
from edfv_ros.training.edpn.network import Prediction  # noqa: E402

NAN = float("nan")
FAR = torch.tensor([1.0])


def prediction_of(truth: Tensor, scales: int = 3, sharpness: float = 30.0) -> Prediction:
    """What says of each cell the truth of its first pixel, quite sure."""
    logits = []
    candidates = torch.arange(CANDIDATES)[None, :, None, None]
    for scale in reversed(range(scales)):
        cell = truth[:, :: 2 << scale, :: 2 << scale].nan_to_num(10.0)
        logits.append(-sharpness * (candidates - 2.0 * (cell[:, None] + 0.5)).abs())
    return Prediction(truth.nan_to_num(10.0).clone(), torch.full_like(truth, -2.0), tuple(logits))


def loss_of(prediction: Prediction, truth: Tensor, same: Tensor | None = None) -> Losses:
    return losses(prediction, truth, FAR.expand(len(truth)), torch.ones_like(truth) if same is None else same)


def test_being_right_costs_least() -> None:
    truth = torch.full((1, 32, 32), 10.0)
    truth[:, :, 16:] = 20.0
    right = prediction_of(truth)
    best = loss_of(right, truth)
    for name in ("distribution", "coarser", "sparse", "ranked", "error", "relative", "edges"):
        assert best.parts[name] == pytest.approx(0.0, abs=1e-5), name
    wrong = prediction_of(truth + 3.0)
    blurred = right._replace(position_bins=torch.linspace(8.0, 22.0, 32).expand(1, 32, 32))
    doubtful = right._replace(log_scale=torch.zeros(1, 32, 32))
    for worse in (wrong, blurred, doubtful, right._replace(logits=tuple(map(torch.zeros_like, right.logits)))):
        assert loss_of(worse, truth).total > best.total


def test_cross_entropy_by_hand() -> None:
    # 10.1 bins are candidate 21.2: 0.8 of candidate 21 and 0.2 of 22
    truth = torch.full((1, 16, 16), 10.1)
    logits = torch.zeros(1, CANDIDATES, 8, 8)
    logits[:, 21], logits[:, 22] = 3.0, 1.0
    partition = math.log(math.exp(3.0) + math.exp(1.0) + CANDIDATES - 2)
    expected = 0.8 * (partition - 3.0) + 0.2 * (partition - 1.0)
    flat = torch.zeros(1, CANDIDATES, 4, 4)
    parts = loss_of(Prediction(truth.clone(), torch.zeros_like(truth), (flat, logits)), truth).parts
    assert parts["distribution"] == pytest.approx(expected, rel=1e-5)
    assert parts["sparse"] == pytest.approx(expected, rel=1e-5)
    assert parts["coarser"] == pytest.approx(math.log(CANDIDATES), rel=1e-5)


def test_errors_by_hand() -> None:
    truth = torch.full((1, 16, 16), 4.5)
    said = prediction_of(truth)._replace(position_bins=truth + 0.5, log_scale=torch.full_like(truth, 0.3))
    parts = loss_of(said, truth).parts
    assert parts["error"] == pytest.approx(0.5, rel=1e-5)
    assert parts["relative"] == pytest.approx(math.log(6.5 / 6.0), rel=1e-5)  # its vergence is 4.5 + 0.5 + 1 bins
    assert parts["likelihood"] == pytest.approx(0.5 * math.exp(-0.3) + 0.3, rel=1e-5)
    assert parts["edges"] == pytest.approx(0.0, abs=1e-5)  # a constant error has no edges


def test_ranked_probability_by_hand() -> None:
    """All on candidate 22 where 20 is the truth: wrong from 20 to 22, whatever the rest."""
    truth = torch.full((1, 16, 16), 9.5)
    logits = torch.full((1, CANDIDATES, 8, 8), -40.0)
    logits[:, 22] = 0.0
    parts = loss_of(Prediction(truth.clone(), torch.zeros_like(truth), (logits[..., ::2, ::2], logits)), truth).parts
    assert parts["ranked"] == pytest.approx(math.log((0.5 * 22 + 1.0) / (0.5 * 20 + 1.0)), rel=1e-5)


def test_only_the_mask_counts_for_the_sparse_loss() -> None:
    truth = torch.full((1, 16, 16), 10.0)
    said = prediction_of(truth, 2)
    said.logits[-1][:, :, :, 4:] = 0.0
    same = torch.zeros_like(truth)
    same[:, :, :8] = 1.0
    parts = loss_of(said, truth, same).parts
    assert parts["sparse"] == pytest.approx(0.0, abs=1e-5)
    assert parts["distribution"] == pytest.approx(0.5 * math.log(CANDIDATES), rel=1e-4)


def with_gradients(prediction: Prediction) -> Prediction:
    leaves = [value.clone().requires_grad_() for value in (prediction.position_bins, prediction.log_scale)]
    return Prediction(*leaves, tuple(value.clone().requires_grad_() for value in prediction.logits))


def test_what_is_unknown_has_no_influence() -> None:
    truth = torch.full((2, 64, 64), 12.3)
    truth[:, :, 32:] = NAN
    truth[1, :16] = NAN
    said = prediction_of(torch.full_like(truth, 11.0), 3, 1.0)
    other = Prediction(*(value.clone() for value in said[:2]), tuple(value.clone() for value in said.logits))
    other.position_bins[:, :, 32:] = 27.0
    other.log_scale[:, :, 32:] = 3.0
    for logits in other.logits:
        logits[..., logits.shape[3] // 2 :] = torch.randn(1, CANDIDATES, 1, 1)
    assert loss_of(said, truth).total == loss_of(other, truth).total
    watched = with_gradients(other)
    loss_of(watched, truth).total.backward()
    for value in (*watched[:2], *watched.logits):
        assert torch.isfinite(value.grad).all()
        assert not value.grad[..., value.shape[-1] // 2 :].any()
        assert value.grad[..., : value.shape[-1] // 2].any()


def test_no_truth_at_all_teaches_nothing() -> None:
    truth = torch.full((1, 32, 32), NAN)
    said = with_gradients(prediction_of(truth))
    result = loss_of(said, truth)
    result.total.backward()
    assert float(result.total.detach()) == 0.0
    assert all(not value.grad.any() for value in (*said[:2], *said.logits) if value.grad is not None)


@pytest.mark.parametrize(("position", "end"), [(40.0, CANDIDATES - 1), (1e4, CANDIDATES - 1), (-9.0, 0)])
def test_beyond_the_sweep_only_the_end_counts(position: float, end: int) -> None:
    truth = torch.full((1, 32, 32), position)
    said = prediction_of(torch.full_like(truth, 15.0))
    sure_of_end = torch.full((1, CANDIDATES, 16, 16), -30.0)
    sure_of_end[:, end] = 0.0
    parts = loss_of(said._replace(logits=(sure_of_end[..., ::2, ::2], sure_of_end)), truth).parts
    assert parts["distribution"] == pytest.approx(0.0, abs=1e-4)
    for name in ("likelihood", "error", "relative", "edges"):
        assert parts[name] == 0.0, name


def test_just_beyond_the_sweep_the_position_counts_as_its_end() -> None:
    truth = torch.full((1, 32, 32), 31.5 + 0.9 * BEYOND_BINS)
    said = prediction_of(torch.full_like(truth, 31.5))
    assert loss_of(said, truth).parts["error"] == pytest.approx(0.0, abs=1e-6)


def test_coarse_cells_answer_for_their_own_pixels() -> None:
    """132 x 172 is 5 x 6 cells of 32, the last ones cut off."""
    block = (torch.arange(132) // 32)[:, None] * 6 + torch.arange(172)[None] // 32
    truth = block.float()[None]
    said = prediction_of(truth, 5)
    assert said.logits[0].shape[2:] == (5, 6)
    assert loss_of(said, truth).parts["coarser"] == pytest.approx(0.0, abs=1e-5)
