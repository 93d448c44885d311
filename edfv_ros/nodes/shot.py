"""One depth image that somebody waits for. No ROS in here."""

import threading
from dataclasses import replace

from edfv_ros.errors import EdfvError
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.pipeline import DepthOutput


class ShotError(EdfvError):
    """No depth image came of it; the message says why."""


class Shot:
    """Waits for the depth of one sweep that begins after the shot did.

    Args:
        region_near_m, region_far_m: region to sweep over; 0 takes the session's.
    """

    def __init__(self, region_near_m: float = 0.0, region_far_m: float = 0.0) -> None:
        self._region_m = region_near_m, region_far_m
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._output: DepthOutput | None = None
        self._error = ""

    def parameters(self, of_session: DepthParameters) -> DepthParameters:
        """Those that the shot is taken with.

        Raises:
            ShotError: the region contradicts itself.
        """
        near_m, far_m = self._region_m
        if min(near_m, far_m) < 0 or (far_m and far_m <= near_m):
            raise ShotError(f"the region {near_m:g} to {far_m:g} m: give 0 <= near_m < far_m, or 0 for the sweep's own")
        if not near_m and not far_m:
            return of_session
        return replace(of_session, region_near_m=near_m, region_far_m=far_m)

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def take(self, output: DepthOutput) -> None:
        """This is the image; a later one, or a later failure, changes nothing."""
        self._finish(output, "")

    def fail(self, reason: str) -> None:
        """There will be no image."""
        self._finish(None, reason)

    def wait(self, timeout_s: float) -> bool:
        """Whether it is over."""
        return self._over.wait(timeout_s)

    @property
    def output(self) -> DepthOutput:
        """The image of a shot that is over; events and snapshot of it are no longer there.

        Raises:
            ShotError: there is none.
        """
        if self._output is None:
            raise ShotError(self._error)
        return self._output

    def _finish(self, output: DepthOutput | None, error: str) -> None:
        with self._lock:
            if not self._over.is_set():
                self._output, self._error = output, error
                self._over.set()
