"""The shapes that things in a scene have, each in axes of its own (metres)."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

RECTANGLE, ELLIPSE, LEAF, GRID, CABLE, ELLIPSOID, BOX, CAN, ROD = range(9)
"""Codes of the shapes for :mod:`edfv_ros.simulation.scenes.casting`; those up to CABLE are flat."""

NUMBERS = 10
"""Numbers that describe a shape to the ray caster."""

NO_CUT = (0.0, 0.0, 1.0)


class Shape(Protocol):
    """A surface around the origin of its own axes."""

    CODE: ClassVar[int]

    @property
    def half_sides_m(self) -> tuple[float, float, float]:
        """Half sides of a box around the shape, along its axes."""
        ...

    def numbers(self) -> NDArray[np.float64]:
        """[NUMBERS], in the order that the ray caster expects."""
        ...


def _numbers(*values: float) -> NDArray[np.float64]:
    padded = np.zeros(NUMBERS)
    padded[: len(values)] = values
    return padded


@dataclass(frozen=True, slots=True)
class Card:
    """A flat rectangle or ellipse in the xy plane.

    Attributes:
        half_width_m, half_height_m: along x and y.
        round: an ellipse.
        cut: ``(a, b, c)`` keeps only the points with ``a x + b y <= c``: cards that cross are cut in two.
    """

    CODE: ClassVar[int] = RECTANGLE
    half_width_m: float
    half_height_m: float
    cut: tuple[float, float, float] = NO_CUT

    @property
    def half_sides_m(self) -> tuple[float, float, float]:
        return self.half_width_m, self.half_height_m, 0.0

    def numbers(self) -> NDArray[np.float64]:
        return _numbers(self.half_width_m, self.half_height_m, *self.cut)


@dataclass(frozen=True, slots=True)
class Disc(Card):
    """A flat ellipse in the xy plane."""

    CODE: ClassVar[int] = ELLIPSE


@dataclass(frozen=True, slots=True)
class Leaf:
    """A flat leaf in the xy plane with tips on the y axis, widest where ``1 - 4 lean y'`` vanishes near the middle.

    Attributes:
        half_width_m: about the largest distance from the y axis.
        half_length_m: from the middle to a tip.
        lean: -0.6 to 0.6, how far the widest part lies from the middle.
    """

    CODE: ClassVar[int] = LEAF
    half_width_m: float
    half_length_m: float
    lean: float = 0.0

    @property
    def half_sides_m(self) -> tuple[float, float, float]:
        return self.half_width_m * (1.0 + abs(self.lean)), self.half_length_m, 0.0

    def numbers(self) -> NDArray[np.float64]:
        return _numbers(self.half_width_m, self.half_length_m, *NO_CUT, self.lean)


@dataclass(frozen=True, slots=True)
class Grid:
    """Flat bars in the xy plane: a fence, a mesh, parallel strings.

    Attributes:
        half_width_m, half_height_m: of the whole.
        pitch_x_m, pitch_y_m: distance of the bars that run along y, and of those that run along x.
        bar_x_m, bar_y_m: how thick these are; a negative one leaves them out.
    """

    CODE: ClassVar[int] = GRID
    half_width_m: float
    half_height_m: float
    pitch_x_m: float
    pitch_y_m: float
    bar_x_m: float
    bar_y_m: float

    @property
    def half_sides_m(self) -> tuple[float, float, float]:
        return self.half_width_m, self.half_height_m, 0.0

    def numbers(self) -> NDArray[np.float64]:
        return _numbers(
            self.half_width_m, self.half_height_m, *NO_CUT, self.pitch_x_m, self.pitch_y_m, self.bar_x_m, self.bar_y_m
        )


@dataclass(frozen=True, slots=True)
class Cable:
    """A hanging cable in the xy plane: ``y = sag (x / half_width)^2 + wave sin(2 pi x / period)``.

    Attributes:
        half_width_m: half the distance of its ends.
        sag_m, wave_m, period_m: its form.
        thickness_m: its diameter.
    """

    CODE: ClassVar[int] = CABLE
    half_width_m: float
    sag_m: float
    wave_m: float
    period_m: float
    thickness_m: float

    @property
    def half_sides_m(self) -> tuple[float, float, float]:
        return self.half_width_m, abs(self.sag_m) + abs(self.wave_m) + self.thickness_m, 0.0

    def numbers(self) -> NDArray[np.float64]:
        _, half_height_m, _ = self.half_sides_m
        return _numbers(
            self.half_width_m, half_height_m, *NO_CUT, self.sag_m, self.wave_m, self.period_m, self.thickness_m
        )


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid; its surface is charted by longitude and latitude, with the seam at +z and the poles on y."""

    CODE: ClassVar[int] = ELLIPSOID
    half_axes_m: tuple[float, float, float]

    @property
    def half_sides_m(self) -> tuple[float, float, float]:
        return self.half_axes_m

    def numbers(self) -> NDArray[np.float64]:
        return _numbers(*self.half_axes_m)


@dataclass(frozen=True, slots=True)
class Box:
    """A cuboid; each face shows the texture at an offset of its own."""

    CODE: ClassVar[int] = BOX
    half_sides_m: tuple[float, float, float]

    def numbers(self) -> NDArray[np.float64]:
        return _numbers(*self.half_sides_m)


@dataclass(frozen=True, slots=True)
class Can:
    """A cylinder about the y axis with flat ends."""

    CODE: ClassVar[int] = CAN
    radius_m: float
    half_height_m: float

    @property
    def half_sides_m(self) -> tuple[float, float, float]:
        return self.radius_m, self.half_height_m, self.radius_m

    def numbers(self) -> NDArray[np.float64]:
        return _numbers(self.radius_m, self.half_height_m)


@dataclass(frozen=True, slots=True)
class Rod:
    """A cylinder about the y axis with round ends: wires, stems, legs.

    Attributes:
        radius_m: of the cylinder and its ends.
        half_length_m: from the middle to the centre of an end.
    """

    CODE: ClassVar[int] = ROD
    radius_m: float
    half_length_m: float

    @property
    def half_sides_m(self) -> tuple[float, float, float]:
        return self.radius_m, self.half_length_m + self.radius_m, self.radius_m

    def numbers(self) -> NDArray[np.float64]:
        return _numbers(self.radius_m, self.half_length_m)
