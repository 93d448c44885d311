"""The view of a rig, for those who place things in it: points by place in the picture and vergence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.rig import Rig
from edfv_ros.simulation.blender.job import BLENDER_KINDS, RenderJob

Vector = NDArray[np.float64]

_FARTHEST_M = 6.0  # of a scene, where the rig focuses beyond it


@dataclass(frozen=True)
class Studio:
    """Random numbers and the space in front of a camera.

    Points are in the camera's optical frame (x right, y down, z forward), in metres.

    Attributes:
        rig: whose view it is.
        rng: where every choice comes from.
        far_dpt, near_dpt: the vergences that a scene fills, a little within the sweep.
    """

    rig: Rig
    rng: np.random.Generator
    far_dpt: float
    near_dpt: float

    @classmethod
    def of(cls, job: RenderJob) -> "Studio":
        """The studio of a job: the same job gives the same numbers."""
        low, high = job.rig.sweep.vergence_min_dpt, job.rig.sweep.vergence_max_dpt
        far = max(low + 0.02 * (high - low), min(1.0 / _FARTHEST_M, low + 0.3 * (high - low)))
        rng = np.random.default_rng([job.seed, BLENDER_KINDS.index(job.kind)])
        return cls(job.rig, rng, far, high - 0.12 * (high - far))

    def dpt(self, nearness: float) -> float:
        """Vergence at 0 (far end of the scene) to 1 (near end)."""
        return self.far_dpt + nearness * (self.near_dpt - self.far_dpt)

    def spread_dpt(self, count: int, low: float = 0.0, high: float = 1.0) -> Vector:
        """``count`` random vergences, far to near, one in each equal part of ``low`` to ``high`` nearness."""
        edges = np.linspace(low, high, count + 1)
        return self.dpt(0.0) + self.rng.uniform(edges[:-1], edges[1:]) * (self.dpt(1.0) - self.dpt(0.0))

    def ray(self, x: float, y: float) -> Vector:
        """Direction with unit z of a place in the picture: -1 and 1 are its edges, y points down."""
        camera, k = self.rig.camera, self.rig.camera.intrinsics
        column = (x + 1.0) / 2.0 * camera.width_px - 0.5
        row = (y + 1.0) / 2.0 * camera.height_px - 0.5
        return np.array([(column - k.cx_px) / k.fx_px, (row - k.cy_px) / k.fy_px, 1.0])

    def point(self, x: float, y: float, dpt: float) -> Vector:
        """The point at a vergence and a place in the picture, see :meth:`ray`."""
        return self.ray(x, y) / dpt

    def sees(self, point: Vector, size_m: float) -> bool:
        """Whether something of this size about a point before the camera may be in the picture or its blur."""
        edge = np.maximum(np.abs(self.ray(1.0, 1.0)), np.abs(self.ray(-1.0, -1.0)))
        return bool(np.all(np.abs(point[:2]) < 1.3 * edge[:2] * point[2] + size_m))

    def scattered(self, dpt: float, spread: float = 0.85) -> Vector:
        """A point somewhere in the picture."""
        x, y = self.rng.uniform(-spread, spread, 2)
        return self.point(x, y, dpt)

    def metres(self, pixels: float, dpt: float) -> float:
        """Length of ``pixels`` at a vergence."""
        return pixels / self.rig.camera.intrinsics.fx_px / dpt

    def size_m(self, share: float, dpt: float) -> float:
        """Length of a ``share`` of the picture's height at a vergence, less where it would leave the sweep."""
        wanted = share * self.rig.camera.height_px / self.rig.camera.intrinsics.fy_px / dpt
        return min(wanted, 1.5 * (1.0 / dpt - 1.0 / self.rig.sweep.vergence_max_dpt))


@dataclass(frozen=True)
class Ground:
    """A plane ``normal . X = 1``; its vergence is linear over the picture: ``normal . ray``."""

    normal: Vector

    @classmethod
    def below(cls, studio: Studio, line_y: float, far_dpt: float, front_dpt: float) -> "Ground":
        """A floor that has ``far_dpt`` at height ``line_y`` of the picture and ``front_dpt`` at its lower edge."""
        line, front = studio.ray(0.0, line_y)[1], studio.ray(0.0, 1.0)[1]
        slope = (front_dpt - far_dpt) / (front - line)
        return cls(np.array([0.0, slope, far_dpt - slope * line]))

    @property
    def up(self) -> Vector:
        """Unit vector out of the plane, towards the camera's side."""
        return -self.normal / float(np.linalg.norm(self.normal))

    def foot(self, studio: Studio, x: float, dpt: float) -> Vector:
        """The point of a floor at a vergence and a horizontal place in the picture."""
        column = studio.ray(x, 0.0)[0]
        return np.array([column, (dpt - self.normal[2] - self.normal[0] * column) / self.normal[1], 1.0]) / dpt


def rotation(axis_z: ArrayLike, turn_rad: float) -> NDArray[np.float64]:
    """Rotation [3, 3] that lays z along ``axis_z`` and turns by ``turn_rad`` about it."""
    z = np.asarray(axis_z, float) / np.linalg.norm(axis_z)
    helper = np.array([0.0, 0.0, 1.0]) if abs(z[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    cosine, sine = np.cos(turn_rad), np.sin(turn_rad)
    return np.stack([cosine * x + sine * y, cosine * y - sine * x, z], axis=1)
