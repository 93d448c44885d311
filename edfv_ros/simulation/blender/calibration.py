"""Where things stand in the scene that checks the renderer's optics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edfv_ros.rig import Rig


@dataclass(frozen=True)
class CalibrationLayout:
    """An upright edge on a wall that faces the camera, and a ball before it; optical frame of the camera.

    Attributes:
        wall_dpt: vergence of the wall.
        edge_x: x / z of the edge: the wall is dark to its left and bright to its right.
        dark, bright: radiance of the wall.
        ball_m: centre of the ball [3].
        ball_radius_m: its radius.
    """

    wall_dpt: float
    edge_x: float
    dark: float
    bright: float
    ball_m: NDArray[np.float64]
    ball_radius_m: float


def calibration_layout(rig: Rig) -> CalibrationLayout:
    """The layout in front of a rig: the wall at a third of its sweep, the ball at two thirds, in the lower left."""
    low, high = rig.sweep.vergence_min_dpt, rig.sweep.vergence_max_dpt
    camera, k = rig.camera, rig.camera.intrinsics
    edge_x = ((camera.width_px - 1) / 2 - k.cx_px) / k.fx_px
    depth_m = 1.0 / (low + (high - low) * 2.0 / 3.0)
    ray = np.array([(0.2 * camera.width_px - k.cx_px) / k.fx_px, (0.75 * camera.height_px - k.cy_px) / k.fy_px, 1.0])
    radius_m = 0.15 * camera.height_px / k.fy_px * depth_m
    return CalibrationLayout(low + (high - low) / 3.0, edge_x, 0.25, 1.0, ray * depth_m, radius_m)
