"""The table of lens drivers."""

from collections.abc import Callable

from edfv_ros.errors import LensError
from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.drivers.optotune_icc import OptotuneIcc
from edfv_ros.lens.drivers.optotune_ld4 import OptotuneLd4
from edfv_ros.lens.drivers.scf4 import Scf4
from edfv_ros.lens.drivers.varioptic_usbm import VariopticUsbm
from edfv_ros.lens.drivers.virtual import VirtualLens
from edfv_ros.rig import Rig

DRIVERS: dict[str, Callable[[Rig], LensDriver]] = {
    "virtual": VirtualLens,
    "optotune_ld4": OptotuneLd4,
    "optotune_icc": OptotuneIcc,
    "scf4": Scf4,
    "varioptic_usbm": VariopticUsbm,
}
"""Drivers by the name the rig file gives them."""


def open_lens(rig: Rig) -> LensDriver:
    """Open the lens that the rig names; a context manager that closes it.

    Raises:
        LensError: there is no driver for it yet, the port is absent, or something else answers there.
    """
    driver = DRIVERS.get(rig.lens.driver)
    if driver is None:
        raise LensError(f"lens.driver = {rig.lens.driver}: no such driver yet; supported now: {', '.join(DRIVERS)}")
    lens = driver(rig)
    lens.open()
    return lens
