"""From what a user types to an open, checked source of events."""

from pathlib import Path

from edfv_ros.errors import SourceError
from edfv_ros.events.health import HealthCheck, StreamHealth
from edfv_ros.events.source import EventSource
from edfv_ros.events.types import BAG_SUFFIX, Packet, SourceInfo


class CheckedSource:
    """A source whose events ascend in time and lie inside the resolution; what did not is counted in ``health``."""

    def __init__(self, source: EventSource, *, opened_us: int | None = None) -> None:
        self._source = source
        self._check = HealthCheck(source.info, opened_us=opened_us)

    @property
    def info(self) -> SourceInfo:
        return self._source.info

    @property
    def health(self) -> StreamHealth:
        return self._check.health

    def read(self) -> Packet | None:
        """See :meth:`EventSource.read`."""
        packet = self._source.read()
        return None if packet is None else self._check(packet)

    def lose(self, packet: Packet) -> None:
        """Count what was read but could not be handed on."""
        self._check.lose(packet)

    def close(self) -> None:
        self._source.close()


def open_source(uri: str, *, real_time: bool = False) -> CheckedSource:
    """Open a source in this process.

    Args:
        uri: ``camera:`` or ``camera:SERIAL``, with settings as :class:`~edfv_ros.events.camera_settings.CameraSettings`
            writes them; a path to an .aedat4 file, an .mcap bag or a sweep recording; ``tcp://HOST:PORT`` or
            ``unix:///path`` of a dv network stream.
        real_time: replay a file at the pace it was recorded; no meaning for live sources.

    Raises:
        SourceError: there is no such source.
    """
    # Each kind of source brings its own libraries: only those of the one that is asked for are loaded.
    if uri.startswith("camera:"):
        from edfv_ros.events.camera import CameraSource
        from edfv_ros.events.camera_settings import CameraSettings

        camera = CameraSource(CameraSettings.from_uri(uri))
        return CheckedSource(camera, opened_us=camera.opened_us)
    if uri.startswith(("tcp://", "unix://")):
        from edfv_ros.events.network import NetworkSource

        return CheckedSource(NetworkSource(uri))
    if "://" in uri:
        raise SourceError(
            f"{uri}: unknown kind of source; use camera:, a path to an .aedat4 or .mcap file, tcp:// or unix://"
        )
    return CheckedSource(open_file(uri, real_time=real_time))


def open_file(path: str | Path, *, real_time: bool = False) -> EventSource:
    """Open an .aedat4 file, a sweep recording or an .mcap bag as it is, unchecked.

    Raises:
        SourceError: there is no such file, or it is none of these.
    """
    if Path(path).suffix == BAG_SUFFIX:
        from edfv_ros.bags.source import BagSource

        return BagSource(path, real_time=real_time)
    from edfv_ros.events.aedat4 import Aedat4Source

    return Aedat4Source(path, real_time=real_time)
