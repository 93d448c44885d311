"""The lens drivers on the emulated controllers, over real pseudo-terminals: neither was written from the other."""

import re
import time
from pathlib import Path

import pytest

from edfv_ros.errors import LensError
from edfv_ros.lens.detection import look_at
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
    if kind != "scf4":
        return []
    return ["backlash_steps=0", "steps_per_s=100"]  # play is for the calibration's branches; time is short


@pytest.mark.parametrize("kind", CONTROL)
def test_a_driver_works_on_the_emulated_controller(kind: str) -> None:
    with (
        EmulatedController.of(kind, settings_of(kind)) as emulated,
        open_lens(emulated_rig(kind, emulated.port)) as lens,
    ):
        lens.goto(2.25)
        time.sleep(0.2)  # to settle
        middle = sum(CONTROL[kind]) / 2
        assert emulated.controller.control == pytest.approx(middle, abs=5.0 if kind == "scf4" else 0.02)
        lens.run(SweepPlan(0.5, 4.0, "triangle", 2.0))
        time.sleep(0.8)
        lens.stop()
        vergence = [sample.vergence_dpt for sample in lens.telemetry()]
        assert min(vergence) == pytest.approx(0.5, abs=0.05) and max(vergence) == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize("fault", ["silent", "half_frames", "wrong_check", "error=1", "slow_ms=400"])
@pytest.mark.parametrize("kind", CONTROL)
def test_each_fault_of_an_emulated_controller_is_clear_and_reopening_recovers(kind: str, fault: str) -> None:
    if fault == "wrong_check" and kind in ("optotune_icc", "scf4"):
        pytest.skip("its lines have no check sum")
    if kind == "scf4" and fault in ("error=1", "slow_ms=400"):
        pytest.skip("it homes whenever it is opened, which takes its time; its other faults are tried")
    with EmulatedController.of(kind, settings_of(kind)) as emulated:
        lens = DRIVERS[kind](emulated_rig(kind, emulated.port), reply_timeout_s=0.2)  # type: ignore[call-arg]
        with lens:
            lens.open()
            with emulated.lock:
                emulated.faults.set([fault])
            with pytest.raises(LensError, match=re.escape(emulated.port)):
                lens.goto(1.0)
            with emulated.lock:
                emulated.faults.heal()
            lens.open()
            lens.goto(1.0)


@pytest.mark.parametrize("kind", CONTROL)
def test_an_emulated_controller_may_be_unplugged_and_plugged_in_again(kind: str, tmp_path: Path) -> None:
    with (
        EmulatedController.of(kind, settings_of(kind), link=tmp_path / "lens") as emulated,
        open_lens(emulated_rig(kind, str(tmp_path / "lens"))) as lens,
    ):
        emulated.unplug()
        time.sleep(0.05)
        with pytest.raises(LensGone, match="went away"):
            lens.goto(1.0)
        with pytest.raises(LensGone):
            lens.open()
        emulated.replug()
        lens.open()
        lens.goto(1.0)


def test_the_emulated_ld4_generates_between_the_turns_of_a_rig_with_triggers() -> None:
    with EmulatedController.of("optotune_ld4") as emulated:
        rig = emulated_rig("optotune_ld4", emulated.port, sync="trigger")
        with open_lens(rig) as lens:
            lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
            seen = []
            for _ in range(80):
                time.sleep(0.005)
                with emulated.lock:
                    seen.append(emulated.controller.control)
            assert min(seen) == pytest.approx(-1.9, abs=0.3) and max(seen) == pytest.approx(2.9, abs=0.3)
            lens.stop()


@pytest.mark.parametrize("kind", CONTROL)
def test_an_emulated_controller_is_detected(kind: str) -> None:
    with EmulatedController.of(kind) as emulated:
        assert look_at(emulated.port, timeout_s=0.15).driver == kind
