"""A virtual rig: procedural scenes, thin-lens defocus, event pixels, a lens that obeys commands.

Independent of the volume and the estimators, so that it cannot flatter them. The runtime never imports it.
"""

from edfv_ros.simulation.event_model import EventSensor, PixelModel
from edfv_ros.simulation.preview import sweep_picture
from edfv_ros.simulation.recording import RecordingSummary, write_recording
from edfv_ros.simulation.render import DefocusRenderer
from edfv_ros.simulation.scene import SCENE_KINDS, Layer, Scene, make_scene
from edfv_ros.simulation.virtual_rig import VirtualRig

__all__ = [
    "SCENE_KINDS",
    "DefocusRenderer",
    "EventSensor",
    "Layer",
    "PixelModel",
    "RecordingSummary",
    "Scene",
    "VirtualRig",
    "make_scene",
    "sweep_picture",
    "write_recording",
]
