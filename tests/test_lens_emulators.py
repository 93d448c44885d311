"""Emulated lens controllers against what their documents say: bytes written down by hand, one state machine each."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import small_rig, write_rig
from still_scene import dotted_plane

from edfv_ros.errors import SimulationError
from edfv_ros.events import TriggerType
from edfv_ros.rig import Calibration
from edfv_ros.simulation import VirtualRig
from edfv_ros.simulation.controllers import (
    CONTROLLERS,
    ControllerPort,
    EmulatedController,
    Faults,
    FocusCurve,
    emulate,
    make_controller,
)
from edfv_ros.simulation.lens_port import LensPort
from edfv_ros.simulation.live import LiveRig, main
from edfv_ros.simulation.replay import EventReplay

VECTORS = {
    "Firmware Type": ("480036", b"HA"),
    "Firmware Branch": ("4681f2", b"F\x00"),
    "Part Number": ("4a81f7", b"J\x00\x00\x01"),
    "Device ID": ("495200000000000000003798", b"IREMULATED"),
    "Version": ("56803e", b"V\x01\x08\x03\xe9\x00\x3c"),
    "Set Upper Limit": ("437755410ffffe90", b"CUA\x0f\xff"),
    "Get Upper Limit": ("4372554100007720", b"CUA\x0f\xff"),
    "Set Lower Limit": ("43774c410000bc7c", b"CLA\x00\x00"),
    "Get Lower Limit": ("43724c410000707c", b"CLA\xf0\x01"),
    "Set Gain": ("4f770064a725", b"Ow\x04\x00\x00\x00\x00"),
    "Get Gain": ("4f720000b6cf", b"Or\x00\x64"),
    "Serial Number": ("5801fa", b"XEDFV0001"),
    "Set Current": ("4177057a2695", None),
    "Get Current": ("41720000b427", b"A\x00\x00"),
    "Get Status": ("5372bcd5", b"S\x04\x00\x00\x00"),
    "Temperature": ("544341b0d0", b"TCA\x01\x90"),
    "Analog Input": ("4741414075", b"GAA\x00\x00"),
    "Set Generator Upper": ("50775541057a00001324", None),
    "Get Generator Upper": ("5072554100007583", b"PUA\x0f\xff"),
    "Set Generator Lower": ("50774c4102bd0000a1a4", None),
    "Get Generator Lower": ("50724c41000072df", b"PLA\xf0\x01"),
    "Set Frequency": ("50774641000186a0034a", None),
    "Get Frequency": ("50724641000000006592", b"PFA\x00\x00\x03\xe8"),
    # at 20 to 45 degrees 5 - 5 * 0.067 and -4 + 20 * 0.067 dpt; code (D + 5) * 200
    "Set Temperature Limits": (
        "5077544102d0014033c1",
        b"PT\x00" + (1933).to_bytes(2, "big") + (468).to_bytes(2, "big"),
    ),
    "Get Temperature Limits": ("507254410000000066e0", b"PTA\x00\x00\x00\x00"),
    "Set Max Current": ("43774d41721098ec", b"CMA\x72\x10"),
    "Get Max Current": ("43724d4100007180", b"CMA\x72\x64"),
    "Set Focal Power": ("5077444104b0000031a7", None),
    "Get Focal Power": ("50724441000000006470", b"PD\x04\x4c"),  # 0.5 dpt without current
    "Write EEPROM": ("5a770a0165a2", b"Z\x01"),
    "Read EEPROM byte": ("5a720a84b4", b"Z\x00"),
    "Read EEPROM": ("4400004015", b"D" + bytes(256)),
    "Sine": ("4d7753415bb6", b"MSA"),
    "Rectangle": ("4d7751415ad6", b"MQA"),
    "Triangle": ("4d7754415986", b"MTA"),
    "Current mode": ("4d7744415446", b"MDA"),
    "Analog mode": ("4d7741415716", b"MAA"),
    "Focal power mode": ("4d7743415676", b"MCA\x04\x00\x00\x00\x00"),  # no temperature limits yet
    "Mode": ("4d4d416577", b"MMA\x01"),
    "Interpolation": ("59075a1400326a", None),
}
RESET = bytes.fromhex("52455345546fbe")
VECTOR_FILE = Path(__file__).parents[2] / "shared" / "contracts" / "optotune_ld4_vectors.json"


def crc(data: bytes) -> bytes:
    """CRC-16/ARC by long division of the reflected bits; low byte first."""
    bits = [byte >> i & 1 for byte in data for i in range(8)] + [0] * 16
    for i in range(len(bits) - 16):
        if bits[i]:
            for j in (0, 1, 14, 16):  # x^16 + x^15 + x^2 + 1, highest power first
                bits[i + j] ^= 1
    remainder = bits[-16:]
    value = sum(bit << (15 - i) for i, bit in enumerate(remainder))
    return int(f"{value:016b}"[::-1], 2).to_bytes(2, "little")


class Talk:
    """A controller and a clock."""

    def __init__(self, kind, *words, curve=None, faults=None):
        self.controller = make_controller(kind, words, faults=faults)
        self.now_us = 0.0

    def __call__(self, data, wait_us=100_000):
        """Say something and return what is answered at once."""
        self.now_us += wait_us
        return b"".join(reply.data for reply in self.controller.receive(data, self.now_us))

    def ask(self, payload, wait_us=100_000):
        """The payload of the answer of a Lens Driver 4; the CRC of both ways is the test's own."""
        answer = self(payload + crc(payload), wait_us)
        if not answer:
            return None
        assert answer.endswith(b"\r\n")
        assert crc(answer[:-4]) == answer[-4:-2]
        return answer[:-4]

    def line(self, text, end="\n", wait_us=100_000):
        """Answer of a protocol of lines, without its end."""
        answer = self((text + end).encode(), wait_us).decode()
        return answer.removesuffix("\r\n")


def i16(value):
    return value.to_bytes(2, "big", signed=True)


# Optotune Lens Driver 4


def test_the_crc_is_the_catalogued_one():
    assert crc(b"123456789") == bytes.fromhex("3dbb")


def test_the_vectors_here_are_those_of_the_file():
    if not VECTOR_FILE.exists():
        pytest.skip("the vector file is not part of the repository")
    frames = [frame["frame_hex"] for frame in json.loads(VECTOR_FILE.read_text())["frames"]]
    assert sorted(frames) == sorted([hex_text for hex_text, _ in VECTORS.values()] + [RESET.hex()])


@pytest.mark.parametrize("name", VECTORS)
def test_each_frame_of_the_vendor_is_answered_byte_for_byte(name):
    frame, payload = VECTORS[name]
    talk = Talk("optotune_ld4")
    expected = b"" if payload is None else payload + crc(payload) + b"\r\n"
    assert talk(bytes.fromhex(frame)) == expected
    assert talk.controller.commands == 1
    assert talk.controller.errors == []
    # one byte at a time it is the same frame
    talk = Talk("optotune_ld4")
    talk.now_us = 1e5
    assert b"".join(talk(bytes([byte]), 100.0) for byte in bytes.fromhex(frame)) == expected


@pytest.mark.parametrize("name", VECTORS)
def test_a_flipped_bit_is_refused(name):
    frame = bytes.fromhex(VECTORS[name][0])
    talk = Talk("optotune_ld4")
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        answer = talk(bytes(damaged)) + talk(b"")
        assert re.fullmatch(rb"(E[\x01\x03]..\r\n)+", answer, re.DOTALL), bit
    assert talk.controller.commands == 0
    assert talk(bytes.fromhex("480036")) == b"HA\xf6\x30\r\n"


def test_what_the_vectors_set_can_be_read_back():
    talk = Talk("optotune_ld4")
    for name in ("Set Current", "Set Generator Upper", "Set Generator Lower", "Set Frequency", "Write EEPROM"):
        talk(bytes.fromhex(VECTORS[name][0]))
    assert talk.ask(b"Ar\0\0") == b"A\x05\x7a"
    assert talk.ask(b"PrUA\0\0") == b"PUA\x05\x7a"
    assert talk.ask(b"PrLA\0\0") == b"PLA\x02\xbd"
    assert talk.ask(b"PrFA\0\0\0\0") == b"PFA\x00\x01\x86\xa0"
    assert talk.ask(b"Zr\x0a") == b"Z\x01"
    talk(bytes.fromhex(VECTORS["Set Max Current"][0]))
    assert talk.ask(b"CrMA\0\0") == b"CMA\x72\x10"
    talk(bytes.fromhex(VECTORS["Set Temperature Limits"][0]))
    assert talk.ask(b"PrTA\0\0\0\0") == b"PTA\x02\xd0\x01\x40"
    assert talk.ask(b"Sr") == b"S\x00\x00\x00\x00"


def test_the_handshake_has_no_crc_and_takes_the_current_away():
    talk = Talk("optotune_ld4")
    talk.ask(b"Aw" + i16(1402))
    assert talk(b"Start") == b"Ready\r\n"
    assert talk.ask(b"Ar\0\0") == b"A\x00\x00"
    assert talk(b"$S\nSTART\r\n" + b"Start", 1000.0) == b"Ready\r\n"  # other controllers' questions before it


@pytest.mark.parametrize("dialect", [b"V", b"V\0"])
def test_both_forms_of_the_version_question(dialect):
    assert Talk("optotune_ld4", "version=[1, 2, 772, 5]").ask(dialect) == b"V\x01\x02\x03\x04\x00\x05"


@pytest.mark.parametrize("question", [b"PrUA", b"PrLA", b"CrUA", b"CrLA"])
def test_questions_of_8_and_of_10_bytes(question):
    talk = Talk("optotune_ld4")
    short = talk.ask(question + bytes(2))
    assert short is not None
    assert talk.ask(question + bytes(4)) == short


def test_the_old_form_of_the_current():
    talk = Talk("optotune_ld4")
    assert talk.ask(b"A" + i16(-1000)) is None
    assert talk.ask(b"Ar\0\0") == b"A" + i16(-1000)


@pytest.mark.parametrize(
    ("dialect", "unknown", "wrong"),
    [
        ("byte", b"E\x03" + crc(b"E\x03") + b"\r\n", b"E\x01" + crc(b"E\x01") + b"\r\n"),
        ("digit", b"E3" + crc(b"E3") + b"\r\n", b"E1" + crc(b"E1") + b"\r\n"),
        ("N", b"N\r\n", b"N\r\n"),
    ],
)
def test_errors_in_three_dialects(dialect, unknown, wrong):
    talk = Talk("optotune_ld4", f"errors={dialect}")
    assert talk(b"qwerty") == b""
    assert talk(b"") == unknown  # once the line has been quiet
    assert talk(bytes.fromhex("480037")) == wrong
    assert talk.ask(b"H") == b"HA"


def test_it_finds_its_place_again_after_garbage_and_half_a_frame():
    talk = Talk("optotune_ld4")
    whole = bytes.fromhex(VECTORS["Temperature"][0])
    assert talk(b"\xff\x00\x12" + whole) == b""  # within garbage nothing is a command
    assert talk(whole, 30_000).endswith(b"TCA\x01\x90" + crc(b"TCA\x01\x90") + b"\r\n")
    assert talk(whole[:3]) == b""
    assert talk(whole[3:], 5_000) == b"TCA\x01\x90" + crc(b"TCA\x01\x90") + b"\r\n"  # a pause within the time-out
    talk(whole[:3])
    assert talk(whole, 30_000) == b"E\x01" + crc(b"E\x01") + b"\r\n" + b"TCA\x01\x90" + crc(b"TCA\x01\x90") + b"\r\n"


def test_two_commands_in_one_write_are_two():
    talk = Talk("optotune_ld4")
    assert talk(b"".join(p + crc(p) for p in (b"H", b"Aw" + i16(5), b"MMA"))).count(b"\r\n") == 2
    assert talk.controller.commands == 3


def test_currents_are_codes_of_the_maximum_within_the_soft_limits():
    talk = Talk("optotune_ld4")
    talk.ask(b"Aw" + i16(4095))
    talk(b"")
    assert talk.controller.control == pytest.approx(5.0)  # the lens's highest focal power
    talk.ask(b"CwUA" + i16(2048))
    assert talk.ask(b"Ar\0\0") == b"A\x08\x00"
    talk.ask(b"CwMA" + i16(14642))  # half the maximum: the same code is half the current
    talk.ask(b"Aw" + i16(2048))
    talk(b"")
    assert talk.controller.control == pytest.approx(0.5 + 4.5 * 2048 / 4095 / 2, abs=1e-3)


def test_the_current_is_there_at_once_and_the_focus_is_not():
    talk = Talk("optotune_ld4")
    talk.ask(b"Aw" + i16(4095))
    assert talk.ask(b"Ar\0\0", 1_000) == b"A" + i16(4095)
    assert 0.5 < talk.controller.control < 2.0
    assert talk.ask(b"PrDA\0\0\0\0", 1_000) == b"PD" + i16(2000)
    talk = Talk("optotune_icc")
    for said, answered in (("START", "OK"), ("SETFP=2", "OK"), ("GETFP", "2.000")):
        assert talk.line(said, wait_us=1_000) == answered
    assert 0 < talk.controller.control < 1


def test_limits_and_memory_wear_the_eeprom_and_nothing_else_does():
    talk = Talk("optotune_ld4")
    for payload in (b"Aw\x01\x00", b"PwTA\x02\xd0\x01\x40", b"MwCA", b"PwDA\x04\xb0\0\0", b"MwSA", b"PwFA\0\0\x27\x10"):
        talk.ask(payload)
    assert talk.controller.eeprom_writes == 0
    for payload in (b"CwUA\x0f\xff", b"CwLA\x00\x00", b"Zw\x01\x02"):
        talk.ask(payload)
    assert talk.controller.eeprom_writes == 3
    talk.controller.power_on(talk.now_us)
    assert talk.ask(b"CrLA\0\0") == b"CLA\0\0"
    assert talk.ask(b"Zr\x01") == b"Z\x02"


@pytest.mark.parametrize(("letter", "code_of"), [("A", lambda d: (d + 5) * 200), ("C", lambda d: d * 200)])
def test_focal_power_is_coded_by_the_type_of_the_firmware(letter, code_of):
    talk = Talk("optotune_ld4", f"firmware_type={letter}", "dpt_per_c=0.0")
    assert talk.ask(b"H") == b"H" + letter.encode()
    assert talk.ask(b"MwCA") == b"MCA\x04\0\0\0\0"
    assert talk.ask(b"MMA") == b"MMA\x01"  # refused without temperature limits
    lowest, highest = (-4, 5) if letter == "A" else (3, 12)
    span = i16(code_of(highest)) + i16(code_of(lowest))
    assert talk.ask(b"PwTA" + i16(45 * 16) + i16(20 * 16)) == b"PT\0" + span
    assert talk.ask(b"MwCA") == b"MCA\0" + span
    assert talk.ask(b"MMA") == b"MMA\x05"
    assert talk.ask(b"MwCA") == b"MCA\x48" + span  # the spurious status, 72
    target = lowest + 3
    assert talk.ask(b"PwDA" + i16(code_of(target)) + bytes(2)) is None
    assert talk.ask(b"PrDA\0\0\0\0") == b"PD" + i16(code_of(target))
    assert talk.controller.control == pytest.approx(target)
    assert talk.ask(b"Sr")[1] == 0
    talk.ask(b"PwDA" + i16(code_of(highest + 1)) + bytes(2))
    assert talk.ask(b"Sr")[1] == 0x08 | 0x40 | 0x80  # unreachable, not guaranteed, beyond the limits
    assert talk.ask(b"PrDA\0\0\0\0") == b"PD" + i16(code_of(highest))


def test_warmth_shifts_the_focus_in_current_mode_and_not_in_focal_power_mode():
    cold, warm = (Talk("optotune_ld4", f"temperature_c={t}") for t in (25, 35))
    for talk in (cold, warm):
        talk.ask(b"Aw" + i16(1000))
        talk(b"")
    assert warm.ask(b"TCA") == b"TCA" + i16(35 * 16)
    assert warm.controller.control - cold.controller.control == pytest.approx(0.67)
    for talk in (cold, warm):
        talk.ask(b"PwTA" + i16(45 * 16) + i16(20 * 16))
        talk.ask(b"MwCA")
        talk.ask(b"PwDA" + i16(1200) + bytes(2))
        talk(b"")
        assert talk.controller.control == pytest.approx(1.0)
    assert warm.ask(b"Ar\0\0") != cold.ask(b"Ar\0\0")
    hot = Talk("optotune_ld4", "temperature_c=60")
    hot.ask(b"PwTA" + i16(45 * 16) + i16(20 * 16))
    assert hot.ask(b"Sr")[1] == 0x20


def test_without_a_head_there_is_no_range_and_no_temperature():
    talk = Talk("optotune_ld4", "lens=false")
    assert talk.ask(b"PwTA" + i16(45 * 16) + i16(20 * 16)) == b"PT\x03\0\0\0\0"
    assert talk.ask(b"MwCA") == b"MCA\x03\0\0\0\0"
    assert talk.ask(b"TCA") == b"TCA\x0f\xff"
    before = talk.controller.position_dpt
    talk.ask(b"Aw" + i16(4000))
    talk(b"")
    assert talk.controller.position_dpt == before
    assert Talk("optotune_ld4", "sensor=false").ask(b"TCA") == b"TCA\x0f\xff"


def test_reset_is_the_end_until_it_loses_its_power():
    talk = Talk("optotune_ld4")
    assert talk(RESET) == b""
    assert talk(b"Start") == b""
    assert talk.controller.boot_loader
    talk.controller.power_on(talk.now_us)
    assert talk(b"Start") == b"Ready\r\n"


def generator(shape, hz=10.0, low=-1365, high=1365, *words):
    """A driver whose generator runs from -1 to 2 dpt, and the time at which it is at the lower limit for the first."""
    talk = Talk("optotune_ld4", *words)
    talk.ask(b"PwLA" + i16(low) + bytes(2))
    talk.ask(b"PwUA" + i16(high) + bytes(2))
    talk.ask(b"PwFA" + round(hz * 1000).to_bytes(4, "big"))
    assert talk.ask(b"Mw" + shape + b"A") == b"M" + shape + b"A"
    return talk, talk.controller.generator.epoch_us


def focus_at(controller, times_us):
    found = []
    for time_us in times_us:
        controller.advance(time_us)
        found.append(controller.control)
    return np.array(found)


@pytest.mark.parametrize("shape", [b"S", b"T", b"Q"])
def test_the_generator_is_in_phase_with_its_epoch(shape):
    talk, epoch_us = generator(shape)
    assert epoch_us - talk.now_us < 15_000
    times_us = epoch_us + np.arange(0, 300_000, 1_700.0)
    phase = (times_us - epoch_us) * 1e-5 % 1.0
    part = {
        b"S": (1 - np.cos(2 * np.pi * phase)) / 2,
        b"T": 1 - abs(2 * phase - 1),
        b"Q": np.where(phase < 0.5, np.minimum(phase / 0.15, 1), 1 - np.minimum((phase - 0.5) / 0.15, 1)),
    }[shape]
    low, high = (0.5 + 4.5 * code / 4095 for code in (-1365, 1365))
    assert focus_at(talk.controller, times_us) == pytest.approx(low + (high - low) * part, abs=1e-6)


def pulses(steps):
    return [(step.move.start_us, step.move.pulse_us) for step in steps if step.begins and step.move.pulse_us]


@pytest.mark.parametrize(
    ("trigger", "per_period", "width_us"), [("turns", 2, 100), ("period", 1, 100), ("square", 1, 50_000)]
)
@pytest.mark.parametrize("shape", [b"S", b"T", b"Q"])
def test_the_trigger_output_marks_the_turning_points(shape, trigger, per_period, width_us):
    talk, epoch_us = generator(shape, 10.0, -1365, 1365, f"trigger={trigger}")
    seen = []
    for time_us in np.arange(talk.now_us, epoch_us + 999_000, 3_333.0):
        seen += pulses(talk.controller.advance(time_us))
    period_us = 100_000
    expected = epoch_us + np.arange(10 * per_period) * period_us / per_period
    assert np.array([time_us for time_us, _ in seen]) == pytest.approx(expected, abs=1e-3)
    assert {width for _, width in seen} == {width_us}
    talk.ask(b"MwDA")
    talk.controller.advance(talk.now_us)
    assert pulses(talk.controller.advance(talk.now_us + 500_000)) == []


def test_new_limits_and_frequencies_keep_the_phase():
    talk, epoch_us = generator(b"T")
    talk.controller.advance(epoch_us + 225_000)  # a quarter of a period up
    talk.now_us = epoch_us + 225_000
    talk.ask(b"PwFA" + (20_000).to_bytes(4, "big"), 0.0)
    quarter = talk.controller.generator
    assert quarter.phase(talk.now_us) == pytest.approx(0.25)
    assert quarter.half_us == 25_000
    assert pulses(talk.controller.advance(talk.now_us + 60_000)) == [
        (pytest.approx(talk.now_us + 12_500), 100),
        (pytest.approx(talk.now_us + 37_500), 100),
    ]
    talk.now_us += 60_000
    talk.ask(b"PwUA" + i16(0) + bytes(2), 0.0)
    steps = talk.controller.advance(talk.now_us + 200_000)
    highest_dpt = max(step.move.end_dpt for step in steps)
    assert highest_dpt == pytest.approx(float(talk.controller.curve.vergence_dpt(0.5)))  # no current, 0.5 dpt


# Optotune ICC-1C


def test_simple_mode_line_by_line():
    talk = Talk("optotune_icc")
    assert talk.line("GETFP", "\r\n") == ""  # it has not been spoken to yet
    dialogue = [
        ("start", "OK"),
        ("GETFPMIN", "-2.000"),
        ("getfpmax", "3.000"),
        ("GETFP", "0.000"),
        ("SETFP=1.25", "OK"),
        ("GetFp", "1.250"),
        ("SETFP=-2.0", "OL"),  # the minimum it reports
        ("SETFP=-1.99", "OK"),
        ("SETFP=3.01", "OU"),
        ("SETCURRENT=125", "OK"),
        ("GETCURRENT", "125.00"),
        ("GETFP", "1.750"),
        ("SETCURRENT=251", "OU"),
        ("SETCURRENT=-251", "OL"),
        ("GETTEMP", "25.00"),
        ("SETTEMPLIM=20,45", "OK"),
        ("SETTEMPLIM=20,20", "NO"),
        ("GETDEVICESN", "EDFV0002"),
        ("DETECTDEVICE", "EL-16-40-TC"),
        ("SETFP=", "ERROR"),
        ("SETFP=nan", "ERROR"),
        ("SETFP=1e999", "ERROR"),
        ("DANCE", "ERROR"),
        ("GETFP" + " " * 60, "ERROR"),
        ("START", "OK"),
    ]
    for said, answered in dialogue:
        assert talk.line(said, "\r\n") == answered, said
    assert talk(b"GETTEMP\r\n") == b"25.00\r\n"
    alone = Talk("optotune_icc", "lens=false", "handshake=false")
    assert [alone.line(said) for said in ("GETFP", "SETFP=1", "GETDEVICESN", "DANCE")] == ["NO", "NO", "NO", "ERROR"]


# Kurokesu SCF4


def test_g_code_line_by_line():
    talk = Talk("scf4", "steps_per_s=5")
    assert talk(b"$S\n") == b"EVB.1.3.0, SCF4-M RevC, Kurokesu, 5D0FF39-00000000-00000003\r\n"
    assert talk.line("G0 A100") == "OK"
    assert talk.line("!1") == "0, 0, 0, 0, 0, 0, 0, 0, 0"  # not before the motor driver is initialised
    assert talk.line("$B2", "\r\n") == "OK"
    assert talk.line("!1") == ""  # it is not done yet
    assert talk.controller.lost_lines == 1
    talk(b"", 300_000)
    for command in ("M238", "M234 A190 B190 C190 D90", "M232 A400 B400 C400 E700 F700 G700", "M243 C6", "M7", "G91"):
        assert talk.line(command) == "OK", command
    assert talk.line("!1") == "0, 0, 0, 1, 1, 1, 0, 0, 0"
    assert talk.line("M240 A20 B20") == "OK"  # 100 steps a second
    assert talk.line("G0 B-50 A+100") == "OK"
    assert talk.line("!1", wait_us=2_000) == "0, 0, 0, 1, 1, 1, 0, 0, 0"  # the answer came before the motor turned
    assert talk.line("!1", wait_us=251_000) == "25, 65511, 0, 1, 1, 1, 1, 1, 0"
    assert talk.line("!1", wait_us=2_000_000) == "100, 65486, 0, 1, 1, 1, 0, 0, 0"
    assert talk.line("G92 A32000") == "OK"
    assert talk.line("G90") == "OK"
    assert talk.line("G0 A32010") == "OK"
    assert talk.line("!1", wait_us=1e6).startswith("32010, ")
    for nonsense in ("G0 A70000", "G5", "HELLO", "A100", "G0 A1.5"):
        assert talk.line(nonsense) == "ERROR", nonsense


def test_only_one_command_is_heard_at_a_time():
    talk = Talk("scf4", "steps_per_s=5")
    assert talk(b"G90\nG91\n$S\n") == b"OK\r\n"
    assert talk.controller.lost_lines == 2
    assert talk.line("G4 P100") == "OK"
    assert talk.line("!1", wait_us=99_000) == ""
    assert talk.line("!1", wait_us=2_000).startswith("0, ")


def homed():
    """A focus motor that has found its photo-interrupter from below and calls it 32000."""
    talk = Talk("scf4", "steps_per_s=5")
    for command in ("$B2", "M238", "M240 A600", "G91", "M231 A", "G0 A-100"):
        assert talk.line(command, wait_us=400_000) == "OK"
    assert talk.line("!1", wait_us=3e6).split(", ")[3::3] == ["0", "0"]  # found from above, and stopped there
    for command in ("M230 A", "G0 A-300", "M231 A", "G0 A100"):
        assert talk.line(command, wait_us=400_000) == "OK"
    assert talk.line("!1", wait_us=3e6).split(", ")[3::3] == ["1", "0"]
    for command in ("G92 A32000", "M230 A", "G90"):
        assert talk.line(command) == "OK"
    return talk


def test_homing_finds_the_photo_interrupter_wherever_the_lens_was():
    talk = homed()
    assert talk.controller.control == 32_000
    assert talk.line("G0 A34000") == "OK"
    assert talk.line("!1", wait_us=5e6).startswith("34000, 0, 0, 1, ")
    assert talk.controller.control == 34_000


def test_moves_are_distances_until_told_otherwise():
    talk = Talk("scf4", "steps_per_s=5")
    for command in ("$B2", "M238", "M240 A600", "G92 A500", "G0 A-100"):
        assert talk.line(command, wait_us=400_000) == "OK"
    assert talk.line("!1", wait_us=3e6).startswith("400, ")
    talk.line("G90")
    talk.line("G0 A450")
    assert talk.line("!1", wait_us=3e6).startswith("450, ")


def test_the_same_count_is_another_focus_on_the_way_back():
    talk = homed()
    for target in (35_000, 34_000):
        talk.line(f"G0 A{target}")
        talk(b"", 5e6)
    assert talk.controller.control == 34_000 + 212
    talk.line("G0 A33000")
    talk(b"", 5e6)
    talk.line("G0 A34000")
    talk(b"", 5e6)
    assert talk.controller.control == 34_000


def test_steps_are_lost_at_the_stop_and_the_counter_wraps():
    talk = homed()
    talk.line("G91")
    talk.line("G0 A33600")
    assert talk.line("!1", wait_us=60e6).startswith("64, ")
    assert talk.controller.control == 37_000


@pytest.mark.parametrize(("word", "moving"), [("start_delay_ms=2", "0"), ("start_delay_ms=0", "1")])
def test_the_answer_may_come_before_the_motor_turns(word, moving):
    talk = Talk("scf4", word)
    for command in ("$B2", "G91", "G0 A100"):
        assert talk.line(command, wait_us=400_000) == "OK"
    assert talk.line("!1", wait_us=1_500).split(", ")[6] == moving
    assert talk.line("!1").split(", ")[6] == "1"


def test_a_stop_stops_and_an_unlit_interrupter_sees_nothing():
    talk = homed()
    talk.line("M240 A20")
    talk.line("G0 A34000")
    talk.line("M0", wait_us=1_003_000)
    assert talk.line("!1").startswith("32100, ")
    talk.line("M239")
    assert talk.line("!1").split(", ")[3] == "0"


def test_counters_glitch_when_asked_to():
    talk = Talk("scf4", "glitch_every=2")
    assert talk.line("G92 A123") == "OK"
    assert [talk.line("!1").split(",")[0] for _ in range(4)] == ["123", "0", "123", "0"]


# Corning Varioptic USB-M


def test_the_vectors_of_the_usb_m_and_answers_to_them():
    talk = Talk("varioptic_usbm")
    assert talk(bytes.fromhex("02370301FF3C")).hex() == "0237063f"
    assert talk(bytes.fromhex("023803013E")).hex() == "0238ff39"
    assert talk(bytes.fromhex("02370002B0B39E")).hex() == "0237063f"
    talk(b"")
    assert talk.controller.control == pytest.approx(70.0)  # volts
    assert talk(bytes.fromhex("0238050140")).hex() == "0238215b"
    assert talk(bytes.fromhex("02380002") + b"\x3c").hex() == "0238b0b39d"


def test_a_wrong_sum_a_wrong_length_and_a_wrong_register_are_refused():
    talk = Talk("varioptic_usbm")
    assert talk(bytes.fromhex("02370002B0B39F")).hex() == "0237154e"
    assert talk.controller.registers[:2] == bytes(2)
    for frame in (b"\x02\x38\x00\x00", b"\x02\x38\x00\x0d", b"\x02\x38\x0f\x02"):
        assert talk(frame + bytes([sum(frame) % 256])).hex() == "0238154f"
    most = b"\x02\x38\x00\x0c"
    assert len(talk(most + bytes([sum(most) % 256]))) == 2 + 12 + 1


def test_the_output_follows_the_upper_byte():
    talk = Talk("varioptic_usbm")

    def write(address, value):
        frame = bytes([0x02, 0x37, address, 1, value])
        assert talk(frame + bytes([sum(frame) % 256])).hex() == "0237063f"
        talk(b"")

    write(0, 0x10)
    assert talk.controller.control == 24.0
    write(1, 0x20)
    assert talk.controller.control == pytest.approx(24.0 + 0x2010 / 1000)
    write(0, 0xFF)
    assert talk.controller.control == pytest.approx(24.0 + 0x2010 / 1000)
    write(1, 0xFF)
    assert talk.controller.control == pytest.approx(70.0)


def test_the_usb_m_resyncs():
    talk = Talk("varioptic_usbm")
    question = bytes.fromhex("0238050140")
    assert talk(b"\xff\x00\x02\x02" + question).hex() == "0238215b"
    assert talk(question[:3]) == b""
    assert talk(question).hex() == "0238215b"


# all of them


KINDS = sorted(CONTROLLERS)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(
    turns=st.lists(
        st.tuples(
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from([bytes.fromhex(frame) for frame, _ in VECTORS.values()]),
                st.sampled_from([b"Start", b"START\r\n", b"SETFP=2.5\r\n", b"GETFP\r\n", b"$B2\n", b"G0 A100\n"]),
                st.sampled_from([b"M231 A\n", b"G92 A7\n", b"G91\n", b"!1\n", bytes.fromhex("02370002B0B39E")]),
            ),
            st.floats(0.0, 1e6),
        ),
        max_size=12,
    )
)
def test_nothing_that_comes_breaks_it(kind, turns):
    talk = Talk(kind)
    for data, wait_us in turns:
        answer = talk(data, wait_us)
        assert len(answer) <= 270 * (len(data) + 1)
        steps = talk.controller.advance(talk.now_us)
        assert all(step.start_us <= step.end_us <= talk.now_us for step in steps)
        assert 0.3 - 1e-9 <= talk.controller.position_dpt <= 4.2 + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_the_lens_takes_the_rigs_curve_in_its_drivers_unit_and_stretches_that_of_others(kind):
    rig = small_rig()
    assert make_controller(kind, rig=rig).curve.vergence_up_dpt == (0.3, 4.2)
    own = make_controller(kind).curve.control
    assert make_controller(kind, rig=rig).curve.control == own
    calibration = Calibration(control=(1.0, 2.0, 2.5), vergence_up_dpt=(4.0, 1.0, 0.3))
    lens = rig.lens.model_copy(update={"driver": kind, "calibration": calibration})
    assert make_controller(kind, rig=rig.model_copy(update={"lens": lens})).curve == FocusCurve.of(calibration)


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        ("lens", (), "lens controller 'lens' is not known; choose among optotune_ld4"),
        ("scf4", ("colour=red",), "scf4 setting: unknown key colour"),
        ("optotune_ld4", ("firmware_type=Z",), "firmware_type = 'Z'"),
        ("optotune_ld4", ("lens",), "'lens': give it as name=value"),
    ],
)
def test_bad_settings_are_one_line(kind, words, message):
    with pytest.raises(SimulationError, match=message):
        make_controller(kind, words)


@pytest.mark.parametrize("word", ["smoke", "silent=3", "every=0", "slow_ms=-1", "error=many"])
def test_bad_faults_are_one_line(word):
    with pytest.raises(SimulationError, match=f"lens fault '?{word.partition('=')[0]}"):
        Faults().set([word])


QUESTIONS = {
    "optotune_ld4": (bytes.fromhex("480036"), b"HA\xf6\x30\r\n"),
    "optotune_icc": (b"START\r\n", b"OK\r\n"),
    "scf4": (b"M238\n", b"OK\r\n"),
    "varioptic_usbm": (bytes.fromhex("0238050140"), bytes.fromhex("0238215b")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_faults_on_demand(kind):
    question, answer = QUESTIONS[kind]
    talk = Talk(kind)
    faults = talk.controller.faults
    faults.set(["silent"])
    assert talk(question) == b""
    faults.heal()
    faults.set(["wrong_check"])
    assert len(talk(question)) == len(answer)
    assert talk(question) != answer
    faults.set(["every=2"])
    assert sorted([talk(question) == answer, talk(question) == answer]) == [False, True]
    faults.heal()
    faults.set(["half_frames"])
    assert talk(question) == answer[: len(answer) // 2]
    faults.heal()
    faults.set(["stray=true"])
    assert talk(question).endswith(answer)
    assert len(talk(question)) > len(answer)
    faults.heal()
    faults.set(["error=2"])
    refusals = {"optotune_ld4": b"E\x02", "varioptic_usbm": bytes.fromhex("0238154f")}
    assert talk(question).startswith(refusals.get(kind, b"ERROR"))
    faults.heal()
    faults.set(["slow_ms=250"])
    at_us = talk.now_us + 1e6
    prompt = make_controller(kind).receive(question, at_us)[0].at_us
    assert talk.controller.receive(question, at_us)[0].at_us == pytest.approx(prompt + 250_000)


def test_temperature_and_focus_drift():
    talk = Talk("optotune_ld4")
    talk.controller.faults.set(["temperature_c_per_s=0.5", "focus_dpt_per_s=0.01"])
    talk(b"", 10e6)
    assert talk.ask(b"TCA", 0.0) == b"TCA" + i16(30 * 16)
    assert talk.controller.position_dpt == pytest.approx(make_controller("optotune_ld4").position_dpt + 0.1)


def read_until(port, end, seconds=60.0):
    port.timeout = seconds
    return port.read_until(end)


def test_a_client_at_the_pseudo_terminal_and_the_plug_pulled(tmp_path):
    link = tmp_path / "lens"
    question, answer = QUESTIONS["optotune_ld4"]
    with EmulatedController.of("optotune_ld4", link=link) as emulated:
        assert emulated.port == str(link)
        with serial.Serial(str(link), 115_200, timeout=60.0) as port:
            port.write(question)
            assert read_until(port, b"\r\n") == answer
            emulated.faults.slow_ms = 150.0
            begin = time.monotonic()
            port.write(question)
            assert read_until(port, b"\r\n") == answer
            assert time.monotonic() - begin > 0.15
            emulated.faults.heal()
            emulated.unplug()
            assert not link.is_symlink()
            assert emulated.port == ""
            with pytest.raises((serial.SerialException, OSError)):
                for _ in range(3):
                    port.write(question)
                    port.read(1)
        emulated.replug()
        with serial.Serial(str(link), 115_200, timeout=60.0) as port:
            port.write(question)
            assert read_until(port, b"\r\n") == answer
    assert not link.exists()


def test_emulate_serves_until_it_is_terminated(tmp_path):
    link = tmp_path / "lens"
    code = "import sys; from pathlib import Path; from edfv_ros.simulation.controllers import emulate; "
    code += "emulate('scf4', link=Path(sys.argv[1]), settings=['focus_axis=B'], faults=['every=1'])"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(link)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert json.loads(process.stdout.readline()) == {"kind": "scf4", "port": str(link), "baud": 115_200}
            with serial.Serial(str(link), 115_200, timeout=5.0) as port:
                port.write(b"M238\r\n")
                assert read_until(port, b"\r\n") == b"OK\r\n"
            for order, reply in [
                ("fault silent", {"port": str(link)}),
                ("jump", {"error": "'jump' is no order to an emulator: fault NAME[=VALUE], heal, unplug or replug"}),
                ("unplug", {"port": ""}),
                ("replug", {"port": str(link)}),
                ("heal", {"port": str(link)}),
            ]:
                process.stdin.write(order + "\n")
                process.stdin.flush()
                assert json.loads(process.stdout.readline()) == reply
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert not link.is_symlink()
        finally:
            process.kill()


def test_emulate_pulls_its_own_plug_and_puts_it_in_again(tmp_path):
    link = tmp_path / "lens"
    seen, over = [], threading.Event()

    def until(condition):
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.002)
        return condition()

    def answers():
        try:
            with serial.Serial(str(link), 115_200, timeout=5.0) as port:
                port.write(b"START\r\n")
                return port.read_until(b"\r\n") == b"OK\r\n"
        except (serial.SerialException, OSError):
            return False

    def watch():
        if until(link.is_symlink):
            client = os.open(link, os.O_RDWR | os.O_NOCTTY)  # notices the plug whenever it looks
            hung_up = select.poll()
            hung_up.register(client, 0)
            seen.append(until(lambda: bool(hung_up.poll(0))))
            os.close(client)
            seen.append(until(answers))
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        emulate("optotune_icc", link=link, unplug_after_s=1.0, replug_after_s=0.2)
    finally:
        over.set()
        watcher.join()
    assert seen == [True, True]
    assert not link.is_symlink()
    assert signal.getsignal(signal.SIGTERM) == handler


# the virtual rig


def seen_over_a_second(virtual, replay, lens, begin, start_us):
    """Events and rising edges of a live rig; ``begin`` tells the lens what to do. The sensor's time never goes back."""
    try:
        live = LiveRig(virtual, replay, lens, start_us=start_us)
        begin()
        lens.obey(start_us)
        packets = [live.advance(start_us + passed_us) for passed_us in range(4_000, 1_060_000, 4_000)]
    finally:
        lens.close()
    triggers = np.concatenate([packet.triggers for packet in packets])
    rises = triggers["timestamp"][triggers["type"] == TriggerType.RISING_EDGE]
    return np.concatenate([packet.events for packet in packets]), rises


def profile(events, rises):
    """Events of each polarity over the phase of the period that the first edge begins."""
    phase = (events["timestamp"] - rises[0]) / 200_000
    whole = (phase >= 0) & (phase < 5)
    on = events["polarity"].astype(bool)
    return np.concatenate([np.histogram(phase[whole & kind] % 1.0, 40, (0, 1))[0] for kind in (on, ~on)])


def test_the_virtual_rig_sees_what_the_generator_does():
    rig = small_rig(32, 24)  # a triangle of 5 Hz from 0.3 to 4.2 dpt, which are -2 and 3 dpt of the emulated lens
    virtual = VirtualRig.of_scene(rig, dotted_plane(0.5))
    replay = EventReplay(virtual)
    port = ControllerPort(make_controller("optotune_ld4", rig=rig))
    code = round(4095 * 2.5 / 4.5)  # 2.5 dpt either side of the focal power without current
    client = os.open(port.path, os.O_RDWR | os.O_NOCTTY)

    def begin():
        for payload in (
            b"PwLA" + i16(-code) + bytes(2),
            b"PwUA" + i16(code) + bytes(2),
            b"PwFA" + (5000).to_bytes(4, "big"),
            b"MwTA",
        ):
            obeyed = port.controller.commands
            os.write(client, payload + crc(payload))
            deadline_s = time.monotonic() + 20.0
            while port.controller.commands == obeyed:  # it may come in parts, and late; the controller's time stands
                assert select.select([port], [], [], max(0.0, deadline_s - time.monotonic()))[0]
                port.obey(0)

    events, rises = seen_over_a_second(virtual, replay, port, begin, 0)
    os.close(client)
    epoch_us = port.controller.generator.epoch_us
    assert 0 < epoch_us < 15_000
    assert rises == pytest.approx(epoch_us + np.arange(11) * 100_000, abs=1)
    assert (np.diff(events["timestamp"]) >= 0).all()

    reference = LensPort(rig, 2_000_000)
    expected = profile(*seen_over_a_second(virtual, replay, reference, reference.sweep, 2_000_000))
    assert expected.sum() > 20_000
    assert np.corrcoef(profile(events, rises), expected)[0, 1] > 0.99
    assert np.corrcoef(profile(events, rises), np.roll(expected, 2))[0, 1] < 0.97


def test_the_live_rig_refuses_what_it_does_not_know(tmp_path, capsys):
    rig_file = str(write_rig(small_rig(), tmp_path / "rig.yaml"))
    assert main(["--rig", rig_file, "--lens-set", "lens=false"]) == 2
    assert "add --lens-controller" in capsys.readouterr().err
    assert main(["--rig", rig_file, "--lens-controller", "scf4", "--lens-fault", "smoke"]) == 2
    assert "lens fault 'smoke' is not known" in capsys.readouterr().err
