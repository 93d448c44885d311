"""Controllers that serve: in a thread, for tests, and in the foreground, for everybody else."""

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.controllers.controller import Controller
from edfv_ros.simulation.controllers.faults import Faults
from edfv_ros.simulation.controllers.kinds import make_controller
from edfv_ros.simulation.controllers.port import ControllerPort

_LONGEST_WAIT_US = 2_000


def _now_us() -> int:
    return time.monotonic_ns() // 1000


class EmulatedController:
    """Context manager around a controller that serves a pseudo-terminal in a thread.

    Args:
        controller: the state machine, as of ``time.monotonic``; :meth:`of` makes one.
        link: see :class:`ControllerPort`.

    Attributes:
        controller: to be looked into under ``lock`` only.
        faults: may be changed at any time.
        lock: held while the controller works.
    """

    def __init__(self, controller: Controller, link: Path | None = None) -> None:
        self.controller = controller
        self.faults = controller.faults
        self.lock = threading.Lock()
        self._port = ControllerPort(controller, link)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="lens controller", daemon=True)

    @classmethod
    def of(
        cls, kind: str, settings: Sequence[str] = (), *, link: Path | None = None, rig: Rig | None = None
    ) -> "EmulatedController":
        """One of a kind; see :func:`make_controller`."""
        return cls(make_controller(kind, settings, rig=rig, now_us=_now_us()), link)

    @property
    def port(self) -> str:
        """What to open; empty while it is unplugged."""
        return self._port.path

    def unplug(self) -> None:
        """Pull the plug: the client's port breaks."""
        with self.lock:
            self._port.unplug()

    def replug(self) -> None:
        """Plug it in again; without a link the port has a new name."""
        with self.lock:
            self._port.replug(_now_us())

    def __enter__(self) -> "EmulatedController":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        self._port.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            with self.lock:
                _turn(self._port)
                sources, wait_s = _awaited(self._port)
            _select(sources, wait_s)


def emulate(
    kind: str,
    *,
    link: Path | None = None,
    settings: Sequence[str] = (),
    faults: Sequence[str] = (),
    unplug_after_s: float | None = None,
    replug_after_s: float | None = None,
    rig: Rig | None = None,
) -> None:
    """Serve a controller until SIGINT or SIGTERM; print its port as one line of JSON on stdout when it is there.

    Lines on stdin change what is wrong with it: ``fault NAME[=VALUE] ...``, ``heal``, ``unplug``, ``replug``. Each is
    answered by a line of JSON with the port, or with an error.

    Args:
        kind: one of CONTROLLERS.
        link: a symbolic link to the port, the same after an unplugging.
        settings: dialect and lens, each as ``name=value``.
        faults: from the start on, each as ``name`` or ``name=value``; see :class:`Faults`.
        unplug_after_s: when the plug is pulled.
        replug_after_s: how long it stays out; for ever if None.
        rig: whose focus the lens has; see :func:`make_controller`.

    Raises:
        SimulationError: there is no such kind, setting or fault.
        OutputError: the link cannot be made.
    """
    wrong = Faults()
    wrong.set(faults)
    port = ControllerPort(make_controller(kind, settings, rig=rig, faults=wrong, now_us=_now_us()), link)
    plan = _plugging(unplug_after_s, replug_after_s)
    told = _Told(port)
    _say(kind, port)
    try:
        with _terminated_as_interrupted():
            while True:
                sources, wait_s = _awaited(port)
                told.obey(_select([*told.sources, *sources], wait_s))
                _turn(port)
                while plan and _now_us() >= plan[0][0]:
                    told.do(plan.pop(0)[1])
    except KeyboardInterrupt:
        return
    finally:
        port.close()


class _Told:
    """What comes on stdin."""

    def __init__(self, port: ControllerPort) -> None:
        self._port = port
        self._text = b""
        self.sources: list[int] = []
        with suppress(AttributeError, OSError, ValueError):  # there is no stdin, or it is closed, or not a file
            self.sources.append(sys.stdin.fileno())

    def obey(self, readable: Sequence[int]) -> None:
        if not self.sources or self.sources[0] not in readable:
            return
        come = os.read(self.sources[0], 4096)
        if not come:
            self.sources.clear()
        *lines, self._text = (self._text + come).split(b"\n")
        for line in lines:
            try:
                self.do(line.decode("utf-8", "replace").strip())
            except SimulationError as error:
                print(json.dumps({"error": str(error)}), flush=True)
            else:
                print(json.dumps({"port": self._port.path}), flush=True)

    def do(self, line: str) -> None:
        word, *rest = line.split() or [""]
        if word == "fault":
            self._port.controller.faults.set(rest)
        elif word == "heal":
            self._port.controller.faults.heal()
        elif word == "unplug":
            self._port.unplug()
        elif word == "replug":
            self._port.replug(_now_us())
        else:
            raise SimulationError(f"{word!r} is no order to an emulator: fault NAME[=VALUE], heal, unplug or replug")


def _plugging(unplug_after_s: float | None, replug_after_s: float | None) -> list[tuple[float, str]]:
    if unplug_after_s is None:
        return []
    unplug_us = _now_us() + unplug_after_s * 1e6
    again = [] if replug_after_s is None else [(unplug_us + replug_after_s * 1e6, "replug")]
    return [(unplug_us, "unplug"), *again]


def _awaited(port: ControllerPort) -> tuple[list[int], float]:
    """What to wait for, and how long in seconds: until an answer is due, and never long."""
    due_us = port.next_us()
    wait_us = _LONGEST_WAIT_US if due_us is None else min(_LONGEST_WAIT_US, max(0.0, due_us - _now_us()))
    return ([port.fileno()] if port.plugged else []), wait_us * 1e-6


def _select(sources: Sequence[int], wait_s: float) -> list[int]:
    try:
        return select.select(sources, [], [], wait_s)[0]
    except (OSError, ValueError):  # unplugged by another thread meanwhile
        return []


def _turn(port: ControllerPort) -> None:
    now_us = _now_us()
    port.advance(now_us)
    port.obey(now_us)


def _say(kind: str, port: ControllerPort) -> None:
    print(json.dumps({"kind": kind, "port": port.path, "baud": port.controller.baud}), flush=True)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
