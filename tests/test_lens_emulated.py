"""The lens drivers on the emulated controllers, over real pseudo-terminals: neither was written from the other."""

import re
import time
from pathlib import Path

import pytest
from lens_doubles import impatient, look_patiently, wait_for

from edfv_ros.errors import LensError
from edfv_ros.lens.faults import LensGone
from edfv_ros.lens.opening import DRIVERS, open_lens
from edfv_ros.lens.plan import SweepPlan
from edfv_ros.rig import Calibration, Rig, load_rig
from edfv_ros.simulation.controllers import EmulatedController

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
CONTROL = {
    "optotune_ld4": (-1.9, 2.9),
    "optotune_icc": (-1.9, 2.9),
    "scf4": (32100.0, 32200.0),
    "varioptic_usbm": (25.0, 65.0),
}


def emulated_rig(kind: str, port: str, sync: str = "telemetry") -> Rig:
    calibration = Calibration(control=CONTROL[kind], vergence_up_dpt=(0.3, 4.2))
    lens = RIG.lens.model_copy(update={"driver": kind, "port": port, "calibration": calibration})
    return RIG.model_copy(update={"lens": lens, "sweep": RIG.sweep.model_copy(update={"sync": sync})})


def settings_of(kind: str) -> list[str]:
    if kind == "scf4":
        return ["backlash_steps=0", "steps_per_s=100"]  # play is for the calibration's branches; time is short
    return [] if kind == "optotune_icc" else ["byte_timeout_ms=5000.0"]  # a busy machine may cut a frame in two


@pytest.mark.parametrize("kind", CONTROL)
def test_a_driver_works_on_the_emulated_controller(kind: str) -> None:
    with (
        EmulatedController.of(kind, settings_of(kind)) as emulated,
        open_lens(emulated_rig(kind, emulated.port)) as lens,
    ):
        lens.goto(2.25)
        middle, tolerance = sum(CONTROL[kind]) / 2, 5.0 if kind == "scf4" else 0.02
        wait_for(lambda: abs(control_of(emulated) - middle) <= tolerance)  # once it has settled
        lens.run(SweepPlan(0.5, 4.0, "triangle", 2.0))
        vergence: list[float] = []

        def has_turned() -> bool:
            vergence.extend(sample.vergence_dpt for sample in lens.telemetry())
            return min(vergence, default=9.0) < 0.55 and max(vergence) > 3.95

        wait_for(has_turned)
        lens.stop()
        vergence.extend(sample.vergence_dpt for sample in lens.telemetry())
        assert min(vergence) >= 0.45 and max(vergence) <= 4.05


def control_of(emulated: EmulatedController) -> float:
    with emulated.lock:
        return emulated.controller.control


FAULTS_OF = {  # of lines without a check sum none is wrong; the SCF4 homes whenever it is opened, which takes its time
    "optotune_ld4": ("silent", "half_frames", "wrong_check", "error=1", "slow_ms=400"),
    "optotune_icc": ("silent", "half_frames", "error=1", "slow_ms=400"),
    "scf4": ("silent", "half_frames"),
    "varioptic_usbm": ("silent", "half_frames", "wrong_check", "error=1", "slow_ms=400"),
}


@pytest.mark.parametrize(("kind", "fault"), [(kind, fault) for kind, faults in FAULTS_OF.items() for fault in faults])
def test_each_fault_of_an_emulated_controller_is_clear_and_reopening_recovers(kind: str, fault: str) -> None:
    with (
        EmulatedController.of(kind, settings_of(kind)) as emulated,
        DRIVERS[kind](emulated_rig(kind, emulated.port)) as lens,
    ):
        lens.open()
        with emulated.lock:
            emulated.faults.set([fault])
        with impatient(lens), pytest.raises(LensError, match=re.escape(emulated.port)):
            lens.goto(1.0)
        with emulated.lock:
            emulated.faults.heal()
        time.sleep(0.5)  # an answer that is late still comes: opening anew would take it for one of its own
        lens.open()
        lens.goto(1.0)


@pytest.mark.parametrize("kind", CONTROL)
def test_an_emulated_controller_may_be_unplugged_and_plugged_in_again(kind: str, tmp_path: Path) -> None:
    with (
        EmulatedController.of(kind, settings_of(kind), link=tmp_path / "lens") as emulated,
        open_lens(emulated_rig(kind, str(tmp_path / "lens"))) as lens,
    ):
        emulated.unplug()
        with pytest.raises(LensGone, match="went away"):
            lens.goto(1.0)
        with pytest.raises(LensGone):
            lens.open()
        emulated.replug()
        lens.open()
        lens.goto(1.0)


def test_the_emulated_ld4_generates_between_the_turns_of_a_rig_with_triggers() -> None:
    with EmulatedController.of("optotune_ld4", settings_of("optotune_ld4")) as emulated:
        rig = emulated_rig("optotune_ld4", emulated.port, sync="trigger")
        with open_lens(rig) as lens:
            lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
            for turn in (-1.9, 2.9):
                wait_for(lambda turn=turn: abs(control_of(emulated) - turn) < 0.3)
            lens.stop()


@pytest.mark.parametrize("kind", CONTROL)
def test_an_emulated_controller_is_detected(kind: str) -> None:
    with EmulatedController.of(kind) as emulated:
        assert look_patiently(emulated.port).driver == kind
