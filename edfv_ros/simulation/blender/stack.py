"""A focus stack of a path-traced scene, rendered by a child: Blender is one global state and prints to stdout."""

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.child_process import start_module, stop_process
from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.blender.job import Image, JobFolder, RenderJob, image_names, step

BLENDER_PACKAGE = "bpy==5.0.1"
"""What pip installs. Its metadata ask for a numpy older than ours, which rendering does not need: hence --no-deps."""

STEPS = 64
"""Pictures over a sweep that pictures in between can be interpolated from, see :meth:`FocusStack.pictures_at`."""

SAMPLES = 48
"""Light paths per pixel."""

_POLL_S = 0.2


@dataclass(frozen=True)
class FocusStack:
    """Pictures of one still scene at several focus positions.

    Attributes:
        vergences_dpt: float64 [K], focus of each picture.
        pictures: float32 [K, H, W], linear radiance, above 0; 1 for a white sheet facing the light.
        depth_m: float32 [H, W], z along the optical axis of what the centre of each pixel sees.
        sharp: float32 [H, W], the picture of a pinhole.
    """

    vergences_dpt: NDArray[np.float64]
    pictures: Image
    depth_m: Image
    sharp: Image

    def pictures_at(self, vergences_dpt: ArrayLike) -> Image:
        """Pictures at any focus [N] between the first and the last, float32 [N, H, W], linear in log radiance.

        Raises:
            SimulationError: a focus lies outside the stack.
        """
        wanted, have = np.atleast_1d(np.asarray(vergences_dpt, float)), self.vergences_dpt
        if not (have[0] - 1e-6 <= wanted.min() and wanted.max() <= have[-1] + 1e-6):
            raise SimulationError(
                f"focus {wanted.min():g} to {wanted.max():g} dpt lies outside the rendered stack, {have[0]:g} to "
                f"{have[-1]:g} dpt"
            )
        position = np.interp(wanted, have, np.arange(len(have)))
        pictures = np.empty((len(wanted), *self.depth_m.shape), np.float32)
        for picture, where in zip(pictures, position, strict=True):
            below = int(where)
            above, part = min(below + 1, len(have) - 1), where - below
            picture[:] = self.pictures[below] ** (1.0 - part) * self.pictures[above] ** part
        return pictures


def focus_steps(rig: Rig, count: int = STEPS) -> NDArray[np.float64]:
    """``count`` focus positions, float64 [K], equally spaced over all that the lens reaches."""
    return np.linspace(*rig.lens.calibration.range_dpt, count)


def render_stack(
    rig: Rig,
    kind: str,
    seed: int,
    vergences_dpt: ArrayLike,
    *,
    folder: str | Path,
    samples: int = SAMPLES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FocusStack:
    """Render a scene through the rig's lens at each focus by path tracing.

    Every finished image stays in ``folder``: called again after an interruption, with the same arguments, only the
    rest is rendered. The same arguments give the same pictures, whatever the number of processors.

    Args:
        rig: camera, lens and sweep; its distortion must be zero, its breathing is left out.
        kind: one of :data:`BLENDER_KINDS`.
        seed: another number, another scene.
        vergences_dpt: ascending focus positions, [K]; see :func:`focus_steps`.
        folder: where the images go; made if it is not there.
        samples: light paths per pixel and picture.
        progress: called with the number of images there and the number wanted, a few times a second.

    Raises:
        SimulationError: the arguments are impossible, Blender is not installed or fails, or ``folder`` cannot be
            written or holds something else.
    """
    vergences = np.asarray(vergences_dpt, float)
    if vergences.ndim != 1 or np.any(np.diff(vergences) <= 0):
        raise SimulationError("focus positions to render must be a row of numbers that rise strictly")
    job = RenderJob.of(rig=rig, kind=kind, seed=seed, vergences_dpt=tuple(vergences.tolist()), samples=samples)
    files = JobFolder(Path(folder))
    try:
        files.open(job)
        if any(files.missing(job)):
            require_blender()
            _run_child(files, job, progress)
        return _load(files, job)
    except OSError as error:
        raise SimulationError(f"{folder}: cannot render into this folder: {error.strerror or error}") from None


def require_blender() -> None:
    """See that Blender's Python package is there.

    Raises:
        SimulationError: it is not; the message tells how to install it.
    """
    if importlib.util.find_spec("bpy") is not None:
        return
    if sys.version_info[:2] != (3, 11):
        here = ".".join(map(str, sys.version_info[:2]))
        raise SimulationError(f"Blender as a Python package ({BLENDER_PACKAGE}) needs Python 3.11, but this is {here}")
    raise SimulationError(f"Blender is not installed for this Python: run `pip install --no-deps {BLENDER_PACKAGE}`")


def _run_child(files: JobFolder, job: RenderJob, progress: Callable[[int, int], None]) -> None:
    """Render what is missing; the child ends with us, also when we are interrupted."""
    total = len(image_names(job))
    with files.log.open("wb") as log:
        child = start_module(
            "edfv_ros.simulation.blender.render", [str(files.path)], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        while child.poll() is None:
            progress(total - sum(1 for _ in files.missing(job)), total)
            time.sleep(_POLL_S)
    finally:
        if child.poll() is None:
            stop_process(child, signal.SIGTERM)
    left = sum(1 for _ in files.missing(job))
    progress(total - left, total)
    if child.returncode or left:
        raise SimulationError(f"Blender failed after {total - left} of {total} images, {_reason(child, files)}")


def _reason(child: "subprocess.Popen[bytes]", files: JobFolder) -> str:
    if child.returncode < 0:
        return f"killed by {signal.Signals(-child.returncode).name}: run again to go on, more in {files.log}"
    lines = files.log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
    return f"its last words: {last}; all of them are in {files.log}"


def _load(files: JobFolder, job: RenderJob) -> FocusStack:
    size = job.rig.camera.height_px, job.rig.camera.width_px

    def image(name: str) -> Image:
        try:
            loaded = np.load(files.image(name))
        except ValueError:
            loaded = np.empty(0)
        if loaded.shape != size or loaded.dtype != np.float32:
            raise SimulationError(f"{files.image(name)} is damaged: remove it and run again to render it anew")
        return loaded

    pictures = np.stack([image(step(index)) for index in range(len(job.vergences_dpt))])
    return FocusStack(np.array(job.vergences_dpt), pictures, image("depth"), image("sharp"))
