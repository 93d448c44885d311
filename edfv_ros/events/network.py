"""The streams of a camera on the network as a source of events."""

import selectors
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from edfv_ros.errors import SourceError
from edfv_ros.events.addresses import STREAM_ORDER, TcpAddress, UnixAddress, parse_address
from edfv_ros.events.aedat4_decoding import (
    DECODERS,
    Container,
    DamagedError,
    Stream,
    decompress,
    read_container,
)
from edfv_ros.events.packing import joined
from edfv_ros.events.types import EVENT_DTYPE, IMU_DTYPE, TRIGGER_DTYPE, Packet, SourceInfo

_CONNECT_TIMEOUT_S = 3.0
_READ_TIMEOUT_S = 0.01
_FAREWELL_S = 0.5  # for what is still under way on the other sockets when the events end
_RECEIVE_BYTES = 1 << 20
_MAX_MESSAGE_BYTES = 1 << 28
# Whoever only listens learns of the death of a machine, or of the cable to it, by asking: here within 5 s of silence.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3))


class NetworkSource:
    """A dv network stream: one socket for events, and those for triggers, frames and imu that accept a connection.

    The sockets are independent, so a trigger may arrive a little after events that are younger.
    """

    def __init__(self, uri: str) -> None:
        """Connect to ``tcp://HOST:PORT`` or ``unix:///path``.

        Raises:
            SourceError: nobody serves events there, or something else answers.
        """
        self._uri = uri
        address = parse_address(uri)
        self._receivers: dict[str, _Receiver] = {}
        self._ends_at_s: float | None = None
        try:
            for kind in STREAM_ORDER:
                receiver = _connect(address, uri, kind)
                if receiver is not None:
                    self._receivers[kind] = receiver
        except SourceError:
            self.close()
            raise
        events = self._receivers["events"].stream
        self._info = SourceInfo(events.source, events.width_px, events.height_px, tuple(self._receivers), live=True)
        self._selector = selectors.DefaultSelector()
        for kind, receiver in self._receivers.items():
            self._selector.register(receiver.connection, selectors.EVENT_READ, kind)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Packet | None:
        """Return what arrived, an empty packet when nothing did for 10 ms, None when the server has gone.

        Raises:
            SourceError: what arrives is damaged, or the server cannot be reached any more.
        """
        if not self._receivers or (self._ends_at_s is not None and time.monotonic() > self._ends_at_s):
            return None
        ready = {key.data for key, _ in self._selector.select(_READ_TIMEOUT_S)}
        arrived: dict[str, list[Any]] = {kind: [] for kind in STREAM_ORDER}
        # Events first: what was sent before them on the other sockets is then there too.
        for kind in [kind for kind in STREAM_ORDER if kind in self._receivers]:
            if kind in ready or (kind != "events" and "events" in ready):
                arrived[kind] = self._receive(kind)
        return Packet(
            joined(arrived["events"], EVENT_DTYPE),
            joined(arrived["triggers"], TRIGGER_DTYPE),
            joined(arrived["imu"], IMU_DTYPE),
            tuple(arrived["frames"]),
        )

    def close(self) -> None:
        if hasattr(self, "_selector"):
            self._selector.close()
        for receiver in self._receivers.values():
            receiver.connection.close()
        self._receivers.clear()

    def _receive(self, kind: str) -> list[Any]:
        receiver = self._receivers[kind]
        try:
            packets, connected = receiver.receive()
        except DamagedError as error:
            raise SourceError(
                f"{self._uri}: the {kind} are damaged: {error}; is this a dv stream, and nothing else writes to it?"
            ) from None
        except OSError as error:
            raise SourceError(
                f"{self._uri}: the connection broke off: {error.strerror}; check the network and the sender"
            ) from None
        if not connected:
            self._selector.unregister(receiver.connection)
            receiver.connection.close()
            del self._receivers[kind]
            if kind == "events":
                self._ends_at_s = time.monotonic() + _FAREWELL_S
        return packets


@dataclass(slots=True)
class _Receiver:
    connection: socket.socket
    container: Container
    stream: Stream
    buffer: bytearray

    def receive(self) -> tuple[list[Any], bool]:
        """Return the decoded packets that are complete, and whether the connection still stands."""
        connected = True
        try:
            received = self.connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            received = b""
        except ConnectionError:
            received, connected = b"", False
        else:
            connected = bool(received)
        self.buffer += received
        packets = []
        position = 0
        while position + 8 <= len(self.buffer):
            size = struct.unpack_from("<i", self.buffer, position + 4)[0]
            if not 0 < size <= _MAX_MESSAGE_BYTES:
                raise DamagedError(f"a packet of {size} bytes")
            if position + 8 + size > len(self.buffer):
                break
            payload = bytes(self.buffer[position + 8 : position + 8 + size])
            packets.append(DECODERS[self.stream.kind](decompress(payload, self.container.compression)))
            position += 8 + size
        del self.buffer[:position]
        return packets, connected


def _connect(address: TcpAddress | UnixAddress, uri: str, kind: str) -> _Receiver | None:
    family = socket.AF_INET if isinstance(address, TcpAddress) else socket.AF_UNIX
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(_CONNECT_TIMEOUT_S)
    if family == socket.AF_INET:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    try:
        connection.connect(address.of(kind))
        container = read_container(
            _receive_exactly(connection, struct.unpack("<I", _receive_exactly(connection, 4))[0])
        )
        stream = next(iter(container.streams.values()), None)
        if stream is None or stream.kind != kind:
            raise DamagedError(f"it offers {stream.kind if stream else 'nothing'}")
        if kind == "events" and min(stream.width_px, stream.height_px) <= 0:
            raise DamagedError("it does not say its resolution")
    except TimeoutError:
        connection.close()
        if kind != "events":
            return None
        raise SourceError(f"{uri}: the server does not answer; is it a dv stream, and alive?") from None
    except (ConnectionRefusedError, FileNotFoundError) as error:
        connection.close()
        if kind != "events":
            return None
        raise SourceError(f"{uri}: nobody serves events there: {error.strerror}; start the sender first") from None
    except DamagedError as error:
        connection.close()
        if kind != "events":
            return None  # some other server next to a camera that offers events alone
        raise SourceError(f"{uri}: not a dv event stream: {error}; check the port") from None
    except OSError as error:
        connection.close()
        raise SourceError(f"{uri}: cannot connect: {error.strerror}; check the address") from None
    connection.setblocking(False)
    return _Receiver(connection, container, stream, bytearray())


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    if size > 1 << 20:
        raise DamagedError("it does not begin like one")
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise DamagedError("it hangs up")
        content += part
    return content
