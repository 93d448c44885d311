"""The ROS 2 message types in a bag, as their packages define them: what makes a bag readable without those packages."""

from typing import Final

EVENT_PACKET: Final = "event_camera_msgs/msg/EventPacket"
IMAGE: Final = "sensor_msgs/msg/Image"
CAMERA_INFO: Final = "sensor_msgs/msg/CameraInfo"
POINT_CLOUD: Final = "sensor_msgs/msg/PointCloud2"
JOINT_STATE: Final = "sensor_msgs/msg/JointState"
IMU: Final = "sensor_msgs/msg/Imu"
TIME_REFERENCE: Final = "sensor_msgs/msg/TimeReference"

_SEPARATOR = "=" * 80

_HEADER = """\
builtin_interfaces/Time stamp
string frame_id
"""

_TIME = """\
int32 sec
uint32 nanosec
"""

_HEADER_PARTS = {"std_msgs/Header": _HEADER, "builtin_interfaces/Time": _TIME}

_FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    EVENT_PACKET: (
        """\
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
""",
        {},
    ),
    IMAGE: (
        """\
std_msgs/Header header
uint32 height
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data
""",
        {},
    ),
    CAMERA_INFO: (
        """\
std_msgs/Header header
uint32 height
uint32 width
string distortion_model
float64[] d
float64[9] k
float64[9] r
float64[12] p
uint32 binning_x
uint32 binning_y
RegionOfInterest roi
""",
        {
            "sensor_msgs/RegionOfInterest": """\
uint32 x_offset
uint32 y_offset
uint32 height
uint32 width
bool do_rectify
"""
        },
    ),
    POINT_CLOUD: (
        """\
std_msgs/Header header
uint32 height
uint32 width
PointField[] fields
bool is_bigendian
uint32 point_step
uint32 row_step
uint8[] data
bool is_dense
""",
        {
            "sensor_msgs/PointField": """\
uint8 INT8=1
uint8 UINT8=2
uint8 INT16=3
uint8 UINT16=4
uint8 INT32=5
uint8 UINT32=6
uint8 FLOAT32=7
uint8 FLOAT64=8
string name
uint32 offset
uint8 datatype
uint32 count
"""
        },
    ),
    JOINT_STATE: (
        """\
std_msgs/Header header
string[] name
float64[] position
float64[] velocity
float64[] effort
""",
        {},
    ),
    IMU: (
        """\
std_msgs/Header header
geometry_msgs/Quaternion orientation
float64[9] orientation_covariance
geometry_msgs/Vector3 angular_velocity
float64[9] angular_velocity_covariance
geometry_msgs/Vector3 linear_acceleration
float64[9] linear_acceleration_covariance
""",
        {
            "geometry_msgs/Quaternion": "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n",
            "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z\n",
        },
    ),
    TIME_REFERENCE: (
        """\
std_msgs/Header header
builtin_interfaces/Time time_ref
string source
""",
        {},
    ),
}


def definition(message_type: str) -> str:
    """The definition of a type and of those within it, in the form that MCAP calls ``ros2msg``."""
    fields, parts = _FIELDS[message_type]
    within = [f"{_SEPARATOR}\nMSG: {name}\n{text}" for name, text in {**_HEADER_PARTS, **parts}.items()]
    return fields + "".join(within)
