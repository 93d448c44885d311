"""Surfaces: patterns of Blender's texture nodes in metres, from plain paint to print."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import bpy
import numpy as np

_TURN_RAD = 2.0 * np.pi

Socket = Any
Colour = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """What a surface looks like.

    Attributes:
        pattern: one of :data:`PATTERNS`, or ``plain``.
        feature_m: size of the pattern's features.
        contrast: 0 to 1; the pattern runs from ``grey * (1 - contrast)`` to ``grey * (1 + contrast)``.
        grey: mean reflectance.
        hue, saturation: of the colour.
        roughness: 0 for a mirror to 1 for chalk.
        gloss: strength of the highlights of a non-metal.
        metallic: 0 or 1.
        relief: strength of bumps of the size of the features.
    """

    pattern: str
    feature_m: float
    contrast: float = 0.6
    grey: float = 0.35
    hue: float = 0.1
    saturation: float = 0.2
    roughness: float = 0.7
    gloss: float = 0.2
    metallic: float = 0.0
    relief: float = 0.0

    def with_(self, **changes: float | str) -> "Look":
        return replace(self, **changes)  # type: ignore[arg-type]


class _Nodes:
    """A material's node graph under construction."""

    def __init__(self, look: Look, rng: np.random.Generator) -> None:
        self.look = look
        self.rng = rng
        self.material = bpy.data.materials.new(look.pattern)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()
        dark, bright = look.grey * (1.0 - look.contrast), min(look.grey * (1.0 + look.contrast), 0.9)
        other_hue = look.hue + rng.uniform(-0.12, 0.12)
        self.dark = _colour(look.hue, look.saturation, dark)
        self.bright = _colour(other_hue, look.saturation * rng.random(), bright)
        coordinates = self.add("ShaderNodeTexCoord")
        mapping = self.add("ShaderNodeMapping")
        self.link(coordinates.outputs["Object"], mapping.inputs[0])
        mapping.inputs["Location"].default_value = rng.uniform(-20.0, 20.0, 3) * look.feature_m
        self._place = mapping

    def turn(self, radians: np.ndarray) -> None:
        """Turn the pattern within the object."""
        self._place.inputs["Rotation"].default_value = radians

    def add(self, kind: str, **settings: float | str) -> Any:
        node = self.tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        return node

    def link(self, output: Socket, socket: Socket) -> None:
        self.tree.links.new(output, socket)

    def texture(self, kind: str, features: float = 1.0, inputs: dict[str, float] | None = None, **settings: Any) -> Any:
        """A texture node with a period of ``features`` times the feature size."""
        node = self.add(f"ShaderNodeTex{kind}", **settings)
        self.link(self._place.outputs[0], node.inputs["Vector"])
        for name, value in ({"Scale": 1.0 / (features * self.look.feature_m)} | (inputs or {})).items():
            node.inputs[name].default_value = value
        return node

    def toned(self, value: Socket, low: float, high: float) -> Socket:
        """Dark at ``low`` to bright at ``high``, straight in between."""
        ramp = self.add("ShaderNodeValToRGB")
        for element, position, colour in zip(
            ramp.color_ramp.elements, (low, high), (self.dark, self.bright), strict=True
        ):
            element.position, element.color = position, colour
        self.link(value, ramp.inputs[0])
        return ramp.outputs[0]


def _colour(hue: float, saturation: float, value: float) -> Colour:
    return (*colorsys.hsv_to_rgb(hue % 1.0, saturation, value), 1.0)


def _noise(nodes: _Nodes) -> Socket:
    node = nodes.texture("Noise", inputs={"Detail": nodes.rng.uniform(2.0, 8.0)})
    return nodes.toned(node.outputs[0], 0.35, 0.65)


def _blots(nodes: _Nodes) -> Socket:
    node = nodes.texture("Noise", inputs={"Detail": 3.0})
    return nodes.toned(node.outputs[0], 0.48, 0.52)


def _ridges(nodes: _Nodes) -> Socket:
    node = nodes.texture("Noise", 2.0, {"Detail": 5.0}, noise_type="RIDGED_MULTIFRACTAL", normalize=False)
    return nodes.toned(node.outputs[0], 0.1, 1.2)


def _spots(nodes: _Nodes) -> Socket:
    return nodes.toned(nodes.texture("Voronoi").outputs["Distance"], 0.1, 0.7)


def _dots(nodes: _Nodes) -> Socket:
    node = nodes.texture("Voronoi", inputs={"Randomness": 0.2})
    return nodes.toned(node.outputs["Distance"], 0.27, 0.33)


def _cells(nodes: _Nodes) -> Socket:
    split = nodes.add("ShaderNodeSeparateColor")
    nodes.link(nodes.texture("Voronoi").outputs["Color"], split.inputs[0])
    return nodes.toned(split.outputs[0], 0.0, 1.0)


def _cracks(nodes: _Nodes) -> Socket:
    node = nodes.texture("Voronoi", 1.5, feature="DISTANCE_TO_EDGE")
    return nodes.toned(node.outputs["Distance"], 0.02, 0.08)


def _checks(nodes: _Nodes) -> Socket:
    node = nodes.texture("Checker")
    node.inputs["Color1"].default_value, node.inputs["Color2"].default_value = nodes.dark, nodes.bright
    return node.outputs[0]


def _bricks(nodes: _Nodes) -> Socket:
    node = nodes.texture("Brick", 4.0, {"Mortar Size": 0.03})
    node.inputs["Color1"].default_value, node.inputs["Mortar"].default_value = nodes.bright, nodes.dark
    node.inputs["Color2"].default_value = _colour(nodes.look.hue, nodes.look.saturation, nodes.look.grey)
    nodes.turn(np.zeros(3))
    return node.outputs[0]


def _marble(nodes: _Nodes) -> Socket:
    node = nodes.texture("Magic", 4.0, {"Distortion": 1.5}, turbulence_depth=int(nodes.rng.integers(2, 5)))
    split = nodes.add("ShaderNodeSeparateColor")
    nodes.link(node.outputs[0], split.inputs[0])
    return nodes.toned(split.outputs[0], 0.1, 0.9)


def _stripes(nodes: _Nodes) -> Socket:
    node = nodes.texture("Wave", 3.18)  # Blender's waves are 20 / (2 pi) to a unit
    return nodes.toned(node.outputs["Fac"], 0.3, 0.7)


def _wood(nodes: _Nodes) -> Socket:
    node = nodes.texture("Wave", 6.0, {"Distortion": 5.0, "Detail": 3.0, "Detail Scale": 1.5}, wave_type="RINGS")
    return nodes.toned(node.outputs["Fac"], 0.1, 0.9)


PATTERNS: dict[str, Callable[[_Nodes], Socket]] = {
    "noise": _noise,
    "blots": _blots,
    "ridges": _ridges,
    "spots": _spots,
    "dots": _dots,
    "cells": _cells,
    "cracks": _cracks,
    "checks": _checks,
    "bricks": _bricks,
    "marble": _marble,
    "stripes": _stripes,
    "wood": _wood,
}
"""How each pattern maps a place to a colour."""


def surface(look: Look, rng: np.random.Generator) -> Any:
    """A Blender material that looks like ``look``, turned and shifted at random."""
    nodes = _Nodes(look, rng)
    nodes.turn(rng.uniform(0.0, _TURN_RAD, 3))
    shader = nodes.add("ShaderNodeBsdfPrincipled")
    shader.inputs["Roughness"].default_value = look.roughness
    shader.inputs["Specular IOR Level"].default_value = look.gloss
    shader.inputs["Metallic"].default_value = look.metallic
    if look.pattern == "plain":
        shader.inputs["Base Color"].default_value = _colour(look.hue, look.saturation, look.grey)
    else:
        nodes.link(PATTERNS[look.pattern](nodes), shader.inputs["Base Color"])
    if look.relief:
        bump = nodes.add("ShaderNodeBump")
        bump.inputs["Strength"].default_value = look.relief
        bump.inputs["Distance"].default_value = 0.3 * look.feature_m
        nodes.link(nodes.texture("Noise").outputs[0], bump.inputs["Height"])
        nodes.link(bump.outputs[0], shader.inputs["Normal"])
    nodes.link(shader.outputs[0], nodes.add("ShaderNodeOutputMaterial").inputs[0])
    return nodes.material


def glowing(radiance: float) -> Any:
    """A material of the same radiance from everywhere, whatever the light."""
    return _emitting(lambda add, link, strength: setattr(strength, "default_value", radiance))


def depth_in_light() -> Any:
    """A material whose radiance is its own z along the camera's axis, in metres."""
    return _emitting(lambda add, link, strength: link(add("ShaderNodeCameraData").outputs["View Z Depth"], strength))


def _emitting(set_strength: Callable[[Callable[..., Any], Callable[..., Any], Socket], None]) -> Any:
    material = bpy.data.materials.new("light")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    emission = nodes.new("ShaderNodeEmission")
    set_strength(nodes.new, links.new, emission.inputs["Strength"])
    links.new(emission.outputs[0], nodes.new("ShaderNodeOutputMaterial").inputs[0])
    return material
