"""Scenes whose radiances are changed, picture by picture, and nothing else of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from edfv_ros.simulation.geometry import Pose
from edfv_ros.simulation.view import Canvas, Image, Scene, View


@dataclass(frozen=True)
class Retouched:
    """A scene seen through a function of its layers' radiance.

    Attributes:
        scene: what is changed.
        retouch: from the radiance of a layer, float32 [h, w], to another one.
    """

    scene: Scene
    retouch: Callable[[Image], Image]

    @property
    def name(self) -> str:
        return self.scene.name

    @property
    def illuminance_lux(self) -> float:
        return self.scene.illuminance_lux

    @property
    def depth_range_m(self) -> tuple[float, float]:
        return self.scene.depth_range_m

    def view(self, canvas: Canvas, camera: Pose, time_s: float) -> View:
        view = self.scene.view(canvas, camera, time_s)
        return replace(
            view, layers=tuple(replace(layer, radiance=self.retouch(layer.radiance)) for layer in view.layers)
        )
