"""Blender's thin lens with the numbers of a rig."""

import bpy
import numpy as np
from mathutils import Matrix

from edfv_ros.rig import Rig

_FOCAL_MM = 50.0  # any: only its ratios to sensor and aperture matter


class ThinLensCamera:
    """A camera at the origin of its optical frame, which is the world's.

    Cycles turns each ray about its point on the plane in focus, ``1 / v`` away, by a random offset on an aperture of
    diameter A. A point at depth z so becomes a disc of ``A * fx * |v - 1/z|`` pixels. A is chosen such that this is
    the rig's ``blur_slope_px_per_dpt``; it is the rig's own aperture where ``fx * pixel pitch`` is its image distance.
    """

    def __init__(self, rig: Rig) -> None:
        camera, k = rig.camera, rig.camera.intrinsics
        data = self._data = bpy.data.cameras.new("camera")
        data.sensor_fit = "HORIZONTAL"
        data.lens = _FOCAL_MM
        data.sensor_width = _FOCAL_MM * camera.width_px / k.fx_px
        data.shift_x = ((camera.width_px - 1) / 2 - k.cx_px) / camera.width_px
        data.shift_y = (k.cy_px - (camera.height_px - 1) / 2) / camera.width_px * k.fx_px / k.fy_px
        data.clip_start, data.clip_end = 1e-3, 1e3
        data.dof.aperture_blades = 0
        data.dof.aperture_fstop = _FOCAL_MM * 1e-3 * k.fy_px / rig.optics.blur_slope_px_per_dpt
        data.dof.aperture_ratio = k.fx_px / k.fy_px  # a round disc, in pixels

        scene = bpy.context.scene
        thing = bpy.data.objects.new("camera", data)
        thing.matrix_world = Matrix(np.diag([1.0, -1.0, -1.0, 1.0]))  # Blender looks along -z, with y up
        scene.collection.objects.link(thing)
        scene.camera = thing
        scene.render.resolution_x, scene.render.resolution_y = camera.width_px, camera.height_px
        scene.render.resolution_percentage = 100
        scene.render.pixel_aspect_x = max(1.0, k.fy_px / k.fx_px)  # neither may be below 1
        scene.render.pixel_aspect_y = max(1.0, k.fx_px / k.fy_px)

    def focus(self, vergence_dpt: float) -> None:
        """Open the lens and focus it."""
        self._data.dof.use_dof = True
        self._data.dof.focus_distance = 1.0 / max(vergence_dpt, 1e-6)

    def stop_down(self) -> None:
        """Make it a pinhole."""
        self._data.dof.use_dof = False
