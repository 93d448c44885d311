"""Things that several kinds of scene are made of."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edfv_ros.simulation.geometry import rotation_about
from edfv_ros.simulation.scenes.shapes import Box, Can, Card, Disc, Ellipsoid, Rod
from edfv_ros.simulation.scenes.studio import Studio
from edfv_ros.simulation.scenes.surfaces import GROUNDS, LIVELY, THINGS, WALLS, Surface

Vector = NDArray[np.float64]

LEVEL = np.array([0.0, -1.0, 0.0])


def upright_axes(up: Vector, yaw_rad: float) -> Vector:
    """Rotation whose local y points down along ``-up`` and whose z is turned by ``yaw_rad`` from away."""
    side = np.cross(-up, np.array([np.sin(yaw_rad), 0.0, np.cos(yaw_rad)]))
    side /= np.linalg.norm(side)
    return np.stack([side, -up, np.cross(side, -up)], axis=1)


def stand(
    studio: Studio,
    foot: Vector,
    up: Vector,
    size_m: float,
    surface: Surface | None = None,
    forms: Sequence[str] = ("box", "box", "can", "ball", "card", "bottle", "stack"),
) -> None:
    """Put a thing of about ``size_m`` on ``foot``."""
    rng = studio.rng
    vergence = 1.0 / foot[2]
    surface = surface or studio.surface(vergence)
    rotation = upright_axes(up, rng.uniform(-0.9, 0.9))
    half = 0.5 * size_m * rng.uniform(0.6, 1.0, 3)
    form = str(rng.choice(np.asarray(forms)))
    if form == "box":
        studio.add(Box((half[0], half[1], half[2])), foot + up * half[1], rotation, surface)
    elif form == "can":
        studio.add(Can(0.7 * half[0], half[1]), foot + up * half[1], rotation, surface)
    elif form == "ball":
        studio.add(Ellipsoid((half[0], half[1], half[2])), foot + up * half[1], rotation, surface)
    elif form == "card":
        studio.add(Card(half[0], 1.3 * half[1]), foot + up * 1.3 * half[1], rotation, surface)
    elif form == "bottle":
        radius = 0.45 * half[0]
        studio.add(Can(radius, half[1]), foot + up * half[1], rotation, surface)
        neck = foot + up * (2.0 * half[1] + 0.45 * half[1])
        studio.add(Rod(0.4 * radius, 0.4 * half[1]), neck, rotation, surface)
    else:  # a stack of books
        base, number = foot, int(rng.integers(2, 5))
        for _ in range(number):
            thick = 0.22 * half[1] * rng.uniform(0.6, 1.3)
            turned = rotation @ rotation_about([0.0, rng.uniform(-0.4, 0.4), 0.0])
            studio.add(Box((half[0], thick, 0.7 * half[0])), base + up * thick, turned, studio.surface(vergence))
            base = base + up * 2.0 * thick


def float_by(
    studio: Studio, centre: Vector, size_m: float, names: Sequence[str] = THINGS, turn_rad: float = 0.7
) -> None:
    """Hang a solid or a card of about ``size_m`` in the air."""
    rng = studio.rng
    half = 0.5 * size_m * rng.uniform(0.5, 1.0, 3)
    surface = studio.surface(1.0 / centre[2], names)
    rotation = studio.turned(turn_rad)
    form = rng.integers(6)
    if form == 0:
        studio.add(Box((half[0], half[1], half[2])), centre, rotation, surface)
    elif form == 1:
        studio.add(Can(0.6 * half[0], half[1]), centre, rotation, surface)
    elif form == 2:
        studio.add(Ellipsoid((half[0], half[1], half[2])), centre, rotation, surface)
    elif form == 3:
        studio.add(Rod(0.15 * half[0], 1.6 * half[1]), centre, rotation, surface)
    else:
        card = Disc if form == 4 else Card
        studio.add(card(half[0], half[1]), centre, rotation, surface)


def back_wall(studio: Studio, names: Sequence[str], slant: float = 0.35) -> None:
    """One slanted wall about the farthest vergence that a scene may use."""
    half_width, half_height = studio.half_extent
    span = studio.near_dpt - studio.far_dpt
    turn = studio.rng.uniform(-slant, slant, 2) * min(studio.far_dpt, 0.25 * span)
    at = studio.far_dpt + float(np.abs(turn).sum())
    studio.wall(turn[0] / half_width, turn[1] / half_height, at, names, at)


def hang_pictures(studio: Studio, count: int) -> None:
    """Cards on the last wall."""
    rng, wall = studio.rng, studio.walls[-1]
    away = wall.coefficients / np.linalg.norm(wall.coefficients)
    first, second = wall.axes()
    for _ in range(count):
        ray = studio.point(rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.3), 1.0)
        vergence = float(wall.coefficients @ ray)
        if vergence < studio.limits_dpt[0]:
            continue
        size = 0.5 * studio.size_m(vergence, 0.15, 0.4)
        card = Card(size * rng.uniform(0.7, 1.3), size * rng.uniform(0.7, 1.3))
        frame = np.stack([first, second, away], axis=1)
        studio.add(card, ray / vergence * 0.995, frame, studio.surface(vergence, LIVELY))


def table(studio: Studio) -> Vector:
    """A wall and a table before it; returns the table's normal."""
    rng = studio.rng
    back_wall(studio, WALLS, slant=0.2)
    wall_dpt = float(studio.walls[-1].coefficients[2])
    _, half_height = studio.half_extent
    line = studio.top + half_height * rng.uniform(0.4, 0.9)
    front_dpt = studio.near_dpt * rng.uniform(0.88, 1.02)
    slope = (front_dpt - wall_dpt) / (studio.bottom - line)
    middle_dpt = 0.5 * (front_dpt + wall_dpt)
    studio.wall(rng.uniform(-0.1, 0.1) * slope, slope, wall_dpt - slope * line, GROUNDS, middle_dpt)
    plane = studio.walls[-1].coefficients
    return -plane / float(np.linalg.norm(plane))


def on_plane(studio: Studio, plane: Vector, across: float, vergence_dpt: float) -> Vector:
    """The point of a plane at a picture coordinate and a vergence; the plane must lean along y."""
    x = studio.point(across, 0.0, 1.0)[0]
    y = (vergence_dpt - plane[2] - plane[0] * x) / plane[1]
    return np.array([x, y, 1.0]) / vergence_dpt
