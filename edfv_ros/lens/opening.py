"""The table of lens drivers."""

from collections.abc import Callable

from edfv_ros.lens.driver import LensDriver
from edfv_ros.lens.drivers.edfv import EdfvLens
from edfv_ros.lens.drivers.optotune_icc import OptotuneIcc
from edfv_ros.lens.drivers.optotune_ld4 import OptotuneLd4
from edfv_ros.lens.drivers.scf4 import Scf4
from edfv_ros.lens.drivers.varioptic_usbm import VariopticUsbm
from edfv_ros.lens.drivers.virtual import VirtualLens
from edfv_ros.rig import Rig

DRIVERS: dict[str, Callable[[Rig], LensDriver]] = {
    "virtual": VirtualLens,
    "edfv": EdfvLens,
    "optotune_ld4": OptotuneLd4,
    "optotune_icc": OptotuneIcc,
    "scf4": Scf4,
    "varioptic_usbm": VariopticUsbm,
}
"""Drivers by the name the rig file gives them."""


def open_lens(rig: Rig) -> LensDriver:
    """Open the lens that the rig names; a context manager that closes it.

    Raises:
        LensError: the port is absent, nobody answers there, or something else does.
    """
    lens = DRIVERS[rig.lens.driver](rig)
    lens.open()
    return lens
