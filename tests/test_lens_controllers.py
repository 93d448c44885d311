"""ICC-1C, SCF4 and USB-M: their bytes, and their drivers over a real pseudo-terminal."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lens_doubles import IccDouble, PtyDevice, Scf4Double, UsbmDouble, wait_for

from edfv_ros.errors import LensError
from edfv_ros.lens.calibrated import CalibratedLens
from edfv_ros.lens.driver import LensSample
from edfv_ros.lens.drivers.optotune_icc import OptotuneIcc
from edfv_ros.lens.drivers.scf4 import Scf4, _arrival_us
from edfv_ros.lens.drivers.varioptic_usbm import VariopticUsbm
from edfv_ros.lens.faults import LensRefused
from edfv_ros.lens.plan import SweepPlan
from edfv_ros.lens.protocols import icc, scf4, usbm
from edfv_ros.lens.protocols.lines import take_line
from edfv_ros.lens.sweeping import start_sweeping
from edfv_ros.rig import Calibration, Rig, load_rig

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
CONTROL = {"optotune_icc": (-1.5, 2.4), "scf4": (32100.0, 32200.0), "varioptic_usbm": (30.0, 60.0)}
LENSES: dict[str, tuple[Callable[[], PtyDevice], Callable[..., CalibratedLens]]] = {
    "optotune_icc": (IccDouble, OptotuneIcc),
    "scf4": (Scf4Double, Scf4),
    "varioptic_usbm": (UsbmDouble, VariopticUsbm),
}
every_lens = pytest.mark.parametrize("name", LENSES)


def rig_at(name: str, port: str, *, coefficient: float = 0.0, down_offset: float = 0.0) -> Rig:
    """Focus at 0.3 to 4.2 dpt over the control range; on the way down farther by an offset."""
    up = (0.0, 4.5)
    calibration = Calibration(
        control=CONTROL[name], vergence_up_dpt=up, vergence_down_dpt=tuple(value - down_offset for value in up)
    )
    update = {
        "driver": name,
        "port": port,
        "calibration": calibration,
        "temperature_coefficient_dpt_per_c": coefficient,
    }
    return RIG.model_copy(
        update={
            "lens": RIG.lens.model_copy(update=update),
            "sweep": RIG.sweep.model_copy(update={"sync": "telemetry"}),
        }
    )


def control_of(name: str, vergence_dpt: float) -> float:
    low, high = CONTROL[name]
    return low + (high - low) * vergence_dpt / 4.5


# bytes


@pytest.mark.parametrize(
    ("made", "documented"),
    [
        (usbm.encode_write(0x03, b"\xff"), "02 37 03 01 FF 3C"),
        (usbm.encode_read(0x03, 1), "02 38 03 01 3E"),
        (usbm.encode_read(0x05, 1), "02 38 05 01 40"),
        (usbm.encode_focus(24 + 46.0), "02 37 00 02 B0 B3 9E"),
    ],
)
def test_usbm_frames_are_those_of_its_manual(made: bytes, documented: str) -> None:
    assert made == bytes.fromhex(documented)


def test_usbm_answers_are_found_behind_stray_bytes() -> None:
    received = bytearray(b"\x02\x37\x06\x00" + b"\x02\x37\x06\x3f" + b"\x02\x38\x77")
    assert usbm.take_acknowledgement(received) == usbm.Acknowledged(True)
    assert usbm.take_registers(received, 1) is None
    received += b"\xb1"
    assert usbm.take_registers(received, 1) == b"\x77" and not received
    assert usbm.take_acknowledgement(bytearray(b"\x02\x37\x15\x4e")) == usbm.Acknowledged(False)


def test_icc_lines() -> None:
    assert icc.encode("GETFP") == b"GETFP\r\n" and icc.encode("SETFP", -1.25) == b"SETFP=-1.2500\r\n"
    assert icc.value_of("-1.25") == -1.25 and icc.value_of("OK") is None
    assert icc.error_of("ou") == "above its upper limit" and icc.error_of("OK") is None


def test_scf4_lines() -> None:
    assert scf4.encode(scf4.move(32123)) == b"G0 A32123\n"
    assert scf4.encode(scf4.set_counter(32000)) == b"G92 A32000\n"
    status = scf4.parse_status("32007, 31000, 5, 1, 0, 0, 0, 1, 0")
    assert status == scf4.MotorStatus(32007, interrupted=True, moving=False)
    assert scf4.parse_status("1, 2, 3") is None and scf4.parse_status("OK") is None


@given(st.lists(st.binary(max_size=300)))
@settings(deadline=None)
def test_no_bytes_break_the_parsers(chunks: list[bytes]) -> None:
    for take in (take_line, usbm.take_acknowledgement, lambda received: usbm.take_registers(received, 1)):
        received = bytearray()
        for chunk in chunks:
            received += chunk
            while (taken := take(received)) is not None:
                if isinstance(taken, str):
                    icc.value_of(taken), icc.error_of(taken), scf4.parse_status(taken)
            assert len(received) <= 256


# drivers


@every_lens
def test_a_lens_is_identified_and_moved_through_the_calibration(name: str) -> None:
    make, driver = LENSES[name]
    with make() as double, driver(rig_at(name, double.port)) as lens:
        lens.open()
        assert lens.identify()
        assert lens.limits().min_dpt == 0.0 and lens.limits().max_dpt == 4.5
        lens.goto(2.7)
        assert double.control == pytest.approx(control_of(name, 2.7), abs=0.5 if name == "scf4" else 1e-3)
        last = lens.state().last
        assert last is not None and last.vergence_dpt == 2.7
        assert lens.query_clock().duration_us == 0


@every_lens
def test_a_way_down_uses_the_branch_for_it(name: str) -> None:
    make, driver = LENSES[name]
    with make() as double, driver(rig_at(name, double.port, down_offset=0.45)) as lens:
        lens.open()
        lens.goto(3.6)
        assert double.control == pytest.approx(control_of(name, 3.6), abs=0.5 if name == "scf4" else 1e-3)
        lens.goto(2.7)
        assert double.control == pytest.approx(control_of(name, 3.15), abs=0.5 if name == "scf4" else 1e-3)


@every_lens
def test_a_sweep_reports_where_the_focus_was_sent(name: str) -> None:
    make, driver = LENSES[name]
    hz = 2.0 if name == "scf4" else 5.0
    with make() as double, driver(rig_at(name, double.port)) as lens:
        lens.open()
        lens.goto(4.0)
        double.haste = 1.0  # type: ignore[attr-defined]  # of the one that has a motor
        lens.run(SweepPlan(0.3, 4.2, "triangle", hz))
        samples: list[LensSample] = []

        def has_turned_twice() -> bool:
            samples.extend(lens.telemetry())
            seen = [sample.vergence_dpt for sample in samples]
            return max(seen, default=0.0) > 4.17 and min(seen[seen.index(max(seen)) :]) < 0.33

        wait_for(has_turned_twice)
        assert lens.state().sweeping
        lens.stop()
        samples.extend(lens.telemetry())
        assert [sample.sequence - samples[0].sequence for sample in samples] == list(range(len(samples)))
        vergence = np.array([sample.vergence_dpt for sample in samples])
        assert vergence[0] == pytest.approx(0.3, abs=0.03)  # of the goto before nothing is left
        assert vergence.max() == pytest.approx(4.2, abs=0.03) and vergence.min() == pytest.approx(0.3, abs=0.03)
        times = np.array([sample.device_us for sample in samples])
        assert np.all(np.diff(times) > 0) and not lens.state().sweeping
        standing = double.control
        time.sleep(0.1)
        assert double.control == standing


@every_lens
def test_a_refusal_comes_with_what_was_refused(name: str) -> None:
    make, driver = LENSES[name]
    with make() as double, driver(rig_at(name, double.port)) as lens:
        lens.open()
        double.refusal, double.acknowledge = {"optotune_icc": "OU"}.get(name, "no"), 0x15  # type: ignore[attr-defined]
        with pytest.raises(LensRefused, match=r"refused"):
            lens.goto(1.0)
        double.refusal, double.acknowledge = "", 0x06  # type: ignore[attr-defined]
        lens.goto(1.0)


@every_lens
def test_who_marks_no_turns_is_not_used_with_triggers(name: str) -> None:
    make, driver = LENSES[name]
    with make() as double, driver(rig_at(name, double.port)) as lens:
        lens.open()
        rig = rig_at(name, double.port)
        triggered = rig.model_copy(update={"sweep": rig.sweep.model_copy(update={"sync": "trigger"})})
        with pytest.raises(LensError, match=r"use sweep\.sync: telemetry"):
            start_sweeping(lens, triggered)


def test_icc_keeps_a_margin_to_limits_that_it_would_refuse() -> None:
    with IccDouble() as double:
        rig = rig_at("optotune_icc", double.port)
        wide = Calibration(control=(-3.0, 4.0), vergence_up_dpt=(0.0, 7.0))
        rig = rig.model_copy(update={"lens": rig.lens.model_copy(update={"calibration": wide})})
        with OptotuneIcc(rig) as lens:
            lens.open()
            limits = lens.limits()
            assert (limits.min_dpt, limits.max_dpt) == pytest.approx((1.01, 5.99))
            lens.goto(limits.min_dpt)
            lens.goto(limits.max_dpt)


def test_icc_without_a_lens_says_so() -> None:
    with IccDouble() as double:
        double.range = ("0", "0")
        with pytest.raises(LensError, match=r"reports no range of focal power \(0 to 0 dpt\)"):
            OptotuneIcc(rig_at("optotune_icc", double.port)).open()


def test_icc_temperature_is_compensated() -> None:
    with IccDouble() as double, OptotuneIcc(rig_at("optotune_icc", double.port, coefficient=0.05)) as lens:
        lens.open()
        double.temperature = "35.0"
        lens._temperature_due_s = 0.0
        lens.goto(2.7)
        assert double.control == pytest.approx(control_of("optotune_icc", 2.2), abs=1e-3)


@pytest.mark.parametrize("start", [700.0, -900.0])
@pytest.mark.parametrize("above", [False, True])
def test_scf4_homes_at_the_edge_of_its_photo_interrupter(start: float, above: bool) -> None:
    with Scf4Double() as double:
        double.covered_above = above
        double.hidden = double._target = start
        with Scf4(rig_at("scf4", double.port)) as lens:
            lens.open()
            assert double.counter == 32000 and abs(double.hidden - double.edge) <= 5
            double.counter_offset += 60  # as a glitch would
            lens.home()
            assert lens.lost_steps == pytest.approx(60, abs=5)
            assert double.counter == 32000 and abs(double.hidden - double.edge) <= 5


def test_scf4_without_an_edge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edfv_ros.lens.drivers.scf4.START_S", 0.01)  # it does not start, and tries often
    with Scf4Double() as double:
        double.stuck = True
        with pytest.raises(LensError, match="found no edge of the photo-interrupter"):
            Scf4(rig_at("scf4", double.port)).open()


def test_scf4_that_does_not_arrive_says_so() -> None:
    with Scf4Double() as double, Scf4(rig_at("scf4", double.port)) as lens:
        lens.open()
        double.stuck = True
        with pytest.raises(LensError, match="the motor stopped at 32000 steps, not at 32122"):
            lens.goto(1.0)


def test_scf4_works_out_when_a_move_ended() -> None:
    seen = [(1_000_000, 100), (1_020_000, 104), (1_040_000, 116), (1_060_000, 128)]  # it starts in the first 20 ms
    assert _arrival_us(seen, 1_080_000, 134) == 1_070_000
    assert _arrival_us(seen, 1_065_000, 134) == 1_065_000  # it was found there by then
    assert _arrival_us(seen[:1], 1_080_000, 134) == 1_080_000


def test_scf4_knows_no_other_waveform() -> None:
    with Scf4Double() as double, Scf4(rig_at("scf4", double.port)) as lens:
        lens.open()
        with pytest.raises(LensError, match="use triangle"):
            lens.run(SweepPlan(0.3, 4.2, "sine", 1.0))
        with pytest.raises(LensError, match=r"600 steps/s\); 3\.4\d Hz works"):  # 86.67 steps there, 86.67 back
            lens.run(SweepPlan(0.3, 4.2, "triangle", 4.0))
