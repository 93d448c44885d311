"""The rig's sweep, narrowed to a region or at another pace."""

import math
from dataclasses import dataclass

from pydantic import ValidationError

from edfv_ros.errors import RigError
from edfv_ros.rig.model import Rig, Sweep
from edfv_ros.yaml_model import first_problem

_FEWEST_DEPTHS_OF_FIELD = 2.0  # a point at one end of the sweep must blur visibly at the other
_ROUNDING = 0.005  # of a depth that somebody has rounded to two or three digits


SLOWEST_HZ = 0.01
"""Of a sweep asked for while a camera runs: at minutes a depth image it would pass for broken."""


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """What is wanted of a sweep beside what the rig file says; 0 leaves the rig's own.

    The number of bins stays, so a narrower region has finer depth.

    Attributes:
        near_m: nearest depth to focus at.
        far_m: farthest depth to focus at.
        frequency_hz: whole periods a second.
    """

    near_m: float = 0.0
    far_m: float = 0.0
    frequency_hz: float = 0.0

    def applied_to(self, rig: Rig) -> Rig:
        """The rig with this sweep.

        Raises:
            RigError: the lens does not focus there, or the sweep would be too narrow to tell depths apart.
        """
        if self == SweepSettings():
            return rig
        if 0.0 < self.frequency_hz < SLOWEST_HZ:
            raise RigError(
                f"a sweep frequency of {self.frequency_hz:g} Hz is too slow: {SLOWEST_HZ:g} Hz or more, or 0 for the "
                "rig's"
            )
        near_dpt, far_dpt = self._region_dpt(rig) if self.near_m or self.far_m else _sweep_dpt(rig)
        sweep = rig.sweep.model_dump()
        sweep |= {"vergence_min_dpt": far_dpt, "vergence_max_dpt": near_dpt}
        sweep["frequency_hz"] = self.frequency_hz or rig.sweep.frequency_hz
        try:
            # A new rig: a copy with an update would keep the bins of the old sweep.
            return Rig(camera=rig.camera, lens=rig.lens, sweep=Sweep.model_validate(sweep), volume=rig.volume)
        except ValidationError as problem:
            raise RigError(first_problem(problem, Rig)) from None

    def _region_dpt(self, rig: Rig) -> tuple[float, float]:
        """Vergence of its near and its far end."""
        sweep_near_dpt, sweep_far_dpt = _sweep_dpt(rig)
        near_dpt = 1.0 / self.near_m if self.near_m else sweep_near_dpt
        far_dpt = 1.0 / self.far_m if self.far_m else sweep_far_dpt
        region = f"the region {_depth(near_dpt)} to {_depth(far_dpt)} m"
        if near_dpt <= far_dpt:
            raise RigError(f"{region} is empty: its near end must be nearer than its far end")
        low_dpt, high_dpt = rig.lens.calibration.range_dpt
        if near_dpt > high_dpt * (1 + _ROUNDING) or far_dpt < low_dpt * (1 - _ROUNDING):
            raise RigError(
                f"{region} is not within what the lens is calibrated for, {_depth(high_dpt)} to {_depth(low_dpt)} m"
            )
        near_dpt, far_dpt = min(near_dpt, high_dpt), max(far_dpt, low_dpt)
        fewest_dpt = _FEWEST_DEPTHS_OF_FIELD * rig.optics.depth_of_field_dpt()
        if near_dpt - far_dpt < fewest_dpt:
            raise RigError(
                f"{region} spans {near_dpt - far_dpt:.2g} dpt, too little for this aperture to tell depths apart: "
                f"make it {fewest_dpt:.2g} dpt or more"
            )
        return near_dpt, far_dpt


def _sweep_dpt(rig: Rig) -> tuple[float, float]:
    return rig.sweep.vergence_max_dpt, rig.sweep.vergence_min_dpt


def _depth(vergence_dpt: float) -> str:
    return f"{1.0 / vergence_dpt if vergence_dpt > 0 else math.inf:.3g}"
