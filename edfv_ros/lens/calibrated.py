"""What drivers of lenses have in common whose control value the rig's calibration turns into vergence."""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType

from edfv_ros.errors import LensError
from edfv_ros.lens.clock import RoundTrip
from edfv_ros.lens.driver import LensCapabilities, LensLimits, LensSample, LensState
from edfv_ros.lens.focus_curve import FocusCurve
from edfv_ros.lens.plan import SweepPlan, check_plan, fastest, set_points
from edfv_ros.lens.response import LensResponse, response_of
from edfv_ros.lens.serial_port import SerialPort
from edfv_ros.lens.streaming import LensThread, SetPointStream
from edfv_ros.rig import Rig

_KEPT_SAMPLES = 4096
_TEMPERATURE_EVERY_S = 2.0


class CalibratedLens(ABC):
    """A lens behind a serial controller. See :class:`edfv_ros.lens.driver.LensDriver`.

    What is here works for a controller that takes set points and no more: the host sends the sweep and stamps it with
    its own clock. A driver of one that can do more overrides :meth:`_start` and :meth:`_halt`.

    Args:
        rig: port, calibration, temperature coefficient, response.
        port: the serial port of the lens, closed.

    Attributes:
        garbled_lines: messages of the lens that made no sense.
    """

    def __init__(self, rig: Rig, port: SerialPort) -> None:
        self._rig = rig
        self._port = port
        self._response = response_of(rig)
        self._curve = FocusCurve(rig)
        self._lock = threading.RLock()
        self._range_dpt = (self._curve.min_dpt, self._curve.max_dpt)
        self._samples: deque[LensSample] = deque(maxlen=_KEPT_SAMPLES)
        self._sequence = 0
        self._last: LensSample | None = None
        self._stream: LensThread | None = None
        self._plan: SweepPlan | None = None
        self._focus_dpt: float | None = None
        self._temperature_c: float | None = None
        self._temperature_due_s = 0.0
        self._identity = ""
        self.garbled_lines = 0

    # What a driver adds

    @abstractmethod
    def capabilities(self) -> LensCapabilities: ...

    @abstractmethod
    def _connect(self) -> tuple[str, float, float]:
        """Make sure of the device at the open port and get it ready: what it says it is, and its control range."""

    @abstractmethod
    def _send_control(self, control: float) -> None:
        """Send one set point; called with the lock held, and at the pace of the stream."""

    def _confirm(self) -> None:
        """Make sure that the last set point was taken, where that does not show by itself."""
        return

    def _read_temperature(self) -> float | None:
        """Temperature of the lens, None where there is no sensor."""
        return None

    def _read_warnings(self) -> tuple[str, ...]:
        """What the controller complains of."""
        return ()

    def _start(self, plan: SweepPlan) -> None:
        """Begin a sweep that has been checked; nothing else is going on."""
        points = self._points_per_period(plan)
        step_s = 1.0 / (plan.frequency_hz * points)
        lead_s = self._response.settle_s or 0.0
        period = set_points(plan, self._curve, points)
        self._stream = SetPointStream(period, step_s, lead_s, self._send_vergence, self._report)
        self._stream.start()

    def _halt(self) -> None:
        """End what :meth:`_start` began beside a stream."""
        return

    # What all have

    def open(self) -> None:
        self.close()
        with self._lock:
            self._port.open()
            try:
                self._curve.forget_temperature()
                self._temperature_due_s = 0.0
                self._identity, control_min, control_max = self._connect()
                self._range_dpt = self._curve.range_within(control_min, control_max)
                self._update_temperature()
            except LensError:
                self._port.close()
                raise

    def close(self) -> None:
        self._end_stream()
        with self._lock:
            self._port.close()
            self._plan = None

    def identify(self) -> str:
        with self._lock:
            self._port.receive()  # tells whether it is there at all
            return self._identity

    def limits(self) -> LensLimits:
        low_dpt, high_dpt = self._range_dpt
        triangle = SweepPlan(low_dpt, high_dpt, "triangle", 1.0)
        return LensLimits(low_dpt, high_dpt, fastest(triangle, *self._abilities(triangle))[0])

    def state(self) -> LensState:
        self._raise_failure()
        with self._lock:
            self._update_temperature()
            return LensState(self._plan is not None, self._last, self._temperature_c, self._read_warnings())

    def goto(self, vergence_dpt: float) -> None:
        self.limits().check_vergence(vergence_dpt)
        self.stop()
        with self._lock:
            self._update_temperature()
            direction = -1 if self._focus_dpt is not None and vergence_dpt < self._focus_dpt else 1
            self._send_vergence(vergence_dpt, direction)
            self._confirm()
            self._report(time.time_ns() // 1000, vergence_dpt)

    def check(self, plan: SweepPlan) -> None:
        limits = self.limits()
        limits.check_vergence(plan.min_dpt)
        limits.check_vergence(plan.max_dpt)
        self._check(plan)

    def run(self, plan: SweepPlan) -> None:
        self.check(plan)
        self.stop()
        with self._lock:
            self._samples.clear()
            self._last = None
            self._update_temperature()
            self._start(plan)
            self._plan = plan

    def stop(self) -> None:
        self._end_stream()
        with self._lock:
            self._port.receive()
            if self._plan is not None:
                self._plan = None
                self._halt()

    def telemetry(self) -> list[LensSample]:
        self._raise_failure()
        with self._lock:
            if self._stream is None:
                self._port.receive()
            samples = list(self._samples)
            self._samples.clear()
            return samples

    def query_clock(self) -> RoundTrip:
        with self._lock:
            self._port.receive()
            now_us = time.time_ns() // 1000
            return RoundTrip(now_us, now_us, now_us)

    def __enter__(self) -> "CalibratedLens":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, plan: SweepPlan) -> None:
        """Raise LensError where the lens cannot follow a plan."""
        check_plan(plan, *self._abilities(plan))

    def _abilities(self, plan: SweepPlan) -> tuple[LensResponse, float | None]:
        """How fast the lens is, and how many set points a second the host sends."""
        return self._response, self._set_points_hz(plan)

    def _set_points_hz(self, plan: SweepPlan) -> float | None:
        """How many set points a second the host sends for a plan; None where the controller makes them."""
        return self.capabilities().set_points_hz

    def _points_per_period(self, plan: SweepPlan) -> int:
        """Even, so that both turns are among them."""
        rate_hz = self._set_points_hz(plan)
        assert rate_hz is not None
        return 2 * max(1, int(rate_hz / (2 * plan.frequency_hz) + 1e-9))

    def _send_vergence(self, vergence_dpt: float, direction: int) -> None:
        with self._lock:
            self._update_temperature()
            self._send_control(float(self._curve.control(vergence_dpt, direction)))
            self._focus_dpt = vergence_dpt

    def _report(self, time_us: int, vergence_dpt: float) -> None:
        with self._lock:
            self._last = LensSample(self._sequence, time_us, vergence_dpt)
            self._samples.append(self._last)
            self._sequence += 1

    def _update_temperature(self) -> None:
        """Read the temperature where it is time to, and compensate for it."""
        if not self.capabilities().temperature or time.monotonic() < self._temperature_due_s:
            return
        self._temperature_c = self._read_temperature()
        self._temperature_due_s = time.monotonic() + _TEMPERATURE_EVERY_S
        if self._temperature_c is not None:
            self._curve.tell_temperature(self._temperature_c)
        elif self._curve.needs_temperature:
            raise LensError(
                f"lens port {self._port.path}: the lens reports no temperature, but "
                "lens.temperature_coefficient_dpt_per_c is not 0: set it to 0, or check the lens's cable"
            )

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.stop()

    def _raise_failure(self) -> None:
        stream = self._stream
        if stream is not None and stream.error is not None:
            raise stream.error
