"""Driver of the Optotune ECC-1C and ICC-1C in simple mode. The control value is focal power in dioptres.

The controller compensates for the lens's temperature by itself and has, in simple mode, no waveform: the host sends it.
"""

import math

from edfv_ros.errors import LensError
from edfv_ros.lens.calibrated import CalibratedLens
from edfv_ros.lens.driver import LensCapabilities
from edfv_ros.lens.faults import LensRefused, LensSilent
from edfv_ros.lens.protocols import icc
from edfv_ros.lens.protocols.lines import take_line
from edfv_ros.lens.serial_port import REPLY_TIMEOUT_S, SerialPort
from edfv_ros.rig import Rig

BAUD = 115200  # the controller finds the speed by the handshake
DEVICE = "Optotune ICC-1C"
SET_POINTS_HZ = 250.0
_RANGE_MARGIN_DPT = 0.01  # the limits that it reports may be refused


def identify_at(port: SerialPort) -> str:
    """Ask for the handshake at an open port.

    Raises:
        LensError: something else answers, or nobody.
    """
    request = icc.encode(icc.HANDSHAKE)
    try:
        line = port.query(request, take_line, icc.HANDSHAKE)
    except LensSilent:  # what somebody sent before may have lain unfinished in its line buffer
        line = port.query(request, take_line, icc.HANDSHAKE)
    _require_done(port, icc.HANDSHAKE, line)
    return DEVICE


class OptotuneIcc(CalibratedLens):
    """See :class:`edfv_ros.lens.driver.LensDriver`."""

    def __init__(self, rig: Rig, *, reply_timeout_s: float = REPLY_TIMEOUT_S) -> None:
        port = SerialPort(rig.lens.port, BAUD, DEVICE, timeout_s=reply_timeout_s)
        super().__init__(rig, port)

    def capabilities(self) -> LensCapabilities:
        return LensCapabilities("host", "sent", temperature=True, set_points_hz=SET_POINTS_HZ)

    def _connect(self) -> tuple[str, float, float]:
        identity = identify_at(self._port)
        serial = self._ask("GETDEVICESN")
        low_dpt, high_dpt = (self._ask_number(command) for command in ("GETFPMIN", "GETFPMAX"))
        if not high_dpt - low_dpt > 2 * _RANGE_MARGIN_DPT:
            raise LensError(
                f"lens port {self._port.path}: the {DEVICE} is there, but reports no range of focal power "
                f"({low_dpt:g} to {high_dpt:g} dpt): is a lens plugged into it?"
            )
        return f"{identity}, {serial}", low_dpt + _RANGE_MARGIN_DPT, high_dpt - _RANGE_MARGIN_DPT

    def _send_control(self, control: float) -> None:
        line = self._port.query(icc.encode("SETFP", control), take_line, "SETFP")
        _require_done(self._port, f"SETFP={control:.4f}", line)

    def _read_temperature(self) -> float | None:
        return self._ask_number("GETTEMP")

    def _ask_number(self, command: str) -> float:
        line = self._ask(command)
        value = icc.value_of(line)
        if value is None or not math.isfinite(value):
            raise self._port.wrong_answer(command, line)
        return value

    def _ask(self, command: str) -> str:
        line = self._port.query(icc.encode(command), take_line, command)
        if (reason := icc.error_of(line)) is not None:
            raise _refused(self._port, command, reason)
        return line


def _require_done(port: SerialPort, command: str, line: str) -> None:
    if (reason := icc.error_of(line)) is not None:
        raise _refused(port, command, reason)
    if line.upper() != icc.DONE:
        raise port.wrong_answer(command, line)


def _refused(port: SerialPort, command: str, reason: str) -> LensRefused:
    return LensRefused(f"lens port {port.path}: the {DEVICE} refused {command}: {reason}")
