"""Optotune Lens Driver 4 and 4i (EL-10-30, EL-16-40): CRC frames, a signal generator, focal power by temperature."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Annotated, Literal

from pydantic import Field

from edfv_ros.simulation.controllers.controller import Controller, Reply
from edfv_ros.simulation.controllers.faults import Faults
from edfv_ros.simulation.controllers.focus import FocusCurve
from edfv_ros.simulation.controllers.ld4_framing import HANDSHAKE, Command, FrameParser, with_crc
from edfv_ros.simulation.controllers.ld4_generator import Generator, Shape, Trigger
from edfv_ros.simulation.controllers.ld4_head import LensHead
from edfv_ros.simulation.lens import LensMove
from edfv_ros.yaml_model import NotNegative, Part, Positive

_REPLY_US = 200.0
_SLEW_US = 15_000.0  # transient of an EL-10-30, here the time through the whole range
_FULL_CODE = 4095
_HIGHEST_MA = 292.84
_DPT_CODE = 200  # per dioptre
_TYPE_A_OFFSET_DPT = 5.0
_NO_SENSOR = 4095
_SPURIOUS_STATUS = 72  # of MwCA in focal-power mode
_CURRENT, _SINE, _TRIANGLE, _RECTANGLE, _FOCAL_POWER, _ANALOG = 1, 2, 3, 4, 5, 6
_MODES = {
    b"MwDA": _CURRENT,
    b"MwSA": _SINE,
    b"MwTA": _TRIANGLE,
    b"MwQA": _RECTANGLE,
    b"MwAA": _ANALOG,
}
_SHAPES: dict[int, Shape] = {_SINE: "sine", _TRIANGLE: "triangle", _RECTANGLE: "rectangle"}


class Ld4Settings(Part):
    """Dialect of the firmware, and the lens head.

    Attributes:
        firmware_type: A codes focal power as (D + 5) * 200, the others as D * 200.
        errors: ``E`` and the number as a byte, ``E`` and the number as a digit, or the old firmware's ``N``.
        byte_timeout_ms: pause that ends a frame.
        lens: whether a lens head is there.
        sensor: whether the head has a temperature sensor.
        eeprom: whether the head's EEPROM can be read.
        temperature_c: of the lens.
        dpt_per_c: what warmth adds to the focal power; 0.067 for an EL-10-30.
        lowest_frequency_hz: of the generator; documents say 0.1 and 0.2.
        trigger: form of the trigger output, see :class:`Generator`.
        serial: of the lens head.
        device_id: of the driver.
        version: major, minor, build, revision.
    """

    firmware_type: Literal["A", "B", "C", "E"] = "A"
    errors: Literal["byte", "digit", "N"] = "byte"
    byte_timeout_ms: Positive = 20.0
    lens: bool = True
    sensor: bool = True
    eeprom: bool = True
    temperature_c: Annotated[float, Field(ge=-40, le=120)] = 25.0
    dpt_per_c: NotNegative = 0.067
    lowest_frequency_hz: Positive = 0.1
    trigger: Trigger = "turns"
    serial: Annotated[str, Field(pattern=r"^[ -~]{8}$")] = "EDFV0001"
    device_id: Annotated[str, Field(pattern=r"^[ -~]{8}$")] = "EMULATED"
    version: Annotated[tuple[int, int, int, int], Field(strict=False)] = (1, 8, 1001, 60)

    @property
    def head(self) -> LensHead:
        """A lens like an EL-16-40, which takes either sign of the current, under type A; like an EL-10-30 elsewhere.

        Either has a reserve, so that it keeps its nominal range from 15 to 50 degrees.
        """
        if self.firmware_type == "A":
            return LensHead(-_HIGHEST_MA, _HIGHEST_MA, -4.0, 5.0, self.dpt_per_c)
        return LensHead(0.0, _HIGHEST_MA, 3.0, 12.0, self.dpt_per_c)

    @property
    def nominal_dpt(self) -> tuple[float, float]:
        """Focal powers that the lens is sold for."""
        return (-2.0, 3.0) if self.firmware_type == "A" else (5.0, 10.0)


class OptotuneLd4(Controller):
    """The state machine. Its control value is the focal power in dioptres, which current and temperature make.

    Attributes:
        settings: dialect and lens head.
        mode: 1 current, 2 sine, 3 triangle, 4 rectangle, 5 focal power, 6 analogue.
        errors: numbers of the errors it has reported, in order, the last 100.
        boot_loader: whether it has been sent there: it is deaf until it loses power.
    """

    Settings = Ld4Settings
    baud = 115_200

    def __init__(
        self,
        settings: Ld4Settings | None = None,
        curve: FocusCurve | None = None,
        faults: Faults | None = None,
        now_us: float = 0.0,
    ) -> None:
        self.settings = settings or Ld4Settings()
        self.head = self.settings.head
        self.errors: list[int] = []
        self._eeprom = bytearray(256)
        self._upper_code, self._lower_code = _FULL_CODE, -_FULL_CODE if self.head.low_ma < 0 else 0
        super().__init__(self.settings, curve, faults, now_us)
        self._handlers: dict[bytes, Callable[[bytes], bytes | int | None]] = {
            b"H": lambda _: b"H" + self.settings.firmware_type.encode(),
            b"F": lambda _: b"F\x00",
            b"J": lambda _: b"J\x00\x00\x01",
            b"X": lambda _: b"X" + (self.settings.serial.encode() if self.settings.lens else bytes(8)),
            b"V": lambda _: b"V" + self._version(),
            b"IR": lambda _: b"IR" + self.settings.device_id.encode(),
            b"A": self._set_current,
            b"Aw": self._set_current,
            b"Ar": lambda _: b"A" + _i16(self._code(self._current_ma())),
            b"CwMA": self._set_highest,
            b"CrMA": lambda _: b"CMA" + _i16(round(self.highest_ma * 100)),
            b"CwUA": self._set_upper,
            b"CrUA": lambda _: b"CUA" + _i16(self._upper_code),
            b"CwLA": self._set_lower,
            b"CrLA": lambda _: b"CLA" + _i16(self._lower_code),
            b"MwCA": self._enter_focal_power,
            b"MMA": lambda _: b"MMA" + bytes([self.mode]),
            b"PwUA": lambda data: self._set_generator(high=_signed(data[:2])),
            b"PrUA": lambda _: b"PUA" + _i16(self._generator_codes[1]),
            b"PwLA": lambda data: self._set_generator(low=_signed(data[:2])),
            b"PrLA": lambda _: b"PLA" + _i16(self._generator_codes[0]),
            b"PwFA": lambda data: self._set_generator(frequency_mhz=int.from_bytes(data, "big")),
            b"PrFA": lambda _: b"PFA" + self._frequency_mhz.to_bytes(4, "big"),
            b"PwTA": self._set_temperature_limits,
            b"PrTA": lambda _: b"PTA" + b"".join(_i16(round(t * 16)) for t in (self._limits_c or (0.0, 0.0))[::-1]),
            b"PwDA": self._set_focal_power,
            b"PrDA": lambda _: b"PD" + _i16(self._dpt_code(self._dpt(self._current_ma()))),
            b"TCA": lambda _: b"TCA" + _i16(round(self.temperature_c * 16) if self._senses else _NO_SENSOR),
            b"GAA": lambda _: b"GAA" + _i16(0),
            b"Sr": lambda _: b"S" + bytes([self._status(), 0, 0, 0]),
            b"Ow": self._set_gain,
            b"Or": lambda _: b"Or" + _i16(self._gain),
            b"Zw": self._write_eeprom,
            b"Zr": lambda data: b"Z" + self._eeprom[data[0] : data[0] + 1],
            b"D": lambda _: b"D" + self._eeprom,
            b"Y": lambda _: None,
            b"RESET": self._enter_boot_loader,
        }
        self._handlers |= {prefix: self._change_mode(prefix, mode) for prefix, mode in _MODES.items()}
        self.power_on(now_us)

    @classmethod
    def own_curve(cls, settings: Part) -> FocusCurve:
        """0.3 to 4.2 dpt over the nominal focal powers."""
        assert isinstance(settings, Ld4Settings)
        return FocusCurve.line(*settings.nominal_dpt, 0.3, 4.2)

    def power_on(self, now_us: float) -> None:
        self._parser = FrameParser(self.settings.byte_timeout_ms * 1e3)
        self.boot_loader = False
        self.mode = _CURRENT
        self.highest_ma = _HIGHEST_MA
        self._current_code = 0
        self._generator_codes = (self._lower_code, self._upper_code)
        self._frequency_mhz = 1000
        self._limits_c: tuple[float, float] | None = None
        self._asked_dpt = 0.0
        self._gain = 100
        self._generator: Generator | None = None
        self._move_on(now_us)
        self._drive_to(0.0)

    @property
    def temperature_c(self) -> float:
        return self.settings.temperature_c + self.temperature_drift_c

    @property
    def generator(self) -> Generator | None:
        """The generator, while it runs."""
        return self._generator

    def _resting_control(self, settings: Part) -> float:
        return self.head.focal_power_dpt(0.0, self.settings.temperature_c)

    def _receive(self, data: bytes, now_us: float) -> list[Reply]:
        answers: list[bytes] = []
        if self.boot_loader:
            return []
        if (timed_out := self._parser.time_out(now_us)) is not None:
            answers.append(self._error(timed_out))
        for byte in data:
            found = self._parser.take(byte, now_us)
            if self.boot_loader:
                break
            if isinstance(found, int):
                answers.append(self._error(found))
            elif found is not None:
                answers.extend(self._obey(found))
        return [Reply(now_us + _REPLY_US, answer) for answer in answers]

    def _obey(self, command: Command) -> list[bytes]:
        self.commands += 1
        if self.faults.error:
            return [self._error(self.faults.error)]
        if command.prefix == HANDSHAKE:
            self.mode, self._current_code, self._generator = _CURRENT, 0, None
            self._drive_to(0.0)
            return [b"Ready\r\n"]
        answer = self._handlers[command.prefix](command.data)
        if isinstance(answer, int):
            return [self._error(answer)]
        return [] if answer is None else [with_crc(answer) + b"\r\n"]

    def _error(self, number: int) -> bytes:
        self.errors = [*self.errors[-99:], number]
        if self.settings.errors == "N":
            return b"N\r\n"
        identity = bytes([number & 0xFF]) if self.settings.errors == "byte" else str(number).encode()
        return with_crc(b"E" + identity) + b"\r\n"

    def _damaged(self, data: bytes) -> bytes:
        """A wrong CRC, where there is one."""
        return data[:-4] + bytes([data[-4] ^ 0x01]) + data[-3:] if len(data) > 4 else super()._damaged(data)

    # identification and memory

    def _version(self) -> bytes:
        major, minor, build, revision = self.settings.version
        return bytes([major, minor]) + build.to_bytes(2, "big") + revision.to_bytes(2, "big")

    def _write_eeprom(self, data: bytes) -> bytes:
        self._eeprom[data[0]] = data[1]
        self.eeprom_writes += 1
        return b"Z" + data[1:]

    def _enter_boot_loader(self, _data: bytes) -> None:
        self.boot_loader = True
        self._drive_to(0.0)

    # current

    def _code(self, current_ma: float) -> int:
        return round(current_ma * _FULL_CODE / self.highest_ma)

    def _clipped_ma(self, code: int) -> float:
        """A current code in mA, within the soft limits and what the hardware can."""
        code = max(self._lower_code, min(self._upper_code, code))
        return max(-_FULL_CODE, min(_FULL_CODE, code)) * self.highest_ma / _FULL_CODE

    def _current_ma(self) -> float:
        """What flows now. It is there at once; the lens takes its time."""
        if self._generator is None:
            return self._output_ma
        return self.head.current_ma(self.control, self.temperature_c)

    def _dpt(self, current_ma: float) -> float:
        """What a current makes now."""
        return self.head.focal_power_dpt(current_ma, self.temperature_c)

    def _slew_to(self, current_ma: float) -> list[LensMove]:
        """The way to a current; none without a lens."""
        if not self.settings.lens:
            return []
        control = self._dpt(current_ma)
        share = abs(control - self.control) / (self.head.high_dpt - self.head.low_dpt)
        return self._actuator.slew(control, _SLEW_US * share)

    def _drive_to(self, current_ma: float) -> None:
        self._output_ma = current_ma
        self._actuator.follow(self._slew_to(current_ma))

    def _set_current(self, data: bytes) -> None:
        self._current_code = _signed(data)
        if self.mode == _CURRENT:
            self._drive_to(self._clipped_ma(self._current_code))

    def _set_highest(self, data: bytes) -> bytes:
        self.highest_ma = max(0.01, min(_HIGHEST_MA, _signed(data) / 100))
        return b"CMA" + _i16(round(self.highest_ma * 100))

    def _set_upper(self, data: bytes) -> bytes:
        self._set_limits(self._lower_code, _signed(data[:2]))
        return b"CUA" + _i16(self._upper_code)

    def _set_lower(self, data: bytes) -> bytes:
        self._set_limits(_signed(data[:2]), self._upper_code)
        return b"CLA" + _i16(self._lower_code)

    def _set_limits(self, lower_code: int, upper_code: int) -> None:
        self._lower_code, self._upper_code = lower_code, upper_code
        self.eeprom_writes += 1
        if self.mode == _CURRENT:
            self._drive_to(self._clipped_ma(self._current_code))

    # modes and generator

    def _change_mode(self, prefix: bytes, mode: int) -> Callable[[bytes], bytes]:
        def change(_data: bytes) -> bytes:
            self.mode, self._generator = mode, None
            if mode in _SHAPES:
                self._start_generator()
            else:
                self._drive_to(self._clipped_ma(self._current_code) if mode == _CURRENT else 0.0)
            return prefix[:1] + prefix[2:]

        return change

    def _start_generator(self) -> None:
        """From where it stands to the lower limit, and from there."""
        low_ma, high_ma = (self._clipped_ma(code) for code in self._generator_codes)
        approach = self._slew_to(low_ma)
        epoch_us = approach[0].end_us if approach else self._now_us
        self._generator = Generator(
            _SHAPES[self.mode],
            self._dpt(low_ma),
            self._dpt(high_ma),
            self._frequency_mhz,
            epoch_us,
            self.settings.trigger,
            _SLEW_US,
        )
        if self.settings.lens:
            self._actuator.follow(chain(approach, self._generator.moves(epoch_us)))

    def _set_generator(self, low: int | None = None, high: int | None = None, frequency_mhz: int | None = None) -> None:
        """Change limits or frequency; a running generator goes on in phase."""
        codes = self._generator_codes
        self._generator_codes = (codes[0] if low is None else low, codes[1] if high is None else high)
        if frequency_mhz is not None:
            lowest = round(self.settings.lowest_frequency_hz * 1e3)
            self._frequency_mhz = max(lowest, min(2_000_000, frequency_mhz))
        running = self._generator
        if running is None:
            return
        low_dpt, high_dpt = (self._dpt(self._clipped_ma(code)) for code in self._generator_codes)
        changed = replace(running, low=low_dpt, high=high_dpt, frequency_mhz=self._frequency_mhz)
        if self._now_us < running.epoch_us:  # still on its way
            self._start_generator()
            return
        epoch_us = self._now_us - running.phase(self._now_us) * 2 * changed.half_us
        self._generator = replace(changed, epoch_us=epoch_us)
        if self.settings.lens:
            self._actuator.follow(self._generator.moves(self._now_us), begun=True)

    # focal power

    @property
    def _senses(self) -> bool:
        return self.settings.lens and self.settings.sensor

    def _dpt_code(self, focal_power_dpt: float) -> int:
        offset = _TYPE_A_OFFSET_DPT if self.settings.firmware_type == "A" else 0.0
        return round((focal_power_dpt + offset) * _DPT_CODE)

    def _from_dpt_code(self, code: int) -> float:
        offset = _TYPE_A_OFFSET_DPT if self.settings.firmware_type == "A" else 0.0
        return code / _DPT_CODE - offset

    def _range_dpt(self) -> tuple[float, float] | None:
        """Focal powers guaranteed within the temperature limits; None where nothing is."""
        if self._limits_c is None or not self.settings.lens:
            return None
        currents = self._clipped_ma(-_FULL_CODE), self._clipped_ma(_FULL_CODE)
        within = [max(self.head.low_ma, min(self.head.high_ma, current)) for current in currents]
        return self.head.reachable_dpt(*self._limits_c, within[0], within[1])

    def _range_codes(self) -> bytes:
        """Highest and lowest focal power as codes, rounded inwards; zeros without a lens or limits."""
        reachable = self._range_dpt()
        if reachable is None:
            return bytes(4)
        offset = _TYPE_A_OFFSET_DPT if self.settings.firmware_type == "A" else 0.0
        highest = math.floor((reachable[1] + offset) * _DPT_CODE + 1e-6)
        lowest = math.ceil((reachable[0] + offset) * _DPT_CODE - 1e-6)
        return _i16(highest) + _i16(lowest)

    def _status(self) -> int:
        """Status byte 1."""
        reachable, asked = self._range_dpt(), self._asked_dpt
        needed_ma = self.head.current_ma(asked, self.temperature_c)
        focal_power = self.mode == _FOCAL_POWER
        flags = (
            not self.settings.lens,
            not (self.settings.lens and self.settings.eeprom),
            self._limits_c is None,
            focal_power and not self.head.low_ma - 1e-6 <= needed_ma <= self.head.high_ma + 1e-6,
            reachable is not None and reachable[0] > reachable[1],
            self._limits_c is not None and not self._limits_c[0] <= self.temperature_c <= self._limits_c[1],
            focal_power and reachable is not None and not reachable[0] - 5e-3 <= asked <= reachable[1] + 5e-3,
            focal_power and abs(self._clipped_ma(self._code(needed_ma)) - needed_ma) > self.highest_ma / _FULL_CODE,
        )
        return sum(flag << bit for bit, flag in enumerate(flags))

    def _set_temperature_limits(self, data: bytes) -> bytes:
        self._limits_c = _signed(data[2:]) / 16, _signed(data[:2]) / 16
        return b"PT" + bytes([self._status()]) + self._range_codes()

    def _enter_focal_power(self, _data: bytes) -> bytes:
        if self.mode == _FOCAL_POWER:
            return b"MCA" + bytes([_SPURIOUS_STATUS]) + self._range_codes()
        if (reachable := self._range_dpt()) is not None:
            present_dpt = self._dpt(self._current_ma())
            self.mode, self._generator = _FOCAL_POWER, None
            self._ask(max(reachable[0], min(reachable[1], present_dpt)))
        return b"MCA" + bytes([self._status()]) + self._range_codes()

    def _set_focal_power(self, data: bytes) -> None:
        if self.mode == _FOCAL_POWER:
            self._ask(self._from_dpt_code(_signed(data[:2])))

    def _ask(self, focal_power_dpt: float) -> None:
        self._asked_dpt = focal_power_dpt
        needed_ma = self.head.current_ma(self._asked_dpt, self.temperature_c)
        limits = self._clipped_ma(-_FULL_CODE), self._clipped_ma(_FULL_CODE)
        self._drive_to(max(limits[0], min(limits[1], needed_ma)))

    def _set_gain(self, data: bytes) -> bytes:
        self._gain = max(0, min(500, int.from_bytes(data, "big")))
        return b"Ow" + bytes([self._status()]) + self._range_codes()


def _i16(value: int) -> bytes:
    """Big-endian, clipped to what 16 bits hold."""
    return max(-32768, min(32767, value)).to_bytes(2, "big", signed=True)


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)
