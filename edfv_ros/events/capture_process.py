"""The process that reads a source, started by Capture with the numbers of two inherited descriptors, pipe and ring."""

import os
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from multiprocessing.connection import Connection

from edfv_ros.errors import EdfvError
from edfv_ros.events.aedat4_writer import Aedat4Writer
from edfv_ros.events.health import StreamHealth
from edfv_ros.events.messages import Batch, Ended, Failed, Message, Opened, Request, RingFull
from edfv_ros.events.opening import CheckedSource, open_source
from edfv_ros.events.ring import EventRing
from edfv_ros.events.types import Packet

_MAX_BATCH_EVENTS = 50_000
_ROOM_AFTER_LOSS = 0.5
_WAIT_S = 0.002
_DRAIN_S = 0.05
_LOOK_S = 0.01
_TELL_FULL_AFTER_S = 0.2


class Outbox:
    """Messages on their way into the pipe, sent by a thread, so that a parent that does not read holds up nobody."""

    _MAX_MESSAGES = 1024
    _MAX_BYTES = 64 << 20
    _MAX_AT_ONCE = 32

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._waiting: deque[Message] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._broken = False
        threading.Thread(target=self._send, name="outbox", daemon=True).start()

    @property
    def filling(self) -> float:
        """How full it is; from 1 on nothing more is to be put into it."""
        return max(len(self._waiting) / self._MAX_MESSAGES, self._waiting_bytes / self._MAX_BYTES)

    @property
    def full(self) -> bool:
        return self.filling >= 1.0

    @property
    def broken(self) -> bool:
        """Whether the parent is gone."""
        return self._broken

    def put(self, message: Message) -> None:
        with self._changed:
            self._waiting.append(message)
            self._waiting_bytes += _pipe_bytes(message)
            self._changed.notify_all()

    def drained(self, timeout_s: float) -> bool:
        """Wait until all is sent or the parent is gone."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting or self._broken, timeout_s)

    def _send(self) -> None:
        while not self._broken:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                # What has piled up goes together: fewer system calls and wake-ups when there is much to do.
                messages = [self._waiting[index] for index in range(min(len(self._waiting), self._MAX_AT_ONCE))]
            try:
                self._pipe.send(messages)
            except OSError:
                self._broken = True
            with self._changed:
                for message in messages:
                    self._waiting.popleft()
                    self._waiting_bytes -= _pipe_bytes(message)
                self._changed.notify_all()


class CaptureProcess:
    """Reads one source to its end: recording first, then ring and pipe."""

    def __init__(self, pipe: Connection, ring: EventRing, source: CheckedSource, recorder: Aedat4Writer | None) -> None:
        self._pipe = pipe
        self._ring = ring
        self._source = source
        self._recorder = recorder
        self._outbox = Outbox(pipe)
        self._parent = os.getppid()
        self._lost_events = 0
        self._is_losing = False
        self._look_at_s = 0.0

    def run(self) -> None:
        """Capture until the source ends or breaks, or the parent closes the pipe or dies."""
        last = self._capture()
        if last is not None:
            self._outbox.put(last)
            while not (self._outbox.drained(_DRAIN_S) or self._unwanted()):
                pass

    def _capture(self) -> Ended | Failed | None:
        try:
            while not self._unwanted():
                packet = self._source.read()
                if packet is None:
                    if self._lost_events:
                        self._put_batch(0, 0, Packet())
                    return Ended(self._source.health)
                if self._recorder is not None:
                    self._recorder.write(packet)
                self._hand_on(packet)
        except EdfvError as error:
            return Failed(error, self._source.health)
        return None

    def _hand_on(self, packet: Packet) -> None:
        self._lost_events += packet.lost_events
        size = min(_MAX_BATCH_EVENTS, self._ring.capacity // 4)
        chunks = [packet.events[start : start + size] for start in range(0, len(packet.events), size)]
        parts = [Packet(events) for events in chunks] or [Packet()]
        parts[0] = replace(parts[0], triggers=packet.triggers, imu=packet.imu, frames=packet.frames)
        for part in parts:
            if self._source.info.live:
                self._put_or_lose(part)
            elif self._wait_for_room(len(part.events)):
                self._put(part)

    def _put_or_lose(self, part: Packet) -> None:
        """Hand on a part of a packet if there is room.

        Once events are lost, all are until half of the room is free again: whole sweeps are shed in a row, and those
        after them are whole. A drop here and a drop there would spoil every sweep.
        """
        room = min(1.0 - self._outbox.filling, self._ring.free / self._ring.capacity)
        if self._outbox.full or len(part.events) > self._ring.free:
            self._is_losing = True
        elif room >= _ROOM_AFTER_LOSS:
            self._is_losing = False
        if self._outbox.full:
            self._lose(part)
        elif self._is_losing:
            self._lose(Packet(part.events))
            self._put(replace(part, events=part.events[:0]))
        else:
            self._put(part)

    def _lose(self, part: Packet) -> None:
        self._lost_events += len(part.events)
        self._source.lose(part)

    def _put(self, part: Packet) -> None:
        # A loss alone is told when nobody has anything else to read: it must not pile up while all is being lost.
        tells_loss = self._lost_events > 0 and self._outbox.filling == 0.0
        if not (len(part.events) or len(part.triggers) or len(part.imu) or part.frames or tells_loss):
            return
        for start, count in self._ring.write(part.events) or [(0, 0)]:
            self._put_batch(start, count, part)
            part = Packet()

    def _put_batch(self, start: int, count: int, part: Packet) -> None:
        health, lost_events, self._lost_events = self._source.health, self._lost_events, 0
        self._outbox.put(Batch(start, count, lost_events, health, part.triggers, part.imu, part.frames))

    def _wait_for_room(self, events: int) -> bool:
        """Wait until ring and pipe have room; return False when nobody wants it any more."""
        tell_at_s = time.monotonic() + _TELL_FULL_AFTER_S
        while self._outbox.full or self._ring.free < events:
            if self._unwanted(_WAIT_S):
                return False
            if self._ring.free < events and time.monotonic() >= tell_at_s:
                self._outbox.put(RingFull(self._ring.written, events))
                tell_at_s = float("inf")
        return True

    def _unwanted(self, timeout_s: float = 0.0) -> bool:
        """Whether the parent closed its end of the pipe (it never sends) or died; looks closely every _LOOK_S."""
        now_s = time.monotonic()
        if timeout_s == 0.0 and now_s < self._look_at_s:
            return self._outbox.broken
        self._look_at_s = now_s + _LOOK_S
        return self._outbox.broken or self._pipe.poll(timeout_s) or os.getppid() != self._parent


def _pipe_bytes(message: Message) -> int:
    return message.pipe_bytes if isinstance(message, Batch) else 1000


def main() -> None:
    """Serve one Capture, whose pipe and ring are the two file descriptors on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    pipe = Connection(int(sys.argv[1]))
    ring = EventRing(int(sys.argv[2]))
    os.close(int(sys.argv[2]))
    try:
        request: Request = pipe.recv()
    except EOFError:  # the parent died meanwhile
        return
    try:
        source = open_source(request.uri, real_time=request.real_time)
        recorder = None if request.record_to is None else Aedat4Writer(request.record_to, source.info)
    except EdfvError as error:
        pipe.send([Failed(error, StreamHealth())])
        return
    pipe.send([Opened(source.info)])
    CaptureProcess(pipe, ring, source, recorder).run()
    if recorder is not None:
        recorder.close()
    source.close()
