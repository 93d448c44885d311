"""Driver of the Corning Varioptic USB-M Flexiboard (liquid lenses). The control value is the effective voltage in V."""

from functools import partial

from edfv_ros.lens.calibrated import CalibratedLens
from edfv_ros.lens.driver import LensCapabilities
from edfv_ros.lens.faults import LensRefused
from edfv_ros.lens.protocols import usbm
from edfv_ros.lens.serial_port import REPLY_TIMEOUT_S, SerialPort
from edfv_ros.rig import Rig

BAUD = 57600
DEVICE = "Varioptic USB-M board"
SET_POINTS_HZ = 200.0  # 7 bytes there and 4 back take 2 ms at this speed


def identify_at(port: SerialPort) -> str:
    """Read a register at an open port: the board has no name to ask for.

    Raises:
        LensError: something else answers, or nobody.
    """
    request = usbm.encode_read(usbm.PROBED_REGISTER, 1)
    port.query(request, partial(usbm.take_registers, count=1), f"a read of register {usbm.PROBED_REGISTER}")
    return DEVICE


class VariopticUsbm(CalibratedLens):
    """See :class:`edfv_ros.lens.driver.LensDriver`."""

    def __init__(self, rig: Rig, *, reply_timeout_s: float = REPLY_TIMEOUT_S) -> None:
        port = SerialPort(rig.lens.port, BAUD, DEVICE, timeout_s=reply_timeout_s)
        super().__init__(rig, port)

    def capabilities(self) -> LensCapabilities:
        return LensCapabilities("host", "sent", set_points_hz=SET_POINTS_HZ)

    def _connect(self) -> tuple[str, float, float]:
        return identify_at(self._port), usbm.LOWEST_V, usbm.HIGHEST_V

    def _send_control(self, control: float) -> None:
        answer = self._port.query(usbm.encode_focus(control), usbm.take_acknowledgement, "a set point")
        if not answer.done:
            raise LensRefused(f"lens port {self._port.path}: the {DEVICE} refused {control:.3f} V")
