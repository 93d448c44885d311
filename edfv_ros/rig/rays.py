"""Which way every pixel looks."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edfv_ros.rig.model import Camera


def pixel_rays(camera: Camera) -> NDArray[np.float32]:
    """Ray of every pixel with unit z, shape [H, W, 3]: a point at depth ``z`` is ``z * ray`` in the optical frame.

    Lens distortion (plumb_bob) is taken out; x points right, y down, z forward (REP 103).
    """
    intrinsics = camera.intrinsics
    matrix = np.array(
        [[intrinsics.fx_px, 0.0, intrinsics.cx_px], [0.0, intrinsics.fy_px, intrinsics.cy_px], [0.0, 0.0, 1.0]]
    )
    rays = np.ones((camera.height_px, camera.width_px, 3), np.float32)
    pixels = np.indices((camera.height_px, camera.width_px))[::-1].reshape(2, -1).T.astype(np.float64)
    if any(intrinsics.distortion):
        flat = cv2.undistortPoints(pixels[:, None], matrix, np.array(intrinsics.distortion))[:, 0]
    else:
        flat = (pixels - matrix[:2, 2]) / matrix[[0, 1], [0, 1]]
    rays[..., :2] = flat.reshape(camera.height_px, camera.width_px, 2)
    return rays
