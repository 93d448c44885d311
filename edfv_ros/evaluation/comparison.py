"""Any number of methods on the same sweeps: the scores of each, and their means by group."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import SourceError
from edfv_ros.evaluation.held_out_items import load_item
from edfv_ros.evaluation.methods import Method
from edfv_ros.evaluation.metrics import comparison_metrics
from edfv_ros.evaluation.predictions import Evaluated, Predict, Prediction, Unavailable
from edfv_ros.events import Capture
from edfv_ros.lens.sync import open_sweeps
from edfv_ros.offline import pair_ahead
from edfv_ros.optics import VergenceBins
from edfv_ros.pipeline import snapshots
from edfv_ros.recording import check_resolution, depth_gt_of_sweep, load_depth_gt, open_recording
from edfv_ros.volume import SweepSnapshot, VolumeRing, same_mask


@dataclass(frozen=True, slots=True)
class Score:
    """One method on one sweep.

    Attributes:
        recording: name of its folder.
        kind: of scene.
        moves: whether camera or scene moved.
        sweep: number in the recording.
        method: label.
        metrics: see :func:`~edfv_ros.evaluation.metrics.comparison_metrics`.
        ms: time the method took, milliseconds.
    """

    recording: str
    kind: str
    moves: bool
    sweep: int
    method: str
    metrics: dict[str, float]
    ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of a table: a method on a group of sweeps.

    Attributes:
        group: which.
        method: label.
        recordings, sweeps: how many.
        metrics: means over the sweeps, each over those where it is finite.
        ms: median over the recordings of the fastest sweep of each, which no start-up slows.
    """

    group: str
    method: str
    recordings: int
    sweeps: int
    metrics: dict[str, float]
    ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """What a picture shows of one sweep: every array is [H, W].

    Attributes:
        title: of the recording.
        bins: the vergence axis.
        frame: uint8, or None where the camera has none.
        truth_m: float32, NaN unknown.
        predictions: by label, in vergence (dpt).
    """

    title: str
    bins: VergenceBins
    frame: NDArray[np.uint8] | None
    truth_m: NDArray[np.float32]
    predictions: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All scores.

    Attributes:
        methods: labels, in the order asked for.
        scores: of every sweep.
        left_out: recordings in which a method was left out, by method and reason.
        panels: what was kept to be drawn.
    """

    methods: tuple[str, ...]
    scores: list[Score] = field(default_factory=list)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    panels: list[Panel] = field(default_factory=list)

    def by_motion(self) -> list[Summary]:
        """Still sweeps, moving ones, and where there are both, all."""
        return self._summaries(lambda score: "moving" if score.moves else "still", ("still", "moving"), whole="all")

    def by_kind(self) -> list[Summary]:
        """A group for each kind of scene, by name."""
        return self._summaries(lambda score: score.kind, sorted({score.kind for score in self.scores}))

    def _summaries(self, group_of: Callable[[Score], str], groups: Sequence[str], whole: str = "") -> list[Summary]:
        grouped = {group: [score for score in self.scores if group_of(score) == group] for group in groups}
        grouped = {group: scores for group, scores in grouped.items() if scores}
        if whole and len(grouped) > 1:
            grouped[whole] = self.scores
        return [
            summarise(group, label, of_method)
            for group, scores in grouped.items()
            for label in self.methods
            if (of_method := [score for score in scores if score.method == label])
        ]


def compare(
    recordings: Sequence[Path],
    methods: Sequence[Method],
    *,
    pictures: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Score methods on every sweep of recordings, each of which is read once.

    Sweeps are paired as `edfv run` pairs them: each with its neighbour of the other direction.

    Args:
        recordings: sweep recordings with true depth.
        methods: the rows.
        pictures: of how many recordings, evenly spread over all, to keep a sweep to be drawn.
        progress: called after each recording.

    Raises:
        SourceError: a recording has no true depth, or no recording has what any of the methods looks at.
        EdfvError: a recording or a method cannot be used.
    """
    for path in recordings:
        if open_recording(path).files.depth_gt is None:
            raise SourceError(f"{path}: there is no depth_gt.npy to compare with")
    comparison = Comparison(tuple(method.label for method in methods))
    shown = _evenly(len(recordings), pictures)
    for number, path in enumerate(recordings):
        _score_recording(comparison, path, methods, draw=number in shown)
        progress(number + 1)
    if not comparison.scores:
        reasons = "; ".join(f"{method}: {reason}" for method, reason in comparison.left_out)
        raise SourceError(f"nothing to compare ({reasons or 'no sweep has a true depth'})")
    return comparison


def summarise(group: str, method: str, scores: Sequence[Score]) -> Summary:
    """The means of one method's scores, at least one."""
    metrics = {}
    for name in scores[0].metrics:
        values = [score.metrics[name] for score in scores if math.isfinite(score.metrics[name])]
        metrics[name] = sum(values) / len(values) if values else math.nan
    fastest_ms: dict[str, float] = {}
    for score in scores:
        fastest_ms[score.recording] = min(score.ms, fastest_ms.get(score.recording, math.inf))
    return Summary(group, method, len(fastest_ms), len(scores), metrics, float(np.median(list(fastest_ms.values()))))


def _score_recording(comparison: Comparison, path: Path, methods: Sequence[Method], *, draw: bool) -> None:
    recording = open_recording(path)
    rig, files = recording.rig, recording.files
    assert files.depth_gt is not None, "compare has looked"
    truths_m = load_depth_gt(files.depth_gt, rig)
    panel: Panel | None = None
    with Capture(str(files.events)) as capture:
        check_resolution(rig, capture.info, files.events)
        folder = files.events.parent
        evaluated = Evaluated(folder, rig, capture.info.streams, load_item(folder), moves=len(truths_m) > 1)
        opened = dict(_opened(comparison, methods, evaluated))
        ring = VolumeRing(rig.bins, rig.camera.resolution)
        with closing(pair_ahead(snapshots(rig, capture, open_sweeps(rig, files.path), ring=ring))) as paired:
            for snapshot in paired:
                try:
                    truth_m = depth_gt_of_sweep(truths_m, snapshot.index)
                    if truth_m is not None:
                        panel = _score_sweep(comparison, evaluated, opened, snapshot, truth_m)
                finally:
                    snapshot.release()
    if draw and panel is not None:
        comparison.panels.append(panel)


def _opened(comparison: Comparison, methods: Sequence[Method], recording: Evaluated) -> Iterator[tuple[str, Predict]]:
    """The methods that can be used on a recording, opened anew: what they remember is of one scene."""
    for method in methods:
        try:
            yield method.label, method.open(recording)
        except Unavailable as reason:
            comparison.left_out[method.label, str(reason)] += 1


def _score_sweep(
    comparison: Comparison,
    recording: Evaluated,
    opened: Mapping[str, Predict],
    snapshot: SweepSnapshot,
    truth_m: NDArray[np.float32],
) -> Panel:
    bins = recording.rig.bins
    frame = snapshot.frame.image if snapshot.frame is not None else None
    same = same_mask(snapshot.event_count(), frame)
    predictions: dict[str, Prediction] = {}
    for label, predict in opened.items():
        began_s = time.perf_counter()
        predictions[label] = predict(snapshot)
        ms = (time.perf_counter() - began_s) * 1e3
        answer = predictions[label]
        metrics = comparison_metrics(answer.vergence_dpt, answer.sigma_dpt, truth_m, bins, same)
        name, moves = recording.folder.name, recording.moves
        comparison.scores.append(Score(name, recording.kind, moves, snapshot.index, label, metrics, ms))
    shown = {label: prediction.vergence_dpt for label, prediction in predictions.items()}
    return Panel(f"{recording.folder.name}, sweep {snapshot.index}", bins, frame, truth_m, shown)


def _evenly(count: int, wanted: int) -> set[int]:
    """The middles of ``wanted`` equal parts of ``range(count)``."""
    wanted = min(wanted, count)
    return {(2 * part + 1) * count // (2 * wanted) for part in range(wanted)}
