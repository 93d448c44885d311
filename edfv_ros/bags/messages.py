"""Numpy arrays to the bytes of ROS 2 messages and back, as REP 103, 117 and 118 ask."""

import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edfv_ros.bags.cdr import CdrError, CdrReader, CdrWriter
from edfv_ros.errors import OutputError
from edfv_ros.events.types import IMU_DTYPE
from edfv_ros.outputs.cloud_fields import CLOUD_FIELDS

if TYPE_CHECKING:
    from edfv_ros.rig import Camera

FOCUS_JOINT: Final = "focus"

_FLOAT32: Final = 7  # PointField.FLOAT32
_STANDARD_GRAVITY_M_S2: Final = 9.80665
_NS_PER_S: Final = 1_000_000_000
_LAST_SECOND: Final = 2**31 - 1
_IS_BIG_ENDIAN: Final = sys.byteorder == "big"
_UNKNOWN: Final = np.array([-1.0, *[0.0] * 8])  # a covariance whose first element says that there is no such value


class Header(NamedTuple):
    """std_msgs/Header: unix time in nanoseconds and frame id."""

    stamp_ns: int
    frame_id: str


class EventPacket(NamedTuple):
    """event_camera_msgs/EventPacket; ``data`` is uint8 [N], read-only."""

    header: Header
    height_px: int
    width_px: int
    sequence: int
    time_base_ns: int
    encoding: str
    data: NDArray[np.uint8]


class RawImage(NamedTuple):
    """sensor_msgs/Image as it came; ``rows`` is uint8 [height_px, step], read-only."""

    header: Header
    height_px: int
    width_px: int
    encoding: str
    is_big_endian: bool
    rows: NDArray[np.uint8]


def event_packet(packet: EventPacket) -> bytes:
    """event_camera_msgs/EventPacket, little endian."""
    writer = _begin(packet.header)
    writer.put("I", packet.height_px, packet.width_px)
    writer.put("Q", packet.sequence)
    writer.put("Q", packet.time_base_ns)
    writer.put_string(packet.encoding)
    writer.put("?", False)
    writer.put_sequence(packet.data)
    return bytes(writer)


def read_event_packet(data: bytes) -> EventPacket:
    """The fields of an event_camera_msgs/EventPacket.

    Raises:
        CdrError: it is none, or its events are big endian.
    """
    reader = CdrReader(data)
    header = _read_header(reader)
    height_px, width_px = reader.get("I"), reader.get("I")
    sequence, time_base_ns = reader.get("Q"), reader.get("Q")
    encoding, is_big_endian = reader.get_string(), reader.get("B")
    if is_big_endian:
        raise CdrError("events of a big-endian machine")
    events = reader.get_sequence("u1")
    return EventPacket(header, height_px, width_px, sequence, time_base_ns, encoding, events)  # type: ignore[arg-type]


def image(header: Header, pixels: NDArray[np.generic]) -> bytes:
    """sensor_msgs/Image: 32FC1 of float32 [H, W], mono8 of uint8 [H, W]."""
    encoding = {"float32": "32FC1", "uint8": "mono8"}[pixels.dtype.name]
    height_px, width_px = pixels.shape
    writer = _begin(header)
    writer.put("I", height_px, width_px)
    writer.put_string(encoding)
    writer.put("B", _IS_BIG_ENDIAN)
    writer.put("I", width_px * pixels.itemsize)
    writer.put_sequence(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8))
    return bytes(writer)


def read_image(data: bytes) -> RawImage:
    """The fields of a sensor_msgs/Image.

    Raises:
        CdrError: it is no image, or has not the number of bytes that it says.
    """
    reader = CdrReader(data)
    header = _read_header(reader)
    height_px, width_px = reader.get("I"), reader.get("I")
    encoding, is_big_endian, step = reader.get_string(), reader.get("B"), reader.get("I")
    pixels = reader.get_sequence("u1")
    if pixels.size != height_px * step:
        raise CdrError(f"an image of {width_px} x {height_px} has {pixels.size} bytes")
    rows: NDArray[np.uint8] = pixels.reshape(height_px, step)  # type: ignore[assignment]
    return RawImage(header, height_px, width_px, encoding, bool(is_big_endian), rows)


def read_mono_image(data: bytes) -> tuple[Header, NDArray[np.uint8]] | None:
    """Header and read-only pixels [H, W] of a mono8 image; None for another encoding.

    Raises:
        CdrError: it is no image.
    """
    image = read_image(data)
    if image.encoding != "mono8":
        return None
    if image.rows.shape[1] < image.width_px:
        raise CdrError(f"an image of {image.width_px} x {image.height_px} has {image.rows.size} bytes")
    return image.header, image.rows[:, : image.width_px]


def camera_info(header: Header, camera: "Camera") -> bytes:
    """sensor_msgs/CameraInfo of the unrectified image: P is K with a fourth column of zeros, R is the identity."""
    k = camera.intrinsics
    writer = _begin(header)
    writer.put("I", camera.height_px, camera.width_px)
    writer.put_string("plumb_bob")
    writer.put_sequence(np.array(k.distortion))
    writer.put_array(np.array([k.fx_px, 0.0, k.cx_px, 0.0, k.fy_px, k.cy_px, 0.0, 0.0, 1.0]))
    writer.put_array(np.eye(3))
    writer.put_array(np.array([k.fx_px, 0.0, k.cx_px, 0.0, 0.0, k.fy_px, k.cy_px, 0.0, 0.0, 0.0, 1.0, 0.0]))
    writer.put("I", 0, 0, 0, 0, 0, 0)  # binning and region of interest: the whole sensor
    writer.put("?", False)
    return bytes(writer)


def point_cloud(header: Header, points: NDArray[np.float32]) -> bytes:
    """sensor_msgs/PointCloud2, organised: float32 x, y, z, intensity, confidence, uncertainty.

    Args:
        header: stamp and optical frame.
        points: float32 [H, W, 6] from :func:`edfv_ros.outputs.cloud.cloud_points`.
    """
    height_px, width_px = points.shape[:2]
    writer = _begin(header)
    writer.put("I", height_px, width_px, len(CLOUD_FIELDS))
    for index, name in enumerate(CLOUD_FIELDS):
        writer.put_string(name)
        writer.put("I", 4 * index)
        writer.put("B", _FLOAT32)
        writer.put("I", 1)
    writer.put("?", _IS_BIG_ENDIAN)
    writer.put("I", points.strides[1], points.strides[0])
    writer.put_sequence(points.reshape(-1).view(np.uint8))
    writer.put("?", False)
    return bytes(writer)


def focus_state(header: Header, vergence_dpt: float) -> bytes:
    """sensor_msgs/JointState: the focus in dioptres."""
    writer = _begin(header)
    writer.put("I", 1)
    writer.put_string(FOCUS_JOINT)
    writer.put_sequence(np.array([vergence_dpt]))
    writer.put("I", 0, 0)
    return bytes(writer)


def read_focus_state(data: bytes) -> tuple[Header, float] | None:
    """Header and focus in dioptres of a sensor_msgs/JointState; None where it has no joint of that name.

    Raises:
        CdrError: it is no JointState.
    """
    reader = CdrReader(data)
    header = _read_header(reader)
    names = [reader.get_string() for _ in range(min(reader.get("I"), len(data)))]
    positions = reader.get_sequence("f8")
    if FOCUS_JOINT not in names or len(positions) != len(names):
        return None
    return header, float(positions[names.index(FOCUS_JOINT)])


def time_reference(header: Header, reference_ns: int, source: str) -> bytes:
    """sensor_msgs/TimeReference: another time that belongs to a header's."""
    writer = _begin(header)
    _put_time(writer, reference_ns)
    writer.put_string(source)
    return bytes(writer)


def read_time_reference(data: bytes) -> tuple[Header, int]:
    """Header and the other time in nanoseconds.

    Raises:
        CdrError: it is no TimeReference.
    """
    reader = CdrReader(data)
    return _read_header(reader), _get_time(reader)


def imu(header: Header, sample: np.void) -> bytes:
    """sensor_msgs/Imu of one item of IMU_DTYPE: m/s^2 and rad/s, no orientation."""
    writer = _begin(header)
    writer.put_array(np.array([0.0, 0.0, 0.0, 1.0]))
    writer.put_array(_UNKNOWN)
    writer.put_array(np.deg2rad(sample["gyroscope_deg_s"].astype(np.float64)))
    writer.put_array(np.zeros(9))
    writer.put_array(sample["accelerometer_g"].astype(np.float64) * _STANDARD_GRAVITY_M_S2)
    writer.put_array(np.zeros(9))
    return bytes(writer)


def read_imu(data: bytes) -> NDArray[np.void]:
    """IMU_DTYPE [1] of a sensor_msgs/Imu; what :func:`imu` wrote comes back exactly.

    Raises:
        CdrError: it is no Imu.
    """
    reader = CdrReader(data)
    header = _read_header(reader)
    values = reader.get_array("f8", 37).astype(np.float64)
    sample = np.zeros(1, IMU_DTYPE)
    sample["timestamp"] = header.stamp_ns // 1000
    sample["gyroscope_deg_s"] = np.rad2deg(values[13:16])
    sample["accelerometer_g"] = values[25:28] / _STANDARD_GRAVITY_M_S2
    return sample


def _begin(header: Header) -> CdrWriter:
    writer = CdrWriter()
    _put_time(writer, header.stamp_ns)
    writer.put_string(header.frame_id)
    return writer


def _put_time(writer: CdrWriter, time_ns: int) -> None:
    seconds, nanoseconds = divmod(time_ns, _NS_PER_S)
    if not 0 <= seconds <= _LAST_SECOND:
        raise OutputError(f"a time of {seconds} s: ROS 2 knows those from 1970 to 2038 only: set the camera's clock")
    writer.put("i", seconds)
    writer.put("I", nanoseconds)


def _read_header(reader: CdrReader) -> Header:
    return Header(_get_time(reader), reader.get_string())


def _get_time(reader: CdrReader) -> int:
    return reader.get("i") * _NS_PER_S + reader.get("I")
