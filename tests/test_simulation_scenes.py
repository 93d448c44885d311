"""Procedural scenes: analytic depth from any place, coverage, determinism, variety, and no rig that breaks them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig, load_rig
from edfv_ros.simulation.geometry import Pose, rotation_about
from edfv_ros.simulation.scenes import SCENE_KINDS, ProceduralScene, Thing, make_scene
from edfv_ros.simulation.scenes.objects import Lamp, Lighting, Wall
from edfv_ros.simulation.scenes.shading import BRIGHTEST
from edfv_ros.simulation.scenes.shapes import Box, Cable, Can, Card, Disc, Ellipsoid, Grid, Leaf, Rod, Shape
from edfv_ros.simulation.scenes.surfaces import Pattern, Surface
from edfv_ros.simulation.scenes.textures import LEVEL_OFFSETS, pyramid
from edfv_ros.simulation.view import SUPERSAMPLING, Canvas, pixel_mean

RIG_FILE = Path(__file__).parents[1] / "config" / "rig.yaml"
BESIDE = Pose(np.array([0.01, -0.008, 0.05]), rotation_about([0.01, -0.015, 0.12]))
MOVED = Pose(np.array([0.06, -0.04, 0.05]), rotation_about([0.06, -0.09, 0.12]))


def rig(width_px: int = 96, height_px: int = 72, sweep: tuple[float, float] = (0.3, 4.2), **intrinsics: object) -> Rig:
    data = load_rig(RIG_FILE).model_dump()
    data["camera"] |= {"width_px": width_px, "height_px": height_px}
    data["camera"]["intrinsics"] |= {"cx_px": width_px / 2 - 0.5, "cy_px": height_px / 2 - 0.5} | intrinsics
    data["lens"]["calibration"] |= {"vergence_up_dpt": list(sweep), "vergence_down_dpt": list(sweep)}
    data["lens"].pop("breathing", None)
    data["lens"]["aperture_mm"] = 2.0  # small sensors hold little blur
    data["sweep"] |= {"vergence_min_dpt": sweep[0], "vergence_max_dpt": sweep[1]}
    return Rig.model_validate(data)


CANVAS = Canvas(rig().camera, 12)


def plain(tone: float = 0.5, contrast: float = 0.0, texel_m: float = 0.001) -> Surface:
    pattern = Pattern("checks", 0, texel_m, 0.3, (0.0, 0.0), contrast)
    return Surface(pattern, pattern, tone)


def studio_of(things: list[tuple[Shape, Pose]], wall: tuple[float, float, float] = (0.0, 0.0, 0.3)) -> ProceduralScene:
    """Things of tone 0.5 before a wall of tone 0.25, in light that shades nothing but the contrast."""
    lighting = Lighting(1.0, np.zeros(3), ())
    walls = (Wall(np.array(wall), plain(0.25)),)
    made = tuple(Thing(shape, pose, plain()) for shape, pose in things)
    return ProceduralScene("test", 100.0, (0.1, 30.0), walls, made, lighting)


def world_rays(camera: Pose, samples: int = 1) -> np.ndarray:
    x, y = (CANVAS.sensor(image) if samples == 1 else image for image in CANVAS.rays(samples))
    return np.stack([x, y, np.ones_like(x)], axis=-1).astype(float) @ camera.rotation.T


@pytest.mark.parametrize("camera", [Pose(), MOVED])
def test_walls_have_the_depth_of_their_planes(camera):
    """From any place, ``p . (camera + z ray) = 1``; of two walls the nearer counts."""
    planes = np.array([[0.3, 0.1, 0.6], [-0.8, 0.9, 0.9]])
    scene = ProceduralScene(
        "walls",
        100.0,
        (0.1, 30.0),
        tuple(Wall(plane, plain()) for plane in planes),
        (),
        Lighting(1.0, np.zeros(3), ()),
    )
    depth = (1 - planes @ camera.position_m) / (world_rays(camera) @ planes.T)
    true = np.where(depth > 0, depth, np.inf).min(axis=-1)
    seen = scene.view(CANVAS, camera, 0.0)
    bend = np.abs(depth[..., 0] / depth[..., 1] - 1) < 0.01
    assert seen.depth_m[~bend] == pytest.approx(true[~bend], rel=2e-5)
    assert bend.mean() < 0.1


@pytest.mark.parametrize("camera", [Pose(), BESIDE])
def test_a_ball_and_a_rod_have_their_analytic_depth(camera):
    centre, radius = np.array([0.01, 0.0, 0.6]), 0.02
    scene = studio_of([(Ellipsoid((radius,) * 3), Pose(centre, rotation_about([0.3, 0.2, 0.1])))])
    rays, offset = world_rays(camera), camera.position_m - centre
    a, b, c = (rays**2).sum(-1), rays @ offset, offset @ offset - radius**2
    inside = b * b - a * c
    depth = (-b - np.sqrt(np.maximum(inside, 0))) / a
    clear = inside > 0.15 * inside.max()  # where a pixel is about flat
    assert clear.sum() > 300
    assert scene.view(CANVAS, camera, 0.0).depth_m[clear] == pytest.approx(depth[clear], rel=2e-4)

    axes = rotation_about([0.0, 0.5, 0.4])
    scene = studio_of([(Rod(radius, 0.3), Pose(centre, axes))])
    along = axes[:, 1]
    rays_across, offset_across = (
        rays - np.outer(rays @ along, along).reshape(rays.shape),
        offset - (offset @ along) * along,
    )
    a, b, c = (rays_across**2).sum(-1), rays_across @ offset_across, offset_across @ offset_across - radius**2
    inside = b * b - a * c
    depth = (-b - np.sqrt(np.maximum(inside, 0))) / a
    clear = inside > 0.15 * inside.max()  # where a pixel is about flat
    assert clear.sum() > 600
    assert scene.view(CANVAS, camera, 0.0).depth_m[clear] == pytest.approx(depth[clear], rel=2e-4)


def test_depth_of_a_box_and_a_can_seen_face_on():
    for shape, centre in ((Box((0.02, 0.015, 0.03)), 0.5), (Can(0.02, 0.015), 0.5)):
        view = studio_of([(shape, Pose(np.array([0.0, 0.0, centre])))]).view(CANVAS, Pose(), 0.0)
        half = 0.03 if isinstance(shape, Box) else 0.02
        middle = view.depth_m[35:37, 47:49]
        assert middle == pytest.approx(centre - half, rel=1e-3)
    lying = rotation_about([np.pi / 2, 0.0, 0.0])  # the can's end towards the camera
    view = studio_of([(Can(0.02, 0.015), Pose(np.array([0.0, 0.0, 0.5]), lying))]).view(CANVAS, Pose(), 0.0)
    assert view.depth_m[30:42, 42:54] == pytest.approx(0.485, rel=1e-4)


def test_things_move_by_their_motion():
    class Push:
        def pose(self, time_s: float) -> Pose:
            return Pose(np.array([0.0, 0.0, 0.2 * time_s]), rotation_about([0.0, 0.0, time_s]))

    still = studio_of([(Card(0.05, 0.05), Pose(np.array([0.0, 0.0, 0.5])))])
    scene = still.with_motions({0: Push()})
    assert scene.view(CANVAS, Pose(), 1.5).depth_m[36, 48] == pytest.approx(0.8, rel=1e-5)
    assert scene.view(CANVAS, Pose(), 1.5).layers[1].motion is scene.things[0].motion
    assert scene.view(CANVAS, Pose(), 0.0).depth_m[36, 48] == pytest.approx(0.5, rel=1e-5)
    assert still.view(CANVAS, Pose(), 1.5).depth_m[36, 48] == pytest.approx(0.5, rel=1e-5)


def covered_px(scene: ProceduralScene) -> float:
    return sum(float(layer.coverage.sum()) for layer in scene.view(CANVAS, Pose(), 0.0).layers[1:]) / SUPERSAMPLING**2


@pytest.mark.parametrize("diameter_px", [0.5, 0.8, 1.3, 2.0, 4.0, 11.7])
def test_coverage_is_true_below_the_pixel(diameter_px):
    """The area of discs, balls and rods in pixels, at places that are no multiple of a sample."""
    pixel_m = 0.5 / CANVAS.camera.intrinsics.fx_px
    radius = 0.5 * diameter_px * pixel_m
    discs, balls, rods, cables = [], [], [], []
    for shift in np.random.default_rng(1).uniform(-20, 20, (8, 2)) * pixel_m:
        pose = Pose(np.array([*shift, 0.5]))
        discs.append(covered_px(studio_of([(Disc(radius, radius), pose)])))
        balls.append(covered_px(studio_of([(Ellipsoid((radius,) * 3), pose)])))
        turned = Pose(pose.position_m, rotation_about([0.0, 0.0, 40.0 * shift[0] / pixel_m]))
        rods.append(covered_px(studio_of([(Rod(radius, 15 * pixel_m), turned)])))
        cables.append(covered_px(studio_of([(Cable(15 * pixel_m, 0.0, 0.0, 1.0, 2 * radius), turned)])))
    area = np.pi / 4 * diameter_px**2
    assert np.mean(discs) == pytest.approx(area, rel=0.06 if diameter_px < 1 else 0.02)
    assert np.mean(balls) == pytest.approx(area, rel=0.06 if diameter_px < 1 else 0.02)
    assert np.mean(rods) == pytest.approx(30 * diameter_px + area, rel=0.03)
    assert np.mean(cables) == pytest.approx(30 * diameter_px, rel=0.03)


def test_grids_and_leaves_cover_what_they_should():
    pixel_m = 0.5 / CANVAS.camera.intrinsics.fx_px
    grid = Grid(30 * pixel_m, 20 * pixel_m, 5 * pixel_m, 8 * pixel_m, 0.7 * pixel_m, 1.6 * pixel_m)
    share = 1 - (1 - 0.7 / 5) * (1 - 1.6 / 8)
    at = Pose(np.array([0.3 * pixel_m, 0.1 * pixel_m, 0.5]))
    assert covered_px(studio_of([(grid, at)])) == pytest.approx(60 * 40 * share, rel=0.05)
    leaf = Leaf(6 * pixel_m, 20 * pixel_m, 0.3)
    assert covered_px(studio_of([(leaf, at)])) == pytest.approx(2 * 6 * 20 * 4 / 3, rel=0.02)  # a parabola on each side


def test_depth_runs_on_beyond_the_rim():
    """Outside its coverage a layer's depth stays within what it covers, and a card's is still its plane's."""
    tilted = rotation_about([0.0, 0.9, 0.5])
    for shape in (
        Card(0.03, 0.02),
        Disc(0.03, 0.02),
        Ellipsoid((0.03, 0.02, 0.01)),
        Box((0.03, 0.02, 0.01)),
        Can(0.02, 0.03),
    ):
        layer = studio_of([(shape, Pose(np.array([0.0, 0.0, 0.6]), tilted))]).view(CANVAS, Pose(), 0.0).layers[1]
        covered = layer.depth_m[layer.coverage > 0]
        assert layer.depth_m.min() == covered.min() and layer.depth_m.max() == covered.max()
        step = max(np.abs(np.diff(layer.depth_m, axis=axis)).max() for axis in (0, 1))
        # no streaks: no step between neighbours larger than the steepest part of the surface itself makes
        inner = layer.coverage >= 1
        steepest = max(
            np.abs(np.diff(layer.depth_m, axis=0))[inner[1:] & inner[:-1]].max(),
            np.abs(np.diff(layer.depth_m, axis=1))[inner[:, 1:] & inner[:, :-1]].max(),
        )
        assert step <= 3 * steepest + 1e-6


def test_nearer_things_lie_in_front_whatever_their_order():
    """Tilted cards whose middles are in the wrong order, and a ball on a pole."""
    long = Card(0.2, 0.02)
    slanted = Pose(np.array([0.05, 0.0, 0.62]), rotation_about([0.0, -1.0, 0.0]))
    small = (Disc(0.01, 0.01), Pose(np.array([0.0, 0.0, 0.6])))
    for things in ([(long, slanted), small], [small, (long, slanted)]):
        view = studio_of(things).view(CANVAS, Pose(), 0.0)
        first, second = view.layers[1:]
        plane = studio_of([(long, slanted)]).view(CANVAS, Pose(), 0.0).depth_m[36, 48]
        nearest = min(plane, 0.6)
        assert view.depth_m[36, 48] == pytest.approx(nearest, rel=1e-3)
        assert {first.depth_m.shape, second.depth_m.shape} == {a.depth_m.shape for a in view.layers[1:]}


def test_walls_hide_what_stands_behind_them():
    behind = (Card(0.5, 0.5), Pose(np.array([0.0, 0.0, 5.0])))
    half = (Ellipsoid((0.05,) * 3), Pose(np.array([0.0, 0.0, 1 / 0.3 + 0.02])))
    assert len(studio_of([behind]).view(CANVAS, Pose(), 0.0).layers) == 1
    view = studio_of([half]).view(CANVAS, Pose(), 0.0)
    assert view.depth_m.max() == pytest.approx(1 / 0.3, rel=5e-4)
    assert view.depth_m.min() == pytest.approx(1 / 0.3 - 0.03, rel=1e-3)


def test_what_the_camera_is_in_or_has_behind_it_does_no_harm():
    shapes = (
        Box((0.3,) * 3),
        Ellipsoid((0.3,) * 3),
        Can(0.3, 0.3),
        Rod(0.1, 0.5),
        Card(0.4, 0.4),
        Grid(1, 1, 0.1, 0.1, 0.01, 0.01),
    )
    for shape in shapes:
        for z in (-1.0, -0.2, 0.0, 0.05, 0.25):
            for turn in (0.0, 1.2):
                pose = Pose(np.array([0.0, 0.0, z]), rotation_about([turn, 0.2, 0.0]))
                view = studio_of([(shape, pose)]).view(CANVAS, Pose(), 0.0)
                assert np.isfinite(view.sharp).all() and view.depth_m.min() >= 0.1
                if z == -1.0:
                    assert len(view.layers) == 1


def test_textures_are_filtered_not_sampled():
    """A wall of checks that are far finer than a pixel is grey, and one of wide checks is not."""

    def seen(texel_px: float) -> np.ndarray:
        surface = plain(0.4, 0.9, texel_px / 0.5 / CANVAS.camera.intrinsics.fx_px)
        wall = Wall(np.array([0.0, 0.0, 0.5]), Surface(surface.coarse, plain().fine, 0.4))
        scene = ProceduralScene("wall", 1.0, (0.1, 30.0), (wall,), (), Lighting(1.0, np.zeros(3), ()))
        return scene.view(CANVAS, Pose(), 0.0).sharp

    assert seen(1.0).std() > 0.1
    fine = seen(0.002)
    assert fine.std() < 0.004
    assert fine.mean() == pytest.approx(0.8 * 0.4, rel=0.02)  # the sky is 0.8 of its full light from the side
    # minified obliquely, the mean stays too
    assert seen(0.05).mean() == pytest.approx(0.8 * 0.4, rel=0.05)


def test_pyramids_keep_their_mean():
    flat = pyramid("leaves", 3)
    assert flat.min() >= -1
    for start, end in zip(LEVEL_OFFSETS, [*LEVEL_OFFSETS[1:], len(flat)], strict=True):
        assert flat[start:end].mean() == pytest.approx(0.0, abs=1e-5)


def test_light_falls_by_lamberts_law_and_highlights_by_blinns():
    direction = np.array([0.6, 0.0, -0.8])
    lamp = Lighting(0.0, np.zeros(3), (Lamp(direction, 1.0),))
    wall = Wall(np.array([0.0, 0.0, 0.5]), plain(0.4))
    scene = ProceduralScene("lamp", 1.0, (0.1, 30.0), (wall,), (), lamp)
    assert scene.view(CANVAS, Pose(), 0.0).sharp == pytest.approx(0.4 * 0.8, rel=1e-5)
    shiny = Wall(np.array([0.0, 0.0, 0.5]), plain(0.4).shiny(25.0, 80.0))
    gloss = ProceduralScene(
        "lamp", 1.0, (0.1, 30.0), (shiny,), (), Lighting(0.0, np.zeros(3), (Lamp(np.array([0.0, 0.0, -1.0]), 1.0),))
    )
    picture = gloss.view(CANVAS, Pose(), 0.0).sharp
    rays = world_rays(Pose())
    eye = -rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    half = np.add(eye, [0.0, 0.0, -1.0])
    cosine = -half[..., 2] / np.linalg.norm(half, axis=-1)
    assert picture == pytest.approx(0.4 + 25.0 * cosine**80, rel=1e-3)


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_scenes_depend_on_kind_and_seed_alone(kind):
    small = rig(48, 36)
    canvas = Canvas(small.camera, 6)
    first = make_scene(kind, 4, small).view(canvas, Pose(), 0.0)
    if kind in ("room", "print"):
        pyramid.cache_clear()  # what was made before must not matter
    again = make_scene(kind, 4, small)
    view = again.view(canvas, Pose(), 0.0)
    assert np.array_equal(first.sharp, view.sharp) and np.array_equal(first.depth_m, view.depth_m)
    other = make_scene(kind, 5, small).view(canvas, Pose(), 0.0)
    assert np.abs(other.depth_m / first.depth_m - 1).mean() > 0.02
    check(view, again)
    check(again.view(canvas, MOVED, 0.0), again)


def check(view, scene: ProceduralScene) -> None:
    near, far = scene.depth_range_m
    canvas, first = view.canvas, view.layers[0]
    assert (first.left_px, first.top_px, first.coverage) == (0, 0, None)
    assert first.radiance.shape == (SUPERSAMPLING * canvas.height_px, SUPERSAMPLING * canvas.width_px)
    assert first.radiance.min() > 0
    for layer in view.layers:
        assert np.isfinite(layer.radiance).all() and layer.radiance.min() >= 0 and layer.radiance.max() <= BRIGHTEST
        assert layer.depth_m.min() >= near * 0.9999 and layer.depth_m.max() <= far * 1.0001
        assert layer.radiance.dtype == layer.depth_m.dtype == np.float32
        if layer.coverage is not None:
            assert layer.coverage.shape == layer.radiance.shape == layer.depth_m.shape
            assert layer.coverage.min() >= 0 and 0 < layer.coverage.max() <= 1
            assert (layer.radiance[layer.coverage > 0] > 0).all()
            bottom, right = layer.top_px * 2 + layer.radiance.shape[0], layer.left_px * 2 + layer.radiance.shape[1]
            assert layer.top_px >= 0 and bottom <= first.radiance.shape[0]
            assert layer.left_px >= 0 and right <= first.radiance.shape[1]


def test_three_hundred_seeds_give_three_hundred_scenes():
    small = rig(48, 36)
    canvas = Canvas(small.camera, 4)
    depths, pictures, statistics = set(), set(), []
    for seed in range(300):
        scene = make_scene("mixed", seed, small)
        view = scene.view(canvas, Pose(), 0.0)
        depths.add(hashlib.sha256(view.depth_m.tobytes()).hexdigest())
        pictures.add(hashlib.sha256(view.sharp.tobytes()).hexdigest())
        vergence = 1 / view.depth_m
        light = np.log(view.sharp)
        statistics.append([vergence.mean(), vergence.std(), light.mean(), light.std(), np.log(scene.illuminance_lux)])
    assert len(depths) == len(pictures) == 300
    low, high = np.percentile(statistics, (5, 95), axis=0)
    assert np.all(high - low > [1.0, 0.6, 0.8, 0.3, 2.5])


def test_depths_fill_the_sweep():
    """Over many scenes each tenth of the sweep's vergences holds a fair share of the pixels."""
    small = rig(48, 36)
    canvas = Canvas(small.camera, 4)
    kinds = [kind for kind in SCENE_KINDS if kind not in ("dark", "mixed")]
    vergence = np.concatenate(
        [
            (1 / make_scene(kind, seed, small).view(canvas, Pose(), 0.0).depth_m).ravel()
            for kind in kinds
            for seed in range(6)
        ]
    )
    shares = np.histogram(vergence, np.linspace(0.3, 4.2, 11))[0] / len(vergence)
    assert shares.min() > 0.025
    assert (vergence > 4.2).mean() < 0.05 and (vergence < 0.3).mean() < 0.25
    assert vergence.max() <= 4.2 + 0.081 * 3.9
    assert 1 / vergence.min() > 12.0  # a corridor's end


def test_light_levels():
    lux = {kind: [make_scene(kind, seed, rig()).illuminance_lux for seed in range(30)] for kind in ("dark", "cards")}
    assert min(lux["dark"]) >= 2 and max(lux["dark"]) <= 30
    assert min(lux["cards"]) >= 50 and max(lux["cards"]) <= 2000
    glints = [make_scene("gloss", seed, rig()).view(CANVAS, Pose(), 0.0).layers for seed in range(5)]
    assert max(float(layer.radiance.max()) for layers in glints for layer in layers) > 5


def test_bare_scenes_are_barer_than_others():
    """Median contrast between neighbours, in log radiance."""

    def contrast(kind: str) -> float:
        views = [make_scene(kind, seed, rig()).view(CANVAS, Pose(), 0.0) for seed in range(8)]
        return float(np.mean([np.median(np.abs(np.diff(np.log(view.sharp), axis=1))) for view in views]))

    assert contrast("blank") < 0.02
    for kind in ("tabletop", "clutter", "repeats", "print", "room"):
        assert contrast(kind) > 0.03


def test_wires_are_thin():
    """Half a pixel to four pixels across: their widest stretch along rows or columns, bars of grids included."""
    widths = []
    for seed in range(4):
        for thing in make_scene("wires", seed, rig()).things:
            pixel_m = thing.pose.position_m[2] / CANVAS.camera.intrinsics.fx_px
            match thing.shape:
                case Cable():
                    widths.append(thing.shape.thickness_m / pixel_m)
                case Grid():
                    widths.append(thing.shape.bar_x_m / pixel_m)
    assert len(widths) >= 8
    assert 0.45 <= min(widths) < 1.5 and 2.0 < max(widths) <= 4.1


def test_unknown_kinds_and_negative_seeds_are_refused():
    with pytest.raises(SimulationError, match="'attic' is not known: choose one of tabletop"):
        make_scene("attic", 0, rig())
    with pytest.raises(SimulationError, match="seed -1 is negative"):
        make_scene("cards", -1, rig())


RIGS = [
    rig(320, 180, fx_px=900.0, fy_px=880.0),
    rig(16, 16),
    rig(40, 30, sweep=(0.03, 6.7)),
    rig(40, 30, sweep=(1.0, 1.2)),
    rig(60, 44, fx_px=60.0, fy_px=60.0, cx_px=20.0, cy_px=30.0, distortion=[-0.25, 0.08, 0.001, -0.001, 0.0]),
]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(SCENE_KINDS),
    seed=st.integers(0, 2**31),
    number=st.integers(0, len(RIGS) - 1),
    shift=st.tuples(*[st.floats(-0.2, 0.2)] * 3),
    turn=st.tuples(*[st.floats(-0.2, 0.2)] * 3),
    margin=st.integers(0, 20),
)
def test_no_rig_and_no_place_breaks_a_scene(kind, seed, number, shift, turn, margin):
    odd = RIGS[number]
    scene = make_scene(kind, seed, odd)
    near, far = scene.depth_range_m
    span = odd.sweep.vergence_max_dpt - odd.sweep.vergence_min_dpt
    assert 1 / near <= odd.sweep.vergence_max_dpt + 0.081 * span and far <= 30.01
    camera = Pose(np.array(shift) * near, rotation_about(turn))
    view = scene.view(Canvas(odd.camera, margin), camera, 0.0)
    check(view, scene)
    assert view.depth_m.shape == (odd.camera.height_px, odd.camera.width_px)
    assert np.isfinite(view.sharp).all() and (view.sharp > 0).all()
    assert pixel_mean(view.layers[0].depth_m).min() > 0


def test_a_wide_sensor():
    wide = rig(1280, 720)
    scene = make_scene("clutter", 1, wide)
    check(scene.view(Canvas(wide.camera, 20), Pose(), 0.0), scene)
