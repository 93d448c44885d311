"""The controllers there are, by name."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import yaml
from pydantic import ValidationError

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.controllers.controller import Controller
from edfv_ros.simulation.controllers.faults import Faults
from edfv_ros.simulation.controllers.focus import FocusCurve
from edfv_ros.simulation.controllers.optotune_icc import OptotuneIcc
from edfv_ros.simulation.controllers.optotune_ld4 import OptotuneLd4
from edfv_ros.simulation.controllers.scf4 import Scf4
from edfv_ros.simulation.controllers.varioptic_usbm import VariopticUsbm
from edfv_ros.yaml_model import Part, first_problem

_CLASSES: Mapping[str, type[Controller]] = MappingProxyType(
    {"optotune_ld4": OptotuneLd4, "optotune_icc": OptotuneIcc, "scf4": Scf4, "varioptic_usbm": VariopticUsbm}
)

CONTROLLERS: Mapping[str, str] = MappingProxyType(
    {
        "optotune_ld4": "Optotune Lens Driver 4 and 4i: binary frames with a CRC, signal generator, trigger output",
        "optotune_icc": "Optotune ECC-1C and ICC-1C in simple mode: ASCII lines",
        "scf4": "Kurokesu SCF4, motorised zoom lenses: G-code",
        "varioptic_usbm": "Corning Varioptic USB-M Flexiboard: registers, frames with a sum",
    }
)
"""Emulated controllers and what they are."""


def make_controller(
    kind: str,
    settings: Sequence[str] = (),
    *,
    rig: Rig | None = None,
    faults: Faults | None = None,
    now_us: float = 0.0,
) -> Controller:
    """A controller of a kind.

    Args:
        kind: one of CONTROLLERS.
        settings: its dialect and lens, each as ``name=value``.
        rig: whose focus its lens has; a lens of its own without one. The rig's calibration is taken as it is where the
            rig names this controller as its driver, and is stretched over the controller's own range elsewhere.
        faults: what is wrong with it.
        now_us: when it gets its power.

    Raises:
        SimulationError: there is no such kind or setting.
    """
    if kind not in _CLASSES:
        raise SimulationError(f"lens controller {kind!r} is not known; choose among {', '.join(_CLASSES)}")
    controller = _CLASSES[kind]
    chosen = _settings(kind, controller.Settings, settings)
    curve = _curve(controller, chosen, kind, rig) if rig else None
    return controller(chosen, curve, faults, now_us)


def _curve(controller: type[Controller], settings: Part, kind: str, rig: Rig) -> FocusCurve:
    curve = FocusCurve.of(rig.lens.calibration)
    if rig.lens.driver != kind:
        own = controller.own_curve(settings)
        return curve.onto(own.control[0], own.control[-1])
    return curve


def _settings(kind: str, model: type[Part], words: Sequence[str]) -> Part:
    values = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise SimulationError(f"{kind} setting {word!r}: give it as name=value")
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SimulationError(f"{kind} setting {word!r}: {text!r} is no value") from None
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        if annotation is str:
            values[name] = text
    try:
        return model.model_validate(values)
    except ValidationError as problem:
        raise SimulationError(f"{kind} setting: {first_problem(problem, model)}") from None
