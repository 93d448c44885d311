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
from edfv_ros.rig import Camera

CLOUD_FIELDS = ("x", "y", "z", "confidence")
FOCUS_JOINT = "focus"


def header(timestamp_us: int, frame_id: str) -> Header:
    """Header for a moment in unix microseconds."""
    seconds, microseconds = divmod(int(timestamp_us), 1_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=microseconds * 1000), frame_id=frame_id)


def float_image(header: Header, image: NDArray[np.float32]) -> Image:
    """32FC1 image of float32 [H, W]: metres for depth, 0 to 1 for confidence."""
    return _image(header, np.ascontiguousarray(image, np.float32), "32FC1")


def mono_image(header: Header, image: NDArray[np.uint8]) -> Image:
    """mono8 image of uint8 [H, W]."""
    return _image(header, np.ascontiguousarray(image, np.uint8), "mono8")


def _image(header: Header, image: NDArray[np.generic], encoding: str) -> Image:
    height, width = image.shape
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


def point_cloud(
    header: Header, depth_m: NDArray[np.float32], confidence: NDArray[np.float32], rays: NDArray[np.float32]
) -> PointCloud2:
    """Organised cloud of float32 x, y, z, confidence; NaN coordinates where depth is not finite.

    Args:
        header: stamp and optical frame.
        depth_m: float32 [H, W], z along the optical axis.
        confidence: float32 [H, W], 0 to 1.
        rays: float32 [H, W, 3] from :func:`edfv_ros.rig.rays.pixel_rays`.
    """
    height, width = depth_m.shape
    cloud = np.empty((height, width, len(CLOUD_FIELDS)), np.float32)
    known_m = np.where(np.isfinite(depth_m), depth_m, np.float32(np.nan))
    np.multiply(rays, known_m[..., None], out=cloud[..., :3])
    cloud[..., 3] = confidence
    message = PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=[
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate(CLOUD_FIELDS)
        ],
        is_bigendian=sys.byteorder == "big",
        point_step=cloud.strides[1],
        row_step=cloud.strides[0],
        is_dense=False,
    )
    message.data.frombytes(cloud.data.cast("B"))
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
    """The pixels of a 32FC1 or mono8 image as a read-only view [H, W].

    Raises:
        ValueError: another encoding.
    """
    dtypes = {"32FC1": "f4", "mono8": "u1"}
    if message.encoding not in dtypes:
        raise ValueError(f"encoding {message.encoding} is not one of {', '.join(dtypes)}")
    dtype = np.dtype((">" if message.is_bigendian else "<") + dtypes[message.encoding])
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width * dtype.itemsize].view(dtype)


def cloud_array(message: PointCloud2, names: Sequence[str] = CLOUD_FIELDS) -> NDArray[np.float32]:
    """The points of a cloud made by :func:`point_cloud` as a read-only view [H, W, 4].

    Raises:
        ValueError: the cloud's fields are others.
    """
    if [field.name for field in message.fields] != list(names) or message.point_step != 4 * len(names):
        raise ValueError(f"the cloud's fields are not {', '.join(names)}")
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, len(names))
