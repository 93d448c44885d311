"""How a simulated rig departs from an ideal one: the simulation file."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from edfv_ros.errors import SimulationError
from edfv_ros.simulation.aps import FrameModel
from edfv_ros.simulation.event_model import PixelModel
from edfv_ros.simulation.imaging import Imaging
from edfv_ros.simulation.imu import ImuModel
from edfv_ros.simulation.lens_response import LensResponse
from edfv_ros.simulation.motion import Motion
from edfv_ros.simulation.moving_things import ThingMotion
from edfv_ros.simulation.readout import DAVIS346, DVXPLORER, Readout
from edfv_ros.yaml_model import Part, load_yaml_model


class SimulationSettings(Part):
    """The sections of a simulation file; what is left out has its default.

    Attributes:
        pixels: the event pixels.
        readout: from the pixels to the time stamps.
        imaging: the lens's pupil and aberrations.
        lens_response: from the commanded to the optical focus, beyond the rig's ``lens.delay_ms``.
        motion: of the camera.
        things: motion of the things in a procedural scene.
        frames: the camera's frames.
        imu: the camera's inertial unit.
    """

    pixels: PixelModel = PixelModel()
    readout: Readout = Readout()
    imaging: Imaging = Imaging()
    lens_response: LensResponse = LensResponse()
    motion: Motion = Motion()
    things: ThingMotion = ThingMotion()
    frames: FrameModel = FrameModel()
    imu: ImuModel = ImuModel()


def load_settings(path: str | Path) -> SimulationSettings:
    """Load and validate a simulation file.

    Raises:
        SimulationError: the file is missing, is not YAML, or holds something impossible; the message names file, key,
            value and what is allowed.
    """
    return load_yaml_model(path, SimulationSettings, "simulation", SimulationError, "config/simulation.yaml")


SENSORS: Mapping[str, tuple[PixelModel, Readout]] = MappingProxyType(
    {
        "davis346": (PixelModel(), DAVIS346),
        "dvxplorer": (PixelModel(), DVXPLORER),
        "ideal": (PixelModel.ideal(), Readout.ideal()),
    }
)
"""Pixels and read-outs by name. That the pixels of a DVXplorer are like those of a DAVIS346 is an assumption."""


def streams_of(settings: SimulationSettings) -> tuple[str, ...]:
    """What a simulated camera offers."""
    frames = ("frames",) if settings.frames.rate_hz else ()
    imu = ("imu",) if settings.imu.rate_hz else ()
    return ("events", "triggers", *frames, *imu)
