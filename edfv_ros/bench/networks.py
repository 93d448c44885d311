"""The shipped network beside architectures of others with random weights, on the same runtime."""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.bench.rows import Group, Row
from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CELL_PX, CONDITIONS, Guide
from edfv_ros.depth.edpn_network import EdpnNetwork
from edfv_ros.depth.models import EDPN, shipped_model
from edfv_ros.depth.onnx_session import open_session
from edfv_ros.errors import EdfvError

NAME = "networks"
THREADS = 2

Arrays = Mapping[str, NDArray[np.float32]]


def measure(*, quick: bool) -> Group:
    """Run all in turn, several times.

    Raises:
        EdfvError: torch is not there to make the architectures of others.
    """
    height, width, rounds = (32, 48, 2) if quick else (264, 352, 5)
    prior_height, prior_width = (28, 42) if quick else (252, 350)
    shipped = shipped_model(EDPN)
    network = EdpnNetwork(None, height // CELL_PX, width // CELL_PX, THREADS)
    with tempfile.TemporaryDirectory() as folder:
        fast, own_graph, prior = _others(Path(folder), prior_height, prior_width)
        published = _published_inputs(height, width)
        picture = {"picture": np.zeros((1, 3, prior_height, prior_width), np.float32)}
        runs: tuple[tuple[Callable[[], object], int], ...] = (
            (partial(network, *_edpn_inputs(height, width)), 10),
            (_run(fast, published), 1),
            (_run(own_graph, published), 1),
            (_run(prior, picture), 2),
        )
        seconds: list[list[float]] = [[] for _ in runs]
        for _ in range(rounds + 1):
            for measured, (run, repeats) in zip(seconds, runs, strict=True):
                begin = time.perf_counter()
                for _ in range(repeats):
                    run()
                measured.append((time.perf_counter() - begin) / repeats)
    ours_s, fast_s, own_graph_s, prior_s = (
        float(np.median(measured[1:])) for measured in seconds
    )  # the first warms up
    return Group(
        NAME,
        f"networks at {height} x {width}, {THREADS} threads",
        f"the published architecture in its own graph, {own_graph_s:.3g} s",
        (
            Row(f"edpn, {shipped.entry.precision}, to positions and scales", 1e3 * ours_s, "ms", ours_s / own_graph_s),
            Row("published architecture, float32, its own graph", 1e3 * own_graph_s, "ms", 1.0),
            Row("the same with ONNX's DeformConv", 1e3 * fast_s, "ms", fast_s / own_graph_s),
            Row(
                f"Depth Anything V2 Small's architecture at {prior_height} x {prior_width}",
                1e3 * prior_s,
                "ms",
                prior_s / own_graph_s,
            ),
            Row("edpn, times faster than the published one", own_graph_s / ours_s, ""),
            Row("edpn, times faster than with DeformConv", fast_s / ours_s, ""),
            Row("edpn, times faster than Depth Anything V2 Small", prior_s / ours_s, ""),
            Row("edpn, file", shipped.path.stat().st_size / 2**20, "MiB"),
        ),
    )


def _others(folder: Path, prior_height: int, prior_width: int) -> tuple[Path, Path, Path]:
    """The published architecture with the fastest operator and with its own ones, and Depth Anything's."""
    try:
        import torch
    except ImportError:
        raise EdfvError("the group networks needs torch: pip install edfv_ros[train], or name other groups") from None
    from edfv_ros.bench.depth_anything import write_depth_anything
    from edfv_ros.training.published.export import export_onnx, operator_known_here
    from edfv_ros.training.published.network import PublishedNetwork
    from edfv_ros.training.published.operators import SamplingOperator

    torch.manual_seed(0)
    network = PublishedNetwork().eval()
    fast, own_graph, prior = folder / "fast.onnx", folder / "own_graph.onnx", folder / "prior.onnx"
    export_onnx(network, fast, operator_known_here())
    export_onnx(network, own_graph, SamplingOperator.GRID_SAMPLE)
    write_depth_anything(prior, prior_height, prior_width)
    return fast, own_graph, prior


def _run(path: Path, inputs: Arrays) -> Callable[[], object]:
    session = open_session(path, threads=THREADS)
    return partial(session.run, None, dict(inputs))


def _edpn_inputs(height: int, width: int) -> tuple[NDArray[np.float32], ...]:
    draw = np.random.default_rng(0)
    rows, columns = height // CELL_PX, width // CELL_PX
    return (
        -4.0 * draw.random((CANDIDATES, rows, columns), np.float32),
        draw.standard_normal((BINS, rows, columns), np.float32),
        draw.random((Guide.COUNT, height, width), np.float32),
        np.zeros(CONDITIONS, np.float32),
    )


def _published_inputs(height: int, width: int) -> Arrays:
    draw = np.random.default_rng(0)
    return {
        "volume": np.round(draw.standard_normal((1, BINS, height, width), np.float32)),
        "prior": draw.random((1, 1, height, width), np.float32),
        "mask": np.ones((1, 1, height, width), np.float32),
    }
