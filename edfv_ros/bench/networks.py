"""The shipped network beside the published architecture with random weights, on the same runtime."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.bench.rows import Group, Row
from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CELL_PX, CONDITIONS, Guide
from edfv_ros.depth.models import EDPN, shipped_model
from edfv_ros.depth.onnx_session import open_session
from edfv_ros.errors import EdfvError

NAME = "networks"
THREADS = 2

Arrays = Mapping[str, NDArray[np.float32]]


def measure(*, quick: bool) -> Group:
    """Run both in turn, several times.

    Raises:
        EdfvError: torch is not there to make the published architecture.
    """
    height, width, rounds = (32, 48, 2) if quick else (264, 352, 5)
    shipped = shipped_model(EDPN)
    with tempfile.TemporaryDirectory() as folder:
        published = _published_architecture(Path(folder) / "published.onnx")
        runs = [
            (open_session(path, threads=THREADS), inputs, repeats)
            for path, inputs, repeats in (
                (shipped.path, _edpn_inputs(height, width), 10),
                (published, _published_inputs(height, width), 1),
            )
        ]
        seconds: list[list[float]] = [[], []]
        for _ in range(rounds + 1):
            for measured, (session, inputs, repeats) in zip(seconds, runs, strict=True):
                begin = time.perf_counter()
                for _ in range(repeats):
                    session.run(None, inputs)
                measured.append((time.perf_counter() - begin) / repeats)
    ours_s, published_s = (float(np.median(measured[1:])) for measured in seconds)  # the first one warms up
    return Group(
        NAME,
        f"networks at {height} x {width}, {THREADS} threads",
        f"the published architecture, {published_s:.3g} s",
        (
            Row(f"edpn, {shipped.entry.precision}", 1e3 * ours_s, "ms", ours_s / published_s),
            Row("published architecture, float32", 1e3 * published_s, "ms", 1.0),
            Row("times faster", published_s / ours_s, ""),
            Row("edpn, file", shipped.path.stat().st_size / 2**20, "MiB"),
        ),
    )


def _published_architecture(path: Path) -> Path:
    try:
        import torch
    except ImportError:
        raise EdfvError("the group networks needs torch: pip install edfv_ros[train], or name other groups") from None
    from edfv_ros.training.published.export import export_onnx, operator_known_here
    from edfv_ros.training.published.network import PublishedNetwork

    torch.manual_seed(0)
    export_onnx(PublishedNetwork().eval(), path, operator_known_here())
    return path


def _edpn_inputs(height: int, width: int) -> Arrays:
    draw = np.random.default_rng(0)
    return {
        "score": -4.0 * draw.random((1, CANDIDATES, height // CELL_PX, width // CELL_PX), np.float32),
        "volume": draw.standard_normal((1, BINS, height, width), np.float32),
        "guide": draw.random((1, Guide.COUNT, height, width), np.float32),
        "conditions": np.zeros((1, CONDITIONS), np.float32),
    }


def _published_inputs(height: int, width: int) -> Arrays:
    draw = np.random.default_rng(0)
    return {
        "volume": np.round(draw.standard_normal((1, BINS, height, width), np.float32)),
        "prior": draw.random((1, 1, height, width), np.float32),
        "mask": np.ones((1, 1, height, width), np.float32),
    }
