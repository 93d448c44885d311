"""What a rig is. Units are in the key names; every value is checked when the rig is made."""

from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from edfv_ros.optics import ThinLens, VergenceBins
from edfv_ros.yaml_model import Part, Positive

_HOMING_STEPS_PER_S = 500

Curve = Annotated[tuple[float, ...], Field(min_length=2, strict=False)]


def _require_increasing(name: str, values: tuple[float, ...]) -> tuple[float, ...]:
    for before, after in pairwise(values):
        if after <= before:
            raise ValueError(f"{name} must be strictly increasing, but {before:g} is followed by {after:g}")
    return values


class Intrinsics(Part):
    """Pinhole and plumb_bob distortion, as in ROS CameraInfo."""

    fx_px: Positive
    fy_px: Positive
    cx_px: float
    cy_px: float
    distortion: Annotated[tuple[float, ...], Field(min_length=5, max_length=5, strict=False)]


class Camera(Part):
    """The sensor behind the lens; ``name`` becomes its namespace and its frame ids."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    model: str
    serial: str = ""
    width_px: Annotated[int, Field(ge=16, le=4096)]
    height_px: Annotated[int, Field(ge=16, le=4096)]
    pixel_pitch_um: Annotated[float, Field(ge=0.5, le=200)]
    intrinsics: Intrinsics

    @property
    def resolution(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width_px, self.height_px

    @property
    def optical_frame(self) -> str:
        """Frame id of images and clouds (REP 103: z forward, x right, y down)."""
        return f"{self.name}_optical_frame"

    @property
    def link_frame(self) -> str:
        """Frame id of the camera body (REP 103: x forward, y left, z up)."""
        return f"{self.name}_link"

    @model_validator(mode="after")
    def _centre_on_sensor(self) -> "Camera":
        for key, value, size in (
            ("cx_px", self.intrinsics.cx_px, self.width_px),
            ("cy_px", self.intrinsics.cy_px, self.height_px),
        ):
            if not -0.5 <= value <= size - 0.5:
                raise ValueError(f"intrinsics.{key} = {value:g} must lie on the sensor, -0.5 to {size - 0.5:g}")
        return self


class Calibration(Part):
    """Focus curve: control value in the driver's own unit to focus vergence, linear between rows."""

    control: Curve
    vergence_up_dpt: Curve
    vergence_down_dpt: Curve | None = None

    @field_validator("control")
    @classmethod
    def _control_increases(cls, control: tuple[float, ...]) -> tuple[float, ...]:
        return _require_increasing("control", control)

    @model_validator(mode="after")
    def _branches_invert(self) -> "Calibration":
        for key in ("vergence_up_dpt", "vergence_down_dpt"):
            branch = getattr(self, key)
            if branch is None:
                continue
            if len(branch) != len(self.control):
                raise ValueError(f"{key} has {len(branch)} values, but control has {len(self.control)}: give one each")
            steps = np.diff(branch)
            if not (np.all(steps > 0) or np.all(steps < 0)):
                raise ValueError(f"{key} must rise or fall strictly, so that a vergence has one control value")
        return self

    def branch_dpt(self, direction: int) -> NDArray[np.float64]:
        """Vergence at each control row for a sweep direction (+1 up, -1 down)."""
        down = self.vergence_down_dpt
        return np.asarray(self.vergence_up_dpt if direction > 0 or down is None else down)

    @property
    def range_dpt(self) -> tuple[float, float]:
        """Vergence that both branches reach."""
        branches = [self.branch_dpt(1), self.branch_dpt(-1)]
        return max(float(b.min()) for b in branches), min(float(b.max()) for b in branches)


class Breathing(Part):
    """Image scale relative to the reference vergence, linear between rows."""

    vergence_dpt: Curve
    scale: Annotated[tuple[Positive, ...], Field(min_length=2, strict=False)]

    @model_validator(mode="after")
    def _rows_match(self) -> "Breathing":
        _require_increasing("vergence_dpt", self.vergence_dpt)
        if len(self.scale) != len(self.vergence_dpt):
            raise ValueError(f"scale has {len(self.scale)} values, but vergence_dpt has {len(self.vergence_dpt)}")
        return self

    @property
    def is_constant(self) -> bool:
        return len(set(self.scale)) == 1


class Motor(Part):
    """What a stepper motor that moves the lens can do, in the steps of ``calibration.control``.

    The driver ``edfv`` takes all of it, and an analogue lens where there is no motor; ``scf4`` takes the speed.
    """

    speed_steps_per_s: Annotated[int, Field(ge=10, le=7000)]
    acceleration_steps_per_s2: Annotated[int, Field(ge=1000, le=10_000_000)] = 50_000
    homing_speed_steps_per_s: Annotated[int, Field(ge=10, le=7000)] | None = None
    lost_steps_tolerance: Annotated[int, Field(ge=1, le=1000)] = 16
    direction_inverted: bool = False
    home_switch_reads_high: bool = False

    @property
    def homing_steps_per_s(self) -> int:
        """Homing speed; where none is given 500 steps/s, or the speed where that is lower."""
        return self.homing_speed_steps_per_s or min(_HOMING_STEPS_PER_S, self.speed_steps_per_s)

    @model_validator(mode="after")
    def _homes_no_faster(self) -> "Motor":
        if self.homing_steps_per_s > self.speed_steps_per_s:
            raise ValueError(
                f"homing_speed_steps_per_s = {self.homing_steps_per_s} must not be above speed_steps_per_s = "
                f"{self.speed_steps_per_s}"
            )
        return self


class Response(Part):
    """How the lens follows its set points: a resonator of second order."""

    resonance_hz: Annotated[float, Field(ge=1, le=10_000)]
    damping: Annotated[float, Field(ge=0.01, le=2)]


_MOTOR_DRIVERS = ("edfv", "scf4")
_RESPONSE_DRIVERS = ("edfv", "optotune_ld4", "optotune_icc", "varioptic_usbm")


class Lens(Part):
    """The focus lens: who drives it, how it blurs, and which control value focuses where."""

    driver: Literal["virtual", "edfv", "optotune_ld4", "optotune_icc", "scf4", "varioptic_usbm"]
    port: str
    aperture_mm: Annotated[float, Field(ge=0.01, le=200)]
    image_distance_mm: Annotated[float, Field(ge=0.1, le=2000)]
    calibration: Calibration
    delay_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0
    temperature_coefficient_dpt_per_c: float = 0.0
    breathing: Breathing = Breathing(vergence_dpt=(0.0, 10.0), scale=(1.0, 1.0))
    motor: Motor | None = None
    response: Response | None = None

    @model_validator(mode="after")
    def _motor_and_response_are_the_drivers(self) -> "Lens":
        for key, drivers in (("motor", _MOTOR_DRIVERS), ("response", _RESPONSE_DRIVERS)):
            if getattr(self, key) is not None and self.driver not in drivers:
                raise ValueError(f"{key} is not for driver {self.driver}, only for {', '.join(drivers)}: remove it")
        if self.motor is not None and self.response is not None:
            raise ValueError("response is of a lens without a motor: remove motor or response")
        motor = self.motor
        if self.driver == "scf4" and motor is not None and motor != Motor(speed_steps_per_s=motor.speed_steps_per_s):
            raise ValueError("motor of driver scf4 takes only speed_steps_per_s: remove the rest")
        return self


class Sweep(Part):
    """How the focus moves, and how its time is tied to the camera's."""

    vergence_min_dpt: Annotated[float, Field(ge=0)]
    vergence_max_dpt: Positive
    waveform: Literal["triangle", "sine", "sawtooth"]
    frequency_hz: Annotated[float, Field(gt=0, le=1000)]
    sync: Literal["trigger", "telemetry", "file"]

    @model_validator(mode="after")
    def _far_below_near(self) -> "Sweep":
        if self.vergence_min_dpt >= self.vergence_max_dpt:
            raise ValueError(
                f"vergence_min_dpt = {self.vergence_min_dpt:g} (farthest focus) must be below "
                f"vergence_max_dpt = {self.vergence_max_dpt:g} (nearest focus): are they swapped?"
            )
        return self

    @property
    def duration_us(self) -> float:
        """Duration of one sweep: half a period, or a whole one for a sawtooth."""
        return 1e6 / self.frequency_hz * (1.0 if self.waveform == "sawtooth" else 0.5)


class Volume(Part):
    """How finely the focus axis is divided."""

    bins: Annotated[int, Field(ge=4, le=256)]


class Rig(Part):
    """A camera behind a lens that sweeps its focus."""

    camera: Camera
    lens: Lens
    sweep: Sweep
    volume: Volume

    @model_validator(mode="after")
    def _sweep_within_calibration(self) -> "Rig":
        low, high = self.lens.calibration.range_dpt
        for key in ("vergence_min_dpt", "vergence_max_dpt"):
            value = getattr(self.sweep, key)
            if not low - 1e-9 <= value <= high + 1e-9:
                raise ValueError(
                    f"sweep.{key} = {value:g} lies outside the lens calibration, {low:g} to {high:g} dpt: "
                    "narrow the sweep or calibrate a wider range"
                )
        return self

    @model_validator(mode="after")
    def _blur_fits_the_sensor(self) -> "Rig":
        blur_px = self.optics.blur_slope_px_per_dpt * (self.sweep.vergence_max_dpt - self.sweep.vergence_min_dpt)
        width_px = self.camera.width_px
        if blur_px > width_px:
            raise ValueError(
                f"lens.aperture_mm x image_distance_mm over this sweep blurs a point to {blur_px:.0f} px, wider "
                f"than the sensor ({width_px} px): check the units of aperture_mm, image_distance_mm and pixel_pitch_um"
            )
        return self

    @cached_property
    def optics(self) -> ThinLens:
        return ThinLens(
            aperture_m=self.lens.aperture_mm * 1e-3,
            image_distance_m=self.lens.image_distance_mm * 1e-3,
            pixel_pitch_m=self.camera.pixel_pitch_um * 1e-6,
        )

    @cached_property
    def bins(self) -> VergenceBins:
        return VergenceBins(self.sweep.vergence_min_dpt, self.sweep.vergence_max_dpt, self.volume.bins)
