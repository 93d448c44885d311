"""Corning Varioptic USB-M Flexiboard: registers, and frames with a sum of 8 bits."""

from typing import Annotated

from pydantic import Field

from edfv_ros.simulation.controllers.controller import Controller, Reply
from edfv_ros.simulation.controllers.faults import Faults
from edfv_ros.simulation.controllers.focus import FocusCurve
from edfv_ros.yaml_model import Part, Positive

_REPLY_US = 300.0
_SLEW_US = 20_000.0
_LOWEST_V, _HIGHEST_V = 24.0, 24.0 + 0xB3B0 / 1000  # root mean square
_BEGIN, _WRITE, _READ, _TAKEN, _REFUSED = 0x02, 0x37, 0x38, 0x06, 0x15
_MOST_BYTES = 12
_REGISTERS = 16
_FOCUS_LSB, _FOCUS_MSB, _EEPROM, _VERSION = 0x00, 0x01, 0x02, 0x05


def with_sum(data: bytes) -> bytes:
    """Data and the sum of its bytes modulo 256."""
    return data + bytes([sum(data) % 256])


class UsbmSettings(Part):
    """The driver.

    Attributes:
        byte_timeout_ms: pause that ends a frame.
        version: in its register.
    """

    byte_timeout_ms: Positive = 20.0
    version: Annotated[int, Field(ge=0, le=255)] = 0x21


class VariopticUsbm(Controller):
    """The state machine. Its control value is the voltage at the lens: 24 V at code 0 and 1 mV for each.

    Attributes:
        settings: the driver.
        registers: 16 bytes.
    """

    Settings = UsbmSettings
    baud = 57_600

    def __init__(
        self,
        settings: UsbmSettings | None = None,
        curve: FocusCurve | None = None,
        faults: Faults | None = None,
        now_us: float = 0.0,
    ) -> None:
        self.settings = settings or UsbmSettings()
        super().__init__(self.settings, curve, faults, now_us)
        self.power_on(now_us)

    @classmethod
    def own_curve(cls, settings: Part) -> FocusCurve:
        """0.3 to 4.2 dpt over all codes."""
        return FocusCurve.line(_LOWEST_V, _HIGHEST_V, 0.3, 4.2)

    def power_on(self, now_us: float) -> None:
        self.registers = bytearray(_REGISTERS)
        self.registers[_VERSION] = self.settings.version
        self._frame = bytearray()
        self._last_us = now_us
        self._move_on(now_us)
        self._drive_to(0)

    def _resting_control(self, settings: Part) -> float:
        return _LOWEST_V

    def _receive(self, data: bytes, now_us: float) -> list[Reply]:
        if self._frame and now_us - self._last_us >= self.settings.byte_timeout_ms * 1e3:
            self._frame.clear()
        answers = []
        for byte in data:
            self._last_us = now_us
            self._frame.append(byte)
            answer = self._parse()
            if answer:
                answers.append(Reply(now_us + _REPLY_US, with_sum(answer)))
        return answers

    def _parse(self) -> bytes:
        """The answer to a frame that is whole now, empty for none."""
        frame = self._frame
        if frame[0] != _BEGIN or (len(frame) > 1 and frame[1] not in (_WRITE, _READ)):
            begins_anew = frame[-1] == _BEGIN
            frame[:] = bytes([_BEGIN]) if begins_anew else b""
            return b""
        if len(frame) < 4:
            return b""
        kind, address, count = frame[1:4]
        sensible = 1 <= count <= _MOST_BYTES
        length = 4 + (count if sensible and kind == _WRITE else 0)
        if len(frame) <= length:
            return b""
        data, check = bytes(frame[4:length]), frame[length]
        right = check == sum(frame[:length]) % 256
        frame.clear()
        refusal = bytes([_BEGIN, kind, _REFUSED])
        if not right or not sensible or address + count > _REGISTERS or self.faults.error:
            return refusal
        self.commands += 1
        if kind == _READ:
            return bytes([_BEGIN, _READ]) + self.registers[address : address + count]
        for register, value in enumerate(data, address):
            self._write(register, value)
        return bytes([_BEGIN, _WRITE, _TAKEN])

    def _write(self, register: int, value: int) -> None:
        if register == _VERSION:
            return
        self.registers[register] = value
        self.eeprom_writes += register == _EEPROM
        if register == _FOCUS_MSB:
            self._drive_to(value << 8 | self.registers[_FOCUS_LSB])

    def _drive_to(self, code: int) -> None:
        voltage_v = min(_LOWEST_V + code / 1000, _HIGHEST_V)
        share = abs(voltage_v - self.control) / (_HIGHEST_V - _LOWEST_V)
        self._actuator.follow(self._actuator.slew(voltage_v, _SLEW_US * share))

    def _damaged(self, data: bytes) -> bytes:
        """A wrong sum."""
        return data[:-1] + bytes([data[-1] ^ 0x01])
