"""From parameters to a depth pipeline: check everything first, open devices later. No ROS in here."""

import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from edfv_ros.depth.onnx_session import OpenedNetwork, opened_networks
from edfv_ros.errors import EdfvError, RigError
from edfv_ros.events.addresses import parse_address
from edfv_ros.events.camera_settings import CameraSettings
from edfv_ros.lens.plan import check_plan, plan_of
from edfv_ros.lens.response import response_of
from edfv_ros.lens.sweeping import borrowed_lens
from edfv_ros.nodes.depth_devices import DepthDevices, Tap, make_estimator, parameter_path, rig_for
from edfv_ros.nodes.depth_session import AtEnd
from edfv_ros.nodes.input_topics import InputTopics
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.nodes.simulated_camera import SimulatedCamera
from edfv_ros.recording import open_recording
from edfv_ros.rig import Rig, load_rig
from edfv_ros.share import config_file

_OF_ESTIMATOR = ("estimator", "prior", "model")


@dataclass(frozen=True)
class DepthSetup:
    """Everything a pipeline needs, checked; nothing is open.

    Attributes:
        parameters: what the user asked for.
        rig: with the name of the camera that the parameters ask for.
        rig_path: where it was read.
        uri: where events come from; empty where the simulated camera will say.
        recording: folder of the sweep recording, None for live sources.
        networks: that the estimator needs, and where they run.
        topics: with source topic, where events come from.
    """

    parameters: DepthParameters
    rig: Rig
    rig_path: Path
    uri: str
    recording: Path | None
    networks: tuple[OpenedNetwork, ...] = ()
    topics: InputTopics | None = None

    @property
    def source_name(self) -> str:
        """The source in words, for log and diagnostics."""
        return self.uri or "the simulated camera"

    @property
    def drives_lens(self) -> bool:
        """Whether the lens is this node's to drive."""
        if self.recording is not None or (self.topics is not None and self.topics.lens):
            return False
        return bool(self.rig.lens.port) or self.parameters.source == "sim"

    @property
    def at_end(self) -> AtEnd:
        """What it means when the source ends."""
        if self.recording is None:
            return AtEnd.ERROR
        return AtEnd.REPEAT if self.parameters.loop else AtEnd.STOP

    @property
    def sweep_s(self) -> float:
        """How long a sweep takes."""
        return rig_for(self.parameters, self.rig).sweep.duration_us * 1e-6

    def open_devices(self, tap: Tap, stack: ExitStack, cancelled: threading.Event) -> DepthDevices:
        """Open the lens, and with source sim the simulated camera, into the stack.

        Args:
            tap: is shown what pipelines read.
            stack: closes them.
            cancelled: set by another thread to give up waiting for them.

        Raises:
            EdfvError: one of them cannot be opened.
        """
        uri, rig = self.uri, self.rig
        if self.parameters.source == "sim":
            arguments = ["--rig", str(self.rig_path), "--wait"]
            simulated = stack.enter_context(SimulatedCamera(arguments, cancelled=cancelled))
            uri, rig = simulated.uri, _with_lens_port(rig, simulated.lens_port)
        lens = stack.enter_context(borrowed_lens(rig)) if self.drives_lens else None
        return DepthDevices(rig, uri, self.recording, lens, tap, self.topics)

    def adopting(self, parameters: DepthParameters) -> "DepthSetup":
        """The same with parameters that have changed at runtime.

        Raises:
            EdfvError: they ask for an estimator that cannot be had.
        """
        if any(getattr(parameters, name) != getattr(self.parameters, name) for name in _OF_ESTIMATOR):
            return self.with_estimator(parameters)
        return replace(self, parameters=parameters)

    def with_estimator(self, parameters: DepthParameters) -> "DepthSetup":
        """The same with the estimator of other parameters, which is tried; may take a second.

        Raises:
            EdfvError: there is no such estimator, or a file of it cannot be used.
        """
        with opened_networks() as networks:
            make_estimator(parameters, self.check_sweep(parameters))
        return replace(self, parameters=parameters, networks=tuple(networks))

    def check_sweep(self, parameters: DepthParameters) -> Rig:
        """The rig with the sweep that the parameters ask for, as far as can be told without asking the lens.

        Raises:
            EdfvError: nobody here drives the lens, or it cannot follow.
        """
        rig = rig_for(parameters, self.rig)
        if rig is self.rig:
            return rig
        if self.recording is not None:
            raise RigError("the sweep of a recording is as it was: leave region and sweep_frequency_hz at 0")
        if not self.drives_lens:
            raise RigError(
                "this node does not drive the lens, so it cannot change its sweep: set lens.port in the rig file, or "
                "leave region and sweep_frequency_hz at 0"
            )
        driven = _with_lens_port(rig, "") if self.parameters.source == "sim" else rig
        check_plan(plan_of(driven), response_of(driven))
        return rig


def _with_lens_port(rig: Rig, port: str) -> Rig:
    return rig.model_copy(update={"lens": rig.lens.model_copy(update={"driver": "virtual", "port": port})})


def prepare(parameters: DepthParameters, topics: InputTopics | None = None) -> DepthSetup:
    """Check parameters, rig, path, estimator and GPU; open no camera and no lens.

    Args:
        parameters: what the user asked for.
        topics: with source topic, where events come from.

    Raises:
        EdfvError: one of them is missing or wrong.
    """
    parameters.require_path()
    _require_device(parameters.device)
    rig_path = parameter_path(parameters.rig)
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
    parameters.require_bin(rig.bins.count)
    if parameters.source == "network":
        uri = str(parse_address(parameters.path))
    if parameters.source == "camera":
        serial = parameters.path or rig.camera.serial
        uri = CameraSettings(serial, parameters.exposure_us, parameters.biases).uri
    if topics is not None:
        uri = topics.events
    if parameters.camera_name:
        camera = rig.camera.model_copy(update={"name": parameters.camera_name})
        rig = rig.model_copy(update={"camera": camera})
    setup = DepthSetup(parameters, rig, rig_path or Path(), uri, recording, topics=topics)
    return setup.with_estimator(parameters)  # fails now where it would later, and leaves tables behind


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
