"""The points of a depth image."""

import numpy as np
import pytest

from edfv_ros.outputs.cloud import cloud_points
from edfv_ros.outputs.cloud_fields import CLOUD_FIELDS
from edfv_ros.rig import load_rig
from edfv_ros.rig.rays import pixel_rays

CAMERA = load_rig("config/rig.yaml").camera
RAYS = pixel_rays(CAMERA)
X, Y, Z, INTENSITY, CONFIDENCE, UNCERTAINTY = range(len(CLOUD_FIELDS))


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    shape = (CAMERA.height_px, CAMERA.width_px)
    depth_m = rng.uniform(0.3, 3.0, shape).astype(np.float32)
    depth_m[[0, 1, 2], [0, 1, 2]] = np.nan, np.inf, -np.inf
    intensity = rng.integers(0, 256, shape).astype(np.uint8)
    confidence = rng.uniform(0, 1, shape).astype(np.float32)
    return depth_m, intensity, confidence, (0.01 * depth_m**2).astype(np.float32)


def test_organised_points_project_back_to_their_pixels(images):
    depth_m, intensity, confidence, sigma_m = images
    points = cloud_points(depth_m, RAYS, intensity, confidence, sigma_m)
    assert points.shape == (CAMERA.height_px, CAMERA.width_px, 6) and points.dtype == np.float32
    x, y, z, *others = points[200, 300]
    k = CAMERA.intrinsics
    assert z == depth_m[200, 300], "z along the optical axis (REP 118)"
    assert k.fx_px * x / z + k.cx_px == pytest.approx(300, abs=1e-3)
    assert k.fy_px * y / z + k.cy_px == pytest.approx(200, abs=1e-3)
    assert others == [intensity[200, 300], confidence[200, 300], sigma_m[200, 300]]
    nowhere = points[[0, 1, 2], [0, 1, 2]]
    assert np.isnan(nowhere[:, [X, Y, Z, UNCERTAINTY]]).all(), "neither unknown nor infinite depth has a point"
    np.testing.assert_array_equal(nowhere[:, CONFIDENCE], confidence[[0, 1, 2], [0, 1, 2]])
    assert np.isfinite(points[3:]).all()


def test_dense_points_are_the_organised_ones_without_the_holes(images):
    organised = cloud_points(images[0], RAYS, *images[1:])
    dense = cloud_points(images[0], RAYS, *images[1:], organised=False)
    assert dense.shape == (CAMERA.height_px * CAMERA.width_px - 3, 6)
    np.testing.assert_array_equal(dense, organised[np.isfinite(organised[..., Z])])


def test_no_depth_at_all_is_an_empty_dense_cloud(images):
    nothing = np.full_like(images[0], np.nan)
    assert cloud_points(nothing, RAYS, *images[1:], organised=False).shape == (0, 6)


@pytest.mark.parametrize("stride", [2, 3])
def test_a_stride_leaves_every_nth_row_and_column(images, stride):
    every = cloud_points(images[0], RAYS, *images[1:])
    some = cloud_points(images[0], RAYS, *images[1:], stride=stride)
    np.testing.assert_array_equal(some, every[::stride, ::stride])
    assert some.flags.c_contiguous
