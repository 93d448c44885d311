"""A monocular prior: what a network trained on photographs makes of a frame, as relative vergence."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from edfv_ros.depth.onnx_session import open_session
from edfv_ros.errors import SourceError
from edfv_ros.events.types import Frame
from edfv_ros.yaml_model import Part, Positive, load_yaml_model

QUANTILES = (0.02, 0.98)
"""These quantiles of the relative vergence become 0 and 1. Not the extremes: one wrong pixel would rescale the map."""

FAR_TO_NEAR = 6.0
"""Assumed ratio of the far to the near quantile of a depth that is known up to scale and shift, which does not tell."""

NEAREST = 0.05
"""Depths below this share of the median are taken for it, so that a zero has a vergence."""

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}

logger = logging.getLogger(__name__)

Side = Annotated[int, Field(ge=1, le=8192)]


class PriorModel(Part):
    """A depth network in an ONNX file, and how to use it: the prior file.

    The frame is resized to the input, whatever its aspect; its grey levels become ``(white * level / 255 - mean) /
    std``, repeated for each channel.

    Attributes:
        path: the ONNX file; a relative path starts at the prior file's folder.
        sha256: what the ONNX file must hash to; empty takes any file.
        meaning: of the output. ``relative_inverse``: inverse depth up to scale and shift (Depth Anything V2, MiDaS;
            metric inverse depth too). ``relative_depth``: depth up to scale and shift (LeReS, Marigold).
            ``metric_depth``: depth in metres, or up to scale (Metric3D, UniDepth, Depth Pro).
        width_px, height_px: size of the input. Both or neither.
        multiple_of: without a size, the input is the frame's, each side rounded to a multiple of this.
        channels: of the input, 3 or 1. Frames are grey: three channels are the same picture three times.
        layout: order of the input's axes.
        white: what a white pixel is before mean and standard deviation are applied: 1, or 255.
        mean, std: for each channel, in the network's order.
        input_name: of the image, where there are several inputs; the others must have defaults.
        output_name: of the depth, where there are several outputs.
        rate_hz: most runs per second; between them the last map serves.
        max_age_s: an older map does not serve any more.
        threads: on the CPU.
    """

    path: Annotated[str, Field(min_length=1)]
    meaning: Literal["relative_inverse", "relative_depth", "metric_depth"]
    sha256: Annotated[str, Field(pattern="^([0-9a-fA-F]{64})?$")] = ""
    width_px: Side | None = None
    height_px: Side | None = None
    multiple_of: Side | None = None
    channels: Literal[1, 3] = 3
    layout: Literal["nchw", "nhwc"] = "nchw"
    white: Positive = 1.0
    mean: Annotated[tuple[float, ...], Field(strict=False)] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[Positive, ...], Field(strict=False)] = (0.229, 0.224, 0.225)
    input_name: str = ""
    output_name: str = ""
    rate_hz: Positive = 5.0
    max_age_s: Positive = 1.0
    threads: Annotated[int, Field(ge=1, le=64)] = 2

    @model_validator(mode="after")
    def _is_consistent(self) -> "PriorModel":
        if (self.width_px is None) != (self.height_px is None):
            raise ValueError("give both width_px and height_px, or multiple_of instead")
        if (self.width_px is None) == (self.multiple_of is None):
            raise ValueError("give either width_px and height_px, or multiple_of")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {self.channels} channels")
        if self.max_age_s * self.rate_hz < 1.0:
            raise ValueError(
                f"max_age_s = {self.max_age_s:g} is shorter than the time between two runs at rate_hz = "
                f"{self.rate_hz:g}: raise one of them"
            )
        return self

    def input_size(self, resolution: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the input for frames of a width and height."""
        if self.width_px is not None and self.height_px is not None:
            return self.width_px, self.height_px
        assert self.multiple_of is not None
        width, height = (max(1, round(side / self.multiple_of)) * self.multiple_of for side in resolution)
        return width, height


def load_prior(path: str | Path) -> PriorModel:
    """Load and validate a prior file; the path of its ONNX file comes back complete.

    Raises:
        SourceError: the file is missing, is not YAML, or holds something impossible.
    """
    path = Path(path).expanduser()
    model = load_yaml_model(path, PriorModel, "prior", SourceError, "config/prior_depth_anything_v2_small.yaml")
    return model.model_copy(update={"path": str(path.absolute().parent / Path(model.path).expanduser())})


class MonocularPrior:
    """Relative vergence from frames, computed at a rate of its own.

    It works in the caller's thread: a sweep for which it is due comes later by one run, the others by nothing.

    Args:
        model: the network.
        resolution: width and height of the frames in pixels.

    Raises:
        SourceError: the network cannot be loaded, or a trial run shows that it does not fit the prior file.
    """

    def __init__(self, model: PriorModel, resolution: tuple[int, int]) -> None:
        self._model = model
        self._resolution = resolution
        self._size = model.input_size(resolution)
        self._session = open_session(Path(model.path), threads=model.threads, sha256=model.sha256)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input = self._choose("input", model.input_name, [value.name for value in inputs])
        self._output = self._choose("output", model.output_name, [value.name for value in outputs])
        kind = next(value.type for value in inputs if value.name == self._input)
        if kind not in _TYPES:
            raise SourceError(f"{model.path}: its input {self._input} is a {kind}; allowed are {', '.join(_TYPES)}")
        self._type = _TYPES[kind]
        self._newest: tuple[int, NDArray[np.float32]] | None = None
        self._failing = False
        width, height = resolution
        self.relative_vergence(np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8))

    def at(self, time_us: int, frame: Frame | None) -> NDArray[np.float32] | None:
        """The relative vergence for a time: of the frame where a run is due, of an earlier one where that will do.

        Args:
            time_us: on the camera's clock; where it goes back, as when a recording starts again, all is forgotten.
            frame: the newest frame, None where there is none.

        Returns:
            float32 [H, W], not to be changed, or None: there is no frame and no map that is young enough, or the
            network made nothing of the frame.
        """
        if self._newest is not None and self._newest[0] > time_us:
            self._newest = None
        if frame is not None and self._is_due(frame):
            self._run(frame)
        if self._newest is None or time_us - self._newest[0] > self._model.max_age_s * 1e6:
            return None
        return self._newest[1]

    def _run(self, frame: Frame) -> None:
        """Look at a frame; one that the network makes nothing of is passed over, and the first such of a row logged."""
        try:
            self._newest = frame.timestamp_us, self.relative_vergence(frame.image)
            self._failing = False
        except SourceError as error:
            if not self._failing:
                logger.warning("no prior from the frame at %d us: %s", frame.timestamp_us, error)
            self._failing = True

    def _is_due(self, frame: Frame) -> bool:
        return self._newest is None or frame.timestamp_us - self._newest[0] >= 1e6 / self._model.rate_hz

    def relative_vergence(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network on one image, uint8 [H, W].

        Returns:
            float32 [H, W], vergence up to scale and shift: ascending towards the camera, its 2 % and 98 % quantiles at
            0 and 1; 0 everywhere where the network sees no relief.

        Raises:
            SourceError: the network does not take the input or gives something else than a finite map.
        """
        width, height = self._resolution
        if image.shape != (height, width):
            raise SourceError(f"the frame is {image.shape[1]} x {image.shape[0]}, the camera {width} x {height}")
        try:
            (output,) = self._session.run([self._output], {self._input: self._tensor(image)})
        except Exception as error:  # the runtime's exceptions have no common class
            raise SourceError(
                f"{self._model.path}: does not run on {self._size[0]} x {self._size[1]}: {error}"
            ) from None
        depth = np.squeeze(np.asarray(output, np.float32))
        if depth.ndim != 2 or min(depth.shape) < 2:
            raise SourceError(
                f"{self._model.path}: its output {self._output} has the shape {np.shape(output)}, which is no map"
            )
        if np.isnan(depth).any():
            raise SourceError(f"{self._model.path}: its output {self._output} holds NaN")
        return resize(normalised(to_vergence(depth, self._model.meaning)), width, height)

    def _tensor(self, image: NDArray[np.uint8]) -> NDArray[np.floating]:
        model = self._model
        grey = resize(image.astype(np.float32), *self._size)
        mean, std = np.array(model.mean, np.float32), np.array(model.std, np.float32)
        channels = (grey[..., None] * np.float32(model.white / 255.0) - mean) / std
        if model.layout == "nchw":
            channels = channels.transpose(2, 0, 1)
        return np.ascontiguousarray(channels[None], self._type)

    def _choose(self, what: str, wanted: str, names: list[str]) -> str:
        if wanted in names:
            return wanted
        if wanted or len(names) != 1:
            asked = f"no {what} is called {wanted!r}" if wanted else f"{len(names)} {what}s"
            raise SourceError(f"{self._model.path}: {asked}: set {what}_name to one of {', '.join(names)}")
        return names[0]


def to_vergence(output: NDArray[np.float32], meaning: str) -> NDArray[np.float32]:
    """A network's output [H, W] as vergence up to scale and shift, ascending towards the camera.

    Infinite depths have vergence 0; infinities of inverse depth become the nearest finite value.

    Args:
        output: without NaN.
        meaning: as in :class:`PriorModel`.
    """
    finite = output[np.isfinite(output)]
    if not len(finite):
        return np.zeros_like(output)
    if meaning == "relative_inverse":
        return np.clip(output, finite.min(), finite.max())
    if meaning == "relative_depth":
        near, far = np.quantile(finite, QUANTILES)
        nearest = (far - near) / (FAR_TO_NEAR - 1.0)
        depth = output - np.float32(near - nearest)
    else:
        depth = output
    typical = float(np.median(depth[np.isfinite(depth)]))
    floor = np.float32(NEAREST * typical if typical > 0.0 else 1e-6)
    return (1.0 / np.maximum(depth, floor)).astype(np.float32)


def normalised(vergence: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map with its quantiles at 0 and 1, float32 [H, W]; 0 everywhere where they are one."""
    low, high = np.quantile(vergence, QUANTILES)
    if high - low <= 1e-5 * max(abs(low), abs(high)):
        return np.zeros_like(vergence)
    return ((vergence - np.float32(low)) / np.float32(high - low)).astype(np.float32)


def resize(image: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Resize without aliases, float32 [height, width]: means of areas along an axis that shrinks, linear otherwise."""
    for size in ((width, image.shape[0]), (width, height)):
        shrinks = size[0] < image.shape[1] or size[1] < image.shape[0]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return image
