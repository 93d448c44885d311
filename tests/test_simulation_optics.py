"""Blur ladders and vignetting against geometrical optics: analytic discs and polygons, and counted rays."""

import functools

import numpy as np
import pytest

from edfv_ros.rig import Camera
from edfv_ros.simulation.imaging import Imaging, focus_shift_dpt, illumination
from edfv_ros.simulation.ladder import blur_ladder
from edfv_ros.simulation.view import Canvas, Layer

WIDTH, HEIGHT, MARGIN_PX = 96, 72, 24
CAMERA = Camera.model_validate(
    {
        "name": "test",
        "model": "test",
        "width_px": WIDTH,
        "height_px": HEIGHT,
        "pixel_pitch_um": 18.5,
        "intrinsics": {"fx_px": 80.0, "fy_px": 80.0, "cx_px": 47.5, "cy_px": 35.5, "distortion": (0.0,) * 5},
    }
)
CANVAS = Canvas(CAMERA, MARGIN_PX)
CENTRE = (HEIGHT // 2 + MARGIN_PX, WIDTH // 2 + MARGIN_PX)
CORNERS = tuple((MARGIN_PX + y, MARGIN_PX + x) for y in (0, HEIGHT - 1) for x in (0, WIDTH - 1))
DIAMETERS_PX = (0.0, 0.3, 1.0, 2.7, 8.0, 25.0)
RESIDUAL_PX = 0.3
DISC = Imaging(residual_blur_px=RESIDUAL_PX)


def samples(value=0.0):
    return np.full((2 * CANVAS.height_px, 2 * CANVAS.width_px), value, np.float32)


def opaque(radiance):
    return Layer(0, 0, radiance, None, np.full(radiance.shape, 2.0, np.float32))


def at(ladder, diameter_px, stack=None):
    """The layer's picture at a diameter, as a compositor finds it: linear in the square between two rungs."""
    stack = ladder.radiance if stack is None else stack
    wanted = diameter_px if ladder.signed else abs(diameter_px)
    rungs = ladder.rungs_px.astype(float)
    low = min(int(np.searchsorted(rungs, wanted, side="right")) - 1, len(rungs) - 2)
    weight = (wanted**2 - rungs[low] ** 2) / (rungs[low + 1] ** 2 - rungs[low] ** 2)
    return stack[:, low].astype(float) * (1 - weight) + stack[:, low + 1] * weight


PLACES = (CENTRE, *CORNERS[1:3])
BLOB_PX = 0.6


@functools.cache
def lights(imaging, source):
    """Ladder of a small light at the centre of each of PLACES: one sample, a pixel, or a Gaussian of BLOB_PX."""
    radiance = samples()
    if source == "blob":
        # mean over each sample's area; most of its detail is coarser than the samples
        fine = [(np.arange(side * 8) + 0.5) / 16 - 0.5 for side in radiance.shape]
        for y, x in PLACES:
            down, across = (np.exp(-0.5 * ((f - at) / BLOB_PX) ** 2) for f, at in zip(fine, (y, x), strict=True))
            radiance += np.outer(down.reshape(-1, 8).mean(axis=1), across.reshape(-1, 8).mean(axis=1))
        radiance /= 2 * np.pi * BLOB_PX**2
    else:
        side = {"sample": 1, "pixel": 2}[source]
        for y, x in PLACES:
            radiance[2 * y : 2 * y + side, 2 * x : 2 * x + side] = 4.0 / side**2
    return blur_ladder(opaque(radiance), CANVAS, (-25.5, 25.5), imaging)


def around(picture, pixel, reach_px=18):
    """The part of a picture around a pixel."""
    y, x = pixel
    return picture[y - reach_px : y + reach_px + 1, x - reach_px : x + reach_px + 1]


def moments(patch, shift_px=0.0):
    """Energy, first and second moments along y and x about a patch's middle moved by ``shift_px`` along both."""
    y, x = (index - patch.shape[0] // 2 - shift_px for index in np.indices(patch.shape))
    energy = patch.sum()
    first, second = [(patch * i).sum() / energy for i in (y, x)], [(patch * i**2).sum() / energy for i in (y, x)]
    return energy, np.array(first), np.array(second)


def disc_edge(position_px, diameter_px):
    """Edge spread function of a disc, a pixel's width and the Gaussian, by summing over fine steps."""
    step = 1 / 64
    x = np.arange(-20, 20, step) + step / 2
    u = np.clip(2 * x / max(diameter_px, 1e-9), -1, 1)
    edge = 0.5 + (u * np.sqrt(1 - u**2) + np.arcsin(u)) / np.pi
    box = np.full(64, 1 / 64)
    gauss = np.exp(-0.5 * (np.arange(-128, 129) * step / RESIDUAL_PX) ** 2)
    padded = np.pad(edge, 160, mode="edge")
    spread = np.convolve(np.convolve(padded, box, "same"), gauss / gauss.sum(), "same")[160:-160]
    return np.interp(position_px, x + step / 2, spread)


def width_10_90(position, profile):
    slope = slice(int(np.argmax(profile > 0.005)), int(np.argmax(profile > 0.995)) + 1)
    return np.interp(0.9, profile[slope], position[slope]) - np.interp(0.1, profile[slope], position[slope])


def pupil(imaging, field, side=601):
    """Rays evenly over the pupil that is open at a place of the field, float [N, 2], and the open part."""
    rim = 1.0
    if imaging.blades:  # a polygon of area pi
        rim = np.sqrt(2 * np.pi / (imaging.blades * np.sin(2 * np.pi / imaging.blades)))
    line = np.linspace(-rim, rim, side)
    rays = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    if imaging.blades:
        normals = np.radians(imaging.blade_rotation_deg + 360 / imaging.blades * (np.arange(imaging.blades) + 0.5))
        outward = rays @ np.stack([np.cos(normals), np.sin(normals)])
        rays = rays[outward.max(axis=1) <= rim * np.cos(np.pi / imaging.blades)]
    else:
        rays = rays[np.hypot(*rays.T) <= 1.0]
    open_ = np.hypot(*(rays + imaging.cats_eye * np.asarray(field)).T) <= rim
    return rays[open_], open_.mean()


def gathered(pixel, imaging, diameter_px, reach_px):
    """Picture of a Gaussian light: every pixel gathers the rays that pass the pupil which it sees."""
    step = 1 / 64
    fine = np.arange(-60, 60, step)
    seen = np.convolve(np.exp(-0.5 * fine**2 / (BLOB_PX**2 + RESIDUAL_PX**2)), np.full(65, 1 / 65), "same") / np.sqrt(
        2 * np.pi * (BLOB_PX**2 + RESIDUAL_PX**2)
    )
    picture = np.empty((2 * reach_px + 1,) * 2)
    landed = None
    for i, j in np.ndindex(picture.shape):
        y, x = i - reach_px, j - reach_px
        if landed is None or imaging.cats_eye:
            rays, _ = pupil(imaging, field_of((pixel[0] + y, pixel[1] + x)), side=37)
            landed = rays * (diameter_px / 2 + imaging.spherical_px * (rays**2).sum(axis=1, keepdims=True))
        across, down = (seen[((place - landed[:, k] + 60) / step).astype(int)] for k, place in enumerate((x, y)))
        picture[i, j] = (across * down).mean()
    return picture


def field_of(pixel):
    """x and y of a pixel in the field, 1 at the picture's corner, held outside the picture."""
    y, x = np.clip(pixel[0] - MARGIN_PX, 0, HEIGHT - 1), np.clip(pixel[1] - MARGIN_PX, 0, WIDTH - 1)
    return np.array([x - 47.5, y - 35.5]) / np.hypot(48.0, 36.0)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_knife_edge_has_the_analytic_spread_over_the_field(traced, turned):
    # slanted, so that it meets the pixels at every place within them (ISO 12233)
    slant = np.radians(5.0)
    fine = [(np.arange(side * 8) + 0.5) / 16 - 0.5 - side / 4 for side in samples().shape]
    y, x = np.meshgrid(*fine, indexing="ij", sparse=True)
    beyond = (y if turned else x) * np.cos(slant) + (x if turned else y) * np.sin(slant)
    shape = samples().shape
    covered = (beyond > 0).reshape(shape[0], 8, shape[1], 8).mean(axis=(1, 3))
    distance = CANVAS.sensor(beyond[7::16, 7::16] + (np.cos(slant) + np.sin(slant)) / 32)
    imaging = Imaging(cats_eye=1e-9) if traced else DISC
    ladder = blur_ladder(opaque((0.2 + 0.8 * covered).astype(np.float32)), CANVAS, (-25.5, 25.5), imaging)
    bins = np.arange(-16, 16.01, 0.25)
    for diameter_px in DIAMETERS_PX:
        edge = (CANVAS.sensor(at(ladder, diameter_px)) - 0.2) / 0.8
        analytic = disc_edge(distance, diameter_px)
        for part in np.array_split(np.arange(edge.shape[1 if turned else 0]), 3):
            here = (slice(None), part) if turned else (part, slice(None))
            count, _ = np.histogram(distance[here], bins)
            profile, expected = (
                np.histogram(distance[here], bins, weights=e[here])[0] / count for e in (edge, analytic)
            )
            assert np.abs(profile - expected).max() < 0.025
            assert width_10_90(bins[1:], profile) == pytest.approx(width_10_90(bins[1:], expected), rel=0.02)


@pytest.mark.parametrize("imaging", [DISC, Imaging(cats_eye=1e-9)], ids=["transfer", "traced"])
@pytest.mark.parametrize("pixel", PLACES)
def test_point_keeps_its_energy_and_spreads_like_a_disc(imaging, pixel):
    for diameter_px in DIAMETERS_PX:
        reach_px = int(diameter_px / 2) + 5
        energy, _, second = moments(around(at(lights(imaging, "sample"), diameter_px), pixel, reach_px), -0.25)
        assert energy == pytest.approx(1.0, abs=0.01)
        # a pixel is the mean of samples a quarter of a pixel off its centre
        expected = 1 / 16 + RESIDUAL_PX**2 + diameter_px**2 / 16
        # of a single sample, finer than the blur that it meets, the faint negative lobes are cut off
        assert second == pytest.approx([expected] * 2, rel=0.01, abs=0.01)
        y, x = np.indices((37, 37)) - 18 + 0.25
        inside = np.hypot(y, x) <= diameter_px / 2 + 4 * RESIDUAL_PX + 0.75
        assert around(at(lights(imaging, "sample"), diameter_px), pixel)[inside].sum() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("imaging", [DISC, Imaging(cats_eye=1e-9), Imaging(blades=6), Imaging(spherical_px=1e-9)])
def test_blur_of_a_third_of_a_pixel_differs_from_none(imaging):
    ladder = lights(imaging, "blob")
    still = moments(around(at(ladder, 0.0), CENTRE))[2]
    for diameter_px in (0.25, 0.3, -0.3):
        polygon = 2 * np.pi / (6 * np.sin(np.pi / 3)) * (2 + np.cos(np.pi / 3)) / 3  # of a hexagon, against a disc
        expected = diameter_px**2 / 16 * (polygon if imaging.blades else 1)
        spread = moments(around(at(ladder, diameter_px), CENTRE))[2] - still
        assert spread == pytest.approx([expected] * 2, rel=0.03)


@pytest.mark.parametrize(
    "imaging",
    [
        Imaging(spherical_px=1.5),
        Imaging(spherical_px=-1.0),
        Imaging(blades=5, blade_rotation_deg=20.0),
        Imaging(cats_eye=0.7),
        Imaging(blades=7, cats_eye=0.5, spherical_px=0.8),
    ],
    ids=["spherical", "overcorrected", "pentagon", "cat's eye", "all"],
)
@pytest.mark.parametrize("diameter_px", [-16.0, -3.1, 0.6, 9.3])
def test_light_is_what_rays_make_of_it(imaging, diameter_px):
    picture = at(lights(imaging, "blob"), diameter_px)
    for pixel in PLACES:
        reach_px = 7 if abs(diameter_px) < 4 else 14
        found, expected = around(picture, pixel, reach_px), gathered(pixel, imaging, diameter_px, reach_px)
        # in so small a picture the cat's eye changes within the blur, and is straight only between the knots
        tolerance = 2.5 if imaging.cats_eye else 1.0
        assert np.abs(found - expected).sum() < 0.02 * tolerance
        assert found.sum() == pytest.approx(expected.sum(), rel=0.01 * tolerance)
        for got, want in zip(moments(found)[1:], moments(expected)[1:], strict=True):
            assert got == pytest.approx(want, rel=0.02 * tolerance, abs=0.03 * tolerance)


@pytest.mark.parametrize("blades", [5, 6, 7, 12])
def test_polygon_has_the_area_and_the_second_moment_of_a_polygon(blades):
    imaging = Imaging(blades=blades, blade_rotation_deg=10.0)
    picture = around(at(lights(imaging, "blob"), 20.0), CENTRE)
    energy, first, second = moments(picture)
    assert energy == pytest.approx(1.0, abs=3e-3)
    assert around(picture, (18, 18), 3).mean() * np.pi * 10.0**2 == pytest.approx(1.0, abs=0.01)
    corner = 2 * np.pi / (blades * np.sin(2 * np.pi / blades))  # squared, of the polygon of area pi
    expected = 10.0**2 * corner * (2 + np.cos(2 * np.pi / blades)) / 12 + RESIDUAL_PX**2 + BLOB_PX**2 + 1 / 12
    assert first == pytest.approx([0, 0], abs=0.02)
    assert second == pytest.approx([expected] * 2, rel=0.005)


def test_iris_of_odd_blades_turns_over_at_focus():
    imaging = Imaging(blades=5)
    near, far = (around(at(lights(imaging, "blob"), diameter_px), CENTRE) for diameter_px in (12.0, -12.0))
    assert near == pytest.approx(far[::-1, ::-1], abs=1e-5)
    assert near[18, 18 + 6] > 2 * near[18, 18 - 6]  # one corner lies on the x axis
    even = samples(1.0)
    assert blur_ladder(opaque(even), CANVAS, (-9.0, 3.0), imaging).signed
    assert not blur_ladder(opaque(even), CANVAS, (-9.0, 3.0), Imaging(blades=6)).signed


def test_cats_eye_is_elongated_along_the_rim_of_the_field():
    pixel, imaging = PLACES[2], Imaging(cats_eye=0.7)
    picture = around(at(lights(imaging, "blob"), 20.0), pixel)
    radial = field_of(pixel) / np.hypot(*field_of(pixel))
    y, x = np.indices(picture.shape) - 18
    along, across = x * radial[0] + y * radial[1], y * radial[0] - x * radial[1]
    mean = (picture * along).sum() / picture.sum()
    assert mean < -1  # cut on the outside by a rim that lies in front of the iris
    assert (picture * across**2).sum() > 1.5 * (picture * (along - mean) ** 2).sum()
    _, first, second = moments(around(at(lights(imaging, "blob"), 20.0), CENTRE))
    assert first == pytest.approx([0, 0], abs=0.3)
    assert second[0] == pytest.approx(second[1], rel=0.02)


@pytest.mark.parametrize("cats_eye", [0.3, 0.8, 1.2])
def test_cats_eye_passes_the_overlap_of_two_circles(cats_eye):
    light = illumination(CAMERA, Imaging(cats_eye=cats_eye))
    for y, x in ((0, 0), (HEIGHT - 1, WIDTH - 1), (10, 70)):
        shift = cats_eye * np.hypot(x - 47.5, y - 35.5) / np.hypot(48.0, 36.0)
        overlap = 2 * np.arccos(shift / 2) - shift / 2 * np.sqrt(4 - shift**2)
        assert light[y, x] == pytest.approx(overlap / np.pi, rel=1e-4)


@pytest.mark.parametrize("blades", [5, 9])
def test_cats_eye_passes_what_is_left_of_a_polygon(blades):
    imaging = Imaging(blades=blades, blade_rotation_deg=33.0, cats_eye=0.9)
    light = illumination(CAMERA, imaging)
    for y, x in ((0, 0), (HEIGHT - 1, 10), (36, 48)):
        _, share = pupil(imaging, np.array([x - 47.5, y - 35.5]) / np.hypot(48.0, 36.0))
        assert light[y, x] == pytest.approx(share, abs=0.005)


def test_light_falls_off_with_the_fourth_power_of_the_cosine():
    light = illumination(CAMERA, Imaging(natural_vignetting=True))
    for y, x in ((0, 0), (20, 90), (35, 47)):
        angle = np.arctan(np.hypot(x - 47.5, y - 35.5) / 80.0)
        assert light[y, x] == pytest.approx(np.cos(angle) ** 4, rel=1e-5)
    assert (illumination(CAMERA, Imaging()) == 1).all()


def test_field_curvature_grows_with_the_square_of_the_field():
    shift = focus_shift_dpt(CAMERA, Imaging(field_curvature_dpt=-0.4))
    assert shift.shape == (HEIGHT, WIDTH)
    assert shift[0, 0] == pytest.approx(-0.4, rel=0.03)  # the outer corner of this pixel is the picture's corner
    assert shift[35, 95] / shift[35, 71] == pytest.approx((47.5**2 + 0.5**2) / (23.5**2 + 0.5**2), rel=1e-5)
    assert abs(shift[35, 47]) < 1e-4


@pytest.mark.parametrize(
    "imaging",
    [DISC, Imaging(spherical_px=1.0), Imaging(blades=5, spherical_px=1.0), Imaging(residual_blur_px=0)],
    ids=str,
)
def test_light_of_a_layer_is_conserved(imaging):
    rng = np.random.default_rng(3)
    radiance = rng.uniform(0.0, 2.0, (60, 80)).astype(np.float32)
    coverage = (rng.uniform(size=radiance.shape) > 0.5).astype(np.float32)
    layer = Layer(50, 40, radiance, coverage, np.full(radiance.shape, 1.5, np.float32))
    ladder = blur_ladder(layer, CANVAS, (-15.0, 9.0), imaging)
    light = ladder.radiance.sum(axis=(0, 2), dtype=float)
    assert light == pytest.approx(np.full(len(light), (radiance * coverage).sum() / 4), rel=2e-3)
    assert ladder.coverage.sum(axis=(0, 2), dtype=float) == pytest.approx(
        np.full(len(light), coverage.sum() / 4), rel=2e-3
    )
    assert ladder.radiance.min() >= 0
    assert 0 <= ladder.coverage.min() <= ladder.coverage.max() <= 1
    assert (ladder.depth_m == 1.5).all()
    assert 0.0 in ladder.rungs_px


@pytest.mark.parametrize("imaging", [DISC, Imaging(spherical_px=1.0), Imaging(blades=5), Imaging(cats_eye=0.8)])
def test_an_even_layer_stays_even_and_ends_at_the_canvas(imaging):
    ladder = blur_ladder(opaque(samples(0.7)), CANVAS, (-15.0, 9.0), imaging)
    assert ladder.radiance.shape[::2] == (CANVAS.height_px, CANVAS.width_px)
    assert ladder.radiance == pytest.approx(0.7, abs=1e-4)
    corner = np.ones((40, 40), np.float32)
    ladder = blur_ladder(Layer(130, 100, corner, corner, corner), CANVAS, (-15.0, 9.0), imaging)
    assert ladder.left_px + ladder.depth_m.shape[1] == CANVAS.width_px
    assert ladder.top_px + ladder.depth_m.shape[0] == CANVAS.height_px
    hidden = blur_ladder(Layer(300, 300, corner, corner, corner), CANVAS, (-15.0, 9.0), imaging)
    assert hidden.radiance.size == 0
