"""The renderer against the analytic image of a thin lens, from still and from moving cameras."""

import numpy as np
import pytest
from recordings import small_rig
from still_scene import WavyPlane, changed

from edfv_ros.rig import Rig
from edfv_ros.simulation import (
    MOTIONS,
    Canvas,
    DefocusRenderer,
    Layer,
    Motion,
    ScenePictures,
    View,
    plan_sweeps,
)
from edfv_ros.simulation.geometry import Pose, rotation_about
from edfv_ros.simulation.imaging import Imaging
from edfv_ros.simulation.lens_response import LensResponse
from edfv_ros.simulation.motion import CameraTrajectory, ObjectMotion

RANGE_DPT = (0.0, 4.0)
MARGIN_PX = 22
WIDTH, HEIGHT = 80, 60


def rig_of(width: int, height: int) -> Rig:
    """The example rig's lens and pixels in another size."""
    small = small_rig()
    intrinsics = small.camera.intrinsics.model_dump() | {
        "fx_px": 400.0,
        "fy_px": 400.0,
        "cx_px": width / 2 - 0.5,
        "cy_px": height / 2 - 0.5,
    }
    return changed(small, "camera", width_px=width, height_px=height, intrinsics=intrinsics)


RIG = rig_of(WIDTH, HEIGHT)
LENS = RIG.optics


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
    view = View(Canvas(RIG.camera, MARGIN_PX), layers)
    return DefocusRenderer(view, RIG, RANGE_DPT, Imaging(residual_blur_px=residual_blur_px))


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


def test_focus_outside_the_range_is_refused():
    with pytest.raises(ValueError, match="exceeds"):
        renderer(background(canvas(1.0), 1.0)).render(4.5)


PLANE = WavyPlane(np.array([0.3, 0.8, 1.2]), (0.5, 1.2), waves_per_m=55.0)
BIG = rig_of(160, 120)


def rms_log_error(picture, truth):
    inner = slice(2, -2)
    return float(np.std(np.log(picture[inner, inner]) - np.log(truth[inner, inner])))


@pytest.mark.parametrize("distortion", [(0.0,) * 5, (-0.2, 0.05, 0.001, -0.001, 0.0)])
@pytest.mark.parametrize(("turn_deg", "shift_m"), [(0.0, 0.004), (0.8, 0.0), (1.2, 0.008), (1.2, -0.008)])
def test_a_moved_camera_sees_what_a_view_from_there_shows(turn_deg, shift_m, distortion):
    rig = changed(BIG, "camera", intrinsics=BIG.camera.intrinsics.model_dump() | {"distortion": distortion})
    here, wide = Canvas(rig.camera, 45), (0.3, 4.2)
    there = Pose(
        np.array([shift_m, -shift_m, shift_m]), rotation_about(np.radians(turn_deg) * np.array([0.6, 0.8, 1.0]))
    )
    moving = DefocusRenderer(PLANE.view(here, Pose(), 0.0), rig, wide, Imaging(), moving=True)
    direct = DefocusRenderer(PLANE.view(here, there, 0.0), rig, wide, Imaging())
    for vergence in (0.3, 1.2, 4.2):
        truth = direct.render(vergence)
        assert np.std(np.log(truth)) > 0.03
        assert rms_log_error(moving.render_stack([vergence], [there])[0], truth) < 0.006
    assert moving.depth_m(there) == pytest.approx(direct.depth_m(), rel=1e-4)


def test_a_moved_thing_is_where_its_motion_takes_it():
    motion = ObjectMotion(np.array([0.0, 0.0, 0.8]), np.array([0.05, -0.02, -0.1]), np.array([0.0, 0.2, 0.3]))
    thing = WavyPlane(PLANE.coefficients, PLANE.depth_range_m, PLANE.waves_per_m, motion)
    here = Canvas(BIG.camera, 45)
    camera = Pose(np.array([0.002, 0.0, 0.001]), rotation_about([0.0, 0.004, 0.0]))
    moving = DefocusRenderer(thing.view(here, Pose(), 0.0), BIG, (0.3, 4.2), Imaging(), moving=True)
    direct = DefocusRenderer(thing.view(here, camera, 0.1), BIG, (0.3, 4.2), Imaging())
    for vergence in (0.5, 1.5):
        assert rms_log_error(moving.render_stack([vergence], [camera], [0.1])[0], direct.render(vergence)) < 0.006


def test_a_part_of_a_layer_beyond_the_first_view_comes_into_sight():
    """A card beside the picture enters it when the camera turns."""
    card = Layer(
        0, 20, np.full((60, 24), 0.9, np.float32), np.ones((60, 24), np.float32), np.ones((60, 24), np.float32)
    )
    view = View(Canvas(RIG.camera, MARGIN_PX), (background(canvas(0.1), 2.0), card))
    lens = DefocusRenderer(view, RIG, RANGE_DPT, Imaging(residual_blur_px=0.0), moving=True)
    turned = Pose(rotation=rotation_about([0.0, -15.0 / RIG.camera.intrinsics.fx_px, 0.0]))  # to the left by 15 px
    before, after = lens.render_stack([1.0, 1.0], [Pose(), turned])
    assert before[10] == pytest.approx(np.full(WIDTH, 0.1), abs=1e-3)
    # the card's right edge stood at column 12 - 22 of the sensor
    assert after[10, :4] == pytest.approx(np.full(4, 0.9), abs=0.02)
    assert after[10, 7:] == pytest.approx(np.full(WIDTH - 7, 0.1), abs=0.02)


@pytest.mark.parametrize(("name", "most_bent"), [("handheld", 0.006), ("shake", 0.15)])
def test_nothing_jumps_where_one_view_takes_over_from_another(name, most_bent):
    plan = plan_sweeps(BIG, LensResponse(), sweeps=4, steps_per_sweep=64)
    trajectory = CameraTrajectory(MOTIONS[name], 4)
    pictures = ScenePictures(BIG, PLANE, Imaging(), trajectory, plan)
    times_s = plan.times_us[:200] * 1e-6
    worst = 0.0
    for k in range(0, 200, 9):
        truth = DefocusRenderer(
            PLANE.view(Canvas(BIG.camera, 30), trajectory.pose(times_s[k]), 0.0), BIG, plan.range_dpt, Imaging()
        ).render(plan.vergence_dpt[k])
        seen = pictures.pictures(plan.vergence_dpt[[k]], times_s[[k]])[0]
        worst = max(worst, rms_log_error(seen, truth))
    assert worst < 0.012
    steps = np.log(pictures.pictures(plan.vergence_dpt[:200], times_s))
    bends = np.abs(np.diff(steps, n=2, axis=0)).mean(axis=(1, 2))
    bends[np.isin(np.arange(1, 199), plan.sweep_rows)] = 0.0  # there the focus turns
    assert bends.max() < most_bent


def test_a_still_camera_needs_one_view():
    plan = plan_sweeps(BIG, LensResponse(), sweeps=2)
    pictures = ScenePictures(BIG, PLANE, Imaging(), CameraTrajectory(Motion(), 0), plan)
    assert not pictures.moves
    first, later = (pictures.pictures([2.0], [time])[0] for time in (0.0, 0.2))
    assert np.array_equal(first, later)
