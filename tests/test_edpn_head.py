import numpy as np
import pytest

from edfv_ros.depth.edpn_head import READOUT, Head
from edfv_ros.depth.edpn_inputs import CANDIDATES
from edfv_ros.depth.workers import Workers

GAINS, CORRECTION, DETAIL, SHIFT = np.split(np.arange(sum(READOUT)), np.cumsum(READOUT)[:-1])
MASS_GAIN = np.array([0.0, -1.0, 0.5, 2.0], np.float32)


def said(rows: int, columns: int) -> tuple[np.ndarray, ...]:
    """Of a network that adds nothing: no coarser logits, no correction, every pixel its own cell."""
    score = np.full((CANDIDATES, rows, columns), -4.0, np.float32)
    coarse = np.zeros((CANDIDATES, -(-rows // 2), -(-columns // 2)), np.float32)
    readout = np.zeros((sum(READOUT), rows, columns), np.float32)
    readout[DETAIL[4 * 4 : 5 * 4]] = 100.0  # the middle one of the nine
    doubt = np.zeros((4, rows, columns), np.float32)
    return score, coarse, readout, doubt


@pytest.mark.parametrize(("rows", "columns"), [(40, 7), (1, 1), (33, 20)])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_sure_candidate_is_the_position(rows: int, columns: int, threads: int) -> None:
    score, coarse, readout, doubt = said(rows, columns)
    candidate = np.random.default_rng(0).integers(0, CANDIDATES, (rows, columns))
    np.put_along_axis(score, candidate[None], 0.0, 0)
    readout[GAINS[0]] = 1.0  # e times the first gain of 6: the others have e^-65 of it
    position, scale = Head(MASS_GAIN, Workers(threads))(score, coarse, readout, doubt)
    np.testing.assert_allclose(position, np.kron(-0.5 + candidate / 2, np.ones((2, 2))), atol=1e-5)
    np.testing.assert_allclose(scale, 1.0, rtol=1e-5)


def test_the_expectation_is_that_about_the_median() -> None:
    """Three shares of 0.2, 0.5 and 0.3 at candidates 30, 32 and 50: the last is another surface."""
    score, coarse, readout, doubt = said(4, 4)
    readout[GAINS[0]] = -100.0  # the coarser logits count as they are, the evidence hardly
    score[:] = 0.0
    coarse[:] = -60.0
    for candidate, share in ((30, 0.2), (32, 0.5), (50, 0.3)):
        coarse[candidate] = np.log(share)
    position, scale = Head(MASS_GAIN, Workers(1))(score, coarse, readout, doubt)
    np.testing.assert_allclose(position, -0.5 + (30 * 0.2 + 32 * 0.5) / 0.7 / 2, atol=1e-5)
    np.testing.assert_allclose(scale[:2, :2], 0.7 ** MASS_GAIN.reshape(2, 2), rtol=1e-5)


def test_coarser_logits_are_interpolated_between_cells() -> None:
    score, coarse, readout, doubt = said(2, 8)
    readout[GAINS[0]] = -100.0
    score[:] = 0.0
    coarse[:] = -60.0
    coarse[10], coarse[12] = 0.0, np.array([0.0, 4.0, 4.0, 4.0], np.float32)
    position, _ = Head(MASS_GAIN, Workers(1))(score, coarse, readout, doubt)
    logits = np.array([0.0, 1.0, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    share = np.exp(logits) / (1.0 + np.exp(logits))
    np.testing.assert_allclose(position[0, ::2], -0.5 + (10 + 2 * share) / 2, atol=1e-5)


def test_pixels_are_mixtures_of_the_cells_around() -> None:
    score, coarse, readout, doubt = said(3, 3)
    candidate = 5 * np.arange(9).reshape(3, 3)
    np.put_along_axis(score, candidate[None], 0.0, 0)
    readout[GAINS[0]] = 1.0
    readout[DETAIL] = 0.0
    for pixel, (neighbour, share) in enumerate(((0, 1.0), (2, 1.0), (7, 1.0), (5, 0.75))):
        readout[DETAIL[4 * neighbour + pixel]] = 40.0
        if share < 1.0:  # the rest is its own
            readout[DETAIL[4 * 4 + pixel]] = 40.0 - np.log(3.0)
    readout[SHIFT[2]] = np.arctanh(0.25)
    position, _ = Head(MASS_GAIN, Workers(1))(score, coarse, readout, doubt)
    wanted = {(2, 2): candidate[0, 0], (2, 3): candidate[0, 2], (3, 2): candidate[2, 1] + 0.5}
    for place, value in wanted.items():
        assert position[place] == pytest.approx(-0.5 + value / 2, abs=1e-4)
    assert position[3, 3] == pytest.approx(-0.5 + (0.75 * candidate[1, 2] + 0.25 * candidate[1, 1]) / 2, abs=1e-4)
    assert position[0, 0] == pytest.approx(-0.5 + candidate[0, 0] / 2, abs=1e-4)  # beyond the rim it goes on


def test_positions_and_scales_end_where_sweep_and_doubt_do() -> None:
    score, coarse, readout, doubt = said(2, 2)
    score[0] = 0.0
    readout[GAINS[0]] = 1.0
    readout[SHIFT] = -100.0
    doubt[:2], doubt[2:] = 100.0, -100.0
    position, scale = Head(np.zeros(4, np.float32), Workers(1))(score, coarse, readout, doubt)
    assert (position == -0.5).all()
    np.testing.assert_allclose(scale[:2, :2], [[np.exp(4.0)] * 2, [np.exp(-4.0)] * 2], rtol=1e-5)
