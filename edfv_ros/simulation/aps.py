"""Camera frames: light gathered over an exposure, turned into electrons, noise and eight bits."""

import math
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from edfv_ros.errors import SimulationError
from edfv_ros.events import Frame
from edfv_ros.yaml_model import NotNegative, Part, Positive

_LEVELS = 255


class FrameModel(Part):
    """The frames of a camera. The defaults are those of a DAVIS346.

    A DAVIS has 51 dB of dynamic range in its frames and 0.5 % of fixed pattern (Brandli et al., IEEE JSSC 49, 2014);
    51 dB under ``full_well_electrons`` is the read noise. The full well is an estimate. So is the sensitivity: behind a
    lens of f/2 that passes 80 %, a pixel of 18.5 um with a fill factor of 22 % and a quantum efficiency of 0.35 that
    looks at a white sheet gathers some 5000 electrons per lux on the sheet and second, at 4e15 photons per lux, second
    and square metre.

    Attributes:
        rate_hz: frames per second; 0 for none.
        exposure_us: exposure; 0 chooses the one that brings the bright end of the scene to ``white_level``.
        longest_exposure_us: limit of that choice; what is missing is amplified.
        white_level: share of full scale at which the bright end of the scene comes to lie, where exposure and
            amplification can reach it.
        largest_gain: limit of the amplification of dark scenes.
        row_us: time from row to row of a rolling shutter; 0 for a global one.
        electrons_per_lux_s: electrons that a surface of radiance 1 gives a pixel, per lux on it and second.
        full_well_electrons: where a pixel saturates.
        read_noise_electrons: standard deviation of the read-out.
        fixed_pattern: standard deviation of each pixel's own sensitivity, relative.
    """

    rate_hz: NotNegative = 25.0
    exposure_us: NotNegative = 0.0
    longest_exposure_us: Positive = 10_000.0
    white_level: Annotated[float, Field(gt=0, le=1)] = 0.92
    largest_gain: Annotated[float, Field(ge=1)] = 8.0
    row_us: NotNegative = 0.0
    electrons_per_lux_s: Positive = 5000.0
    full_well_electrons: Positive = 18_000.0
    read_noise_electrons: NotNegative = 51.0
    fixed_pattern: NotNegative = 0.005

    @model_validator(mode="after")
    def _exposure_fits(self) -> "FrameModel":
        key = "exposure_us" if self.exposure_us else "longest_exposure_us"
        if self.rate_hz * getattr(self, key) > 1e6:
            raise ValueError(f"{key} = {getattr(self, key):g} does not fit between {self.rate_hz:g} frames per second")
        return self


class FrameSensor:
    """The frame side of a camera, set for one scene; the same seed gives the same frames.

    Attributes:
        exposure_us: what the automatic exposure chose, or the model's own.
        electrons_per_radiance: what a radiance of 1 gives a pixel over an exposure.
        electrons_per_level: electrons per grey level, the conversion gain.
    """

    def __init__(
        self,
        model: FrameModel,
        resolution: tuple[int, int],
        *,
        bright_radiance: float,
        illuminance_lux: float,
        seed: int,
    ) -> None:
        """Set exposure and amplification.

        Args:
            model: the camera.
            resolution: width and height in pixels.
            bright_radiance: bright end of the scene, e.g. a high percentile of its radiance.
            illuminance_lux: light on a surface of radiance 1.
            seed: of sensor and noise.

        Raises:
            SimulationError: there is no light.
        """
        if not (bright_radiance > 0 and illuminance_lux > 0):
            raise SimulationError(
                f"frames: radiance {bright_radiance:g} at {illuminance_lux:g} lux is no light: give both above 0"
            )
        self.model = model
        self._seed = seed
        rate = model.electrons_per_lux_s * illuminance_lux * 1e-6  # electrons per radiance and microsecond
        aim = model.white_level * model.full_well_electrons
        chosen_us = max(1.0, min(model.longest_exposure_us, aim / (rate * bright_radiance)))
        self.exposure_us = round(model.exposure_us or chosen_us)
        self.electrons_per_radiance = rate * self.exposure_us
        gain = min(model.largest_gain, max(1.0, aim / (self.electrons_per_radiance * bright_radiance)))
        self.electrons_per_level = model.full_well_electrons / gain / _LEVELS
        width, height = resolution
        pattern = np.random.default_rng([seed, 0xF1ED]).standard_normal((height, width), np.float32)
        self._response = np.maximum(0.0, 1.0 + model.fixed_pattern * pattern) * self.electrons_per_radiance

    def expose(self, radiance: NDArray[np.float32], timestamp_us: int) -> Frame:
        """The frame of a mean radiance [H, W] over an exposure from ``timestamp_us`` on, which seeds its noise."""
        rng = np.random.default_rng([self._seed, 0xF7A3E, timestamp_us])
        electrons = rng.poisson(np.maximum(radiance, 0.0) * self._response).astype(np.float32)
        np.minimum(electrons, self.model.full_well_electrons, out=electrons)
        electrons += np.float32(self.model.read_noise_electrons) * rng.standard_normal(electrons.shape, np.float32)
        grey = np.clip(np.round(electrons / self.electrons_per_level), 0, _LEVELS).astype(np.uint8)
        return Frame(timestamp_us, self.exposure_us, grey)

    def exposed_radiance(
        self, pictures: NDArray[np.float32], times_us: NDArray[np.float64], start_us: float
    ) -> NDArray[np.float32]:
        """Mean radiance [H, W] over an exposure, of pictures [K, H, W] that are linear in time between ``times_us``.

        With a rolling shutter each row has its own exposure, the first one from ``start_us`` on.

        Raises:
            SimulationError: the pictures do not cover the exposure.
        """
        starts = start_us + self.model.row_us * np.arange(pictures.shape[1])
        weights = weights_over_exposure(times_us, starts, starts + self.exposure_us)
        used = np.flatnonzero(weights.any(axis=0))
        mean = np.zeros(pictures.shape[1:], np.float32)
        for k in used:
            mean += weights[:, k, None] * pictures[k]
        return mean

    def readout_end_us(self, start_us: float) -> int:
        """When the last row of a frame that began at ``start_us`` has been exposed."""
        return math.ceil(start_us + self.exposure_us + self.model.row_us * (len(self._response) - 1))


def weights_over_exposure(times_us: ArrayLike, start_us: ArrayLike, end_us: ArrayLike) -> NDArray[np.float32]:
    """Weights whose sum with a signal's values at ``times_us`` is its mean from start to end, if it is linear between.

    Args:
        times_us: [K], ascending.
        start_us, end_us: [...], of one exposure or of each row's.

    Returns:
        float32 [..., K]; each row of weights adds up to 1.

    Raises:
        SimulationError: an exposure is empty, or begins before the first time or ends after the last one.
    """
    times = np.asarray(times_us, float)
    start, end = (np.asarray(edge, float)[..., None] for edge in np.broadcast_arrays(start_us, end_us))
    if np.any(end <= start):
        raise SimulationError(f"exposure from {np.min(start):.0f} to {np.min(end):.0f} us: it must end after it starts")
    if len(times) < 2 or np.min(start) < times[0] or np.max(end) > times[-1]:
        covered = f"{times[0]:.0f} to {times[-1]:.0f} us" if len(times) else "nothing"
        raise SimulationError(
            f"exposure from {np.min(start):.0f} to {np.max(end):.0f} us: the pictures cover {covered}; render it whole"
        )
    low, high = np.maximum(start, times[:-1]), np.minimum(end, times[1:])
    share = np.maximum(high - low, 0.0) / (end - start)
    part = ((low + high) / 2.0 - times[:-1]) / np.diff(times)  # where in its segment the middle of the overlap lies
    weights = np.zeros((*share.shape[:-1], len(times)))
    weights[..., :-1] += share * (1.0 - part)
    weights[..., 1:] += share * part
    return weights.astype(np.float32)
