"""Networks that are there only to be compared with ours, from files that ``edfv export`` wrote."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.edpn import in_bins
from edfv_ros.depth.edpn_inputs import BINS, Guide, guide_input, volume_input
from edfv_ros.depth.evidence import spread_bins
from edfv_ros.depth.likelihood import CELL_PX, cell_grid
from edfv_ros.depth.onnx_session import open_session
from edfv_ros.depth.reconstruct import add_intensity_change
from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.evaluation.predictions import Evaluated, Predict, Prediction
from edfv_ros.optics import VergenceBins
from edfv_ros.rig import Rig
from edfv_ros.training.network_names import NetworkName
from edfv_ros.volume import SweepSnapshot

FORMAT = 1
"""Of the files: to be raised whenever inputs or outputs mean something else."""

CHANNELS = {"volume": BINS, "guide": Guide.COUNT}
"""Of the inputs, :func:`~edfv_ros.depth.edpn_inputs.volume_input` and ``guide_input``; a file takes one or both."""

OUTPUTS = ("position_bins", "scale_bins")
"""Vergence in bins of 32 from the far end of the sweep, and the scale of its Laplace distributed error."""


def model_name(network: NetworkName) -> str:
    """What a file with such a network calls itself: no estimator of the runtime takes it for its own."""
    return f"peer_{network}"


def peer_of(network: NetworkName) -> Callable[[Evaluated, Path | None], Predict]:
    """What opens a peer for a recording, from the file of a network.

    Args:
        network: which of them its files must hold.
    """

    def open_peer(recording: Evaluated, model: Path | None) -> Predict:
        if model is None:
            raise EdfvError(f"the method {network} needs its network: --method {network},FILE.onnx, by `edfv export`")
        peer = PeerNetwork(network, model)
        inputs_of = PeerInputs(recording.rig)
        bins = VergenceBins(recording.rig.bins.min_dpt, recording.rig.bins.max_dpt, BINS)

        def predict(snapshot: SweepSnapshot) -> Prediction:
            position, scale = peer(inputs_of(snapshot))
            vergence_dpt = bins.vergence_dpt(position).astype(np.float32)
            vergence_dpt[vergence_dpt <= 0] = np.nan
            sigma_dpt = np.float32(np.sqrt(2.0) * bins.width_dpt) * scale
            return Prediction(vergence_dpt, np.where(np.isnan(vergence_dpt), np.float32(np.nan), sigma_dpt))

        return predict

    return open_peer


class PeerNetwork:
    """A peer's network, loaded and checked.

    Args:
        network: what the file must hold.
        path: of the file.

    Raises:
        SourceError: it cannot be loaded, or holds another network or format.
    """

    def __init__(self, network: NetworkName, path: Path) -> None:
        self._path = path
        self._session = open_session(path, threads=max(2, (os.cpu_count() or 1) // 2))  # as many as ours has
        told = self._session.get_modelmeta().custom_metadata_map
        remedy = f"give a file that this version's `edfv export` wrote of a run with --network {network}"
        if told.get("name") != model_name(network):
            raise SourceError(f"{path}: holds {told.get('name') or 'no peer of ours'}: {remedy}")
        if told.get("format") != str(FORMAT):
            raise SourceError(f"{path}: its format is {told.get('format')}, not {FORMAT}: {remedy}")
        self._inputs = {value.name: value.shape[1] for value in self._session.get_inputs()}
        outputs = {value.name for value in self._session.get_outputs()}
        if not self._inputs.items() <= CHANNELS.items() or not outputs >= {*OUTPUTS}:
            raise SourceError(f"{path}: its inputs have the channels {self._inputs}, none but {CHANNELS} fit: {remedy}")

    def __call__(self, inputs: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run on a picture of any size of 16 px or more.

        Args:
            inputs: float32 [channels, H, W], by the names of :data:`CHANNELS`.

        Returns:
            Those of :data:`OUTPUTS`, float32 [H, W].

        Raises:
            SourceError: it does not run on these.
        """
        try:
            position, scale = self._session.run([*OUTPUTS], {name: inputs[name][None] for name in self._inputs})
        except Exception as error:  # the runtime's exceptions have no common class
            height, width = inputs["volume"].shape[1:]
            reason = " ".join(str(error).split())
            raise SourceError(f"{self._path}: does not run on {width} x {height} px: {reason}") from None
        return position[0], scale[0]


class PeerInputs:
    """What peers see of a sweep: the volume and the guide of our own network, without its evidence.

    Args:
        rig: that recorded it.
    """

    def __init__(self, rig: Rig) -> None:
        slope_px_per_bin = rig.optics.blur_slope_px_per_dpt * rig.bins.width_dpt
        self._spread_bins = spread_bins(slope_px_per_bin, rig.bins.count)

    def __call__(self, snapshot: SweepSnapshot) -> dict[str, NDArray[np.float32]]:
        """Inputs by the names of :data:`CHANNELS`, float32 [channels, H, W]."""
        counts = [volume.counts for volume in snapshot.volumes]
        bins, height, width = counts[0].shape
        rows, columns = cell_grid(width, height)
        change = np.zeros((bins, rows * CELL_PX, columns * CELL_PX), np.float32)
        for volume in snapshot.volumes:
            direction, gain = volume.sweep.direction, 1.0 / len(counts)
            add_intensity_change(volume.counts, direction, self._spread_bins, gain, change, 0, height)
        image = snapshot.frame.image if snapshot.frame is not None else None
        inputs = {
            "volume": volume_input(in_bins(change, BINS), height, width),
            "guide": guide_input(snapshot.event_count(), image, None, rows, columns),
        }
        return {name: np.ascontiguousarray(values[:, :height, :width]) for name, values in inputs.items()}
