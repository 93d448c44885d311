"""The model-free estimator: its parts against theory, the whole against scenes it was not made from."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edfv_ros.depth import DepthEstimate, open_estimator
from edfv_ros.depth.aggregate import aggregate
from edfv_ros.depth.blur_model import band_models, disc_transfer
from edfv_ros.depth.reconstruct import add_intensity_change
from edfv_ros.depth.upsample import follow_image_edges, to_pixels
from edfv_ros.depth.workers import Workers
from edfv_ros.errors import EdfvError
from edfv_ros.evaluation import depth_metrics
from edfv_ros.events import Capture
from edfv_ros.lens.sync import TrackSweeps
from edfv_ros.lens.track import LensTrack
from edfv_ros.optics import VergenceBins
from edfv_ros.pipeline import snapshots
from edfv_ros.rig import Rig, load_rig
from edfv_ros.simulation import make_scene, write_recording
from edfv_ros.volume import VolumeRing

CONFIG = Path(__file__).parents[1] / "config"
PATH_TRACED = Path(__file__).parents[2] / "shared/data/pathtraced"


def test_disc_transfer_is_two_j1_over_x() -> None:
    """Values and zeros of the Bessel function from tables (Abramowitz and Stegun, ch. 9)."""
    x = np.array([0.0, 1.0, 2.0, 3.8317059702, 7.0155866698, 10.0, 100.0])
    j1 = np.array([np.nan, 0.4400505857, 0.5767248078, 0.0, 0.0, 0.0434727462, -0.0771453520])
    assert disc_transfer(x)[0] == pytest.approx(1.0)
    assert disc_transfer(x)[1:] == pytest.approx(2 * j1[1:] / x[1:], abs=1e-9)


def test_band_model_explains_its_own_textures() -> None:
    """Sinusoids of the band, defocused by theory, lie in the subspace of their own depth and of no other."""
    bins = VergenceBins(0.0, 4.0, 32)
    slope_px_per_dpt, band_px = 7.0, (1.118, 2.12)
    (model,) = band_models(slope_px_per_dpt, bins, tuple(range(32)), (band_px,), 0.1)
    frequency = np.linspace(0.01, 0.4, 60)[:, None]
    fine, coarse = (np.exp(-2 * (np.pi * sigma * frequency) ** 2) for sigma in band_px)
    amplitude = (fine - coarse) / np.sqrt(frequency)
    edges = np.arange(33) - 0.5
    for depth_bin in (0, 9, 20, 31):
        blur_px = slope_px_per_dpt * bins.width_dpt * np.abs(edges - depth_bin)
        change = amplitude * np.diff(disc_transfer(np.pi * frequency * blur_px), axis=1)
        explained = np.add.reduceat((change @ model.filters) ** 2, model.starts[:-1], axis=1).sum(axis=0)
        score = -np.log((change**2).sum() - explained) - model.log_determinant / 32
        assert score.argmax() == depth_bin


@pytest.mark.parametrize("direction", [1, -1])
def test_reconstruction_keeps_the_sum_and_takes_back_the_lag(direction: int) -> None:
    """A steady ramp of one threshold every two bins fires late; laid back, it is the ramp again."""
    counts = np.zeros((16, 1, 1), np.int16)
    counts[1::2] = 1
    if direction < 0:
        counts = counts[::-1].copy()
    change = np.zeros((16, 1, 1), np.float32)
    add_intensity_change(counts, direction, 2.0, 1.0, change, 0, 1)
    assert change.sum() == pytest.approx(counts.sum())
    inner = change[2:14, 0, 0] if direction > 0 else change[::-1, 0, 0][2:14]
    assert inner == pytest.approx(np.full(12, 0.5))


@pytest.mark.parametrize("spread_bins", [1.0, 1.4, 2.5, 4.0])
def test_reconstruction_lays_each_count_back_evenly(spread_bins: float) -> None:
    """A count in the middle of bin 8 after silence reaches back ``spread_bins`` from there, or to an event before."""
    counts = np.zeros((16, 1, 2), np.int16)
    counts[8] = 3
    counts[7, 0, 1] = -2
    change = np.zeros((16, 2, 4), np.float32)  # more rows and columns than the picture has
    add_intensity_change(counts, 1, spread_bins, 0.5, change, 0, 1)
    edges = np.arange(17) - 0.5

    def laid(count: float, begin: float, end: float) -> np.ndarray:
        inside = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], begin), 0.0, None)
        return 0.5 * count * inside / (end - begin)

    np.testing.assert_allclose(change[:, 0, 0], laid(3, 8 - spread_bins, 8), atol=1e-6)
    np.testing.assert_allclose(change[:, 0, 1], laid(-2, 7 - spread_bins, 7) + laid(3, 7, 8), atol=1e-6)
    assert not change[:, 1].any() and not change[:, :, 2:].any()


@pytest.mark.parametrize("threads", [1, 3])
def test_aggregation_fills_silence_and_keeps_edges(threads: int) -> None:
    labels = np.where(np.arange(40) < 20, 5, 15)
    cost = np.zeros((20, 30, 40), np.float32)
    for x, label in enumerate(labels):
        cost[:, :, x] = 2.0
        cost[label, :, x] = 0.0
    cost[:, 10:20, 5:12] = 0.0  # nothing is known here
    total = np.full((2, *cost.shape), np.nan, np.float32)
    aggregate(-cost, 0.3, 1.0, total, Workers(threads))
    np.testing.assert_array_equal(total.sum(axis=0).argmin(axis=0), np.broadcast_to(labels, (30, 40)))


def test_aggregation_is_the_mean_over_the_cheapest_paths_of_eight_directions() -> None:
    """Against the recurrence of the paper, written down pixel by pixel."""
    labels, height, width, p1, p2 = 6, 19, 7, 0.3, 1.0
    score = np.random.default_rng(0).normal(size=(labels, height, width)).astype(np.float32)
    step = np.abs(np.subtract.outer(np.arange(labels), np.arange(labels)))
    change_cost = np.where(step == 0, 0.0, np.where(step == 1, p1, p2))
    expected = np.zeros((labels, height, width))
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        path = np.zeros((labels, height, width))
        for y in range(height)[:: dy or 1]:
            for x in range(width)[:: dx or 1]:
                path[:, y, x] = -score[:, y, x]
                if 0 <= y - dy < height and 0 <= x - dx < width:
                    before = path[:, y - dy, x - dx]
                    path[:, y, x] += (before[None] + change_cost).min(axis=1) - before.min()
        expected += path / 8
    total = np.empty((2, *score.shape), np.float32)
    aggregate(score, p1, p2, total, Workers(2))
    np.testing.assert_allclose(total.sum(axis=0), expected, atol=1e-5)


def test_no_pixel_floats_between_two_surfaces() -> None:
    cells = np.zeros((2, 8, 10), np.float32)
    cells[0, :, 5:] = 20.0
    cells[1] = 1.0
    pixels = to_pixels(cells, 16, 20, 2, 2.0)
    assert set(np.unique(pixels[0])) == {0.0, 20.0}
    image = np.full((16, 20), 40, np.uint8)
    image[:, 13:] = 200  # the image has its edge three pixels further right
    follow_image_edges(pixels, cells, image, 2, 2.0)
    assert pixels[0] == pytest.approx(np.where(np.arange(20) < 13, 0.0, 20.0) * np.ones((16, 1)), abs=1e-4)


def test_an_image_of_another_size_is_refused() -> None:
    """The compiled kernel checks no bounds."""
    cells = np.zeros((2, 8, 10), np.float32)
    with pytest.raises(ValueError, match="the image is 21 x 16, the depth 20 x 16"):
        follow_image_edges(np.zeros((2, 16, 20), np.float32), cells, np.zeros((16, 21), np.uint8), 2, 2.0)


def test_slopes_are_interpolated() -> None:
    cells = np.broadcast_to(np.arange(10, dtype=np.float32), (1, 8, 10)).copy()
    pixels = to_pixels(cells, 16, 20, 2, 2.0)
    assert np.diff(pixels[0, 5, 2:-2]) == pytest.approx(np.full(15, 0.5))


def run(folder: Path, rig: Rig) -> list[tuple[DepthEstimate, NDArray[np.uint16]]]:
    """Estimate every sweep, through capture process, pipeline and ring."""
    track = LensTrack.from_csv(folder / "lens.csv")
    estimator = open_estimator("reversal", rig)
    out = []
    with Capture(str(folder / "recording.aedat4")) as capture:
        for snapshot in snapshots(rig, capture, TrackSweeps(track, rig), ring=VolumeRing(rig.bins, (346, 260))):
            out.append((estimator.estimate(snapshot), snapshot.event_count()))
            snapshot.release()
    return out


def check(folder: Path, *, least_events: int) -> dict[str, float]:
    """Accuracy over confident pixels of the last sweep, which has both directions."""
    rig = load_rig(folder / "rig.yaml")
    estimate, event_count = run(folder, rig)[-1]
    assert event_count.sum() >= least_events
    metrics = depth_metrics(estimate, np.load(folder / "depth_gt.npy"), rig.bins, event_count)
    assert metrics["same_median_error_bins"] <= 0.3
    assert metrics["confident_fraction"] >= 0.5
    assert metrics["confident_median_error_bins"] <= 0.3
    assert metrics["confident_delta1"] >= 0.92
    known = np.isfinite(estimate.depth_m)
    np.testing.assert_array_equal(known, estimate.confidence > 0)
    np.testing.assert_array_equal(known, np.isfinite(estimate.sigma_dpt))
    np.testing.assert_allclose(estimate.depth_m[known] * estimate.vergence_dpt[known], 1.0, rtol=1e-5)
    return metrics


@pytest.mark.parametrize("scene", ["scene_201", "scene_202"])
def test_path_traced_sweeps(scene: str) -> None:
    """Another renderer, another event model."""
    folder = PATH_TRACED / scene
    if not folder.exists():
        pytest.skip("the shared path-traced sweeps are not beside this checkout")
    check(folder, least_events=500_000)


def test_simulated_sweep(tmp_path: Path) -> None:
    rig = load_rig(CONFIG / "rig.yaml")
    write_recording(tmp_path, rig, make_scene("tabletop", 7, rig), seed=7)
    metrics = check(tmp_path, least_events=500_000)
    assert metrics["dense_delta1"] >= 0.92


def test_silence_is_unknown() -> None:
    """No events: no depth, and no confidence."""
    from edfv_ros.lens.sweep import FocusSweep
    from edfv_ros.volume import SweepSnapshot

    rig = load_rig(CONFIG / "rig.yaml")
    ring = VolumeRing(rig.bins, (33, 21))
    ring.open(FocusSweep(np.array([0.0, 1e5]), np.array([0.3, 4.2])))
    estimate = open_estimator("reversal", rig).estimate(SweepSnapshot(0, ring.close(), None, None))
    assert estimate.depth_m.shape == (21, 33)
    assert np.isnan(estimate.depth_m).all()
    assert not estimate.confidence.any()


def test_unknown_estimator() -> None:
    with pytest.raises(EdfvError, match="no estimator is called 'magic'; choose from: aligned_prior, "):
        open_estimator("magic", load_rig(CONFIG / "rig.yaml"))
