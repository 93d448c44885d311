"""A fuzzer of what reads bytes from a lens's wire: the parsers of the drivers, the framings of the emulators.

    python tests/lens_fuzz.py [INPUTS [SEED]]

An input is a few valid frames, most of them damaged (bits flipped, bytes lost, doubled, inserted, cut off, spliced with
another frame, check sums made right again), or garbage, and comes in pieces cut at random places. The same seed gives
the same inputs. What must hold: nothing is raised; nothing that is kept grows; a parser ends (it is given CPU seconds
for each batch, so that a busy machine does not matter); and where a protocol can find its place again, a good frame
after the input is understood.
"""

import random
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from edfv_ros.lens.protocols import edfv, icc, ld4, scf4, usbm
from edfv_ros.lens.protocols.lines import take_line
from edfv_ros.simulation.controllers import make_controller

INPUTS = 1_000_000
SEED = 20_26
_BATCH = 500
_CPU_S_PER_BATCH = 30.0  # it takes a hundredth of a second
_MOST_KEPT_BYTES = 256
_MOST_TAKEN_PER_BYTE = 1


class Target(ABC):
    """What reads bytes. One goes through all of its inputs, as a port that is never closed does."""

    name: str
    corpus: Sequence[bytes]

    def seal(self, frame: bytes) -> bytes:
        """A damaged frame with its check sum made right, where there is one."""
        return frame

    @abstractmethod
    def feed(self, chunk: bytes) -> None:
        """Read a piece of an input."""

    def settle(self) -> None:
        """The input is over; AssertionError where it did harm."""
        return


class ParserTarget(Target):
    """A parser that takes messages from the front of what has come.

    Args:
        take: the parser.
        use: what is done with a message.
        good: bytes that end whatever came before, and the message that they hold; None where nothing does.
    """

    def __init__(
        self,
        name: str,
        corpus: Sequence[bytes],
        take: Callable[[bytearray], object | None],
        use: Callable[[object], object] = lambda taken: None,
        good: tuple[bytes, object] | None = None,
        seal: Callable[[bytes], bytes] = lambda frame: frame,
    ) -> None:
        self.name, self.corpus = name, corpus
        self._take, self._use, self._good, self._seal = take, use, good, seal
        self._received = bytearray()
        self._last: object = None

    def seal(self, frame: bytes) -> bytes:
        return self._seal(frame)

    def feed(self, chunk: bytes) -> None:
        self._received += chunk
        allowed = len(self._received) * _MOST_TAKEN_PER_BYTE + 1
        while (taken := self._take(self._received)) is not None:
            allowed -= 1
            assert allowed > 0, "it takes more messages than there are bytes"
            self._last = taken
            self._use(taken)
        assert len(self._received) <= _MOST_KEPT_BYTES, f"{len(self._received)} bytes are kept"

    def settle(self) -> None:
        if self._good is not None:
            self.feed(self._good[0])
            assert self._last == self._good[1], f"after it {self._last} was understood, not {self._good[1]}"


class FunctionTarget(Target):
    """What is given whole frames."""

    def __init__(
        self, name: str, corpus: Sequence[bytes], use: Callable[[bytes], object], seal: Callable[[bytes], bytes]
    ) -> None:
        self.name, self.corpus, self._use, self._seal = name, corpus, use, seal

    def seal(self, frame: bytes) -> bytes:
        return self._seal(frame)

    def feed(self, chunk: bytes) -> None:
        self._use(chunk)


class EmulatorTarget(Target):
    """An emulated controller, in a time of its own.

    Args:
        kind: of the controller.
        question, answer: what it must answer after a pause, whatever came before.
        seal: see :class:`Target`.
        pause_us: longer than its byte time-out and than anything that it was told to wait for.
    """

    def __init__(
        self,
        kind: str,
        corpus: Sequence[bytes],
        question: bytes,
        answer: bytes,
        seal: Callable[[bytes], bytes] = lambda frame: frame,
        pause_us: float = 50_000.0,
    ) -> None:
        self.name, self.corpus, self._seal, self._pause_us = f"emulated {kind}", corpus, seal, pause_us
        self._controller = make_controller(kind)
        self._question, self._answer = question, answer
        self._now_us = 0.0
        self._pauses_us = random.Random(kind)

    def seal(self, frame: bytes) -> bytes:
        return self._seal(frame)

    def feed(self, chunk: bytes) -> None:
        self._now_us += self._pauses_us.choice((0.0, 100.0, 5_000.0))
        self._read(chunk)

    def settle(self) -> None:
        self._now_us += self._pause_us
        self._read(b"")
        if getattr(self._controller, "boot_loader", False):
            self._controller.power_on(self._now_us)  # it was sent there, and is deaf by design
        answered = self._read(b"\n" + self._question if self._question.endswith(b"\n") else self._question)
        assert answered.endswith(self._answer), f"after it {self._question!r} is answered by {answered!r}"

    def _read(self, chunk: bytes) -> bytes:
        answered = b"".join(reply.data for reply in self._controller.receive(chunk, self._now_us))
        assert len(answered) <= 300 * (len(chunk) + 1), f"{len(answered)} bytes of answers"
        self._controller.advance(self._now_us)
        assert 0.2 <= self._controller.position_dpt <= 4.3, f"the focus is at {self._controller.position_dpt} dpt"
        return answered


def _text_use(line: object) -> None:
    assert isinstance(line, str)
    icc.value_of(line), icc.error_of(line), scf4.parse_status(line)


def _edfv_use(frame: object) -> None:
    assert isinstance(frame, edfv.Frame)
    for parse in (
        edfv.parse_identity,
        edfv.parse_configuration,
        edfv.parse_status,
        edfv.parse_record,
        edfv.parse_times,
    ):
        parse(frame.payload)  # type: ignore[operator]


def _edfv_seal(frame: bytes) -> bytes:
    body = frame[2:-2]
    return edfv.SYNC + body + edfv.crc16(body).to_bytes(2, "little")


def _sum_seal(frame: bytes) -> bytes:
    return frame[:-1] + bytes([sum(frame[:-1]) % 256])


def _ld4_reply(payload: bytes) -> bytes:
    return ld4.with_crc(payload) + b"\r\n"


def targets() -> list[Target]:
    """All of them, new."""
    lines = [b"OK\r\n", b"1.2500\r\n", b"OU\r\n", b"ERROR\r\n", b"SCF4 test, SN 1\r\n", b"T 123456\n"]
    lines += [b"32007, 31000, 5, 1, 0, 0, 0, 1, 0\r\n", b"S 7 1234567 1.500000\n", b"-inf\r\n", b"1e999\r\n"]
    replies = [
        b"Ready\r\n",
        b"N\r\n",
        b"\r\n",
        *map(_ld4_reply, (b"HA", b"E\x03", b"E2", b"XAQAA\r\n12", b"TCA\x01\x90")),
    ]
    replies += [_ld4_reply(prefix + bytes(5)) for prefix in (b"MCA", b"PT", b"PTA", b"Ow", b"O")]
    replies += [_ld4_reply(payload) for payload in (b"S\0\0\0\0", b"A\xff\x38", b"V\x01\x07\0\x0d\x0a\x01", b"MMA\x05")]
    commands = [b"Start", *(ld4.encode(name, *values) for name, values in _LD4_COMMANDS)]
    record = edfv.Frame(edfv.RECORD_TYPE, 9, bytes(20))
    frames = [
        edfv.encode(frame)
        for frame in (
            record,
            edfv.Frame(0x81, 1, b"EDFV" + bytes(16)),
            edfv.Frame(0x8D, 2, bytes(43)),
            edfv.Frame(0x8C, 3, bytes(16)),
            edfv.Frame(0xFF, 4, b"\x05\x04"),
            edfv.Frame(0x87, 5, edfv.SYNC * 20),
            edfv.Frame(0x85, 6),
        )
    ]
    registers = [bytes.fromhex(text) for text in ("0237063f", "0237154e", "02387 7b1".replace(" ", ""), "0238b0b39d")]
    gcode = [b"$S\n", b"$B2\n", b"G90\n", b"G91\n", b"G0 A100\n", b"G92 A32000\n", b"M240 A600\n", b"!1\r\n", b"M0\n"]
    gcode += [b"M231 A\n", b"M230\n", b"M238\n"]
    simple = [b"START\r\n", b"GETFP\r\n", b"SETFP=1.2500\r\n", b"SETCURRENT=-10\r\n", b"SETTEMPLIM=20,45\r\n"]
    requests = [usbm.encode_read(5, 1), usbm.encode_read(0, 12), usbm.encode_focus(40.0), usbm.encode_write(3, b"\xff")]
    return [
        ParserTarget("lines", lines, take_line, _text_use, (b"\r\nOK\r\n", "OK")),
        ParserTarget(
            "ld4 replies",
            replies,
            ld4.take_reply,
            good=(b"\r\n" + _ld4_reply(b"HB"), ld4.Reply("firmware_type", (b"B",))),
            seal=lambda frame: _ld4_reply(frame[:-4]),
        ),
        FunctionTarget("ld4 commands", commands, ld4.decode, lambda frame: ld4.with_crc(frame[:-2])),
        ParserTarget(
            "edfv frames",
            frames,
            edfv.take_frame,
            _edfv_use,
            # a head that lies about its length waits for at most that many bytes
            (b"\0" * 80 + edfv.encode(record), record),
            _edfv_seal,
        ),
        ParserTarget("usbm acknowledgements", registers, usbm.take_acknowledgement, seal=_sum_seal),
        ParserTarget("usbm registers", registers, lambda received: usbm.take_registers(received, 2), seal=_sum_seal),
        EmulatorTarget(
            "optotune_ld4", commands, ld4.encode("firmware_type"), b"HA\xf6\x30\r\n", lambda f: ld4.with_crc(f[:-2])
        ),
        EmulatorTarget("optotune_icc", simple, b"START\r\n", b"OK\r\n"),
        EmulatorTarget("scf4", gcode, b"$S\n", b"\r\n", pause_us=1e6),
        EmulatorTarget("varioptic_usbm", requests, usbm.encode_read(5, 1), bytes.fromhex("0238215b"), _sum_seal),
    ]


_LD4_COMMANDS: Sequence[tuple[str, tuple[int, ...]]] = (
    ("firmware_type", ()),
    ("version", ()),
    ("version_padded", ()),
    ("device_id", ()),
    ("set_current", (1402,)),
    ("current", ()),
    ("max_current", ()),
    ("set_max_current", (29200,)),
    ("sine_mode", ()),
    ("triangle_mode", ()),
    ("square_mode", ()),
    ("current_mode", ()),
    ("focal_power_mode", ()),
    ("mode", ()),
    ("set_generator_upper", (1402,)),
    ("set_generator_lower", (-701,)),
    ("set_generator_frequency", (100_000,)),
    ("set_temperature_limits", (720, 320)),
    ("set_focal_power", (1200,)),
    ("temperature", ()),
    ("status", ()),
    ("set_drift_gain", (100,)),
    ("dump_memory", ()),
)


def _damaged(frame: bytes, target: Target, rng: random.Random) -> bytes:
    """A frame with one to three things wrong with it."""
    damaged = bytearray(frame)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(damaged) + 1)
        what = rng.randrange(8)
        if what == 0 and at < len(damaged):
            damaged[at] ^= 1 << rng.randrange(8)
        elif what == 1 and at < len(damaged):
            damaged[at] = rng.choice((0, 10, 13, 255, rng.randrange(256)))
        elif what == 2:
            del damaged[at : at + rng.randint(1, 4)]
        elif what == 3:
            damaged[at:at] = rng.randbytes(rng.randint(1, 4))
        elif what == 4:
            del damaged[at:]
        elif what == 5:
            damaged[at:at] = damaged[at : at + rng.randint(1, 8)]
        elif what == 6:
            damaged[at:] = rng.choice(target.corpus)[at:]
        else:
            damaged[:] = target.seal(bytes(damaged))
    return bytes(damaged)


def _input(target: Target, rng: random.Random) -> list[bytes]:
    """One input, in the pieces that it comes in."""
    parts = []
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(10)
        if kind == 0:
            parts.append(rng.randbytes(rng.randint(0, 40)))
        else:
            frame = rng.choice(target.corpus)
            parts.append(frame if kind < 3 else _damaged(frame, target, rng))
    whole = b"".join(parts)
    cuts = sorted(rng.randrange(len(whole) + 1) for _ in range(rng.choice((0, 0, 1, 2, 5))))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


class Hang(AssertionError):
    """It did not end."""


@contextmanager
def _ends_within(cpu_s: float) -> Iterator[None]:
    """Raise Hang inside after so much CPU time of this process."""

    def give_up(_signal: int, _frame: object) -> None:
        raise Hang(f"it did not end within {cpu_s:g} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def run(inputs: int = INPUTS, seed: int = SEED, among: Sequence[Target] | None = None) -> dict[str, int]:
    """Feed so many inputs, shared evenly; how many each target was fed.

    Raises:
        AssertionError: an input did harm; it is named, with what it did.
    """
    rng = random.Random(seed)
    among = targets() if among is None else among
    fed = dict.fromkeys((target.name for target in among), 0)
    for first in range(0, inputs, _BATCH):
        target = among[first // _BATCH % len(among)]
        chunks: list[bytes] = []
        try:
            with _ends_within(_CPU_S_PER_BATCH):
                for _ in range(min(_BATCH, inputs - first)):
                    chunks = _input(target, rng)
                    for chunk in chunks:
                        target.feed(chunk)
                    target.settle()
                    fed[target.name] += 1
        except Exception as error:
            shown = " ".join(chunk.hex() or "-" for chunk in chunks)
            raise AssertionError(
                f"{target.name}, seed {seed}, input {fed[target.name]} of it: {shown}: {error!r}"
            ) from error
    return fed


if __name__ == "__main__":
    began_s = time.process_time()
    numbers = [int(word) for word in sys.argv[1:]]
    for name, count in run(*numbers).items():
        print(f"{count:9,} {name}")
    print(f"no crash, no hang: {time.process_time() - began_s:.1f} s of CPU time")
