"""Driver of the Kurokesu SCF4, the controller of a motorised lens. The control value is steps of the focus motor.

Opening the lens homes it: the counter is 32000 at the edge of the photo-interrupter, always approached from the same
side. The controller tells neither time nor set points: the host polls positions and stamps them with its own clock; the
end of a move, which falls between two of them, is worked out from the speed.
"""

import threading
import time
from dataclasses import replace

from edfv_ros.errors import LensError
from edfv_ros.lens.calibrated import CalibratedLens
from edfv_ros.lens.driver import LensCapabilities
from edfv_ros.lens.faults import LensRefused
from edfv_ros.lens.plan import SweepPlan
from edfv_ros.lens.protocols import scf4
from edfv_ros.lens.protocols.lines import take_line
from edfv_ros.lens.protocols.scf4 import MotorStatus
from edfv_ros.lens.response import LensResponse
from edfv_ros.lens.serial_port import REPLY_TIMEOUT_S, SerialPort
from edfv_ros.lens.streaming import LensThread
from edfv_ros.rig import Rig

BAUD = 115200
DEVICE = "Kurokesu SCF4"
SPEED_STEPS_PER_S = 600  # that of the controller's own examples, taken for steps a second
HOME_COUNT = 32000
START_S = 0.3  # a move that was acknowledged has begun by then
_POLL_S = 0.02
_COARSE_STEPS, _FINE_STEPS = 200, 4  # of homing
_HOMING_TRAVEL_STEPS = 8000
_MOVE_SLACK_S = 2.0
_RESET_S = 3.0
_SPEED_RESERVE = 1.05


def identify_at(port: SerialPort) -> str:
    """Ask for its name and its status at an open port.

    Raises:
        LensError: something else answers, or nobody.
    """
    name = port.query(scf4.encode(scf4.IDENTIFY), take_line, scf4.IDENTIFY)
    _ask_status(port)
    return f"{DEVICE}: {name}"


class Scf4(CalibratedLens):
    """See :class:`edfv_ros.lens.driver.LensDriver`.

    Attributes:
        steps_per_s: the motor's highest speed.
        lost_steps: how far the counter was off at the last homing, None at the first one.
    """

    def __init__(self, rig: Rig, *, reply_timeout_s: float = REPLY_TIMEOUT_S) -> None:
        port = SerialPort(rig.lens.port, BAUD, DEVICE, timeout_s=reply_timeout_s)
        super().__init__(rig, port)
        self.steps_per_s = rig.lens.motor.speed_steps_per_s if rig.lens.motor else SPEED_STEPS_PER_S
        self._target = HOME_COUNT
        self.lost_steps: int | None = None

    def capabilities(self) -> LensCapabilities:
        return LensCapabilities("host", "polled")

    def home(self) -> None:
        """Find the edge of the photo-interrupter and count from there."""
        with self._lock:
            for command in (
                scf4.INTERRUPTER_LIGHT,
                scf4.NORMAL_MOVES,
                scf4.RELATIVE,
                scf4.set_speed(self.steps_per_s),
            ):
                self._command(command)
            way_out = self._go_behind_edge()
            while (at := self._move_by(_FINE_STEPS * way_out)).interrupted:
                continue
            self.lost_steps = None if self.lost_steps is None else at.position - HOME_COUNT
            for command in (scf4.set_counter(HOME_COUNT), scf4.ABSOLUTE):
                self._command(command)
            self._target = HOME_COUNT

    def _connect(self) -> tuple[str, float, float]:
        identity = identify_at(self._port)
        self._port.query(scf4.encode(scf4.RESET_DRIVER), take_line, scf4.RESET_DRIVER, timeout_s=_RESET_S)
        self._command(scf4.set_counter(HOME_COUNT))
        self.lost_steps = None
        self.home()
        self.lost_steps = 0
        return identity, 0.0, float(scf4.HIGHEST_COUNT)

    def _go_behind_edge(self) -> int:
        """Go to where the interrupter is covered, about a coarse step from its edge; returns the way out of it."""
        covered = _ask_status(self._port).interrupted
        for way, travel in ((-1, _HOMING_TRAVEL_STEPS), (1, 2 * _HOMING_TRAVEL_STEPS)):
            for _ in range(travel // _COARSE_STEPS):
                if self._move_by(way * _COARSE_STEPS).interrupted == covered:
                    continue
                if covered:
                    self._move_by(-way * _COARSE_STEPS)
                return way if covered else -way
        raise LensError(
            f"lens port {self._port.path}: homing found no edge of the photo-interrupter within "
            f"{_HOMING_TRAVEL_STEPS} steps: is the lens's cable plugged in?"
        )

    def _move_by(self, steps: int) -> MotorStatus:
        target = _ask_status(self._port).position + steps
        self._command(scf4.move(steps))
        return self._wait(target)

    def _wait(self, target: int) -> MotorStatus:
        """Wait for the motor to stand at a count, or to stand for so long that it cannot be waiting to start."""
        at = _ask_status(self._port)
        now_s = standing_s = time.monotonic()
        deadline_s = now_s + 2 * abs(target - at.position) / self.steps_per_s + _MOVE_SLACK_S
        while at.moving or (at.position != target and now_s - standing_s < START_S):
            time.sleep(_POLL_S / 4)
            now_s = time.monotonic()
            if now_s > deadline_s:
                raise LensError(
                    f"lens port {self._port.path}: the motor has not arrived at {target} steps: is it blocked?"
                )
            at = _ask_status(self._port)
            if at.moving:
                standing_s = now_s
        return at

    def _send_control(self, control: float) -> None:
        self._target = round(control)
        self._command(scf4.set_speed(self.steps_per_s))
        self._command(scf4.move(self._target))

    def _confirm(self) -> None:
        at = self._wait(self._target)
        if at.position != self._target:
            raise LensError(
                f"lens port {self._port.path}: the motor stopped at {at.position} steps, not at {self._target}: is "
                "something in its way? Opening the lens again homes it"
            )

    def _set_points_hz(self, plan: SweepPlan) -> None:
        return None

    def _abilities(self, plan: SweepPlan) -> tuple[LensResponse, float | None]:
        rate_dpt_per_s = self.steps_per_s * plan.range_dpt / max(1, abs(self._steps(plan)))
        source = f"{self.steps_per_s} steps/s"
        return replace(self._response, max_rate_dpt_per_s=rate_dpt_per_s, source=source), None

    def _steps(self, plan: SweepPlan) -> int:
        far, near = self.turns(plan)
        return near - far

    def turns(self, plan: SweepPlan) -> tuple[int, int]:
        """Steps at the far turn, where the way up begins, and at the near one, where that down does."""
        edges = ((plan.min_dpt, -1), (plan.max_dpt, 1))
        far, near = (round(float(self._curve.control(edge, arriving))) for edge, arriving in edges)
        return far, near

    def _check(self, plan: SweepPlan) -> None:
        if plan.waveform != "triangle":
            raise LensError(f"waveform {plan.waveform}: the {DEVICE}'s motor moves at a constant speed: use triangle")
        super()._check(plan)

    def _start(self, plan: SweepPlan) -> None:
        self._stream = _Shuttle(self, plan)
        self._stream.start()

    def _halt(self) -> None:
        self._command(scf4.STOP)

    def begin_move(self, target: int, steps_per_s: int) -> None:
        """Let the motor go to a count; returns at once."""
        with self._lock:
            self._target = target
            self._command(scf4.set_speed(steps_per_s))
            self._command(scf4.move(target))

    def poll(self) -> tuple[int, MotorStatus]:
        """Host time (unix microseconds, the middle of the round trip) and what the motor does."""
        with self._lock:
            before_us = time.time_ns() // 1000
            at = _ask_status(self._port)
            return (before_us + time.time_ns() // 1000) // 2, at

    def report_position(self, time_us: int, position: int, direction: int) -> None:
        """Take a position into the telemetry, as the vergence that it has on the way up (+1) or down (-1)."""
        self._report(time_us, float(self._curve.vergence_dpt(position, direction)))

    def _command(self, command: str) -> None:
        line = self._ask(command)
        if line.upper() != scf4.DONE:
            raise LensRefused(f"lens port {self._port.path}: the {DEVICE} refused {command}: {line[:60]}")

    def _ask(self, command: str) -> str:
        return self._port.query(scf4.encode(command), take_line, command)


class _Shuttle(LensThread):
    """Drives the motor to and fro between two counts and reports where it is."""

    def __init__(self, lens: Scf4, plan: SweepPlan) -> None:
        super().__init__()
        self._lens = lens
        self._plan = plan

    def _move(self, stop: threading.Event) -> None:
        far, near = self._lens.turns(self._plan)
        steps_per_s = min(self._lens.steps_per_s, int(_SPEED_RESERVE * abs(near - far) / self._plan.sweep_s) + 1)
        self._go(far, self._lens.steps_per_s, 0, stop)
        began_s, turn = time.monotonic(), 0
        while not stop.wait(max(0.0, began_s + turn * self._plan.sweep_s - time.monotonic())):
            up = turn % 2 == 0
            self._go(near if up else far, steps_per_s, 1 if up else -1, stop)
            turn += 1

    def _go(self, target: int, steps_per_s: int, direction: int, stop: threading.Event) -> None:
        """Go to a count; positions are reported where there is a direction."""
        time_us, at = self._lens.poll()
        seen = [(time_us, at.position)]
        if direction:
            self._lens.report_position(time_us, at.position, direction)
        self._lens.begin_move(target, steps_per_s)
        began_us = time_us
        while not stop.wait(_POLL_S):
            time_us, at = self._lens.poll()
            arrived = not at.moving and (at.position == target or time_us - began_us > START_S * 1e6)
            if arrived:
                time_us = _arrival_us(seen, time_us, at.position)
            if direction and time_us > seen[-1][0]:
                self._lens.report_position(time_us, at.position, direction)
            if arrived:
                return
            seen.append((time_us, at.position))


def _arrival_us(seen: list[tuple[int, int]], polled_us: int, position: int) -> int:
    """When the motor came to stand at a position that a poll found it at, by its speed between the polls before.

    Args:
        seen: time and position of the polls of this move, in order.
        polled_us: time of the poll that found it standing.
        position: where.
    """
    (first_us, first), (last_us, last) = seen[0 if len(seen) < 3 else -3], seen[-1]
    if last == first:
        return polled_us
    remaining_us = (position - last) * (last_us - first_us) / (last - first)
    return min(polled_us, last_us + max(0, round(remaining_us)))


def _ask_status(port: SerialPort) -> MotorStatus:
    line = port.query(scf4.encode(scf4.ASK_STATUS), take_line, scf4.ASK_STATUS)
    if (status := scf4.parse_status(line)) is None:
        raise port.wrong_answer(scf4.ASK_STATUS, line)
    return status
