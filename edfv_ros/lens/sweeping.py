"""A lens that sweeps for as long as somebody needs it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edfv_ros.errors import LensError
from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.opening import open_lens
from edfv_ros.rig import Rig


@contextmanager
def sweeping_lens(rig: Rig) -> Iterator[LensDriver]:
    """Open the rig's lens and let it sweep; afterwards it stands still and is closed.

    Raises:
        LensError: it cannot be opened, or does not sweep as the rig asks.
    """
    sweep = rig.sweep
    with open_lens(rig) as lens:
        lens.run_sweep(sweep.vergence_min_dpt, sweep.vergence_max_dpt, sweep.waveform, sweep.frequency_hz)
        try:
            yield lens
        finally:
            with suppress(LensError):  # unplugged: there is nothing left to stop
                lens.stop()
