"""The child that renders a job folder with Cycles; started by :mod:`edfv_ros.simulation.blender.stack`."""

import os
import sys
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from edfv_ros.errors import EdfvError
from edfv_ros.simulation.blender.camera import ThinLensCamera
from edfv_ros.simulation.blender.job import Image, JobFolder, RenderJob, step
from edfv_ros.simulation.blender.kinds import KINDS
from edfv_ros.simulation.blender.materials import depth_in_light
from edfv_ros.simulation.blender.objects import clear
from edfv_ros.simulation.blender.studio import Studio

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear Rec. 709, Blender's working space
_SHARP_SAMPLES = 4  # times those of a blurred picture
_DARKEST = 1e-4  # radiance that no pixel is below, so that its logarithm exists


def main() -> int:
    """Render what is missing in the folder given as the only argument."""
    files = JobFolder(Path(sys.argv[1]))
    parent = os.getppid()
    try:
        job = files.job()
        clear()
        KINDS[job.kind](Studio.of(job))
        camera = ThinLensCamera(job.rig)
        missing = set(files.missing(job))
        _set_up_cycles(job)
        if "sharp" in missing:
            camera.stop_down()
            files.save("sharp", _picture(files, _SHARP_SAMPLES * job.samples))
        for index, vergence_dpt in enumerate(job.vergences_dpt):
            if os.getppid() != parent:
                return 1  # nobody waits for us any more
            if step(index) in missing:
                camera.focus(vergence_dpt)
                files.save(step(index), _picture(files, job.samples))
        if "depth" in missing:
            camera.stop_down()
            files.save("depth", _depth_m(files))
        files.scratch.unlink(missing_ok=True)
    except EdfvError as error:
        print(error, flush=True)
        return 1
    return 0


def _set_up_cycles(job: RenderJob) -> None:
    """Path tracing into linear floats; every picture draws the same random numbers."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.use_persistent_data = True
    scene.render.dither_intensity = 0.0
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "32"
    scene.render.image_settings.color_mode = "RGB"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.seed, cycles.use_animated_seed = job.seed, False
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.pixel_filter_type = "BOX"
    cycles.filter_width = 1.0  # a pixel's whole area: a sensor without gaps
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 3, 2, 2
    cycles.transmission_bounces, cycles.caustics_reflective = 0, False
    cycles.sample_clamp_indirect = 5.0


def _picture(files: JobFolder, samples: int) -> Image:
    bpy.context.scene.cycles.samples = samples
    return np.maximum(_render(files) @ _LUMINANCE, np.float32(_DARKEST))


def _depth_m(files: JobFolder) -> Image:
    """z along the optical axis, [H, W], by one ray through the centre of each pixel."""
    scene = bpy.context.scene
    scene.render.use_persistent_data = False
    bpy.context.view_layer.material_override = depth_in_light()
    scene.cycles.samples, scene.cycles.filter_width = 1, 0.01
    scene.cycles.max_bounces, scene.cycles.sample_clamp_direct = 0, 0.0
    return np.ascontiguousarray(_render(files)[..., 0])


def _render(files: JobFolder) -> Image:
    """Linear colours [H, W, 3]."""
    render = bpy.context.scene.render
    render.filepath = str(files.scratch)
    bpy.ops.render.render(write_still=True)
    image: Any = bpy.data.images.load(str(files.scratch), check_existing=False)
    image.colorspace_settings.name = "Non-Color"
    values = np.empty(render.resolution_y * render.resolution_x * image.channels, np.float32)
    image.pixels.foreach_get(values)
    upwards = values.reshape(render.resolution_y, render.resolution_x, image.channels)
    bpy.data.images.remove(image)
    return upwards[::-1, :, :3]
