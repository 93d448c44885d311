"""What every lens driver does. All of it is in vergence; control values stay inside the drivers."""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from edfv_ros.errors import LensError
from edfv_ros.lens.clock import RoundTrip


@dataclass(frozen=True, slots=True)
class LensLimits:
    """Focus range in dioptres that a lens may be sent to, and its fastest sweep."""

    min_dpt: float
    max_dpt: float
    max_frequency_hz: float

    def check_vergence(self, vergence_dpt: float) -> None:
        """Raise LensError where a vergence (or NaN) is out of range."""
        if not self.min_dpt - 1e-9 <= vergence_dpt <= self.max_dpt + 1e-9:
            raise LensError(
                f"{vergence_dpt:g} dpt is outside the lens's range, {self.min_dpt:g} to {self.max_dpt:g} dpt"
            )

    def check_frequency(self, frequency_hz: float) -> None:
        """Raise LensError where a sweep frequency is not one the lens can follow."""
        if not 0 < frequency_hz <= self.max_frequency_hz:
            raise LensError(
                f"{frequency_hz:g} Hz is no sweep frequency of this lens: above 0, at most {self.max_frequency_hz:g}"
            )


@dataclass(frozen=True, slots=True)
class LensSample:
    """A set point as the lens reported it.

    Attributes:
        sequence: counts up by one from sample to sample; a jump means lost samples.
        device_us: time of the set point on the lens's own clock.
        vergence_dpt: commanded focus vergence.
    """

    sequence: int
    device_us: int
    vergence_dpt: float


@dataclass(frozen=True, slots=True)
class LensState:
    """The last known state; ``last`` is None before the lens has reported a set point."""

    sweeping: bool
    last: LensSample | None
    temperature_c: float | None = None


class LensDriver(Protocol):
    """A focus lens that sweeps on its own clock. Every method raises LensError, in one line, when it cannot.

    The methods may be called from several threads.

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

    def state(self) -> LensState: ...

    def goto(self, vergence_dpt: float) -> None:
        """Focus at a vergence within the limits and stay."""
        ...

    def run_sweep(self, min_dpt: float, max_dpt: float, waveform: str, frequency_hz: float) -> None:
        """Sweep until told otherwise, beginning with an up-sweep from the far turn.

        What the lens reported before is dropped: a sweep that this one cuts off has no turning point.
        """
        ...

    def stop(self) -> None: ...

    def telemetry(self) -> list[LensSample]:
        """The set points reported since the last call, in order; returns at once."""
        ...

    def query_clock(self) -> RoundTrip:
        """Ask the lens for its time."""
        ...

    def close(self) -> None:
        """Close the port; a lens that sweeps is left sweeping."""
        ...

    def __enter__(self) -> "LensDriver": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
