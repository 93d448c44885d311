"""What a bag of ours holds, by name."""

from typing import Final

from edfv_ros.bags.definitions import (
    CAMERA_INFO,
    EVENT_PACKET,
    IMAGE,
    IMU,
    JOINT_STATE,
    POINT_CLOUD,
    TIME_REFERENCE,
)

TOPICS: Final = {
    "/events": EVENT_PACKET,
    "/triggers": EVENT_PACKET,
    "/frame": IMAGE,
    "/frame/exposure": TIME_REFERENCE,
    "/imu": IMU,
    "/lens/state": JOINT_STATE,
    "/camera_info": CAMERA_INFO,
    "/depth": IMAGE,
    "/confidence": IMAGE,
    "/points": POINT_CLOUD,
}
"""The topics that a bag may have: those of the depth node, and beside them what comes from camera and lens."""

RIG_ATTACHMENT: Final = "rig.yaml"
TRUTH_ATTACHMENT: Final = "depth_gt.npy"

METADATA_NAME: Final = "edfv_ros"
"""The record that says what no topic does: camera, width_px, height_px, streams."""
