"""Scenes that are made of things: cards, clutter, slanted planes, wires, plants."""

import numpy as np

from edfv_ros.simulation.geometry import Pose, rotation_about
from edfv_ros.simulation.scenes.furniture import LEVEL, back_wall, float_by, on_plane, stand, table
from edfv_ros.simulation.scenes.shapes import NO_CUT, Cable, Can, Card, Disc, Grid, Leaf, Rod
from edfv_ros.simulation.scenes.studio import Studio
from edfv_ros.simulation.scenes.surfaces import GROUNDS, WALLS, Pattern, Surface, log_uniform, random_pattern


def cards(studio: Studio) -> None:
    """Cards and discs hanging at all depths in front of a slanted wall."""
    rng = studio.rng
    back_wall(studio, WALLS)
    for vergence in studio.vergences(int(rng.integers(8, 13))):
        centre = studio.point(rng.uniform(-0.95, 0.95), rng.uniform(-0.95, 0.95), float(vergence))
        half = 0.5 * studio.size_m(float(vergence), 0.18, 0.45)
        card = Disc if rng.random() < 0.4 else Card
        studio.add(
            card(half * rng.uniform(0.8, 1.4), half), centre, studio.turned(0.6), studio.surface(float(vergence))
        )


def clutter(studio: Studio) -> None:
    """Dozens of things over one another, in the air or heaped on a table."""
    rng = studio.rng
    count = int(rng.integers(24, 41))
    if rng.random() < 0.5:
        back_wall(studio, WALLS)
        for vergence in studio.vergences(count):
            centre = studio.point(rng.uniform(-1.05, 1.05), rng.uniform(-1.05, 1.05), float(vergence))
            float_by(studio, centre, studio.size_m(float(vergence), 0.1, 0.4), turn_rad=1.2)
        return
    up = table(studio)
    plane = studio.walls[-1].coefficients
    for vergence in studio.vergences(count, high=0.95):
        foot = on_plane(studio, plane, rng.uniform(-1.05, 1.05), float(vergence))
        size_m = studio.size_m(float(vergence), 0.1, 0.35)
        if rng.random() < 0.3:
            float_by(studio, foot + 0.5 * up * size_m, size_m, turn_rad=1.2)
        else:
            stand(studio, foot, up, size_m, forms=("box", "can", "ball", "card", "bottle"))


def slants(studio: Studio) -> None:
    """Strongly slanted planes and cards, some of which cross."""
    rng = studio.rng
    half_width, half_height = studio.half_extent
    low, high = studio.far_dpt, studio.near_dpt
    middle, tilt = 0.5 * (low + high), 0.42 * (high - low)
    direction = rng.uniform(0.0, 2.0 * np.pi)
    form = rng.random()
    steep = tilt * rng.uniform(0.4, 1.0)
    if form < 0.45:  # one plane through nearly all depths
        turn = steep * np.array([np.cos(direction), np.sin(direction)])
        turn /= max(1.0, float(np.abs(turn).sum()) / tilt)
        studio.wall(turn[0] / half_width, turn[1] / half_height, middle, GROUNDS, middle)
    else:  # a corner, or a far plane with a ramp
        back = low + rng.uniform(0.02, 0.2) * (high - low)
        rise = 1.2 * steep / half_width
        studio.wall(rise, 0.0, back + 0.3 * steep, WALLS, middle)
        studio.wall(-rise * rng.uniform(0.5, 1.0), rng.uniform(-0.3, 0.3) * rise, back + 0.3 * steep, GROUNDS, middle)
    poses: list[Pose] = []
    for vergence in studio.vergences(int(rng.integers(4, 9)), low=0.35):
        centre = studio.point(rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), float(vergence))
        lean = rng.uniform(0.3, 1.25) * np.array([np.cos(direction), np.sin(direction), 0.0])
        direction += rng.uniform(0.5, 2.0)
        pose = Pose(centre, rotation_about(lean) @ rotation_about([0.0, 0.0, rng.uniform(-0.5, 0.5)]))
        half = 0.5 * studio.size_m(float(vergence), 0.35, 0.7)
        surface = studio.surface(float(vergence))
        if poses and rng.random() < 0.6:  # through the one before
            other = poses[-1]
            pose = Pose(other.apply([*rng.uniform(-0.3, 0.3, 2) * half, 0.0]), pose.rotation)
            for cut in _cuts(pose, other):
                studio.add(Card(half * 1.2, half, cut), pose.position_m, pose.rotation, surface)
        else:
            studio.add(Card(half * 1.2, half), pose.position_m, pose.rotation, surface)
        poses.append(pose)


def _cuts(pose: Pose, plane: Pose) -> list[tuple[float, float, float]]:
    """The two sides of ``plane``'s xy plane in the xy plane of ``pose``."""
    normal = plane.rotation[:, 2]
    a, b = (float(normal @ pose.rotation[:, axis]) for axis in (0, 1))
    c = float(normal @ (plane.position_m - pose.position_m))
    length = np.hypot(a, b)
    if length < 1e-3:
        return [NO_CUT]
    a, b, c = a / length, b / length, c / length
    return [(a, b, c), (-a, -b, -c)]


def wires(studio: Studio) -> None:
    """Wires, cables, grids and fences, half a pixel to four pixels thick, in front of a wall."""
    rng = studio.rng
    back_wall(studio, WALLS)
    for vergence in studio.vergences(int(rng.integers(6, 12)), low=0.15):
        vergence = float(vergence)
        pixel_m = studio.pixel_m(vergence)
        thick = log_uniform(rng, 0.5, 4.0) * pixel_m
        surface = _wire_surface(studio, vergence)
        across, down = rng.uniform(-0.8, 0.8, 2)
        centre = studio.point(across, down, vergence)
        half = 0.5 * studio.size_m(vergence, 0.6, 1.6)
        form = rng.random()
        if form < 0.4:
            lean = rng.uniform(-0.8, 0.8)
            axes = rotation_about([0.0, 0.0, rng.uniform(0.0, np.pi)]) @ rotation_about([lean, 0.0, 0.0])
            studio.add(Rod(0.5 * thick, half), centre, axes, surface)
        elif form < 0.65:
            cable = Cable(
                1.5 * half,
                rng.uniform(0.05, 0.7) * half,
                rng.uniform(0.0, 0.06) * half,
                half * rng.uniform(0.3, 1),
                thick,
            )
            studio.add(cable, centre, studio.turned(0.4), surface)
        else:
            pitch = rng.uniform(4.0, 24.0) * thick
            ratio = rng.choice([0.0, 1.0, 1.0, rng.uniform(1.0, 3.0)])
            size = 0.5 * studio.size_m(vergence, 0.3, 0.9)
            bar_y = thick if ratio > 0 else -1.0
            grid = Grid(size * rng.uniform(0.7, 1.5), size, pitch, pitch * max(ratio, 1.0), thick, bar_y)
            turn = rotation_about([0.0, 0.0, rng.choice([0.0, np.pi / 4, rng.uniform(0.0, np.pi)])])
            studio.add(grid, centre, studio.turned(0.4) @ turn, surface)
    for vergence in studio.vergences(2, low=0.2):
        if rng.random() < 0.5:
            centre = studio.point(rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), float(vergence))
            float_by(studio, centre, studio.size_m(float(vergence), 0.15, 0.3))


def _wire_surface(studio: Studio, vergence_dpt: float) -> Surface:
    """Dark or bright, against most walls."""
    rng, pixel_m = studio.rng, studio.pixel_m(vergence_dpt)
    tone = rng.uniform(0.02, 0.08) if rng.random() < 0.5 else rng.uniform(0.6, 0.9)
    coarse = random_pattern(rng, ("grain", "grating", "clouds"), pixel_m, log_uniform(rng, 0.05, 0.6))
    fine = random_pattern(rng, ("fine",), 0.5 * pixel_m, log_uniform(rng, 0.05, 0.5))
    return Surface(coarse, fine, float(tone), gloss=float(rng.choice([0.0, 0.3])))


def plants(studio: Studio) -> None:
    """Stems with leaves, some in pots, before a wall."""
    rng = studio.rng
    potted = rng.random() < 0.5
    if potted:
        up = table(studio)
        plane = studio.walls[-1].coefficients
    else:
        back_wall(studio, (*WALLS, "leaves", "leaves"))
        up = LEVEL
    for vergence in studio.vergences(int(rng.integers(3, 6)), low=0.12, high=0.95):
        vergence = float(vergence)
        across = rng.uniform(-0.8, 0.8)
        if potted:
            foot = on_plane(studio, plane, across, vergence)
            tall = studio.size_m(vergence, 0.35, 0.6)
            radius = 0.14 * tall
            studio.shadow(foot, 0.5 * tall)
            studio.add(Can(radius, 0.13 * tall), foot + up * 0.13 * tall, np.eye(3), studio.surface(vergence))
            foot = foot + up * 0.2 * tall
        else:
            foot = studio.point(across, rng.uniform(0.6, 1.2), vergence)
            tall = studio.size_m(vergence, 0.7, 1.3)
        _plant(studio, foot, up, tall, vergence)


def _plant(studio: Studio, foot: np.ndarray, up: np.ndarray, tall: float, vergence_dpt: float) -> None:
    rng = studio.rng
    pixel_m = studio.pixel_m(vergence_dpt)
    long = tall * rng.uniform(0.12, 0.25)
    wide, lean = long * rng.uniform(0.18, 0.55), rng.uniform(-0.4, 0.4)
    green = random_pattern(rng, ("veins",), 2.0 * long / 256.0, log_uniform(rng, 0.3, 1.0), upright=True)
    fine = random_pattern(rng, ("fine", "grain", "speckle"), 0.5 * pixel_m, log_uniform(rng, 0.2, 0.8))
    tone = log_uniform(rng, 0.12, 0.6)
    stem_surface = Surface(fine, fine, tone * rng.uniform(0.4, 1.2))
    for _ in range(int(rng.integers(1, 4))):
        drift = np.array([rng.uniform(-0.35, 0.35), 0.0, rng.uniform(-0.25, 0.25)])
        along = (up + drift) / np.linalg.norm(up + drift)
        length = tall * rng.uniform(0.6, 1.0)
        studio.add(
            Rod(max(0.012 * tall, 0.4 * pixel_m), 0.5 * length),
            foot + 0.5 * length * along,
            _y_along(along, 0.0),
            stem_surface,
        )
        turn = rng.uniform(0.0, 2.0 * np.pi)
        for place in np.sort(rng.uniform(0.25, 1.0, int(rng.integers(3, 8)))):
            turn += 2.4  # the golden angle, as leaves sit on a stem
            outward = np.array([np.cos(turn), rng.uniform(-0.9, 0.2), 0.7 * np.sin(turn)])
            outward /= np.linalg.norm(outward)
            scale = 1.1 - 0.5 * place
            centre = foot + place * length * along + scale * long * outward
            pattern = Pattern("veins", green.index, green.texel_m * scale, 0.0, (128.0, 128.0), green.contrast)
            surface = Surface(pattern, fine, tone * rng.uniform(0.7, 1.3), gloss=float(rng.choice([0.0, 0.15])))
            leaf = Leaf(wide * scale, long * scale, lean)
            studio.add(leaf, centre, _y_along(outward, rng.uniform(-0.9, 0.9)), surface)


def _y_along(direction: np.ndarray, roll_rad: float) -> np.ndarray:
    """Rotation with y along a direction, its xy plane facing the camera but for a roll about y."""
    away = np.array([0.0, 0.0, 1.0]) - direction[2] * direction
    away /= np.linalg.norm(away) + 1e-12
    axes = np.stack([np.cross(direction, away), direction, away], axis=1)
    return axes @ rotation_about([0.0, roll_rad, 0.0])
