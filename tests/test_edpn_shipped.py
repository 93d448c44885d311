"""The network that comes with the package: it is the one that the manifest means, and better than none."""

from pathlib import Path

import numpy as np
import pytest

from edfv_ros.depth import DepthEstimate, open_estimator
from edfv_ros.depth.models import shipped_model
from edfv_ros.evaluation import depth_metrics
from edfv_ros.events import Capture
from edfv_ros.lens.sync import open_sweeps
from edfv_ros.offline import pair_ahead
from edfv_ros.pipeline import snapshots
from edfv_ros.recording import open_recording
from edfv_ros.rig import load_rig
from edfv_ros.simulation import make_scene, write_recording
from edfv_ros.volume import VolumeRing

ROOT = Path(__file__).parents[1]
PATH_TRACED = ROOT.parent / "shared/data/pathtraced"
MOST_BYTES = 16 * 2**20


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    rig = load_rig(ROOT / "config/rig.yaml")
    write_recording(folder, rig, make_scene("tabletop", 7, rig), seed=7)
    return folder


def errors(folder: Path, estimator: str) -> tuple[DepthEstimate, dict[str, float]]:
    """The first sweep's estimate and metrics."""
    recording = open_recording(folder)
    rig = recording.rig
    opened = open_estimator(estimator, rig)
    with Capture(str(recording.files.events)) as capture:
        ring = VolumeRing(rig.bins, rig.camera.resolution)
        for snapshot in pair_ahead(snapshots(rig, capture, open_sweeps(rig, folder), ring=ring)):
            estimate = opened.estimate(snapshot)
            truth_m = np.load(folder / "depth_gt.npy")
            metrics = depth_metrics(estimate, truth_m, rig.bins, snapshot.event_count())
            snapshot.release()
            return estimate, metrics
    raise AssertionError("no sweep")


def test_the_file_is_the_one_of_the_manifest_and_small() -> None:
    shipped = shipped_model("edpn")
    assert shipped.path == ROOT / "models/edpn.onnx"
    assert shipped.path.stat().st_size <= MOST_BYTES
    assert shipped.entry.licence == "Apache-2.0" and shipped.entry.provenance["steps"] > 0


def test_it_fills_a_simulated_scene_better_than_no_network(simulated: Path) -> None:
    estimate, network = errors(simulated, "edpn")
    _, model_free = errors(simulated, "reversal")
    assert network["known_fraction"] >= 0.99
    assert network["dense_delta1"] >= 0.95
    assert network["same_median_error_bins"] <= 0.2
    assert network["dense_abs_rel"] < model_free["dense_abs_rel"]
    assert network["same_median_error_bins"] < model_free["same_median_error_bins"]
    known = np.isfinite(estimate.depth_m)
    np.testing.assert_array_equal(known, estimate.confidence > 0)
    np.testing.assert_array_equal(known, np.isfinite(estimate.sigma_dpt))
    np.testing.assert_allclose(estimate.depth_m[known] * estimate.vergence_dpt[known], 1.0, rtol=1e-5)


def test_its_sigma_is_about_honest(simulated: Path) -> None:
    estimate, _ = errors(simulated, "edpn")
    truth_m = np.load(simulated / "depth_gt.npy")
    known = np.isfinite(estimate.sigma_dpt) & np.isfinite(truth_m)
    errors_dpt = np.abs(estimate.vergence_dpt[known] - 1.0 / truth_m[known])
    share = np.mean(errors_dpt < estimate.sigma_dpt[known])
    assert 0.6 < share < 0.99, "cautious where it is easy, never much too sure"


@pytest.mark.parametrize(("scene", "delta1"), [("scene_201", 0.85), ("scene_202", 0.95)])
def test_path_traced_sweeps(scene: str, delta1: float) -> None:
    """Another renderer, another event model."""
    folder = PATH_TRACED / scene
    if not folder.is_dir():
        pytest.skip(f"the path-traced recordings are not there: {folder}")
    _, metrics = errors(folder, "edpn")
    assert metrics["known_fraction"] >= 0.98
    assert metrics["dense_delta1"] >= delta1
    assert metrics["confident_delta1"] >= 0.96
    assert metrics["confident_median_error_bins"] <= 0.25
