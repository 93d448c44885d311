"""What a lens does, second by second, for somebody to look at."""

import time
from collections import deque
from dataclasses import dataclass

from edfv_ros.lens.clock import ClockModel
from edfv_ros.lens.driver import LensDriver, LensSample

_RATE_OVER_S = 2.0


@dataclass(frozen=True, slots=True)
class LensView:
    """A moment of a lens.

    Attributes:
        seconds: since the watch began.
        vergence_dpt: newest set point or position; None before there was one.
        sweeping: whether it was told to sweep.
        temperature_c: None where it is not measured.
        samples_hz: telemetry per second, lately.
        samples, lost_samples, garbled_lines: so far.
        clock_drift_ppm, clock_uncertainty_us: of the fit of the lens's clock to the host's.
        warnings: what the controller complains of.
    """

    seconds: float
    vergence_dpt: float | None
    sweeping: bool
    temperature_c: float | None
    samples_hz: float
    samples: int
    lost_samples: int
    garbled_lines: int
    clock_drift_ppm: float
    clock_uncertainty_us: float
    warnings: tuple[str, ...]


class LensWatch:
    """Follows an open lens."""

    def __init__(self, lens: LensDriver) -> None:
        self._lens = lens
        self._clock = ClockModel()
        self._began_s = time.monotonic()
        self._newest: LensSample | None = None
        self._samples = self._lost = 0
        self._counts: deque[tuple[float, int]] = deque([(0.0, 0)])

    def look(self) -> LensView:
        """What it does now.

        Raises:
            LensError: it went away, or its sweep failed.
        """
        self._clock.add(self._lens.query_clock())
        for sample in self._lens.telemetry():
            if self._newest is not None:
                self._lost += max(0, sample.sequence - self._newest.sequence - 1)
            self._newest = sample
            self._samples += 1
        state = self._lens.state()
        seconds = time.monotonic() - self._began_s
        self._counts.append((seconds, self._samples))
        while len(self._counts) > 2 and seconds - self._counts[1][0] > _RATE_OVER_S:
            self._counts.popleft()
        first_s, first = self._counts[0]
        return LensView(
            seconds=seconds,
            vergence_dpt=None if state.last is None else state.last.vergence_dpt,
            sweeping=state.sweeping,
            temperature_c=state.temperature_c,
            samples_hz=(self._samples - first) / max(seconds - first_s, 1e-6),
            samples=self._samples,
            lost_samples=self._lost,
            garbled_lines=self._lens.garbled_lines,
            clock_drift_ppm=self._clock.drift_ppm,
            clock_uncertainty_us=self._clock.uncertainty_us,
            warnings=state.warnings,
        )
