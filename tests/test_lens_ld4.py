"""The Optotune Lens Driver 4: its frames, and its driver over a real pseudo-terminal."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lens_doubles import Ld4Double, crc_arc, wait_for, wait_for_error

from edfv_ros.errors import LensError
from edfv_ros.lens.drivers.optotune_ld4 import OptotuneLd4
from edfv_ros.lens.faults import LensRefused
from edfv_ros.lens.plan import SweepPlan
from edfv_ros.lens.protocols import ld4
from edfv_ros.rig import Calibration, Rig, load_rig

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")

FRAMES: list[tuple[str, tuple[int | bytes, ...], str]] = [
    ("firmware_type", (), "480036"),
    ("firmware_branch", (), "4681f2"),
    ("part_number", (), "4a81f7"),
    ("device_id", (), "495200000000000000003798"),
    ("version", (), "56803e"),
    ("set_upper_soft_limit", (4095,), "437755410ffffe90"),
    ("upper_soft_limit", (), "4372554100007720"),
    ("set_lower_soft_limit", (0,), "43774c410000bc7c"),
    ("lower_soft_limit", (), "43724c410000707c"),
    ("set_drift_gain", (100,), "4f770064a725"),
    ("drift_gain", (), "4f720000b6cf"),
    ("lens_serial", (), "5801fa"),
    ("set_current", (1402,), "4177057a2695"),
    ("current", (), "41720000b427"),
    ("status", (), "5372bcd5"),
    ("temperature", (), "544341b0d0"),
    ("analog_input", (), "4741414075"),
    ("set_generator_upper", (1402,), "50775541057a00001324"),
    ("generator_upper", (), "5072554100007583"),
    ("set_generator_lower", (701,), "50774c4102bd0000a1a4"),
    ("generator_lower", (), "50724c41000072df"),
    ("set_generator_frequency", (100000,), "50774641000186a0034a"),
    ("generator_frequency", (), "50724641000000006592"),
    ("set_temperature_limits", (720, 320), "5077544102d0014033c1"),
    ("temperature_limits", (), "507254410000000066e0"),
    ("set_max_current", (29200,), "43774d41721098ec"),
    ("max_current", (), "43724d4100007180"),
    ("set_focal_power", (1200,), "5077444104b0000031a7"),
    ("focal_power", (), "50724441000000006470"),
    ("write_memory", (10, 1), "5a770a0165a2"),
    ("read_memory", (10,), "5a720a84b4"),
    ("dump_memory", (), "4400004015"),
    ("sine_mode", (), "4d7753415bb6"),
    ("square_mode", (), "4d7751415ad6"),
    ("triangle_mode", (), "4d7754415986"),
    ("current_mode", (), "4d7744415446"),
    ("analog_mode", (), "4d7741415716"),
    ("focal_power_mode", (), "4d7743415676"),
    ("mode", (), "4d4d416577"),
    ("firmware_update", (), "52455345546fbe"),
    ("interpolation", (b"\x07Z\x14\x00",), "59075a1400326a"),
]
"""What the host sends: frames of Optotune's protocol spreadsheet (one misprinted CRC corrected)."""


def rig_at(port: str, *, sync: str = "telemetry", hz: float = 5.0, coefficient: float = 0.0) -> Rig:
    """A lens in front of another: focus at 0.3 to 4.2 dpt for -1.5 to 2.4 dpt of its own."""
    lens = RIG.lens.model_copy(
        update={
            "driver": "optotune_ld4",
            "port": port,
            "calibration": Calibration(control=(-1.5, 2.4), vergence_up_dpt=(0.3, 4.2)),
            "temperature_coefficient_dpt_per_c": coefficient,
        }
    )
    return RIG.model_copy(
        update={"lens": lens, "sweep": RIG.sweep.model_copy(update={"sync": sync, "frequency_hz": hz})}
    )


@pytest.mark.parametrize(("name", "values", "frame"), FRAMES)
def test_every_frame_of_the_vendor_is_understood(name: str, values: tuple[int | bytes, ...], frame: str) -> None:
    assert ld4.decode(bytes.fromhex(frame)) == (name, values)
    if name in ld4.NEVER_SENT:
        with pytest.raises(ValueError, match="never sent"):
            ld4.encode(name, *values)
        assert ld4.with_crc(bytes.fromhex(frame)[:-2]) == bytes.fromhex(frame)
    else:
        assert ld4.encode(name, *values) == bytes.fromhex(frame)


def test_the_frames_are_those_of_the_file() -> None:
    files = [folder / "shared" / "contracts" / "optotune_ld4_vectors.json" for folder in Path(__file__).parents]
    present = [file for file in files if file.is_file()]
    if not present:
        pytest.skip("the vendor's frames are not beside this checkout")
    frames = json.loads(present[0].read_text())["frames"]
    assert [frame["frame_hex"] for frame in frames] == [frame for _, _, frame in FRAMES]


def reply(payload: bytes) -> bytes:
    return payload + crc_arc(payload) + b"\r\n"


@pytest.mark.parametrize(
    ("sent", "name", "values"),
    [
        (b"Ready\r\n", "ready", ()),
        (reply(b"HA"), "firmware_type", (b"A",)),
        (reply(b"X" + b"AQAA\r\n12"), "lens_serial", (b"AQAA\r\n12",)),  # ends like a line in the middle
        (reply(b"TCA\x01\x90"), "temperature", (400,)),
        (reply(b"A\xff\x38"), "current", (-200,)),
        (reply(b"MCA\x00\x06\x40\x02\x58"), "focal_power_mode", (0, 1600, 600)),
        (reply(b"PT\x00\x06\x40\x02\x58"), "temperature_limits", (0, 1600, 600)),
        (reply(b"PTA\x00\x06\x40\x02\x58"), "temperature_limits", (0, 1600, 600)),
        (reply(b"E\x01"), "error", (1,)),
        (reply(b"E3"), "error", (3,)),
        (b"N\r\n", "error", (0,)),
    ],
)
@pytest.mark.parametrize("stray", [b"", b"\x00\xff", b"MCA\r\n", b"\r\n"])
def test_replies_are_taken_from_behind_stray_bytes(
    sent: bytes, name: str, values: tuple[int | bytes, ...], stray: bytes
) -> None:
    received = bytearray()
    if name == "error" and values == (0,):
        stray = stray and b"x\r\n"  # an N is a reply only on a line of its own
    for byte in stray + sent[:-1]:
        received.append(byte)
        assert ld4.take_reply(received) is None
    received += sent[-1:] + b"A"
    assert ld4.take_reply(received) == ld4.Reply(name, values)
    assert received == b"A"


@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([b"\r\n", b"N\r\n", b"Ready\r\n", reply(b"HA")]))))
@settings(max_examples=500, deadline=None)
def test_no_bytes_break_the_parser(chunks: list[bytes]) -> None:
    received = bytearray()
    for chunk in chunks:
        received += chunk
        while (taken := ld4.take_reply(received)) is not None:
            assert taken.name
        assert len(received) <= 64
    received.clear()
    received += b"\r\n" + reply(b"HB")
    found = [taken for taken in iter(lambda: ld4.take_reply(received), None)]
    assert found[-1] == ld4.Reply("firmware_type", (b"B",))


@given(st.binary(max_size=20))
def test_no_bytes_break_the_decoder_of_commands(frame: bytes) -> None:
    for candidate in (frame, ld4.with_crc(frame)):
        decoded = ld4.decode(candidate)
        assert decoded is None or decoded[0]


def test_focal_power_has_an_offset_in_firmware_of_type_a() -> None:
    assert ld4.focal_power_code(1.0, "A") == 1200  # the vendor's frame
    assert ld4.focal_power_code(1.0, "B") == 200
    assert ld4.focal_power_dpt(1200, "A") == 1.0 and ld4.focal_power_dpt(-400, "C") == -2.0


def test_a_lens_is_identified_and_moved_through_the_calibration() -> None:
    with Ld4Double() as double, OptotuneLd4(rig_at(double.port)) as lens:
        lens.open()
        assert lens.identify() == "Optotune Lens Driver 4, firmware type A 1.7.13.2561, lens AQAA1234"
        assert (lens.limits().min_dpt, lens.limits().max_dpt) == pytest.approx((0.3, 4.2))
        assert double.requests[0] == b"Start" and double.mode == 5
        lens.goto(2.3)
        assert double.focal_power_dpt == pytest.approx(0.5)
        state = lens.state()
        assert state.temperature_c == 25.0 and not state.sweeping
        assert state.last is not None and state.last.vergence_dpt == 2.3
        assert double.unknown == 0


def test_mode_five_is_not_asked_for_again() -> None:
    with Ld4Double() as double, OptotuneLd4(rig_at(double.port)) as lens:
        double.mode = 5
        lens.open()
        assert b"MwCA" not in double.requests


def test_a_controller_without_a_lens_says_so() -> None:
    with Ld4Double() as double, OptotuneLd4(rig_at(double.port)) as lens:
        double.range_codes = (1000, 1000)  # 0 to 0 dpt
        with pytest.raises(LensError, match=r"reports no range of focal power \(0 to 0 dpt\): is a lens plugged"):
            lens.open()
        double.range_codes = (1600, 600)
        lens.open()
        assert lens.identify()


def test_a_calibration_in_another_unit_is_an_error() -> None:
    with Ld4Double() as double:
        double.range_codes = (5000, 4000)
        with pytest.raises(LensError, match=r"control goes from -1\.5 to 2\.4, the lens from 15 to 20"):
            OptotuneLd4(rig_at(double.port)).open()


def test_the_temperature_is_compensated_by_the_rig_s_coefficient() -> None:
    with Ld4Double() as double, OptotuneLd4(rig_at(double.port, coefficient=0.067)) as lens:
        lens.open()
        double.temperature_code += 160  # ten degrees
        lens._temperature_due_s = 0.0
        lens.goto(2.3)
        assert double.focal_power_dpt == pytest.approx(0.5 - 0.67, abs=0.003)
        double.temperature_code = 4095
        lens._temperature_due_s = 0.0
        with pytest.raises(LensError, match="reports no temperature"):
            lens.goto(2.3)


def test_a_sweep_is_sent_point_by_point_and_reported_as_it_was_sent() -> None:
    with Ld4Double() as double, OptotuneLd4(rig_at(double.port)) as lens:
        lens.open()
        lens.goto(4.0)
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        assert lens.state().sweeping
        samples = []

        def two_periods() -> bool:
            samples.extend(lens.telemetry())
            return [sample.vergence_dpt for sample in samples].count(0.3) >= 3

        wait_for(two_periods)
        lens.stop()
        samples.extend(lens.telemetry())
        assert [sample.sequence - samples[0].sequence for sample in samples] == list(range(len(samples)))
        assert samples[0].vergence_dpt == 0.3  # what was before is dropped
        points = 0.3 + 3.9 * (1 - np.abs(2 * (np.arange(100) / 100) - 1))  # 500 a second
        vergence_dpt = np.array([sample.vergence_dpt for sample in samples])
        assert np.abs(vergence_dpt[:, np.newaxis] - points).min(axis=1).max() < 1e-9
        assert [sample.vergence_dpt for sample in samples if sample.vergence_dpt in (0.3, 4.2)][:4] == [0.3, 4.2] * 2
        sent = [request for request in double.requests if isinstance(request, bytes) and request[:4] == b"PwDA"]
        assert len(sent) >= len(samples)
        trip = lens.query_clock()
        assert trip.duration_us == 0 and abs(trip.device_us - samples[-1].device_us) < 10_000_000


def test_trigger_sync_uses_the_generator_between_the_currents_of_the_turns() -> None:
    with Ld4Double() as double, OptotuneLd4(rig_at(double.port, sync="trigger")) as lens:
        lens.open()
        lens.run(SweepPlan(0.3, 4.2, "sine", 12.5))
        assert double.mode == 2
        upper, lower = (int.from_bytes(double.generator[key][:2], "big", signed=True) for key in (b"U", b"L"))
        assert upper * 292.84 / 4095 == pytest.approx(96.0, abs=0.1)  # 2.4 dpt at 40 mA/dpt
        assert lower * 292.84 / 4095 == pytest.approx(-60.0, abs=0.1)
        assert int.from_bytes(double.generator[b"F"], "big") == 12_500
        lens.stop()
        assert double.mode == 5
        with pytest.raises(LensError, match=r"use sine or triangle, or sweep\.sync: telemetry"):
            lens.run(SweepPlan(0.3, 4.2, "sawtooth", 5.0))


def test_a_generator_that_would_miss_the_bins_is_refused() -> None:
    with Ld4Double() as double:
        rig = rig_at(double.port, sync="trigger")
        bent = Calibration(control=(-1.5, 0.5, 2.4), vergence_up_dpt=(0.3, 1.5, 4.2))
        rig = rig.model_copy(update={"lens": rig.lens.model_copy(update={"calibration": bent})})
        with OptotuneLd4(rig) as lens:
            lens.open()
            with pytest.raises(LensError, match=r"generator would miss this triangle by 0\.8"):
                lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
            lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0, shape="control"))
            assert double.mode == 3


@pytest.mark.parametrize("error", [b"E\x04", b"E4", b"N"])
def test_a_refusal_in_any_dialect_comes_with_its_reason(error: bytes) -> None:
    with Ld4Double() as double, OptotuneLd4(rig_at(double.port)) as lens:
        lens.open()
        double.refuse = {b"PwDA": b"N\r\n" if error == b"N" else reply(error)}
        with pytest.raises(LensRefused, match="no reason" if error == b"N" else "lens not compatible"):
            lens.goto(1.0)
        double.refuse = {}
        lens.goto(1.0)


def test_a_refused_set_point_ends_the_sweep_and_says_so() -> None:
    with Ld4Double() as double, OptotuneLd4(rig_at(double.port)) as lens:
        lens.open()
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        wait_for(lambda: len(lens.telemetry()) > 0)
        double.refuse = {b"PwDA": reply(b"E\x02")}
        wait_for_error(lens.telemetry, LensRefused, "refused a set point")
        double.refuse = {}
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        wait_for(lambda: len(lens.telemetry()) > 0)
