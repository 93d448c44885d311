"""Our network from its ONNX file, on arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edfv_ros.depth.edpn_head import Head
from edfv_ros.depth.edpn_inputs import BINS, CANDIDATES, CELL_PX, CONDITIONS, Guide
from edfv_ros.depth.models import EDPN, shipped_model
from edfv_ros.depth.onnx_session import open_session
from edfv_ros.depth.workers import Workers, shared_workers
from edfv_ros.errors import SourceError

FORMAT = 3
"""Of the file: to be raised whenever inputs or outputs mean something else."""

_REMEDY = "give a file that this version's `edfv export` wrote"
_CHANNELS = {"score": CANDIDATES, "volume": BINS, "guide": Guide.COUNT, "conditions": CONDITIONS}
_READ = ["coarse", "readout", "doubt"]


class EdpnNetwork:
    """The network, loaded, checked and warm.

    Args:
        path: of the file; None for the one that is shipped.
        rows, columns: cells of the pictures to come; others are taken too, and cost more the first time.
        threads: on the CPU; None for those of :func:`~edfv_ros.depth.workers.shared_workers`.

    Attributes:
        precision: ``float32`` or ``int8``.
        provenance: what the file says of its training.

    Raises:
        SourceError: the file is missing, damaged, or not of this network and format; or it does not run.
    """

    def __init__(self, path: Path | None, rows: int, columns: int, threads: int | None = None) -> None:
        self._path = path or shipped_model(EDPN).path  # whose sha256 has been checked
        workers = Workers(threads) if threads else shared_workers()
        self._session = open_session(self._path, threads=workers.threads)
        told = self._session.get_modelmeta().custom_metadata_map
        self._check(told)
        self._head = Head(np.array(json.loads(told["mass_gain"]), np.float32), workers)
        self.precision: str = told.get("precision", "float32")
        self.provenance: dict[str, Any] = json.loads(told.get("provenance", "{}"))
        self(
            np.zeros((CANDIDATES, rows, columns), np.float32),
            np.zeros((BINS, rows, columns), np.float32),
            np.zeros((Guide.COUNT, rows * CELL_PX, columns * CELL_PX), np.float32),
            np.zeros(CONDITIONS, np.float32),
        )

    def __call__(
        self,
        score: NDArray[np.float32],
        volume: NDArray[np.float32],
        guide: NDArray[np.float32],
        conditions: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run; the inputs are those of :mod:`~edfv_ros.depth.edpn_inputs`.

        Args:
            score: float32 [CANDIDATES, rows, columns].
            volume: float32 [BINS, rows, columns].
            guide: float32 [Guide.COUNT, H, W], where H and W are CELL_PX times rows and columns.
            conditions: float32 [CONDITIONS].

        Returns:
            ``position_bins``, vergence in bins (-0.5 is the far end of the sweep, 31.5 the near one), and
            ``scale_bins``, the scale of the Laplace distribution of its error; both float32 [H, W] and the caller's.

        Raises:
            SourceError: it does not run on these.
        """
        inputs = dict(zip(_CHANNELS, (score[None], volume[None], guide[None], conditions[None]), strict=True))
        try:
            coarse, readout, doubt = self._session.run(_READ, inputs)
        except Exception as error:  # the runtime's exceptions have no common class
            rows, columns = score.shape[1:]
            raise SourceError(f"{self._path}: does not run on {rows} x {columns} cells: {error}") from None
        return self._head(score, coarse[0], readout[0], doubt[0])

    def _check(self, told: dict[str, str]) -> None:
        if told.get("name") != EDPN:
            raise SourceError(f"{self._path}: holds {told.get('name') or 'no network of ours'}: {_REMEDY}")
        for key, wanted in (("format", FORMAT), ("bins", BINS), ("candidates", CANDIDATES)):
            if told.get(key) != str(wanted):
                raise SourceError(f"{self._path}: its {key} is {told.get(key)}, not {wanted}: {_REMEDY}")
        channels = {value.name: value.shape[1] for value in self._session.get_inputs()}
        if channels != _CHANNELS or not {*_READ} <= {value.name for value in self._session.get_outputs()}:
            raise SourceError(f"{self._path}: its inputs have the channels {channels}, not {_CHANNELS}: {_REMEDY}")
