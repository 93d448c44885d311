"""Where the time goes: seconds of the simulator's stages, and of a yardstick beside them."""

import cProfile
import inspect
import pstats
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edfv_ros.simulation import DefocusRenderer, EventSensor, ProceduralScene, make_scene
from edfv_ros.simulation.ladder import blur_ladder
from edfv_ros.simulation.readout import SensorReadout

STAGES: Mapping[str, Sequence[Callable[..., Any]]] = {
    "scene": (make_scene, ProceduralScene.view),
    "ladder": (blur_ladder,),
    "pictures": (DefocusRenderer.render_stack,),
    "pixels": (EventSensor.expose,),
    "readout": (SensorReadout.read,),
}
"""Stages of a simulated sweep, and the functions that do them; none of these calls another one."""


def stage_seconds(run: Callable[[], object]) -> dict[str, float]:
    """Seconds of each stage while ``run`` runs, and of the ``whole``; inner loops are compiled and not slowed down."""
    profile = cProfile.Profile()
    begin = time.perf_counter()
    profile.runcall(run)
    whole = time.perf_counter() - begin
    # pstats knows a function by file, line and name
    statistics: Mapping[Any, tuple[Any, ...]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    seconds = {
        stage: sum(statistics[key][3] for key in map(_key, functions) if key in statistics)
        for stage, functions in STAGES.items()
    }
    return {**seconds, "whole": whole}


def _key(function: Callable[..., Any]) -> tuple[str, int, str]:
    code = inspect.unwrap(function).__code__
    return code.co_filename, code.co_firstlineno, code.co_name


def fft_seconds(shape: tuple[int, int], pictures: int) -> float:
    """Least of three times that numpy needs to transform ``pictures`` of a shape [H, W] there and back."""
    picture: NDArray[np.float32] = np.random.default_rng(0).standard_normal(shape, np.float32)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(pictures):
            np.fft.irfft2(np.fft.rfft2(picture), s=shape)
        times.append(time.perf_counter() - begin)
    return min(times)
