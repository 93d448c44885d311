"""A controller at the end of a wire that can be pulled out."""

import heapq
from itertools import count
from pathlib import Path

from edfv_ros.simulation.controllers.controller import Controller
from edfv_ros.simulation.lens import LensStep
from edfv_ros.simulation.pseudo_terminal import PseudoTerminal


class ControllerPort:
    """A controller on a pseudo-terminal. It has no clock of its own: all times are given, in microseconds.

    Args:
        controller: the state machine.
        link: a symbolic link to the terminal, the same after it was unplugged and plugged in again.

    Attributes:
        controller: see above.

    Raises:
        OutputError: the link cannot be made.
    """

    def __init__(self, controller: Controller, link: Path | None = None) -> None:
        self.controller = controller
        self._link = link
        self._terminal: PseudoTerminal | None = PseudoTerminal(link)
        self._outgoing: list[tuple[float, int, bytes]] = []
        self._order = count()

    @property
    def path(self) -> str:
        """What to open: the link, or the terminal where there is none; empty while it is unplugged."""
        if self._terminal is None:
            return ""
        return self._terminal.path if self._link is None else str(self._link)

    @property
    def plugged(self) -> bool:
        return self._terminal is not None

    @property
    def position_dpt(self) -> float:
        """Focus now."""
        return self.controller.position_dpt

    def fileno(self) -> int:
        """For ``select``: readable when bytes have come. Only while it is plugged in."""
        assert self._terminal is not None
        return self._terminal.fileno()

    def next_us(self) -> float | None:
        """When the next answer is due."""
        return self._outgoing[0][0] if self._outgoing else None

    def obey(self, now_us: int) -> None:
        """Let the controller have what has come."""
        if self._terminal is not None:
            self._exchange(self._terminal.read(), now_us)

    def advance(self, to_us: int) -> list[LensStep]:
        """Move on in time, send the answers due, and return what the focus has done since the last call."""
        self._exchange(b"", to_us)
        return self.controller.advance(to_us)

    def unplug(self) -> None:
        """Pull the plug: clients see the device vanish."""
        if self._terminal is not None:
            self._terminal.close()
        self._terminal = None
        self._outgoing.clear()

    def replug(self, now_us: int) -> None:
        """Plug it in again, at the same link; the controller begins anew."""
        if self._terminal is None:
            self.controller.power_on(now_us)
            self._terminal = PseudoTerminal(self._link)

    def close(self) -> None:
        self.unplug()

    def _exchange(self, data: bytes, now_us: int) -> None:
        for reply in self.controller.receive(data, now_us):
            heapq.heappush(self._outgoing, (reply.at_us, next(self._order), reply.data))
        while self._outgoing and self._outgoing[0][0] <= now_us:
            _, _, answer = heapq.heappop(self._outgoing)
            if self._terminal is not None:
                self._terminal.write(answer)
