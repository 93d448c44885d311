"""Surfaces in a few flat tones."""

import numpy as np
import pytest

from edfv_ros.simulation.crops import make_crop, setup_seed
from edfv_ros.simulation.domain import Domain, draw_setup
from edfv_ros.simulation.painted import Paint, painted

SIZE = (160, 120)


def texture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.exp(0.7 * rng.standard_normal(SIZE[::-1])).astype(np.float32)


@pytest.mark.parametrize(("patch_px", "tones"), [(2.0, 2.0), (4.0, 4.0), (8.0, 3.0)])
def test_most_of_a_painted_surface_is_flat(patch_px: float, tones: float) -> None:
    image = painted(texture(), Paint(patch_px, tones))
    assert image.shape == SIZE[::-1] and image.dtype == np.float32
    tone = np.log(texture())
    steps = (np.log(image) - tone.mean()) / (4.0 / tones * tone.std())
    flat = np.abs(steps - np.rint(steps)) < 0.02
    assert flat.mean() > (0.7 if patch_px > 4.0 else 0.4)
    assert 2 <= len(np.unique(np.rint(steps[flat]))) <= tones + 3


def test_larger_patches_have_fewer_edges() -> None:
    edges = [np.mean(np.abs(np.diff(np.log(painted(texture(), Paint(patch, 3.0))))) > 0.05) for patch in (1.5, 6.0)]
    assert edges[1] < 0.5 * edges[0]


def test_paint_keeps_the_contrast_and_leaves_blank_surfaces_alone() -> None:
    image = texture()
    spread = np.log(painted(image, Paint(4.0, 4.0))).std() / np.log(image).std()
    assert 0.7 < spread < 1.3
    blank = np.full((40, 40), 0.3, np.float32)
    np.testing.assert_array_equal(painted(blank, Paint(4.0, 4.0)), blank)


def test_only_still_scenes_are_painted_as_often_as_the_domain_says() -> None:
    setups = [draw_setup(setup_seed("train", seed, 0), (128, 128), Domain(painted=0.6)) for seed in range(80)]
    still = [s for s in setups if s.settings.motion == type(s.settings.motion)() and s.settings.things.share == 0]
    assert not any(setup.paint for setup in setups if setup not in still)
    assert 0.4 < np.mean([setup.paint is not None for setup in still]) < 0.8


def test_a_painted_crop_has_the_depth_of_the_textured_one() -> None:
    common = {"kinds": ("cards",), "still": 1.0, "least_supported": 0.0, "frame": 1.0}
    plain, flat = (make_crop(5, (48, 40), Domain(painted=chance, **common)) for chance in (0.0, 1.0))
    np.testing.assert_array_equal(plain.depth_m, flat.depth_m)
    assert not np.array_equal(plain.pixel, flat.pixel)
