"""Scenes that are places: a table, a shelf, a room, a corridor."""

import numpy as np

from edfv_ros.simulation.geometry import rotation_about
from edfv_ros.simulation.scenes.furniture import LEVEL, back_wall, float_by, hang_pictures, on_plane, stand, table
from edfv_ros.simulation.scenes.shapes import Box, Can, Card, Ellipsoid, Rod
from edfv_ros.simulation.scenes.studio import Studio
from edfv_ros.simulation.scenes.surfaces import GROUNDS, WALLS


def tabletop(studio: Studio) -> None:
    """A table seen from above its edge, a wall behind it, things standing on it."""
    up = table(studio)
    rng = studio.rng
    plane = studio.walls[-1].coefficients
    for vergence in studio.vergences(int(rng.integers(6, 11)), high=0.97):
        foot = on_plane(studio, plane, rng.uniform(-0.9, 0.9), float(vergence))
        size_m = studio.size_m(float(vergence), 0.18, 0.4)
        studio.shadow(foot, size_m)
        stand(studio, foot, up, size_m)


def shelf(studio: Studio) -> None:
    """Boards with books, boxes and cans, seen from the side; open to a wall far behind, or with a back panel."""
    rng = studio.rng
    low, high = studio.far_dpt, studio.near_dpt
    front_dpt = low + (high - low) * rng.uniform(0.35, 0.8)
    turn = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.1, 1.0)
    axes = rotation_about([0.0, turn, 0.0]) @ rotation_about([rng.uniform(-0.15, 0.15), 0.0, 0.0])
    away = axes[:, 2]
    boards = int(rng.integers(2, 4))
    height = 2.0 * studio.half_extent[1] / front_dpt * rng.uniform(0.9, 1.3) / boards
    width = 3.0 * studio.half_extent[0] / front_dpt
    depth = height * rng.uniform(0.4, 1.0)
    # the shelf's axes stand at the front edge of its boards, in the middle
    origin = studio.point(0.0, 0.0, front_dpt)
    back_dpt = 1.0 / float(away @ (origin + depth * away)) * away[2]
    if rng.random() < 0.5 and studio.limits_dpt[0] < back_dpt:
        studio.walls.append(_facing_wall(studio, away, back_dpt))
    else:
        back_wall(studio, WALLS)
    thick = 0.03 * height * rng.uniform(0.6, 2.0)
    wood = studio.surface(front_dpt, ("wood", "wood", "grain", "scratches", "clouds"))
    for board in range(-1, boards + 1):
        y = (board - 0.5 * (boards - 1) + 0.5) * height
        centre = origin + axes @ np.array([0.0, y + thick, 0.5 * depth])
        studio.add(Box((0.5 * width, thick, 0.5 * depth)), centre, axes, wood)
        if board >= 0:
            _fill_board(studio, origin, axes, y, height - 2.0 * thick, depth, 0.5 * width, 36 // boards)


def _facing_wall(studio: Studio, away: np.ndarray, vergence_dpt: float):  # type: ignore[no-untyped-def]
    coefficients = away / away[2] * vergence_dpt
    studio.wall(coefficients[0], coefficients[1], coefficients[2], WALLS, vergence_dpt)
    return studio.walls.pop()


def _fill_board(
    studio: Studio,
    origin: np.ndarray,
    axes: np.ndarray,
    y: float,
    room: float,
    depth: float,
    reach: float,
    most: int,
) -> None:
    """Put at most ``most`` things from left to right on the board at ``y`` with ``room`` above it."""
    rng = studio.rng
    x = -reach + rng.uniform(0.0, 0.2) * reach
    full = len(studio.things) + most
    while x < 0.95 * reach and len(studio.things) < full:
        tall = room * rng.uniform(0.55, 0.95)
        z = rng.uniform(0.03, 0.4) * depth
        vergence = 1.0 / float((origin + axes @ np.array([x, y, z]))[2])
        kind = rng.random()
        if kind < 0.6:  # books in a row
            thick = 0.5 * room * rng.uniform(0.1, 0.4)
            half = (thick, 0.5 * tall, 0.28 * depth * rng.uniform(0.7, 1.0))
            lean = rotation_about([0.0, 0.0, rng.choice([0.0, 0.0, 0.15])])
            centre = origin + axes @ np.array([x + thick, y - half[1], z + half[2]])
            names = ("print", "clouds", "fabric", "gradient", "scratches", "barcode", "plaid", "grain")
            studio.add(Box(half), centre, axes @ lean, studio.surface(vergence, names))
            x += 2.02 * thick
        elif kind < 0.85:
            radius = min(0.5 * room * rng.uniform(0.2, 0.5), 0.3 * depth)
            tall = min(tall, room * rng.uniform(0.3, 0.9))
            centre = origin + axes @ np.array([x + radius, y - 0.5 * tall, z + radius])
            shape = Can(radius, 0.5 * tall) if rng.random() < 0.7 else Ellipsoid((radius, 0.5 * tall, radius))
            studio.add(shape, centre, axes @ rotation_about([0.0, rng.uniform(-1, 1), 0.0]), studio.surface(vergence))
            x += 2.3 * radius
        else:
            x += room * rng.uniform(0.1, 0.4)


def room(studio: Studio) -> None:
    """Into a room: floor, ceiling, side walls and a back wall, with furniture and balls."""
    rng = studio.rng
    low, high = studio.far_dpt, studio.near_dpt
    _hall(studio, low * rng.uniform(1.0, 1.15), rng.uniform(0.6, 1.05, 4))
    floor = studio.walls[0].coefficients
    hang_pictures(studio, int(rng.integers(1, 4)))
    for vergence in studio.vergences(int(rng.integers(7, 12))):
        across = rng.uniform(-0.85, 0.85)
        size_m = studio.size_m(float(vergence), 0.18, 0.4)
        if rng.random() < 0.35 or vergence > 0.95 * high:
            float_by(studio, studio.point(across, rng.uniform(-0.7, 0.5), float(vergence)), size_m)
        else:
            foot = on_plane(studio, floor, across, float(vergence))
            studio.shadow(foot, size_m)
            if rng.random() < 0.25:
                _stool(studio, foot, size_m)
            else:
                stand(studio, foot, LEVEL, size_m)


def _hall(studio: Studio, end_dpt: float, edge: np.ndarray) -> None:
    """Floor, ceiling, left, right and end wall; ``edge`` are their vergences at the picture's edge, of the nearest."""
    rng, near = studio.rng, studio.near_dpt
    yaw, middle = rng.uniform(-0.15, 0.15), 0.4 * near
    shift = yaw * end_dpt
    studio.wall(0.0, near * edge[0] / studio.bottom, 0.0, GROUNDS, middle)
    studio.wall(0.0, near * edge[1] / studio.top, 0.0, ("clouds", "grain", "wood", "tiles"), middle)
    studio.wall(near * edge[2] / studio.left, 0.0, shift, WALLS, middle)
    studio.wall(near * edge[3] / studio.right, 0.0, -shift, WALLS, middle)
    studio.wall(0.0, 0.0, end_dpt, WALLS, end_dpt)


def _stool(studio: Studio, foot: np.ndarray, size_m: float) -> None:
    """A seat on four legs."""
    vergence = 1.0 / float(foot[2])
    axes = rotation_about([0.0, studio.rng.uniform(-0.7, 0.7), 0.0])
    half, tall = 0.4 * size_m, 0.8 * size_m
    surface = studio.surface(vergence)
    studio.add(Box((half, 0.05 * size_m, half)), foot + LEVEL * tall, axes, surface)
    for x in (-0.8, 0.8):
        for z in (-0.8, 0.8):
            leg = foot + axes @ np.array([x * half, -0.5 * tall, z * half])
            studio.add(Rod(0.045 * size_m, 0.45 * tall), leg, axes, surface)


def corridor(studio: Studio) -> None:
    """Along a corridor that ends as far away as the sweep allows, with doors, pillars, boxes and lamps."""
    rng = studio.rng
    low, high = studio.limits_dpt[0], studio.near_dpt
    studio.far_dpt = float(low * rng.uniform(1.0, 1.5)) if low < 0.1 else studio.far_dpt
    _hall(studio, studio.far_dpt, rng.uniform(0.55, 1.05, 4))
    floor, ceiling, left, right, _ = (wall.coefficients for wall in studio.walls)
    door = studio.surface(0.5 * high)
    for vergence in studio.vergences(int(rng.integers(9, 15)), low=0.03, high=0.95):
        vergence = float(vergence)
        z = 1.0 / vergence
        wall = left if rng.random() < 0.5 else right
        # x of the wall where its vergence is this; y of the floor there
        x = (vergence - wall[2]) / wall[0] * z
        y_floor, y_ceiling = z * vergence / floor[1], z * vergence / ceiling[1]
        tall = y_floor - y_ceiling
        kind = rng.random()
        sideways = rotation_about([0.0, np.pi / 2, 0.0])
        if kind < 0.3:
            half = 0.33 * tall
            at = np.array([x * 0.985, y_floor - half, z])
            studio.add(Card(0.45 * half, half), at, sideways, door if rng.random() < 0.5 else studio.surface(vergence))
        elif kind < 0.5:
            radius = 0.05 * tall * rng.uniform(0.5, 1.5)
            middle = np.array([x - np.sign(x) * radius * 1.5, 0.5 * (y_floor + y_ceiling), z])
            studio.add(Can(radius, 0.5 * tall), middle, np.eye(3), studio.surface(vergence))
        elif kind < 0.85:
            size_m = tall * rng.uniform(0.2, 0.45)
            foot = np.array([x * rng.uniform(-0.9, 0.9), y_floor, z])
            studio.shadow(foot, size_m)
            stand(studio, foot, LEVEL, size_m)
        else:
            lamp = np.array([x * rng.uniform(-0.3, 0.3), y_ceiling * 0.97, z])
            flat = rotation_about([np.pi / 2, 0.0, 0.0])
            studio.add(Card(0.12 * tall, 0.05 * tall), lamp, flat, studio.lamp(vergence, rng.uniform(1.5, 6.0)))
