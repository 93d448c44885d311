"""The open firmware's protocol, and its driver over a real pseudo-terminal."""

import struct
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lens_doubles import EdfvDouble, edfv_frame, wait_for, wait_for_error

from edfv_ros.errors import LensError, RigError
from edfv_ros.events.types import EVENT_DTYPE, Packet
from edfv_ros.lens.drivers import edfv as driver
from edfv_ros.lens.drivers.edfv import EdfvLens
from edfv_ros.lens.faults import LensRefused
from edfv_ros.lens.plan import SweepPlan
from edfv_ros.lens.protocols import edfv
from edfv_ros.lens.protocols.edfv import Configuration, Frame, Request
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.telemetry import TelemetrySweeps
from edfv_ros.rig import Calibration, Rig, load_rig

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")


def rig_at(port: str, *, hz: float = 5.0) -> Rig:
    """Codes 1000 to 61000 for 0 to 6 dpt."""
    calibration = Calibration(control=(1000.0, 61000.0), vergence_up_dpt=(0.0, 6.0))
    lens = RIG.lens.model_copy(update={"driver": "edfv", "port": port, "calibration": calibration})
    return RIG.model_copy(
        update={"lens": lens, "sweep": RIG.sweep.model_copy(update={"sync": "telemetry", "frequency_hz": hz})}
    )


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A double on a busy machine may answer late; the driver would ask again."""
    monkeypatch.setattr(driver, "_REPLY_S", 10.0)


EXAMPLES: list[tuple[Frame, str]] = [
    (Frame(Request.IDENTIFY, 1), "ED F1 00 01 01 8C EF"),
    (
        Frame(Request.CONFIGURE, 2, edfv.encode_configuration(Configuration(1, 0, 0, 65535, 32768, 1000, 0, 0, 0, 0))),
        "ED F1 16 02 02 01 00 00 00 FF FF 00 80 E8 03 00 00 00 00 00 00 00 00 00 00 00 00 2D 0D",
    ),
    (Frame(Request.GOTO, 3, (40000).to_bytes(2, "little")), "ED F1 02 05 03 40 9C 63 FF"),
    (Frame(0x85, 3), "ED F1 00 85 03 92 18"),
    (Frame(0xFF, 3, b"\x05\x04"), "ED F1 02 FF 03 05 04 0D F8"),
    (Frame(Request.START, 7, struct.pack("<IH", 100_000, 50)), "ED F1 06 09 07 A0 86 01 00 32 00 89 19"),
    (Frame(Request.TELEMETRY, 8, b"\x0a\x00"), "ED F1 02 0E 08 0A 00 BF B1"),
]
"""Frames of firmware/PROTOCOL.md."""


@pytest.mark.parametrize(("frame", "documented"), EXAMPLES)
def test_frames_are_those_of_the_protocol_s_examples(frame: Frame, documented: str) -> None:
    assert edfv.encode(frame) == bytes.fromhex(documented)
    received = bytearray(b"\xed\xed\xf1\xed" + bytes.fromhex(documented))
    assert edfv.take_frame(received) in (frame, None)
    received += edfv.encode(frame)
    while (taken := edfv.take_frame(received, stalled=True)) is not None:
        assert taken == frame


def test_a_table_is_uploaded_as_in_the_protocol_s_examples() -> None:
    sent = [
        edfv.encode(Frame(request, 4 + index, payload))
        for index, (request, payload) in enumerate(edfv.table_payloads([1000, 2000, 3000, 2000], 2))
    ]
    assert sent == [
        bytes.fromhex("ED F1 06 06 04 04 00 02 00 1C A5 6F 4B"),
        bytes.fromhex("ED F1 0A 07 05 00 00 E8 03 D0 07 B8 0B D0 07 F7 BC"),
        bytes.fromhex("ED F1 00 08 06 F3 25"),
    ]


def test_replies_and_records_of_the_protocol_s_examples_are_understood() -> None:
    received = bytearray.fromhex(
        "ED F1 14 81 01 45 44 46 56 01 00 01 00 00 01 0F 00 00 01 F4 01 58 1B 01 00 16 F0"
        "ED F1 14 C1 05 0C 00 00 00 87 D6 12 00 00 00 00 00 01 01 E8 03 E8 03 00 00 40 D0"
    )
    reply, record = edfv.take_frame(received), edfv.take_frame(received)
    assert reply is not None and record is not None and not received
    assert edfv.parse_identity(reply.payload) == (b"EDFV", 1, 0, 1, 0, 0, 1, 15, 256, 500, 7000, 1)
    assert edfv.parse_record(record.payload) == (12, 1_234_567, 1, 1, 1000, 1000, 0)
    assert edfv.parse_record(record.payload + b"more") == edfv.parse_record(record.payload)
    assert edfv.crc16(b"123456789") == 0x29B1


@given(st.lists(st.one_of(st.binary(max_size=120), st.sampled_from([b"\xed\xf1", b"\xed\xf1\x02", b"\xed"]))))
@settings(max_examples=400, deadline=None)
def test_garbage_costs_no_good_frame_that_follows_it(chunks: list[bytes]) -> None:
    received = bytearray()
    for chunk in chunks:
        received += chunk
        while edfv.take_frame(received) is not None:
            pass
    good = edfv_frame(0xC1, 9, b"\xed\xf1\x02\x01\x00\xff")
    received += good
    taken = [frame for frame in iter(lambda: edfv.take_frame(received, stalled=True), None)]
    assert taken[-1] == Frame(0xC1, 9, b"\xed\xf1\x02\x01\x00\xff") and len(received) <= 1
    for parse in (
        edfv.parse_identity,
        edfv.parse_configuration,
        edfv.parse_status,
        edfv.parse_record,
        edfv.parse_times,
    ):
        for frame in taken:
            parse(frame.payload)  # type: ignore[operator]


def test_a_lens_is_identified_configured_and_moved() -> None:
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        assert lens.identify() == "edfv lens controller, firmware 1.2.3"
        assert double.configured == struct.pack("<BBHHHHHIHHH", 1, 0, 1000, 61000, 1000, 2000, 0, 0, 0, 0, 0)
        lens.goto(2.5)
        assert double.control == 26000
        wait_for(lambda: (last := lens.state().last) is not None and abs(last.vergence_dpt - 2.5) < 1e-9)
        assert lens.state().warnings == ()


def test_telemetry_gives_the_sweeps_on_the_host_s_clock() -> None:
    with EdfvDouble() as double, EdfvLens(rig_at(double.port, hz=10.0)) as lens:
        lens.open()
        lens.goto(4.0)
        source = TelemetrySweeps(rig_at(double.port, hz=10.0), lens)
        lens.run(SweepPlan(0.3, 4.2, "triangle", 10.0))
        taken: list[FocusSweep] = []

        def enough() -> bool:
            events = np.zeros(1, EVENT_DTYPE)
            events["timestamp"] = time.time_ns() // 1000
            source.observe(Packet(events=events))
            while (sweep := source.take()) is not None:
                taken.append(sweep)
            return len(taken) >= 4

        wait_for(enough)
        unix_ahead_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000 - double.clock_offset_us
        for index, sweep in enumerate(taken[:4]):
            assert sweep.direction == (1 if index % 2 == 0 else -1)  # of the goto before nothing is left
            expected_us = double.turn_us(index) + unix_ahead_us
            assert abs(sweep.timestamps_us[0] - expected_us) < 4 * source.clock.uncertainty_us + 2_000
            far, near = (0.3, 4.2) if index % 2 == 0 else (4.2, 0.3)
            assert (sweep.vergence_dpt[0], sweep.vergence_dpt[-1]) == pytest.approx((far, near), abs=0.01)
        assert "lost_samples" not in source.counters


def test_a_table_goes_through_the_calibration_s_branches() -> None:
    with EdfvDouble() as double:
        rig = rig_at(double.port)
        branches = Calibration(control=(0.0, 60000.0), vergence_up_dpt=(0.0, 6.0), vergence_down_dpt=(-0.1, 5.9))
        rig = rig.model_copy(update={"lens": rig.lens.model_copy(update={"calibration": branches})})
        with EdfvLens(rig) as lens:
            lens.open()
            lens.run(SweepPlan(1.0, 5.0, "triangle", 5.0))
            assert len(double.points) == 256 and double.near_turn == 128
            assert double.points[0] == 10_000 and double.points[128] == 50_000
            assert double.points[64] == 30_000 and double.points[192] == 31_000  # 0.1 dpt more on the way down
            lens.run(SweepPlan(1.0, 5.0, "sawtooth", 5.0))
            assert double.near_turn == 0xFFFF and double.points[128] == 30_000


def test_lost_replies_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_REPLY_S", 0.5)
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        double.quiet = 1
        lens.goto(1.0)
        lens.stop()
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        lens.stop()
        asked = len(double.requests)
        double.quiet = 0
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        starts = [request for request in double.requests[asked:] if request[0] == Request.START]  # type: ignore[index]
        assert len(starts) == 1


def test_a_start_whose_reply_was_lost_did_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_REPLY_S", 0.5)

    class Forgetful(EdfvDouble):
        def answer(self, request: object) -> bytes:
            if request[0] == Request.START and self.state != 5:  # type: ignore[index]
                self.quiet = 1
            return super().answer(request)

    with Forgetful() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        wait_for(lambda: len(lens.telemetry()) > 3)


def test_the_host_s_silence_does_not_reach_the_watchdog() -> None:
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        asked = len(double.requests)
        began_s = time.monotonic()
        wait_for(lambda: len(double.requests) >= asked + 3)
        assert time.monotonic() - began_s > 0.5  # not at every moment either


@pytest.mark.parametrize(
    ("kind", "word"), [(19, "parked the lens"), (20, "lost steps and stopped"), (18, "found no home switch")]
)
def test_what_ends_a_sweep_is_said_and_a_new_one_begins(kind: int, word: str) -> None:
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        wait_for(lambda: len(lens.telemetry()) > 0)
        double.record(kind, 0, 1000)
        wait_for_error(lens.telemetry, LensError, word)
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        wait_for(lambda: len(lens.telemetry()) > 0)


def test_a_restart_of_the_controller_is_said() -> None:
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        boot = b"EDFV" + struct.pack("<6B4HBx", 1, 0, 1, 2, 3, 1, 7, 256, 500, 7000, 4)
        double.send(edfv_frame(0xC0, 0, boot))
        wait_for_error(lens.state, LensError, "started anew")
        lens.open()
        lens.goto(1.0)


def test_another_version_is_told_from_another_device() -> None:
    with EdfvDouble() as double:
        double.version = 2
        with pytest.raises(LensError, match="speaks version 2 of the protocol, this program version 1"):
            EdfvLens(rig_at(double.port)).open()


def test_a_refusal_comes_with_its_reason() -> None:
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        double.configured = struct.pack("<BBHHHHHIHHH", 1, 0, 1000, 5000, 1000, 2000, 0, 0, 0, 0, 0)
        with pytest.raises(LensRefused, match="refused GOTO: a code outside of its limits"):
            lens.goto(5.0)


def test_a_period_longer_than_the_firmware_s_is_refused_before_anything_is_sent() -> None:
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        with pytest.raises(LensError, match=r"0\.01 Hz: .* at most 60 s, so 0\.017 Hz or more"):
            lens.run(SweepPlan(0.3, 4.2, "triangle", 0.01))
        moving = {Request.GOTO, Request.TABLE_BEGIN, Request.START}
        assert not [request for request in double.requests if request[0] in moving]  # type: ignore[index]


def rig_with_motor(port: str, **motor: object) -> Rig:
    """600 steps for 0 to 6 dpt."""
    data = rig_at(port).model_dump()
    data["lens"] |= {"motor": motor, "calibration": {"control": (0.0, 600.0), "vergence_up_dpt": (0.0, 6.0)}}
    return Rig.model_validate(data)


def test_a_stepper_is_homed_and_limited() -> None:
    with EdfvDouble() as double:
        rig = rig_with_motor(double.port, speed_steps_per_s=3000, acceleration_steps_per_s2=40_000)
        with EdfvLens(rig) as lens:
            lens.open()
            assert any(request[0] == Request.HOME for request in double.requests)  # type: ignore[index]
            assert double.configured == struct.pack("<BBHHHHHIHHH", 2, 0, 0, 600, 0, 2000, 3000, 40000, 500, 16, 0)
            lens.run(SweepPlan(1.0, 5.0, "triangle", 1.5))  # 400 steps: 1.77 Hz by the acceleration, 3.75 by the speed
            with pytest.raises(LensError, match=r"1\.76 Hz works"):
                lens.run(SweepPlan(1.0, 5.0, "triangle", 2.0))
            with pytest.raises(LensError, match="cannot fly back"):
                lens.run(SweepPlan(1.0, 5.0, "sawtooth", 0.5))


def test_all_of_a_motor_is_configured() -> None:
    with EdfvDouble() as double:
        rig = rig_with_motor(
            double.port,
            speed_steps_per_s=300,
            lost_steps_tolerance=8,
            direction_inverted=True,
            home_switch_reads_high=True,
        )
        with EdfvLens(rig) as lens:
            lens.open()
            assert double.configured == struct.pack("<BBHHHHHIHHH", 2, 3, 0, 600, 0, 2000, 300, 50000, 300, 8, 0)


@pytest.mark.parametrize(
    ("name", "keys", "word"),
    [
        ("edfv", {"motor": {}}, "speed_steps_per_s"),
        ("edfv", {"motor": {"speed_steps_per_s": 9000}}, "less than or equal to 7000"),
        ("edfv", {"motor": {"speed_steps_per_s": 300, "homing_speed_steps_per_s": 301}}, "must not be above"),
        ("virtual", {"motor": {"speed_steps_per_s": 300}}, "motor is not for driver virtual, only for edfv, scf4"),
        ("scf4", {"motor": {"speed_steps_per_s": 300, "direction_inverted": True}}, "takes only speed_steps_per_s"),
        ("scf4", {"response": {"resonance_hz": 80.0, "damping": 0.4}}, "response is not for driver scf4"),
        (
            "edfv",
            {"motor": {"speed_steps_per_s": 300}, "response": {"resonance_hz": 80.0, "damping": 0.4}},
            "remove motor or response",
        ),
    ],
)
def test_a_motor_or_response_that_cannot_be_is_one_line(
    tmp_path: Path, name: str, keys: dict[str, object], word: str
) -> None:
    data = RIG.model_dump(mode="json", exclude_none=True)
    data["lens"] |= {"driver": name, "port": "p", **keys}
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(RigError, match=word) as refused:
        load_rig(path)
    assert "\n" not in str(refused.value)


def test_a_rig_with_a_motor_survives_being_written_and_read(tmp_path: Path) -> None:
    for name, more in (("edfv", {"lost_steps_tolerance": 8}), ("scf4", {})):
        data = RIG.model_dump()
        data["lens"] |= {"driver": name, "port": "p", "motor": {"speed_steps_per_s": 300, **more}}
        rig = Rig.model_validate(data)
        path = tmp_path / "rig.yaml"
        path.write_text(yaml.safe_dump(rig.model_dump(mode="json", exclude_none=True)))
        assert load_rig(path) == rig


def test_between_its_reports_the_set_points_are_those_of_the_table() -> None:
    """A record every 10 ms would be too few for what is curved."""
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        lens.run(SweepPlan(0.3, 4.2, "sine", 5.0))
        samples = []

        def enough() -> bool:
            samples.extend(lens.telemetry())
            return len(samples) > 200

        wait_for(enough)
        assert [sample.sequence - samples[0].sequence for sample in samples] == list(range(len(samples)))
        times_us = np.array([sample.device_us for sample in samples]) - double.turn_us(0)
        assert np.diff(times_us).min() > 0
        expected = 0.3 + 3.9 * (1 - np.cos(2 * np.pi * times_us * 5e-6)) / 2
        assert np.abs(np.array([sample.vergence_dpt for sample in samples]) - expected).max() < 2e-3  # table and code
        assert np.median(np.diff(times_us)) <= 2_500


def test_lost_records_are_lost_samples_and_nothing_is_made_up_for_them() -> None:
    with EdfvDouble() as double, EdfvLens(rig_at(double.port)) as lens:
        lens.open()
        lost = []

        def lose(number: int) -> bool:
            if number % 16 == 0:
                lost.append(number)
            return number % 16 == 0

        double.lose = lose
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        samples = []

        def enough() -> bool:
            samples.extend(lens.telemetry())
            return len(samples) > 200

        wait_for(enough)
        steps = np.diff([sample.sequence for sample in samples])
        assert set(steps) == {1, 2}
        holes_us = np.diff([sample.device_us for sample in samples])[steps == 2]
        assert np.all(holes_us > 10_000)
