"""From the control value of a controller to the focus of its lens."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.rig import Calibration
from edfv_ros.simulation.lens import LensMove, LensStep, MoveFollower


@dataclass(frozen=True, slots=True)
class FocusCurve:
    """Control value to focus vergence, linear between rows and constant beyond them.

    Attributes:
        control: strictly increasing, in the controller's own unit.
        vergence_up_dpt: strictly monotone; for a focus whose vergence rises.
        vergence_down_dpt: for one whose vergence falls.
    """

    control: tuple[float, ...]
    vergence_up_dpt: tuple[float, ...]
    vergence_down_dpt: tuple[float, ...]

    @classmethod
    def of(cls, calibration: Calibration) -> "FocusCurve":
        return cls(
            calibration.control,
            calibration.vergence_up_dpt,
            calibration.vergence_down_dpt or calibration.vergence_up_dpt,
        )

    @classmethod
    def line(cls, low: float, high: float, low_dpt: float, high_dpt: float) -> "FocusCurve":
        """A straight one, between two control values and their vergences."""
        return cls((low, high), (low_dpt, high_dpt), (low_dpt, high_dpt))

    def onto(self, low: float, high: float) -> "FocusCurve":
        """The same focus range over other control values."""
        control = np.interp(self.control, (self.control[0], self.control[-1]), (low, high))
        return replace(self, control=tuple(control.tolist()))

    def shifted(self, by_dpt: float) -> "FocusCurve":
        """The curve of a lens whose focus has drifted."""
        up, down = (tuple(v + by_dpt for v in branch) for branch in (self.vergence_up_dpt, self.vergence_down_dpt))
        return replace(self, vergence_up_dpt=up, vergence_down_dpt=down)

    @property
    def rises(self) -> bool:
        """Whether a larger control value is a larger vergence."""
        return self.vergence_up_dpt[-1] > self.vergence_up_dpt[0]

    def vergence_dpt(self, control: ArrayLike, direction: int = 1) -> NDArray[np.float64]:
        """Vergence at control values, while it rises (+1) or falls (-1)."""
        return np.interp(np.asarray(control, float), self.control, self._branch(direction))

    def control_at(self, vergence_dpt: ArrayLike, direction: int = 1) -> NDArray[np.float64]:
        """Inverse of :meth:`vergence_dpt`."""
        step = 1 if self.rises else -1
        return np.interp(np.asarray(vergence_dpt, float), self._branch(direction)[::step], self.control[::step])

    def _branch(self, direction: int) -> tuple[float, ...]:
        return self.vergence_up_dpt if direction > 0 else self.vergence_down_dpt


@dataclass(frozen=True, slots=True)
class CurvedMove(LensMove):
    """A move of a control value, seen through the curve of a lens.

    Attributes:
        control: the move with control values in place of vergences.
        curve: of the lens.
    """

    control: LensMove | None = None
    curve: FocusCurve | None = None

    @classmethod
    def of(cls, control: LensMove, curve: FocusCurve) -> "CurvedMove":
        direction = control.direction if curve.rises else -control.direction
        start_dpt, end_dpt = curve.vergence_dpt([control.start_dpt, control.end_dpt], direction).tolist()
        times_us = control.start_us, control.end_us
        return cls(*times_us, start_dpt, end_dpt, control.pulse_us, control.harmonic, control, curve)

    def vergence_dpt(self, time_us: ArrayLike) -> NDArray[np.float64]:
        assert self.control is not None and self.curve is not None
        return self.curve.vergence_dpt(self.control.vergence_dpt(time_us), self.direction)

    def time_us(self, vergence_dpt: ArrayLike) -> NDArray[np.float64]:
        assert self.control is not None and self.curve is not None
        return self.control.time_us(self.curve.control_at(vergence_dpt, self.direction))


class FocusActuator:
    """The moving part of a controller: it follows control values, and its lens makes them a focus.

    Args:
        curve: of the lens.
        control: where it stands.
        start_us: time of that.
    """

    def __init__(self, curve: FocusCurve, control: float, start_us: float) -> None:
        self.curve = curve
        self._follower = MoveFollower(start_us, control)
        self._now_us = start_us

    @property
    def control(self) -> float:
        """Control value now."""
        return self._follower.position_dpt

    @property
    def vergence_dpt(self) -> float:
        """Focus now."""
        return float(self.curve.vergence_dpt(self.control))

    @property
    def moving(self) -> bool:
        return self._follower.moving

    def follow(self, moves: Iterable[LensMove], *, begun: bool = False) -> None:
        """Follow moves of the control value; see :meth:`MoveFollower.follow`."""
        self._follower.follow(moves, begun=begun)

    def slew(self, control: float, duration_us: float) -> list[LensMove]:
        """The move from here and now to somewhere at constant speed; none where it is there."""
        if control == self.control:
            return []
        return [LensMove(self._now_us, self._now_us + max(1.0, duration_us), self.control, control)]

    def advance(self, to_us: float) -> list[LensStep]:
        """Move on in time; return what the focus did, without pauses."""
        steps = self._follower.advance(to_us)
        self._now_us = max(self._now_us, to_us)
        return [replace(step, move=CurvedMove.of(step.move, self.curve)) for step in steps]
