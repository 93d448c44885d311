"""A rig in front of a scene: events and frames of whatever its lens and its camera do."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.events import Frame
from edfv_ros.rig import Rig
from edfv_ros.simulation.aps import FrameSensor
from edfv_ros.simulation.event_model import EventSensor
from edfv_ros.simulation.lens_plan import LensPlan
from edfv_ros.simulation.motion import CameraTrajectory, Motion
from edfv_ros.simulation.pictures import PictureSource, ScenePictures
from edfv_ros.simulation.readout import SensorReadout
from edfv_ros.simulation.settings import SimulationSettings
from edfv_ros.simulation.view import Image, Scene

_FRAME_STEP_US = 500.0  # between the pictures that a frame is the mean of


class VirtualRig:
    """The camera of ``rig`` behind the lens that made ``source``'s pictures; the same seed gives the same sensor.

    Attributes:
        source: the pictures.
        sensor: the event pixels.
        frames: the frame side of the sensor.
        readout: of the events.
    """

    def __init__(
        self, rig: Rig, source: PictureSource, settings: SimulationSettings | None = None, *, seed: int = 0
    ) -> None:
        settings = settings or SimulationSettings()
        self.rig = rig
        self.settings = settings
        self.seed = seed
        self.source = source
        self.sensor = EventSensor(rig.camera.resolution, settings.pixels, seed)
        self.readout = SensorReadout(rig.camera.resolution, settings.readout)
        self.frames = FrameSensor(
            settings.frames,
            rig.camera.resolution,
            bright_radiance=source.white_radiance,
            illuminance_lux=source.illuminance_lux,
            seed=seed,
        )

    @classmethod
    def of_scene(
        cls,
        rig: Rig,
        scene: Scene,
        settings: SimulationSettings | None = None,
        *,
        plan: LensPlan | None = None,
        seed: int = 0,
    ) -> "VirtualRig":
        """Put the rig in front of a scene.

        Args:
            rig: camera and lens.
            scene: what it looks at.
            settings: how the rig departs from an ideal one.
            plan: what the lens will do; without one any focus of the lens may be asked for, and the camera stands.
            seed: of sensor and motion.
        """
        settings = settings or SimulationSettings()
        trajectory = CameraTrajectory(settings.motion if plan else Motion(), seed)
        return cls(rig, ScenePictures(rig, scene, settings.imaging, trajectory, plan), settings, seed=seed)

    def illuminance_lux(self, vergences_dpt: ArrayLike, times_s: ArrayLike = 0.0) -> Image:
        """What the pixels see at each focus [K] and time [K], float32 [K, H, W]."""
        pictures = self.source.pictures(vergences_dpt, times_s)
        pictures *= np.float32(self.source.illuminance_lux)
        return pictures

    def events(self, vergences_dpt: NDArray[np.float64], times_us: NDArray[np.float64]) -> NDArray[np.void]:
        """Events, EVENT_DTYPE, while the focus goes through ``vergences_dpt`` [K] at ``times_us`` [K].

        Calls continue one another: each begins where the last one ended.
        """
        seen = self.illuminance_lux(vergences_dpt, times_us * 1e-6)
        fired, exact_us = self.sensor.expose(seen, times_us)
        return self.readout.read(fired, exact_us, float(times_us[-1]))

    def frame(self, start_us: float, times_us: NDArray[np.float64], vergences_dpt: NDArray[np.float64]) -> Frame:
        """The frame exposed from ``start_us`` on, of a focus that is linear between ``times_us`` [N]."""
        end_us = self.frames.readout_end_us(start_us)
        at_us = np.linspace(start_us, end_us, max(3, math.ceil((end_us - start_us) / _FRAME_STEP_US) + 1))
        pictures = self.source.pictures(np.interp(at_us, times_us, vergences_dpt), at_us * 1e-6)
        return self.frames.expose(self.frames.exposed_radiance(pictures, at_us, start_us), round(start_us))
