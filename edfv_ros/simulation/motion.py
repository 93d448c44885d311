"""How cameras and things move: sums of sinusoids and constant velocities, with exact derivatives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Camera
from edfv_ros.simulation.geometry import Pose, rotation_about
from edfv_ros.simulation.view import Trajectory
from edfv_ros.yaml_model import Part, Positive

_Speed = Annotated[float, Field(ge=0, le=20)]
Range = Annotated[tuple[_Speed, _Speed], Field(strict=False)]
Vector = NDArray[np.float64]

_TONES = 12  # sinusoids per band and axis
_FLOW_POINTS = 9  # along each side of the picture


class Oscillation(Part):
    """Random rotation and translation within a band of frequencies.

    Power falls towards higher frequencies as that of a constant speed per octave does: sway, tremor and floor vibration
    all have amplitudes that shrink with frequency.

    Attributes:
        low_hz, high_hz: the band.
        rotation_deg: RMS angle about each axis of the camera.
        translation_mm: RMS displacement along each axis of the world.
    """

    low_hz: Positive = 1.0
    high_hz: Annotated[float, Field(gt=0, le=1000)] = 2.0
    rotation_deg: Annotated[float, Field(ge=0, le=45)] = 0.0
    translation_mm: Annotated[float, Field(ge=0, le=1000)] = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> "Oscillation":
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz = {self.low_hz:g} must be below high_hz = {self.high_hz:g}")
        return self


class Motion(Part):
    """What moves the camera; the default is a camera that stands still.

    Attributes:
        forward_m_s: slowest and fastest constant speed along the optical axis at time 0; a seed picks one.
        drift_mm_s: RMS of a constant velocity along each axis, beside ``forward_m_s``.
        turn_deg_s: RMS of a constant turning rate about each axis.
        sway: slow balancing, of a person or of a robot on its wheels.
        tremor: the shaking of muscles.
        vibration: what floor, motors and tripods do.
    """

    forward_m_s: Range = (0.0, 0.0)
    drift_mm_s: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    turn_deg_s: Annotated[float, Field(ge=0, le=1000)] = 0.0
    sway: Oscillation = Oscillation(low_hz=0.2, high_hz=3.0)
    tremor: Oscillation = Oscillation(low_hz=8.0, high_hz=12.0)
    vibration: Oscillation = Oscillation(low_hz=10.0, high_hz=60.0)

    @model_validator(mode="after")
    def _slowest_first(self) -> "Motion":
        if self.forward_m_s[0] > self.forward_m_s[1]:
            raise ValueError(f"forward_m_s = {list(self.forward_m_s)}: give the slowest speed first")
        return self


MOTIONS: Mapping[str, Motion] = MappingProxyType(
    {
        "still": Motion(),
        "tripod": Motion(vibration=Oscillation(low_hz=10.0, high_hz=60.0, rotation_deg=0.0005, translation_mm=0.001)),
        "handheld": Motion(
            drift_mm_s=5.0,
            turn_deg_s=0.5,
            sway=Oscillation(low_hz=0.2, high_hz=3.0, rotation_deg=0.3, translation_mm=3.0),
            tremor=Oscillation(low_hz=8.0, high_hz=12.0, rotation_deg=0.015, translation_mm=0.02),
        ),
        "robot": Motion(
            forward_m_s=(0.1, 0.5),
            turn_deg_s=3.0,
            sway=Oscillation(low_hz=0.5, high_hz=3.0, rotation_deg=0.1, translation_mm=0.5),
            vibration=Oscillation(low_hz=10.0, high_hz=60.0, rotation_deg=0.01, translation_mm=0.03),
        ),
        "shake": Motion(
            drift_mm_s=50.0,
            turn_deg_s=10.0,
            sway=Oscillation(low_hz=1.0, high_hz=4.0, rotation_deg=3.0, translation_mm=10.0),
            tremor=Oscillation(low_hz=8.0, high_hz=12.0, rotation_deg=0.1, translation_mm=0.1),
        ),
    }
)
"""Motions by name.

Physiological tremor of the hand peaks at 6 to 12 Hz (Lakie et al., J. Physiol. 593, 2015; at 8 to 10 Hz while it holds
a force: Sutton and Sykes, J. Physiol. 191, 1967). Its amplitude here, about 1 deg/s and 8 mg RMS, is what the inertial
samples of a moving DAVIS346 vary by within a tenth of a second. The other amplitudes are choices: the sway of a
standing person, an indoor robot on hard floor, a tripod on a quiet floor, and a violent shake at some 30 deg/s.
"""


class CameraTrajectory:
    """The way of a camera under ``motion``; the same seed gives the same way. Identity at time 0.

    The rotation is a constant turn followed by an oscillating rotation vector ``p``: ``R(t) = exp(t w) exp(p(t))``.
    """

    def __init__(self, motion: Motion, seed: int) -> None:
        rng = np.random.default_rng([seed, 0x307104])
        drawn = rng.standard_normal((2, 3))
        self._turn_rad_s = math.radians(motion.turn_deg_s) * drawn[0]
        self._velocity_m_s = motion.drift_mm_s * 1e-3 * drawn[1]
        self._velocity_m_s[2] += rng.uniform(*motion.forward_m_s)
        bands = (motion.sway, motion.tremor, motion.vibration)
        self._angles = _Tones(rng, bands, [math.radians(band.rotation_deg) for band in bands])
        self._shifts = _Tones(rng, bands, [band.translation_mm * 1e-3 for band in bands])

    @property
    def moves(self) -> bool:
        """Whether there is any motion at all."""
        constant = np.any(self._turn_rad_s) or np.any(self._velocity_m_s)
        return bool(constant or self._angles.moves or self._shifts.moves)

    def pose(self, time_s: float) -> Pose:
        """Camera frame to world at one time."""
        shake = rotation_about(self._angles.value(np.asarray(time_s, float)))
        return Pose(self.position_m(time_s), rotation_about(time_s * self._turn_rad_s) @ shake)

    def position_m(self, time_s: ArrayLike) -> Vector:
        """Optical centre in the world, float64 [..., 3] at times [...]."""
        time = np.asarray(time_s, float)
        return time[..., None] * self._velocity_m_s + self._shifts.value(time)

    def velocity_m_s(self, time_s: ArrayLike) -> Vector:
        """Velocity of the optical centre in the world, float64 [..., 3]."""
        return self._velocity_m_s + self._shifts.rate(np.asarray(time_s, float))

    def acceleration_m_s2(self, time_s: ArrayLike) -> Vector:
        """Acceleration of the optical centre in the world, float64 [..., 3], without gravity."""
        return self._shifts.rate_of_rate(np.asarray(time_s, float))

    def rotation(self, time_s: ArrayLike) -> Vector:
        """Camera axes in the world, as columns, float64 [..., 3, 3]."""
        time = np.asarray(time_s, float)
        return _exponential(time[..., None] * self._turn_rad_s) @ _exponential(self._angles.value(time))

    def angular_velocity_rad_s(self, time_s: ArrayLike) -> Vector:
        """Angular velocity in the camera's own axes, float64 [..., 3]: what a gyroscope on it measures."""
        time = np.asarray(time_s, float)
        vector = self._angles.value(time)
        turn = np.einsum("...ji,j->...i", _exponential(vector), self._turn_rad_s)
        return turn + np.einsum("...ij,...j->...i", _right_jacobian(vector), self._angles.rate(time))


class _Tones:
    """Sums of sinusoids in three axes, 0 at time 0."""

    def __init__(self, rng: np.random.Generator, bands: tuple[Oscillation, ...], rms: list[float]) -> None:
        frequencies, amplitudes = [], []
        for band, amount in zip(bands, rms, strict=True):
            # One frequency from each of equal parts of the band on a log scale: no two axes share a rhythm.
            part = (np.arange(_TONES)[:, None] + rng.uniform(size=(_TONES, 3))) / _TONES
            frequency = band.low_hz * (band.high_hz / band.low_hz) ** part
            amplitude = 1.0 / frequency
            frequencies.append(frequency)
            amplitudes.append(amplitude * amount * np.sqrt(2.0 / np.sum(amplitude**2, axis=0)))
        self._phase = rng.uniform(0.0, 2 * np.pi, (len(bands) * _TONES, 3))
        self._amplitude = np.concatenate(amplitudes)
        self._omega = 2 * np.pi * np.concatenate(frequencies)
        used = np.any(self._amplitude, axis=1)
        self._phase, self._amplitude, self._omega = self._phase[used], self._amplitude[used], self._omega[used]
        self.moves = bool(np.any(used))

    def value(self, time_s: Vector) -> Vector:
        return np.sum(self._amplitude * (np.sin(self._at(time_s)) - np.sin(self._phase)), axis=-2)

    def rate(self, time_s: Vector) -> Vector:
        return np.sum(self._amplitude * self._omega * np.cos(self._at(time_s)), axis=-2)

    def rate_of_rate(self, time_s: Vector) -> Vector:
        return np.sum(-self._amplitude * self._omega**2 * np.sin(self._at(time_s)), axis=-2)

    def _at(self, time_s: Vector) -> Vector:
        return self._omega * time_s[..., None, None] + self._phase


@dataclass(frozen=True)
class ObjectMotion:
    """A thing that turns about a point and travels, for ever or to and fro. Identity at time 0.

    Attributes:
        pivot_m: float64 [3], the point of the thing, in the world at time 0, that the turn leaves in place.
        velocity_m_s: float64 [3], velocity of that point at the middle of its way.
        turn_rad_s: float64 [3], axis and rate of the turn there.
        sway_hz: 0 for constant velocities; else all motion goes to and fro with this frequency.
        phase_rad: where in its way a swaying thing is at time 0.
    """

    pivot_m: Vector = field(default_factory=lambda: np.zeros(3))
    velocity_m_s: Vector = field(default_factory=lambda: np.zeros(3))
    turn_rad_s: Vector = field(default_factory=lambda: np.zeros(3))
    sway_hz: float = 0.0
    phase_rad: float = 0.0

    def pose(self, time_s: float) -> Pose:
        progress_s = time_s
        if self.sway_hz > 0:
            omega = 2 * math.pi * self.sway_hz
            progress_s = (math.sin(omega * time_s + self.phase_rad) - math.sin(self.phase_rad)) / omega
        rotation = rotation_about(progress_s * np.asarray(self.turn_rad_s))
        position = self.pivot_m - rotation @ self.pivot_m + progress_s * np.asarray(self.velocity_m_s)
        return Pose(position, rotation)


def random_object_motion(
    rng: np.random.Generator,
    centre_m: ArrayLike,
    *,
    max_speed_m_s: float = 0.3,
    max_turn_deg_s: float = 60.0,
    sway_share: float = 0.5,
    sway_hz: tuple[float, float] = (0.5, 3.0),
) -> ObjectMotion:
    """A motion about ``centre_m``, the middle of a thing in the world.

    Args:
        rng: what decides.
        centre_m: the pivot, [3].
        max_speed_m_s, max_turn_deg_s: speed and turning rate are drawn from 0 to these, their directions from all.
        sway_share: share of motions that go to and fro; the others travel on.
        sway_hz: slowest and fastest of those.
    """
    directions = rng.standard_normal((2, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    speed, turn = rng.uniform(0.0, max_speed_m_s), math.radians(rng.uniform(0.0, max_turn_deg_s))
    frequency, phase = rng.uniform(*sway_hz), rng.uniform(0.0, 2 * math.pi)
    sways = rng.random() < sway_share
    return ObjectMotion(
        pivot_m=np.asarray(centre_m, float),
        velocity_m_s=speed * directions[0],
        turn_rad_s=turn * directions[1],
        sway_hz=frequency if sways else 0.0,
        phase_rad=phase if sways else 0.0,
    )


def displacement_px(
    trajectory: Trajectory,
    camera: Camera,
    depth_range_m: tuple[float, float],
    time_from_s: float,
    time_to_s: float,
) -> float:
    """Farthest that a picture point of a still scene moves between two times while the camera follows ``trajectory``.

    See :func:`flow_px`.
    """
    relative = trajectory.pose(time_to_s).inverse() @ trajectory.pose(time_from_s)
    return flow_px(relative, camera, depth_range_m)


def flow_px(relative: Pose, camera: Camera, depth_range_m: tuple[float, float]) -> float:
    """Farthest that a picture point moves when what is at ``X`` in the camera's frame goes to ``relative.apply(X)``.

    The largest over a grid of pixels from corner to corner, at the nearest and the farthest depth: in between, a point
    moves along the line that joins its two ends. Distortion is left out.

    Args:
        relative: motion of the points relative to the camera; for a thing that moves before a camera that moves it is
            ``camera(to).inverse() @ thing(to) @ thing(from).inverse() @ camera(from)``.
        camera: its resolution and intrinsics.
        depth_range_m: nearest and farthest depth before the motion; the farthest may be ``inf``.

    Returns:
        Pixels; ``inf`` where a point comes to lie beside or behind the camera.

    Raises:
        SimulationError: the depth range is empty or not in front of the camera.
    """
    near, far = depth_range_m
    if not 0 < near <= far:
        raise SimulationError(f"depth range {near:g} to {far:g} m: give a nearest depth above 0, then the farthest")
    k = camera.intrinsics
    columns = np.linspace(-0.5, camera.width_px - 0.5, _FLOW_POINTS)
    rows = np.linspace(-0.5, camera.height_px - 0.5, _FLOW_POINTS)
    x, y = np.meshgrid((columns - k.cx_px) / k.fx_px, (rows - k.cy_px) / k.fy_px)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    moved = rays @ relative.rotation.T + np.array([1.0 / near, 1.0 / far])[:, None, None, None] * relative.position_m
    if np.any(moved[..., 2] <= 0):
        return math.inf
    shift = (moved[..., :2] / moved[..., 2:] - rays[..., :2]) * (k.fx_px, k.fy_px)
    return float(np.sqrt(np.max(np.sum(shift**2, axis=-1))))


def _cross(vector: Vector) -> Vector:
    """Matrices [..., 3, 3] of the cross products with vectors [..., 3]."""
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    rows = [np.stack(row, axis=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, axis=-2)


def _exponential(vector: Vector) -> Vector:
    """Rotations [..., 3, 3] by rotation vectors [..., 3] (Rodrigues' formula)."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    cross = _cross(vector)
    versine = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2  # (1 - cos a) / a^2
    return np.eye(3) + np.sinc(angle / np.pi) * cross + versine * (cross @ cross)


def _right_jacobian(vector: Vector) -> Vector:
    """[..., 3, 3] from the rate of a rotation vector to the angular velocity in the turned axes.

    Sola et al., "A micro Lie theory for state estimation in robotics", 2018, eq. 143.
    """
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    cross = _cross(vector)
    versine = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    small = angle < 1e-3  # where angle - sin(angle) loses its digits
    safe = np.where(small, 1.0, angle)
    third = np.where(small, 1.0 / 6.0 - angle**2 / 120.0, (safe - np.sin(safe)) / safe**3)
    return np.eye(3) - versine * cross + third * (cross @ cross)
