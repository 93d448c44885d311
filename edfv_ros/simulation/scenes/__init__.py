"""Procedural scenes: thousands of worlds of things and walls, seen from any place near their origin."""

from edfv_ros.simulation.scenes.kinds import SCENE_KINDS, make_scene
from edfv_ros.simulation.scenes.objects import ProceduralScene, Thing

__all__ = ["SCENE_KINDS", "ProceduralScene", "Thing", "make_scene"]
