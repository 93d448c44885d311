"""Optotune ECC-1C and ICC-1C in simple mode: one ASCII line each way."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from edfv_ros.simulation.controllers.controller import Controller, Reply
from edfv_ros.simulation.controllers.faults import Faults
from edfv_ros.simulation.controllers.focus import FocusCurve
from edfv_ros.yaml_model import Part, Positive

_REPLY_US = 500.0
_SLEW_US = 25_000.0
_LONGEST_LINE = 64
_REFUSED_MARGIN_DPT = 0.005  # the lowest focal power reported lies this far below the lowest accepted
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")


class IccSettings(Part):
    """The lens at the controller.

    Attributes:
        handshake: whether it is deaf until ``START``, as where its rate is not the client's.
        lens: whether there is one; without, all that is about it is answered ``NO``.
        lowest_dpt: focal power.
        highest_dpt: focal power.
        highest_ma: current for the highest focal power; minus that for the lowest.
        temperature_c: of the lens.
        device: name of the lens.
        serial: of the lens.
    """

    handshake: bool = True
    lens: bool = True
    lowest_dpt: float = -2.0
    highest_dpt: float = 3.0
    highest_ma: Positive = 250.0
    temperature_c: float = 25.0
    device: Annotated[str, Field(pattern=r"^[!-~]{1,24}$")] = "EL-16-40-TC"
    serial: Annotated[str, Field(pattern=r"^[!-~]{1,16}$")] = "EDFV0002"


class OptotuneIcc(Controller):
    """The state machine. Its control value is the focal power in dioptres.

    Attributes:
        settings: the lens.
        awake: whether it has heard ``START``.
    """

    Settings = IccSettings
    baud = 256_000

    def __init__(
        self,
        settings: IccSettings | None = None,
        curve: FocusCurve | None = None,
        faults: Faults | None = None,
        now_us: float = 0.0,
    ) -> None:
        self.settings = settings or IccSettings()
        super().__init__(self.settings, curve, faults, now_us)
        self._questions: dict[str, Callable[[], str]] = {
            "GETFP": lambda: f"{self._asked_dpt:.3f}",
            "GETFPMIN": lambda: f"{self.settings.lowest_dpt:.3f}",
            "GETFPMAX": lambda: f"{self.settings.highest_dpt:.3f}",
            "GETCURRENT": lambda: f"{self._current_ma():.2f}",
            "GETTEMP": lambda: f"{self.settings.temperature_c + self.temperature_drift_c:.2f}",
            "GETDEVICESN": lambda: self.settings.serial,
            "DETECTDEVICE": lambda: self.settings.device,
        }
        self._orders: dict[str, Callable[[list[float]], str]] = {
            "SETFP": self._set_focal_power,
            "SETCURRENT": self._set_current,
            "SETTEMPLIM": self._set_temperature_limits,
        }
        self.power_on(now_us)

    @classmethod
    def own_curve(cls, settings: Part) -> FocusCurve:
        """0.3 to 4.2 dpt over the focal powers of the lens."""
        assert isinstance(settings, IccSettings)
        return FocusCurve.line(settings.lowest_dpt, settings.highest_dpt, 0.3, 4.2)

    def power_on(self, now_us: float) -> None:
        self.awake = not self.settings.handshake
        self._line = bytearray()
        self._move_on(now_us)
        self._drive_to(0.0)

    def _resting_control(self, settings: Part) -> float:
        return 0.0

    def _receive(self, data: bytes, now_us: float) -> list[Reply]:
        answers = []
        for byte in data:
            if byte != 0x0A:
                self._line = (self._line + bytes([byte]))[: _LONGEST_LINE + 2]
                continue
            line, self._line = bytes(self._line), bytearray()
            answer = self._answer(line)
            if answer:
                answers.append(Reply(now_us + _REPLY_US, answer.encode() + b"\r\n"))
        return answers

    def _answer(self, line: bytes) -> str:
        """The answer to a line, empty for none."""
        words = line.removesuffix(b"\r").decode("latin-1").strip().upper()
        if words == "START":
            self.awake = True
        if not self.awake or not words:
            return ""
        self.commands += 1
        if self.faults.error or len(line.removesuffix(b"\r")) > _LONGEST_LINE:
            return "ERROR"
        if words == "START":
            return "OK"
        name, equals, text = words.partition("=")
        if name not in (self._orders if equals else self._questions):
            return "ERROR"
        if not self.settings.lens:
            return "NO"
        if not equals:
            return self._questions[name]()
        parts = [part.strip() for part in text.split(",")]
        if not all(_NUMBER.fullmatch(part) for part in parts):
            return "ERROR"
        return self._orders[name]([float(part) for part in parts])

    def _current_ma(self) -> float:
        middle = (self.settings.lowest_dpt + self.settings.highest_dpt) / 2
        return (self._asked_dpt - middle) / (self.settings.highest_dpt - middle) * self.settings.highest_ma

    def _set_focal_power(self, values: list[float]) -> str:
        if len(values) != 1:
            return "ERROR"
        if values[0] < self.settings.lowest_dpt + _REFUSED_MARGIN_DPT:
            return "OL"
        if values[0] > self.settings.highest_dpt:
            return "OU"
        self._drive_to(values[0])
        return "OK"

    def _set_current(self, values: list[float]) -> str:
        if len(values) != 1:
            return "ERROR"
        if abs(values[0]) > self.settings.highest_ma:
            return "OL" if values[0] < 0 else "OU"
        middle = (self.settings.lowest_dpt + self.settings.highest_dpt) / 2
        self._drive_to(middle + values[0] / self.settings.highest_ma * (self.settings.highest_dpt - middle))
        return "OK"

    def _set_temperature_limits(self, values: list[float]) -> str:
        """One limit or two."""
        if len(values) > 2:
            return "ERROR"
        return "NO" if len(values) == 2 and values[0] == values[1] else "OK"

    def _drive_to(self, focal_power_dpt: float) -> None:
        self._asked_dpt = focal_power_dpt
        share = abs(focal_power_dpt - self.control) / (self.settings.highest_dpt - self.settings.lowest_dpt)
        self._actuator.follow(self._actuator.slew(focal_power_dpt, _SLEW_US * share))
