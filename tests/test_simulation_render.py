"""The renderer against the analytic image of a thin lens."""

import numpy as np
import pytest

from edfv_ros.optics import ThinLens
from edfv_ros.simulation import DefocusRenderer, Layer, Scene

LENS = ThinLens(aperture_m=8e-3, image_distance_m=16e-3, pixel_pitch_m=18.5e-6)
RANGE_DPT = (0.0, 4.0)
MARGIN_PX = 22
WIDTH, HEIGHT = 80, 60


def canvas(value=0.0):
    return np.full((2 * (HEIGHT + 2 * MARGIN_PX), 2 * (WIDTH + 2 * MARGIN_PX)), value, np.float32)


def background(radiance, depth_m):
    return Layer(0, 0, radiance, None, np.full(radiance.shape, depth_m, np.float32))


def half_plane(radiance, depth_m):
    """A layer that covers the right half of the canvas."""
    middle = WIDTH // 2 + MARGIN_PX
    shape = 2 * (HEIGHT + 2 * MARGIN_PX), 2 * middle
    full = np.ones(shape, np.float32)
    return Layer(middle, 0, radiance * full, full, depth_m * full)


def renderer(*layers, residual_blur_px=0.0):
    return DefocusRenderer(Scene("test", WIDTH, HEIGHT, MARGIN_PX, layers), LENS, RANGE_DPT, residual_blur_px)


def disc_edge(position_px, diameter_px):
    """Part of a disc beyond a line at ``position_px`` from its centre, averaged over a pixel's width."""
    fine = np.asarray(position_px)[:, None] + np.linspace(-0.5, 0.5, 201)
    u = np.clip(2 * fine / diameter_px, -1, 1)
    return (0.5 + (u * np.sqrt(1 - u**2) + np.arcsin(u)) / np.pi).mean(axis=1)


def width_10_90(position, profile):
    slope = slice(int(np.argmax(profile > 0.03)), int(np.argmax(profile > 0.97)) + 1)
    return np.interp(0.9, profile[slope], position[slope]) - np.interp(0.1, profile[slope], position[slope])


@pytest.mark.parametrize("diameter_px", [3.0, 5.3, 11.1])
@pytest.mark.parametrize("side", [-1, 1])
def test_knife_edge_has_the_analytic_spread(diameter_px, side):
    radiance = canvas(0.2)
    radiance[:, radiance.shape[1] // 2 :] = 1.0
    picture = renderer(background(radiance, 0.5)).render(2.0 + side * diameter_px / LENS.blur_slope_px_per_dpt)
    position = np.arange(WIDTH) + 0.5 - WIDTH / 2
    for row in (0, HEIGHT // 2, HEIGHT - 1):
        profile = (picture[row] - 0.2) / 0.8
        analytic = disc_edge(position, diameter_px)
        assert width_10_90(position, profile) == pytest.approx(width_10_90(position, analytic), rel=0.02)
        assert np.abs(profile - analytic).max() < 0.02


@pytest.mark.parametrize("diameter_px", [0.3, 0.62, 1.0, 2.1, 6.0, 13.3])
def test_point_keeps_its_energy_and_spreads_like_a_disc(diameter_px):
    radiance = canvas()
    row, column = radiance.shape[0] // 2, radiance.shape[1] // 2
    radiance[row : row + 2, column : column + 2] = 1.0
    lens = renderer(background(radiance, 0.5), residual_blur_px=0.7)
    focuses = 2.0, 2.0 + diameter_px / LENS.blur_slope_px_per_dpt
    sharp, blurred = lens.render_stack(focuses).astype(float)
    y, x = np.indices(sharp.shape)
    square = (y - HEIGHT / 2) ** 2 + (x - WIDTH / 2) ** 2
    assert blurred.sum() == pytest.approx(1.0, rel=0.01)
    spread = (blurred * square).sum() / blurred.sum() - (sharp * square).sum() / sharp.sum()
    # mean squared radius of a disc is d^2 / 8; the smallest is measured against rounding
    assert spread == pytest.approx(diameter_px**2 / 8, rel=0.01, abs=5e-4)
    within = blurred[square <= (diameter_px / 2 + 3.5) ** 2].sum()
    assert within == pytest.approx(1.0, abs=0.01)


def test_blur_within_a_layer_follows_its_depth():
    radiance = canvas()
    radiance[HEIGHT + 2 * MARGIN_PX] = 1.0  # a horizontal line
    layer = background(radiance, 1.0)
    layer.depth_m[:] = 1.0 / np.linspace(1.0, 3.0, radiance.shape[1], dtype=np.float32)
    picture = renderer(layer, residual_blur_px=0.4).render(2.0)
    y = np.arange(HEIGHT)[:, None] + 0.25 - HEIGHT / 2
    variance = (picture * y**2).sum(axis=0) / picture.sum(axis=0)
    vergence = 1.0 / layer.depth_m[0].reshape(-1, 2).mean(axis=1)[MARGIN_PX : MARGIN_PX + WIDTH]
    diameter = LENS.blur_diameter_px(2.0, 1.0 / vergence)
    assert variance - variance[WIDTH // 2] == pytest.approx(diameter**2 / 16, abs=0.06)


def test_near_object_out_of_focus_is_transparent_at_its_rim():
    stripes = canvas(0.2)
    stripes.reshape(-1, 8, stripes.shape[1])[:, :4] = 0.8  # 4 samples = 2 px
    dark, diameter_px = 0.05, 12.0
    near_m = 1.0 / (0.5 + diameter_px / LENS.blur_slope_px_per_dpt)
    picture = renderer(background(stripes, 2.0), half_plane(dark, near_m)).render(0.5)
    bare = renderer(background(stripes, 2.0)).render(0.5)
    position = np.arange(WIDTH) + 0.5 - WIDTH / 2
    covered = disc_edge(position, diameter_px)[None, :]
    assert picture == pytest.approx(bare * (1 - covered) + dark * covered, abs=0.015)
    rim = picture[:, WIDTH // 2 - 1 : WIDTH // 2 + 1].mean(axis=1)
    assert np.ptp(rim) == pytest.approx(0.5 * np.ptp(bare[:, 0]), rel=0.05)


def test_sharp_object_does_not_bleed_into_a_blurred_background():
    near_m, bright, dark = 0.4, 1.0, 0.1
    picture = renderer(background(canvas(dark), 2.0), half_plane(bright, near_m)).render(1.0 / near_m)
    assert picture[:, : WIDTH // 2 - 1] == pytest.approx(np.full((HEIGHT, WIDTH // 2 - 1), dark), abs=2e-3)
    assert picture[:, WIDTH // 2 + 1 :] == pytest.approx(np.full((HEIGHT, WIDTH // 2 - 1), bright), abs=2e-3)


def test_focus_steps_do_not_pop():
    rng = np.random.default_rng(1)
    lens = renderer(background(rng.uniform(0.1, 0.9, canvas().shape).astype(np.float32), 0.5), residual_blur_px=0.3)
    stack = lens.render_stack(np.linspace(2.0, 4.0, 801))
    steps = np.abs(np.diff(stack, axis=0)).max(axis=(1, 2))
    assert steps.max() < 2.5 * np.median(steps[:200])
    assert stack[0] == pytest.approx(lens.render(2.0))


def test_scene_whose_margin_is_too_small_is_refused():
    scene = Scene("test", 40, 30, 2, (Layer(0, 0, np.ones((68, 88), np.float32), None, np.ones((68, 88), np.float32)),))
    with pytest.raises(ValueError, match="margin 2 px"):
        DefocusRenderer(scene, LENS, RANGE_DPT)


def test_focus_outside_the_range_is_refused():
    with pytest.raises(ValueError, match="exceeds"):
        renderer(background(canvas(1.0), 1.0)).render(4.5)
