"""The live camera, as far as none allows: genuine dv objects from a camera that is not there."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import dv_processing as dv
import numpy as np
import pytest

from edfv_ros.errors import SourceError
from edfv_ros.events import camera as camera_module
from edfv_ros.events import open_source


class FakeDvxplorer:
    """What a DVXplorer offers: a detector and an inertial unit, no frames."""

    def __init__(self, start_us: int) -> None:
        self.start_us = start_us
        self.switched_on: set[str] = set()
        self.running = True
        self.events = [store([start_us - 1_000_000_000, start_us + 10]), store([start_us + 20])]
        edge = dv.Trigger(start_us + 15, dv.TriggerType.EXTERNAL_SIGNAL_RISING_EDGE)
        self.triggers = [[edge]]
        self.samples = [[dv.IMU(start_us + 12, 20.0, 0.5, 0.25, 1.0, 10.0, 20.0, 30.0, 0.0, 0.0, 0.0)]]
        for name in (
            "setEventsRunning",
            "setImuRunningAccelerometer",
            "setImuRunningGyroscope",
            "setDetectorRisingEdges",
            "setDetectorFallingEdges",
            "setDetectorRunning",
        ):
            setattr(self, name, lambda on, name=name: self.switched_on.add(name) if on else None)

    def setTimeInterval(self, interval: timedelta) -> None:
        assert interval <= timedelta(milliseconds=10)

    def getEventResolution(self) -> tuple[int, int]:
        return 640, 480

    def getCameraName(self) -> str:
        return "DVXplorer_DXA00080"

    def isEventStreamAvailable(self) -> bool:
        return True

    isImuStreamAvailable = isTriggerStreamAvailable = isEventStreamAvailable

    def isFrameStreamAvailable(self) -> bool:
        return False

    def isRunning(self) -> bool:
        return self.running

    def getNextEventBatch(self) -> Any:
        return self.events.pop(0) if self.events else None

    def getNextTriggerBatch(self) -> Any:
        return self.triggers.pop(0) if self.triggers else None

    def getNextImuBatch(self) -> Any:
        return self.samples.pop(0) if self.samples else None


def store(times_us: list[int]) -> Any:
    events = dv.EventStore()
    for time_us in times_us:
        events.push_back(time_us, 639, 479, True)
    return events


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDvxplorer:
    import time

    fake = FakeDvxplorer(time.time_ns() // 1000 + 1_000_000)
    use(monkeypatch, lambda: [SimpleNamespace(serialNumber="DXA00080")], lambda descriptor: fake)
    return fake


def use(monkeypatch: pytest.MonkeyPatch, discover: Any, open_camera: Any) -> None:
    module = SimpleNamespace(io=SimpleNamespace(camera=SimpleNamespace(discover=discover, open=open_camera)))
    monkeypatch.setattr(camera_module, "_load_dv", lambda: module)


def problem(uri: str) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(uri)
    assert "\n" not in str(caught.value) and "Stacktrace" not in str(caught.value)
    return str(caught.value)


def test_no_camera_says_what_to_do() -> None:
    message = problem("camera:")
    assert "no camera found" in message and "60-edfv.rules" in message and "152a" in message


def test_unknown_serial_names_those_that_are_there(fake: FakeDvxplorer) -> None:
    assert "found DXA00080" in problem("camera:NOPE")


def test_camera_that_does_not_open_hints_at_permissions_and_firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: object) -> None:
        raise RuntimeError("/project/usb.hpp(1): open()\nFailed to open USB device: permissions\nStacktrace:\n 0# 0x1")

    use(monkeypatch, lambda: [SimpleNamespace(serialNumber="A")], fail)
    message = problem("camera:A")
    assert "Failed to open USB device" in message and "udev" in message and "firmware" in message
    assert "/project" not in message


def test_streams_come_through_and_stale_data_do_not(fake: FakeDvxplorer) -> None:
    source = open_source("camera:DXA00080")
    assert source.info.streams == ("events", "imu", "triggers") and source.info.live
    assert {"setDetectorRisingEdges", "setDetectorFallingEdges", "setDetectorRunning"} <= fake.switched_on
    packet = source.read()
    assert packet is not None
    assert packet.events["timestamp"].tolist() == [fake.start_us + 10, fake.start_us + 20]
    assert np.all(packet.events["x"] == 639) and np.all(packet.events["polarity"] == 1)
    assert packet.triggers.tolist() == [(fake.start_us + 15, 1)]
    assert packet.imu["accelerometer_g"].tolist() == [[0.5, 0.25, 1.0]]
    assert packet.imu["gyroscope_deg_s"].tolist() == [[10.0, 20.0, 30.0]]
    assert source.health.problems == {"stale": 1}
    silence = source.read()
    assert silence is not None and not len(silence.events)


def test_unplugged_camera_is_an_error(fake: FakeDvxplorer) -> None:
    source = open_source("camera:")
    source.read()
    fake.running = False
    with pytest.raises(SourceError, match=r"DVXplorer_DXA00080 stopped; check its cable"):
        source.read()
    source.close()


def test_mini_without_detector_opens(fake: FakeDvxplorer) -> None:
    for name in ("setDetectorRisingEdges", "setDetectorFallingEdges", "setDetectorRunning"):
        delattr(fake, name)
    assert open_source("camera:").info.width_px == 640
