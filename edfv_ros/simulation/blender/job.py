"""What the parent asks the rendering child for, and the folder through which they talk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.yaml_model import NotNegative, Part, first_problem

Kind = Literal[
    "tabletop", "shelf", "clutter", "room", "planes", "wires", "fine_texture", "low_texture", "glossy", "calibration"
]

BLENDER_KINDS: tuple[str, ...] = get_args(Kind)
"""The scenes that :func:`edfv_ros.simulation.blender.render_stack` knows."""

Image = NDArray[np.float32]


class RenderJob(Part):
    """One focus stack. Equal jobs give equal pictures.

    Attributes:
        rig: camera, lens and the range of depths that the scene fills.
        kind: one of :data:`BLENDER_KINDS`.
        seed: of the scene and of the sampling of light paths.
        vergences_dpt: focus of each picture.
        samples: light paths per pixel and picture.
    """

    rig: Rig
    kind: Kind
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    vergences_dpt: Annotated[tuple[NotNegative, ...], Field(min_length=1, strict=False)]
    samples: Annotated[int, Field(ge=1, le=65536)]

    @model_validator(mode="after")
    def _camera_is_a_pinhole(self) -> "RenderJob":
        if any(self.rig.camera.intrinsics.distortion):
            raise ValueError("camera.intrinsics.distortion is not rendered by Blender: set it to zeros for this rig")
        return self

    @classmethod
    def of(cls, **values: object) -> "RenderJob":
        """A job from its attributes.

        Raises:
            SimulationError: a value is impossible.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as problem:
            raise SimulationError(f"cannot render with Blender: {first_problem(problem, cls)}") from None


@dataclass(frozen=True)
class JobFolder:
    """The job and what has been rendered of it: an image file each, there as soon as it is whole.

    Raises:
        OSError: from every method, the folder cannot be read or written.
    """

    path: Path

    @property
    def _job(self) -> Path:
        return self.path / "job.json"

    @property
    def log(self) -> Path:
        """What the child and Blender have printed."""
        return self.path / "render.log"

    @property
    def scratch(self) -> Path:
        """The file that Blender renders to."""
        return self.path / "rendered.exr"

    def open(self, job: RenderJob) -> None:
        """Make the folder, or continue one.

        Raises:
            SimulationError: the folder is that of another job.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        text = job.model_dump_json(indent=1)
        if not self._job.exists():
            self._job.write_text(text, encoding="utf-8")
        elif self._job.read_text(encoding="utf-8") != text:
            raise SimulationError(
                f"{self.path} holds the render of another scene, rig or sweep: remove that folder or choose another"
            )

    def job(self) -> RenderJob:
        return RenderJob.model_validate_json(self._job.read_text(encoding="utf-8"))

    def image(self, name: str) -> Path:
        """File of ``depth``, ``sharp`` or a :func:`step`."""
        return self.path / f"{name}.npy"

    def save(self, name: str, image: Image) -> None:
        """Store an image so that an interruption leaves it whole or not at all."""
        part = self.path / f"{name}.part"
        with part.open("wb") as file:
            np.save(file, image)
        part.replace(self.image(name))

    def missing(self, job: RenderJob) -> Iterator[str]:
        """Names of the images that are not there yet, in the order of rendering."""
        return (name for name in image_names(job) if not self.image(name).exists())


def step(index: int) -> str:
    """Name of the picture at ``vergences_dpt[index]``."""
    return f"step_{index:04d}"


def image_names(job: RenderJob) -> tuple[str, ...]:
    """Everything that a job renders."""
    return ("depth", "sharp", *(step(index) for index in range(len(job.vergences_dpt))))
