"""Messages are made by pure functions: no node, no spinning."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.nodes import messages
from edfv_ros.rig import load_rig
from edfv_ros.rig.rays import pixel_rays

RIG = load_rig("config/rig.yaml")
HEADER = messages.header(1_700_000_000_123_456, "davis0_optical_frame")


@pytest.fixture
def depth_m():
    rng = np.random.default_rng(1)
    depth_m = rng.uniform(0.3, 3.0, (260, 346)).astype(np.float32)
    depth_m[0, 0] = np.nan
    return depth_m


def test_header_keeps_microseconds():
    assert (HEADER.stamp.sec, HEADER.stamp.nanosec) == (1_700_000_000, 123_456_000)
    assert HEADER.frame_id == "davis0_optical_frame"


@pytest.mark.parametrize("order", ["C", "F"])
def test_depth_image_holds_the_array(depth_m, order):
    message = messages.float_image(HEADER, np.asarray(depth_m, order=order))
    assert (message.width, message.height, message.encoding, message.step) == (346, 260, "32FC1", 4 * 346)
    assert len(message.data) == message.step * message.height
    np.testing.assert_array_equal(messages.image_array(message), depth_m)


def test_mono_image_of_a_slice_has_tight_rows():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)[:, 2:7]
    message = messages.mono_image(HEADER, image)
    assert (message.encoding, message.step, len(message.data)) == ("mono8", 5, 40)
    np.testing.assert_array_equal(messages.image_array(message), image)


def test_image_array_minds_padding_and_byte_order():
    message = messages.float_image(HEADER, np.array([[1.5, 2.5]], np.float32))
    padded = messages.Image(height=1, width=2, encoding="32FC1", is_bigendian=1, step=12)
    padded.data.frombytes(np.array([1.5, 2.5, 0], ">f4").tobytes())
    np.testing.assert_array_equal(messages.image_array(padded), messages.image_array(message))
    with pytest.raises(ValueError, match="bgr8"):
        messages.image_array(messages.Image(encoding="bgr8"))


def test_limits_follow_rep_117():
    depth_m = np.array([[0.1, 1.0, 5.0, 1.0, np.nan]], np.float32)
    confidence = np.array([[1.0, 1.0, 1.0, 0.2, 1.0]], np.float32)
    limited = messages.limited_depth(depth_m, confidence, threshold=0.5, near_m=0.3, far_m=3.0)
    np.testing.assert_array_equal(limited, np.array([[-np.inf, 1.0, np.inf, np.nan, np.nan]], np.float32))
    assert limited.dtype == np.float32
    assert depth_m[0, 0] == np.float32(0.1), "the estimate is not changed"


def test_no_far_limit():
    limited = messages.limited_depth(
        np.array([[900.0]], np.float32), np.ones((1, 1), np.float32), threshold=0.0, near_m=0.0, far_m=0.0
    )
    assert limited[0, 0] == 900.0


def test_camera_info_is_complete():
    message = messages.camera_info(HEADER, RIG.camera)
    k = RIG.camera.intrinsics
    assert (message.width, message.height, message.distortion_model) == (346, 260, "plumb_bob")
    assert list(message.k) == [k.fx_px, 0, k.cx_px, 0, k.fy_px, k.cy_px, 0, 0, 1]
    assert list(message.p) == [k.fx_px, 0, k.cx_px, 0, 0, k.fy_px, k.cy_px, 0, 0, 0, 1, 0]
    np.testing.assert_array_equal(np.reshape(message.r, (3, 3)), np.eye(3))
    assert len(message.d) == 5
    assert message.header == HEADER


def test_cloud_is_organised_and_projects_back(depth_m):
    confidence = np.full(depth_m.shape, 0.75, np.float32)
    depth_m[1, 1], depth_m[2, 2] = np.inf, -np.inf
    message = messages.point_cloud(HEADER, depth_m, confidence, pixel_rays(RIG.camera))
    assert (message.width, message.height, message.point_step, message.row_step) == (346, 260, 16, 16 * 346)
    assert not message.is_dense
    assert [(f.name, f.offset, f.count) for f in message.fields] == [
        ("x", 0, 1), ("y", 4, 1), ("z", 8, 1), ("confidence", 12, 1),
    ]  # fmt: skip
    cloud = messages.cloud_array(message)
    assert np.isnan(cloud[[0, 1, 2], [0, 1, 2], :3]).all(), "points without a finite depth are NaN"
    np.testing.assert_array_equal(cloud[..., 3], confidence)
    x, y, z = cloud[200, 300, :3]
    k = RIG.camera.intrinsics
    assert z == depth_m[200, 300], "z along the optical axis (REP 118)"
    assert k.fx_px * x / z + k.cx_px == pytest.approx(300, abs=1e-3)
    assert k.fy_px * y / z + k.cy_px == pytest.approx(200, abs=1e-3)


@pytest.mark.parametrize(("first_dpt", "last_dpt"), [(0.3, 4.2), (4.2, 0.3)])
def test_lens_state_is_the_turning_point(first_dpt, last_dpt):
    sweep = FocusSweep(np.array([0.0, 50_000.0, 100_000.0]), np.linspace(first_dpt, last_dpt, 3))
    message = messages.lens_state(HEADER, sweep)
    assert list(message.name) == ["focus"]
    assert message.position[0] == pytest.approx(last_dpt)
    assert message.velocity[0] == pytest.approx((last_dpt - first_dpt) / 0.1)


def test_optical_frame_looks_along_x_of_the_body():
    message = messages.optical_transform(HEADER.stamp, "davis0_link", "davis0_optical_frame")
    q = message.transform.rotation
    v, w = np.array([q.x, q.y, q.z]), q.w

    def rotated(vector):
        return vector + 2 * np.cross(v, np.cross(v, vector) + w * vector)

    np.testing.assert_allclose(rotated(np.array([0.0, 0.0, 1.0])), [1, 0, 0], atol=1e-12)  # forward
    np.testing.assert_allclose(rotated(np.array([1.0, 0.0, 0.0])), [0, -1, 0], atol=1e-12)  # right
    np.testing.assert_allclose(rotated(np.array([0.0, 1.0, 0.0])), [0, 0, -1], atol=1e-12)  # down
    assert (message.header.frame_id, message.child_frame_id) == ("davis0_link", "davis0_optical_frame")
