"""Driver of the Optotune Lens Driver 4 and 4i (EL-10-30, EL-16-40). The control value is focal power in dioptres.

Set points go through focal-power mode, in which the controller itself compensates for the lens's temperature. With
``sweep.sync: trigger`` sines and triangles come from the controller's generator, whose trigger output (pin A) tells the
camera the turns; its limits are currents, which the controller is asked for while it focuses at either turn.

Opening sends ``Start``, which sets the current to 0 for a moment. Nothing that writes the EEPROM is ever sent.
"""

import time
from typing import cast

from edfv_ros.errors import LensError
from edfv_ros.lens.calibrated import CalibratedLens
from edfv_ros.lens.driver import LensCapabilities
from edfv_ros.lens.faults import LensRefused, LensSilent
from edfv_ros.lens.plan import SweepPlan, generator_error_dpt
from edfv_ros.lens.protocols import ld4
from edfv_ros.lens.serial_port import REPLY_TIMEOUT_S, SerialPort
from edfv_ros.rig import Rig

BAUD = 115200
DEVICE = "Optotune Lens Driver 4"
SET_POINTS_HZ = 500.0
_GENERATOR_MODES = {"sine": "sine_mode", "triangle": "triangle_mode"}
_COLDEST_C, _HOTTEST_C = 20.0, 45.0  # as in the vendor's example; the controller takes no focal power without limits
_TEMPERATURE_MARGIN_C = 5.0
_MOST_ERROR_BINS = 0.5  # of a generated sweep
_CURRENT_SETTLE_S = 0.1  # before the current at a turn is asked for
_VERSION_TIMEOUT_S = 0.2


def identify_at(port: SerialPort) -> str:
    """Ask for the handshake at an open port; the lens's current becomes 0."""
    _handshake(port)
    return DEVICE


class OptotuneLd4(CalibratedLens):
    """See :class:`edfv_ros.lens.driver.LensDriver`."""

    def __init__(self, rig: Rig, *, reply_timeout_s: float = REPLY_TIMEOUT_S) -> None:
        port = SerialPort(rig.lens.port, BAUD, DEVICE, timeout_s=reply_timeout_s)
        super().__init__(rig, port)
        self._firmware_type = ""

    def capabilities(self) -> LensCapabilities:
        return LensCapabilities(
            "host",
            "sent",
            generator=tuple(_GENERATOR_MODES),
            trigger_output=True,
            temperature=True,
            set_points_hz=SET_POINTS_HZ,
        )

    def _connect(self) -> tuple[str, float, float]:
        _handshake(self._port)
        self._firmware_type = cast(bytes, self._ask("firmware_type").values[0]).decode("ascii", "replace")
        version = ".".join(map(str, self._version()))
        serial = cast(bytes, self._ask("lens_serial").values[0]).decode("ascii", "replace").strip(" \0")
        low_dpt, high_dpt = self._enter_focal_power_mode()
        identity = f"{DEVICE}, firmware type {self._firmware_type} {version}".rstrip()
        return f"{identity}, lens {serial or 'without a serial number'}", low_dpt, high_dpt

    def _version(self) -> tuple[int, ...]:
        """Firmware version; some firmware knows only a longer question, and some none."""
        for name in ("version", "version_padded"):
            try:
                return self._ask(name, answer="version", timeout_s=_VERSION_TIMEOUT_S).integers
            except (LensSilent, LensRefused):
                continue
        return ()

    def _enter_focal_power_mode(self) -> tuple[float, float]:
        """Range of focal power in dioptres."""
        temperature_c = self._read_temperature()
        coldest_c, hottest_c = _COLDEST_C, _HOTTEST_C
        if temperature_c is not None:
            coldest_c = min(coldest_c, temperature_c - _TEMPERATURE_MARGIN_C)
            hottest_c = max(hottest_c, temperature_c + _TEMPERATURE_MARGIN_C)
        mode = self._ask("mode").integers[0]
        range_reply = self._ask(
            "set_temperature_limits", round(hottest_c * 16), round(coldest_c * 16), answer="temperature_limits"
        )
        if mode != ld4.FOCAL_POWER_MODE:  # asked for again, it would answer with a status that means nothing
            range_reply = self._ask("focal_power_mode")
        _, high, low = range_reply.integers
        if low >= high:
            raise LensError(
                f"lens port {self._port.path}: the {DEVICE} is there, but reports no range of focal power "
                f"({ld4.focal_power_dpt(low, self._firmware_type):g} to "
                f"{ld4.focal_power_dpt(high, self._firmware_type):g} dpt): is a lens plugged into it?"
            )
        return ld4.focal_power_dpt(low, self._firmware_type), ld4.focal_power_dpt(high, self._firmware_type)

    def _send_control(self, control: float) -> None:
        self._port.receive()
        self._take_unasked()
        self._port.write(ld4.encode("set_focal_power", ld4.focal_power_code(control, self._firmware_type)))

    def _take_unasked(self) -> None:
        """See whether an earlier set point was refused: nothing else says so. A damaged one is counted."""
        while (reply := ld4.take_reply(self._port.received)) is not None:
            if reply.name == "error":
                if reply.integers[0] != 1:
                    raise self._refused("a set point", reply)
                self.garbled_lines += 1

    def _confirm(self) -> None:
        self._ask("status", drain=False)  # the answer comes behind an error, where there was one

    def _read_temperature(self) -> float | None:
        code = self._ask("temperature", drain=False).integers[0]
        return None if code == ld4.NO_SENSOR else code * ld4.DEGREES_PER_TICK

    def _read_warnings(self) -> tuple[str, ...]:
        status = cast(bytes, self._ask("status").values[0])
        return ld4.status_words(status[0])

    def _set_points_hz(self, plan: SweepPlan) -> float | None:
        return None if self._generates(plan) else SET_POINTS_HZ

    def _generates(self, plan: SweepPlan) -> bool:
        return self._rig.sweep.sync == "trigger" and plan.waveform in _GENERATOR_MODES

    def _check(self, plan: SweepPlan) -> None:
        super()._check(plan)
        if self._rig.sweep.sync != "trigger":
            return
        if not self._generates(plan):
            raise LensError(
                f"waveform {plan.waveform} with sweep.sync: trigger: the {DEVICE} marks turns only of the waveforms it "
                f"generates: use {' or '.join(_GENERATOR_MODES)}, or sweep.sync: telemetry"
            )
        if self._curve.control(plan.max_dpt, 1) < self._curve.control(plan.min_dpt, 1):
            raise LensError(
                f"lens.calibration falls, so that the {DEVICE}'s generator, which rises from its lower current, begins "
                "at the near turn, and its trigger output does not tell the turns apart: use sweep.sync: telemetry"
            )
        error_dpt, bin_dpt = generator_error_dpt(plan, self._curve), self._rig.bins.width_dpt
        if plan.shape == "vergence" and error_dpt > _MOST_ERROR_BINS * bin_dpt:
            raise LensError(
                f"the {DEVICE}'s generator would miss this {plan.waveform} by {error_dpt:.2g} dpt, since the "
                f"calibration is bent or its branches differ, and a bin is {bin_dpt:.2g} dpt wide: use "
                "sweep.sync: telemetry, or a narrower sweep"
            )

    def _start(self, plan: SweepPlan) -> None:
        if not self._generates(plan):
            super()._start(plan)
            return
        near, far = (self._current_at(edge) for edge in (plan.max_dpt, plan.min_dpt))
        if near == far:
            raise LensError(
                f"lens port {self._port.path}: the {DEVICE} reports the same current at both turns ({near}), so its "
                "generator cannot be set: use sweep.sync: telemetry"
            )
        self._set("set_generator_upper", max(near, far))
        self._set("set_generator_lower", min(near, far))
        self._set("set_generator_frequency", round(plan.frequency_hz * 1e3))
        self._ask(_GENERATOR_MODES[plan.waveform])

    def _current_at(self, vergence_dpt: float) -> int:
        """Code of the current that the controller drives when it focuses at a vergence."""
        branches = [float(self._curve.control(vergence_dpt, way)) for way in (1, -1)]
        self._send_control(sum(branches) / 2)
        self._confirm()
        time.sleep(_CURRENT_SETTLE_S)
        return self._ask("current").integers[0]

    def _set(self, name: str, value: int) -> None:
        self._port.write(ld4.encode(name, value))
        self._confirm()

    def _halt(self) -> None:
        if self._ask("mode").integers[0] != ld4.FOCAL_POWER_MODE:
            self._ask("focal_power_mode")
            if self._focus_dpt is not None:
                self._send_control(float(self._curve.control(self._focus_dpt, 1)))

    def _ask(
        self, name: str, *values: int, answer: str = "", drain: bool = True, timeout_s: float | None = None
    ) -> ld4.Reply:
        """Send a command and wait for what it is answered with; replies to something else are passed over."""
        answer = answer or name

        def take(received: bytearray) -> ld4.Reply | None:
            while (reply := ld4.take_reply(received)) is not None:
                if reply.name in (answer, "error"):
                    return reply
            return None

        question = name.replace("_", " ")
        reply = self._port.query(ld4.encode(name, *values), take, question, timeout_s=timeout_s, drain=drain)
        if reply.name == "error":
            raise self._refused(question, reply)
        return reply

    def _refused(self, what: str, reply: ld4.Reply) -> LensRefused:
        number = reply.integers[0]
        reason = ld4.ERROR_WORDS.get(number, f"error {number}" if number else "it gave no reason")
        return LensRefused(f"lens port {self._port.path}: the {DEVICE} refused {what}: {reason}")


def _handshake(port: SerialPort) -> None:
    def take(received: bytearray) -> bool | None:
        while (reply := ld4.take_reply(received)) is not None:
            if reply.name == "ready":
                return True
        return None

    port.query(ld4.HANDSHAKE, take, "Start")
