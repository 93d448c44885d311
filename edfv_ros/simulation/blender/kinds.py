"""The scenes: what stands where under which light, drawn from a studio's random numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edfv_ros.simulation.blender import objects
from edfv_ros.simulation.blender.calibration import calibration_layout
from edfv_ros.simulation.blender.materials import PATTERNS, Look, glowing, surface
from edfv_ros.simulation.blender.studio import Ground, Studio, Vector, rotation

_FROM_ABOVE = np.array([0.4, 1.0, 0.5])
_PERIODIC = ("checks", "stripes", "dots", "bricks")
_WORDS = ("FOCUS", "EVENT", "LENS", "DEPTH", "METRE", "LIGHT", "42", "SWEEP", "EDGE", "NORTH", "TEA", "1984", "SALT")


def tabletop(studio: Studio) -> None:
    """Things on a table in front of a wall."""
    rng = studio.rng
    objects.daylight(rng.uniform(0.3, 0.6), _sunbeam(studio), rng.uniform(0.5, 4.0))
    wall_dpt = studio.dpt(rng.uniform(0.02, 0.1))
    _wall(studio, wall_dpt, _look(studio, wall_dpt, pixels=(7, 16)))
    table = _floor(studio, rng.uniform(-0.45, -0.1), wall_dpt, studio.dpt(rng.uniform(0.8, 0.95)), _TABLES)
    _crowd(studio, table, int(rng.integers(6, 10)))


def shelf(studio: Studio) -> None:
    """Along a bookcase that recedes from the camera, with things hanging before it."""
    rng = studio.rng
    objects.daylight(rng.uniform(0.5, 0.8), _sunbeam(studio), 3.0)
    far_dpt, near_dpt = studio.dpt(rng.uniform(0.02, 0.1)), studio.dpt(rng.uniform(0.35, 0.5))
    view = min(2.5 * float(studio.ray(0.0, 1.0)[1] - studio.ray(0.0, -1.0)[1]), 0.75)
    near_dpt = min(near_dpt, far_dpt * (1.0 + view) / (1.0 - view))  # about a dozen boards' heights long
    ends_dpt = rng.permutation([far_dpt, near_dpt])
    left, right = studio.point(-1.0, 0.0, ends_dpt[0]), studio.point(1.0, 0.0, ends_dpt[1])
    length = float(np.linalg.norm(right - left))
    along, down = (right - left) / length, np.array([0.0, 1.0, 0.0])
    inwards = np.cross(along, down)
    axes = np.stack([along, down, inwards], axis=1)
    tall = studio.size_m(0.42, (far_dpt + near_dpt) / 2)
    front = left - 0.6 * tall * inwards
    look = _look(studio, studio.dpt(0.2), ("noise", "wood", "plain"), contrast=0.3)
    _flat(studio, inwards / float(inwards @ left), look)
    board = surface(_look(studio, studio.dpt(0.2), ("wood", "plain"), contrast=0.35), rng)
    covers = _covers(studio, 16)
    for level in np.arange(-4, 5):
        height = (level + 0.5) * 1.2 * tall
        middle = (left + right) / 2 - 0.3 * tall * inwards + height * down
        objects.put(objects.box([length, 0.04 * tall, 0.35 * tall], board), middle, axes)
        _books(studio, covers, front - 0.3 * length * along + (height - 0.04 * tall) * down, axes, 1.7 * length, tall)
    for dpt in studio.spread_dpt(2, 0.55, 1.0):
        thing = _solid(studio, dpt, 0.3)
        objects.put(thing, studio.scattered(dpt, 0.6), _any_turn(rng))


def clutter(studio: Studio) -> None:
    """Things at all depths and in all attitudes in the air before a wall."""
    rng = studio.rng
    objects.daylight(rng.uniform(0.4, 0.8), _sunbeam(studio), 2.0, (0.9, 0.95, 1.0))
    _wall(studio, studio.dpt(0.01), _look(studio, studio.dpt(0.01), pixels=(8, 16)))
    for dpt in studio.spread_dpt(int(rng.integers(12, 19)), 0.06, 1.0):
        objects.put(_solid(studio, dpt, rng.uniform(0.18, 0.36)), studio.scattered(dpt), _any_turn(rng))


def room(studio: Studio) -> None:
    """The corner of a furnished room: a floor, a back wall and one side wall, daylight from where the others miss."""
    rng = studio.rng
    side = rng.choice([-1.0, 1.0])
    beam = _sunbeam(studio)
    beam[0] = side * abs(beam[0])
    objects.daylight(rng.uniform(0.4, 0.7), beam, 2.0, (1.0, 0.97, 0.92))
    back_m = 1.0 / studio.dpt(rng.uniform(0.02, 0.08))
    right, low = studio.ray(1.0, 0.0)[0], studio.ray(0.0, 1.0)[1]
    floor = Ground(np.array([0.0, studio.near_dpt / low * rng.uniform(0.5, 0.8), 0.0]))
    top, bottom = studio.ray(0.0, -1.4)[1] * back_m, 1.0 / floor.normal[1]
    near, far = side * rng.uniform(0.2, 0.45) * right * back_m, -side * 2.0 * right * back_m
    back = [(near, top, back_m), (far, top, back_m), (far, bottom, back_m), (near, bottom, back_m)]
    beside = [(near, top, 0.0), (near, top, back_m), (near, bottom, back_m), (near, bottom, 0.0)]
    for corners, dpt in ((back, 1.0 / back_m), (beside, studio.dpt(0.2))):
        look = _look(studio, dpt, pixels=(6, 12), contrast=rng.uniform(0.25, 0.7))
        objects.sheet(corners, surface(look, rng))
    _flat(studio, floor.normal, _look(studio, studio.dpt(0.25), _TABLES))
    _crowd(studio, floor, int(rng.integers(6, 10)), spread=0.6)


def planes(studio: Studio) -> None:
    """Strongly tilted cards before a tilted wall and over a tilted floor."""
    rng = studio.rng
    objects.daylight(rng.uniform(0.5, 0.8), _sunbeam(studio), 2.0)
    wall_dpt = studio.dpt(0.12)
    _wall(studio, wall_dpt, _look(studio, wall_dpt, pixels=(7, 14)), turn=rng.choice([-1, 1]) * rng.uniform(0.3, 0.7))
    _floor(studio, rng.uniform(0.1, 0.4), studio.dpt(0.1), studio.dpt(rng.uniform(0.6, 0.9)), _TABLES)
    for dpt in studio.spread_dpt(int(rng.integers(6, 9)), 0.2, 0.95):
        size = studio.size_m(rng.uniform(0.35, 0.6), dpt)
        thing = objects.card(size * rng.uniform(0.7, 1.4), size, surface(_look(studio, dpt), rng))
        objects.put(thing, studio.scattered(dpt), _tilt(rng, rng.uniform(0.5, 1.1)))


def wires(studio: Studio) -> None:
    """Rods, rings, a fence and a plant, some thinner than a pixel."""
    rng = studio.rng
    objects.daylight(rng.uniform(0.3, 0.6), _sunbeam(studio), 1.0, (1.0, 0.97, 0.9))
    wall_dpt = studio.dpt(rng.uniform(0.01, 0.1))
    _wall(studio, wall_dpt, _look(studio, wall_dpt, ("cells", "noise", "blots", "marble"), (7, 14)))
    for dpt in studio.spread_dpt(int(rng.integers(7, 12)), 0.05, 1.0):
        other_dpt = dpt * rng.uniform(0.9, 1.1) if rng.random() < 0.5 else rng.choice(studio.spread_dpt(4))
        a, b = rng.uniform(-1.2, 1.2, 2)
        begin, end = ((a, -1.3), (b, 1.3)) if rng.random() < 0.7 else ((-1.3, a), (1.3, b))
        _stick(studio, begin, end, dpt, other_dpt, rng.choice([0.4, 0.7, 1.0, 1.5, 2.5, 4.0]))
    for dpt in studio.spread_dpt(3, 0.2, 1.0):
        size = studio.size_m(rng.uniform(0.25, 0.4), dpt)
        thickness = studio.metres(rng.choice([1.0, 1.5, 2.5, 4.0]), dpt)
        material = surface(_look(studio, dpt, pixels=(4, 8)), rng)
        objects.put(objects.ring(size / 2, thickness, material), studio.scattered(dpt, 0.7), _tilt(rng, 0.5))
    _fence(studio)
    _plant(studio)


def fine_texture(studio: Studio) -> None:
    """Periodic patterns of a few pixels on everything: what looks the same one period on."""
    rng = studio.rng
    objects.daylight(rng.uniform(0.5, 0.9), _sunbeam(studio), 2.0)
    wall_dpt = studio.dpt(rng.uniform(0.05, 0.2))
    _wall(studio, wall_dpt, _look(studio, wall_dpt, _PERIODIC, (3, 6), contrast=0.75))
    for index, dpt in enumerate(studio.spread_dpt(6, 0.25, 1.0)):
        material = surface(_look(studio, dpt, _PERIODIC, (3, 6), contrast=0.75), rng)
        if index % 2:
            size = studio.size_m(rng.uniform(0.4, 0.6), dpt)
            thing = objects.card(1.2 * size, size, material)
            objects.put(thing, studio.scattered(dpt), _tilt(rng, rng.uniform(0.0, 0.7)))
        else:
            name = str(rng.choice(["ball", "can", "ring", "box"]))
            thing = objects.solid(name, studio.size_m(rng.uniform(0.3, 0.45), dpt), rng, material)
            objects.put(thing, studio.scattered(dpt), _any_turn(rng))


def low_texture(studio: Studio) -> None:
    """Plain and nearly plain things on a table in lamp light, where only edges and shading tell depth."""
    rng = studio.rng
    objects.daylight(0.45, _FROM_ABOVE, 0.0)
    wall_dpt, low = studio.dpt(rng.uniform(0.02, 0.1)), {"contrast": 0.18, "saturation": 0.1}
    _wall(studio, wall_dpt, _look(studio, wall_dpt, ("noise", "ridges", "plain"), (14, 30), **low))
    front_dpt = studio.dpt(rng.uniform(0.8, 0.95))
    table = _floor(studio, rng.uniform(-0.4, 0.0), wall_dpt, front_dpt, ("noise", "wood", "plain"), **low)
    side = rng.choice([-1.0, 1.0])
    middle = table.foot(studio, 0.0, studio.dpt(0.35))
    reach = float(np.linalg.norm(middle))
    objects.lamp(0.7, middle + reach * (0.7 * table.up + [0.5 * side, 0.0, -0.5]), middle, 0.25 * reach)
    patterns = ("plain", "plain", "noise", "ridges", "stripes")
    _crowd(studio, table, int(rng.integers(5, 8)), patterns, pixels=(8, 16), contrast=0.2)


def glossy(studio: Studio) -> None:
    """Hard sun, deep shadows and highlights on dark, polished and metal things."""
    rng = studio.rng
    objects.daylight(rng.uniform(0.06, 0.15), _sunbeam(studio), 0.5, (0.8, 0.9, 1.0))
    wall_dpt = studio.dpt(rng.uniform(0.05, 0.15))
    _wall(studio, wall_dpt, _look(studio, wall_dpt, pixels=(7, 14), contrast=0.75))
    table = _floor(studio, rng.uniform(-0.3, 0.1), wall_dpt, studio.dpt(0.85), _TABLES, roughness=0.35, gloss=0.5)
    for dpt in studio.spread_dpt(int(rng.integers(6, 9)), 0.15, 0.95):
        metal = float(rng.random() < 0.35)
        look = _look(studio, dpt, grey=rng.uniform(0.08, 0.3) + 0.3 * metal, contrast=0.7)
        look = look.with_(roughness=rng.uniform(0.1, 0.35), gloss=0.6, metallic=metal)
        _stand(studio, table, dpt, look, rng.uniform(0.25, 0.4))


def calibration(studio: Studio) -> None:
    """An upright edge between two even radiances and a ball before it, at known places."""
    layout = calibration_layout(studio.rig)
    objects.daylight(1.0, _FROM_ABOVE, 0.0)
    wide = 20.0 / layout.wall_dpt
    for side, radiance in ((-1.0, layout.dark), (1.0, layout.bright)):
        place = np.array([0.0, 0.0, 1.0 / layout.wall_dpt])
        place[0] = layout.edge_x / layout.wall_dpt + side * wide / 2
        objects.put(objects.card(wide, wide, glowing(radiance)), place)
    grey = Look("plain", 1.0, grey=0.4, saturation=0.0, gloss=0.0)
    objects.put(objects.ball(layout.ball_radius_m, surface(grey, studio.rng)), layout.ball_m)


KINDS: dict[str, Callable[[Studio], None]] = {
    "tabletop": tabletop,
    "shelf": shelf,
    "clutter": clutter,
    "room": room,
    "planes": planes,
    "wires": wires,
    "fine_texture": fine_texture,
    "low_texture": low_texture,
    "glossy": glossy,
    "calibration": calibration,
}
"""What puts each kind of scene into Blender."""

_TABLES = ("noise", "blots", "wood", "cells", "cracks", "checks", "ridges")


def _look(
    studio: Studio,
    dpt: float,
    patterns: Sequence[str] = tuple(PATTERNS),
    pixels: tuple[float, float] = (5, 13),
    **changes: float,
) -> Look:
    """A random look with features of so many pixels at a vergence."""
    rng = studio.rng
    look = Look(
        str(rng.choice(patterns)),
        studio.metres(rng.uniform(*pixels), dpt),
        contrast=rng.uniform(0.35, 0.85),
        grey=rng.uniform(0.2, 0.5),
        hue=rng.random(),
        saturation=rng.uniform(0.0, 0.45),
        roughness=rng.uniform(0.4, 1.0),
        relief=rng.choice([0.0, 0.0, 0.3]),
    )
    return look.with_(**changes)


def _sunbeam(studio: Studio) -> Vector:
    """A way for the sun to shine: from behind the camera, from above and from a side."""
    rng = studio.rng
    return np.array([rng.choice([-1, 1]) * rng.uniform(0.3, 0.8), rng.uniform(0.5, 1.0), rng.uniform(0.7, 1.1)])


def _any_turn(rng: np.random.Generator) -> Vector:
    return rotation(rng.standard_normal(3), rng.uniform(0.0, 2.0 * np.pi))


def _tilt(rng: np.random.Generator, angle_rad: float) -> Vector:
    """Facing the camera, then tilted to some side, turned in its own plane."""
    side = rng.uniform(0.0, 2.0 * np.pi)
    away = np.sin(angle_rad)
    return rotation([away * np.cos(side), away * np.sin(side), np.cos(angle_rad)], rng.uniform(0.0, 2.0 * np.pi))


def _flat(studio: Studio, normal: Vector, look: Look) -> Any:
    return objects.plane(normal, surface(look, studio.rng), 6.0 / studio.far_dpt)


def _wall(studio: Studio, dpt: float, look: Look, turn: float | None = None) -> None:
    """A wall with ``dpt`` in the middle; its vergence changes by the share ``turn`` from there to the side edge."""
    share = studio.rng.uniform(-0.2, 0.2) if turn is None else turn
    middle_dpt = max(dpt, studio.far_dpt / (1.0 - abs(share)))
    _flat(studio, np.array([share * middle_dpt / studio.ray(1.0, 0.0)[0], 0.0, middle_dpt]), look)


def _floor(
    studio: Studio, line_y: float, far_dpt: float, front_dpt: float, patterns: Sequence[str], **changes: float
) -> Ground:
    """A floor from ``line_y`` of the picture downwards."""
    ground = Ground.below(studio, line_y, far_dpt, front_dpt)
    _flat(studio, ground.normal, _look(studio, (far_dpt + front_dpt) / 2, patterns, (6, 12), **changes))
    return ground


def _solid(studio: Studio, dpt: float, share: float) -> Any:
    """A random solid, ``share`` of the picture high."""
    rng = studio.rng
    name, size = str(rng.choice(objects.SOLIDS)), studio.size_m(share, dpt)
    return objects.solid(name, size, rng, surface(_look(studio, dpt), rng))


def _stand(studio: Studio, ground: Ground, dpt: float, look: Look, share: float, spread: float = 0.85) -> None:
    """A random solid on the ground."""
    rng = studio.rng
    thing = objects.solid(str(rng.choice(objects.SOLIDS)), studio.size_m(share, dpt), rng, surface(look, rng))
    foot = ground.foot(studio, rng.uniform(-spread, spread), dpt)
    objects.put(thing, foot, rotation(ground.up, rng.uniform(0.0, 2.0 * np.pi)))


def _crowd(
    studio: Studio,
    ground: Ground,
    count: int,
    patterns: Sequence[str] = (*PATTERNS, "plain"),
    spread: float = 0.85,
    **look: Any,
) -> None:
    """Solids on the ground, spread over all depths."""
    for dpt in studio.spread_dpt(count, 0.1, 0.9):
        _stand(studio, ground, dpt, _look(studio, dpt, patterns, **look), studio.rng.uniform(0.25, 0.45), spread)


def _books(studio: Studio, covers: list[Any], begin: Vector, axes: Vector, length_m: float, tall_m: float) -> None:
    """A row of books and gaps on a board, from ``begin`` along the first of ``axes``, where the camera sees it."""
    rng = studio.rng
    downwards = np.stack([axes[:, 1], axes[:, 0], -axes[:, 2]], axis=1)
    place = 0.0
    while place < length_m:
        width, height, deep = tall_m * rng.uniform((0.08, 0.6, 0.2), (0.3, 0.98, 0.28))
        place += width
        back = deep + rng.uniform(0.0, 0.06) * tall_m
        cover, ink = covers[int(rng.integers(len(covers)))]
        text = str(rng.choice(_WORDS))
        middle = begin + axes @ np.array([place - width / 2, -height / 2, back])
        if rng.random() < 0.2 or middle[2] < 1.0 / studio.near_dpt or not studio.sees(middle, height):
            continue
        objects.put(objects.box([0.48 * width, height / 2, deep], cover), middle, axes)
        spine = objects.lettering(text, 0.6 * width, ink)
        objects.put(spine, middle - axes[:, 2] * (deep + 0.002 * tall_m), downwards)


def _covers(studio: Studio, count: int) -> list[Any]:
    """Materials of books and of the print on them."""
    ink, gilt = surface(_INK, studio.rng), surface(_GILT, studio.rng)
    looks = [_look(studio, studio.dpt(0.25), ("plain", "plain", *PATTERNS), (4, 10)) for _ in range(count)]
    return [(surface(look, studio.rng), ink if look.grey > 0.3 else gilt) for look in looks]


_INK = Look("plain", 1.0, grey=0.04, saturation=0.0)
_GILT = Look("plain", 1.0, grey=0.75, hue=0.12, saturation=0.3)


def _stick(
    studio: Studio,
    begin: tuple[float, float],
    end: tuple[float, float],
    begin_dpt: float,
    end_dpt: float,
    radius_px: float,
) -> None:
    rng, dpt = studio.rng, (begin_dpt + end_dpt) / 2
    look = _look(studio, dpt, ("plain", "stripes", "noise", "cells"), (4, 9), grey=rng.choice([0.06, 0.2, 0.5, 0.7]))
    radius_m = studio.metres(radius_px, dpt)
    first, last = studio.point(*begin, begin_dpt), studio.point(*end, end_dpt)
    objects.rod(first, last, radius_m, surface(look, rng))


def _fence(studio: Studio) -> None:
    rng = studio.rng
    dpt = studio.dpt(rng.uniform(0.1, 0.4))
    left = rng.uniform(-1.0, 0.0)
    paint = surface(_look(studio, dpt, ("plain",), grey=0.6), rng)
    radius = studio.metres(rng.uniform(1.0, 2.5), dpt)
    for x in np.arange(left, left + 1.0, 0.13):
        objects.rod(studio.point(x, 0.1, dpt), studio.point(x + 0.02, 1.2, dpt), radius, paint)
    for y in (0.25, 0.7):
        objects.rod(studio.point(left - 0.08, y, dpt), studio.point(left + 1.05, y + 0.04, dpt), radius, paint)


def _plant(studio: Studio) -> None:
    rng = studio.rng
    dpt, x = studio.dpt(rng.uniform(0.4, 0.8)), rng.uniform(-0.6, 0.6)
    green = _look(studio, dpt, ("noise", "plain"), (4, 6), hue=rng.uniform(0.22, 0.38), saturation=0.55, contrast=0.5)
    leaf, stem = surface(green, rng), surface(green.with_(pattern="plain", grey=0.2), rng)
    root = studio.point(x, 1.15, dpt)
    for _ in range(16):
        tip_dpt = dpt * rng.uniform(0.92, 1.08)
        tip = studio.point(x + rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.7), tip_dpt)
        objects.rod(root, tip, studio.metres(1.0, dpt), stem)
        half = studio.metres(8.0, dpt)
        objects.put(objects.leaf(half, 0.4 * half, leaf), tip, _any_turn(rng))
