"""Events from a process of their own."""

import os
import signal
import subprocess
import time
from collections import deque
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType

from edfv_ros.child_process import start_module
from edfv_ros.errors import SourceError
from edfv_ros.events.health import StreamHealth
from edfv_ros.events.messages import Batch, Ended, Failed, Message, Opened, Request, RingFull
from edfv_ros.events.ring import EventRing
from edfv_ros.events.types import EVENT_DTYPE, Packet, SourceInfo

_OPENING_TIMEOUT_S = 30.0
_CLOSING_TIMEOUT_S = 2.0


class Capture:
    """A source that is read, checked and recorded by another process, since dv-processing holds the interpreter lock.

    Events lie in shared memory; what :meth:`read` returns are views of it, to be given back with :meth:`release`. When
    the ring is full, files wait, while live sources drop events and say how many. One thread at a time may use it.

    Usage::

        with Capture("camera:", record_to=Path("recording.aedat4")) as capture:
            while (packet := capture.read(timeout_s=0.1)) is not None:
                use(packet.events)
                capture.release(len(packet.events))
    """

    def __init__(
        self, uri: str, *, ring_mib: int = 128, real_time: bool = False, record_to: str | Path | None = None
    ) -> None:
        """Start the process and open the source.

        Args:
            uri: as for :func:`open_source`.
            ring_mib: size of the ring; a MiB holds 65 536 events.
            real_time: replay a file at the pace it was recorded.
            record_to: an .aedat4 file that gets everything the source delivers, at once: it survives any crash.

        Raises:
            SourceError: there is no such source.
            OutputError: ``record_to`` cannot be written.
        """
        self._uri = uri
        self._ring_mib = ring_mib
        self._health = StreamHealth()
        self._messages: deque[Message] = deque()
        self._error: Exception | None = None
        self._ended = False
        self._delivered = 0
        self._released = 0
        descriptor = EventRing.create(ring_mib * (1 << 20) // EVENT_DTYPE.itemsize)
        self._ring = EventRing(descriptor)
        self._pipe, theirs = Pipe()
        try:
            # Not multiprocessing: its child would import the main module, with all that this imports.
            inherited = (theirs.fileno(), descriptor)
            self._process = start_module(
                "edfv_ros.events.capture_process", [str(number) for number in inherited], pass_fds=inherited
            )
        except OSError as error:
            self._pipe.close()
            self._ring.close()
            raise SourceError(f"{uri}: the capture process does not start: {error.strerror}") from None
        finally:
            theirs.close()
            os.close(descriptor)
        try:
            self.info: SourceInfo = self._open(Request(uri, real_time, None if record_to is None else Path(record_to)))
        except BaseException:
            self.close()
            raise

    @property
    def health(self) -> StreamHealth:
        """Counters as of the newest packet."""
        return self._health

    @property
    def process_id(self) -> int:
        """Of the process that reads the source."""
        return self._process.pid

    @property
    def capacity_events(self) -> int:
        """Events that the ring holds."""
        return self._ring.capacity

    def read(self, timeout_s: float) -> Packet | None:
        """Return the next packet, an empty one after ``timeout_s`` without any, None at the end.

        ``packet.events`` is read-only and good until it is released; several packets may be held.

        Raises:
            SourceError: the source broke, or its process died.
            OutputError: the recording cannot go on.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self._ended:
            if self._error is not None:
                raise self._error
            message = self._receive(max(0.0, deadline_s - time.monotonic()))
            match message:
                case None:
                    return Packet()
                case Batch():
                    self._health = message.health
                    self._delivered += message.count
                    events = self._ring.view(message.start, message.count)
                    return Packet(events, message.triggers, message.imu, message.frames, message.lost_events)
                case Ended():
                    self._health = message.health
                    self._ended = True
                case Failed():
                    self._health = message.health
                    self._error = message.error
                case RingFull():
                    self._check_held(message)
        return None

    def release(self, count: int) -> None:
        """Give back the oldest ``count`` events that :meth:`read` returned.

        Raises:
            ValueError: fewer are held.
        """
        held = self._delivered - self._released
        if not 0 <= count <= held:
            raise ValueError(f"cannot release {count} events: {held} are held")
        self._released += count
        self._ring.release(count)

    def close(self) -> None:
        """End the process and free everything within some seconds; closing twice is fine."""
        self._ended = True
        self._pipe.close()
        for end in (None, self._process.terminate, self._process.kill):
            if end is not None:
                end()
            try:
                self._process.wait(_CLOSING_TIMEOUT_S)
                break
            except subprocess.TimeoutExpired:
                continue
        self._ring.close()

    def __enter__(self) -> "Capture":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, request: Request) -> SourceInfo:
        try:
            self._pipe.send(request)
        except OSError:
            raise self._death() from None
        message = self._receive(_OPENING_TIMEOUT_S)
        match message:
            case Opened():
                return message.info
            case Failed():
                raise message.error
        raise SourceError(
            f"{self._uri}: does not open within {_OPENING_TIMEOUT_S:.0f} s; check the device and try again"
        )

    def _receive(self, timeout_s: float) -> Message | None:
        try:
            if not self._messages:
                if not self._pipe.poll(timeout_s):
                    return None
                self._messages.extend(self._pipe.recv())
            return self._messages.popleft()
        except (EOFError, OSError):
            self._error = self._death()
            raise self._error from None

    def _check_held(self, full: RingFull) -> None:
        """A reader that holds the whole ring and asks for more would wait for ever."""
        held = self._delivered - self._released
        if self._delivered == full.written and self._ring.capacity - held < full.needed:
            self._error = SourceError(
                f"{self._uri}: the ring of {self._ring_mib} MiB is full of held events; use a larger ring"
            )

    def _death(self) -> SourceError:
        try:
            code = self._process.wait(_CLOSING_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            cause = "hung up"
        else:
            cause = f"ended with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
            cause += " (out of memory?)" if code == -signal.SIGKILL else ""
        return SourceError(f"{self._uri}: the capture process {cause}; start again")
