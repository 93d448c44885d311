"""Scenes that are about their surfaces: bare, repeating, printed, glossy."""

from dataclasses import replace

import numpy as np

from edfv_ros.simulation.geometry import rotation_about
from edfv_ros.simulation.scenes.furniture import back_wall, float_by, hang_pictures, on_plane, stand, table
from edfv_ros.simulation.scenes.shapes import Can, Card, Ellipsoid
from edfv_ros.simulation.scenes.studio import Studio
from edfv_ros.simulation.scenes.surfaces import Surface, log_uniform

_REPEATS = ("checks", "weave", "grating", "dots", "tiles", "fabric", "grating", "checks")
_PRINT = ("print", "page", "print", "page", "barcode", "posters")
_BARE = ("clouds", "gradient", "clouds", "fine")


def _bare(studio: Studio, vergence_dpt: float) -> Surface:
    """Paint: hardly any contrast."""
    faint = {"contrast": (0.01, 0.12), "fine_contrast": (0.005, 0.03), "texel_px": (1.0, 4.0)}
    return studio.surface(vergence_dpt, _BARE, **faint)


def blank(studio: Studio) -> None:
    """Bare walls and bare things, few of them."""
    rng = studio.rng
    if rng.random() < 0.5:
        up = table(studio)
        plane = studio.walls[-1].coefficients
    else:
        back_wall(studio, _BARE)
    studio.walls[:] = [replace(wall, surface=_bare(studio, studio.far_dpt)) for wall in studio.walls]
    for vergence in studio.vergences(int(rng.integers(1, 6)), low=0.2, high=0.95):
        vergence = float(vergence)
        size_m = studio.size_m(vergence, 0.15, 0.5)
        if len(studio.walls) > 1:
            foot = on_plane(studio, plane, rng.uniform(-0.8, 0.8), vergence)
            studio.shadow(foot, size_m)
            stand(studio, foot, up, size_m, _bare(studio, vergence))
        else:
            float_by(studio, studio.point(rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), vergence), size_m)
            if rng.random() < 0.7:
                studio.things[-1] = replace(studio.things[-1], surface=_bare(studio, vergence))
    if rng.random() < 0.4:
        hang_pictures(studio, 1)


def _repeating(studio: Studio, vergence_dpt: float) -> Surface:
    """Checks, weaves and gratings with periods of about 2 to 24 pixels."""
    fine = {"contrast": (0.4, 1.5), "fine_contrast": (0.1, 0.5), "texel_px": (0.4, 1.6)}
    return studio.surface(vergence_dpt, _REPEATS, **fine)


def repeats(studio: Studio) -> None:
    """Fine repeated patterns on walls and things."""
    rng = studio.rng
    if rng.random() < 0.5:
        table(studio)
    else:
        back_wall(studio, _REPEATS)
    studio.walls[:] = [
        replace(wall, surface=_repeating(studio, float(wall.coefficients @ [0.0, 0.5 * studio.bottom, 1.0])))
        for wall in studio.walls
    ]
    for vergence in studio.vergences(int(rng.integers(4, 10))):
        vergence = float(vergence)
        float_by(
            studio,
            studio.point(rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9), vergence),
            studio.size_m(vergence, 0.25, 0.6),
        )
        studio.things[-1] = replace(studio.things[-1], surface=_repeating(studio, vergence))


def prints(studio: Studio) -> None:
    """Text in many sizes: pages on a desk or posters in the air."""
    rng = studio.rng
    paper = {"contrast": (0.4, 1.0), "fine_contrast": (0.05, 0.4), "texel_px": (0.3, 2.0)}
    flat = rng.random() < 0.5
    if flat:
        up = table(studio)
        plane = studio.walls[-1].coefficients
        lying = np.stack([studio.walls[-1].axes()[0], studio.walls[-1].axes()[1], -up], axis=1)
    else:
        back_wall(studio, _PRINT)
    for vergence in studio.vergences(int(rng.integers(6, 12)), high=0.95 if flat else 1.0):
        vergence = float(vergence)
        half = 0.5 * studio.size_m(vergence, 0.3, 0.7)
        surface = studio.surface(vergence, _PRINT, **paper)
        surface = replace(surface, tone=float(rng.uniform(0.4, 0.75)))
        card = Card(half * rng.uniform(0.65, 1.0), half)
        across = rng.uniform(-0.9, 0.9)
        if flat and rng.random() < 0.6:
            at = on_plane(studio, plane, across, vergence) + up * half * 0.02 * (1 + len(studio.things))
            studio.add(card, at, lying @ rotation_about([0.0, 0.0, rng.normal(0.0, 0.5)]), surface)
        else:
            at = studio.point(across, rng.uniform(-0.8, 0.8), vergence)
            studio.add(card, at, studio.turned(0.4), surface)


def gloss(studio: Studio) -> None:
    """Shiny balls and cans under lamps, and small glints far brighter than white."""
    rng = studio.rng
    up = table(studio)
    plane = studio.walls[-1].coefficients
    if rng.random() < 0.6:
        ground = studio.walls[-1]
        studio.walls[-1] = replace(ground, surface=ground.surface.shiny(log_uniform(rng, 0.1, 1.0), 20.0))
    for vergence in studio.vergences(int(rng.integers(7, 12)), high=0.97):
        vergence = float(vergence)
        foot = on_plane(studio, plane, rng.uniform(-0.9, 0.9), vergence)
        size_m = studio.size_m(vergence, 0.18, 0.4)
        shiny = studio.surface(vergence).shiny(log_uniform(rng, 0.5, 30.0), log_uniform(rng, 30.0, 1500.0))
        studio.shadow(foot, size_m)
        half = 0.5 * size_m * rng.uniform(0.6, 1.0)
        if rng.random() < 0.6:
            axes = (half, half * rng.uniform(0.6, 1.2), half)
            studio.add(Ellipsoid(axes), foot + up * axes[1], studio.turned(0.5), shiny)
        elif rng.random() < 0.7:
            lying = rotation_about([0.0, 0.0, rng.choice([0.0, np.pi / 2])])
            studio.add(Can(0.6 * half, half), foot + up * half, studio.turned(0.4) @ lying, shiny)
        else:
            stand(studio, foot, up, size_m, shiny)
    for vergence in studio.vergences(int(rng.integers(2, 9))):
        vergence = float(vergence)
        radius = 0.5 * log_uniform(rng, 0.8, 3.0) * studio.pixel_m(vergence)
        at = studio.point(rng.uniform(-0.95, 0.95), rng.uniform(-0.95, 0.95), vergence)
        studio.add(Ellipsoid((radius,) * 3), at, np.eye(3), studio.lamp(vergence, log_uniform(rng, 2.0, 30.0)))
