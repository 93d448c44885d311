"""The published network as an estimator: what it is shown, how its answer is read, and where users meet it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper
from recordings import small_rig, write_rig
from test_cli_basics import edfv
from test_depth_prior import slanted_patches, write_prior

torch = pytest.importorskip("torch", reason="torch is not installed")

from test_published_network import formula_state  # noqa: E402

from edfv_ros.depth import DepthEstimate, check_streams, open_estimator  # noqa: E402
from edfv_ros.depth.metric_bins import MetricBins  # noqa: E402
from edfv_ros.depth.prior import MonocularPrior, load_prior  # noqa: E402
from edfv_ros.depth.published import PublishedEdpn, PublishedModel, published_mask, textured  # noqa: E402
from edfv_ros.errors import EdfvError, RigError, SourceError  # noqa: E402
from edfv_ros.events import EVENT_DTYPE, Capture, Frame  # noqa: E402
from edfv_ros.lens.sweep import FocusSweep  # noqa: E402
from edfv_ros.lens.sync import open_sweeps  # noqa: E402
from edfv_ros.nodes.depth_setup import prepare  # noqa: E402
from edfv_ros.nodes.parameters import DepthParameters  # noqa: E402
from edfv_ros.offline import pair_ahead  # noqa: E402
from edfv_ros.optics import VergenceBins  # noqa: E402
from edfv_ros.pipeline import snapshots  # noqa: E402
from edfv_ros.recording import open_recording  # noqa: E402
from edfv_ros.simulation import write_recording  # noqa: E402
from edfv_ros.training.published.importing import import_checkpoint  # noqa: E402
from edfv_ros.volume import SweepSnapshot, VolumeRing  # noqa: E402

WIDTH, HEIGHT = 76, 60  # not multiples of eight
PLACES = np.linspace(0.0, 1.0, 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file as users make it, of weights by a formula."""
    folder = tmp_path_factory.mktemp("model")
    torch.save({"model": formula_state(), "epoch": 1}, folder / "upload.pth")
    import_checkpoint(folder / "upload.pth", folder / "edpn_published.onnx")
    return folder / "edpn_published.onnx"


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prior(tmp_path_factory.mktemp("prior"), width_px=56, height_px=42)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated recording with frames, of a patchy wall."""
    folder = tmp_path_factory.mktemp("recording") / "sweep"
    write_recording(folder, small_rig(WIDTH, HEIGHT), slanted_patches((0.3, 2.0)), seed=1)
    return folder


@contextmanager
def first_snapshot(folder: Path) -> Iterator[SweepSnapshot]:
    recording = open_recording(folder)
    with Capture(str(recording.files.events)) as capture:
        ring = VolumeRing(recording.rig.bins, recording.rig.camera.resolution)
        closed = pair_ahead(snapshots(recording.rig, capture, open_sweeps(recording.rig, folder), ring=ring))
        snapshot = next(closed)
        yield snapshot
        snapshot.release()
        closed.close()


# Bins


@pytest.mark.parametrize(
    ("bins", "near_m", "far_m"),
    [
        (VergenceBins(0.3, 4.2, 32), 1 / 4.2, 1 / 0.3),
        (VergenceBins(0.0, 2.0, 48), 0.5, 30.0),
        (VergenceBins(0.02, 0.5, 7), 2.0, 30.0),
    ],
)
def test_counts_are_spread_evenly_within_a_bin(bins: VergenceBins, near_m: float, far_m: float) -> None:
    metric = MetricBins.over(bins, PLACES)
    np.testing.assert_allclose(metric.depths_m, np.linspace(near_m, far_m, 32))
    expected = np.empty((32, bins.count))
    for bin_ in range(bins.count):
        inside = (np.arange(40_000) + 0.5) / 40_000
        depths_m = 1.0 / (bins.min_dpt + (bin_ + inside) * (bins.max_dpt - bins.min_dpt) / bins.count)
        expected[:, bin_] = np.histogram(depths_m, np.linspace(near_m, far_m, 33))[0] / 40_000
    np.testing.assert_allclose(metric.weights(bins), expected, atol=1e-4)
    if bins.min_dpt > 1 / 30:
        np.testing.assert_allclose(metric.weights(bins).sum(axis=0), 1.0, rtol=1e-5)


def test_a_sweep_beyond_the_bins_is_refused() -> None:
    with pytest.raises(RigError, match=r"^vergence_max_dpt = 0\.03: the published network sees no farther than 30 m: "):
        MetricBins.over(VergenceBins(0.0, 0.03, 32), PLACES)


def test_depth_confidence_and_deviation_are_those_of_the_distribution() -> None:
    """Against evenly spaced samples of what the distribution says, each pixel by itself."""
    bins = VergenceBins(0.3, 4.2, 32)
    rng = np.random.default_rng(0)
    distribution = rng.random((32, 5, 6)) ** 8
    distribution[:, 0, 0] = np.eye(32)[31]  # all at the far end
    distribution[:, 0, 1] = np.eye(32)[0]
    distribution[:, 0, 2] = np.eye(32)[20]
    distribution /= distribution.sum(axis=0)
    depths_m = np.linspace(1 / 4.2, 1 / 0.3, 32)
    half_m = (depths_m[1] - depths_m[0]) / 2
    lower_m, upper_m = np.maximum(depths_m - half_m, 1 / 4.2), np.minimum(depths_m + half_m, 1 / 0.3)
    inside = (np.arange(4000) + 0.5) / 4000
    samples_dpt = 1.0 / (lower_m[:, None] + (upper_m - lower_m)[:, None] * inside)
    estimate = MetricBins.over(bins, PLACES).read(distribution.astype(np.float32), bins.width_dpt)
    for row, column in np.ndindex(5, 6):
        weights = distribution[:, row, column]
        depth_m = float(np.sum(weights * depths_m))
        off_dpt = samples_dpt - 1 / depth_m
        mass = float(np.sum(weights * np.mean(np.abs(off_dpt) < 3.9 / 32, axis=1)))
        sigma_dpt = float(np.sqrt(np.sum(weights * np.mean(off_dpt**2, axis=1))))
        assert estimate.depth_m[row, column] == pytest.approx(depth_m, rel=1e-5)
        assert estimate.vergence_dpt[row, column] == pytest.approx(1 / depth_m, rel=1e-5)
        assert estimate.confidence[row, column] == pytest.approx(mass, abs=2e-3)
        assert estimate.sigma_dpt[row, column] == pytest.approx(sigma_dpt, abs=3e-3)
    assert estimate.confidence[0, 0] == 1.0 and estimate.confidence[0, 1] < 0.2 and estimate.sigma_dpt[0, 1] > 0.1
    for array in (estimate.vergence_dpt, estimate.depth_m, estimate.confidence, estimate.sigma_dpt):
        assert array.dtype == np.float32 and array.shape == (5, 6)


# Mask


def mask_by_hand(events: NDArray[np.uint16], image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The authors' mask from its definition."""
    grey = image.astype(float) / 255.0
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[1:-1], right[:, 1:-1] = (grey[2:] - grey[:-2]) / 2, (grey[:, 2:] - grey[:, :-2]) / 2
    down[0], down[-1] = grey[1] - grey[0], grey[-1] - grey[-2]
    right[:, 0], right[:, -1] = grey[:, 1] - grey[:, 0], grey[:, -1] - grey[:, -2]
    gradient = np.hypot(down, right)
    enough = (gradient - gradient.min()) / (gradient.max() - gradient.min()) >= 0.1
    windows = sliding_window_view(np.pad(events.astype(int), 5, mode="symmetric"), (11, 11))
    enough &= windows.sum(axis=(2, 3)) >= 300
    return sliding_window_view(np.pad(enough, 2), (5, 5)).any(axis=(2, 3))


def test_the_mask_is_the_authors() -> None:
    rng = np.random.default_rng(1)
    image = (rng.random((40, 53)) ** 3 * 200 + 20).astype(np.uint8)
    image[:, 20:35] = 90
    events = rng.poisson(np.linspace(0.5, 5.0, 40)[:, None], (40, 53)).astype(np.uint16)
    mask = published_mask(events, textured(image))
    np.testing.assert_array_equal(mask, mask_by_hand(events, image))
    assert 0.2 < mask.mean() < 0.8


def test_three_hundred_events_are_enough_and_one_less_is_not() -> None:
    everywhere = np.ones((30, 30), bool)
    for count, inside in ((300, True), (299, False)):
        events = np.zeros((30, 30), np.uint16)
        events[15, 15] = count
        assert published_mask(events, everywhere).any() == inside


def test_a_blank_image_has_no_texture() -> None:
    assert not textured(np.full((20, 30), 77, np.uint8)).any()


# What the network is shown


class Listener:
    """In a network's place: keeps what it is shown, and answers with one bin everywhere."""

    def __init__(self, answer: int = 10) -> None:
        self.places = PLACES
        self.shown: list[tuple[NDArray[np.float32], ...]] = []
        self._answer = answer

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        self.shown.append(inputs)
        distribution = np.zeros_like(inputs[0])
        distribution[self._answer] = 1.0
        return distribution


class Fallback:
    """In the model-free estimator's place."""

    def __init__(self) -> None:
        map_ = np.ones((HEIGHT, WIDTH), np.float32)
        self.estimated = DepthEstimate(map_, map_, map_, map_)

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        return self.estimated


def swept(focus_dpt: tuple[float, float], position: float, polarity: int) -> SweepSnapshot:
    """Five events on each pixel at one moment of a sweep, and a frame of noise."""
    rig = small_rig(WIDTH, HEIGHT)
    events = np.zeros(5 * WIDTH * HEIGHT, EVENT_DTYPE)
    events["timestamp"] = int(100_000 * position)
    events["x"] = np.tile(np.arange(WIDTH), 5 * HEIGHT)
    events["y"] = np.repeat(np.arange(HEIGHT), 5 * WIDTH)
    events["polarity"] = polarity
    ring = VolumeRing(rig.bins, rig.camera.resolution)
    ring.open(FocusSweep(np.array([0.0, 1e5]), np.array(focus_dpt)))
    ring.accumulate(events)
    noise = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    return SweepSnapshot(0, ring.close(), None, Frame(50_000, 1000, noise))


def listening(prior: Path) -> tuple[PublishedEdpn, Listener, Fallback]:
    listener, fallback = Listener(), Fallback()
    monocular = MonocularPrior(load_prior(prior), (WIDTH, HEIGHT))
    rig = small_rig(WIDTH, HEIGHT)
    return PublishedEdpn(listener, monocular, fallback, rig.bins), listener, fallback  # type: ignore[arg-type]


@pytest.mark.parametrize("polarity", [0, 1])
@pytest.mark.parametrize("direction", ["near to far", "far to near"])
def test_it_sees_the_sweep_from_near_to_far(prior: Path, direction: str, polarity: int) -> None:
    """On the way from near to far an event keeps its polarity, on the way back it has the other one."""
    bins = small_rig(WIDTH, HEIGHT).bins
    ends_dpt = (bins.max_dpt, bins.min_dpt) if direction == "near to far" else (bins.min_dpt, bins.max_dpt)
    estimator, listener, _ = listening(prior)
    estimate = estimator.estimate(swept(ends_dpt, 0.4, polarity))
    (volume, relative, mask) = listener.shown[0]
    own = 1 if polarity else -1
    np.testing.assert_allclose(volume.sum(axis=0), 5 * own if direction == "near to far" else -5 * own, rtol=1e-5)
    focus_m = 1.0 / (ends_dpt[0] + 0.4 * (ends_dpt[1] - ends_dpt[0]))
    near_m, far_m = 1 / bins.max_dpt, 1 / bins.min_dpt
    middle = int(32 * (focus_m - near_m) / (far_m - near_m))
    seen = np.flatnonzero(volume[:, 7, 9])
    assert middle in seen and middle - 2 <= seen.min() and seen.max() <= middle + 2
    assert (relative.min(), relative.max()) == (0.0, 1.0) and relative.shape == mask.shape == (1, HEIGHT, WIDTH)
    assert volume.dtype == relative.dtype == mask.dtype == np.float32 and set(np.unique(mask)) <= {0.0, 1.0}
    np.testing.assert_allclose(estimate.depth_m, near_m + (far_m - near_m) * 10 / 31, rtol=1e-5)


def test_where_it_cannot_know_the_model_free_estimate_is_returned(
    prior: Path, caplog: pytest.LogCaptureFixture
) -> None:
    estimator, listener, fallback = listening(prior)
    good = swept((0.3, 4.2), 0.4, 1)
    assert good.frame is not None
    unseen = replace(good, frame=None)
    assert estimator.estimate(unseen) is fallback.estimated
    assert estimator.estimate(unseen) is fallback.estimated
    assert caplog.text.count("depth without the published network: no frame that is young enough") == 1
    assert estimator.estimate(good) is not fallback.estimated
    assert estimator.estimate(unseen) is not fallback.estimated, "the frame before is young enough"
    blank = replace(good, frame=Frame(60_000, 1000, np.full((HEIGHT, WIDTH), 99, np.uint8)))
    assert estimator.estimate(blank) is fallback.estimated
    assert caplog.text.count("nowhere texture and 300 events in 11 x 11 px") == 1
    assert len(listener.shown) == 2


# The whole


def test_a_run_computes_what_the_file_does(recording: Path, model: Path, prior: Path, tmp_path: Path) -> None:
    arguments = ("--estimator", "edpn_published", "--model", model, "--prior", prior, "--sweeps", 1)
    code, printed, error = edfv("run", recording, "--out", tmp_path / "out", *arguments)
    assert (code, "delta1" in printed) == (0, True), error
    bins = small_rig(WIDTH, HEIGHT).bins
    near_m, far_m = 1 / bins.max_dpt, 1 / bins.min_dpt
    with first_snapshot(recording) as snapshot:
        assert snapshot.frame is not None
        counts, events = snapshot.latest.counts.astype(float), snapshot.latest.event_count.copy()
        relative = MonocularPrior(load_prior(prior), (WIDTH, HEIGHT)).relative_vergence(snapshot.frame.image)
        mask = mask_by_hand(events, snapshot.frame.image)
    assert mask.any() and not mask.all()
    volume = np.zeros((32, HEIGHT, WIDTH))
    edges_m = np.linspace(near_m, far_m, 33)
    for bin_, plane in enumerate(counts):
        low_dpt = bins.min_dpt + bin_ * bins.width_dpt
        depths_m = 1.0 / (low_dpt + bins.width_dpt * (np.arange(20_000) + 0.5) / 20_000)
        for place, part in enumerate(np.histogram(depths_m, edges_m)[0] / 20_000):
            volume[place] -= part * plane
    relative = (relative - relative.min()) / (relative.max() - relative.min())
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    inputs = {"volume": volume[None], "prior": relative[None, None], "mask": mask[None, None]}
    distribution = session.run(["distribution"], {name: part.astype(np.float32) for name, part in inputs.items()})[0]
    expected_m = np.einsum("bhw,b->hw", distribution[0].astype(float), np.linspace(near_m, far_m, 32))
    np.testing.assert_allclose(np.load(tmp_path / "out/depth_0000.npy"), expected_m, atol=5e-3)
    assert np.ptp(expected_m) > 0.2, "a constant would prove nothing"


def test_the_node_takes_it(model: Path, prior: Path, tmp_path: Path) -> None:
    rig = str(write_rig(small_rig(WIDTH, HEIGHT), tmp_path / "rig.yaml"))
    given = {"source": "network", "path": "tcp://127.0.0.1:9", "rig": rig, "estimator": "edpn_published"}
    files = {"prior": str(prior), "model": str(model)}
    prepare(DepthParameters.from_values({**given, **files}))
    for missing in files:
        with pytest.raises(EdfvError, match=f"^the estimator edpn_published needs a {missing}: "):
            prepare(DepthParameters.from_values({**given, **files, missing: ""}))
    with pytest.raises(SourceError, match=r"absent\.onnx: no such ONNX file"):
        prepare(DepthParameters.from_values({**given, **files, "model": str(tmp_path / "absent.onnx")}))


def test_it_needs_frames() -> None:
    with pytest.raises(SourceError, match="no frames, which the estimator edpn_published needs"):
        check_streams("edpn_published", ("events",), "camera", prior=Path("prior.yaml"))


# Other files


def write_other(path: Path, name: str = "edpn_published", *, bins: int = 32, told: int = 32, prior: str = "prior",
                rows: int | str = "h", places: str | None = None) -> Path:  # fmt: skip
    """A network with inputs like the published one's, which answers with its volume."""
    shapes = {"volume": [1, bins, rows, "w"], prior: [1, 1, rows, "w"], "mask": [1, 1, rows, "w"]}
    inputs = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in shapes.items()]
    outputs = [
        helper.make_tensor_value_info(key, TensorProto.FLOAT, [1, bins, rows, "w"])
        for key in ("distribution", "sparse")
    ]
    nodes = [helper.make_node("Identity", ["volume"], [output.name]) for output in outputs]
    graph = helper.make_graph(nodes, "other", inputs, outputs)
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    depths = json.dumps(np.linspace(3.1, 30.0, told).tolist()) if places is None else places
    helper.set_model_props(network, {"name": name, "bin_depths_m": depths} if name else {})
    onnx.save(network, path)
    return path


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"name": ""}, ["is no published EDPN: give the file that `edfv model import CHECKPOINT"]),
        ({"name": "edpn"}, ["is no published EDPN: give the file that `edfv model import CHECKPOINT"]),
        ({"bins": 16}, ["volume [1, 16, 'h', 'w']", "not volume [1, 32, height, width]", "edfv model import"]),
        ({"prior": "guess"}, ["its inputs are", "guess [1, 1,", "not volume [1, 32,", "edfv model import"]),
        ({"places": "[3.1"}, ["does not tell the depths of its bins", "edfv model import"]),
        ({"places": "[3, 2]"}, ["does not tell the depths of its bins", "edfv model import"]),
        ({"places": '{"a": 1}'}, ["does not tell the depths of its bins", "edfv model import"]),
        ({"rows": 20}, ["does not run on 16 x 16 px: "]),
    ],
)
def test_another_file_is_refused_in_one_line(
    keys: dict[str, object], words: list[str], prior: Path, tmp_path: Path
) -> None:
    path = write_other(tmp_path / "other.onnx", **keys)  # type: ignore[arg-type]
    with pytest.raises(SourceError) as caught:
        open_estimator("edpn_published", small_rig(WIDTH, HEIGHT), prior=prior, model=path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for word in words:
        assert word in message, message


def test_the_file_says_where_depth_is_read(tmp_path: Path, model: Path) -> None:
    np.testing.assert_allclose(PublishedModel(model).places, np.linspace(0.0, 1.0, 32), atol=1e-6)
    sixteen = write_other(tmp_path / "sixteen.onnx", bins=4, places="[1, 2, 4, 5]")
    np.testing.assert_allclose(PublishedModel(sixteen).places, [0.0, 0.25, 0.75, 1.0])
