"""Where the streams of a camera lie on the network: one socket each, derived from one address."""

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edfv_ros.errors import SourceError

STREAM_ORDER = ("events", "triggers", "frames", "imu")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Events at ``port``, triggers at +1, frames at +2, imu at +3."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def of(self, stream: str) -> tuple[str, int]:
        """Literal IP address and port of one stream."""
        return self.host, self.port + STREAM_ORDER.index(stream)


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """Events at ``path``, the others beside it: ``path.triggers``, ``path.frames``, ``path.imu``."""

    path: Path

    def __str__(self) -> str:
        return f"unix://{self.path}"

    def of(self, stream: str) -> str:
        """Path of one stream's socket."""
        return str(self.path) if stream == "events" else f"{self.path}.{stream}"


def parse_address(uri: str) -> TcpAddress | UnixAddress:
    """Parse ``tcp://HOST:PORT`` (a host name is resolved) or ``unix:///path/x.sock``.

    Raises:
        SourceError: the address is malformed or the host unknown.
    """
    if uri.startswith("unix://"):
        path = uri.removeprefix("unix://")
        if not path:
            raise SourceError(f"{uri}: a path is missing; write unix:///run/camera.sock")
        return UnixAddress(Path(path))
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SourceError(f"{uri}: not an address of a camera stream; write tcp://HOST:PORT") from None
    if parts.scheme != "tcp" or not host or port is None or parts.path.strip("/"):
        raise SourceError(f"{uri}: not an address of a camera stream; write tcp://HOST:PORT, e.g. tcp://127.0.0.1:7777")
    if port > 65535 - len(STREAM_ORDER) + 1:
        raise SourceError(f"{uri}: port {port} leaves no room for the streams beside it; use 65532 or less")
    try:
        return TcpAddress(socket.gethostbyname(host), port)
    except OSError as error:
        raise SourceError(f"{uri}: the host {host} cannot be found: {error.strerror}") from None
