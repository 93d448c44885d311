"""Virtual rig, real node, real subscriber: ``python -m edfv_ros.demo --out demo_output --seconds 10``."""

import argparse
import importlib.util
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from edfv_ros.demo.picture import DemoScene, save_demo_picture
from edfv_ros.demo.processes import NodeLog, listen, ros_environment, running_node
from edfv_ros.demo.sample import SweepSample, take_sample
from edfv_ros.depth import DepthEstimate
from edfv_ros.errors import EdfvError
from edfv_ros.evaluation.metrics import CONFIDENT, depth_metrics
from edfv_ros.nodes.simulated_camera import SimulatedCamera
from edfv_ros.outputs.files import make_folder
from edfv_ros.outputs.point_cloud import save_point_cloud
from edfv_ros.rig import Rig, load_rig
from edfv_ros.rig.rays import pixel_rays
from edfv_ros.share import config_file

START_TIMEOUT_S = 90.0
TOPIC_ORDER = ("depth", "points", "confidence", "camera_info", "guide", "lens/state")


class DemoError(EdfvError):
    """The demonstration did not come to its end."""


def run(out: Path, rig_path: Path, seconds: float, console: Console) -> None:
    """Run the demonstration with a rig file and leave picture and point cloud in ``out``.

    Raises:
        EdfvError: something could not be started, or no depth arrived.
    """
    make_folder(out)
    environment = ros_environment()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edfv-demo-")))
        progress = stack.enter_context(
            Progress(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn(), console=console
            )
        )
        step = progress.add_task("making a scene and rendering its focus sweep", total=None)
        simulator = ["--rig", str(rig_path), "--out", str(work), "--wait"]
        camera = stack.enter_context(SimulatedCamera(simulator))
        rig_path = _rig_with_lens(rig_path, camera.lens_port, work)
        rig = load_rig(rig_path)

        progress.update(step, description="starting the depth node")
        parameters = {"source": "network", "path": camera.uri, "rig": str(rig_path)}
        # Everything the estimator gives is published, so that the error can be told with and without the threshold.
        log = stack.enter_context(running_node(parameters | {"confidence_threshold": "0.0"}, environment))
        report = _listen(progress, step, seconds, work, environment, log)
        progress.update(step, description="recording a focus volume from the same stream", total=None)
        sample = take_sample(camera.uri, rig)
        progress.update(step, description="drawing")
        received = dict(np.load(work / "last_messages.npz"))
        truth_m = np.load(work / "depth_gt.npy")
        progress.remove_task(step)

    estimate = _as_estimate(received["depth"], received["confidence"])
    metrics = depth_metrics(estimate, truth_m, rig.bins, sample.event_count)
    trusted_m = np.where(estimate.confidence > CONFIDENT, estimate.depth_m, np.float32(np.nan))
    _show(console, report, metrics, rig)
    _save(out, rig, sample, received, trusted_m, truth_m, report)
    console.print(f"\nPicture      {out / 'demo.png'}\nPoint cloud  {out / 'points.ply'}", soft_wrap=True)


def _rig_with_lens(rig_path: Path, lens_port: str, folder: Path) -> Path:
    """The rig with the port of the virtual lens in it, as somebody would write it for a real one."""
    data = yaml.safe_load(rig_path.read_text(encoding="utf-8"))
    data["lens"]["port"] = lens_port
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def _listen(
    progress: Progress, step: Any, seconds: float, work: Path, environment: dict[str, str], log: NodeLog
) -> dict[str, Any]:
    """Subscribe as a robot would, showing what arrives; returns the last report."""
    report: dict[str, Any] = {}
    for report in listen(seconds, START_TIMEOUT_S + seconds, work, environment):
        depth = report["depth"]
        if depth["messages"]:
            progress.update(step, description=f"listening: {depth['messages']} depth images, {depth['rate_hz']:.1f} Hz")
    if not report or not report["depth"]["messages"] or not report["confidence"]["messages"]:
        last = next((line for line in reversed(log.text().splitlines()) if line.strip()), "it said nothing")
        raise DemoError(f"no depth arrived; the node's last words: {last}")
    return report


def _as_estimate(depth_m: NDArray[np.float32], confidence: NDArray[np.float32]) -> DepthEstimate:
    vergence_dpt = np.divide(1.0, depth_m, out=np.full_like(depth_m, np.nan), where=np.isfinite(depth_m))
    return DepthEstimate(vergence_dpt, depth_m, confidence, np.full_like(depth_m, np.nan))


def _show(console: Console, report: dict[str, Any], metrics: dict[str, float], rig: Rig) -> None:
    topics = Table(title="What the subscriber received")
    topics.add_column("topic", no_wrap=True)
    for heading in ("messages", "rate", "latency, median", "90 %"):
        topics.add_column(heading, justify="right")
    for name in TOPIC_ORDER:
        row = report[name]
        latencies = [row["latency_p50_ms"], row["latency_p90_ms"]]
        shown = ["" if value is None else f"{value:.0f} ms" for value in latencies]
        topics.add_row(name, str(row["messages"]), f"{row['rate_hz']:.1f} Hz", *shown)
    console.print(topics)
    console.print("[dim]Latency: from the end of a focus sweep to the message in the subscriber's process.[/]\n")

    errors = Table(title="Depth error against the truth")
    errors.add_column("pixels", no_wrap=True)
    for heading in ("part", "median error", "abs. relative", "δ < 1.25"):
        errors.add_column(heading, justify="right")
    for label, part, mask in (
        ("all with a depth", "known_fraction", "dense"),
        ("those with events nearby", "supported_fraction", "supported"),
        (f"and confidence above {CONFIDENT:g}", "confident_fraction", "confident"),
    ):
        errors.add_row(
            label,
            f"{metrics[part]:.0%}",
            f"{metrics[f'{mask}_median_error_bins']:.2f} bins",
            f"{metrics[f'{mask}_abs_rel']:.1%}",
            f"{metrics[f'{mask}_delta1']:.1%}",
        )
    console.print(errors)
    width_dpt = rig.bins.width_dpt
    near_cm, middle_cm = (depth_m**2 * width_dpt * 100.0 for depth_m in (0.5, 1.0))
    console.print(f"[dim]A bin is {width_dpt:.3f} dpt: {near_cm:.0f} cm at 0.5 m, {middle_cm:.0f} cm at 1 m.[/]")


def _save(
    out: Path,
    rig: Rig,
    sample: SweepSample,
    received: dict[str, NDArray[Any]],
    trusted_m: NDArray[np.float32],
    truth_m: NDArray[np.float32],
    report: dict[str, Any],
) -> None:
    rays = pixel_rays(rig.camera)
    guide = received.get("guide", sample.frame)
    if guide is None:
        guide = np.full(trusted_m.shape, 128, np.uint8)
    camera = rig.camera
    rate_hz = report["depth"]["rate_hz"]
    caption = (
        f"Metric depth from a focus sweep: {camera.model} {camera.width_px} x {camera.height_px}, simulated live, "
        f"{sample.events / 1e6:.2f} million events per sweep, {rate_hz:.1f} depth images/s over ROS 2"
    )
    scene = DemoScene(
        guide, sample.counts, sample.direction, sample.events, trusted_m, truth_m, rays, rig.bins, caption
    )
    save_demo_picture(scene, out / "demo.png")
    save_point_cloud(out / "points.ply", trusted_m, received["confidence"], rays)


def main() -> int:
    """Run the demonstration; 0 on success, 2 with one line where something is wrong, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m edfv_ros.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for the picture and the cloud")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to listen to the node")
    parser.add_argument("--rig", type=Path, help="rig file; without it the example rig is simulated")
    arguments = parser.parse_args()
    console = Console()
    try:
        if importlib.util.find_spec("rclpy") is None:
            raise DemoError("rclpy is missing: use Python 3.11 or 3.12, which it is installed for, or source ROS 2")
        rig_path = arguments.rig or config_file("rig.yaml")
        load_rig(rig_path)
        run(arguments.out, rig_path, arguments.seconds, console)
    except EdfvError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True, markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
