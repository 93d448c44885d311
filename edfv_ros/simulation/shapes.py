"""Ray casting of simple solids and cards: where a pixel's ray meets them and how their surface is parametrised."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hits:
    """Where rays meet a surface; every array is float32 [H, W] but for ``hit``.

    Attributes:
        hit: bool [H, W].
        depth_m: z along the optical axis; meaningless where ``hit`` is false.
        u_m, v_m: coordinates on the surface.
        normal: [H, W, 3] in the camera frame, towards the camera.
    """

    hit: NDArray[np.bool_]
    depth_m: Image
    u_m: Image
    v_m: Image
    normal: Image


class Shape(Protocol):
    """A surface in the camera frame (x right, y down, z forward, metres)."""

    def intersect(self, x: Image, y: Image) -> Hits:
        """Meet the rays ``(x, y, 1)``, normalised image coordinates [H, W]."""
        ...


@dataclass(frozen=True, slots=True)
class Pose:
    """Local axes (columns of ``rotation``) at ``centre_m``, in the camera frame."""

    centre_m: NDArray[np.float64]
    rotation: NDArray[np.float64]

    def rays(self, x: Image, y: Image) -> tuple[NDArray[np.float64], Image]:
        """Origin [3] and directions [H, W, 3] of the camera's rays in local axes."""
        rotation = self.rotation.astype(np.float32)
        direction = x[..., None] * rotation[0] + y[..., None] * rotation[1] + rotation[2]
        return -self.rotation.T @ self.centre_m, direction


@dataclass(frozen=True, slots=True)
class Planes:
    """The nearest of several unbounded planes: walls, floors, tables.

    Args:
        coefficients: [N, 3]; plane ``p`` holds the points with ``p . P = 1``, so its vergence at the image point
            ``(x, y)`` is ``p . (x, y, 1)``.
    """

    coefficients: NDArray[np.float64]

    def nearest(self, x: Image, y: Image) -> NDArray[np.intp]:
        """Index of the plane that each ray meets first, [H, W]."""
        return np.argmax(self._vergence_dpt(x, y), axis=0)

    def _vergence_dpt(self, x: Image, y: Image) -> Image:
        return np.stack([(p[0] * x + p[1] * y + p[2]).astype(np.float32) for p in self.coefficients])

    def intersect(self, x: Image, y: Image) -> Hits:
        vergence = self._vergence_dpt(x, y)
        index = np.argmax(vergence, axis=0)
        depth = 1.0 / np.maximum(vergence.max(axis=0), 1e-3)
        point = np.stack([x * depth, y * depth, depth], axis=-1)
        u, v = np.zeros_like(depth), np.zeros_like(depth)
        normal = np.zeros((*depth.shape, 3), np.float32)
        for number, p in enumerate(self.coefficients):
            here = index == number
            first, second, out = plane_axes(p)
            u[here] = point[here] @ first.astype(np.float32)
            v[here] = point[here] @ second.astype(np.float32)
            normal[here] = out
        return Hits(np.ones(depth.shape, bool), depth, u, v, normal)


def plane_axes(coefficients: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Two axes in the plane (the first as level as can be) and its normal towards the camera."""
    away = coefficients / np.linalg.norm(coefficients)
    helper = np.array([0.0, 1.0, 0.0]) if abs(away[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    first = np.cross(helper, away)
    first /= np.linalg.norm(first)
    return first, np.cross(away, first), -away


@dataclass(frozen=True, slots=True)
class Card:
    """A flat rectangle or ellipse in the local xy plane, facing local -z."""

    pose: Pose
    half_width_m: float
    half_height_m: float
    round: bool = False

    def intersect(self, x: Image, y: Image) -> Hits:
        origin, direction = self.pose.rays(x, y)
        depth = (-origin[2] / direction[..., 2]).astype(np.float32)
        u = (origin[0] + depth * direction[..., 0]).astype(np.float32)
        v = (origin[1] + depth * direction[..., 1]).astype(np.float32)
        a, b = np.abs(u) / self.half_width_m, np.abs(v) / self.half_height_m
        inside = a**2 + b**2 <= 1.0 if self.round else np.maximum(a, b) <= 1.0
        normal = np.broadcast_to(-self.pose.rotation[:, 2].astype(np.float32), (*depth.shape, 3))
        return Hits(inside & (depth > 0), depth, u, v, normal)


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid with local half axes."""

    pose: Pose
    half_axes_m: tuple[float, float, float]

    def intersect(self, x: Image, y: Image) -> Hits:
        origin, direction = self.pose.rays(x, y)
        axes = np.asarray(self.half_axes_m, np.float32)
        o, d = (origin / axes).astype(np.float32), direction / axes
        a, b, c = (d * d).sum(-1), d @ o, float(o @ o) - 1.0
        discriminant = b * b - a * c
        depth = (-b - np.sqrt(np.maximum(discriminant, 0.0))) / a
        unit = o + depth[..., None] * d
        longitude = np.arctan2(unit[..., 0], -unit[..., 2])
        latitude = np.arcsin(np.clip(unit[..., 1], -1.0, 1.0))
        normal = (unit / axes) @ self.pose.rotation.T.astype(np.float32)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
        mean_axis = float(axes.mean())
        return Hits((discriminant > 0) & (depth > 0), depth, longitude * mean_axis, latitude * mean_axis, normal)


@dataclass(frozen=True, slots=True)
class Box:
    """A cuboid; each face continues the texture at an offset of its own."""

    pose: Pose
    half_sides_m: tuple[float, float, float]

    def intersect(self, x: Image, y: Image) -> Hits:
        origin, direction = self.pose.rays(x, y)
        half = np.asarray(self.half_sides_m, np.float32)
        inverse = 1.0 / np.where(np.abs(direction) < 1e-9, np.float32(1e-9), direction)
        towards = (-np.sign(direction) * half - origin.astype(np.float32)) * inverse
        away = (np.sign(direction) * half - origin.astype(np.float32)) * inverse
        face = np.argmax(towards, axis=-1)
        depth = towards.max(axis=-1)
        point = origin.astype(np.float32) + depth[..., None] * direction
        outward = -np.sign(np.take_along_axis(direction, face[..., None], axis=-1))
        along = np.choose(face, [point[..., 2], point[..., 0], -point[..., 0]]) * outward[..., 0]  # never mirrored
        u = along + face * np.float32(0.37)
        v = np.choose(face, [point[..., 1], point[..., 2], point[..., 1]]) + face * np.float32(0.21)
        normal = outward * self.pose.rotation.T.astype(np.float32)[face]
        hit = (depth < away.min(axis=-1)) & (depth > 0)
        return Hits(hit, depth, u.astype(np.float32), v.astype(np.float32), normal)


@dataclass(frozen=True, slots=True)
class Cylinder:
    """An upright can: axis along local y, flat top at local -y."""

    pose: Pose
    radius_m: float
    half_height_m: float

    def intersect(self, x: Image, y: Image) -> Hits:
        origin, direction = self.pose.rays(x, y)
        o = origin.astype(np.float32)
        dx, dy, dz = direction[..., 0], direction[..., 1], direction[..., 2]
        a, b = dx * dx + dz * dz, dx * o[0] + dz * o[2]
        discriminant = b * b - a * (float(o[0] ** 2 + o[2] ** 2) - self.radius_m**2)
        root = np.sqrt(np.maximum(discriminant, 0.0))
        side_in, side_out = (-b - root) / a, (-b + root) / a
        inverse = 1.0 / np.where(np.abs(dy) < 1e-9, np.float32(1e-9), dy)
        cap_in = (-np.sign(dy) * self.half_height_m - o[1]) * inverse
        cap_out = (np.sign(dy) * self.half_height_m - o[1]) * inverse
        depth = np.maximum(side_in, cap_in)
        hit = (discriminant > 0) & (depth < np.minimum(side_out, cap_out)) & (depth > 0)
        point = o + depth[..., None] * direction
        on_side = side_in >= cap_in
        u = np.where(on_side, np.arctan2(point[..., 0], -point[..., 2]) * self.radius_m, point[..., 0])
        v = np.where(on_side, point[..., 1], point[..., 2] + np.float32(0.31))
        radial = np.stack([point[..., 0], np.zeros_like(depth), point[..., 2]], axis=-1) / np.float32(self.radius_m)
        cap = np.stack([np.zeros_like(depth), -np.sign(dy), np.zeros_like(depth)], axis=-1)
        normal = np.where(on_side[..., None], radial, cap) @ self.pose.rotation.T.astype(np.float32)
        return Hits(hit, depth, u.astype(np.float32), v.astype(np.float32), normal.astype(np.float32))
