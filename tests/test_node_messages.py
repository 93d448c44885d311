"""Messages are made by pure functions: no node, no spinning."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.nodes import messages
from edfv_ros.rig import load_rig

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


def test_millimetres_are_rounded_and_what_is_no_depth_is_0():
    depth_m = np.array([[1.2344, 0.0004, 65.5351, 65.536, np.nan, np.inf, -np.inf, 0.0006]], np.float32)
    message = messages.millimetre_image(HEADER, depth_m)
    assert (message.encoding, message.step) == ("16UC1", 16)
    assert messages.image_array(message).tolist() == [[1234, 0, 65535, 0, 0, 0, 0, 1]]


def test_colour_image_holds_the_array():
    image = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    message = messages.colour_image(HEADER, image)
    assert (message.width, message.height, message.encoding, message.step) == (5, 2, "rgb8", 15)
    np.testing.assert_array_equal(messages.image_array(message), image)


def test_an_organised_cloud_has_the_rows_of_the_image():
    points = np.arange(4 * 3 * 6, dtype=np.float32).reshape(4, 3, 6)
    message = messages.point_cloud(HEADER, points)
    assert (message.width, message.height, message.point_step, message.row_step) == (3, 4, 24, 24 * 3)
    assert not message.is_dense
    names = ("x", "y", "z", "intensity", "confidence", "uncertainty")
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        (name, 4 * index, messages.PointField.FLOAT32, 1) for index, name in enumerate(names)
    ]
    np.testing.assert_array_equal(messages.cloud_array(message), points)


@pytest.mark.parametrize("count", [0, 5])
def test_a_dense_cloud_is_one_row(count):
    points = np.arange(count * 6, dtype=np.float32).reshape(count, 6)
    message = messages.point_cloud(HEADER, points)
    assert (message.width, message.height, message.row_step, message.is_dense) == (count, 1, 24 * count, True)
    assert len(message.data) == 24 * count
    np.testing.assert_array_equal(messages.cloud_array(message)[0], points)


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
