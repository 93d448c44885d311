"""Numpy arrays to ROS messages: pure functions, as REP 103, 117 and 118 ask.

Array fields are filled through a memory view: assigning a numpy array or a list to them is hundreds of times slower.
"""

import sys
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2, PointField
from std_msgs.msg import Header

from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.outputs.cloud_fields import CLOUD_FIELDS
from edfv_ros.rig import Camera

FOCUS_JOINT = "focus"
_PIXEL_TYPES = {"32FC1": ("f4", 1), "16UC1": ("u2", 1), "mono8": ("u1", 1), "rgb8": ("u1", 3)}
_MM_PER_M = 1000.0
_LARGEST_MM = 65535


def header(timestamp_us: int, frame_id: str) -> Header:
    """Header for a moment in unix microseconds."""
    seconds, microseconds = divmod(int(timestamp_us), 1_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=microseconds * 1000), frame_id=frame_id)


def float_image(header: Header, image: NDArray[np.float32]) -> Image:
    """32FC1 image of float32 [H, W]: metres for depth and uncertainty, 0 to 1 for confidence."""
    return _image(header, np.ascontiguousarray(image, np.float32), "32FC1")


def millimetre_image(header: Header, depth_m: NDArray[np.float32]) -> Image:
    """16UC1 image of depth float32 [H, W] in metres, as REP 118 has it: whole millimetres, 0 where there is no depth.

    REP 118 knows no other value for that: NaN, both infinities and what is 65.5355 m and farther become 0.
    """
    with np.errstate(invalid="ignore"):
        depth_mm = np.rint(depth_m * np.float32(_MM_PER_M))
        known = (depth_mm >= 1) & (depth_mm <= _LARGEST_MM)
    return _image(header, np.where(known, depth_mm, np.float32(0.0)).astype(np.uint16), "16UC1")


def mono_image(header: Header, image: NDArray[np.uint8]) -> Image:
    """mono8 image of uint8 [H, W]."""
    return _image(header, np.ascontiguousarray(image, np.uint8), "mono8")


def colour_image(header: Header, image: NDArray[np.uint8]) -> Image:
    """rgb8 image of uint8 [H, W, 3]."""
    return _image(header, np.ascontiguousarray(image, np.uint8), "rgb8")


def _image(header: Header, image: NDArray[np.generic], encoding: str) -> Image:
    height, width = image.shape[:2]
    message = Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=image.strides[0],
    )
    message.data.frombytes(image.data.cast("B"))
    return message


def limited_depth(
    depth_m: NDArray[np.float32],
    confidence: NDArray[np.float32],
    *,
    threshold: float,
    near_m: float,
    far_m: float,
) -> NDArray[np.float32]:
    """Depth as it is published: NaN below the confidence threshold, -Inf when too near, +Inf when too far (REP 117).

    Args:
        depth_m: float32 [H, W], NaN where unknown; left as it is.
        confidence: float32 [H, W], 0 to 1.
        threshold: lowest confidence that is kept.
        near_m: nearest depth that is kept.
        far_m: farthest depth that is kept; 0 for no limit.
    """
    depth_m = np.where(confidence >= threshold, depth_m, np.float32(np.nan))
    depth_m[depth_m < near_m] = -np.inf
    if far_m:
        depth_m[depth_m > far_m] = np.inf
    return depth_m


def camera_info(header: Header, camera: Camera) -> CameraInfo:
    """Intrinsics of the unrectified image: P is K with a fourth column of zeros, R is the identity."""
    k = camera.intrinsics
    return CameraInfo(
        header=header,
        height=camera.height_px,
        width=camera.width_px,
        distortion_model="plumb_bob",
        d=list(k.distortion),
        k=[k.fx_px, 0.0, k.cx_px, 0.0, k.fy_px, k.cy_px, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[k.fx_px, 0.0, k.cx_px, 0.0, 0.0, k.fy_px, k.cy_px, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def point_cloud(header: Header, points: NDArray[np.float32]) -> PointCloud2:
    """Cloud of float32 x, y, z, intensity, confidence, uncertainty.

    Args:
        header: stamp and optical frame.
        points: from :func:`edfv_ros.outputs.cloud.cloud_points`: [H, W, 6] becomes an organised cloud, in which NaN
            coordinates are no points; [N, 6] a dense one.
    """
    rows, columns = points.shape[:2] if points.ndim == 3 else (1, len(points))
    message = PointCloud2(
        header=header,
        height=rows,
        width=columns,
        fields=[
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate(CLOUD_FIELDS)
        ],
        is_bigendian=sys.byteorder == "big",
        point_step=points.itemsize * len(CLOUD_FIELDS),
        row_step=points.itemsize * len(CLOUD_FIELDS) * columns,
        is_dense=points.ndim == 2,
    )
    if points.size:  # an empty array has no bytes to be cast
        message.data.frombytes(points.data.cast("B"))
    return message


def lens_state(header: Header, sweep: FocusSweep) -> JointState:
    """Focus at the end of a sweep: position in dioptres, velocity in dioptres per second."""
    duration_s = (sweep.timestamps_us[-1] - sweep.timestamps_us[0]) * 1e-6
    travelled_dpt = sweep.vergence_dpt[-1] - sweep.vergence_dpt[0]
    return JointState(
        header=header,
        name=[FOCUS_JOINT],
        position=[float(sweep.vergence_dpt[-1])],
        velocity=[float(travelled_dpt / duration_s)],
    )


def optical_transform(stamp: Time, link_frame: str, optical_frame: str) -> TransformStamped:
    """The camera body (x forward, y left, z up) to its optical frame (z forward, x right, y down), same origin."""
    message = TransformStamped(header=Header(stamp=stamp, frame_id=link_frame), child_frame_id=optical_frame)
    rotation = message.transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = -0.5, 0.5, -0.5, 0.5
    return message


def image_array(message: Image) -> NDArray[np.generic]:
    """The pixels of a 32FC1, 16UC1 or mono8 image as a read-only view [H, W]; of an rgb8 image [H, W, 3].

    Raises:
        ValueError: another encoding.
    """
    if message.encoding not in _PIXEL_TYPES:
        raise ValueError(f"encoding {message.encoding} is not one of {', '.join(_PIXEL_TYPES)}")
    kind, channels = _PIXEL_TYPES[message.encoding]
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : message.width * channels * dtype.itemsize].view(dtype)
    return pixels if channels == 1 else pixels.reshape(message.height, message.width, channels)


def cloud_array(message: PointCloud2, names: Sequence[str] = CLOUD_FIELDS) -> NDArray[np.float32]:
    """The points of a cloud made by :func:`point_cloud` as a read-only view [H, W, 6], of a dense one [1, N, 6].

    Raises:
        ValueError: the cloud's fields are others.
    """
    if [field.name for field in message.fields] != list(names) or message.point_step != 4 * len(names):
        raise ValueError(f"the cloud's fields are not {', '.join(names)}")
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, len(names))
