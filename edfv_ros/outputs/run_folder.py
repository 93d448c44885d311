"""The folder that `edfv run` fills; its names and array types are a contract with other people's scripts."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import OutputError
from edfv_ros.outputs.depth_picture import depth_picture, save_png
from edfv_ros.outputs.files import check_folder, make_folder, replace_atomically
from edfv_ros.outputs.plain_json import to_json
from edfv_ros.outputs.point_cloud import save_point_cloud
from edfv_ros.rig import Rig
from edfv_ros.rig.rays import pixel_rays

REPORT_NAME = "report.json"
_OWN_NAMES = re.compile(
    r"(depth|confidence)_\d{4,}(_\d+)?\.npy|depth_\d{4,}(_\d+)?\.png|points_\d{4,}(_\d+)?\.ply|report\.json"
)


class RunFolder:
    """Depth, confidence, picture and points of every sweep, and one report. Every file is whole or absent.

    Nothing is made or removed before the first result is there.

    Args:
        path: the folder; made where it does not exist.
        rig: gives the colours their range and the points their rays.
        overwrite: remove the results of an earlier run; nothing else in the folder is touched.

    Raises:
        OutputError: the folder cannot be made or written, or holds an earlier run and ``overwrite`` is false.
    """

    def __init__(self, path: Path, rig: Rig, *, overwrite: bool = False) -> None:
        self.path = path
        self._bins = rig.bins
        self._rays = pixel_rays(rig.camera)
        self._is_begun = False
        check_folder(path)
        earlier = self._earlier_results()
        if earlier and not overwrite:
            raise OutputError(
                f"{path}: holds results of an earlier run ({earlier[0].name}): add --overwrite or name another folder"
            )

    def write_sweep(
        self, index: int, depth_m: NDArray[np.float32], confidence: NDArray[np.float32], *, part: int = 0
    ) -> None:
        """Write the four files of sweep ``index`` from float32 [H, W] depth (metres, NaN unknown) and confidence.

        Depth after a ``part`` of the sweep has the part's number behind that of the sweep: ``depth_0003_1.npy``.

        Raises:
            OutputError: a file cannot be written.
        """
        self._begin()
        name = f"{index:04d}_{part}" if part else f"{index:04d}"
        self._save_array(f"depth_{name}.npy", depth_m)
        self._save_array(f"confidence_{name}.npy", confidence)
        save_png(depth_picture(depth_m, self._bins), self.path / f"depth_{name}.png")
        save_point_cloud(self.path / f"points_{name}.ply", depth_m, confidence, self._rays)

    def write_report(self, report: Any) -> None:
        """Write ``report.json`` from a dataclass or a mapping; numbers that are not finite become null.

        Raises:
            OutputError: the file cannot be written.
        """
        self._begin()
        with replace_atomically(self.path / REPORT_NAME) as temporary:
            temporary.write_text(to_json(report) + "\n", encoding="utf-8")

    def _begin(self) -> None:
        if self._is_begun:
            return
        make_folder(self.path)
        for entry in self._earlier_results():
            _remove(entry)
        self._is_begun = True

    def _earlier_results(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        return sorted(entry for entry in self.path.iterdir() if _OWN_NAMES.fullmatch(entry.name))

    def _save_array(self, name: str, array: NDArray[np.float32]) -> None:
        with replace_atomically(self.path / name) as temporary, temporary.open("wb") as file:
            np.save(file, array.astype(np.float32, copy=False))


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be overwritten: {error.strerror}") from None
