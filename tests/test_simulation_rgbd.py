"""Scenes from colour and depth images: what is read, what is filled in, and layers that hide one another rightly."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edfv_ros.errors import SimulationError
from edfv_ros.rig import load_rig
from edfv_ros.simulation.geometry import Pose
from edfv_ros.simulation.rgbd import RgbdScene, layered, rgbd_scenes
from edfv_ros.simulation.view import SUPERSAMPLING, Canvas, pixel_mean

SHARED = Path(__file__).parents[2] / "shared" / "data" / "rgbd"
RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
HEIGHT, WIDTH = 240, 320


def write_pair(folder: Path, depth_m: np.ndarray, grey: np.ndarray, name: str = "1") -> None:
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / f"rgb_{name}.png"), np.dstack([grey] * 3).astype(np.uint8))
    cv2.imwrite(str(folder / f"depth_{name}.png"), np.round(depth_m * 1000).astype(np.uint16))


def noise(seed: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Texture from fine to coarse, 0.05 to 0.95."""
    rng = np.random.default_rng(seed)
    image = sum(cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), s) * s for s in (1.0, 3.0, 9.0))
    return np.clip(0.5 + 0.2 * image / image.std(), 0.05, 0.95).astype(np.float32)


def disc(diameter: float) -> np.ndarray:
    """A disc of the given diameter in samples, its rim antialiased, of sum 1."""
    half = int(np.ceil(diameter / 2)) + 1
    fine = (np.arange((2 * half + 1) * 9) - ((2 * half + 1) * 9 - 1) / 2) / 9
    inside = (fine[:, None] ** 2 + fine**2 <= max(diameter / 2, 0.5) ** 2).astype(float)
    kernel = inside.reshape(2 * half + 1, 9, 2 * half + 1, 9).sum(axis=(1, 3))
    return kernel / kernel.sum()


def defocused(layers, shape, focus_dpt: float, slope: float) -> np.ndarray:
    """Layers over one another, each blurred by what its depth says at every sample; samples, not pixels."""
    picture = np.zeros(shape)
    for layer in layers:
        light, coverage, depth = np.zeros(shape), np.zeros(shape), np.full(shape, np.nan)
        top, left = layer.top_px * SUPERSAMPLING, layer.left_px * SUPERSAMPLING
        rows, columns = layer.radiance.shape
        box = (slice(top, top + rows), slice(left, left + columns))
        coverage[box] = 1.0 if layer.coverage is None else layer.coverage
        light[box] = layer.radiance * coverage[box]
        padded = np.pad(layer.depth_m, ((top, shape[0] - top - rows), (left, shape[1] - left - columns)), mode="edge")
        depth[:] = padded
        diameter = slope * np.abs(focus_dpt - 1.0 / depth) * SUPERSAMPLING
        rungs = np.arange(0.0, diameter.max() + 1.0, 1.0)
        done = np.zeros((2, *shape))
        for rung in rungs:
            weight = np.clip(1.0 - np.abs(diameter - rung), 0.0, 1.0)
            if weight.any():
                for i, plane in enumerate((light, coverage)):
                    blurred = cv2.filter2D(plane, cv2.CV_64F, disc(rung), borderType=cv2.BORDER_REPLICATE)
                    done[i] += weight * blurred
        picture = picture * (1.0 - done[1]) + done[0]
    return picture


def test_pairs_are_found_by_their_names(tmp_path):
    flat = np.full((HEIGHT, WIDTH), 2.0)
    for name in ("1", "07"):
        write_pair(tmp_path, flat, noise(0) * 255, name)
    cv2.imwrite(str(tmp_path / "desk_colour.jpg"), (noise(1) * 255).astype(np.uint8))
    np.save(tmp_path / "desk_depth.npy", flat.astype(np.float32))
    pairs = rgbd_scenes(tmp_path)
    assert [pair.name for pair in pairs] == ["07", "1", "desk"]
    assert [pair.colour.name for pair in pairs] == ["rgb_07.png", "rgb_1.png", "desk_colour.jpg"]


def test_intrinsics_are_read(tmp_path):
    write_pair(tmp_path, np.full((HEIGHT, WIDTH), 2.0), noise(0) * 255)
    text = "fx_px: 300.0\nfy_px: 300.0\ncx_px: 160.0\ncy_px: 120.0\ndepth_unit_m: 0.0002\n"
    (tmp_path / "intrinsics.yaml").write_text(text)
    canvas = Canvas(RIG.camera, 20)
    scene = RgbdScene(rgbd_scenes(tmp_path)[0], RIG, scale=1.0)
    assert scene.view(canvas, Pose(), 0.0).depth_m == pytest.approx(0.4, rel=1e-4)
    # the canvas's widest ray meets the image's edge: 119/300 above or 159/300 beside the axis
    x, y = canvas.rays(1)
    expected = min(119 / 300 / y.max(), 120 / 300 / -y.min(), 159 / 300 / x.max(), 160 / 300 / -x.min())
    assert scene.lateral_factor(canvas) == pytest.approx(expected)


def test_what_cannot_be_a_pair_is_said_in_one_line(tmp_path):
    def message(call) -> str:
        with pytest.raises(SimulationError) as caught:
            call()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such folder" in message(lambda: rgbd_scenes(tmp_path / "nowhere"))
    assert "no pair" in message(lambda: rgbd_scenes(tmp_path))
    flat = np.full((HEIGHT, WIDTH), 2.0)

    lone = tmp_path / "lone"
    write_pair(lone, flat, noise(0) * 255)
    (lone / "rgb_1.png").unlink()
    assert "has no colour image" in message(lambda: rgbd_scenes(lone))

    sizes = tmp_path / "sizes"
    write_pair(sizes, flat[:100], noise(0) * 255)
    assert "320 x 100 px does not fit" in message(lambda: RgbdScene(rgbd_scenes(sizes)[0], RIG))

    empty = tmp_path / "empty"
    write_pair(empty, 0 * flat, noise(0) * 255)
    assert "no pixel has a depth" in message(lambda: RgbdScene(rgbd_scenes(empty)[0], RIG))

    eight = tmp_path / "eight"
    write_pair(eight, flat, noise(0) * 255)
    cv2.imwrite(str(eight / "depth_1.png"), np.full((HEIGHT, WIDTH), 9, np.uint8))
    assert "16 bits" in message(lambda: RgbdScene(rgbd_scenes(eight)[0], RIG))

    broken = tmp_path / "broken"
    write_pair(broken, flat, noise(0) * 255)
    (broken / "rgb_1.png").write_bytes(b"no image")
    assert "cannot be read" in message(lambda: RgbdScene(rgbd_scenes(broken)[0], RIG))
    write_pair(broken, flat, noise(0) * 255)
    (broken / "intrinsics.yaml").write_text("fx_px: 300.0\n")
    assert "fy_px is missing" in message(lambda: rgbd_scenes(broken))
    (broken / "intrinsics.yaml").write_text("fx_px: 300.0\nfy_px: 300.0\ncx_px: 900.0\ncy_px: 120.0\n")
    assert "principal point" in message(lambda: RgbdScene(rgbd_scenes(broken)[0], RIG))
    (broken / "intrinsics.yaml").unlink()
    assert "impossible" in message(lambda: RgbdScene(rgbd_scenes(broken)[0], RIG, scale=0.0))


def test_depth_is_scaled_into_the_sweep(tmp_path):
    depth = np.tile(np.geomspace(1.0, 8.0, WIDTH), (HEIGHT, 1))  # a ratio of 8; the sweep has 14
    write_pair(tmp_path, depth, noise(0) * 255)
    scene = RgbdScene(rgbd_scenes(tmp_path)[0], RIG)
    scaled = np.percentile(scene.scale * depth, (5, 95))
    sweep = RIG.sweep
    assert 1 / sweep.vergence_max_dpt <= scaled[0] <= 1.1 / sweep.vergence_max_dpt
    assert scaled[1] <= 1 / sweep.vergence_min_dpt
    fixed = RgbdScene(rgbd_scenes(tmp_path)[0], RIG, scale=0.5)
    canvas = Canvas(RIG.camera, 10)
    near, far = fixed.depth_range_m
    view = fixed.view(canvas, Pose(), 0.0)
    assert near * 0.999 <= view.depth_m.min() and view.depth_m.max() <= far * 1.001
    middle = float(np.median(view.depth_m[:, RIG.camera.width_px // 2]))
    assert middle == pytest.approx(0.5 * np.sqrt(8.0), rel=0.02)


def test_radiance_is_linear_light(tmp_path):
    grey = np.full((HEIGHT, WIDTH), 188)  # sRGB of 50 % light
    write_pair(tmp_path, np.full((HEIGHT, WIDTH), 2.0), grey)
    view = RgbdScene(rgbd_scenes(tmp_path)[0], RIG).view(Canvas(RIG.camera, 10), Pose(), 0.0)
    assert view.sharp == pytest.approx(0.503, abs=2e-3)


def test_views_are_of_one_place(tmp_path):
    write_pair(tmp_path, np.full((HEIGHT, WIDTH), 2.0), noise(0) * 255)
    scene, canvas = RgbdScene(rgbd_scenes(tmp_path)[0], RIG), Canvas(RIG.camera, 10)
    moved = scene.view(canvas, Pose(np.array([0.1, 0.0, 0.0])), 3.0)
    assert moved.time_s == 0.0
    assert np.array_equal(moved.camera.position_m, np.zeros(3))
    assert np.array_equal(moved.sharp, scene.view(canvas, Pose(), 0.0).sharp)


def test_holes_are_filled_up_to_the_edges_of_the_colour_image(tmp_path):
    """A hole over an edge between two things, each at a depth of its own: colour tells which part is whose."""
    x = np.tile(np.arange(WIDTH), (HEIGHT, 1))
    y = np.tile(np.arange(HEIGHT)[:, None], (1, WIDTH))
    edge = 150 + 0.2 * (y - 120)
    depth = np.where(x < edge, 1.0, 3.0)
    grey = np.where(x < edge, 60, 190)
    hole = (np.abs(x - 155) < 25) & (np.abs(y - 120) < 25)
    write_pair(tmp_path, np.where(hole, 0.0, depth), grey)
    scene = RgbdScene(rgbd_scenes(tmp_path)[0], RIG, scale=1.0)
    filled = 1.0 / scene._vergence_dpt
    clear = hole & (np.abs(x - edge) > 2)
    assert np.median(np.abs(filled - depth)[clear]) < 0.05
    assert (np.abs(filled - depth)[clear] < 0.5).mean() > 0.97
    assert filled[~hole] == pytest.approx(depth[~hole], rel=1e-3)


def test_filled_depth_is_not_called_known(tmp_path):
    depth = np.full((HEIGHT, WIDTH), 2.0)
    depth[100:140, 140:180] = 0.0
    write_pair(tmp_path, depth, noise(0) * 255)
    canvas = Canvas(RIG.camera, 10)
    scene = RgbdScene(rgbd_scenes(tmp_path)[0], RIG, scale=0.2)
    view = scene.view(canvas, Pose(), 0.0)
    assert view.known is not None and view.known.shape == view.depth_m.shape
    x, y = canvas.rays(1)
    columns = 159.5 + scene.lateral_factor(canvas) * 320 * canvas.sensor(x)
    rows = 119.5 + scene.lateral_factor(canvas) * 320 * canvas.sensor(y)
    inside = (np.abs(columns - 159.5) < 18) & (np.abs(rows - 119.5) < 18)
    outside = (np.abs(columns - 159.5) > 22) | (np.abs(rows - 119.5) > 22)
    assert not view.known[inside].any() and view.known[outside].all()
    assert view.depth_m == pytest.approx(0.4, rel=1e-3)
    whole = tmp_path / "whole"
    write_pair(whole, np.full((HEIGHT, WIDTH), 2.0), noise(0) * 255)
    assert RgbdScene(rgbd_scenes(whole)[0], RIG).view(canvas, Pose(), 0.0).known is None


SLOPE = 7.0  # px per dioptre
EDGE = 3.0 / SLOPE
REACH = SLOPE * 3.9 / 2 * SUPERSAMPLING


@pytest.mark.parametrize("foot", [False, True])
def test_a_slanted_plane_has_no_seam_where_it_runs_through_layers(foot):
    """Cards before a floor, or standing on it, force cuts; beside them the floor is as one layer would render it."""
    y = np.linspace(0.5, 4.0, HEIGHT, dtype=np.float32)[:, None]
    vergence = np.tile(y, (1, WIDTH))
    light = noise(3)
    for top, bottom, nearness in [(20, 60, 2.2), (80, 120, 3.4), (140, 180, 4.0)]:
        vergence[top:bottom, 15:60] = y[bottom - 1] if foot else nearness
    layers = layered(light, vergence, EDGE, REACH)
    assert len(layers) >= 2
    floor = np.tile(y, (1, WIDTH))
    single = layered(light, floor, EDGE, REACH)
    assert len(single) == 1
    clear = (slice(10, -10), slice(110, -10))  # beyond the reach of the cards' blur
    for focus in (0.5, 1.4, 2.2, 3.0, 4.0):
        seen = defocused(layers, light.shape, focus, SLOPE)[clear]
        true = defocused(single, light.shape, focus, SLOPE)[clear]
        assert np.sqrt(np.mean((seen / true - 1.0) ** 2)) < 0.01


def test_a_wide_near_surface_fades_into_the_first_layer_without_a_seam():
    """A desk that fills half of the picture, its edge before a far floor: inside the desk there is no trace of it."""
    vergence = np.full((480, 480), 0.5, np.float32)
    vergence[:, 140:] = 2.5 + np.linspace(-0.5, 1.5, 480, dtype=np.float32)[:, None]
    light = noise(4, (480, 480))
    layers = layered(light, vergence, EDGE, REACH)
    assert len(layers) == 2
    single = layered(light, np.tile(vergence[:, -1:], (1, 480)), EDGE, REACH)
    clear = (slice(30, -30), slice(200, -10))
    for focus in (0.5, 2.5, 4.0):
        seen = defocused(layers, light.shape, focus, SLOPE)[clear]
        true = defocused(single, light.shape, focus, SLOPE)[clear]
        assert np.sqrt(np.mean((seen / true - 1.0) ** 2)) < 0.01


def test_a_near_card_does_not_bleed_into_a_far_wall():
    """A black card before a bright wall, and a bright one before a black wall, against the two true layers."""
    vergence = np.full((HEIGHT, WIDTH), 0.6, np.float32)
    card = (slice(80, 160), slice(120, 200))
    vergence[card] = 3.8
    for wall_light, card_light in ((0.8, 0.02), (0.02, 0.8)):
        light = np.full((HEIGHT, WIDTH), wall_light, np.float32)
        light[card] = card_light
        layers = layered(light, vergence, EDGE, REACH)
        assert len(layers) == 2
        back, front = layers
        assert back.coverage is None and np.all(back.radiance == np.float32(wall_light))  # also beneath the card
        assert back.depth_m == pytest.approx(1 / 0.6)
        mask = np.zeros((HEIGHT, WIDTH))
        mask[card] = 1.0
        for focus, diameter in ((0.6, 3.2), (3.8, 0.0)):
            rim = cv2.filter2D(mask, cv2.CV_64F, disc(SLOPE * diameter * SUPERSAMPLING))
            true = wall_light * (1 - rim) + card_light * rim
            assert defocused(layers, light.shape, focus, SLOPE) == pytest.approx(true, abs=0.01)
        assert front.depth_m == pytest.approx(1 / 3.8)


def test_sharp_layers_give_the_picture_back():
    rng = np.random.default_rng(5)
    vergence = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    for _ in range(12):
        top, left = rng.integers(0, 200, 2)
        vergence[top : top + 40, left : left + 60] = rng.uniform(0.8, 4.0)
    light = noise(6)
    layers = layered(light, vergence, EDGE, REACH)
    same = defocused([layers[0]], light.shape, 0.5, 0.0)
    for layer in layers[1:]:
        box = (
            slice(2 * layer.top_px, 2 * layer.top_px + layer.radiance.shape[0]),
            slice(2 * layer.left_px, 2 * layer.left_px + layer.radiance.shape[1]),
        )
        same[box] = same[box] * (1 - layer.coverage) + layer.radiance * layer.coverage
    # but for the samples along the jumps, which are taken from beside them
    assert np.mean(np.abs(same - light) > 0.01) < 0.06
    assert np.isfinite(same).all()


def test_real_pairs_are_whole():
    if not SHARED.is_dir():
        pytest.skip(f"no RGB-D images at {SHARED}")
    pairs = rgbd_scenes(SHARED)
    assert len(pairs) == 3
    canvas = Canvas(RIG.camera, 30)
    pair = pairs[0]
    scene = RgbdScene(pair, RIG)
    view = scene.view(canvas, Pose(), 0.0)
    assert view.layers[0].coverage is None
    assert view.layers[0].radiance.shape == (2 * canvas.height_px, 2 * canvas.width_px)
    near, far = scene.depth_range_m
    for layer in view.layers:
        assert np.isfinite(layer.radiance).all() and layer.radiance.min() >= 0
        assert layer.depth_m.min() >= near * 0.999 and layer.depth_m.max() <= far * 1.001
    vergence = 1.0 / view.depth_m[view.known]
    sweep = RIG.sweep
    inside = (vergence > sweep.vergence_min_dpt) & (vergence < sweep.vergence_max_dpt)
    assert inside.mean() > 0.85
    # the picture is the photograph: seen sharp, it is what the colour image holds
    assert 0.5 < view.known.mean() < 1.0
    assert pixel_mean(view.layers[0].radiance).std() > 0.05
