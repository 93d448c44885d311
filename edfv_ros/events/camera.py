"""A live iniVation camera as a source of events."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np

from edfv_ros.errors import SourceError
from edfv_ros.events.camera_settings import CameraSettings
from edfv_ros.events.dv_errors import first_line
from edfv_ros.events.packing import grey, joined
from edfv_ros.events.types import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Frame, Packet, SourceInfo

_COMMIT_INTERVAL = timedelta(milliseconds=2)
_READ_TIMEOUT_S = 0.01
_POLL_S = 0.0005
_MAX_BATCHES = 8

_ACCESS = "install the udev rule udev/60-edfv.rules (USB vendor 152a), replug the camera and close other programs"
_FIRMWARE = "update its firmware with DV's Flashy where it is old"


class CameraSource:
    """The first camera found, or the one with a given serial number."""

    def __init__(self, settings: CameraSettings) -> None:
        """Open and set the camera, and switch on events, frames, imu and the detector of edges, where it has them.

        Raises:
            SourceError: no camera, no permission, old firmware, settings that it does not have.
        """
        dv = _load_dv()
        serial = settings.serial
        self._name = f"camera:{serial}"
        descriptors = _attempt(dv.io.camera.discover, f"{self._name}: the USB bus cannot be searched; {_ACCESS}")
        serials = [str(descriptor.serialNumber) for descriptor in descriptors]
        if not descriptors:
            raise SourceError(f"{self._name}: no camera found; plug it in, and {_ACCESS}")
        if serial and serial not in serials:
            raise SourceError(f"{self._name}: no camera with this serial number; found {', '.join(serials)}")
        self.opened_us = time.time_ns() // 1000
        descriptor = descriptors[serials.index(serial) if serial else 0]
        self._camera: Any = _attempt(
            lambda: dv.io.camera.open(descriptor), f"{self._name}: the camera does not open; {_ACCESS}, or {_FIRMWARE}"
        )
        settings.apply_to(self._camera)
        self._switch_on()
        width_px, height_px = self._camera.getEventResolution()
        available = {
            "events": self._camera.isEventStreamAvailable(),
            "frames": self._camera.isFrameStreamAvailable(),
            "imu": self._camera.isImuStreamAvailable(),
            "triggers": self._camera.isTriggerStreamAvailable(),
        }
        streams = tuple(name for name, there in available.items() if there)
        self._info = SourceInfo(str(self._camera.getCameraName()), width_px, height_px, streams, live=True)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Packet:
        """Return what the camera delivered, an empty packet when that is nothing for 10 ms.

        Raises:
            SourceError: the camera was unplugged.
        """
        deadline_s = time.monotonic() + _READ_TIMEOUT_S
        while True:
            packet = self._poll()
            if len(packet.events) or len(packet.triggers) or len(packet.imu) or packet.frames:
                return packet
            if not self._camera.isRunning():
                raise SourceError(
                    f"{self._name}: {self._info.camera} stopped; check its cable and power, then reopen it"
                )
            if time.monotonic() >= deadline_s:
                return packet
            time.sleep(_POLL_S)  # every call into dv holds the interpreter lock

    def close(self) -> None:
        """Give the camera back."""
        self._camera = None

    def _switch_on(self) -> None:
        self._camera.setTimeInterval(_COMMIT_INTERVAL)
        for setting in (
            "setEventsRunning",
            "setFramesRunning",
            "setImuRunningAccelerometer",
            "setImuRunningGyroscope",
            "setDetectorRisingEdges",
            "setDetectorFallingEdges",
            "setDetectorRunning",
        ):
            if hasattr(self._camera, setting):  # a DVXplorer has no frames, a Mini no detector
                getattr(self._camera, setting)(True)

    def _poll(self) -> Packet:
        camera = self._camera
        try:
            events = _drain(camera.getNextEventBatch)
            triggers = _drain(camera.getNextTriggerBatch) if "triggers" in self._info.streams else []
            samples = _drain(camera.getNextImuBatch) if "imu" in self._info.streams else []
            frames = _drain(camera.getNextFrame) if "frames" in self._info.streams else []
        except RuntimeError as error:
            raise SourceError(f"{self._name}: the camera broke off: {first_line(error)}; replug it") from None
        return Packet(
            joined([batch.numpy() for batch in events], EVENT_DTYPE),
            np.array([(item.timestamp, int(item.type)) for batch in triggers for item in batch], TRIGGER_DTYPE),
            np.array([_imu_row(sample) for batch in samples for sample in batch], IMU_DTYPE),
            tuple(_frame(frame) for frame in frames),
        )


def _load_dv() -> Any:
    try:
        import dv_processing
    except ImportError as error:
        raise SourceError(
            f"dv-processing does not load: {first_line(error)}; apt install libatomic1, pip install dv-processing"
        ) from None
    return dv_processing


def _attempt(action: Callable[[], Any], problem: str) -> Any:
    try:
        return action()
    except (RuntimeError, IndexError, ValueError) as error:
        raise SourceError(f"{problem} ({first_line(error)})") from None


def _drain(get_next: Callable[[], Any]) -> list[Any]:
    """Take what is there; a bound keeps one busy stream from holding up the others."""
    taken: list[Any] = []
    while len(taken) < _MAX_BATCHES and (item := get_next()) is not None:
        taken.append(item)
    return taken


def _imu_row(sample: Any) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    return (
        sample.timestamp,
        (sample.accelerometerX, sample.accelerometerY, sample.accelerometerZ),
        (sample.gyroscopeX, sample.gyroscopeY, sample.gyroscopeZ),
    )


def _frame(frame: Any) -> Frame:
    return Frame(frame.timestamp, frame.exposure // timedelta(microseconds=1), grey(frame.image))
