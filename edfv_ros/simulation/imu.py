"""The inertial sensor of a camera: what its gyroscope and accelerometer say about a trajectory."""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edfv_ros.errors import SimulationError
from edfv_ros.events import IMU_DTYPE
from edfv_ros.simulation.motion import CameraTrajectory
from edfv_ros.simulation.second_order import SecondOrder
from edfv_ros.yaml_model import NotNegative, Part, Positive

STANDARD_GRAVITY_M_S2 = 9.80665
_DOWN = np.array([0.0, 1.0, 0.0])  # in the world: the camera is level at time 0
_SETTLING_STEPS = 64


class ImuModel(Part):
    """An inertial sensor. The defaults are those of an InvenSense MPU-6500 in a DAVIS346.

    Its data sheet (PS-MPU-6500A-01, rev. 1.1) has 0.01 deg/s and 300 ug per root hertz, an ICM-20948's (DS-000189,
    rev. 1.3) has 0.015 deg/s and 230 ug. Rate, range, offsets and the noise behind the low-pass (0.10 deg/s, 2 to 3 mg)
    are those of recordings made with DAVIS346 cameras.

    Attributes:
        rate_hz: samples per second; 0 for no sensor.
        bandwidth_hz: half-power frequency of its low-pass, which also delays the samples; 0 for none.
        gyroscope_noise_deg_s: noise density in deg/s per root hertz.
        gyroscope_bias_deg_s: standard deviation of each axis's offset, which a seed picks.
        gyroscope_range_deg_s: full scale; a sample has 16 bits.
        accelerometer_noise_g: noise density in g per root hertz.
        accelerometer_bias_g: standard deviation of each axis's offset, which a seed picks.
        accelerometer_range_g: full scale; a sample has 16 bits.
    """

    rate_hz: Annotated[float, Field(ge=0, le=10_000)] = 1000.0
    bandwidth_hz: NotNegative = 92.0
    gyroscope_noise_deg_s: NotNegative = 0.01
    gyroscope_bias_deg_s: NotNegative = 0.5
    gyroscope_range_deg_s: Positive = 500.0
    accelerometer_noise_g: NotNegative = 300e-6
    accelerometer_bias_g: NotNegative = 0.02
    accelerometer_range_g: Positive = 4.0


class Imu:
    """A sensor at the optical centre of a camera that moves; the same seed gives the same samples.

    Axes are the camera's: x right, y down, z forward. A sensor at rest measures the force that holds it, so a level
    camera reads (0, -1, 0) g, as genuine recordings do.
    """

    def __init__(
        self, model: ImuModel, trajectory: CameraTrajectory, *, start_us: int, seed: int, epoch_us: int = 0
    ) -> None:
        """Begin to sample at ``start_us``, on a clock that shows ``epoch_us`` at the trajectory's time 0."""
        if model.rate_hz <= 0:
            raise SimulationError(f"imu rate_hz = {model.rate_hz:g}: there is no sensor to sample; give a rate above 0")
        self._model = model
        self._trajectory = trajectory
        self._start_us = start_us
        self._epoch_us = epoch_us
        self._rng = np.random.default_rng([seed, 0x14D0])
        deviation = np.repeat([model.gyroscope_bias_deg_s, model.accelerometer_bias_g], 3)
        self._bias = deviation * self._rng.standard_normal(6)
        density = np.repeat([model.gyroscope_noise_deg_s, model.accelerometer_noise_g], 3)
        self._noise = density * math.sqrt(model.rate_hz / 2.0)
        self._low_pass: SecondOrder | None = None
        self._next = 0
        if model.bandwidth_hz > 0:
            first = self._measure(np.arange(-_SETTLING_STEPS, 0))
            self._low_pass = SecondOrder(model.bandwidth_hz, math.sqrt(0.5), 1.0 / model.rate_hz, first[0])
            self._low_pass.filter(first)

    def advance(self, to_us: int) -> NDArray[np.void]:
        """Samples since the last call and before ``to_us``, IMU_DTYPE [N]."""
        end = max(self._next, math.ceil((to_us - self._start_us) * self._model.rate_hz * 1e-6 - 1e-9))
        number = np.arange(self._next, end)
        self._next = end
        samples = np.zeros(len(number), IMU_DTYPE)
        if not len(number):
            return samples
        signal = self._measure(number)
        if self._low_pass is not None:
            signal = self._low_pass.filter(signal)
        signal += self._bias
        samples["timestamp"] = self._start_us + np.floor(number * (1e6 / self._model.rate_hz)).astype(np.int64)
        samples["gyroscope_deg_s"] = _digitised(signal[:, :3], self._model.gyroscope_range_deg_s)
        samples["accelerometer_g"] = _digitised(signal[:, 3:], self._model.accelerometer_range_g)
        return samples

    def _measure(self, number: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rates in deg/s and specific force in g, with white noise, float64 [N, 6]."""
        time_s = (self._start_us - self._epoch_us) * 1e-6 + number / self._model.rate_hz
        rate = np.degrees(self._trajectory.angular_velocity_rad_s(time_s))
        force = self._trajectory.acceleration_m_s2(time_s) / STANDARD_GRAVITY_M_S2 - _DOWN
        force = np.einsum("nji,nj->ni", self._trajectory.rotation(time_s), force)
        return np.hstack([rate, force]) + self._noise * self._rng.standard_normal((len(number), 6))


def imu_samples(
    trajectory: CameraTrajectory, model: ImuModel, start_us: int, end_us: int, seed: int, *, epoch_us: int = 0
) -> NDArray[np.void]:
    """All samples from ``start_us`` to before ``end_us``, IMU_DTYPE [N]; see :class:`Imu`."""
    return Imu(model, trajectory, start_us=start_us, seed=seed, epoch_us=epoch_us).advance(end_us)


def _digitised(values: NDArray[np.float64], full_scale: float) -> NDArray[np.float64]:
    step = full_scale / 32768.0
    return np.clip(np.round(values / step), -32768, 32767) * step
