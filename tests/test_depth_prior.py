"""Monocular priors through networks made here, whose output is a known function of the frame; what is built on them."""

import hashlib
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper
from recordings import small_rig, write_rig, write_small_recording
from still_scene import StillScene
from test_cli_basics import edfv

from edfv_ros.depth import DepthEstimate, check_streams, open_estimator
from edfv_ros.depth.aligned_prior import AlignedPrior, fuse
from edfv_ros.depth.alignment import Alignment, Refusal, align, local_correction
from edfv_ros.depth.prior import MonocularPrior, PriorModel, load_prior, normalised, resize, to_vergence
from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.evaluation import depth_metrics
from edfv_ros.events import Capture, Frame
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sync import open_sweeps
from edfv_ros.nodes.depth_setup import prepare
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.offline import pair_ahead
from edfv_ros.pipeline import snapshots
from edfv_ros.recording import open_recording
from edfv_ros.running_recording import RunningRecording
from edfv_ros.share import config_file
from edfv_ros.simulation import Canvas, Layer, write_recording
from edfv_ros.volume import SweepSnapshot, VolumeRing

WIDTH, HEIGHT = 60, 40
PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3, "meaning": "relative_inverse"}


def write_network(
    path: Path,
    kind: str = "blur",
    *,
    channels: int = 3,
    layout: str = "nchw",
    size: tuple[int | str, int | str] = ("h", "w"),
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """A network that averages its channels and blurs over 3 x 3 pixels, then does what ``kind`` says."""
    shape = [1, channels, *size] if layout == "nchw" else [1, *size, channels]
    computed = TensorProto.FLOAT if dtype == TensorProto.UINT8 else dtype
    order = [0, 1, 2, 3] if layout == "nchw" else [0, 3, 1, 2]
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=computed),
        helper.make_node("Transpose", ["numbers"], ["channels"], perm=order),
        helper.make_node("ReduceMean", ["channels"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["blur"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        {
            "blur": helper.make_node("Identity", ["blur"], ["depth"]),
            "two dimensions": helper.make_node("Squeeze", ["blur"], ["depth"]),
            "root": helper.make_node("Sqrt", ["blur"], ["depth"]),
            "reciprocal": helper.make_node("Reciprocal", ["blur"], ["depth"]),
            "NaN": helper.make_node("Sub", ["blur", "blur"], ["zero"]),
            "no map": helper.make_node("GlobalAveragePool", ["blur"], ["depth"]),
            "channels": helper.make_node("Concat", ["blur", "blur"], ["depth"], axis=1),
        }[kind],
    ]
    if kind == "NaN":
        nodes.append(helper.make_node("Div", ["zero", "zero"], ["depth"]))
    rank = 2 if kind == "two dimensions" else 4
    outputs = [helper.make_tensor_value_info("depth", computed, [None] * rank)]
    if kind == "blur" and layout == "nhwc":
        outputs.append(helper.make_tensor_value_info("grey", computed, [None] * 4))
    graph = helper.make_graph(nodes, "prior", [helper.make_tensor_value_info("image", dtype, shape)], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_prior(folder: Path, kind: str = "blur", network: dict[str, object] | None = None, **keys: object) -> Path:
    """A prior file beside its network; the input has the size of the frames unless the keys say otherwise."""
    write_network(folder / "net.onnx", kind, **(network or {}))  # type: ignore[arg-type]
    size = {} if {"width_px", "multiple_of"} & set(keys) else {"width_px": WIDTH, "height_px": HEIGHT}
    path = folder / "prior.yaml"
    path.write_text(yaml.safe_dump({"path": "net.onnx", **PLAIN, **size, **keys}))
    return path


def prior_of(
    folder: Path, kind: str = "blur", network: dict[str, object] | None = None, **keys: object
) -> MonocularPrior:
    return MonocularPrior(load_prior(write_prior(folder, kind, network, **keys)), (WIDTH, HEIGHT))


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """Smooth blobs, from 20 to 240."""
    blobs = cv2.GaussianBlur(np.random.default_rng(3).normal(size=(HEIGHT, WIDTH)), (0, 0), 5)
    return (20 + 220 * (blobs - blobs.min()) / np.ptp(blobs)).astype(np.uint8)


def blurred(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The 3 x 3 mean of the levels, within the image only."""
    sums, counts = (
        cv2.boxFilter(image, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
        for image in (picture.astype(float), np.ones(picture.shape))
    )
    return sums / counts


def stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.quantile(values, (0.02, 0.98))
    return (values - low) / (high - low)


@pytest.mark.parametrize(
    ("network", "keys"),
    [
        ({}, {}),
        ({}, {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
        ({}, {"white": 255.0, "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}),
        ({"channels": 1}, {"channels": 1, "mean": [0.5], "std": [0.25]}),
        ({"layout": "nhwc"}, {"layout": "nhwc", "output_name": "depth"}),
        ({"dtype": TensorProto.FLOAT16}, {}),
        ({"size": (HEIGHT, WIDTH)}, {}),
        ({}, {"multiple_of": 20}),
    ],
    ids=["plain", "imagenet", "white 255", "grey", "nhwc", "half", "fixed size", "multiple"],
)
def test_the_network_sees_the_frame(
    tmp_path: Path, picture: NDArray[np.uint8], network: dict[str, object], keys: dict[str, object]
) -> None:
    """However the input is laid out and scaled, the quantiles take scale and shift away again."""
    relative = prior_of(tmp_path, network=network, **keys).relative_vergence(picture)
    assert relative.dtype == np.float32
    np.testing.assert_allclose(relative, stretched(blurred(picture)), atol=5e-3 if "dtype" in network else 1e-4)


def test_the_input_is_scaled_as_the_file_says(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    """Metric depth is the reciprocal, which keeps what scale and shift of the input do."""
    prior = prior_of(tmp_path, "blur", white=2.0, mean=[-1.0] * 3, std=[4.0] * 3, meaning="metric_depth")
    depth = (2.0 * blurred(picture) / 255.0 + 1.0) / 4.0
    np.testing.assert_allclose(prior.relative_vergence(picture), stretched(1.0 / depth), atol=1e-4)


def test_each_channel_has_its_own_mean(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    prior = prior_of(tmp_path, mean=[0.0, 0.1, 0.2], std=[1.0, 0.5, 0.25], meaning="metric_depth")
    level = blurred(picture) / 255.0
    depth = (level + (level - 0.1) / 0.5 + (level - 0.2) / 0.25) / 3
    expected = 1.0 / np.maximum(depth, 0.05 * np.median(depth))
    np.testing.assert_allclose(prior.relative_vergence(picture), stretched(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["blur", "two dimensions"])
def test_meanings_agree_on_the_same_world(tmp_path: Path, picture: NDArray[np.uint8], kind: str) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    inverse = prior_of(tmp_path / "a", kind).relative_vergence(picture)
    metric = prior_of(tmp_path / "b", "reciprocal", meaning="metric_depth").relative_vergence(picture)
    np.testing.assert_allclose(metric, inverse, atol=1e-4)


def test_relative_depth_descends_with_depth_and_has_no_poles() -> None:
    depth = np.linspace(-3.0, 7.0, 1000, dtype=np.float32).reshape(20, 50)
    vergence = to_vergence(depth, "relative_depth")
    assert (np.diff(vergence.ravel()) <= 0).all() and (vergence > 0).all()
    low, high = np.quantile(vergence, (0.02, 0.98))
    assert high / low == pytest.approx(6.0, rel=0.01)
    np.testing.assert_allclose(
        normalised(to_vergence(5 * depth + 2, "relative_depth")), normalised(vergence), atol=1e-5
    )


def test_infinite_and_zero_depths_have_a_vergence() -> None:
    depth = np.full((10, 10), 2.0, np.float32)
    depth[0, 0], depth[0, 1], depth[5:] = np.inf, 0.0, 4.0
    vergence = to_vergence(depth, "metric_depth")
    assert vergence[0, 0] == 0.0 and vergence[1, 0] == 0.5 and vergence[0, 1] == pytest.approx(1 / (0.05 * 4.0))


def test_an_outlier_rescales_nothing(picture: NDArray[np.uint8]) -> None:
    clean = blurred(picture).astype(np.float32)
    spoilt = clean.copy()
    spoilt[:2, :5] = 1e6
    difference = np.abs(normalised(spoilt) - normalised(clean))[2:]
    assert difference.max() < 0.05


def test_a_flat_map_is_zero() -> None:
    assert not normalised(np.full((8, 8), 3.0, np.float32)).any()


def test_resizing_makes_no_aliases() -> None:
    stripes = np.tile(np.array([0.0, 255.0], np.float32), (64, 64))
    assert resize(stripes, 43, 80).std() < 0.35 * stripes.std()
    np.testing.assert_allclose(resize(stripes, 32, 100), 127.5)
    ramp = np.tile(np.arange(64, dtype=np.float32), (48, 1))
    np.testing.assert_allclose(resize(resize(ramp, 128, 24), 64, 48)[:, 2:-2], ramp[:, 2:-2], atol=0.3)


def test_a_smaller_input_gives_the_same_relief(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    relative = prior_of(tmp_path, width_px=42, height_px=28).relative_vergence(picture)
    assert relative.shape == (HEIGHT, WIDTH)
    assert np.abs(relative - stretched(picture.astype(float))).mean() < 0.04


def test_runs_at_its_own_rate(tmp_path: Path) -> None:
    """Frames every 40 ms, runs every 200 ms, nothing older than 500 ms."""
    prior = prior_of(tmp_path, rate_hz=5.0, max_age_s=0.5)
    rng = np.random.default_rng(0)
    images = [cv2.blur(rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8), (5, 5)) for _ in range(12)]
    maps = [prior.at(40_000 * k + 10_000, Frame(40_000 * k, 1000, image)) for k, image in enumerate(images)]
    for k, found in enumerate(maps):
        assert found is maps[5 * (k // 5)]
        np.testing.assert_allclose(found, stretched(blurred(images[5 * (k // 5)])), atol=1e-4)
    assert maps[0] is not maps[5] and maps[5] is not maps[10]
    assert prior.at(400_000 + 499_000, None) is maps[10]
    assert prior.at(400_000 + 501_000, None) is None
    again = prior.at(10_000, Frame(0, 1000, images[3]))  # the recording starts again
    np.testing.assert_allclose(again, stretched(blurred(images[3])), atol=1e-4)


def test_a_frame_it_makes_nothing_of_costs_only_itself(
    tmp_path: Path, picture: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    """A black frame makes this network take the root of a negative number."""
    prior = prior_of(tmp_path, "root", mean=[0.02] * 3, max_age_s=0.25)
    black = np.zeros_like(picture)
    for time_us in (0, 40_000):
        assert prior.at(time_us, Frame(time_us, 1000, black)) is None
    assert caplog.text.count("no prior from the frame at 0 us: ") == 1 == caplog.text.count("no prior")
    assert "its output depth holds NaN" in caplog.text
    assert prior.at(80_000, Frame(80_000, 1000, picture)) is not None
    assert prior.at(400_000, Frame(400_000, 1000, picture[:, 1:])) is None
    assert "the frame is 59 x 40, the camera 60 x 40" in caplog.text


@pytest.mark.parametrize(
    ("kind", "network", "keys", "message"),
    [
        ("NaN", {}, {}, "net.onnx: its output depth holds NaN"),
        ("no map", {}, {}, "net.onnx: its output depth has the shape (1, 1, 1, 1), which is no map"),
        ("channels", {}, {}, "net.onnx: its output depth has the shape (1, 2, 40, 60), which is no map"),
        ("blur", {"size": (28, 42)}, {}, "net.onnx: does not run on 60 x 40: "),
        ("blur", {"channels": 1}, {}, "net.onnx: does not run on 60 x 40: "),
        ("blur", {"dtype": TensorProto.UINT8}, {}, "net.onnx: its input image is a tensor(uint8); allowed are "),
        ("blur", {"layout": "nhwc"}, {"layout": "nhwc"}, "net.onnx: 2 outputs: set output_name to one of depth, grey"),
        ("blur", {}, {"output_name": "z"}, "net.onnx: no output is called 'z': set output_name to one of depth"),
        ("blur", {}, {"sha256": "0" * 64}, "net.onnx: its sha256 is "),
        ("blur", {}, {"path": "other.onnx"}, "other.onnx: no such ONNX file"),
        ("blur", {}, {"path": "prior.yaml"}, "prior.yaml: ONNX Runtime cannot load it: "),
        ("blur", {}, {"meaning": "depth"}, "prior.yaml: meaning = 'depth': "),
        ("blur", {}, {"mean": [0.5]}, "prior.yaml: mean has 1 values for 3 channels"),
        ("blur", {}, {"multiple_of": 14, "width_px": 20}, "prior.yaml: give both width_px and height_px, or "),
        ("blur", {}, {"multiple_of": 14, "width_px": 20, "height_px": 9}, "prior.yaml: give either width_px and "),
        ("blur", {}, {"rate_hz": 2.0, "max_age_s": 0.4}, "prior.yaml: max_age_s = 0.4 is shorter than the time "),
        ("blur", {}, {"layuot": "nhwc"}, "prior.yaml: unknown key layuot: did you mean layout?"),
    ],
)
def test_what_does_not_fit_is_one_line_at_the_start(
    tmp_path: Path, kind: str, network: dict[str, object], keys: dict[str, object], message: str
) -> None:
    with pytest.raises(SourceError) as caught:
        prior_of(tmp_path, kind, network, **keys)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_right_sha256_is_taken(tmp_path: Path) -> None:
    digest = hashlib.sha256(write_network(tmp_path / "net.onnx").read_bytes()).hexdigest()
    assert load_prior(write_prior(tmp_path, sha256=digest.upper())).sha256 == digest.upper()
    prior_of(tmp_path, sha256=digest.upper())


def test_the_example_is_valid() -> None:
    model = load_prior(config_file("prior_depth_anything_v2_small.yaml"))
    assert model.input_size((346, 260)) == (350, 252)
    assert Path(model.path) == config_file("prior_depth_anything_v2_small.yaml").parent / "depth_anything_v2_small.onnx"


# Alignment


def line(count: int, noise_dpt: float = 0.0, seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    """Points on ``v = 2.5 x + 0.4`` with the standard deviation they say they have, and 0.01 where they have none."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.0, 1.0, count)
    y = 2.5 * x + 0.4 + noise_dpt * rng.normal(size=count)
    return x.astype(np.float32), y.astype(np.float32), np.full(count, noise_dpt or 0.01, np.float32)


def test_an_exact_line_is_recovered_exactly() -> None:
    fit = align(*line(3000))
    assert isinstance(fit, Alignment)
    assert (fit.scale, fit.shift_dpt) == (pytest.approx(2.5, abs=1e-6), pytest.approx(0.4, abs=1e-6))
    assert fit.inliers == 1.0 and fit.sigma_dpt < 1e-5
    x = np.array([[0.0, 0.5], [1.0, 2.0]], np.float32)
    np.testing.assert_allclose(fit.vergence_dpt(x), 2.5 * x + 0.4, atol=1e-5)


@pytest.mark.parametrize("outliers", ["above", "spread", "another line"])
def test_outliers_of_30_percent_move_nothing(outliers: str) -> None:
    x, y, sigma = line(4000, 0.02)
    rng = np.random.default_rng(1)
    wrong = rng.random(4000) < 0.3
    y[wrong] = {
        "above": y[wrong] + 2.0,
        "spread": rng.uniform(0.0, 4.0, wrong.sum()),
        "another line": 3.5 - 2.0 * x[wrong],
    }[outliers]
    fit = align(x, y, sigma)
    assert isinstance(fit, Alignment)
    assert fit.scale == pytest.approx(2.5, abs=0.01) and fit.shift_dpt == pytest.approx(0.4, abs=0.01)
    assert fit.inliers == pytest.approx(0.7, abs=0.04)


def test_the_priors_own_error_is_told_from_the_points() -> None:
    x, y, sigma = line(8000, 0.05)
    bent = y + 0.12 * np.random.default_rng(2).normal(size=8000).astype(np.float32)
    fit = align(x, bent, sigma)
    assert isinstance(fit, Alignment) and fit.sigma_dpt == pytest.approx(0.12, rel=0.1)


def test_better_points_weigh_more() -> None:
    x, y, sigma = line(4000)
    doubtful = np.arange(4000) % 2 == 0
    y[doubtful] += 0.2 * (x[doubtful] - 0.5)
    sigma[doubtful] = 0.3
    fit = align(x, y, sigma)
    assert isinstance(fit, Alignment) and fit.scale == pytest.approx(2.5, abs=0.02)


def test_the_covariance_is_that_of_repeated_fits() -> None:
    fits = [align(*line(500, 0.05, seed)) for seed in range(200)]
    found = np.array([(fit.scale, fit.shift_dpt) for fit in fits if isinstance(fit, Alignment)])
    assert len(found) == 200
    expected = np.mean([fit.covariance for fit in fits if isinstance(fit, Alignment)], axis=0)
    np.testing.assert_allclose(np.cov(found.T), expected, rtol=0.35)
    fit = fits[0]
    assert isinstance(fit, Alignment)
    wide = align(*line(500, 0.05), points_per_error=25.0)
    assert isinstance(wide, Alignment)
    np.testing.assert_allclose(wide.covariance, 25.0 * fit.covariance)
    assert fit.extrapolation_variance(np.float32([3.0])) > 10 * fit.extrapolation_variance(np.float32([0.5]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x, y, s: (x[:150], y[:150], s[:150]), "vergence is known for 150 pixels; at least 200 are needed"),
        (lambda x, y, s: (x[:0], y[:0], s[:0]), "vergence is known for 0 pixels"),
        (lambda x, y, s: (0.01 * x, y, s), "the prior is flat where vergence is known: its range there is 0.009"),
        (lambda x, y, s: (x, 3 - y, s), "the prior runs against the vergence: its scale would be -2.5 dpt"),
        (lambda x, y, s: (x, np.where(x > 0.99, y, np.float32(1)), s), "the prior explains the vergence hardly better"),
        (lambda x, y, s: (np.random.default_rng(5).permutation(x), y, s), "the prior "),
    ],
)
def test_a_degenerate_fit_is_refused_with_its_reason(change, reason: str) -> None:  # type: ignore[no-untyped-def]
    refusal = align(*change(*line(2000)))
    assert isinstance(refusal, Refusal) and refusal.reason.startswith(reason) and "\n" not in refusal.reason


def test_a_slow_bend_is_taken_out_and_nothing_is_invented() -> None:
    y, x = np.mgrid[0:120, 0:160].astype(np.float32)
    bend = 0.3 * np.sin(x / 40) * np.cos(y / 50)
    known = np.random.default_rng(0).random((120, 160)) < 0.3
    known[:, 110:] = False
    correction = local_correction(np.where(known, bend, 0).astype(np.float32), known.astype(np.float32), 8.0, 0.02)
    inside = (slice(10, -10), slice(10, 90))
    assert np.abs(correction - bend)[inside].max() < 0.06
    assert not local_correction(np.zeros((9, 9), np.float32), np.zeros((9, 9), np.float32), 2.0, 0.1).any()
    assert np.abs(correction[:, 150:]).max() < 1e-3


# Estimator


def slanted_patches(rig_depth: tuple[float, float]) -> StillScene:
    """A slanted wall, dotted in some patches and blank in most of its area."""

    def layers(canvas: Canvas) -> tuple[Layer, ...]:
        height, width = 2 * canvas.height_px, 2 * canvas.width_px
        rng = np.random.default_rng(5)
        dots = np.kron(rng.uniform(0.1, 0.9, (height // 4 + 1, width // 4 + 1)), np.ones((4, 4)))[:height, :width]
        y, x = np.mgrid[0:height, 0:width]
        patch = ((x // (width // 8)) % 3 == 1) & ((y // (height // 6)) % 2 == 0)
        radiance = np.where(patch, dots, 0.5).astype(np.float32)
        near, far = 1 / rig_depth[0], 1 / rig_depth[1]
        vergence = far + (near - far) * np.clip(0.7 * x / width + 0.3 * y / height, 0.0, 1.0)
        return (Layer(0, 0, np.ascontiguousarray(radiance), None, (1.0 / vergence).astype(np.float32)),)

    return StillScene(layers, rig_depth)


class Blank:
    """A simulated recording of the slanted wall, its sweeps, and what the model-free estimator makes of the first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rig = folder, small_rig(200, 150)
        write_recording(folder, self.rig, slanted_patches((0.3, 2.0)), seed=1)
        self.truth_m = np.load(folder / "depth_gt.npy")
        levels = 255 * (np.clip(1 / self.truth_m, 0.3, 4.0) / 4.0) ** 0.8  # monotone, not linear
        self.frame = levels.astype(np.uint8)

    def snapshots(self):  # type: ignore[no-untyped-def]
        recording = open_recording(self.folder)
        with Capture(str(recording.files.events)) as capture:
            ring = VolumeRing(self.rig.bins, self.rig.camera.resolution)
            for snapshot in pair_ahead(snapshots(self.rig, capture, open_sweeps(self.rig, self.folder), ring=ring)):
                yield snapshot
                snapshot.release()

    def delta1(self, estimate: DepthEstimate) -> float:
        """Over all pixels; one without a depth is wrong."""
        ratio = np.maximum(estimate.depth_m / self.truth_m, self.truth_m / estimate.depth_m)
        return float(np.mean(ratio < 1.25))


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Blank:
    return Blank(tmp_path_factory.mktemp("blank"))


def test_blank_surfaces_get_their_depth(blank: Blank, tmp_path: Path) -> None:
    """The frame encodes the true vergence; the network shows it to the estimator as a relative map."""
    path = write_prior(tmp_path, width_px=140, height_px=98, network={})
    with_prior, without = open_estimator("aligned_prior", blank.rig, prior=path), open_estimator("reversal", blank.rig)
    for snapshot in blank.snapshots():
        frame = Frame(snapshot.latest.sweep.start_us, 1000, blank.frame)
        seen = replace(snapshot, frame=frame)
        fused, sparse = with_prior.estimate(seen), without.estimate(seen)
        metrics = [
            depth_metrics(each, blank.truth_m, blank.rig.bins, snapshot.event_count()) for each in (fused, sparse)
        ]
        assert blank.delta1(sparse) < 0.8, "the scene is too easy"
        assert blank.delta1(fused) > max(0.95, blank.delta1(sparse) + 0.2)
        assert metrics[0]["known_fraction"] == 1.0
        assert metrics[0]["same_median_error_bins"] <= metrics[1]["same_median_error_bins"] + 0.02
        error_bins = np.abs(fused.vergence_dpt - 1 / blank.truth_m) / blank.rig.bins.width_dpt
        assert np.mean(error_bins < 1.0) >= fused.confidence.mean() - 0.05, "the confidence promises too much"
        within = np.mean(np.abs(fused.vergence_dpt - 1 / blank.truth_m) < 2 * fused.sigma_dpt)
        assert within > 0.8
        for array in (fused.vergence_dpt, fused.depth_m, fused.confidence, fused.sigma_dpt):
            assert array.dtype == np.float32 and array.shape == blank.truth_m.shape
        np.testing.assert_allclose(fused.depth_m * fused.vergence_dpt, 1.0, rtol=1e-5)
        assert (fused.confidence > 0).all() and (fused.confidence <= 1).all()


def test_without_a_frame_or_with_a_misleading_prior_it_is_the_model_free_estimate(
    blank: Blank, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = blank.rig
    estimator = open_estimator("aligned_prior", rig, prior=write_prior(tmp_path, width_px=200, height_px=150))
    plain = open_estimator("reversal", rig)
    sweeps = blank.snapshots()
    snapshot = next(sweeps)
    for frame in (None, Frame(snapshot.latest.sweep.start_us, 1000, 255 - blank.frame)):
        seen = replace(snapshot, frame=frame)
        np.testing.assert_array_equal(estimator.estimate(seen).vergence_dpt, plain.estimate(seen).vergence_dpt)
    estimator.estimate(seen)
    sweeps.close()
    assert caplog.text.count("depth without the prior: the prior runs against the vergence") == 1


def test_where_both_disagree_one_of_them_is_taken() -> None:
    """A near box that the prior does not see stays where the sweep found it, at its own depth and no other."""
    rig = small_rig(80, 60)
    vergence = np.tile(np.linspace(0.5, 2.5, 80, dtype=np.float32), (60, 1))
    relative = normalised(vergence)
    vergence[20:40, 30:50] = 3.8
    confidence = np.full((60, 80), 0.95, np.float32)
    confidence[20:40, 30:50] = 0.999
    confidence[:, 60:] = 0.0
    known = confidence > 0
    nan = np.float32(np.nan)
    sparse = DepthEstimate(
        np.where(known, vergence, nan), np.where(known, 1 / vergence, nan), confidence, np.where(known, 0.1, nan)
    )
    fused = fuse(sparse, relative, np.ones((60, 80), np.float32), rig.bins)
    assert isinstance(fused, DepthEstimate)
    np.testing.assert_allclose(fused.vergence_dpt, vergence, atol=0.03)
    assert (fused.confidence[:, 60:] > 0.5).all() and (fused.confidence[:, 60:] < fused.confidence[10, 10]).all()
    assert (fused.sigma_dpt[:, 62:] >= fused.sigma_dpt[10, 10]).all()


def test_silence_stays_unknown(tmp_path: Path) -> None:
    rig = small_rig(WIDTH, HEIGHT)
    ring = VolumeRing(rig.bins, (WIDTH, HEIGHT))
    ring.open(FocusSweep(np.array([0.0, 1e5]), np.array([0.3, 4.2])))
    frame = Frame(0, 1000, np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1)))
    estimator = open_estimator("aligned_prior", rig, prior=write_prior(tmp_path))
    assert isinstance(estimator, AlignedPrior)
    estimate = estimator.estimate(SweepSnapshot(0, ring.close(), None, frame))
    assert np.isnan(estimate.depth_m).all() and not estimate.confidence.any()


# Where users meet it


def fails(*arguments: object) -> str:
    code, out, error = edfv(*arguments)
    assert (code, out) == (2, ""), (out, error)
    assert error.startswith("edfv: ") and error.count("\n") == 1, error
    return error


def test_the_command_line_uses_it(blank: Blank, tmp_path: Path) -> None:
    path = write_prior(tmp_path, width_px=200, height_px=150)
    arguments = ("--out", tmp_path / "out", "--estimator", "aligned_prior", "--prior", path, "--sweeps", 1)
    code, printed, error = edfv("run", blank.folder, *arguments)
    assert (code, "delta1" in printed) == (0, True), error
    assert np.load(tmp_path / "out/depth_0000.npy").shape == (150, 200)


def test_the_command_line_says_what_is_missing(tmp_path: Path) -> None:
    recording = write_small_recording(tmp_path / "sweep")
    path = write_prior(tmp_path, width_px=64, height_px=48)
    run = ("run", recording, "--out", tmp_path / "out", "--overwrite", "--estimator")
    assert "the estimator aligned_prior needs a prior: give a file such as config/prior_" in fails(
        *run, "aligned_prior"
    )
    assert "recording.aedat4: it has no frames, which the estimator aligned_prior needs" in fails(
        *run, "aligned_prior", "--prior", path
    )
    assert "the estimator reversal uses no prior, but" in fails(*run, "reversal", "--prior", path)


def test_a_missing_prior_file_ends_with_2(blank: Blank, tmp_path: Path) -> None:
    arguments = ("--out", tmp_path / "out", "--estimator", "aligned_prior", "--prior", tmp_path / "absent.yaml")
    assert "absent.yaml: no such prior file; write one after config/prior_" in fails("run", blank.folder, *arguments)


def test_the_node_checks_it_before_anything_is_opened(tmp_path: Path) -> None:
    rig = str(write_rig(small_rig(WIDTH, HEIGHT), tmp_path / "rig.yaml"))
    given = {"source": "network", "path": "tcp://127.0.0.1:9", "rig": rig, "estimator": "aligned_prior"}
    with pytest.raises(EdfvError, match="the estimator aligned_prior needs a prior"):
        prepare(DepthParameters(**given))  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="no such prior file"):
        prepare(DepthParameters(**given, prior=str(tmp_path / "absent.yaml")))  # type: ignore[arg-type]
    prepare(DepthParameters(**given, prior=str(write_prior(tmp_path))))  # type: ignore[arg-type]


def test_the_node_reports_a_source_without_frames(tmp_path: Path) -> None:
    recording = write_small_recording(tmp_path / "sweep")
    path = write_prior(tmp_path, width_px=64, height_px=48)
    values = {"source": "file", "path": str(recording), "estimator": "aligned_prior", "prior": str(path)}
    with ExitStack() as stack:
        setup = prepare(DepthParameters(**values))  # type: ignore[arg-type]
        devices = setup.open_devices(RunningRecording(print), stack, threading.Event())
        pipeline = devices.make_pipeline(setup.parameters, lambda output: None)
        pipeline.start()
        assert pipeline.wait(20.0)
        error = pipeline.statistics().error
    assert error is not None and "it has no frames, which the estimator aligned_prior needs" in error


def test_streams_of_a_source_are_checked() -> None:
    prior = Path("prior.yaml")
    check_streams("reversal", ("events",), "camera")
    check_streams("aligned_prior", ("events", "frames"), "camera", prior=prior)
    with pytest.raises(SourceError, match="camera: it has no frames, which the estimator aligned_prior needs"):
        check_streams("aligned_prior", ("events",), "camera", prior=prior)


def test_the_file_holds_every_key() -> None:
    text = PriorModel.__doc__ or ""
    for name in PriorModel.model_fields:
        assert name in text, name
