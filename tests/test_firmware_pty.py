"""The firmware's real binary behind a serial port, at the pace of the wall clock; a client on the other end."""

import os
import select
import struct
import threading
import time
import tty
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import serial
from firmware_build import new_machine
from firmware_client import (
    BOOT,
    RECORD,
    Kind,
    Parser,
    Record,
    Request,
    State,
    configure_analogue,
    encode,
    record_of,
    status_of,
    upload,
)
from simavr.machine import CLOCK_HZ

from edfv_ros.errors import LensError
from edfv_ros.lens.driver import LensSample
from edfv_ros.lens.drivers import edfv as driver
from edfv_ros.lens.drivers.edfv import EdfvLens
from edfv_ros.lens.plan import SweepPlan
from edfv_ros.rig import Calibration, Rig, load_rig

_SLICE_S = 0.001


class PacedDevice:
    """A device on a pseudo-terminal, plugged in from its construction until :meth:`unplug`."""

    def __init__(self) -> None:
        self._machine = new_machine()
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stop.is_set():
            if select.select([self._master], [], [], 0)[0]:
                self._machine.send(os.read(self._master, 4096))
            due_cycle = (time.monotonic() - began_s) * CLOCK_HZ
            if due_cycle > self._machine.cycle:
                self._machine.run_cycles(round(min(due_cycle - self._machine.cycle, 0.1 * CLOCK_HZ)))
            if sent := self._machine.take_sent():
                os.write(self._master, sent)
            time.sleep(_SLICE_S)

    def close(self) -> None:
        if not self._stop.is_set():
            self.unplug()

    def unplug(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)
        self._machine.close()


class Client:
    """Connects as the document says, and waits for replies."""

    def __init__(self, port: str) -> None:
        self._serial = serial.Serial(port, 115200, timeout=0.05)
        self._parser = Parser()
        self._sequence = 0
        self.records: list[Record] = []
        for _ in range(40):
            if self._try(Request.IDENTIFY, b"", 0.25) is not None:
                break
        else:
            raise AssertionError("nothing identified itself")

    def close(self) -> None:
        self._serial.close()

    def ask(self, kind: Request, payload: bytes = b"") -> bytes:
        reply = self._try(kind, payload, 10.0)
        assert reply is not None, f"no reply to {kind.name}"
        return reply

    def wait_for_records(self, kind: int, count: int) -> list[Record]:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            found = [record for record in self.records if record.kind == kind]
            if len(found) >= count:
                return found
            self._receive()
        raise AssertionError(f"{count} records of kind {kind} did not come")

    def _try(self, kind: Request, payload: bytes, wait_s: float) -> bytes | None:
        self._sequence = (self._sequence + 1) % 256
        self._serial.write(encode(kind, self._sequence, payload))
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            for reply_type, sequence, reply in self._receive():
                if (reply_type, sequence) == (kind | 0x80, self._sequence):
                    return reply
        return None

    def _receive(self) -> list[tuple[int, int, bytes]]:
        replies = []
        for frame in self._parser.feed(self._serial.read(max(1, self._serial.in_waiting))):
            if frame.type == RECORD:
                self.records.append(record_of(frame.payload))
            elif frame.type != BOOT:
                replies.append((frame.type, frame.sequence, frame.payload))
        return replies


def sweep(client: Client) -> None:
    client.ask(Request.CONFIGURE, configure_analogue(watchdog_ms=60000))
    for kind, payload in upload([0, 65535], 1):
        client.ask(Request(kind), payload)
    client.ask(Request.TELEMETRY, struct.pack("<H", 20))
    client.ask(Request.START, struct.pack("<IH", 50_000, 5))


def check_sweeps(client: Client) -> None:
    turns = client.wait_for_records(Kind.FAR_TURN, 5)
    assert {after.time_us - before.time_us for before, after in pairwise(turns)} == {50_000}
    client.wait_for_records(Kind.SAMPLE, 10)
    assert [record.number for record in client.records] == list(range(len(client.records)))


def rig_at(port: str) -> Rig:
    """Codes 1000 to 61000 for 0 to 6 dpt."""
    rig = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
    calibration = Calibration(control=(1000.0, 61000.0), vergence_up_dpt=(0.0, 6.0))
    lens = rig.lens.model_copy(update={"driver": "edfv", "port": port, "calibration": calibration})
    return rig.model_copy(update={"lens": lens})


def take_samples(lens: EdfvLens, count: int) -> list[LensSample]:
    samples: list[LensSample] = []
    deadline_s = time.monotonic() + 60
    while len(samples) < count:
        assert time.monotonic() < deadline_s, f"{len(samples)} samples came"
        samples += lens.telemetry()
        time.sleep(0.01)
    return samples


def test_a_client_written_from_the_document_connects_uploads_and_sweeps() -> None:
    with closing(PacedDevice()) as device, closing(Client(device.port)) as client:
        sweep(client)
        check_sweeps(client)
        status = status_of(client.ask(Request.STATUS))
        assert (status.state, status.overruns, status.records_lost) == (State.SWEEPING, 0, 0)


def test_the_driver_sweeps_and_comes_back_after_unplugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_REPLY_S", 10.0)  # a busy machine simulates late,
    monkeypatch.setattr(driver, "_WATCHDOG_MS", 60_000)  # and lets nobody speak for long
    plan = SweepPlan(0.5, 4.5, "triangle", 5.0)
    with closing(PacedDevice()) as device, EdfvLens(rig_at(device.port)) as lens:
        lens.open()
        assert "firmware 1.0.0" in lens.identify()
        lens.goto(2.0)
        lens.run(plan)
        samples = take_samples(lens, 120)  # more than a period
        assert [sample.sequence for sample in samples[1:]] == [sample.sequence + 1 for sample in samples[:-1]]
        vergence_dpt = [sample.vergence_dpt for sample in samples]
        assert min(vergence_dpt) == pytest.approx(0.5, abs=1e-3) and max(vergence_dpt) == pytest.approx(4.5, abs=1e-3)
        trip = lens.query_clock()
        assert trip.device_us > samples[-1].device_us
        device.unplug()
        with pytest.raises(LensError):
            take_samples(lens, 10_000)
    with closing(PacedDevice()) as device, EdfvLens(rig_at(device.port)) as lens:
        lens.open()
        lens.run(plan)
        assert take_samples(lens, 10)[0].vergence_dpt == pytest.approx(0.5, abs=1e-3)  # from the far turn on
