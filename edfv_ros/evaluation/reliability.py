"""Is the confidence honest? ``python -m edfv_ros.evaluation.reliability RECORDING...`` tells.

For recordings with ground truth: of the pixels that an estimator gives a confidence near p, what part is right to
within one bin? An honest confidence says p.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edfv_ros.depth import ESTIMATORS, DepthEstimate, check_streams, open_estimator
from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.evaluation.metrics import CONFIDENT, depth_metrics
from edfv_ros.events import Capture
from edfv_ros.lens.sync import open_sweeps
from edfv_ros.offline import pair_ahead
from edfv_ros.optics import VergenceBins
from edfv_ros.pipeline import snapshots
from edfv_ros.recording import depth_gt_of_sweep, load_depth_gt, open_recording
from edfv_ros.volume import VolumeRing

CONFIDENCE_EDGES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def reliability(
    estimate: DepthEstimate, truth_m: NDArray[np.float32], bins: VergenceBins
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count pixels by confidence: how many there are, and how many are right to within one bin.

    Args:
        estimate: the estimate, arrays [H, W].
        truth_m: float32 [H, W], NaN where unknown.
        bins: the vergence axis.

    Returns:
        Two arrays [len(CONFIDENCE_EDGES) - 1]; pixels without an estimate or truth are left out.
    """
    known = np.isfinite(estimate.depth_m) & np.isfinite(truth_m)
    error_bins = np.abs(estimate.vergence_dpt[known] - 1.0 / truth_m[known]) / bins.width_dpt
    place = np.digitize(estimate.confidence[known], CONFIDENCE_EDGES[1:-1])
    groups = len(CONFIDENCE_EDGES) - 1
    return np.bincount(place, minlength=groups), np.bincount(place[error_bins < 1.0], minlength=groups)


def estimates(
    folder: Path, estimator: str, prior: Path | None = None, model: Path | None = None
) -> Iterator[tuple[DepthEstimate, NDArray[np.float32], VergenceBins, NDArray[np.uint16]]]:
    """Estimate, truth [H, W], bins and event counts [H, W] of every sweep of a recording that has ground truth."""
    recording = open_recording(folder)
    if recording.files.depth_gt is None:
        raise SourceError(f"{folder}: there is no depth_gt.npy to compare with")
    rig = recording.rig
    truths_m = load_depth_gt(recording.files.depth_gt, rig)
    depth_estimator = open_estimator(estimator, rig, prior=prior, model=model)
    with Capture(str(recording.files.events)) as capture:
        check_streams(estimator, capture.info.streams, str(recording.files.events), prior=prior)
        ring = VolumeRing(rig.bins, rig.camera.resolution)
        for snapshot in pair_ahead(snapshots(rig, capture, open_sweeps(rig, folder), ring=ring)):
            truth_m = depth_gt_of_sweep(truths_m, snapshot.index)
            if truth_m is not None:
                yield depth_estimator.estimate(snapshot), truth_m, rig.bins, snapshot.event_count()
            snapshot.release()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print accuracy by recording and reliability over all of them."""
    parser = argparse.ArgumentParser(prog="python -m edfv_ros.evaluation.reliability", description=__doc__)
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help="sweep recordings with truth")
    parser.add_argument("--estimator", default="reversal", choices=sorted(ESTIMATORS))
    parser.add_argument("--prior", type=Path, metavar="FILE", help="prior file, for an estimator that takes one")
    parser.add_argument("--model", type=Path, metavar="FILE", help="network file, for an estimator that takes one")
    options = parser.parse_args(arguments)
    accuracy = Table("recording", "sweep", "supported", "confident", "median bins", "delta1", "dense known", "delta1")
    totals = np.zeros((2, len(CONFIDENCE_EDGES) - 1), np.int64)
    try:
        for folder in options.recordings:
            for index, (estimate, truth_m, bins, event_count) in enumerate(
                estimates(folder, options.estimator, options.prior, options.model)
            ):
                metrics = depth_metrics(estimate, truth_m, bins, event_count)
                accuracy.add_row(
                    folder.name,
                    str(index),
                    f"{metrics['supported_fraction']:.2f}",
                    f"{metrics['confident_fraction']:.2f}",
                    f"{metrics['confident_median_error_bins']:.2f}",
                    f"{metrics['confident_delta1']:.3f}",
                    f"{metrics['known_fraction']:.2f}",
                    f"{metrics['dense_delta1']:.3f}",
                )
                totals += reliability(estimate, truth_m, bins)
    except EdfvError as error:
        print(f"reliability: {error}", file=sys.stderr)
        return 2
    honesty = Table("confidence", "right to within a bin", "part of the pixels")
    for low, high, count, right in zip(CONFIDENCE_EDGES[:-1], CONFIDENCE_EDGES[1:], *totals, strict=True):
        if count:
            honesty.add_row(f"{low:.2f} to {high:.2f}", f"{right / count:.3f}", f"{count / totals[0].sum():.3f}")
    console = Console()
    console.print(accuracy)
    console.print(f"confident: supported pixels (4 events or more around them) with a confidence above {CONFIDENT}")
    console.print(honesty)
    return 0


if __name__ == "__main__":
    sys.exit(main())
