"""The rows of a known lens track, on their way into a bag."""

import numpy as np

from edfv_ros.bags.writer import BagWriter
from edfv_ros.lens.track import LensTrack


class FocusRows:
    """Writes a lens track beside the events: each row before the first packet that gets past it.

    Attributes:
        written: rows so far.
    """

    def __init__(self, track: LensTrack | None) -> None:
        """``track`` is None where triggers tell the focus: nothing is written then."""
        self._track = track
        self.written = 0

    def write_until(self, time_us: float, writer: BagWriter) -> None:
        """Write the rows up to a time, unix microseconds, that have not been written."""
        if self._track is None:
            return
        end = int(np.searchsorted(self._track.timestamps_us, time_us, side="right"))
        if end > self.written:
            rows = slice(self.written, end)
            writer.write_focus(self._track.timestamps_us[rows], self._track.vergence_dpt[rows])
            self.written = end
