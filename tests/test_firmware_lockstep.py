"""The lens firmware's real binary, in simulation: times are the processor's cycles, never the clock on the wall."""

import re
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from firmware_build import FIRMWARE, first_free_address, new_machine
from firmware_client import (
    BOOT,
    RECORD,
    REFUSAL,
    Frame,
    Kind,
    Parser,
    Record,
    Request,
    State,
    Status,
    configure_analogue,
    configure_stepper,
    crc16,
    encode,
    record_of,
    status_of,
    upload,
)
from simavr.machine import BYTE_CYCLES, CLOCK_HZ, CYCLES_PER_US, RECEIVE_VECTOR, Signal

UBRR0L, UBRR0H, UCSR0A = 0xC4, 0xC5, 0xC0
TICK_US = 500
ERROR_VALUE, ERROR_LIMIT, ERROR_BUSY, ERROR_UNCONFIGURED, ERROR_NOT_HOMED, ERROR_FAULT = 3, 4, 5, 6, 7, 11
TRIANGLE = [0, 65535]
STEPPER = configure_stepper(high=1000, park=100, speed=4000, acceleration=400_000, homing_speed=800)


class Device:
    """The simulated device and a host that waits for each reply."""

    def __init__(self) -> None:
        self.machine = new_machine()
        self.records: list[Record] = []
        self.boots: list[Frame] = []
        self.replies: list[Frame] = []
        self._parser = Parser()
        self._sequence = 0
        self.machine.run_ms(10)
        self.take()

    def take(self) -> None:
        for frame in self._parser.feed(self.machine.take_sent()):
            if frame.type == RECORD:
                self.records.append(record_of(frame.payload))
            elif frame.type == BOOT:
                self.boots.append(frame)
            else:
                self.replies.append(frame)
        assert self._parser.skipped == 0

    def run_ms(self, milliseconds: float) -> None:
        self.machine.run_ms(milliseconds)
        self.take()

    def request(self, kind: int, payload: bytes = b"") -> Frame:
        self._sequence = (self._sequence + 1) % 256
        self.machine.send(encode(kind, self._sequence, payload))
        self.replies.clear()
        for _ in range(50):
            self.run_ms(1)
            if self.replies:
                (reply,) = self.replies
                assert reply.sequence == self._sequence
                return reply
        raise AssertionError(f"no reply to {kind} within 50 ms")

    def ask(self, kind: Request, payload: bytes = b"") -> bytes:
        reply = self.request(kind, payload)
        assert reply.type == kind | 0x80, f"{kind.name} was refused: {reply}"
        return reply.payload

    def refusal(self, kind: int, payload: bytes = b"") -> int:
        reply = self.request(kind, payload)
        assert reply.type == REFUSAL and reply.payload[0] == kind
        return reply.payload[1]

    def status(self) -> Status:
        return status_of(self.ask(Request.STATUS))

    def upload(self, points: list[int], near_turn: int) -> None:
        for kind, payload in upload(points, near_turn):
            self.ask(Request(kind), payload)

    def start(self, period_us: int, lead_ms: int = 5) -> None:
        self.ask(Request.START, struct.pack("<IH", period_us, lead_ms))

    def goto(self, code: int) -> None:
        self.ask(Request.GOTO, struct.pack("<H", code))

    def home(self) -> None:
        self.ask(Request.HOME)
        for _ in range(200):
            self.run_ms(10)
            if self.records and self.records[-1].kind == Kind.ARRIVED:
                return
        raise AssertionError("homing did not end")

    def pulses_us(self) -> tuple[np.ndarray, np.ndarray]:
        """Times of the rising edges of the sync output and widths of its pulses, in microseconds."""
        cycles, levels = self.machine.signal(Signal.SYNC)
        whole = len(cycles) // 2 * 2
        times_us = cycles[:whole].astype(np.float64) / CYCLES_PER_US
        assert (levels[:whole:2] == 1).all() and (levels[1:whole:2] == 0).all()
        return times_us[::2], times_us[1::2] - times_us[::2]

    def turns(self) -> list[Record]:
        return [record for record in self.records if record.kind in (Kind.FAR_TURN, Kind.NEAR_TURN)]


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.machine.close()


@pytest.fixture
def analogue(device: Device) -> Device:
    device.ask(Request.CONFIGURE, configure_analogue(watchdog_ms=60000))
    return device


@pytest.fixture
def stepper(device: Device) -> Device:
    device.machine.put_motor(300, home_below=0)
    device.ask(Request.CONFIGURE, STEPPER)
    return device


def test_the_line_runs_at_115200_baud(device: Device) -> None:
    double_speed = device.machine.data(UCSR0A) >> 1 & 1
    divider = (8 if double_speed else 16) * ((device.machine.data(UBRR0H) << 8 | device.machine.data(UBRR0L)) + 1)
    assert CLOCK_HZ / divider == pytest.approx(115200, rel=0.022)


def test_every_example_of_the_document_is_what_the_device_understands(device: Device) -> None:
    text = (FIRMWARE / "PROTOCOL.md").read_text()
    rows = re.findall(r"^\| (.+) \| `((?:[0-9A-F]{2} ?)+)` \|$", text, re.MULTILINE)
    frames = [(what, bytes.fromhex(frame)) for what, frame in rows]
    assert len(frames) == 12
    for what, data in frames:
        assert crc16(data[2:-2]) == int.from_bytes(data[-2:], "little"), what
    requests = [data for what, data in frames if "sequence" in what]
    answers = []
    for data in requests:
        device.machine.send(data)
        device.replies.clear()
        device.run_ms(20)
        answers += [encode(reply.type, reply.sequence, reply.payload) for reply in device.replies]
    assert len(answers) == len(requests) == 8
    assert all(answer[3] != REFUSAL for answer in answers)
    assert {data for what, data in frames if what == "its reply"} <= set(answers)


@pytest.fixture(scope="module")
def minute() -> Iterator[tuple[Device, int]]:
    """A 10 Hz triangle for 60 s, with records every 10 ms, under 90 % line load; and how many requests that were."""
    device = Device()
    device.ask(Request.CONFIGURE, configure_analogue(watchdog_ms=1000))
    device.upload(TRIANGLE, 1)
    device.ask(Request.TELEMETRY, struct.pack("<H", 10))
    device.start(100_000)
    device.replies.clear()
    longest_request = encode(Request.TABLE_DATA, 0, bytes(64))  # refused while sweeping, and answered
    requests = 0
    while device.machine.cycle < 60.1 * CLOCK_HZ:
        device.machine.send(longest_request * 100, load=0.9)
        requests += 100
        device.run_ms(7100 / (0.9 * 11.764706))  # as long as the line takes, at 11.76 bytes/ms
    device.run_ms(50)
    yield device, requests
    device.machine.close()


def test_a_minute_of_pulses_is_on_time_under_full_traffic(minute: tuple[Device, int]) -> None:
    device, _ = minute
    times_us, widths_us = device.pulses_us()
    due_us = times_us[0] + 50_000.0 * np.arange(len(times_us))
    assert len(times_us) >= 1200
    np.testing.assert_allclose(times_us, due_us, rtol=0, atol=10)
    np.testing.assert_allclose(widths_us[::2], 1000, rtol=0, atol=10)
    np.testing.assert_allclose(widths_us[1::2], 500, rtol=0, atol=10)


def test_a_minute_of_records_loses_none(minute: tuple[Device, int]) -> None:
    device, _ = minute
    numbers = [record.number for record in device.records]
    assert numbers == list(range(len(numbers)))
    samples = [record.time_us for record in device.records if record.kind == Kind.SAMPLE]
    assert len(samples) >= 6000
    assert set(np.diff(samples)) == {10_000}
    times_us, _ = device.pulses_us()
    turns = device.turns()[: len(times_us)]
    device_us = np.array([turn.time_us for turn in turns], np.float64)
    offsets_us = times_us[: len(turns)] - device_us  # the timer starts a little after the processor
    assert len(turns) >= 1200
    assert np.ptp(offsets_us) <= 2
    assert [turn.kind for turn in turns[:4]] == [Kind.FAR_TURN, Kind.NEAR_TURN] * 2
    assert [turn.direction for turn in turns[:4]] == [1, -1] * 2
    assert {turn.set_point for turn in turns[::2]} == {0} and {turn.set_point for turn in turns[1::2]} == {65535}


def test_a_minute_at_90_percent_line_load_loses_no_byte(minute: tuple[Device, int]) -> None:
    device, requests = minute
    refused = [reply for reply in device.replies if reply.type == REFUSAL]
    assert len(refused) == requests
    assert {reply.payload for reply in refused} == {bytes([Request.TABLE_DATA, ERROR_BUSY])}
    status = device.status()
    assert (status.wrong_crcs, status.wrong_lengths, status.overruns, status.skipped) == (0, 0, 0, 0)
    assert (status.records_lost, status.late_ticks, status.watchdog_trips) == (0, 0, 0)
    assert device.machine.longest_wait(RECEIVE_VECTOR) < BYTE_CYCLES  # the hardware keeps two bytes


def test_a_minute_of_set_points_follows_the_triangle(minute: tuple[Device, int]) -> None:
    device, _ = minute
    times_us, _ = device.pulses_us()
    cycles, frames = device.machine.signal(Signal.DAC)
    written_us = cycles.astype(np.float64) / CYCLES_PER_US
    sweeping = written_us > times_us[0] + TICK_US
    assert (frames[sweeping] >> 12 == 0b0011).all()
    # The simulated SPI takes 100 us for a byte, whatever its clock.
    tick_us = np.floor((written_us[sweeping] - times_us[0]) / TICK_US) * TICK_US
    phase = (tick_us + TICK_US / 2) / 100_000 % 1.0
    expected = (1 - np.abs(2 * phase - 1)) * 65535 / 16
    np.testing.assert_allclose(frames[sweeping] & 0xFFF, expected, rtol=0, atol=1.2)  # rounded down
    assert np.diff(tick_us).max() == TICK_US  # none left out


def test_the_stack_has_room(minute: tuple[Device, int]) -> None:
    device, _ = minute
    assert device.machine.stack_left(first_free_address()) >= 100


def test_turns_do_not_drift_where_nothing_divides(analogue: Device) -> None:
    analogue.upload([100, 5000, 20000, 65000, 40000, 20000, 5000], 3)
    analogue.start(33_333)
    analogue.run_ms(5000)
    times_us, widths_us = analogue.pulses_us()
    k = np.arange(len(times_us))
    due_us = times_us[0] + 33_333 * (k // 2) + np.where(k % 2, 33_333 * 3 / 7, 0)
    assert len(times_us) >= 290
    np.testing.assert_allclose(times_us, due_us, rtol=0, atol=0.6)
    np.testing.assert_allclose(widths_us, np.where(k % 2, 500, 1000), rtol=0, atol=0.6)


def test_a_fast_sweep_of_many_points(analogue: Device) -> None:
    points = [round(32767.5 * (1 - np.cos(2 * np.pi * i / 256))) for i in range(256)]
    analogue.upload(points, 128)
    analogue.start(10_000)
    analogue.run_ms(500)
    times_us, _ = analogue.pulses_us()
    np.testing.assert_allclose(times_us, times_us[0] + 5000 * np.arange(len(times_us)), rtol=0, atol=0.6)
    cycles, frames = analogue.machine.signal(Signal.DAC)
    written_us = cycles.astype(np.float64) / CYCLES_PER_US - times_us[0]
    tick_us = np.floor(written_us / TICK_US) * TICK_US
    sweeping = written_us > 0
    expected = 2047.5 * (1 - np.cos(2 * np.pi * (tick_us + TICK_US / 2) / 10_000))
    np.testing.assert_allclose((frames & 0xFFF)[sweeping], expected[sweeping], rtol=0, atol=1.5)


def test_a_sawtooth_has_one_pulse_a_period(analogue: Device) -> None:
    analogue.upload([1000, 60000, 1000], 0xFFFF)
    analogue.start(40_000)
    analogue.run_ms(1000)
    times_us, widths_us = analogue.pulses_us()
    np.testing.assert_allclose(np.diff(times_us), 40_000, rtol=0, atol=0.6)
    np.testing.assert_allclose(widths_us, 1000, rtol=0, atol=0.6)
    assert {turn.kind for turn in analogue.turns()} == {Kind.FAR_TURN}


def test_a_stop_in_the_middle_of_a_pulse_lets_it_end(analogue: Device) -> None:
    analogue.upload(TRIANGLE, 1)
    analogue.start(100_000, lead_ms=20)
    while len(analogue.machine.signal(Signal.SYNC)[0]) < 1:
        analogue.machine.run_cycles(800)
    analogue.ask(Request.STOP)
    analogue.run_ms(500)
    times_us, widths_us = analogue.pulses_us()
    assert len(times_us) == 1 and widths_us[0] == pytest.approx(1000, abs=0.6)
    assert analogue.status().state == State.HOLDING


def test_the_watchdog_parks_the_lens_and_the_host_may_come_back(device: Device) -> None:
    device.ask(Request.CONFIGURE, configure_analogue(park=4096, watchdog_ms=300))
    device.upload(TRIANGLE, 1)
    device.start(50_000)
    last_request_us = device.status().time_us
    device.run_ms(2000)
    (record,) = [record for record in device.records if record.kind == Kind.WATCHDOG]
    assert record.time_us - last_request_us == pytest.approx(300_000, abs=2000)
    assert device.machine.signal(Signal.DAC)[1][-1] & 0xFFF == 4096 >> 4
    assert device.turns()[-1].time_us <= record.time_us + 1000
    status = device.status()
    assert (status.state, status.watchdog_trips, status.flags & 8) == (State.PARKED, 1, 8)
    turns = status.turns
    device.start(50_000)
    device.run_ms(200)
    assert device.status().turns > turns


def test_device_time_is_the_processors(device: Device) -> None:
    offsets_us = []
    for _ in range(20):
        before = device.machine.cycle
        received_us, sent_us = struct.unpack("<QQ", device.ask(Request.TIME))
        assert received_us <= sent_us < received_us + 1000
        assert before / CYCLES_PER_US < received_us + 1000 and sent_us < device.machine.cycle / CYCLES_PER_US
        device.run_ms(33)  # the 16-bit timer overflows every 32.8 ms
        sample = record_of(device.ask(Request.SAMPLE))
        offsets_us.append(device.machine.cycle / CYCLES_PER_US - sample.time_us)
    assert np.ptp(offsets_us) < 3000


def test_garbage_costs_no_frame_that_follows(device: Device) -> None:
    good = encode(Request.IDENTIFY, 77)
    for garbage in (
        b"\x00\xff" * 20,
        b"\xed" * 9,
        b"\xed\xf1",
        b"\xed\xf1\x05",
        b"\xed\xf1\xed\xf1\x41",
        b"\xed\xf1\x00\x01",
    ):
        device.replies.clear()
        device.machine.send(garbage + good + good)
        device.run_ms(40)
        device.machine.send(good)  # what the garbage announced may have swallowed the others until now
        device.run_ms(40)
        assert [reply.sequence for reply in device.replies] == [77, 77, 77], garbage
    damaged = bytearray(good)
    damaged[-1] ^= 1
    before = device.status()
    device.machine.send(bytes(damaged))
    device.run_ms(10)
    after = device.status()
    assert after.wrong_crcs == before.wrong_crcs + 1
    device.machine.send(encode(Request.TABLE_DATA, 1, bytes(60))[:30])
    device.run_ms(30)
    assert device.status().wrong_lengths == after.wrong_lengths + 1


def test_requests_out_of_place_are_refused_with_the_reason(device: Device) -> None:
    assert device.refusal(0x3F) == 1
    assert device.refusal(Request.GOTO, b"\0") == 2
    assert device.refusal(Request.GOTO, b"\0\0") == ERROR_UNCONFIGURED
    assert device.refusal(Request.CONFIGURE, configure_analogue(low=9, high=8)) == ERROR_VALUE
    assert device.refusal(Request.CONFIGURE, configure_analogue(low=9, park=8)) == ERROR_VALUE
    assert device.refusal(Request.CONFIGURE, configure_analogue(watchdog_ms=99)) == ERROR_VALUE
    assert device.ask(Request.GET_CONFIGURATION) == bytes(22)
    configuration = configure_analogue(low=1000, high=2000, park=1500)
    assert device.ask(Request.CONFIGURE, configuration) == configuration
    assert device.ask(Request.GET_CONFIGURATION) == configuration
    for code in (999, 2001):
        assert device.refusal(Request.GOTO, struct.pack("<H", code)) == ERROR_LIMIT
    assert device.refusal(Request.HOME) == ERROR_VALUE
    start = struct.pack("<IH", 100_000, 5)
    assert device.refusal(Request.START, start) == 8
    assert device.refusal(Request.TABLE_DATA, struct.pack("<HH", 0, 1500)) == 8
    device.ask(Request.TABLE_BEGIN, struct.pack("<HHH", 3, 1, 0))
    assert device.refusal(Request.TABLE_DATA, struct.pack("<HH", 0, 999)) == ERROR_LIMIT
    assert device.refusal(Request.TABLE_DATA, struct.pack("<HH", 1, 1500)) == 9
    device.ask(Request.TABLE_DATA, struct.pack("<HHH", 0, 1000, 2000))
    assert device.refusal(Request.TABLE_END) == 9
    device.ask(Request.TABLE_BEGIN, struct.pack("<HHH", 2, 1, 0))
    device.ask(Request.TABLE_DATA, struct.pack("<HHH", 0, 1000, 2000))
    assert device.refusal(Request.TABLE_END) == 10
    assert device.refusal(Request.START, start) == 8
    device.upload([1000, 2000], 1)
    assert device.refusal(Request.START, struct.pack("<IH", 9_999, 5)) == ERROR_VALUE
    device.start(100_000)
    for kind, payload in ((Request.START, start), (Request.CONFIGURE, configuration), *upload([1000, 2000], 1)):
        assert device.refusal(kind, payload) == ERROR_BUSY
    device.goto(2000)  # ends the sweep
    device.run_ms(20)
    assert device.records[-1].kind == Kind.ARRIVED
    assert (device.status().state, device.status().set_point) == (State.HOLDING, 2000)


def test_turns_may_not_be_closer_than_their_pulses(analogue: Device) -> None:
    analogue.upload([0, 65535, 60000, 50000, 40000, 30000, 20000, 10000], 1)
    assert analogue.refusal(Request.START, struct.pack("<IH", 31_999, 5)) == ERROR_VALUE
    analogue.start(32_000)


def test_a_stepper_homes_and_goes_where_it_is_told(stepper: Device) -> None:
    assert stepper.refusal(Request.GOTO, b"\0\0") == ERROR_NOT_HOMED
    stepper.home()
    assert stepper.machine.motor == stepper.status().position == 100
    assert stepper.status().state == State.PARKED
    for code in (1000, 0, 517):
        stepper.goto(code)
        stepper.run_ms(600)
        assert stepper.machine.motor == stepper.status().position == code
        assert stepper.records[-1].kind == Kind.ARRIVED


def test_a_stepper_keeps_to_its_speed_and_acceleration(stepper: Device) -> None:
    stepper.home()
    first = len(stepper.machine.signal(Signal.STEP)[0])
    stepper.goto(1000)
    stepper.run_ms(600)
    cycles, levels = stepper.machine.signal(Signal.STEP, first)
    times_s = cycles[levels == 1].astype(np.float64) / CLOCK_HZ
    assert len(times_s) == 900
    assert np.diff(times_s).min() >= 1 / 4000 - 2e-6
    speed = 20 / (times_s[20:] - times_s[:-20])  # steps/s over 20 steps: half a tick matters little
    middle_s = (times_s[20:] + times_s[:-20]) / 2
    acceleration = (speed[20:] - speed[:-20]) / (middle_s[20:] - middle_s[:-20])
    assert np.abs(acceleration).max() < 1.1 * 400_000
    # As fast as these allow: 900 steps at 4000 steps/s, and the ramps.
    assert times_s[-1] - times_s[0] == pytest.approx(900 / 4000 + 4000 / 400_000, rel=0.03)


def test_a_stepper_sweeps_on_time_under_full_traffic(stepper: Device) -> None:
    stepper.home()
    points = [100 + round(400 * (1 - abs(2 * i / 64 - 1))) for i in range(64)]
    stepper.upload(points, 32)
    stepper.start(400_000)
    stepper.replies.clear()
    stepper.machine.send(encode(Request.TABLE_DATA, 0, bytes(64)) * 800, load=0.9)
    stepper.run_ms(6000)
    assert len(stepper.replies) == 800
    times_us, _ = stepper.pulses_us()
    np.testing.assert_allclose(times_us, times_us[0] + 200_000 * np.arange(len(times_us)), rtol=0, atol=10)
    assert len(times_us) >= 29
    assert all(abs(turn.position - turn.set_point) <= 2 for turn in stepper.turns())
    status = stepper.status()
    assert (status.overruns, status.wrong_crcs, status.skipped) == (0, 0, 0)
    assert stepper.machine.longest_wait(RECEIVE_VECTOR) < BYTE_CYCLES
    assert abs(stepper.machine.motor - status.position) <= 20  # where it was some milliseconds ago
    assert stepper.machine.stack_left(first_free_address()) >= 100


def test_a_stepper_stays_within_its_limits_whatever_the_waveform(stepper: Device) -> None:
    stepper.home()
    stepper.upload([0, 1000], 1)
    stepper.start(100_000)  # 20 000 steps/s is asked for
    reached = []
    for _ in range(400):
        stepper.run_ms(2)
        reached.append(stepper.machine.motor)
    assert min(reached) >= 0 and max(reached) <= 1000


def test_lost_steps_are_a_fault_until_homing_counts_them(stepper: Device) -> None:
    stepper.home()
    stepper.goto(500)
    stepper.run_ms(400)
    stepper.machine.put_motor(stepper.machine.motor - 30, home_below=0)
    stepper.goto(10)
    stepper.run_ms(400)
    status = stepper.status()
    assert stepper.records[-1].kind == Kind.STEPS_LOST
    assert (status.state, status.flags & 0b10001) == (State.FAULT, 0b10000)
    for kind, payload in ((Request.GOTO, b"\0\0"), (Request.PARK, b"")):
        assert stepper.refusal(kind, payload) == ERROR_FAULT
    stepper.home()
    (homed,) = [record for record in stepper.records if record.kind == Kind.HOMED][1:]
    assert homed.detail == 30
    assert stepper.machine.motor == stepper.status().position == 100


def test_homing_without_a_switch_fails(device: Device) -> None:
    device.ask(Request.CONFIGURE, STEPPER)
    device.ask(Request.HOME)
    assert device.refusal(Request.GOTO, b"\0\0") == ERROR_BUSY
    device.run_ms(4500)  # 3000 steps at 800 steps/s
    assert device.records[-1].kind == Kind.HOMING_FAILED
    assert device.status().state == State.FAULT


def test_an_unplugged_host_leaves_a_stepper_parked(device: Device) -> None:
    device.machine.put_motor(50, home_below=0)
    configuration = configure_stepper(
        high=1000, park=700, speed=4000, acceleration=400_000, homing_speed=800, watchdog_ms=500
    )
    device.ask(Request.CONFIGURE, configuration)
    device.home()
    device.goto(0)
    device.run_ms(1500)
    assert device.machine.motor == 700
    assert device.status().state == State.PARKED
