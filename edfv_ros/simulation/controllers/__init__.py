"""Lens controllers that people own, emulated byte for byte on pseudo-terminals.

They are written from the documents and know nothing of the drivers in :mod:`edfv_ros.lens`. docs/lenses.md says what
each does and what it does not.
"""

from edfv_ros.simulation.controllers.controller import Controller, Reply
from edfv_ros.simulation.controllers.faults import Faults
from edfv_ros.simulation.controllers.focus import FocusCurve
from edfv_ros.simulation.controllers.kinds import CONTROLLERS, make_controller
from edfv_ros.simulation.controllers.port import ControllerPort
from edfv_ros.simulation.controllers.serving import EmulatedController, emulate

__all__ = [
    "CONTROLLERS",
    "Controller",
    "ControllerPort",
    "EmulatedController",
    "Faults",
    "FocusCurve",
    "Reply",
    "emulate",
    "make_controller",
]
