"""The kinds of scenes, by name."""

import zlib
from collections.abc import Callable

import numpy as np

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.scenes.kinds_places import corridor, room, shelf, tabletop
from edfv_ros.simulation.scenes.kinds_surfaces import blank, gloss, prints, repeats
from edfv_ros.simulation.scenes.kinds_things import cards, clutter, plants, slants, wires
from edfv_ros.simulation.scenes.objects import ProceduralScene
from edfv_ros.simulation.scenes.studio import Studio
from edfv_ros.simulation.scenes.surfaces import log_uniform

_ORDINARY: dict[str, Callable[[Studio], None]] = {
    "tabletop": tabletop,
    "cards": cards,
    "room": room,
    "shelf": shelf,
    "corridor": corridor,
    "clutter": clutter,
    "slants": slants,
    "wires": wires,
    "plants": plants,
    "blank": blank,
    "repeats": repeats,
    "print": prints,
    "gloss": gloss,
}
_BY_DAY_LUX = 50.0, 2000.0
_IN_THE_DARK_LUX = 2.0, 30.0

SCENE_KINDS = (*_ORDINARY, "dark", "mixed")
"""What :func:`make_scene` can make: ``dark`` is any of the others in low light, ``mixed`` any of all."""


def make_scene(kind: str, seed: int, rig: Rig) -> ProceduralScene:
    """Make the scene called ``kind`` (see :data:`SCENE_KINDS`) in front of the rig's camera.

    The same arguments give the same scene. Its things are spread evenly in vergence over the rig's sweep, at most 30 m
    away. Some scenes of the kinds ``corridor`` and ``mixed`` reach beyond what the sweep can focus, by at most 8 % of
    its span at either end.

    Raises:
        SimulationError: there is no such kind, or the seed is negative.
    """
    if kind not in SCENE_KINDS:
        raise SimulationError(f"scene kind {kind!r} is not known: choose one of {', '.join(SCENE_KINDS)}")
    if seed < 0:
        raise SimulationError(f"scene seed {seed} is negative: give 0 or more")
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    made, lux = kind, _BY_DAY_LUX
    if made == "mixed":
        made = str(rng.choice(SCENE_KINDS[:-1]))
    if made == "dark":
        made, lux = str(rng.choice(list(_ORDINARY))), _IN_THE_DARK_LUX
    studio = Studio(rig, rng, beyond=kind == "mixed" or made == "corridor")
    _ORDINARY[made](studio)
    return studio.scene(f"{kind}-{seed}", log_uniform(rng, *lux))
