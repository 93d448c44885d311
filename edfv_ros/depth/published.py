"""The published network on a robot: Li et al., "Dense Metric Depth Estimation via Event-based Differential Focus Volume
Prompting", NeurIPS 2025, from an ONNX file that ``edfv model import`` wrote.

What it is shown is inferred from the authors' public code (commit 5b41754), as the paper's rig and data were not to be
had:

- Order of the bins: nearest first. Their code drops the first tenth of the time of a sweep together with all depths
  below 3.1 m of a range that ends at 30 m, so that focus ran from near to far, linearly in metres.
- Sign: the events' own polarity in that direction, so the reverse of dI/dv.
- The prior is large where near: the output of Depth Anything V2 as it is.
- Depths: expectation over equal steps from the nearest to the farthest, as in their training.

The network never learned what a bin is in metres or how fast blur grows with it, so over another sweep than the
authors' 3.1 to 30 m its bins are stretched over that sweep.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.estimator import DepthEstimate, DepthEstimator
from edfv_ros.depth.metric_bins import MetricBins
from edfv_ros.depth.onnx_session import open_session
from edfv_ros.depth.prior import MonocularPrior
from edfv_ros.errors import SourceError
from edfv_ros.optics import VergenceBins
from edfv_ros.volume import SweepSnapshot

MIN_GRADIENT = 0.1
"""Smallest gradient of the frame inside the authors' mask, as part of the image's range of gradients."""

MIN_EVENTS = 300
"""Fewest events in a window of :data:`WINDOW_PX` inside their mask."""

WINDOW_PX = 11
DILATION_PX = 5

_NAME = "edpn_published"
_REMEDY = "give the file that `edfv model import CHECKPOINT --out FILE.onnx` writes"
_SMALLEST_PX = 16

logger = logging.getLogger(__name__)


class PublishedModel:
    """The ONNX file, loaded and checked.

    Args:
        path: of the file.

    Attributes:
        places: float64 [bins], where depth is read, from 0 at the near end of the sweep to 1 at the far end.

    Raises:
        SourceError: it cannot be loaded, or is not what ``edfv model import`` writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Half of the cores: the other half is for the camera, the volumes and the prior.
        self._session = open_session(path, threads=max(2, (os.cpu_count() or 1) // 2))
        told = self._session.get_modelmeta().custom_metadata_map
        if told.get("name") != _NAME:
            raise SourceError(f"{path}: is no published EDPN: {_REMEDY}")
        self.places = self._places(told.get("bin_depths_m", ""))
        bins = len(self.places)
        self._check("inputs", self._session.get_inputs(), {"volume": bins, "prior": 1, "mask": 1})
        self._check("outputs", self._session.get_outputs(), {"distribution": bins, "sparse": bins})
        self.run(*(np.ones((count, _SMALLEST_PX, _SMALLEST_PX), np.float32) for count in (bins, 1, 1)))

    def run(
        self, volume: NDArray[np.float32], prior: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Run the network on an image of any size of 16 px or more; what it needs beyond, the file itself pads.

        Args:
            volume: float32 [bins, H, W], signed event counts, nearest bin first.
            prior: float32 [1, H, W], 0 to 1, large where near.
            mask: float32 [1, H, W], 1 where the events can be trusted.

        Returns:
            float32 [bins, H, W], a distribution over the bins.

        Raises:
            SourceError: it does not run.
        """
        try:
            (distribution,) = self._session.run(
                ["distribution"], {"volume": volume[None], "prior": prior[None], "mask": mask[None]}
            )
        except Exception as error:  # the runtime's exceptions have no common class
            reason = " ".join(str(error).split())
            raise SourceError(
                f"{self._path}: does not run on {volume.shape[2]} x {volume.shape[1]} px: {reason}"
            ) from None
        return distribution[0]

    def _places(self, bin_depths_m: str) -> NDArray[np.float64]:
        """Where the file's metadata say that depth is read."""
        try:
            depths_m = np.array(json.loads(bin_depths_m), np.float64)
        except (ValueError, TypeError):
            depths_m = np.empty(0)
        if depths_m.ndim != 1 or len(depths_m) < 2 or not (np.diff(depths_m) > 0).all():
            raise SourceError(f"{self._path}: does not tell the depths of its bins: {_REMEDY}")
        return (depths_m - depths_m[0]) / (depths_m[-1] - depths_m[0])

    def _check(self, what: str, values: Sequence[Any], expected: dict[str, int]) -> None:
        """Check names and channels of all inputs or outputs."""
        given = {value.name: value.shape[1] if len(value.shape) == 4 else None for value in values}
        if given != expected:
            found = ", ".join(f"{value.name} {value.shape}" for value in values)
            wanted = ", ".join(f"{name} [1, {channels}, height, width]" for name, channels in expected.items())
            raise SourceError(f"{self._path}: its {what} are {found}, not {wanted}: {_REMEDY}")


class PublishedEdpn:
    """The published network, fed as its authors fed it.

    It looks at one sweep, the latest. Where there is no prior from a frame that is young enough, or not one pixel has
    the texture and events that the authors' mask asks for, no event would reach the network and its metres would be
    a guess: then the model-free estimate is returned as it is, and the log says so once in a row.

    Args:
        network: the ONNX file.
        prior: makes the relative estimate.
        fallback: makes the estimate where the network cannot.
        bins: the vergence axis.

    Raises:
        RigError: the sweep is beyond what the network can be laid over.
    """

    def __init__(
        self, network: PublishedModel, prior: MonocularPrior, fallback: DepthEstimator, bins: VergenceBins
    ) -> None:
        self._network = network
        self._prior = prior
        self._fallback = fallback
        self._bins = bins
        self._metric = MetricBins.over(bins, network.places)
        self._weights = -self._metric.weights(bins)  # the sweep from near to far sees every change reversed
        self._textured: NDArray[np.bool_] | None = None
        self._refused = False

    def estimate(self, snapshot: SweepSnapshot) -> DepthEstimate:
        latest, frame = snapshot.latest, snapshot.frame
        relative = self._prior.at(latest.sweep.end_us, frame)
        if frame is not None and frame.image.shape == latest.event_count.shape:
            self._textured = textured(frame.image)
        if relative is None or self._textured is None:
            return self._without("no frame that is young enough", snapshot)
        mask = published_mask(latest.event_count, self._textured)
        if not mask.any():
            return self._without(f"nowhere texture and {MIN_EVENTS} events in {WINDOW_PX} x {WINDOW_PX} px", snapshot)
        self._refused = False
        counts = latest.counts
        volume = (self._weights @ counts.reshape(len(counts), -1).astype(np.float32)).reshape(-1, *mask.shape)
        distribution = self._network.run(volume, unit(relative)[None], mask[None].astype(np.float32))
        return self._metric.read(distribution, self._bins.width_dpt)

    def _without(self, reason: str, snapshot: SweepSnapshot) -> DepthEstimate:
        if not self._refused:
            logger.warning("depth without the published network: %s", reason)
        self._refused = True
        return self._fallback.estimate(snapshot)


def textured(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the authors' mask finds texture: gradient magnitude at least :data:`MIN_GRADIENT`, 0 to 1 over the image.

    Central differences, one-sided at the borders. An image without any gradient has no texture.

    Args:
        image: uint8 [H, W].

    Returns:
        bool [H, W].
    """
    down, right = np.gradient(image.astype(np.float32))
    gradient = cv2.magnitude(down, right)
    return (unit(gradient) >= MIN_GRADIENT) & (gradient > 0.0)


def published_mask(event_count: NDArray[np.uint16], textured: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The authors' SAME mask: texture and at least :data:`MIN_EVENTS` events around, dilated.

    Not :func:`~edfv_ros.volume.same_mask`, whose thresholds follow the sensor: the network learned with this one.

    Args:
        event_count: uint16 [H, W], events of the sweep.
        textured: bool [H, W], by :func:`textured`.

    Returns:
        bool [H, W].
    """
    window = (WINDOW_PX, WINDOW_PX)
    around = cv2.boxFilter(event_count.astype(np.float32), -1, window, normalize=False, borderType=cv2.BORDER_REFLECT)
    mask = (textured & (np.rint(around) >= MIN_EVENTS)).astype(np.uint8)
    return cv2.dilate(mask, np.ones((DILATION_PX, DILATION_PX), np.uint8)).astype(bool)


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale an image to 0..1 by its extremes, as the authors do; 0 everywhere where they are one."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
