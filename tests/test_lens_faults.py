"""What every driver does where its lens is out of order, over a real pseudo-terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lens_doubles import (
    FAULTS,
    EdfvDouble,
    Held,
    IccDouble,
    Ld4Double,
    PtyDevice,
    Scf4Double,
    UsbmDouble,
    VirtualDouble,
    impatient,
    sound,
    wait_for,
    wait_for_error,
)

from edfv_ros.errors import LensError
from edfv_ros.lens.drivers import edfv
from edfv_ros.lens.faults import LensGone, LensRefused, LensSilent, WrongAnswer
from edfv_ros.lens.opening import DRIVERS
from edfv_ros.lens.plan import SweepPlan
from edfv_ros.rig import Calibration, load_rig

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")


class Bench(NamedTuple):
    """A double of a controller, and its control values at 0.3 and 4.2 dpt."""

    make: Callable[[], PtyDevice]
    control: tuple[float, float]
    tolerance: float = 1e-3


BENCHES = {
    "optotune_ld4": Bench(Ld4Double, (-1.5, 2.4), 3e-3),
    "optotune_icc": Bench(IccDouble, (-1.5, 2.4)),
    "scf4": Bench(Scf4Double, (32100.0, 32200.0), 0.5),
    "varioptic_usbm": Bench(UsbmDouble, (30.0, 60.0)),
    "edfv": Bench(EdfvDouble, (1000.0, 40000.0), 0.5),
    "virtual": Bench(VirtualDouble, (0.3, 4.2)),
}
every_lens = pytest.mark.parametrize("name", BENCHES)


def lens_at(name: str, port: str) -> Any:
    calibration = Calibration(control=BENCHES[name].control, vergence_up_dpt=(0.3, 4.2))
    lens = RIG.lens.model_copy(update={"driver": name, "port": port, "calibration": calibration})
    sweep = RIG.sweep.model_copy(update={"sync": "telemetry"})
    return DRIVERS[name](RIG.model_copy(update={"lens": lens, "sweep": sweep}))


def is_at(name: str, double: Any, vergence_dpt: float) -> bool:
    (far, near), tolerance = BENCHES[name].control, BENCHES[name].tolerance
    wanted = far + (near - far) * (vergence_dpt - 0.3) / 3.9
    return abs(double.control - wanted) <= tolerance


@every_lens
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_clear_and_reopening_recovers(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: tuple[type[LensError], ...] = (LensSilent if fault == "silence" else WrongAnswer,)
    if name == "edfv":  # it passes over what is damaged, and asks again
        kinds = (LensSilent, WrongAnswer)
    with BENCHES[name].make() as double:
        lens = lens_at(name, double.port)

        def suffers(use: Callable[[], object], *more: type[LensError]) -> None:
            with impatient(lens), monkeypatch.context() as patch:
                patch.setattr(edfv, "_REPLY_S", 0.1)  # of each of its tries
                patch.setattr(lens, "_boot_s", 0.3, raising=False)
                double.fault = FAULTS[fault]
                with pytest.raises((*kinds, *more)):
                    use()
                double.fault = sound

        monkeypatch.setattr(edfv, "_REPLY_S", 10.0)
        for _ in range(2):
            suffers(lens.open)
            lens.open()
        suffers(lambda: lens.goto(1.0), LensRefused)  # a damaged OK of the SCF4 may be its way to refuse
        lens.open()
        lens.goto(1.0)
        wait_for(lambda: is_at(name, double, 1.0))
        lens.close()


@pytest.mark.parametrize("name", [name for name in BENCHES if name != "edfv"])  # whose answers are numbered
def test_a_late_answer_is_not_taken_for_the_next_one(name: str) -> None:
    with BENCHES[name].make() as double, lens_at(name, double.port) as lens:
        lens.open()
        double.fault = held = Held()
        with impatient(lens), pytest.raises(LensSilent):
            lens.goto(1.0)
        wait_for(lambda: bool(held.answers))
        double.fault = sound
        double.send(b"".join(held.answers))
        lens.goto(2.7)
        assert is_at(name, double, 2.7)
        assert lens.identify()


@every_lens
def test_unplugging_says_so_and_another_port_can_be_opened(name: str) -> None:
    with BENCHES[name].make() as double:
        lens = lens_at(name, double.port)
        lens.open()
        lens.run(SweepPlan(0.3, 4.2, "triangle", 1.0))
        double.unplug()
        for use in (lens.telemetry, lens.query_clock, lens.stop, lens.identify):
            wait_for_error(use, LensGone, "went away")
        lens.close()
        with pytest.raises(LensGone, match="not open"):
            lens.goto(1.0)
    with BENCHES[name].make() as again, lens_at(name, again.port) as lens:
        lens.open()
        assert lens.identify()


@every_lens
def test_limits_are_checked_before_anything_is_sent(name: str) -> None:
    def told(double: PtyDevice) -> int:
        """Requests but for those that keep our firmware's watchdog quiet."""
        return sum(not (isinstance(request, tuple) and request[0] == 0x0C) for request in double.requests)

    with BENCHES[name].make() as double, lens_at(name, double.port) as lens:
        lens.open()
        before = told(double)
        for move in (
            lambda: lens.goto(4.3),
            lambda: lens.goto(0.1),
            lambda: lens.goto(float("nan")),
            lambda: lens.run(SweepPlan(0.3, 4.3, "triangle", 1.0)),
            lambda: lens.run(SweepPlan(0.1, 4.2, "triangle", 1.0)),
            lambda: lens.run(SweepPlan(0.3, 4.2, "triangle", 1e4)),
        ):
            with pytest.raises(LensError):
                move()
        assert told(double) == before


@every_lens
def test_an_open_port_is_taken(name: str) -> None:
    with BENCHES[name].make() as double, lens_at(name, double.port) as lens:
        lens.open()
        with pytest.raises(LensGone, match="another program uses it"):
            lens_at(name, double.port).open()
