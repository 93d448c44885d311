"""The virtual lens's driver and telemetry, over a real pseudo-terminal."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lens_doubles import VirtualDouble, wait_for

from edfv_ros.errors import LensError
from edfv_ros.events.types import EVENT_DTYPE, TRIGGER_DTYPE, Packet, TriggerType
from edfv_ros.lens.clock import RoundTrip
from edfv_ros.lens.driver import LensSample
from edfv_ros.lens.drivers.virtual import VirtualLens
from edfv_ros.lens.opening import open_lens
from edfv_ros.lens.plan import SweepPlan
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.lens.sync import TelemetrySweeps, open_sweeps
from edfv_ros.lens.waveform import waveform_vergence_dpt
from edfv_ros.rig import Rig, load_rig

RIG = load_rig(Path(__file__).parents[1] / "config" / "rig.yaml")
T0 = 1_700_000_000_000_000


def rig_at(port: str, *, hz: float = 5.0, delay_ms: float = 0.0, driver: str = "virtual") -> Rig:
    lens = RIG.lens.model_copy(update={"port": port, "delay_ms": delay_ms, "driver": driver})
    return RIG.model_copy(
        update={"lens": lens, "sweep": RIG.sweep.model_copy(update={"sync": "telemetry", "frequency_hz": hz})}
    )


def test_a_lens_is_identified_moved_swept_and_stopped() -> None:
    with VirtualDouble() as emulator, open_lens(rig_at(emulator.port)) as lens:
        assert lens.identify() == "virtual lens 1"
        assert (lens.limits().min_dpt, lens.limits().max_dpt) == (0.3, 4.2)
        lens.goto(1.25)
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        assert lens.state().sweeping
        wait_for(lambda: lens.state().last is not None)
        lens.stop()
        assert not lens.state().sweeping
        wait_for(lambda: len(lens.telemetry()) > 0)
        assert emulator.requests[1:] == [
            "ID",
            "GOTO 1.250000",
            "STOP",
            "SWEEP 0.300000 4.200000 triangle 5.000000",
            "STOP",
        ]


def test_telemetry_comes_in_order_between_the_answers() -> None:
    with VirtualDouble() as emulator, open_lens(rig_at(emulator.port)) as lens:
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        samples: list[LensSample] = []

        def enough() -> bool:
            lens.identify()
            samples.extend(lens.telemetry())
            return len(samples) >= 40

        wait_for(enough)
        assert [sample.sequence for sample in samples] == list(range(len(samples)))
        trip = lens.query_clock()
        assert trip.send_us <= trip.receive_us and trip.duration_us < 1_000_000


def test_a_new_sweep_leaves_nothing_of_the_one_before() -> None:
    """Half of a sweep that was cut off would pass for a whole one, and its direction would come twice."""
    with VirtualDouble() as emulator, open_lens(rig_at(emulator.port)) as lens:
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        wait_for(lambda: (last := lens.state().last) is not None and last.vergence_dpt > 3.5)
        lens.run(SweepPlan(0.3, 4.2, "triangle", 5.0))
        wait_for(lambda: lens.state().last is not None)
        assert lens.telemetry()[0].device_us == emulator.turn_us(0)


def test_an_absent_port_is_told_from_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(LensError, match="ttyNONE: there is no such port"):
        open_lens(rig_at(str(tmp_path / "ttyNONE")))
    with pytest.raises(LensError, match=r"lens\.port is empty"):
        open_lens(rig_at(""))
    (tmp_path / "file").write_text("")
    with pytest.raises(LensError, match="file: "):
        open_lens(rig_at(str(tmp_path / "file")))


def test_a_silent_port_and_a_wrong_answer_are_told_apart() -> None:
    with VirtualDouble(replies={"ID": None}) as emulator:
        lens = VirtualLens(rig_at(emulator.port), reply_timeout_s=0.1)
        with pytest.raises(LensError, match=r"no answer to ID within 0\.1 s"):
            lens.open()
    with (
        VirtualDouble(replies={"ID": "Ready"}) as emulator,
        pytest.raises(LensError, match="'Ready' to ID: this is no"),
    ):
        open_lens(rig_at(emulator.port))


def test_a_refusal_comes_with_the_lens_s_reason() -> None:
    with VirtualDouble(replies={"GOTO": "ERR too hot"}) as emulator, open_lens(rig_at(emulator.port)) as lens:
        with pytest.raises(LensError, match=r"refused 'GOTO 1\.000000': too hot"):
            lens.goto(1.0)
        assert lens.identify()


def test_a_time_that_is_no_number_is_an_error() -> None:
    with (
        VirtualDouble(replies={"TIME": "T noon"}) as emulator,
        open_lens(rig_at(emulator.port)) as lens,
        pytest.raises(LensError, match="not a number"),
    ):
        lens.query_clock()


def test_stray_bytes_and_garbled_telemetry_do_no_harm() -> None:
    with VirtualDouble() as emulator, VirtualLens(rig_at(emulator.port)) as lens:
        lens.open()
        emulator.send(b"S 1 2 x\n")
        emulator.send(b"\x00\xff noise\n")
        emulator.send(b"S 7 8 1.5\n")
        wait_for(lambda: lens.state().last is not None)
        assert lens.garbled_lines == 1
        assert lens.identify() and lens.telemetry() == [LensSample(7, 8, 1.5)]


def test_the_rest_of_a_line_of_telemetry_is_no_answer() -> None:
    """Where nobody has read for long, the beginning of a line may be gone."""
    replies: dict[str, str | None] = {"GOTO": "12 -2.250000\nOK"}
    with VirtualDouble(replies=replies) as emulator, open_lens(rig_at(emulator.port)) as lens:
        lens.goto(1.0)
        assert lens.identify() == "virtual lens 1"


def packet_now(triggers: list[tuple[int, int]] | None = None) -> Packet:
    events = np.zeros(1, EVENT_DTYPE)
    events["timestamp"] = time.time_ns() // 1000
    return Packet(events=events, triggers=np.array(triggers or [], TRIGGER_DTYPE))


def follow(emulator: VirtualDouble, rig: Rig, sweeps: int, ahead_us: int) -> tuple[TelemetrySweeps, list[FocusSweep]]:
    """Events get as far as the telemetry that has come, however late that is, on a clock that is so much behind."""
    taken: list[FocusSweep] = []
    with open_lens(rig) as lens:
        source = open_sweeps(rig, driver=lens)
        assert isinstance(source, TelemetrySweeps)
        lens.run(SweepPlan(0.3, 4.2, "triangle", rig.sweep.frequency_hz))

        def enough() -> bool:
            last = lens.state().last
            if last is None:
                return False
            packet = packet_now()
            packet.events["timestamp"] = last.device_us - ahead_us
            source.observe(packet)
            promised_us = source.discard_before_us
            while (sweep := source.take()) is not None:
                assert sweep.start_us >= promised_us
                taken.append(sweep)
                promised_us = source.discard_before_us
            return len(taken) >= sweeps

        wait_for(enough)
    return source, taken


def test_telemetry_gives_the_sweeps_on_the_host_s_clock() -> None:
    ahead_us = 123_456_789
    with VirtualDouble(clock_us=lambda: time.time_ns() // 1000 + ahead_us) as emulator:
        source, taken = follow(emulator, rig_at(emulator.port, hz=10.0, delay_ms=3.0), 4, ahead_us)
        for index, sweep in enumerate(taken):
            expected = emulator.turn_us(index) - ahead_us + 3_000
            assert sweep.direction == (1 if index % 2 == 0 else -1)
            assert abs(sweep.timestamps_us[0] - expected) < source.clock.uncertainty_us * 4 + 500
    assert not source.counters


def test_sweeps_with_holes_in_the_telemetry_are_dropped_and_counted() -> None:
    with VirtualDouble(
        clock_us=lambda: time.time_ns() // 1000, lose=lambda sequence: 13 <= sequence < 17 or sequence == 30
    ) as emulator:
        source, taken = follow(emulator, rig_at(emulator.port, hz=10.0), 2, 0)
        # four samples out of the second sweep, and the turning point between the third and the fourth
        starts = [round((sweep.timestamps_us[0] - taken[0].timestamps_us[0]) / 50_000) for sweep in taken]
    assert starts == [0, 4] == [sweep.number for sweep in taken]
    assert source.counters["lost_samples"] == 5 and source.counters["broken_sweeps"] == 3


def test_a_lens_that_does_not_move_is_an_error() -> None:
    with VirtualDouble() as emulator, open_lens(rig_at(emulator.port)) as lens:
        source = TelemetrySweeps(RIG, lens)
        source.observe(packet_now())
        late = packet_now()
        late.events["timestamp"] += 5_000_000
        with pytest.raises(LensError, match="reported no motion"):
            source.observe(late)


def test_a_reset_of_the_camera_s_clock_ends_telemetry_sync() -> None:
    with VirtualDouble() as emulator, open_lens(rig_at(emulator.port)) as lens:
        source = TelemetrySweeps(RIG, lens)
        source.observe(packet_now([(0, int(TriggerType.TIMESTAMP_RESET))]))
        with pytest.raises(LensError, match="clock was reset"):
            source.observe(packet_now([(0, int(TriggerType.TIMESTAMP_RESET))]))


class LossyLens:
    """The telemetry side of a lens, as fast as a test can ask: a triangle whose samples may be lost."""

    garbled_lines = 0

    def __init__(self, rig: Rig, *, drift: float, lose: Callable[[int], bool]) -> None:
        self._rig = rig
        self._drift = drift
        self._lose = lose
        self._sequence = 0
        self.now_us = T0

    def query_clock(self) -> RoundTrip:
        device_us = round((self.now_us - T0) * (1 + self._drift))
        return RoundTrip(self.now_us - 100, device_us, self.now_us + 100)

    def telemetry(self) -> list[LensSample]:
        samples = []
        while T0 + self._sequence * 5_000 <= self.now_us:
            elapsed_us = self._sequence * 5_000
            if not self._lose(self._sequence):
                vergence_dpt = float(waveform_vergence_dpt(self._rig, elapsed_us / 200_000))
                samples.append(LensSample(self._sequence, round(elapsed_us * (1 + self._drift)), vergence_dpt))
            self._sequence += 1
        return samples


@given(seed=st.integers(0, 10_000), lost=st.floats(0, 0.4), drift=st.floats(-2e-4, 2e-4))
@settings(max_examples=50, deadline=None)
def test_no_loss_of_telemetry_gives_a_wrong_sweep(seed: int, lost: float, drift: float) -> None:
    rng = np.random.default_rng(seed)
    lens = LossyLens(RIG, drift=drift, lose=lambda sequence: bool(rng.random() < lost))
    source = TelemetrySweeps(RIG, lens)  # type: ignore[arg-type]
    taken: list[FocusSweep] = []
    for step in range(120):
        lens.now_us = T0 + step * 10_000
        events = np.zeros(1, EVENT_DTYPE)
        events["timestamp"] = lens.now_us
        source.observe(Packet(events=events))
        while (sweep := source.take()) is not None:
            taken.append(sweep)
    for sweep in taken:
        index = round((sweep.start_us - T0) / 100_000)
        assert index == 0 or abs(sweep.start_us - T0 - index * 100_000) < 1_000  # sample 0 may be lost, too
        assert abs(sweep.end_us - T0 - (index + 1) * 100_000) < 1_000
        assert sweep.direction == (1 if index % 2 == 0 else -1)
        times_us = np.linspace(sweep.timestamps_us[0] + 1_000, sweep.timestamps_us[-1] - 1_000, 50)
        error_dpt = np.interp(times_us, sweep.timestamps_us, sweep.vergence_dpt) - waveform_vergence_dpt(
            RIG, (times_us - T0) / 200_000
        )
        assert np.abs(error_dpt).max() < 0.5 * RIG.bins.width_dpt
    if lost == 0:
        assert len(taken) >= 10 and not source.counters
        assert [sweep.number for sweep in taken] == list(range(len(taken)))


def test_counters_tell_how_well_the_clock_is_known_and_what_was_garbled() -> None:
    lens = LossyLens(RIG, drift=0.0, lose=lambda sequence: False)
    lens.garbled_lines = 3
    source = TelemetrySweeps(RIG, lens)  # type: ignore[arg-type]
    assert source.counters == {"garbled_lines": 3}
    source.observe(Packet())
    assert source.counters == {"garbled_lines": 3}
    assert source.timing["clock_uncertainty_us"] == 100 and source.timing["clock_drift_ppm"] == 0
    assert source.timing["clock_round_trip_us"] == 200


def test_a_lens_that_hangs_is_asked_now_and_then_and_not_at_every_packet() -> None:
    class HungLens(LossyLens):
        queries = 0

        def query_clock(self) -> RoundTrip:
            self.queries += 1
            raise LensError("no answer to TIME")

    lens = HungLens(RIG, drift=0.0, lose=lambda sequence: True)
    source = TelemetrySweeps(RIG, lens)  # type: ignore[arg-type]
    with pytest.raises(LensError, match="no answer"):
        source.observe(Packet())
    for _ in range(10):
        source.observe(Packet())
    assert lens.queries == 1
