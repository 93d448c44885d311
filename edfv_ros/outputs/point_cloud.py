"""Point clouds as binary PLY."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edfv_ros.outputs.files import replace_atomically

_VERTEX_DTYPE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("confidence", "<f4")])


def save_point_cloud(
    path: Path, depth_m: NDArray[np.float32], confidence: NDArray[np.float32], rays: NDArray[np.float32]
) -> None:
    """Write the known points of a depth image, in metres in the camera's optical frame.

    Args:
        path: the file to write; its name should end in ``.ply``.
        depth_m: float32 [H, W], NaN where unknown.
        confidence: float32 [H, W], 0 to 1.
        rays: float32 [H, W, 3] with unit z, see :func:`edfv_ros.rig.rays.pixel_rays`.

    Raises:
        OutputError: the file cannot be written.
    """
    known = np.isfinite(depth_m)
    points = rays[known] * depth_m[known, None]
    vertices = np.empty(len(points), _VERTEX_DTYPE)
    vertices["x"], vertices["y"], vertices["z"] = points.T
    vertices["confidence"] = confidence[known]
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment metres, optical frame: x right, y down, z forward",
            f"element vertex {len(vertices)}",
            *(f"property float {name}" for name in _VERTEX_DTYPE.names or ()),
            "end_header\n",
        ]
    )
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(vertices.tobytes())
