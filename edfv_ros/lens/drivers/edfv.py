"""Driver of the open lens firmware (``firmware/PROTOCOL.md``). The control value is the firmware's code, 0 to 65535.

The controller makes every waveform by itself from a table, stamps its records with a clock of its own, marks turns on a
wire, and parks the lens where the host falls silent: a thread of this driver keeps it awake while it is open.

It drives an analogue lens; a stepper where the rig file has ``lens.motor``.
"""

import math
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edfv_ros.errors import LensError
from edfv_ros.lens.calibrated import CalibratedLens
from edfv_ros.lens.clock import RoundTrip
from edfv_ros.lens.driver import LensCapabilities, LensSample, LensState
from edfv_ros.lens.faults import LensRefused, LensSilent, WrongAnswer
from edfv_ros.lens.plan import SweepPlan, set_points
from edfv_ros.lens.protocols import edfv
from edfv_ros.lens.protocols.edfv import Configuration, Frame, Kind, Request, State
from edfv_ros.lens.response import LensResponse
from edfv_ros.lens.serial_port import SerialPort
from edfv_ros.lens.streaming import LensThread
from edfv_ros.rig import Rig

BAUD = 115200
DEVICE = "edfv lens controller"
BOOT_S = 3.0  # opening the port resets most boards
_ASK_EVERY_S = 0.25
_REPLY_S = 0.2
_TRIES = 3
_WATCHDOG_MS = 2000
_AWAKE_S = 0.4
_LEAD_MS = 50
_MOVE_S = 60.0
_POLL_S = 0.02
_SAMPLE_US = 2_500  # straight lines between samples so near are good to 0.03 bin of a sine of 10 Hz
_TURN_SHARE = 0.25  # of a sweep that a stepper may take to turn round

Parsed = TypeVar("Parsed")


def identify_at(port: SerialPort, *, patience_s: float = BOOT_S) -> str:
    """Ask for its identity at an open port, until a board that was reset by that has started.

    Raises:
        LensError: something else answers, nobody, or another version of the protocol.
    """
    deadline_s = time.monotonic() + patience_s
    request = edfv.encode(Frame(Request.IDENTIFY, 0))
    while True:
        try:
            reply = port.query(request, _take_identity, "IDENTIFY", timeout_s=min(_ASK_EVERY_S, patience_s))
            break
        except (LensSilent, WrongAnswer):
            if time.monotonic() >= deadline_s:
                raise
    if reply.major != edfv.VERSION_MAJOR:
        raise LensError(
            f"lens port {port.path}: the {DEVICE} speaks version {reply.major} of the protocol, this program "
            f"version {edfv.VERSION_MAJOR}: flash the firmware that belongs to it (edfv firmware flash)"
        )
    return f"{DEVICE}, firmware {reply.firmware_major}.{reply.firmware_minor}.{reply.firmware_patch}"


def _take_identity(received: bytearray) -> edfv.Identity | None:
    while (frame := edfv.take_frame(received)) is not None:
        if frame.type == Request.IDENTIFY | edfv.REPLY_BIT:
            return edfv.parse_identity(frame.payload)
    return None


@dataclass(slots=True)
class _Waveform:
    """What the controller generates: straight lines between evenly spaced codes, over and over.

    Attributes:
        codes: one period from the far turn on, float64 [N].
        period_us: of it.
        near_phase: of the near turn.
        far_us: device time of the last far turn that was reported; None before the first.
    """

    codes: NDArray[np.float64]
    period_us: int
    near_phase: float
    far_us: int | None = None

    def at(self, device_us: float) -> tuple[float, int]:
        """Code and direction at a time after the last far turn."""
        assert self.far_us is not None
        phase = (device_us - self.far_us) / self.period_us % 1.0
        code = np.interp(phase * len(self.codes), np.arange(len(self.codes) + 1), np.append(self.codes, self.codes[0]))
        return float(code), 1 if phase <= self.near_phase else -1


class EdfvLens(CalibratedLens):
    """See :class:`edfv_ros.lens.driver.LensDriver`."""

    def __init__(self, rig: Rig, *, boot_s: float = BOOT_S) -> None:
        super().__init__(rig, SerialPort(rig.lens.port, BAUD, DEVICE))
        self._motor = rig.lens.motor
        self._boot_s = boot_s
        self._request_sequence = 0
        self._points = 2
        self._configuration: Configuration | None = None
        self._awake: LensThread | None = None
        self._before_first_turn = False
        self._waveform: _Waveform | None = None
        self._record: edfv.Record | None = None
        self._failure: LensError | None = None

    def capabilities(self) -> LensCapabilities:
        generator = ("triangle", "sine", "sawtooth")
        return LensCapabilities("controller", "reported", generator, trigger_output=True, needs_host=True)

    def open(self) -> None:
        super().open()
        self._awake = _KeepAwake(self.query_clock)
        self._awake.start()

    def close(self) -> None:
        awake, self._awake = self._awake, None
        if awake is not None:
            awake.stop()
        super().close()

    def state(self) -> LensState:
        with self._lock:
            self._take_in()
            return super().state()

    def telemetry(self) -> list[LensSample]:
        with self._lock:
            self._take_in()
            return super().telemetry()

    def query_clock(self) -> RoundTrip:
        with self._lock:
            send_us = time.time_ns() // 1000
            received_us, replied_us = self._ask(Request.TIME, b"", edfv.parse_times)
            receive_us = time.time_ns() // 1000
        return RoundTrip(send_us, received_us, receive_us - (replied_us - received_us))

    def stop(self) -> None:
        super().stop()
        self._failure = None

    def _connect(self) -> tuple[str, float, float]:
        self._failure = self._waveform = self._record = None
        identity = identify_at(self._port, patience_s=self._boot_s)
        self._points = self._ask(Request.IDENTIFY, b"", edfv.parse_identity).table_points
        control = self._rig.lens.calibration.control
        lowest, highest = max(0, round(control[0])), min(edfv.HIGHEST_CODE, round(control[-1]))
        if lowest >= highest:
            raise LensError(
                f"lens.calibration.control goes from {control[0]:g} to {control[-1]:g}, but the {DEVICE} counts in "
                f"codes from 0 to {edfv.HIGHEST_CODE}"
            )
        park = min(max(round(float(self._curve.control(self._curve.min_dpt, 1))), lowest), highest)
        wanted = self._wanted(lowest, highest, park)
        with suppress(LensRefused):  # where it is not configured, it does not sweep for somebody who is gone either
            self._ask(Request.STOP, b"", _nothing)
        self._configuration = self._ask(Request.CONFIGURE, edfv.encode_configuration(wanted), edfv.parse_configuration)
        if self._motor is not None:
            self._ask(Request.HOME, b"", _nothing)
            self._wait()
        self._ask(Request.TELEMETRY, edfv.TELEMETRY_MS.to_bytes(2, "little"), _nothing)
        return identity, float(lowest), float(highest)

    def _wanted(self, lowest: int, highest: int, park: int) -> Configuration:
        motor = self._motor
        if motor is None:
            return Configuration(edfv.Lens.ANALOGUE, 0, lowest, highest, park, _WATCHDOG_MS, 0, 0, 0, 0)
        return Configuration(
            edfv.Lens.STEPPER,
            motor.direction_inverted | motor.home_switch_reads_high << 1,
            lowest,
            highest,
            park,
            _WATCHDOG_MS,
            motor.speed_steps_per_s,
            motor.acceleration_steps_per_s2,
            motor.homing_steps_per_s,
            motor.lost_steps_tolerance,
        )

    def _send_control(self, control: float) -> None:
        self._ask(Request.GOTO, round(control).to_bytes(2, "little"), _nothing)

    def _confirm(self) -> None:
        self._wait()

    def _wait(self) -> None:
        """Wait for the lens to arrive."""
        deadline_s = time.monotonic() + _MOVE_S
        while (state := self._status().state) in (State.MOVING, State.HOMING):
            if time.monotonic() > deadline_s:
                raise LensError(f"lens port {self._port.path}: the lens has not arrived within {_MOVE_S:g} s")
            time.sleep(_POLL_S)
        if state == State.FAULT:
            self._raise_failure()
            raise LensError(f"lens port {self._port.path}: the {DEVICE} reports a fault: is the lens free to move?")

    def _read_warnings(self) -> tuple[str, ...]:
        status = self._status()
        counts = {
            "frames damaged on the way there": status.wrong_crc + status.wrong_length,
            "bytes lost on the way there": status.lost_bytes,
            "records lost": status.lost_records,
            "times parked by the watchdog": status.watchdog_parks,
            "steps lost": abs(status.lost_steps),
            "late set points": status.late_set_points,
        }
        return tuple(f"{count} {what}" for what, count in counts.items() if count)

    def _status(self) -> edfv.Status:
        return self._ask(Request.STATUS, b"", edfv.parse_status)

    def _abilities(self, plan: SweepPlan) -> tuple[LensResponse, float | None]:
        if self._motor is None or self._configuration is None:
            return self._response, None
        far, near = (float(self._curve.control(edge, 1)) for edge in (plan.min_dpt, plan.max_dpt))
        steps = max(1.0, abs(near - far))
        # To turn round at the speed of a triangle, 4 f S / a, may take a part of its sweep, 1 / (2 f).
        turning_hz = (_TURN_SHARE * self._configuration.steps_per_s2 / (8 * steps)) ** 0.5
        source = f"{self._configuration.steps_per_s} steps/s and {self._configuration.steps_per_s2} steps/s^2"
        rate = self._configuration.steps_per_s * plan.range_dpt / steps
        highest_hz = min(turning_hz, self._response.practical_hz or turning_hz)
        return replace(self._response, source=source, max_rate_dpt_per_s=rate, practical_hz=highest_hz), None

    def _check(self, plan: SweepPlan) -> None:
        super()._check(plan)
        if self._motor is not None and plan.waveform == "sawtooth":
            raise LensError("waveform sawtooth: a stepper cannot fly back: use triangle or sine")
        longest_us = edfv.PERIOD_US[1]
        if 1e6 / plan.frequency_hz > longest_us:
            raise LensError(
                f"{plan.frequency_hz:g} Hz: the {DEVICE} sweeps with a period of at most {longest_us / 1e6:g} s, so "
                f"{1e6 / longest_us:.2g} Hz or more"
            )

    def _start(self, plan: SweepPlan) -> None:
        self._before_first_turn, self._record = True, None
        try:
            self._upload_and_start(plan)
        except LensError:
            self._before_first_turn, self._waveform = False, None
            raise

    def _upload_and_start(self, plan: SweepPlan) -> None:
        count = self._points - self._points % 2
        period = set_points(plan, self._curve, count)
        codes = np.empty(count)
        for way in (1, -1):
            rows = period.direction == way
            codes[rows] = self._curve.control(period.vergence_dpt[rows], way)
        near_turn = None if plan.waveform == "sawtooth" else period.turns[1]
        table = [int(code) for code in np.clip(np.rint(codes), 0, edfv.HIGHEST_CODE)]
        for request, payload in edfv.table_payloads(table, near_turn):
            self._ask(request, payload, _nothing)
        period_us = round(1e6 / plan.frequency_hz)
        self._waveform = _Waveform(np.array(table, np.float64), period_us, period.turns[1] / count)
        try:
            self._ask(Request.START, struct.pack("<IH", period_us, _LEAD_MS), _nothing)
        except LensRefused:
            if self._status().state not in (State.WAITING, State.SWEEPING):  # as it is where a first reply was lost
                raise

    def _halt(self) -> None:
        self._before_first_turn = False
        self._waveform = None
        self._ask(Request.STOP, b"", _nothing)

    def _report(self, time_us: int, vergence_dpt: float) -> None:
        """The controller itself reports; the host's clock is not that of its records."""

    def _take_in(self) -> None:
        self._port.receive()
        while (frame := edfv.take_frame(self._port.received)) is not None:
            self._take_unasked(frame)

    def _take_unasked(self, frame: Frame) -> None:
        if frame.type == edfv.BOOT_TYPE and edfv.parse_identity(frame.payload) is not None:
            self._fail("started anew, and its settings are gone: check its power supply and open the lens again")
        if frame.type != edfv.RECORD_TYPE:
            return  # a late reply, or news of a later version
        if (record := edfv.parse_record(frame.payload)) is None:
            self.garbled_lines += 1
            return
        if record.kind == Kind.WATCHDOG:
            self._fail("parked the lens, since the host was silent for too long: start the sweep again")
        elif record.kind == Kind.STEPS_LOST:
            self._fail("lost steps and stopped: is something in the way? Open the lens again, which homes it")
        elif record.kind == Kind.HOMING_FAILED:
            self._fail("found no home switch: check its wiring, the direction and the lens's travel")
        if self._before_first_turn:
            if record.kind != Kind.FAR_TURN:
                return
            self._before_first_turn = False
        self._fill_up_to(record)
        if record.kind == Kind.FAR_TURN and self._waveform is not None:
            self._waveform.far_us = record.device_us
        if self._record is not None:
            self._sequence += max(0, record.number - self._record.number - 1)  # lost on the way
        self._record = record
        # Turns are points of the way up in the table.
        direction = 1 if record.kind in (Kind.FAR_TURN, Kind.NEAR_TURN) else record.direction
        self._sample(record.device_us, record.set_point, direction or 1)

    def _fill_up_to(self, record: edfv.Record) -> None:
        """Add the set points between the last record and this one, which the table tells."""
        last, waveform = self._record, self._waveform
        if last is None or waveform is None or waveform.far_us is None or record.number != last.number + 1:
            return
        pieces = math.ceil((record.device_us - last.device_us) / _SAMPLE_US)
        for device_us in np.linspace(last.device_us, record.device_us, pieces + 1)[1:-1].tolist():
            self._sample(round(device_us), *waveform.at(device_us))

    def _sample(self, device_us: int, code: float, direction: int) -> None:
        self._last = LensSample(self._sequence, device_us, float(self._curve.vergence_dpt(code, direction)))
        self._samples.append(self._last)
        self._sequence += 1

    def _fail(self, what: str) -> None:
        self._failure = LensError(f"lens port {self._port.path}: the {DEVICE} {what}")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
        awake = self._awake
        if awake is not None and awake.error is not None:
            raise awake.error

    def _ask(self, request: Request, payload: bytes, parse: Callable[[bytes], Parsed | None]) -> Parsed:
        """Send a request, again where no reply comes, and parse the reply's payload; records are put away meanwhile."""
        name = request.name
        for left in reversed(range(_TRIES)):
            self._request_sequence = (self._request_sequence + 1) & 0xFF
            sequence = self._request_sequence
            message = edfv.encode(Frame(request, sequence, payload))
            try:
                reply = self._port.query(message, self._taker(request, sequence), name, timeout_s=_REPLY_S, drain=False)
                break
            except (LensSilent, WrongAnswer):
                edfv.take_frame(self._port.received, stalled=True)
                if not left:
                    raise
        if reply.type == edfv.ERROR_TYPE:
            number = reply.payload[1] if len(reply.payload) > 1 else 0
            reason = edfv.ERROR_WORDS.get(number, f"error {number}")
            raise LensRefused(f"lens port {self._port.path}: the {DEVICE} refused {name}: {reason}")
        parsed = parse(reply.payload)
        if parsed is None:
            raise self._port.wrong_answer(name, reply.payload)
        return parsed

    def _taker(self, request: Request, sequence: int) -> Callable[[bytearray], Frame | None]:
        def take(received: bytearray) -> Frame | None:
            while (frame := edfv.take_frame(received)) is not None:
                if frame.sequence == sequence and frame.type in (request | edfv.REPLY_BIT, edfv.ERROR_TYPE):
                    return frame
                self._take_unasked(frame)
            return None

        return take


class _KeepAwake(LensThread):
    """Asks for the time often enough that the watchdog sees the host alive."""

    def __init__(self, ask: Callable[[], RoundTrip]) -> None:
        super().__init__()
        self._ask = ask

    def _move(self, stop: threading.Event) -> None:
        while not stop.wait(_AWAKE_S):
            self._ask()


def _nothing(payload: bytes) -> bool:
    return True
