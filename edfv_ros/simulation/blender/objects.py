"""Things and lamps, in metres in the camera's optical frame."""

from typing import Any

import bmesh
import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import ArrayLike, NDArray

from edfv_ros.simulation.blender.studio import rotation

Turn = NDArray[np.float64]

_SHARP_EDGE_RAD = np.radians(35.0)
_ROUND = 64  # faces around

_ANGULAR: dict[str, ArrayLike] = {  # radius and height of thrown ware 1 high, from the foot's middle to the lid's
    "can": [(0, 0), (0.36, 0), (0.36, 1), (0, 1)],
    "cone": [(0, 0), (0.42, 0), (0.0, 1)],
}
_ROUNDED: dict[str, ArrayLike] = {  # the same, corners to be rounded off
    "bottle": [(0, 0), (0.22, 0), (0.22, 0.3), (0.22, 0.62), (0.08, 0.72), (0.08, 0.9), (0.09, 1), (0, 1)],
    "vase": [(0, 0), (0.22, 0), (0.36, 0.25), (0.4, 0.45), (0.22, 0.7), (0.16, 0.84), (0.26, 1), (0, 0.9)],
    "bowl": [(0, 0), (0.26, 0), (0.26, 0.06), (0.5, 0.4), (0.62, 0.8), (0.56, 0.8), (0.4, 0.4), (0, 0.14)],
    "pawn": [(0, 0), (0.42, 0), (0.42, 0.12), (0.12, 0.2), (0.12, 0.64), (0.3, 0.72), (0.3, 0.95), (0, 1)],
}

SOLIDS = ("box", "ball", "ring", "rock", "head", *_ANGULAR, *_ROUNDED)
"""Names that :func:`solid` knows."""


def clear() -> None:
    """Begin with nothing in Blender."""
    bpy.ops.wm.read_factory_settings(use_empty=True)


def solid(name: str, size_m: float, rng: np.random.Generator, material: Any) -> Any:
    """One of :data:`SOLIDS`, ``size_m`` high along z, standing on the origin."""
    if name == "box":
        half = size_m / 2 * np.array([*rng.uniform(0.6, 1.2, 2), 1.0])
        thing = box(half, material)
        return _lifted(thing, float(half[2]))
    if name == "ball":
        return _lifted(ball(size_m / 2, material), size_m / 2)
    if name == "ring":
        return _lifted(ring(0.37 * size_m, 0.13 * size_m, material), 0.13 * size_m)
    mesh = bmesh.new()
    if name == "rock":
        bmesh.ops.create_icosphere(mesh, subdivisions=3, radius=size_m / 2)
        waves = rng.normal(0.0, 3.0 / size_m, (3, 3))
        for vertex in mesh.verts:
            vertex.co *= 1.0 + 0.12 * float(np.sin(waves @ np.array(vertex.co)).sum())
        return _lifted(_shown(mesh, material), size_m / 2)
    if name == "head":
        bmesh.ops.create_monkey(mesh, matrix=Matrix.Rotation(np.pi / 2, 4, "X") @ Matrix.Scale(size_m / 2, 4))
        bmesh.ops.subdivide_edges(mesh, edges=mesh.edges, cuts=1, smooth=1.0, use_grid_fill=True)
        return _lifted(_shown(mesh, material), size_m / 2)
    mesh.free()
    if name in _ANGULAR:
        return _turned(size_m * np.asarray(_ANGULAR[name], float), material)
    return _turned(size_m * _rounded(np.asarray(_ROUNDED[name], float)), material)


def box(half_m: ArrayLike, material: Any) -> Any:
    """A box about the origin, with its edges taken off."""
    half = np.asarray(half_m, float)
    mesh = bmesh.new()
    bmesh.ops.create_cube(mesh, size=2.0, matrix=Matrix.Diagonal([*half, 1.0]))
    bmesh.ops.bevel(mesh, geom=mesh.edges, offset=0.04 * half.min(), segments=2, affect="EDGES", profile=0.5)
    return _shown(mesh, material)


def ball(radius_m: float, material: Any) -> Any:
    """A sphere about the origin."""
    mesh = bmesh.new()
    bmesh.ops.create_icosphere(mesh, subdivisions=6, radius=radius_m)
    return _shown(mesh, material)


def ring(radius_m: float, thickness_m: float, material: Any) -> Any:
    """A torus about z, ``thickness_m`` from the middle of its tube to its surface."""
    angle = np.linspace(0.0, 2.0 * np.pi, 33)
    return _turned(np.stack([radius_m + thickness_m * np.cos(angle), thickness_m * np.sin(angle)], axis=1), material)


def leaf(half_length_m: float, half_width_m: float, material: Any) -> Any:
    """A flat ellipsoid about the origin, long in x, thin in z."""
    thing = ball(half_length_m, material)
    thing.data.transform(Matrix.Diagonal([1.0, half_width_m / half_length_m, 0.1, 1.0]))
    return thing


def card(width_m: float, height_m: float, material: Any) -> Any:
    """A rectangle about the origin in the plane of x and y."""
    x, y = width_m / 2, height_m / 2
    return _from_faces([(-x, -y, 0.0), (x, -y, 0.0), (x, y, 0.0), (-x, y, 0.0)], [(0, 1, 2, 3)], material)


def sheet(corners: ArrayLike, material: Any) -> Any:
    """A flat quadrangle between four points [4, 3]."""
    return _from_faces(np.asarray(corners, float).tolist(), [(0, 1, 2, 3)], material)


def plane(normal: ArrayLike, material: Any, reach_m: float) -> Any:
    """The plane ``normal . X = 1``, ``reach_m`` to each side of its point next to the camera."""
    n = np.asarray(normal, float)
    anchor = n / (n @ n)
    return put(card(2 * reach_m, 2 * reach_m, material), anchor, rotation(n, 0.0))


def rod(start: ArrayLike, end: ArrayLike, radius_m: float, material: Any) -> Any:
    """A round bar between two points."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(last - first))
    profile = np.array([(0.0, 0.0), (radius_m, 0.0), (radius_m, length), (0.0, length)])
    return put(_turned(profile, material, faces=24), first, rotation(last - first, 0.0))


def lettering(text: str, height_m: float, material: Any) -> Any:
    """A line of print about the origin in the plane of x and y, to be read from the side of z, with y up."""
    curve = bpy.data.curves.new("print", "FONT")
    curve.body, curve.size, curve.align_x, curve.align_y = text, height_m, "CENTER", "CENTER"
    curve.materials.append(material)
    thing = bpy.data.objects.new("print", curve)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def put(thing: Any, position: ArrayLike, turn: Turn | None = None) -> Any:
    """Place a thing: its origin at ``position``, its axes along the columns of ``turn`` [3, 3]."""
    matrix = Matrix.Identity(4) if turn is None else Matrix(turn.tolist()).to_4x4()
    matrix.translation = Vector(np.asarray(position, float).tolist())
    thing.matrix_world = matrix
    return thing


def _rounded(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """The row of points with its corners cut three times, ends kept (Chaikin 1974)."""
    for _ in range(3):
        cut = np.stack([0.75 * profile[:-1] + 0.25 * profile[1:], 0.25 * profile[:-1] + 0.75 * profile[1:]], axis=1)
        profile = np.concatenate([profile[:1], cut.reshape(-1, 2), profile[-1:]])
    return profile


def _turned(profile: NDArray[np.float64], material: Any, faces: int = _ROUND) -> Any:
    """A surface of revolution about z of a row of (radius, height)."""
    angle = np.arange(faces) * 2.0 * np.pi / faces
    x, y = np.multiply.outer(profile[:, 0], np.cos(angle)), np.multiply.outer(profile[:, 0], np.sin(angle))
    z = np.repeat(profile[:, 1:], faces, axis=1)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(len(profile) - 1), np.arange(faces), indexing="ij")
    after = (column + 1) % faces
    corners = [row * faces + column, row * faces + after, (row + 1) * faces + after, (row + 1) * faces + column]
    return _from_faces(points.tolist(), np.stack(corners, axis=-1).reshape(-1, 4).tolist(), material)


def _from_faces(points: list[Any], faces: list[Any], material: Any) -> Any:
    data = bpy.data.meshes.new("thing")
    data.from_pydata(points, [], faces)
    mesh = bmesh.new()
    mesh.from_mesh(data)
    bpy.data.meshes.remove(data)
    bmesh.ops.remove_doubles(mesh, verts=mesh.verts, dist=1e-7)
    bmesh.ops.recalc_face_normals(mesh, faces=mesh.faces)
    return _shown(mesh, material)


def _shown(mesh: Any, material: Any) -> Any:
    """Put a mesh into the scene, smooth but for sharp edges."""
    data = bpy.data.meshes.new("thing")
    mesh.to_mesh(data)
    mesh.free()
    data.shade_smooth()
    data.set_sharp_from_angle(angle=_SHARP_EDGE_RAD)
    data.materials.append(material)
    thing = bpy.data.objects.new("thing", data)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def _lifted(thing: Any, height_m: float) -> Any:
    thing.data.transform(Matrix.Translation((0.0, 0.0, height_m)))
    return thing


def daylight(sky: float, towards: ArrayLike, softness_deg: float, tint: ArrayLike = (1.0, 1.0, 1.0)) -> None:
    """A sky that gives the share ``sky`` of the light and a sun that gives the rest and shines ``towards``.

    A white sheet that faces the sun under the whole sky has radiance 1: a sky of radiance L makes it L, a sun of
    irradiance E makes it E / pi.
    """
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    background = nodes.new("ShaderNodeBackground")
    background.inputs[0].default_value = (*np.asarray(tint, float), 1.0)
    background.inputs[1].default_value = sky
    links.new(background.outputs[0], nodes.new("ShaderNodeOutputWorld").inputs[0])
    bpy.context.scene.world = world
    if sky < 1.0:
        sun = bpy.data.lights.new("sun", "SUN")
        sun.energy, sun.angle = np.pi * (1.0 - sky), np.radians(softness_deg)
        _lamp(sun, (0.0, 0.0, 0.0), towards)


def lamp(radiance: float, position: ArrayLike, target: ArrayLike, size_m: float) -> None:
    """A square lamp that gives a white sheet at ``target``, facing it, about this ``radiance``."""
    towards = np.asarray(target, float) - np.asarray(position, float)
    light = bpy.data.lights.new("lamp", "AREA")
    light.energy = radiance * np.pi**2 * float(towards @ towards)  # a small square's irradiance is P / (pi d**2)
    light.size = size_m
    _lamp(light, position, towards)


def _lamp(light: Any, position: ArrayLike, towards: ArrayLike) -> None:
    thing = bpy.data.objects.new("lamp", light)
    bpy.context.scene.collection.objects.link(thing)
    put(thing, position, rotation(-np.asarray(towards, float), 0.0))
