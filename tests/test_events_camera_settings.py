"""What a user sets of a camera, from the address to the calls of dv-processing."""

from datetime import timedelta
from types import SimpleNamespace

import dv_processing as dv
import pytest

from edfv_ros.errors import SourceError
from edfv_ros.events.camera_settings import CameraSettings, parse_biases


class Recorder:
    """A camera that keeps the calls of its setters."""

    def __init__(self, *setters, **attributes):
        self.calls = []
        for name in setters:
            setattr(self, name, lambda *values, name=name: self.calls.append((name, *values)))
        for name, value in attributes.items():
            setattr(self, name, value)


def davis():
    return Recorder(
        "setAutoExposure",
        "setExposureDuration",
        "setDavis346BiasCoarseFine",
        Davis346BiasCF=dv.io.camera.DAVIS.Davis346BiasCF,
    )


@pytest.mark.parametrize(
    ("settings", "uri"),
    [
        (CameraSettings(), "camera:"),
        (CameraSettings("DXA00080"), "camera:DXA00080"),
        (CameraSettings("", 8000), "camera:?exposure_us=8000"),
        (CameraSettings("A", 0, "On=4/34 Off=4/1"), "camera:A?biases=On%3D4%2F34+Off%3D4%2F1"),
    ],
)
def test_the_address_holds_the_settings(settings, uri):
    assert settings.uri == uri
    assert CameraSettings.from_uri(uri) == settings


def test_an_address_may_be_written_by_hand():
    assert CameraSettings.from_uri("camera:A?biases=On=4/34 Off=4/1&exposure_us=500") == CameraSettings(
        "A", 500, "On=4/34 Off=4/1"
    )


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("camera:A?exposure=5", "no setting exposure"),
        ("camera:A?exposure_us=-5", "exposure_us is -5: allowed is 0 to 1000000"),
        ("camera:A?exposure_us=2000000", "exposure_us is 2000000"),
        ("camera:A?biases=On", "bias On: write NAME=COARSE/FINE"),
        ("camera:A?biases=On=8/0", "bias On=8/0: allowed is 0/0 to 7/255"),
        ("camera:A?biases=On=4", "bias On=4: write NAME=COARSE/FINE"),
        ("camera:A?biases=ContrastThresholdOn=4/2", "bias ContrastThresholdOn=4/2: write"),
        ("camera:A?biases=On=4/1 On=4/2", "On is given twice"),
    ],
)
def test_what_cannot_be_is_one_line(uri, words):
    with pytest.raises(SourceError) as caught:
        CameraSettings.from_uri(uri)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_set_touches_nothing():
    camera = davis()
    CameraSettings("A").apply_to(camera)
    assert camera.calls == [] and parse_biases("") == {}


def test_a_davis_gets_its_exposure_and_biases():
    camera = davis()
    CameraSettings("A", 8000, "On=4/34 Refractory=3/25").apply_to(camera)
    biases = dv.io.camera.DAVIS.Davis346BiasCF
    assert camera.calls == [
        ("setAutoExposure", False),
        ("setExposureDuration", timedelta(milliseconds=8)),
        ("setDavis346BiasCoarseFine", biases.On, 4, 34),
        ("setDavis346BiasCoarseFine", biases.Refractory, 3, 25),
    ]


@pytest.mark.parametrize("name", ["DAVIS", "DVXplorer", "DVXplorerM"])
def test_the_setters_are_there_in_dv_processing(name):
    camera = getattr(dv.io.camera, name)
    wanted = {"DAVIS": ["setAutoExposure", "setExposureDuration", "setDavis346BiasCoarseFine"]}
    for setter in wanted.get(name, ["setContrastThresholdOn", "setContrastThresholdOff"]):
        assert callable(getattr(camera, setter))


def test_a_dvxplorer_gets_its_thresholds():
    camera = Recorder("setContrastThresholdOn", "setContrastThresholdOff")
    CameraSettings("A", 0, "ContrastThresholdOn=10 ContrastThresholdOff=12").apply_to(camera)
    assert camera.calls == [("setContrastThresholdOn", 10), ("setContrastThresholdOff", 12)]


def test_a_camera_without_the_setting_or_that_refuses_says_so():
    def refuse(value):
        raise RuntimeError("/project/camera.hpp(7): set()\nvalue out of range\nStacktrace:\n 0# 0x1")

    dvxplorer = SimpleNamespace(setContrastThresholdOn=refuse)
    for settings, words in (
        (CameraSettings("A", 8000), "exposure_us = 8000: this camera has no such setting"),
        (CameraSettings("A", 0, "On=4/34"), "bias On = 4/34: this camera has no such bias"),
        (
            CameraSettings("A", 0, "ContrastThresholdOn=99"),
            "ContrastThresholdOn = 99: the camera refuses it: value out",
        ),
    ):
        with pytest.raises(SourceError) as caught:
            settings.apply_to(dvxplorer)
        assert words in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="this camera has no such bias"):
        CameraSettings("A", 0, "Onn=4/34").apply_to(davis())
