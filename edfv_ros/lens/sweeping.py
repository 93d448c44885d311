"""A lens that sweeps for as long as somebody needs it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edfv_ros.errors import LensError
from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.opening import open_lens
from edfv_ros.lens.plan import plan_of
from edfv_ros.rig import Rig


@contextmanager
def borrowed_lens(rig: Rig) -> Iterator[LensDriver]:
    """Open the rig's lens; afterwards it stands still and is closed.

    Raises:
        LensError: it cannot be opened.
    """
    with open_lens(rig) as lens:
        try:
            yield lens
        finally:
            with suppress(LensError):  # unplugged: there is nothing left to stop
                lens.stop()


def start_sweeping(lens: LensDriver, rig: Rig) -> None:
    """Let the lens sweep as the rig says, from the far end on.

    Call it once the events are being read: where triggers come without pulse widths, the first one tells the direction.

    Raises:
        LensError: it does not sweep as the rig asks.
    """
    if rig.sweep.sync == "trigger" and not lens.capabilities().trigger_output:
        raise LensError(
            f"sweep.sync: trigger, but lens.driver = {rig.lens.driver} marks no turning points on a wire: use "
            "sweep.sync: telemetry"
        )
    lens.run(plan_of(rig))


def park(lens: LensDriver, rig: Rig) -> None:
    """End a sweep and leave the focus at the far end of the rig's sweep, or as far as the lens goes.

    Raises:
        LensError: the lens does not answer.
    """
    lens.goto(lens.limits().clamped(rig.sweep.vergence_min_dpt))
