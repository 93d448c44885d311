"""Whole sweeps of a DAVIS346 with everything that can be switched on: how long one takes, and where the time goes."""

import numpy as np

from edfv_ros.bench.rows import Group, Row
from edfv_ros.bench.stages import STAGES, fft_seconds, stage_seconds
from edfv_ros.rig import Rig, load_rig
from edfv_ros.share import config_file
from edfv_ros.simulation import (
    LENS_RESPONSES,
    MOTIONS,
    SENSORS,
    SimulationSettings,
    VirtualRig,
    make_scene,
    plan_sweeps,
)
from edfv_ros.simulation.imaging import Imaging
from edfv_ros.simulation.moving_things import ThingMotion, set_in_motion

NAME = "sweeps"

_KIND = "tabletop"
_PICTURES = 128  # of a sweep


def measure(*, quick: bool) -> Group:
    """Simulate one sweep over each of a few scenes."""
    rig, number = (_smaller(load_rig(config_file("rig.yaml"))), 1) if quick else (load_rig(config_file("rig.yaml")), 3)
    width, height = rig.camera.resolution
    pixels, readout = SENSORS["davis346"]
    settings = SimulationSettings(
        pixels=pixels,
        readout=readout,
        imaging=Imaging(natural_vignetting=True),
        lens_response=LENS_RESPONSES["el-10-30"],
        motion=MOTIONS["handheld"],
        things=ThingMotion(share=0.2),
    )
    events = 0

    def sweep(seed: int) -> None:
        nonlocal events
        scene = set_in_motion(make_scene(_KIND, seed, rig), settings.things, seed)
        plan = plan_sweeps(rig, settings.lens_response, sweeps=1, steps_per_sweep=_PICTURES, seed=seed)
        virtual = VirtualRig.of_scene(rig, scene, settings, plan=plan, seed=seed)
        events += len(virtual.events(plan.vergence_dpt, plan.times_us))

    sweep(0)  # compiles
    events = 0
    before_s = fft_seconds((height, width), _PICTURES)
    measured = [stage_seconds(lambda seed=seed: sweep(seed)) for seed in range(number)]  # type: ignore[misc]
    reference_s = 0.5 * (before_s + fft_seconds((height, width), _PICTURES))
    rows = [Row("sweeps a minute", 60.0 / float(np.mean([m["whole"] for m in measured])), "1/min")]
    for stage in ("whole", *STAGES):
        seconds = float(np.mean([m[stage] for m in measured]))
        rows.append(Row("a sweep" if stage == "whole" else f"  {stage}", seconds, "s", seconds / reference_s))
    rows.append(Row("events of a sweep", events / number, ""))
    return Group(
        NAME,
        f"sweeps of {width} x {height}, {_KIND}, hand-held, moving things, all noise, every processor",
        f"{_PICTURES} transforms of such a picture there and back by numpy, {reference_s:.3g} s",
        tuple(rows),
    )


def _smaller(rig: Rig) -> Rig:
    """The rig with a sensor of 64 x 48 pixels and the same field of view."""
    values = rig.model_dump()
    camera, k = values["camera"], values["camera"]["intrinsics"]
    camera["pixel_pitch_um"] *= camera["width_px"] / 64
    k.update(fx_px=k["fx_px"] * 64 / camera["width_px"], fy_px=k["fy_px"] * 64 / camera["width_px"])
    k.update(cx_px=31.5, cy_px=23.5)
    camera.update(width_px=64, height_px=48)
    return Rig.model_validate(values)
