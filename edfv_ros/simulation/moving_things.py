"""Things that move while the focus sweeps."""

from typing import Annotated

import numpy as np
from pydantic import Field

from edfv_ros.simulation.motion import random_object_motion
from edfv_ros.simulation.scenes import ProceduralScene
from edfv_ros.yaml_model import Part


class ThingMotion(Part):
    """How the things of a procedural scene move.

    Attributes:
        share: part of the things that move.
        max_speed_m_s, max_turn_deg_s: their speeds and turning rates are drawn from 0 to these.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_speed_m_s: Annotated[float, Field(ge=0, le=50)] = 0.3
    max_turn_deg_s: Annotated[float, Field(ge=0, le=36_000)] = 60.0


def set_in_motion(scene: ProceduralScene, model: ThingMotion, seed: int) -> ProceduralScene:
    """The scene with some of its things moving; the same seed moves the same things in the same way."""
    rng = np.random.default_rng([seed, 0x7415])
    motions = {}
    for number, thing in enumerate(scene.things):
        moves = rng.random() < model.share
        motion = random_object_motion(
            rng, thing.pose.position_m, max_speed_m_s=model.max_speed_m_s, max_turn_deg_s=model.max_turn_deg_s
        )
        if moves:
            motions[number] = motion
    return scene.with_motions(motions)
