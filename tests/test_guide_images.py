"""Images of any driver become grey values."""

import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from edfv_ros.nodes.guide_images import guide_frame

GREY = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)


def message(encoding, pixels, *, padding=0, big_endian=False):
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    image = Image(height=2, width=3, encoding=encoding, is_bigendian=int(big_endian), step=rows.shape[1])
    image.header.stamp.sec, image.header.stamp.nanosec = 12, 345_678_000
    image.data.frombytes(rows.tobytes())
    return serialize_message(image)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels", "big_endian"),
    [
        ("mono8", GREY, False),
        ("8UC1", GREY, False),
        ("mono16", (GREY.astype("<u2") * 257), False),
        ("mono16", (GREY.astype(">u2") * 257), True),
        ("bgr8", np.repeat(GREY[..., None], 3, axis=2), False),
        ("rgba8", np.dstack([GREY, GREY, GREY, GREY * 0]), False),
    ],
)
def test_grey_stays_grey_in_every_encoding(encoding, pixels, big_endian, padding):
    padding *= pixels.dtype.itemsize
    frame = guide_frame(message(encoding, pixels, padding=padding, big_endian=big_endian))
    np.testing.assert_array_equal(frame.image, GREY)
    assert (frame.timestamp_us, frame.exposure_us) == (12_345_678, 0)


@pytest.mark.parametrize(("encoding", "grey"), [("bgr8", (29, 150, 76)), ("rgb8", (76, 150, 29))])
def test_colours_weigh_as_the_eye_sees_them(encoding, grey):
    pixels = np.zeros((2, 3, 3), np.uint8)
    for channel in range(3):
        pixels[:, channel, channel] = 255
    assert guide_frame(message(encoding, pixels)).image[0].tolist() == list(grey)


def test_an_encoding_that_needs_cv_bridge_says_so_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(ValueError) as caught:
        guide_frame(message("bayer_rggb8", GREY))
    assert "'bayer_rggb8' need cv_bridge" in str(caught.value) and "cv-bridge" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_with_too_few_bytes_is_refused():
    with pytest.raises(ValueError, match="bgr8 rows of 3 pixels have 3 bytes"):
        guide_frame(message("bgr8", GREY))
