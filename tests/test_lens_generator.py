"""Trigger sync from a controller's own generator: its driver, its wire, its trigger output, and depth at the end.

The rig's time is virtual: it moves on by 4 ms at a turn, whether the machine is quick or slow, and only between whole
exchanges with the driver, whose own time is real.
"""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from recordings import small_rig
from still_scene import changed, dotted_plane

from edfv_ros.depth.reversal import PolarityReversal
from edfv_ros.errors import LensError
from edfv_ros.events import Packet
from edfv_ros.lens.drivers.optotune_ld4 import OptotuneLd4
from edfv_ros.lens.sweeping import start_sweeping
from edfv_ros.lens.sync import TriggerSweeps
from edfv_ros.pipeline_assembly import SweepAssembler
from edfv_ros.rig import Rig
from edfv_ros.simulation import VirtualRig
from edfv_ros.simulation.controllers import ControllerPort, EmulatedController, make_controller
from edfv_ros.simulation.lens_port import LensPort
from edfv_ros.simulation.live import LiveLens, LiveRig
from edfv_ros.simulation.replay import EventReplay
from edfv_ros.volume import VolumeRing

T0 = 1_700_000_000_000_000
TICK_US = 4_000
DEPTH_M = 0.5
REPLY_TIMEOUT_S = 30.0  # of a driver that waits for a thread of a busy machine
PATIENT = "byte_timeout_ms=1.0e+9"  # bytes come as the system lets them, and the virtual time does not wait for that


def generator_rig(waveform: str, hz: float) -> Rig:
    """The focus range of the example rig over -1.9 to 2.9 dpt of an emulated Lens Driver 4."""
    calibration = {"control": (-1.9, 2.9), "vergence_up_dpt": (0.3, 4.2)}
    rig = changed(small_rig(48, 36), "lens", driver="optotune_ld4", calibration=calibration)
    return changed(rig, "sweep", waveform=waveform, frequency_hz=hz)


@dataclass
class Bench:
    """A live rig whose time goes on in a thread, for a driver to talk to its lens meanwhile."""

    live: LiveRig
    lens: LiveLens
    packets: list[Packet] = field(default_factory=list)
    now_us: int = T0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Bench":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def tick(self) -> None:
        self.now_us += TICK_US
        self.packets.append(self.live.advance(self.now_us))
        self.lens.obey(self.now_us)

    def go_on(self, duration_us: int) -> None:
        """Without a driver: the thread must be over."""
        for _ in range(duration_us // TICK_US):
            self.tick()

    def _run(self) -> None:
        while not self._over.wait(0.001):
            self.tick()


def errors_in_bins(rig: Rig, packets: list[Packet]) -> tuple[list[float], list[int]]:
    """Median error of each depth image in bins, signed towards the near end, and the directions of the sweeps."""
    errors, directions = [], []
    ring = VolumeRing(rig.bins, rig.camera.resolution)
    sweeps = TriggerSweeps(rig)
    assembler = SweepAssembler(sweeps, ring, lambda count: None, None)
    estimator = PolarityReversal(rig.optics, rig.bins)
    for packet in packets:
        for closed in assembler.push(packet, 0.0):
            depth_m = estimator.estimate(closed.snapshot).depth_m
            directions.append(closed.snapshot.latest.sweep.direction)
            closed.snapshot.release()
            known = np.isfinite(depth_m)
            assert known.mean() > 0.3
            errors.append(float(np.median(1.0 / depth_m[known] - 1.0 / DEPTH_M)) / rig.bins.width_dpt)
    assembler.close()
    assert not [name for name, count in sweeps.counters.items() if count], sweeps.counters
    return errors, directions


@pytest.mark.parametrize(("waveform", "hz"), [("triangle", 5.0), ("sine", 8.0)])
def test_triggers_of_the_ld4_s_generator_give_depth_as_the_virtual_lens_does(waveform: str, hz: float) -> None:
    rig = generator_rig(waveform, hz)
    virtual = VirtualRig.of_scene(rig, dotted_plane(DEPTH_M))
    replay = EventReplay(virtual)

    port = ControllerPort(make_controller("optotune_ld4", [PATIENT], rig=rig, now_us=float(T0)))
    bench = Bench(LiveRig(virtual, replay, port, start_us=T0), port)
    with OptotuneLd4(changed(rig, "lens", port=port.path), reply_timeout_s=REPLY_TIMEOUT_S) as lens:
        with bench:
            lens.open()
            start_sweeping(lens, rig)
        bench.go_on(1_000_000)
    port.close()
    errors, directions = errors_in_bins(rig, bench.packets)

    start_us = bench.now_us + 1_000_000  # the sensor's time does not go back
    reference = LensPort(rig, start_us)
    expected = Bench(LiveRig(virtual, replay, reference, start_us=start_us), reference, now_us=start_us)
    reference.sweep()
    expected.go_on(1_000_000)
    reference.close()
    expected_errors, expected_directions = errors_in_bins(rig, expected.packets)

    count = min(len(directions), len(expected_directions))
    assert count >= 2 * hz - 2 and directions[:count] == expected_directions[:count] and directions[0] == 1
    # a tenth of a bin from the second sweep on; the first one has no partner of the other direction
    assert max(map(abs, errors[:1])) < 0.25 and max(map(abs, errors[1:])) < 0.1
    assert np.median(np.abs(errors)) < np.median(np.abs(expected_errors)) + 0.02


def test_a_generator_that_would_begin_at_the_near_turn_is_refused() -> None:
    rig = generator_rig("triangle", 5.0)
    falling = changed(rig, "lens", calibration={"control": (-1.9, 2.9), "vergence_up_dpt": (4.2, 0.3)})
    with (
        EmulatedController.of("optotune_ld4", [PATIENT], rig=falling) as emulated,
        OptotuneLd4(changed(falling, "lens", port=emulated.port), reply_timeout_s=REPLY_TIMEOUT_S) as lens,
    ):
        lens.open()
        with pytest.raises(LensError, match=r"begins at the near turn.*use sweep\.sync: telemetry"):
            start_sweeping(lens, falling)
