"""Depth between turning points: its accuracy beside that of whole sweeps, while the camera and things move."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edfv_ros.bench.rows import Group, Row
from edfv_ros.offline import SweepReport, compute_depth
from edfv_ros.outputs.run_folder import RunFolder
from edfv_ros.recording import open_recording
from edfv_ros.rig import load_rig
from edfv_ros.share import config_file
from edfv_ros.simulation import (
    MOTIONS,
    CameraTrajectory,
    ScenePictures,
    SimulationSettings,
    VirtualRig,
    make_scene,
    plan_sweeps,
    record,
)
from edfv_ros.sweep_range import SweepRange

NAME = "rolling"

_KIND = "tabletop"
_RATE_HZ = 40.0
_SWEEPS = 6
_FIRST = 2  # with which depth between the turns begins
_METRICS = {
    "median error, confident": ("confident_median_error_bins", "bins"),
    "absolute relative error, every pixel": ("dense_abs_rel", ""),
}


def measure(*, quick: bool) -> Group:
    """Four depth images a sweep of still and of moving scenes, by the estimator without a network."""
    rows: list[Row] = []
    for motion in ("still",) if quick else ("still", "handheld", "robot"):
        reports = [report for seed in ((1,) if quick else (1, 2)) for report in _reports(motion, seed)]
        whole = [report for report in reports if not report.part]
        between = [report for report in reports if report.part]
        for name, (key, unit) in _METRICS.items():
            reference = _mean(whole, key)
            rows.append(Row(f"{motion}: {name}", _mean(between, key), unit, _mean(between, key) / reference))
    return Group(
        NAME,
        f"depth between turning points, {_RATE_HZ:g} a second from ten sweeps, against a simulated truth",
        "that of the depth at the turning points of the same sweeps",
        tuple(rows),
    )


def _reports(motion: str, seed: int) -> list[SweepReport]:
    """Of a simulated recording: whole sweeps and those between, from the same sweeps."""
    rig = load_rig(config_file("rig.yaml"))
    settings = SimulationSettings(motion=MOTIONS[motion])
    plan = plan_sweeps(rig, settings.lens_response, sweeps=_SWEEPS, seed=seed)
    trajectory = CameraTrajectory(settings.motion, seed)
    pictures = ScenePictures(rig, make_scene(_KIND, seed, rig), settings.imaging, trajectory, plan)
    with TemporaryDirectory() as folder:
        recording, out = Path(folder) / "recording", Path(folder) / "depth"
        record(recording, VirtualRig(rig, pictures, settings, seed=seed), plan, trajectory)
        report = compute_depth(
            open_recording(recording, None),
            RunFolder(out, rig),
            estimator="reversal",
            wanted=SweepRange(_FIRST),
            rate_hz=_RATE_HZ,
        )
    return report.sweeps


def _mean(reports: Sequence[SweepReport], key: str) -> float:
    metrics: list[Mapping[str, float]] = [report.metrics for report in reports if report.metrics is not None]
    return float(np.mean([values[key] for values in metrics]))
