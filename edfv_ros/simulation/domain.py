"""What training draws from: rigs, sensors, motions and kinds of scenes, each number with its range and its reason."""

import math
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.event_model import PixelModel
from edfv_ros.simulation.imaging import Imaging
from edfv_ros.simulation.lens_response import LensResponse
from edfv_ros.simulation.motion import MOTIONS, CameraTrajectory, Motion, displacement_px
from edfv_ros.simulation.moving_things import ThingMotion
from edfv_ros.simulation.painted import Paint
from edfv_ros.simulation.readout import Readout
from edfv_ros.simulation.scenes import SCENE_KINDS
from edfv_ros.simulation.settings import SimulationSettings
from edfv_ros.yaml_model import Part

BINS = 32
"""Vergence bins that the ranges refer to."""

_DAVIS_PIXELS = 346 * 260
_MOTION_SAMPLES = 9  # times of a recording at which its motion is measured
_LARGEST_BLUR = 0.6  # of the crop's shorter side


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"[{value[0]:g}, {value[1]:g}]: give the smaller number first")
    return value


def _positive(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] <= 0:
        raise ValueError(
            f"[{value[0]:g}, {value[1]:g}]: give numbers above 0, it is drawn from evenly in its logarithm"
        )
    return value


Even = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_ordered)]
"""A number drawn evenly between two."""

EvenLog = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_ordered), AfterValidator(_positive)]
"""A number drawn between two, evenly in its logarithm."""

Chance = Annotated[float, Field(ge=0, le=1)]


class Domain(Part):
    """Where training data come from. Ranges are drawn from evenly in the logarithm unless said otherwise.

    Nobody knows the rig that a trained network will meet, so the ranges are wider than any one rig, and numbers that a
    lens maker would tie together (blur and field of view) are drawn apart.

    Attributes:
        kinds: scene kinds, one is drawn for each crop; a name given twice comes twice as often.
        contrast: power that the radiance of a scene is raised to, about mid-grey: procedural surfaces
            are as pale as painted walls, or more like gravel in the sun.
        painted: chance that the surfaces of a still scene are painted in a few flat tones instead of textured.
        patch_px, tones: size of the patches, and about how many tones a surface has then.
        wanted_supported: share of the pixels with four events in a 2 px neighbourhood up to which an operator would
            lower the thresholds for this scene, as far as ``threshold`` goes; even. Real sweeps have 60 to 95 %.
        least_supported: crops with a smaller share even then are drawn again.

        blur_px_per_bin: growth of the blur diameter per bin of a sweep in 32; below, focus cannot be told between
            bins, above, fine texture is gone within one. A crop's widest blur is held to 60 % of its side.
        farthest_dpt: far end of the sweep, 1 to 33 m; scenes end at 30 m.
        nearest_dpt: near end of the sweep, 0.15 to 0.67 m, but at least ``least_span_dpt`` from the far end.
        least_span_dpt: shortest sweep.
        field_of_view_deg: of a whole sensor, even; it ties pixels to the angles by which things slant and cameras turn.
        sensor_width_px: of that sensor, DAVIS346 to DVXplorer; the crop is a part of it around the optical axis.
        axis_offset: of the optical axis from the middle of the crop, part of its side, even.
        pixel_pitch_um: of event cameras.
        frequency_hz: of the sweep's whole periods, as liquid lenses can do.
        sine: chance of a sine instead of a triangle.
        breathing_chance, breathing: chance and size of a change of the image scale from end to end of the sweep, either
            sign, even. The rig knows it; some lenses do not breathe, or their drivers scale it away.

        round_pupil: chance of a round one; the others are polygons of 6 or 8 blades, or now and
            then 5 to 9: a pupil of an odd number is dear, its blur is another one on each side of focus.
        cats_eye_chance, cats_eye: chance and size, even, of a pupil that the rim of the lens cuts off in the corners.
        natural_vignetting: chance of a fall of light with the fourth power of the cosine.
        curvature_chance, curvature_bins: chance and size in bins of 32, even, either sign, of a field curvature. Small,
            because a rig is calibrated and this is what remains.
        residual_blur_px: standard deviation of the blur in focus, even; a tenth of a pixel is a perfect lens.

        threshold: geometric mean of the ON and OFF thresholds, from a sensitive DAVIS to a cautious bias setting.
        on_off_ratio: of the ON to the OFF threshold; biases rarely match.
        mismatch, jitter: even; Lichtsteiner (2008) found a tenth.
        refractory_us: of the pixels.
        dark_lux: of the photodiode.
        cutoff_hz_per_lux, cutoff_max_hz: bandwidth, slow to fast biases.
        leak_hz: cold to warm.
        shot_noise_hz, shot_noise_lux: in the dark, and where it halves.
        hot_fraction, hot_hz: hot pixels.
        scanned: chance of a sensor that reads its rows in turn; the others have an arbiter.
        scan_period_us: of the former.
        throughput_meps: of a whole sensor with the pixels of a DAVIS346; a crop has its share of it.

        still: chance that nothing moves.
        moving_things: chance, where anything moves, that things move; half of these have a camera that stands.
        motion_px: farthest that a point of the picture moves during a sweep by the camera's motion, which is a mix of
            two of the named motions, scaled to that. Beyond ten pixels no single depth image describes a sweep.
        moving_share: part of the things that move, even.
        lens_dynamics: chance of a lens that does not follow its command at once.
        lens_delay_ms, lens_hysteresis_dpt, lens_jitter_dpt: even. The lens track tells the truth about them.
        lens_resonance: resonance frequency as a multiple of the sweep's.
        lens_damping: ratio, even.

        frame: chance of a camera that has frames.
    """

    kinds: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = ("mixed",)
    contrast: EvenLog = (1.0, 2.0)
    painted: Chance = 0.3
    patch_px: EvenLog = (1.5, 12.0)
    tones: EvenLog = (2.0, 6.0)
    wanted_supported: Even = (0.4, 0.85)
    least_supported: Annotated[float, Field(ge=0, le=0.9)] = 0.3

    blur_px_per_bin: EvenLog = (0.15, 1.4)
    farthest_dpt: EvenLog = (0.03, 1.0)
    nearest_dpt: EvenLog = (1.5, 6.7)
    least_span_dpt: Annotated[float, Field(ge=0.1)] = 1.0
    field_of_view_deg: Even = (15.0, 70.0)
    sensor_width_px: EvenLog = (346.0, 640.0)
    axis_offset: Even = (-0.3, 0.3)
    pixel_pitch_um: EvenLog = (4.86, 18.5)
    frequency_hz: EvenLog = (2.0, 20.0)
    sine: Chance = 0.4
    breathing_chance: Chance = 0.6
    breathing: Even = (-0.03, 0.03)

    round_pupil: Chance = 0.88
    cats_eye_chance: Chance = 0.03
    cats_eye: Even = (0.1, 0.7)
    natural_vignetting: Chance = 0.5
    curvature_chance: Chance = 0.25
    curvature_bins: Even = (-0.3, 0.3)
    residual_blur_px: Even = (0.1, 0.6)

    threshold: EvenLog = (0.05, 0.35)
    on_off_ratio: EvenLog = (0.7, 1.4)
    mismatch: Even = (0.02, 0.2)
    jitter: Even = (0.0, 0.08)
    refractory_us: EvenLog = (20.0, 1000.0)
    dark_lux: EvenLog = (0.1, 2.0)
    cutoff_hz_per_lux: EvenLog = (3.0, 50.0)
    cutoff_max_hz: EvenLog = (500.0, 5000.0)
    leak_hz: EvenLog = (0.02, 0.5)
    shot_noise_hz: EvenLog = (0.3, 10.0)
    shot_noise_lux: EvenLog = (5.0, 50.0)
    hot_fraction: EvenLog = (1e-5, 1e-3)
    hot_hz: EvenLog = (30.0, 500.0)
    scanned: Chance = 0.4
    scan_period_us: EvenLog = (65.0, 500.0)
    throughput_meps: EvenLog = (8.0, 165.0)

    still: Chance = 0.5
    moving_things: Chance = 0.4
    motion_px: EvenLog = (0.3, 10.0)
    moving_share: Even = (0.1, 0.6)
    lens_dynamics: Chance = 0.6
    lens_delay_ms: Even = (0.0, 4.0)
    lens_hysteresis_dpt: Even = (0.0, 0.08)
    lens_jitter_dpt: Even = (0.0, 0.004)
    lens_resonance: EvenLog = (8.0, 40.0)
    lens_damping: Even = (0.4, 1.0)

    frame: Chance = 0.75

    @model_validator(mode="after")
    def _sweeps_are_possible(self) -> "Domain":
        unknown = [kind for kind in self.kinds if kind not in SCENE_KINDS]
        if unknown:
            raise ValueError(f"kinds: {unknown[0]!r} is none: choose from {', '.join(SCENE_KINDS)}")
        if self.farthest_dpt[1] + self.least_span_dpt > self.nearest_dpt[1]:
            raise ValueError(
                f"nearest_dpt ends at {self.nearest_dpt[1]:g}: it must reach farthest_dpt's end and least_span_dpt, "
                f"{self.farthest_dpt[1] + self.least_span_dpt:g}"
            )
        return self


class Setup(NamedTuple):
    """What a crop is made with.

    Attributes:
        rig: camera and lens.
        settings: how the rig departs from an ideal one.
        kind: of scene.
        contrast: power of the scene's radiance.
        paint: of its surfaces, None where they keep their textures.
        wanted_supported: share of pixels with events for which thresholds are lowered.
        has_frame: whether the camera has frames.
    """

    rig: Rig
    settings: SimulationSettings
    kind: str
    contrast: float
    paint: Paint | None
    wanted_supported: float
    has_frame: bool


def draw_setup(seed: int, resolution: tuple[int, int], domain: Domain | None = None) -> Setup:
    """Draw a rig, its sensor, its motion and a kind of scene; the same arguments draw the same.

    Args:
        seed: 0 or more. Scene, sensor and motion of a crop are to be seeded with it, too.
        resolution: width and height of the crop, pixels.
        domain: what to draw from.

    Raises:
        SimulationError: the seed is negative, or the resolution is below 32 pixels.
    """
    if seed < 0:
        raise SimulationError(f"seed {seed} is negative: give 0 or more")
    if min(resolution) < 32:
        raise SimulationError(f"crops of {resolution[0]} x {resolution[1]} pixels: give at least 32 x 32")
    domain = domain or Domain()
    draw = _Draw(seed)
    rig = _rig(draw, domain, resolution)
    settings = SimulationSettings(
        pixels=_pixels(draw, domain),
        readout=_readout(draw, domain, resolution),
        imaging=_imaging(draw, domain, rig.bins.width_dpt),
        lens_response=_lens_response(draw, domain, rig.sweep.frequency_hz),
    )
    moves, things_move, camera_moves = (
        not draw.chance(domain.still),
        draw.chance(domain.moving_things),
        draw.chance(0.5),
    )
    motion_px = draw.log(domain.motion_px)
    camera = _camera_motion(draw, rig, seed, motion_px)
    things = _thing_motion(draw, domain, rig, motion_px)
    if moves and things_move:
        settings = settings.model_copy(update={"things": things})
    if moves and (camera_moves or not things_move):
        settings = settings.model_copy(update={"motion": camera})
    kind, contrast = draw.one_of(domain.kinds), draw.log(domain.contrast)
    wanted_supported, has_frame = draw.even(domain.wanted_supported), draw.chance(domain.frame)
    is_painted, paint = draw.chance(domain.painted), Paint(draw.log(domain.patch_px), draw.log(domain.tones))
    return Setup(
        rig,
        settings,
        kind=kind,
        contrast=contrast,
        paint=paint if is_painted and not moves else None,
        wanted_supported=wanted_supported,
        has_frame=has_frame,
    )


Choice = TypeVar("Choice")


class _Draw:
    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 0xD03A1])

    def even(self, limits: tuple[float, float]) -> float:
        return float(self._rng.uniform(*limits))

    def log(self, limits: tuple[float, float]) -> float:
        low, high = limits
        return float(np.clip(math.exp(self.even((math.log(low), math.log(high)))), low, high))

    def chance(self, of: float) -> bool:
        return bool(self._rng.random() < of)

    def one_of(self, choices: "tuple[Choice, ...]") -> Choice:
        return choices[int(self._rng.integers(len(choices)))]


def _rig(draw: _Draw, domain: Domain, resolution: tuple[int, int]) -> Rig:
    width, height = resolution
    low_dpt = draw.log(domain.farthest_dpt)
    high_dpt = draw.log((max(domain.nearest_dpt[0], low_dpt + domain.least_span_dpt), domain.nearest_dpt[1]))
    blur_px_per_bin = min(draw.log(domain.blur_px_per_bin), _LARGEST_BLUR * min(resolution) / BINS)
    slope_px_per_dpt = blur_px_per_bin * BINS / (high_dpt - low_dpt)
    sensor_width_px = max(draw.log(domain.sensor_width_px), width)
    focal_px = 0.5 * sensor_width_px / math.tan(math.radians(0.5 * draw.even(domain.field_of_view_deg)))
    pitch_m = 1e-6 * draw.log(domain.pixel_pitch_um)
    image_distance_m = focal_px * pitch_m
    breathes, breathing = draw.chance(domain.breathing_chance), draw.even(domain.breathing)
    breathing = breathing if breathes else 0.0
    rig = {
        "camera": {
            "name": "crop",
            "model": "simulated",
            "width_px": width,
            "height_px": height,
            "pixel_pitch_um": 1e6 * pitch_m,
            "intrinsics": {
                "fx_px": focal_px,
                "fy_px": focal_px,
                "cx_px": 0.5 * (width - 1) + draw.even(domain.axis_offset) * width,
                "cy_px": 0.5 * (height - 1) + draw.even(domain.axis_offset) * height,
                "distortion": (0.0,) * 5,
            },
        },
        "lens": {
            "driver": "virtual",
            "port": "",
            "aperture_mm": 1e3 * slope_px_per_dpt * pitch_m / image_distance_m,
            "image_distance_mm": 1e3 * image_distance_m,
            "calibration": {"control": (0.0, 1.0), "vergence_up_dpt": (low_dpt, high_dpt)},
            "breathing": {
                "vergence_dpt": (low_dpt, high_dpt),
                "scale": (1.0 - 0.5 * breathing, 1.0 + 0.5 * breathing),
            },
        },
        "sweep": {
            "vergence_min_dpt": low_dpt,
            "vergence_max_dpt": high_dpt,
            "waveform": "sine" if draw.chance(domain.sine) else "triangle",
            "frequency_hz": draw.log(domain.frequency_hz),
            "sync": "file",
        },
        "volume": {"bins": BINS},
    }
    return Rig.model_validate(rig)


def _pixels(draw: _Draw, domain: Domain) -> PixelModel:
    threshold, ratio = draw.log(domain.threshold), math.sqrt(draw.log(domain.on_off_ratio))
    return PixelModel(
        threshold_on=threshold * ratio,
        threshold_off=threshold / ratio,
        mismatch=draw.even(domain.mismatch),
        jitter=draw.even(domain.jitter),
        refractory_us=draw.log(domain.refractory_us),
        dark_lux=draw.log(domain.dark_lux),
        cutoff_hz_per_lux=draw.log(domain.cutoff_hz_per_lux),
        cutoff_max_hz=draw.log(domain.cutoff_max_hz),
        leak_hz=draw.log(domain.leak_hz),
        shot_noise_hz=draw.log(domain.shot_noise_hz),
        shot_noise_lux=draw.log(domain.shot_noise_lux),
        hot_fraction=draw.log(domain.hot_fraction),
        hot_hz=draw.log(domain.hot_hz),
    )


def _readout(draw: _Draw, domain: Domain, resolution: tuple[int, int]) -> Readout:
    pixels = resolution[0] * resolution[1]
    scan_period_us = draw.log(domain.scan_period_us)
    return Readout(
        scan_period_us=scan_period_us if draw.chance(domain.scanned) else 0.0,
        throughput_meps=draw.log(domain.throughput_meps) * pixels / _DAVIS_PIXELS,
        buffer_events=pixels,
    )


def _imaging(draw: _Draw, domain: Domain, width_dpt: float) -> Imaging:
    blades, rotation_deg = draw.one_of((5, 6, 6, 6, 6, 7, 8, 8, 8, 8, 9)), draw.even((0.0, 360.0))
    is_round, cats_eye = draw.chance(domain.round_pupil), draw.even(domain.cats_eye)
    has_cats_eye, is_curved = draw.chance(domain.cats_eye_chance), draw.chance(domain.curvature_chance)
    curvature_bins = draw.even(domain.curvature_bins)
    return Imaging(
        blades=0 if is_round else blades,
        blade_rotation_deg=rotation_deg,
        cats_eye=cats_eye if has_cats_eye else 0.0,
        natural_vignetting=draw.chance(domain.natural_vignetting),
        field_curvature_dpt=curvature_bins * width_dpt if is_curved else 0.0,
        residual_blur_px=draw.even(domain.residual_blur_px),
    )


def _lens_response(draw: _Draw, domain: Domain, frequency_hz: float) -> LensResponse:
    response = LensResponse(
        delay_ms=draw.even(domain.lens_delay_ms) * min(1.0, 10.0 / frequency_hz),
        hysteresis_dpt=draw.even(domain.lens_hysteresis_dpt),
        jitter_dpt=draw.even(domain.lens_jitter_dpt),
        resonance_hz=min(draw.log(domain.lens_resonance) * frequency_hz, 600.0),
        damping=draw.even(domain.lens_damping),
    )
    return response if draw.chance(domain.lens_dynamics) else LensResponse()


def _camera_motion(draw: _Draw, rig: Rig, seed: int, motion_px: float) -> Motion:
    """A mix of two named motions, scaled down until no picture point moves farther than asked for in a sweep."""
    names = tuple(name for name in MOTIONS if name != "still")
    first, second = MOTIONS[draw.one_of(names)], MOTIONS[draw.one_of(names)]
    motion = _mixed(first, second, draw.even((0.0, 1.0)))
    sweep_s = rig.sweep.duration_us * 1e-6
    depths_m = 1.0 / rig.sweep.vergence_max_dpt, 1.0 / rig.sweep.vergence_min_dpt
    for _ in range(3):  # a large motion's pixels do not grow in proportion
        trajectory = CameraTrajectory(motion, seed)
        times_s = np.linspace(0.0, sweep_s, _MOTION_SAMPLES)
        starts = (0.0, sweep_s)
        moved_px = max(
            displacement_px(trajectory, rig.camera, depths_m, start, start + float(t))
            for start in starts
            for t in times_s
        )
        motion = _scaled(motion, min(1.0, motion_px / moved_px) if math.isfinite(moved_px) and moved_px > 0 else 0.1)
    return motion


def _mixed(first: Motion, second: Motion, part: float) -> Motion:
    def mix(a: Any, b: Any) -> Any:
        if isinstance(a, dict):
            return {key: mix(a[key], b[key]) for key in a}
        if isinstance(a, tuple):
            return tuple(mix(x, y) for x, y in zip(a, b, strict=True))
        return (1.0 - part) * a + part * b

    return Motion.model_validate(mix(first.model_dump(), second.model_dump()))


def _scaled(motion: Motion, factor: float) -> Motion:
    def scale(values: dict[str, Any]) -> dict[str, Any]:
        scaled: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, dict):
                scaled[key] = scale(value)
            elif isinstance(value, tuple):
                scaled[key] = tuple(factor * part for part in value)
            else:
                scaled[key] = value if key.endswith("_hz") else factor * value
        return scaled

    return Motion.model_validate(scale(motion.model_dump()))


def _thing_motion(draw: _Draw, domain: Domain, rig: Rig, motion_px: float) -> ThingMotion:
    """Things whose picture moves by about as much as asked for in a sweep, in the middle of its range."""
    sweep_s = rig.sweep.duration_us * 1e-6
    middle_dpt = 0.5 * (rig.sweep.vergence_min_dpt + rig.sweep.vergence_max_dpt)
    px_per_m = rig.camera.intrinsics.fx_px * middle_dpt
    thing_radius_px = 0.15 * rig.camera.width_px
    return ThingMotion(
        share=draw.even(domain.moving_share),
        max_speed_m_s=2.0 * motion_px / (px_per_m * sweep_s),
        max_turn_deg_s=math.degrees(2.0 * motion_px / (thing_radius_px * sweep_s)),
    )
