"""Images of other cameras' drivers to the grey values that guide the depth."""

import importlib
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edfv_ros.bags.messages import RawImage, read_image
from edfv_ros.events.packing import grey
from edfv_ros.events.types import Frame

_ENCODINGS = {
    "mono8": ("u1", 1, None),
    "8UC1": ("u1", 1, None),
    "mono16": ("u2", 1, None),
    "16UC1": ("u2", 1, None),
    "bgr8": ("u1", 3, None),
    "8UC3": ("u1", 3, None),
    "bgra8": ("u1", 4, None),
    "rgb8": ("u1", 3, (2, 1, 0)),
    "rgba8": ("u1", 4, (2, 1, 0)),
}
"""Kind of number, numbers a pixel, and how they become blue, green, red where they are not."""


def guide_frame(data: bytes) -> Frame:
    """The frame of a serialised sensor_msgs/Image; its exposure is not known and taken as nothing.

    Raises:
        ValueError: it is no image, or of an encoding that needs cv_bridge, which is not there.
    """
    image = read_image(data)
    pixels = _own_grey(image) if image.encoding in _ENCODINGS else _bridged_grey(image.encoding, data)
    return Frame(image.header.stamp_ns // 1000, 0, pixels)


def _own_grey(image: RawImage) -> NDArray[np.uint8]:
    kind, channels, order = _ENCODINGS[image.encoding]
    dtype = np.dtype((">" if image.is_big_endian else "<") + kind)
    row_bytes = image.width_px * channels * dtype.itemsize
    if image.rows.shape[1] < row_bytes:
        raise ValueError(f"{image.encoding} rows of {image.width_px} pixels have {image.rows.shape[1]} bytes")
    values = np.ascontiguousarray(image.rows[:, :row_bytes]).view(dtype)
    if channels == 1:
        return grey(values.astype(dtype.newbyteorder("="), copy=False))
    coloured = values.reshape(image.height_px, image.width_px, channels)
    return grey(coloured if order is None else coloured[..., order])


def _bridged_grey(encoding: str, data: bytes) -> NDArray[np.uint8]:
    try:
        bridge: Any = importlib.import_module("cv_bridge").CvBridge()
    except (ImportError, AttributeError) as error:  # built for another numpy, it breaks in its own ways
        distribution = os.environ.get("ROS_DISTRO", "jazzy")
        raise ValueError(
            f"images encoded as {encoding!r} need cv_bridge, which does not load ({error}): sudo apt install "
            f"ros-{distribution}-cv-bridge, or let the driver send mono8"
        ) from None
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import Image

    try:
        converted: NDArray[np.uint8] = bridge.imgmsg_to_cv2(deserialize_message(data, Image), "mono8")
    except Exception as error:  # cv_bridge's own, whose class cannot be named without it
        raise ValueError(f"images encoded as {encoding!r} cannot be converted by cv_bridge: {error}") from None
    return converted
