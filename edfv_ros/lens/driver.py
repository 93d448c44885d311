"""What every lens driver does. All of it is in vergence; control values stay inside the drivers."""

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

from edfv_ros.errors import LensError
from edfv_ros.lens.clock import RoundTrip
from edfv_ros.lens.plan import SweepPlan


@dataclass(frozen=True, slots=True)
class LensLimits:
    """Focus range in dioptres that a lens may be sent to, and the fastest triangle over all of it."""

    min_dpt: float
    max_dpt: float
    max_frequency_hz: float

    def check_vergence(self, vergence_dpt: float) -> None:
        """Raise LensError where a vergence (or NaN) is out of range."""
        if not self.min_dpt - 1e-9 <= vergence_dpt <= self.max_dpt + 1e-9:
            raise LensError(
                f"{vergence_dpt:g} dpt is outside the lens's range, {self.min_dpt:g} to {self.max_dpt:g} dpt"
            )

    def clamped(self, vergence_dpt: float) -> float:
        """The nearest vergence within the range. For those who asked for it: tell them."""
        return min(max(vergence_dpt, self.min_dpt), self.max_dpt)


@dataclass(frozen=True, slots=True)
class LensCapabilities:
    """What a controller does by itself. The host does the rest, with the accuracy of its own timing.

    Attributes:
        clock: whose clock stamps telemetry: the controller's own, or the host's.
        telemetry: what is reported: set points by the controller, set points as the host sent them, or positions
            that the host asked for.
        generator: waveforms that the controller makes by itself; the host sends the others point by point.
        trigger_output: whether it marks turning points on a wire while it generates.
        temperature: whether it measures the lens's temperature.
        set_points_hz: how many set points a second the host sends; None where it sends none.
        needs_host: whether it parks the lens soon after the host has fallen silent.
    """

    clock: Literal["controller", "host"]
    telemetry: Literal["reported", "sent", "polled"]
    generator: tuple[str, ...] = ()
    trigger_output: bool = False
    temperature: bool = False
    set_points_hz: float | None = None
    needs_host: bool = False


@dataclass(frozen=True, slots=True)
class LensSample:
    """A set point (or a position, where positions are polled) of the lens.

    Attributes:
        sequence: counts up by one from sample to sample; a jump means lost samples.
        device_us: time on the clock that :meth:`LensDriver.query_clock` tells.
        vergence_dpt: commanded focus vergence.
    """

    sequence: int
    device_us: int
    vergence_dpt: float


@dataclass(frozen=True, slots=True)
class LensState:
    """The last known state.

    Attributes:
        sweeping: whether it was told to sweep.
        last: the newest sample; None before there was one.
        temperature_c: of the lens, None where it is not measured.
        warnings: what the controller complains of, in words.
    """

    sweeping: bool
    last: LensSample | None
    temperature_c: float | None = None
    warnings: tuple[str, ...] = ()


class LensDriver(Protocol):
    """A focus lens that sweeps until told otherwise. Every method raises LensError, in one line, when it cannot.

    The methods may be called from several threads. After an error a driver can be opened again.

    Attributes:
        garbled_lines: messages of the lens that made no sense.
    """

    garbled_lines: int

    def open(self) -> None:
        """Open the port and make sure that this kind of lens is at its other end."""
        ...

    def identify(self) -> str:
        """What the device says it is."""
        ...

    def limits(self) -> LensLimits: ...

    def capabilities(self) -> LensCapabilities: ...

    def state(self) -> LensState: ...

    def goto(self, vergence_dpt: float) -> None:
        """Focus at a vergence within the limits and stay; a sweep ends."""
        ...

    def check(self, plan: SweepPlan) -> None:
        """Raise LensError, with the reason, where the lens cannot follow a plan; says nothing to the lens."""
        ...

    def run(self, plan: SweepPlan) -> None:
        """Sweep until told otherwise, beginning with an up-sweep from the far turn.

        A plan that the lens cannot follow is refused before anything is sent. What the lens reported before is
        dropped: a sweep that this one cuts off has no turning point.
        """
        ...

    def stop(self) -> None:
        """End the sweep and stay."""
        ...

    def telemetry(self) -> list[LensSample]:
        """The samples since the last call, in order; returns at once. Where a sweep failed, it says why."""
        ...

    def query_clock(self) -> RoundTrip:
        """The time of the clock that stamps telemetry; a round trip of no duration where it is the host's own."""
        ...

    def close(self) -> None:
        """Close the port; a controller that sweeps by itself is left sweeping."""
        ...

    def __enter__(self) -> "LensDriver": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
