"""Rigid placements: where a thing is and how it is turned."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Pose:
    """A rigid placement: local coordinates to those of the frame the thing stands in.

    Frames of cameras are x right, y down, z forward (REP 103, optical). The world of a scene is the camera's frame
    where a recording begins.

    Attributes:
        position_m: float64 [3], the local origin in the outer frame.
        rotation: float64 [3, 3], its columns are the local axes in the outer frame.
    """

    position_m: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))

    def __matmul__(self, inner: "Pose") -> "Pose":
        """The placement in the outer frame of what ``inner`` places in the local one."""
        return Pose(self.rotation @ inner.position_m + self.position_m, self.rotation @ inner.rotation)

    def inverse(self) -> "Pose":
        return Pose(-self.rotation.T @ self.position_m, self.rotation.T)

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """Local points [..., 3] in the outer frame."""
        return np.asarray(points, float) @ self.rotation.T + self.position_m


def rotation_about(vector_rad: ArrayLike) -> NDArray[np.float64]:
    """Rotation [3, 3] by ``|vector|`` radians about the vector's direction (Rodrigues' formula)."""
    vector = np.asarray(vector_rad, float)
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return rotation


def quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The unit quaternion x, y, z, w (w not negative) of a rotation [3, 3].

    From the eigenvector that Bar-Itzhack's method gives (J. Guidance 23, 2000), which no rotation makes unstable.
    """
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    vector = np.linalg.eigh(k)[1][:, -1]
    x, y, z, w = vector if vector[3] >= 0 else -vector
    return float(x), float(y), float(z), float(w)
