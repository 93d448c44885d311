"""Between vergence and a driver's control value: the rig's calibration and the lens's temperature."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edfv_ros.errors import LensError
from edfv_ros.rig import Rig


class FocusCurve:
    """The rig's calibration both ways, with a branch for each direction of motion.

    A warmer lens focuses elsewhere by ``lens.temperature_coefficient_dpt_per_c``, which is taken off before the
    calibration is asked. The rig names no temperature of the calibration, so the first one that is told counts as it:
    what is compensated is the drift since the lens was opened.

    Attributes:
        min_dpt, max_dpt: what both branches reach.
    """

    def __init__(self, rig: Rig) -> None:
        calibration = rig.lens.calibration
        self.min_dpt, self.max_dpt = calibration.range_dpt
        self._control = np.asarray(calibration.control, np.float64)
        self._branches = {way: np.asarray(calibration.branch_dpt(way), np.float64) for way in (1, -1)}
        self._coefficient_dpt_per_c = rig.lens.temperature_coefficient_dpt_per_c
        self._first_c: float | None = None
        self.drift_dpt = 0.0

    @property
    def needs_temperature(self) -> bool:
        return self._coefficient_dpt_per_c != 0.0

    def forget_temperature(self) -> None:
        """Take the next temperature for that of the calibration."""
        self._first_c, self.drift_dpt = None, 0.0

    def tell_temperature(self, temperature_c: float) -> None:
        """Compensate for this temperature from now on."""
        if self._first_c is None:
            self._first_c = temperature_c
        self.drift_dpt = self._coefficient_dpt_per_c * (temperature_c - self._first_c)

    def control(self, vergence_dpt: ArrayLike, direction: int) -> NDArray[np.float64]:
        """Control value (any shape) that focuses at a vergence on the way up (+1) or down (-1), at present."""
        wanted = np.asarray(vergence_dpt, np.float64) - self.drift_dpt
        branch = self._branches[1 if direction > 0 else -1]
        rising = slice(None) if branch[-1] > branch[0] else slice(None, None, -1)
        return _straight(wanted, branch[rising], self._control[rising])

    def vergence_dpt(self, control: ArrayLike, direction: int) -> NDArray[np.float64]:
        """Vergence (any shape) at a control value on the way up (+1) or down (-1), at present."""
        branch = self._branches[1 if direction > 0 else -1]
        return _straight(np.asarray(control, np.float64), self._control, branch) + self.drift_dpt

    def range_within(self, control_min: float, control_max: float) -> tuple[float, float]:
        """Vergence that the calibration and a controller's own range both reach.

        Raises:
            LensError: they have nothing in common.
        """
        low, high = max(control_min, float(self._control[0])), min(control_max, float(self._control[-1]))
        if low < high:
            ends = [sorted(float(self.vergence_dpt(edge, way)) for edge in (low, high)) for way in (1, -1)]
            far, near = max(end[0] for end in ends), min(end[1] for end in ends)
            if far < near:
                return max(far, self.min_dpt), min(near, self.max_dpt)
        raise LensError(
            f"lens.calibration.control goes from {self._control[0]:g} to {self._control[-1]:g}, the lens from "
            f"{control_min:g} to {control_max:g}: is the calibration that of this lens, in this driver's unit?"
        )


def _straight(x: NDArray[np.float64], xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Straight lines between rows of ascending ``xs``, and beyond the first and the last row."""
    row = np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2)
    result: NDArray[np.float64] = ys[row] + (x - xs[row]) * (ys[row + 1] - ys[row]) / (xs[row + 1] - xs[row])
    return result
