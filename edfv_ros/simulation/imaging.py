"""How a real lens departs from a thin lens with a disc aperture: the shape of its pupil, its aberrations, its corners.

Pupil coordinates are in radii of the nominal aperture, axes as in the picture (x right, y down).
"""

import functools
import math
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, field_validator

from edfv_ros.rig import Camera
from edfv_ros.simulation.view import Canvas, Image
from edfv_ros.yaml_model import Part


class Imaging(Part):
    """What the lens does to the light besides defocus by a disc; every 0 switches an effect off.

    A ray through the pupil at radius ``rho`` lands ``(d / 2) * rho + spherical_px * rho**3`` from where the chief ray
    lands, in the direction of its place in the pupil, with the signed blur diameter ``d``.

    Attributes:
        blades: sides of the iris, a regular polygon of the nominal disc's area; 0 for a disc.
        blade_rotation_deg: turn of the iris from x towards y; at 0 one corner lies on the x axis.
        cats_eye: shift of the front rim of the lens against the iris at the picture's farthest corner, in aperture
            radii towards the picture's centre, growing linearly with the field radius; the pupil is what the two have
            in common, and the rim is the smallest circle around the iris.
        natural_vignetting: the light falls off with the fourth power of the cosine of the field angle.
        spherical_px: transverse ray aberration at the rim of the pupil (third-order spherical aberration).
        field_curvature_dpt: change of the focus vergence at the picture's farthest corner, growing with the square of
            the field radius; positive focuses nearer there.
        residual_blur_px: standard deviation of the Gaussian blur that remains in focus.
    """

    blades: Annotated[int, Field(ge=0, le=12)] = 0
    blade_rotation_deg: float = 0.0
    cats_eye: Annotated[float, Field(ge=0, le=1.2)] = 0.0
    natural_vignetting: bool = False
    spherical_px: Annotated[float, Field(ge=-10, le=10)] = 0.0
    field_curvature_dpt: Annotated[float, Field(ge=-5, le=5)] = 0.0
    residual_blur_px: Annotated[float, Field(ge=0, le=5)] = 0.3

    @field_validator("blades")
    @classmethod
    def _an_iris_has_blades(cls, blades: int) -> int:
        if 0 < blades < 5:
            raise ValueError("an iris has 5 to 12 blades; 0 makes it a disc")
        return blades

    @property
    def symmetric(self) -> bool:
        """Whether a point looks the same on both sides of focus."""
        return self.blades % 2 == 0 and self.cats_eye == 0 and self.spherical_px == 0

    @property
    def rim_radius(self) -> float:
        """Radius of the smallest circle around the iris, in radii of the disc of the same area."""
        if self.blades == 0:
            return 1.0
        return math.sqrt(2.0 * math.pi / (self.blades * math.sin(2.0 * math.pi / self.blades)))

    def reach_px(self, largest_diameter_px: float) -> int:
        """Whole pixels beyond which no light of a point lands at blur diameters up to this one, either sign."""
        rim = self.rim_radius
        ray = rim * abs(largest_diameter_px) / 2.0 + abs(self.spherical_px) * rim**3
        return math.ceil(ray + 4.0 * self.residual_blur_px) + 2


def field_position(camera: Camera, x_px: ArrayLike, y_px: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place in the field: from the principal point, 1 the distance of the picture's farthest corner from it.

    Args:
        camera: says where the principal point is.
        x_px, y_px: pixel coordinates, the centre of the first pixel at 0; they broadcast.
    """
    k = camera.intrinsics
    across = max(k.cx_px + 0.5, camera.width_px - 0.5 - k.cx_px)
    down = max(k.cy_px + 0.5, camera.height_px - 0.5 - k.cy_px)
    corner = math.hypot(across, down)
    x, y = np.broadcast_arrays(np.asarray(x_px, float), np.asarray(y_px, float))
    return (x - k.cx_px) / corner, (y - k.cy_px) / corner


@functools.lru_cache(maxsize=8)
def illumination(camera: Camera, imaging: Imaging) -> Image:
    """Relative illumination of the sensor, 1 on the axis: natural vignetting and the part of the pupil that is left.

    Returns:
        float32 [H, W], read only. The natural vignetting is the cosine to the fourth of the angle to the axis.
    """
    share = pupil_share(imaging, *_field(camera))
    if imaging.natural_vignetting:
        x, y = Canvas(camera, 0).rays(1)
        share = share / (1.0 + x.astype(float) ** 2 + y.astype(float) ** 2) ** 2
    return _read_only(share)


@functools.lru_cache(maxsize=8)
def focus_shift_dpt(camera: Camera, imaging: Imaging) -> Image:
    """What field curvature adds to the focus vergence of each pixel, float32 [H, W], read only."""
    x, y = _field(camera)
    return _read_only(imaging.field_curvature_dpt * (x**2 + y**2))


def _field(camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return field_position(camera, np.arange(camera.width_px), np.arange(camera.height_px)[:, None])


def _read_only(values: NDArray[np.float64]) -> Image:
    image = values.astype(np.float32)
    image.flags.writeable = False
    return image


def iris_corners(imaging: Imaging) -> NDArray[np.float64]:
    """Corners [blades, 2] of the iris in the pupil, in order from x towards y."""
    angle = np.radians(imaging.blade_rotation_deg) + np.arange(imaging.blades) * 2.0 * np.pi / imaging.blades
    corners: NDArray[np.float64] = imaging.rim_radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return corners


def pupil_share(imaging: Imaging, field_x: ArrayLike, field_y: ArrayLike) -> NDArray[np.float64]:
    """Part of the iris that the front rim leaves open at places of the field (:func:`field_position`), exact."""
    x, y = np.broadcast_arrays(np.asarray(field_x, float), np.asarray(field_y, float))
    if imaging.cats_eye == 0:
        return np.ones(x.shape)
    shift_x, shift_y = -imaging.cats_eye * x, -imaging.cats_eye * y
    if imaging.blades == 0:
        half = np.minimum(np.hypot(shift_x, shift_y) / 2.0, 1.0)
        share: NDArray[np.float64] = 2.0 / np.pi * (np.arccos(half) - half * np.sqrt(1.0 - half**2))
        return share
    corners = iris_corners(imaging)
    area = np.zeros(x.shape)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        area += _sector_of_triangle(ax - shift_x, ay - shift_y, bx - shift_x, by - shift_y, imaging.rim_radius)
    return area / np.pi


def _sector_of_triangle(
    ax: NDArray[np.float64], ay: NDArray[np.float64], bx: NDArray[np.float64], by: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Signed area that the triangle of the origin, a and b shares with a circle around the origin.

    The edge is cut at the circle; the part within spans a triangle, the parts outside span sectors.
    """
    along_x, along_y = bx - ax, by - ay
    length = np.hypot(along_x, along_y)
    middle = -(ax * along_x + ay * along_y) / length**2
    half_chord = np.sqrt(np.maximum(radius**2 - ((ax * by - ay * bx) / length) ** 2, 0.0)) / length
    enter, leave = np.clip(middle - half_chord, 0.0, 1.0), np.clip(middle + half_chord, 0.0, 1.0)
    ex, ey = ax + enter * along_x, ay + enter * along_y
    lx, ly = ax + leave * along_x, ay + leave * along_y
    area: NDArray[np.float64] = (ex * ly - ey * lx) / 2.0
    for px, py, qx, qy in ((ax, ay, ex, ey), (lx, ly, bx, by)):
        area = area + radius**2 / 2.0 * np.arctan2(px * qy - py * qx, px * qx + py * qy)
    return area
