"""Serve a camera's streams to dv network readers, straight from numpy arrays."""

import contextlib
import random
import selectors
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

from edfv_ros.errors import SourceError
from edfv_ros.events import aedat4_encoding
from edfv_ros.events.addresses import TcpAddress, UnixAddress, parse_address
from edfv_ros.events.types import Packet, SourceInfo

_EVENTS_PER_PACKET = 10_000
_CLOSING_GRACE_S = 0.25


class NetworkSender:
    """A server that DV software and ``open_source("tcp://...")`` connect to as if it were a camera.

    It speaks the wire format itself: dv-processing has no way from arrays to its event stores that keeps up with a
    camera, and its NetworkWriter hangs when it is deleted. One thread accepts receivers; :meth:`send` writes in the
    caller's thread. What is sent while nobody listens is gone, as with a camera. The receivers must live in other
    processes: dv's NetworkReader holds the interpreter lock while it waits to be greeted.

    Usage::

        info = SourceInfo("DAVIS346_SIM", 346, 260, ("events", "triggers"), live=True)
        with NetworkSender("tcp://127.0.0.1:0", info) as sender:   # port 0: four free ports in a row are found
            print(sender.uri)                                      # tcp://127.0.0.1:40123
            sender.wait_for_receiver(timeout_s=10.0)
            for packet in packets:                                 # about 10 000 events or 10 ms each
                sender.send(packet)
    """

    def __init__(self, uri: str, info: SourceInfo, *, stall_timeout_s: float = 2.0) -> None:
        """Listen on the sockets of the streams of ``info``, by the convention of :mod:`.addresses`.

        A receiver that takes nothing for ``stall_timeout_s`` is disconnected; until then it holds up :meth:`send`.

        Raises:
            SourceError: the address is malformed or in use.
        """
        self._info = info
        self._stall_timeout_s = stall_timeout_s
        self._address, listeners = _listen(parse_address(uri), info.streams)
        self._receivers: dict[str, list[socket.socket]] = {stream: [] for stream in info.streams}
        self._changed = threading.Condition()
        self._wake_read, self._wake_write = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, args=(listeners,), name="network-sender", daemon=True)
        self._thread.start()

    @property
    def uri(self) -> str:
        """The address receivers use, with the port that was found."""
        return str(self._address)

    def wait_for_receiver(self, timeout_s: float) -> bool:
        """Wait until every stream has a receiver; return False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: all(self._receivers.values()), timeout_s)

    def send(self, packet: Packet) -> bool:
        """Send all parts to whoever listens; return whether anybody listens to the events.

        Triggers, frames and imu go first, so that a receiver that sees an event has been sent what preceded it.
        """
        if len(packet.triggers):
            self._send("triggers", aedat4_encoding.trigger_packet(packet.triggers))
        if len(packet.imu):
            self._send("imu", aedat4_encoding.imu_packet(packet.imu))
        for frame in packet.frames:
            self._send("frames", aedat4_encoding.frame_packet(frame))
        for start in range(0, len(packet.events), _EVENTS_PER_PACKET):
            self._send("events", aedat4_encoding.event_packet(packet.events[start : start + _EVENTS_PER_PACKET]))
        with self._changed:
            return bool(self._receivers["events"])

    def close(self) -> None:
        """Disconnect everybody, free the ports, remove socket files; closing twice is fine.

        Waits a quarter second first: dv's readers throw away what they have not delivered when a connection ends.
        """
        if self._wake_write.fileno() < 0:
            return
        if any(self._receivers.values()):
            time.sleep(_CLOSING_GRACE_S)
        self._wake_write.send(b"x")
        self._thread.join()
        with self._changed:
            for receivers in self._receivers.values():
                for receiver in receivers:
                    receiver.close()
                receivers.clear()
        self._wake_read.close()
        self._wake_write.close()

    def __enter__(self) -> "NetworkSender":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, stream: str, parts: aedat4_encoding.Parts) -> None:
        message = aedat4_encoding.network_message(parts)
        with self._changed:
            receivers = list(self._receivers[stream])
        for receiver in receivers:
            try:
                receiver.sendall(message)
            except OSError:  # gone, or stalled: half a packet cannot be taken back
                receiver.close()
                with self._changed:
                    self._receivers[stream].remove(receiver)

    def _accept(self, listeners: dict[str, socket.socket]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            for stream, listener in listeners.items():
                selector.register(listener, selectors.EVENT_READ, stream)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        self._stop_listening(listeners)
                        return
                    self._welcome(key.data, listeners[key.data])

    def _welcome(self, stream: str, listener: socket.socket) -> None:
        header = aedat4_encoding.network_header(self._info, stream)
        try:
            receiver, _ = listener.accept()
            receiver.settimeout(self._stall_timeout_s)
            receiver.sendall(header)
        except OSError:  # it left before it was greeted
            return
        with self._changed:
            self._receivers[stream].append(receiver)
            self._changed.notify_all()

    def _stop_listening(self, listeners: dict[str, socket.socket]) -> None:
        for stream, listener in listeners.items():
            listener.close()
            if isinstance(self._address, UnixAddress):
                with contextlib.suppress(FileNotFoundError):
                    Path(self._address.of(stream)).unlink()


def _listen(
    address: TcpAddress | UnixAddress, streams: tuple[str, ...]
) -> tuple[TcpAddress | UnixAddress, dict[str, socket.socket]]:
    if isinstance(address, TcpAddress) and address.port == 0:
        for _ in range(100):
            # Below the ports the system hands out to clients, which could take one of the four at any time.
            candidate = TcpAddress(address.host, random.randrange(10_000, 32_000, 4))
            with contextlib.suppress(SourceError):
                return candidate, _bind(candidate, streams)
        raise SourceError(f"tcp://{address.host}:0: no four free ports in a row; close other programs or name a port")
    return address, _bind(address, streams)


def _new_socket(address: TcpAddress | UnixAddress) -> socket.socket:
    return socket.socket(socket.AF_INET if isinstance(address, TcpAddress) else socket.AF_UNIX, socket.SOCK_STREAM)


def _remove_stale(path: str) -> None:
    """Remove a socket file whose server died; a file that somebody serves, or that is no socket, stays."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except OSError:
            return


def _bind(address: TcpAddress | UnixAddress, streams: tuple[str, ...]) -> dict[str, socket.socket]:
    listeners: dict[str, socket.socket] = {}
    try:
        for stream in streams:
            listener = listeners[stream] = _new_socket(address)
            if isinstance(address, TcpAddress):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                _remove_stale(address.of(stream))
            listener.bind(address.of(stream))
            listener.listen()
    except OSError as error:
        for listener in listeners.values():
            listener.close()
        raise SourceError(f"{address}: cannot serve {stream} here: {error.strerror}; use another address") from None
    return listeners
