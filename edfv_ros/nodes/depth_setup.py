"""From parameters to a depth pipeline: check everything first, open devices later. No ROS in here."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edfv_ros.depth import DepthEstimator, check_streams, open_estimator
from edfv_ros.errors import EdfvError, RigError
from edfv_ros.events import Capture
from edfv_ros.events.addresses import parse_address
from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.sweeping import borrowed_lens, start_sweeping
from edfv_ros.lens.sync import SweepSource, open_sweeps
from edfv_ros.nodes.depth_session import AtEnd
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.nodes.simulated_camera import SimulatedCamera
from edfv_ros.pipeline import DepthOutput, DepthPipeline
from edfv_ros.recording import open_recording
from edfv_ros.rig import Rig, load_rig
from edfv_ros.share import config_file


@dataclass(frozen=True)
class DepthSetup:
    """Everything a pipeline needs, checked; nothing is open.

    Attributes:
        parameters: what the user asked for.
        rig: with the name of the camera that the parameters ask for.
        rig_path: where it was read.
        uri: where events come from; empty where the simulated camera will say.
        recording: folder of the sweep recording, None for live sources.
    """

    parameters: DepthParameters
    rig: Rig
    rig_path: Path
    uri: str
    recording: Path | None

    @property
    def source_name(self) -> str:
        """The source in words, for log and diagnostics."""
        return self.uri or "the simulated camera"

    @property
    def at_end(self) -> AtEnd:
        """What it means when the source ends."""
        if self.recording is None:
            return AtEnd.ERROR
        return AtEnd.REPEAT if self.parameters.loop else AtEnd.STOP

    def open_pipeline(
        self, on_depth: Callable[[DepthOutput], None], stack: ExitStack, cancelled: threading.Event
    ) -> DepthPipeline:
        """Make a pipeline, ready to be started; what it needs beside itself is opened into the stack.

        Each has an estimator of its own: the thread of the one before may still be using the last.

        Raises:
            EdfvError: the source cannot be opened.
        """
        uri, rig = self.uri, self.rig
        if self.parameters.source == "sim":
            arguments = ["--rig", str(self.rig_path), "--wait"]
            simulated = stack.enter_context(SimulatedCamera(arguments, cancelled=cancelled))
            uri, rig = simulated.uri, _with_lens_port(rig, simulated.lens_port)
        lens = stack.enter_context(borrowed_lens(rig)) if rig.lens.port and self.recording is None else None
        return DepthPipeline(
            rig,
            partial(self._open_capture, uri),
            partial(self._open_sweeps, rig, lens),
            _open_estimator(self.parameters, rig),
            on_depth,
            device=self.parameters.device,
            correct_lag=self.parameters.correct_lag,
        )

    def _open_capture(self, uri: str) -> Capture:
        """Called by the pipeline; a source that lacks what the estimator looks at is closed again."""
        capture = Capture(uri, real_time=self.recording is not None)
        try:
            parameters = self.parameters
            check_streams(parameters.estimator, capture.info.streams, uri, prior=_file(parameters.prior))
        except EdfvError:
            capture.close()
            raise
        return capture

    def _open_sweeps(self, rig: Rig, lens: LensDriver | None) -> SweepSource:
        """Called by the pipeline once events are being read."""
        if lens is not None:
            start_sweeping(lens, rig)
        return open_sweeps(rig, self.recording, lens)


def _with_lens_port(rig: Rig, port: str) -> Rig:
    return rig.model_copy(update={"lens": rig.lens.model_copy(update={"driver": "virtual", "port": port})})


def prepare(parameters: DepthParameters) -> DepthSetup:
    """Check parameters, rig, path, estimator and GPU; open no camera and no lens.

    Raises:
        EdfvError: one of them is missing or wrong.
    """
    parameters.require_path()
    _require_device(parameters.device)
    rig_path = _file(parameters.rig)
    recording, uri = None, ""
    if parameters.source == "file":
        opened = open_recording(Path(parameters.path).expanduser(), rig_path)
        rig, recording, uri = opened.rig, opened.files.path, str(opened.files.path)
    else:
        if rig_path is None and parameters.source == "sim":
            rig_path = config_file("rig.yaml")
        if rig_path is None:
            raise RigError("the parameter rig is empty: set it to a rig file such as config/rig.yaml")
        rig = load_rig(rig_path)
    if parameters.source == "network":
        uri = str(parse_address(parameters.path))
    if parameters.source == "camera":
        uri = f"camera:{parameters.path or rig.camera.serial}"
    if parameters.camera_name:
        camera = rig.camera.model_copy(update={"name": parameters.camera_name})
        rig = rig.model_copy(update={"camera": camera})
    _open_estimator(parameters, rig)  # fails now where it would later, and leaves its tables behind
    return DepthSetup(parameters, rig, rig_path or Path(), uri, recording)


def _open_estimator(parameters: DepthParameters, rig: Rig) -> DepthEstimator:
    prior, model = _file(parameters.prior), _file(parameters.model)
    return open_estimator(parameters.estimator, rig, prior=prior, model=model)


def _file(parameter: str) -> Path | None:
    return Path(parameter).expanduser() if parameter else None


def _require_device(device: str) -> None:
    """Check that PyTorch is there and sees a GPU where one is asked for."""
    if device == "cpu":
        return
    advice = "pip install 'edfv_ros[gpu]' on a machine with an NVIDIA driver, or set device to cpu"
    try:
        import torch
    except (ImportError, OSError) as error:
        raise EdfvError(f"device = {device}: torch does not load ({error}): {advice}") from None
    if not torch.cuda.is_available():
        raise EdfvError(f"device = {device}: torch {torch.__version__} finds no GPU: {advice}")
