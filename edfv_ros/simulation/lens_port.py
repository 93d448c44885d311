"""The virtual lens's wire: ASCII lines over a pseudo-terminal."""

from collections.abc import Callable

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig, Sweep
from edfv_ros.simulation.lens import LensStep, VirtualLens
from edfv_ros.simulation.pseudo_terminal import PseudoTerminal

TELEMETRY_US = 5000
_IDENTITY = "edfv-virtual-lens 1"
_LONGEST_LINE = 256


class LensPort:
    """A virtual lens that obeys ``ID``, ``SWEEP``, ``GOTO``, ``STOP`` and ``TIME``; it reports every 5 ms while moving.

    The device's clock starts at 0 where the camera's stands at ``start_us``. All times here are the camera's.
    """

    def __init__(self, rig: Rig, start_us: int) -> None:
        self._rig = rig
        self._lens = VirtualLens(rig, start_us)
        self._epoch_us = start_us
        self._terminal = PseudoTerminal()
        self._received = bytearray()
        self._sequence = 0
        self._reported_us = -float(TELEMETRY_US)
        self._commands: dict[str, Callable[[list[str], int], str]] = {
            "ID": lambda _arguments, _now_us: f"OK {_IDENTITY}",
            "SWEEP": self._sweep,
            "GOTO": self._go_to,
            "STOP": self._stop,
            "TIME": lambda _arguments, now_us: f"T {now_us - self._epoch_us}",
        }

    @property
    def path(self) -> str:
        """What to open."""
        return self._terminal.path

    @property
    def position_dpt(self) -> float:
        """Commanded focus."""
        return self._lens.position_dpt

    def fileno(self) -> int:
        """For ``select``: readable when a command has come."""
        return self._terminal.fileno()

    def sweep(self) -> None:
        """Sweep as the rig does, as if it had been told to."""
        self._lens.sweep(self._rig.sweep)

    def obey(self, now_us: int) -> None:
        """Read what has come and do it. The lens must have been advanced to ``now_us``."""
        self._received += self._terminal.read()
        *lines, rest = self._received.split(b"\n")
        self._received = bytearray(rest[-_LONGEST_LINE:])
        for line in lines:
            words = line.decode("ascii", "replace").split()
            if words:
                self._write(self._answer(words, now_us))

    def advance(self, to_us: int) -> list[LensStep]:
        """Move on in time, report the start and end of every move and every 5 ms between, and return what moved."""
        steps = self._lens.advance(to_us)
        for step in steps:
            due = self._reported_us + TELEMETRY_US
            if step.begins:
                self._sample(step, step.start_us)
                due = step.start_us + TELEMETRY_US
            while due < step.end_us:
                self._sample(step, due)
                due += TELEMETRY_US
            if step.end_us >= step.move.end_us and self._reported_us < step.end_us:
                self._sample(step, step.end_us)
        return steps

    def close(self) -> None:
        self._terminal.close()

    def _sample(self, step: LensStep, time_us: float) -> None:
        if round(time_us) <= round(self._reported_us):  # a move starts where the last one ended
            return
        self._reported_us = time_us
        vergence = float(step.move.vergence_dpt(time_us))
        self._write(f"S {self._sequence} {round(time_us) - self._epoch_us} {vergence:.6f}")
        self._sequence += 1

    def _answer(self, words: list[str], now_us: int) -> str:
        command = self._commands.get(words[0].upper())
        if command is None:
            return f"ERR unknown command {words[0][:20]}: {', '.join(self._commands)}"
        try:
            return command(words[1:], now_us)
        except (ValueError, SimulationError) as error:
            return f"ERR {str(error).splitlines()[0]}"

    def _sweep(self, arguments: list[str], _now_us: int) -> str:
        if len(arguments) != 4:
            return "ERR SWEEP takes <min_dpt> <max_dpt> <waveform> <hz>"
        low, high, waveform, frequency = arguments
        if waveform not in ("triangle", "sine", "sawtooth"):
            return f"ERR waveform {waveform[:20]}: triangle, sine or sawtooth"
        low_dpt, high_dpt, frequency_hz = float(low), float(high), float(frequency)
        if not (0.0 <= low_dpt < high_dpt and 0.0 < frequency_hz <= 100.0):
            return "ERR a sweep needs 0 <= min < max dpt and 0 < hz <= 100"
        values = {
            "vergence_min_dpt": low_dpt,
            "vergence_max_dpt": high_dpt,
            "waveform": waveform,
            "frequency_hz": frequency_hz,
            "sync": self._rig.sweep.sync,
        }
        self._lens.sweep(Sweep.model_validate(values))
        return "OK"

    def _go_to(self, arguments: list[str], _now_us: int) -> str:
        if len(arguments) != 1:
            return "ERR GOTO takes <dpt>"
        self._lens.go_to(float(arguments[0]))
        return "OK"

    def _stop(self, _arguments: list[str], _now_us: int) -> str:
        self._lens.stop()
        return "OK"

    def _write(self, line: str) -> None:
        """Send a line; where nobody has read for long, the old lines make room for the new."""
        if not self._terminal.write(line.encode() + b"\n"):
            self._terminal.write(b"\n" + line.encode() + b"\n")
