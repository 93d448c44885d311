"""A virtual rig: scenes, a lens, event pixels and a camera's motion, simulated from the light to the time stamps.

Independent of the volume and the estimators, so that it cannot flatter them. The runtime never imports it.
"""

from edfv_ros.simulation.event_model import EventSensor, PixelModel
from edfv_ros.simulation.lens_plan import LensPlan, plan_sweeps
from edfv_ros.simulation.lens_response import LENS_RESPONSES, LensResponse
from edfv_ros.simulation.motion import MOTIONS, CameraTrajectory, Motion
from edfv_ros.simulation.moving_things import ThingMotion, set_in_motion
from edfv_ros.simulation.pictures import PictureSource, ScenePictures, StackPictures
from edfv_ros.simulation.preview import sweep_strip, write_sweep_video
from edfv_ros.simulation.recording import RecordingSummary, record, write_recording
from edfv_ros.simulation.render import DefocusRenderer
from edfv_ros.simulation.scenes import SCENE_KINDS, ProceduralScene, make_scene
from edfv_ros.simulation.settings import SENSORS, SimulationSettings, load_settings
from edfv_ros.simulation.view import Canvas, Layer, Scene, View
from edfv_ros.simulation.virtual_rig import VirtualRig

__all__ = [
    "LENS_RESPONSES",
    "MOTIONS",
    "SCENE_KINDS",
    "SENSORS",
    "CameraTrajectory",
    "Canvas",
    "DefocusRenderer",
    "EventSensor",
    "Layer",
    "LensPlan",
    "LensResponse",
    "Motion",
    "PictureSource",
    "PixelModel",
    "ProceduralScene",
    "RecordingSummary",
    "Scene",
    "ScenePictures",
    "SimulationSettings",
    "StackPictures",
    "ThingMotion",
    "View",
    "VirtualRig",
    "load_settings",
    "make_scene",
    "plan_sweeps",
    "record",
    "set_in_motion",
    "sweep_strip",
    "write_recording",
    "write_sweep_video",
]
