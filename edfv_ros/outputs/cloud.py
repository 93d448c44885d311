"""The points of a depth image, with what is known of each."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

from edfv_ros.outputs.cloud_fields import CLOUD_FIELDS


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
        float32, C-contiguous, CLOUD_FIELDS of each point: [rows, columns, 6] where organised, else [N, 6].
    """
    points = np.empty((-(-depth_m.shape[0] // stride), -(-depth_m.shape[1] // stride), len(CLOUD_FIELDS)), np.float32)
    # one layout and type each, so that nothing is compiled anew for another
    images = (
        np.ascontiguousarray(image, np.float32) for image in (depth_m, rays, intensity, confidence, uncertainty_m)
    )
    count = _fill(*images, stride, organised, points.reshape(-1, len(CLOUD_FIELDS)))
    return points if organised else points.reshape(-1, len(CLOUD_FIELDS))[:count]


def prepare_cloud_points() -> None:
    """Compile what makes points, so that the first ones do not wait for it."""
    nothing = np.full((1, 1), np.nan, np.float32)
    cloud_points(nothing, np.ones((1, 1, 3), np.float32), nothing, nothing, nothing)


@nb.njit(nogil=True, cache=True)
def _fill(
    depth_m: NDArray[np.float32],
    rays: NDArray[np.float32],
    intensity: NDArray[np.float32],
    confidence: NDArray[np.float32],
    uncertainty_m: NDArray[np.float32],
    stride: int,
    organised: bool,
    points: NDArray[np.float32],
) -> int:
    """Write the rows of CLOUD_FIELDS into float32 [N, 6], one after the other; returns how many."""
    count = 0
    for row in range(0, depth_m.shape[0], stride):
        for column in range(0, depth_m.shape[1], stride):
            z_m = depth_m[row, column]
            sigma_m = uncertainty_m[row, column]
            if not np.isfinite(z_m):
                if not organised:
                    continue
                z_m = sigma_m = np.float32(np.nan)
            point = points[count]
            for axis in range(3):
                point[axis] = rays[row, column, axis] * z_m
            point[3] = intensity[row, column]
            point[4] = confidence[row, column]
            point[5] = sigma_m
            count += 1
    return count
