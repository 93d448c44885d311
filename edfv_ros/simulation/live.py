"""The virtual rig, live: a dv network stream in real time and a lens on a pseudo-terminal.

    python -m edfv_ros.simulation.live --rig rig.yaml --kind tabletop --seed 0

prints one line of JSON on stdout when it is ready (``uri``, ``lens_port``, ``depth_gt``, ``picture``; with
``--lens-controller`` also ``lens_controller`` and ``lens_calibration``, the curve of its lens for a rig file) and
streams until it is interrupted, terminated or orphaned. What it is doing goes to stderr.
"""

import argparse
import json
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from edfv_ros.errors import EdfvError, OutputError, SimulationError
from edfv_ros.events import IMU_DTYPE, TRIGGER_DTYPE, Frame, NetworkSender, Packet, SourceInfo, TriggerType
from edfv_ros.rig import Rig, load_rig
from edfv_ros.simulation.controllers import CONTROLLERS, ControllerPort, Faults, make_controller
from edfv_ros.simulation.event_model import join_events, merge_events
from edfv_ros.simulation.imu import Imu
from edfv_ros.simulation.lens import LensStep
from edfv_ros.simulation.lens_port import LensPort
from edfv_ros.simulation.motion import CameraTrajectory, Motion
from edfv_ros.simulation.pictures import PictureSource
from edfv_ros.simulation.readout import SensorReadout
from edfv_ros.simulation.replay import EventReplay
from edfv_ros.simulation.scenes import SCENE_KINDS, make_scene
from edfv_ros.simulation.settings import SimulationSettings, load_settings, streams_of
from edfv_ros.simulation.virtual_rig import VirtualRig

_TICK_S = 0.004
_LONGEST_TICK_US = 250_000
_FRAME_SAMPLES = 8


class LiveLens(Protocol):
    """A lens and its wire, as the live rig sees it. All times are the camera's, in microseconds."""

    @property
    def path(self) -> str:
        """The port that clients open."""

    @property
    def position_dpt(self) -> float:
        """Focus it is told to have now."""

    def fileno(self) -> int:
        """For ``select``: readable when a client has sent something."""

    def obey(self, now_us: int) -> None:
        """Read what has come and do it; called after :meth:`advance` to the same time."""

    def advance(self, to_us: int) -> list[LensStep]:
        """Move on in time, say what is to be said by then, and return what moved since the last call."""

    def close(self) -> None:
        """Hang up."""


class LiveRig:
    """Turns the passing of time and the commands at the lens's port into packets."""

    def __init__(self, virtual: VirtualRig, replay: EventReplay, lens: LiveLens, *, start_us: int) -> None:
        self._virtual = virtual
        self._replay = replay
        self._lens = lens
        self._delay_us = virtual.rig.lens.delay_ms * 1e3
        self._now_us = start_us
        self._coming: deque[LensStep] = deque()  # told to the lens, not yet seen by the sensor
        self._edges: deque[tuple[int, int]] = deque()
        self._optical_dpt = lens.position_dpt
        frames_hz, imu = virtual.settings.frames.rate_hz, virtual.settings.imu
        self._frame_period_us = round(1e6 / frames_hz) if frames_hz else 0
        self._frame_start_us = start_us
        still = CameraTrajectory(Motion(), virtual.seed)
        self._imu = Imu(imu, still, start_us=start_us, seed=virtual.seed, epoch_us=start_us) if imu.rate_hz else None
        self._exposed: list[float] = []

    def advance(self, now_us: int) -> Packet:
        """Everything that happened since the last call; after a pause too long to catch up, only its end."""
        begin_us, self._now_us = self._now_us, now_us
        if now_us - begin_us > _LONGEST_TICK_US:
            _say(f"held up for {(now_us - begin_us) / 1000:.0f} ms by a receiver or the machine: events are lost")
        steps = self._lens.advance(now_us)
        self._coming.extend(steps)
        for step in steps:
            if step.begins and step.move.pulse_us:
                rise_us = round(step.start_us)
                self._edges.append((rise_us, TriggerType.RISING_EDGE))
                self._edges.append((rise_us + step.move.pulse_us, TriggerType.FALLING_EDGE))
        frames: tuple[Frame, ...] = ()
        fired = []
        for step in self._take_seen(now_us - self._delay_us):
            if step.end_us > now_us - _LONGEST_TICK_US:
                fired.append(self._replay.events(step, self._delay_us))
            self._expose(step)
        frames = self._frames(now_us)
        noise = self._virtual.sensor.background(
            max(begin_us, now_us - _LONGEST_TICK_US), now_us, self._replay.illuminance(self._optical_dpt)
        )
        seen = merge_events(join_events(fired), noise)
        imu = np.empty(0, IMU_DTYPE) if self._imu is None else self._imu.advance(now_us)
        events = self._virtual.readout.read(seen, seen["timestamp"].astype(float), float(now_us))
        return Packet(events, self._take_edges(now_us), imu, frames)

    def _take_seen(self, until_us: float) -> list[LensStep]:
        """Steps, or parts of them, up to a time on the lens's own time axis."""
        seen = []
        while self._coming and self._coming[0].start_us < until_us:
            step = self._coming.popleft()
            if step.end_us > until_us:
                self._coming.appendleft(LensStep(step.move, until_us, step.end_us, False))
                step = LensStep(step.move, step.start_us, until_us, step.begins)
            seen.append(step)
            self._optical_dpt = float(step.move.vergence_dpt(step.end_us))
        return seen

    def _take_edges(self, now_us: int) -> np.ndarray:
        edges = []
        while self._edges and self._edges[0][0] <= now_us:
            edges.append(self._edges.popleft())
        return np.array(edges, TRIGGER_DTYPE)

    def _expose(self, step: LensStep) -> None:
        """Note where the focus was while the shutter was open."""
        if not self._frame_period_us:
            return
        start = self._frame_start_us - self._delay_us
        exposure_us = self._virtual.frames.exposure_us
        low, high = max(step.start_us, start), min(step.end_us, start + exposure_us)
        if low < high:
            count = max(1, round(_FRAME_SAMPLES * (high - low) / exposure_us))
            self._exposed.extend(step.move.vergence_dpt(low + (np.arange(count) + 0.5) / count * (high - low)))

    def _frames(self, now_us: int) -> tuple[Frame, ...]:
        if not self._frame_period_us or now_us < self._frame_start_us + self._virtual.frames.exposure_us:
            return ()
        vergences = np.array(self._exposed or [self._optical_dpt])
        frame = self._virtual.frames.expose(self._replay.picture(vergences), self._frame_start_us)
        late = (now_us - self._frame_start_us) // self._frame_period_us
        self._frame_start_us += self._frame_period_us * max(1, late)
        self._exposed.clear()
        return (frame,)


def _write_truth(directory: Path, source: PictureSource) -> dict[str, str]:
    """Ground truth and a sharp picture for those who want to compare."""
    depth_path, picture_path = directory / "depth_gt.npy", directory / "scene.png"
    grey = np.clip(source.sharp / source.white_radiance, 0.0, 1.0) ** (1 / 2.2)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        np.save(depth_path, source.depth_m(0.0))
        picture_path.write_bytes(cv2.imencode(".png", (grey * 255).astype(np.uint8))[1].tobytes())
    except OSError as error:
        raise OutputError(f"{directory}: cannot write the ground truth: {error.strerror}") from None
    return {"depth_gt": str(depth_path), "picture": str(picture_path)}


def _say(text: str) -> None:
    print(f"virtual rig: {text}", file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m edfv_ros.simulation.live", description="The virtual rig, live.")
    parser.add_argument("--rig", type=Path, required=True, help="rig file")
    parser.add_argument("--kind", default="tabletop", help=f"scene: {', '.join(SCENE_KINDS)}")
    parser.add_argument("--seed", type=int, default=0, help="of scene and sensor")
    address = parser.add_mutually_exclusive_group()
    address.add_argument("--port", type=int, default=0, help="TCP port of the events on 127.0.0.1; 0 finds one")
    address.add_argument("--unix", type=Path, help="socket path instead of a TCP port")
    parser.add_argument("--out", type=Path, help="folder for depth_gt.npy and scene.png")
    parser.add_argument("--settings", type=Path, help="simulation file, of a camera that stands still")
    parser.add_argument("--wait", action="store_true", help="leave the lens still until a command comes")
    parser.add_argument(
        "--lens-controller",
        choices=CONTROLLERS,
        help="emulate this controller at the lens port, at rest until it is told to move; else a virtual lens",
    )
    for name, what in (("--lens-set", "dialect or lens of the controller"), ("--lens-fault", "what is wrong with it")):
        parser.add_argument(name, action="append", default=[], metavar="NAME=VALUE", help=f"{what}; may be repeated")
    return parser.parse_args(arguments)


def _lens(arguments: argparse.Namespace, rig: Rig, start_us: int) -> tuple[LiveLens, dict[str, Any]]:
    """The lens, and what to announce of it.

    Raises:
        SimulationError: there is no such setting or fault.
    """
    if arguments.lens_controller is None:
        if arguments.lens_set or arguments.lens_fault:
            raise SimulationError("--lens-set and --lens-fault are of an emulated controller: add --lens-controller")
        virtual = LensPort(rig, start_us)
        return virtual, {"lens_port": virtual.path}
    faults = Faults()
    faults.set(arguments.lens_fault)
    controller = make_controller(
        arguments.lens_controller, arguments.lens_set, rig=rig, faults=faults, now_us=float(start_us)
    )
    port = ControllerPort(controller)
    calibration = {
        name: getattr(controller.curve, name) for name in ("control", "vergence_up_dpt", "vergence_down_dpt")
    }
    return port, {
        "lens_port": port.path,
        "lens_controller": arguments.lens_controller,
        "lens_calibration": calibration,
    }


def _still(settings: SimulationSettings) -> SimulationSettings:
    """The settings, if they are of a rig that can be simulated live.

    Raises:
        SimulationError: camera, things or lens do what takes longer to render than it lasts.
    """
    for name in ("motion", "things", "lens_response"):
        if getattr(settings, name) != getattr(SimulationSettings(), name):
            raise SimulationError(f"{name}: a live rig stands still behind an ideal lens; simulate a recording instead")
    return settings


def _warm_up(virtual: VirtualRig, replay: EventReplay) -> None:
    """Compile what runs while streaming; else the first packet comes seconds late, and a sweep is lost."""
    settings, vergence = virtual.settings, virtual.rig.sweep.vergence_min_dpt
    noise = merge_events(join_events([]), virtual.sensor.background(0, 100_000, replay.illuminance(vergence)))
    readout = SensorReadout(virtual.rig.camera.resolution, settings.readout)
    readout.read(noise, noise["timestamp"].astype(float), 100_000.0)
    virtual.frames.expose(replay.picture(np.array([vergence])), 0)
    if settings.imu.rate_hz:
        Imu(settings.imu, CameraTrajectory(Motion(), 0), start_us=0, seed=0).advance(10_000)


def _stream(arguments: argparse.Namespace) -> None:
    rig = load_rig(arguments.rig)
    settings = _still(load_settings(arguments.settings) if arguments.settings else SimulationSettings())
    lens, announcement = _lens(arguments, rig, time.time_ns() // 1000)
    _say(f"making the scene {arguments.kind}-{arguments.seed}")
    scene = make_scene(arguments.kind, arguments.seed, rig)
    _say("rendering its focus stack and the events of a sweep")
    virtual = VirtualRig.of_scene(rig, scene, settings, seed=arguments.seed)
    truth = _write_truth(arguments.out, virtual.source) if arguments.out else {"depth_gt": None, "picture": None}
    replay = EventReplay(virtual)
    _warm_up(virtual, replay)
    info = SourceInfo(f"{rig.camera.model}_VIRTUAL", *rig.camera.resolution, streams_of(settings), live=True)
    uri = f"unix://{arguments.unix.absolute()}" if arguments.unix else f"tcp://127.0.0.1:{arguments.port}"
    parent = os.getppid()
    with NetworkSender(uri, info) as sender:
        start_us = time.time_ns() // 1000
        lens.advance(start_us)
        if isinstance(lens, LensPort) and not arguments.wait:
            lens.sweep()
        live = LiveRig(virtual, replay, lens, start_us=start_us)
        print(json.dumps({"uri": sender.uri, **announcement, **truth}), flush=True)
        _say(f"streaming at {sender.uri}, lens at {lens.path}")
        try:
            next_s = time.monotonic()
            while os.getppid() == parent:
                next_s = max(next_s + _TICK_S, time.monotonic())
                commanded, _, _ = select.select([lens], [], [], max(0.0, next_s - time.monotonic()))
                now_us = time.time_ns() // 1000
                packet = live.advance(now_us)
                if commanded:
                    lens.obey(now_us)
                sender.send(packet)
        finally:
            lens.close()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until interrupted; return the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _stream(_parse(arguments))
    except KeyboardInterrupt:
        _say("stopped")
    except EdfvError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
