"""The rig file: one description of camera, lens, sweep and volume."""

from edfv_ros.rig.loading import load_rig
from edfv_ros.rig.model import Breathing, Calibration, Camera, Intrinsics, Lens, Motor, Response, Rig, Sweep, Volume

__all__ = [
    "Breathing",
    "Calibration",
    "Camera",
    "Intrinsics",
    "Lens",
    "Motor",
    "Response",
    "Rig",
    "Sweep",
    "Volume",
    "load_rig",
]
