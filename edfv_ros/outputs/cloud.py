"""The points of a depth image, with what is known of each."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

CLOUD_FIELDS: Final = ("x", "y", "z", "intensity", "confidence", "uncertainty")
"""Metres in the optical frame; grey value or events; 0 to 1; standard deviation of z in metres."""


def cloud_points(
    depth_m: NDArray[np.float32],
    rays: NDArray[np.float32],
    intensity: NDArray[np.generic],
    confidence: NDArray[np.float32],
    uncertainty_m: NDArray[np.float32],
    *,
    stride: int = 1,
    organised: bool = True,
) -> NDArray[np.float32]:
    """Make the points of a depth image.

    Args:
        depth_m: float32 [H, W], z along the optical axis; no point where it is not finite.
        rays: float32 [H, W, 3] with unit z, see :func:`edfv_ros.rig.rays.pixel_rays`.
        intensity: [H, W] of any number type.
        confidence: float32 [H, W], 0 to 1.
        uncertainty_m: float32 [H, W], standard deviation of the depth.
        stride: every how manieth row and column of the image has points.
        organised: keep rows and columns, with NaN in x, y, z and uncertainty where there is no point; otherwise the
            points alone are left.

    Returns:
        float32, one row of CLOUD_FIELDS for each point: C-contiguous [rows, columns, 6] where organised, else [N, 6].
    """
    step = (slice(None, None, stride), slice(None, None, stride))
    depth_m, rays, intensity = depth_m[step], rays[step], intensity[step]
    confidence, uncertainty_m = confidence[step], uncertainty_m[step]
    known = np.isfinite(depth_m)
    if organised:
        depth_m = np.where(known, depth_m, np.float32(np.nan))
        uncertainty_m = np.where(known, uncertainty_m, np.float32(np.nan))
    else:
        depth_m, rays, intensity = depth_m[known], rays[known], intensity[known]
        confidence, uncertainty_m = confidence[known], uncertainty_m[known]
    points = np.empty((*depth_m.shape, len(CLOUD_FIELDS)), np.float32)
    np.multiply(rays, depth_m[..., None], out=points[..., :3])
    for index, values in enumerate((intensity, confidence, uncertainty_m), start=3):
        points[..., index] = values
    return points
