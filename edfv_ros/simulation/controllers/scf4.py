"""Kurokesu SCF4: stepper motors of a zoom lens, by G-code."""

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from edfv_ros.simulation.controllers.controller import Controller, Reply
from edfv_ros.simulation.controllers.faults import Faults
from edfv_ros.simulation.controllers.focus import FocusCurve
from edfv_ros.simulation.controllers.scf4_axis import COUNTS, Axis
from edfv_ros.yaml_model import NotNegative, Part, Positive

_AXES = "ABC"
_REPLY_US = 1_000.0
_DRIVER_RESET_US = 300_000.0
_INTERRUPTER = 32_000.0
_TRAVEL = (31_500.0, 37_000.0)
_LONGEST_LINE = 96
_COMMAND = re.compile(r"([GM])(\d+)((?:\s*[A-Z]\s*[-+]?\d+|\s*[A-Z])*)")
_ARGUMENT = re.compile(r"([A-Z])\s*([-+]?\d+)?")
_ONLY_OK = ("M7", "M8", "M232", "M234", "M235", "M241", "M242", "M243", "M245", "M246")


class Scf4Settings(Part):
    """The lens.

    Attributes:
        focus_axis: which motor moves the focus; A in the facts of this project, B on many zoom lenses.
        backlash_steps: play of each motor. A user found the same focus at 2048 steps upwards and 2260 downwards.
        steps_per_s: of a motor for each unit of M240.
        start_delay_ms: from the answer to a move to the motor's turning. Users saw states without the moving flag then.
        glitch_every: in every so many states the count of the focus motor reads 0, as users report; 0 for never.
        line_end: of the answers.
        identity: answer to ``$S``.
    """

    focus_axis: Literal["A", "B", "C"] = "A"
    backlash_steps: NotNegative = 212.0
    steps_per_s: Positive = 1.0
    start_delay_ms: NotNegative = 2.0
    glitch_every: Annotated[int, Field(ge=0)] = 0
    line_end: Literal["\n", "\r\n"] = "\r\n"
    identity: str = "EVB.1.3.0, SCF4-M RevC, Kurokesu, 5D0FF39-00000000-00000003"


class Scf4(Controller):
    """The state machine. Its control value is the focus lens's place in steps, 32000 at the photo-interrupter.

    Attributes:
        settings: the lens.
        lost_lines: how many came while a command was being done.
    """

    Settings = Scf4Settings
    baud = 115_200

    def __init__(
        self,
        settings: Scf4Settings | None = None,
        curve: FocusCurve | None = None,
        faults: Faults | None = None,
        now_us: float = 0.0,
    ) -> None:
        self.settings = settings or Scf4Settings()
        self.lost_lines = 0
        super().__init__(self.settings, curve, faults, now_us)
        self._places = dict.fromkeys(_AXES, 34_000.0)
        self._commands: dict[str, Callable[[dict[str, int | None]], str]] = {
            "G0": self._move,
            "G4": self._wait,
            "G90": lambda _: self._set_relative(False),
            "G91": lambda _: self._set_relative(True),
            "G92": self._set_counts,
            "M0": self._stop,
            "M230": lambda arguments: self._force(arguments, False),
            "M231": lambda arguments: self._force(arguments, True),
            "M238": lambda _: self._light(True),
            "M239": lambda _: self._light(False),
            "M240": self._set_speeds,
            "M247": lambda _: "ADC=3103",
        }
        self._commands |= dict.fromkeys(_ONLY_OK, lambda _arguments: "OK")
        self._plain: dict[str, Callable[[], str]] = {
            "$S": lambda: self.settings.identity,
            "$B1": self._reset_driver,
            "$B2": self._initialise_driver,
            "$B3": self._restart,
            "!1": self._state,
        }
        self.power_on(now_us)

    @classmethod
    def own_curve(cls, settings: Part) -> FocusCurve:
        """0.3 to 4.2 dpt over 4000 steps above the photo-interrupter."""
        return FocusCurve.line(32_500.0, 36_500.0, 0.3, 4.2)

    def power_on(self, now_us: float) -> None:
        self._line = bytearray()
        self._busy_until_us = now_us
        self._states = 0
        self._initialised = self._lit = False
        self._relative = True  # the maker's homing example sends distances and has not said G91
        self._forced = dict.fromkeys(_AXES, False)
        self._speeds = dict.fromkeys(_AXES, 100)
        self._new_axes(now_us)

    def _resting_control(self, settings: Part) -> float:
        return 34_000.0

    def _new_axes(self, now_us: float) -> None:
        """Counters at 0, the lens where it was."""
        self._move_on(now_us)
        self._actuator.follow([])
        self._places[self.settings.focus_axis] = self.control
        self._axes = {
            name: Axis(*_TRAVEL, _INTERRUPTER, self.settings.backlash_steps, self._places[name]) for name in _AXES
        }

    def _receive(self, data: bytes, now_us: float) -> list[Reply]:
        answers = []
        for byte in data:
            if byte != 0x0A:
                self._line = (self._line + bytes([byte]))[: _LONGEST_LINE + 1]
                continue
            text, self._line = self._line.decode("latin-1").strip().upper(), bytearray()
            if not text:
                continue
            if now_us < self._busy_until_us:
                self.lost_lines += 1
                continue
            self._busy_until_us = now_us + _REPLY_US
            answer = self._answer(text)
            answers.append(Reply(self._busy_until_us, (answer + self.settings.line_end).encode()))
        return answers

    def _answer(self, text: str) -> str:
        if self.faults.error or len(text) > _LONGEST_LINE:
            return "ERROR"
        if text in self._plain:
            self.commands += 1
            return self._plain[text]()
        parsed = _COMMAND.fullmatch(text)
        command = self._commands.get(f"{parsed[1]}{int(parsed[2])}") if parsed else None
        if parsed is None or command is None:
            return "ERROR"
        arguments = {name: int(value) if value else None for name, value in _ARGUMENT.findall(parsed[3])}
        if any(abs(value or 0) >= COUNTS for value in arguments.values()):
            return "ERROR"
        self.commands += 1
        return command(arguments)

    # what is not G-code

    def _state(self) -> str:
        self._states += 1
        axes, now_us = self._axes, self._now_us
        counts = {name: axes[name].count(now_us) for name in _AXES}
        if self.settings.glitch_every and self._states % self.settings.glitch_every == 0:
            counts[self.settings.focus_axis] = 0
        seen = (int(self._lit and axes[name].interrupted(now_us)) for name in _AXES)
        moving = (int(axes[name].moving(now_us)) for name in _AXES)
        return ", ".join(map(str, (*counts.values(), *seen, *moving)))

    def _reset_driver(self) -> str:
        self._busy_until_us = self._now_us + _DRIVER_RESET_US
        self._initialised = False
        self._new_axes(self._now_us)
        return "OK"

    def _initialise_driver(self) -> str:
        self._reset_driver()
        self._initialised = True
        return "OK"

    def _restart(self) -> str:
        self.power_on(self._now_us)
        self._busy_until_us = self._now_us + _DRIVER_RESET_US
        return "OK"

    # G-code

    def _named(self, arguments: dict[str, int | None]) -> list[str]:
        """The axes that a command is for: those it names, or all."""
        return [name for name in _AXES if name in arguments] or list(_AXES)

    def _move(self, arguments: dict[str, int | None]) -> str:
        start_us = self._now_us + _REPLY_US + self.settings.start_delay_ms * 1e3
        for name in _AXES:
            value = arguments.get(name)
            if value is None or not self._initialised:
                continue
            axis = self._axes[name]
            steps_per_s = max(1, self._speeds[name]) * self.settings.steps_per_s
            steps = value if self._relative else value % COUNTS - axis.count(self._now_us)
            axis.stop(self._now_us)
            if self._forced[name] and steps:
                moves = axis.search(1 if steps > 0 else -1, steps_per_s, start_us, self._lit)
            else:
                moves = axis.move(steps, steps_per_s, start_us)
            if name == self.settings.focus_axis:
                self._actuator.follow(moves)
        return "OK"

    def _wait(self, arguments: dict[str, int | None]) -> str:
        self._busy_until_us = self._now_us + 1e3 * max(1, arguments.get("P") or 0)
        return "OK"

    def _set_relative(self, relative: bool) -> str:
        self._relative = relative
        return "OK"

    def _set_counts(self, arguments: dict[str, int | None]) -> str:
        for name in _AXES:
            if (value := arguments.get(name)) is not None:
                self._axes[name].set_count(value, self._now_us)
        return "OK"

    def _stop(self, arguments: dict[str, int | None]) -> str:
        for name in self._named(arguments):
            self._axes[name].stop(self._now_us)
            if name == self.settings.focus_axis:
                self._actuator.follow([])
        return "OK"

    def _force(self, arguments: dict[str, int | None], forced: bool) -> str:
        self._forced |= dict.fromkeys(self._named(arguments), forced)
        return "OK"

    def _light(self, lit: bool) -> str:
        self._lit = lit
        return "OK"

    def _set_speeds(self, arguments: dict[str, int | None]) -> str:
        self._speeds |= {name: value for name in _AXES if (value := arguments.get(name)) is not None}
        return "OK"
