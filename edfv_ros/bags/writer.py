"""Write a bag that survives the death of its writer."""

import os
from pathlib import Path
from types import TracebackType
from typing import IO, Final, cast

import numpy as np
from mcap.writer import CompressionType, Writer
from numpy.typing import NDArray

from edfv_ros import __version__
from edfv_ros.bags import event_packets, messages
from edfv_ros.bags.definitions import definition
from edfv_ros.bags.layout import METADATA_NAME, TOPICS
from edfv_ros.bags.messages import EventPacket, Header
from edfv_ros.errors import OutputError
from edfv_ros.events.types import BAG_SUFFIX, Frame, Packet, SourceInfo
from edfv_ros.rig import Camera

_CHUNK_BYTES: Final = 1 << 20
_FLUSH_NS: Final = 250_000_000


class BagWriter:
    """A recording as an MCAP file of ROS 2 messages.

    Messages go to the operating system in chunks of a quarter of a second, or of a megabyte: whatever ends the
    process, the bag reads up to the last one. Closing it adds the index that players jump by.

    Times must not decrease within events and within triggers, across writes too.

    Args:
        path: the file to write; replaced where it exists.
        info: whose events they are.
        camera: the camera of the rig, where there is one: gives intrinsics and frame ids.
        attachments: files to put into the bag, by name.

    Raises:
        OutputError: the suffix is not ``.mcap``, or the file cannot be written.
    """

    def __init__(
        self, path: Path, info: SourceInfo, camera: Camera | None = None, attachments: dict[str, bytes] | None = None
    ) -> None:
        self.path = path
        if path.suffix != BAG_SUFFIX:
            raise OutputError(f"{path}: name the bag with the suffix {BAG_SUFFIX}, players insist on it")
        self._info = info
        self._camera = camera
        self._optical_frame = camera.optical_frame if camera else "camera_optical_frame"
        self._link_frame = camera.link_frame if camera else "camera_link"
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._newest_ns = 0
        self._flushed_ns = 0
        try:
            self._file: IO[bytes] = path.open("wb", buffering=0)
            self._writer = Writer(cast(IO[bytes], _Whole(self._file)), _CHUNK_BYTES, CompressionType.ZSTD)
            self._writer.start("ros2", f"edfv_ros {__version__}")
            described = {
                "camera": info.camera,
                "width_px": str(info.width_px),
                "height_px": str(info.height_px),
                "streams": ",".join(info.streams),
            }
            self._writer.add_metadata(METADATA_NAME, described)
            for name, data in (attachments or {}).items():
                self._writer.add_attachment(0, 0, name, "application/octet-stream", data)
        except OSError as error:
            raise self._unwritable(error) from None

    def write_packet(self, packet: Packet) -> None:
        """Append all parts of a packet: what its events are to be understood by before these."""
        for triggers in event_packets.split_by_time(packet.triggers):
            self._write_packed("/triggers", event_packets.TRIGGER, triggers, event_packets.encode_triggers(triggers))
        for sample in packet.imu:
            stamp_ns = int(sample["timestamp"]) * 1000
            self._write("/imu", stamp_ns, messages.imu(Header(stamp_ns, self._optical_frame), sample))
        for frame in packet.frames:
            self._write_frame(frame)
        self._counts["/events"] = self._counts.get("/events", 0) + packet.lost_events  # a gap, as of lost messages
        for events in event_packets.split_by_time(packet.events):
            self._write_packed("/events", event_packets.MONO, events, event_packets.encode_events(events))
        self._flush_in_time()

    def write_focus(self, timestamps_us: NDArray[np.float64], vergence_dpt: NDArray[np.float64]) -> None:
        """Append rows of the lens track, both float64 [N], unix microseconds and dioptres.

        Times are kept to the nanosecond, which is more than a double holds of the time of this century.
        """
        for time_us, focus_dpt in zip(timestamps_us.tolist(), vergence_dpt.tolist(), strict=True):
            whole_us = int(time_us)
            stamp_ns = whole_us * 1000 + round((time_us - whole_us) * 1000)
            self._write("/lens/state", stamp_ns, messages.focus_state(Header(stamp_ns, self._link_frame), focus_dpt))

    def write_depth(
        self,
        stamp_us: int,
        known_us: int,
        depth_m: NDArray[np.float32],
        confidence: NDArray[np.float32],
        points: NDArray[np.float32],
    ) -> None:
        """Append depth, confidence, points and camera_info of a sweep.

        Args:
            stamp_us: the middle of the sweep, which is what the messages are stamped with.
            known_us: the end of the sweep, from which on the depth can be known.
            depth_m: float32 [H, W], z along the optical axis.
            confidence: float32 [H, W], 0 to 1.
            points: float32 [H, W, 6] from :func:`edfv_ros.outputs.cloud.cloud_points`.
        """
        header = Header(stamp_us * 1000, self._optical_frame)
        log_ns = known_us * 1000
        self._write("/depth", log_ns, messages.image(header, depth_m.astype(np.float32, copy=False)))
        self._write("/confidence", log_ns, messages.image(header, confidence.astype(np.float32, copy=False)))
        self._write("/points", log_ns, messages.point_cloud(header, points))
        self._write_camera_info(log_ns, header)
        self._flush_in_time()

    def close(self) -> None:
        """Write the index and close the file; closing twice is fine.

        Raises:
            OutputError: the disk is full, or gone.
        """
        if self._file.closed:
            return
        try:
            self._writer.finish()
        except OSError as error:
            raise self._unwritable(error) from None
        finally:
            self._file.close()

    def __enter__(self) -> "BagWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write_packed(
        self, topic: str, encoding: str, items: NDArray[np.void], encoded: tuple[int, NDArray[np.uint64]]
    ) -> None:
        time_base_ns, words = encoded
        packet = EventPacket(
            Header(time_base_ns, self._optical_frame),
            self._info.height_px,
            self._info.width_px,
            self._counts.get(topic, 0),
            time_base_ns,
            encoding,
            words.astype("<u8", copy=False).view(np.uint8),
        )
        # What makes a packet known is its last event.
        self._write(topic, int(items["timestamp"][-1]) * 1000, messages.event_packet(packet))

    def _write_frame(self, frame: Frame) -> None:
        header = Header(frame.timestamp_us * 1000, self._optical_frame)
        end_ns = (frame.timestamp_us + frame.exposure_us) * 1000
        self._write("/frame/exposure", end_ns, messages.time_reference(header, end_ns, "end of exposure"))
        self._write("/frame", end_ns, messages.image(header, frame.image))
        self._write_camera_info(end_ns, header)

    def _write_camera_info(self, log_ns: int, header: Header) -> None:
        if self._camera is not None:
            self._write("/camera_info", log_ns, messages.camera_info(header, self._camera))

    def _write(self, topic: str, log_ns: int, data: bytes) -> None:
        try:
            number = self._counts.get(topic, 0)
            self._counts[topic] = number + 1
            self._writer.add_message(self._channel(topic), log_ns, data, log_ns, number & 0xFFFFFFFF)
        except OSError as error:
            raise self._unwritable(error) from None
        self._newest_ns = max(self._newest_ns, log_ns)

    def _channel(self, topic: str) -> int:
        if topic not in self._channels:
            kind = TOPICS[topic]
            if kind not in self._schemas:
                self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", definition(kind).encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", self._schemas[kind])
        return self._channels[topic]

    def _flush_in_time(self) -> None:
        if self._newest_ns - self._flushed_ns < _FLUSH_NS:
            return
        try:
            self._writer.flush()
        except OSError as error:
            raise self._unwritable(error) from None
        self._flushed_ns = self._newest_ns

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: cannot write this bag: {error.strerror or error}")


class _Whole:
    """A file that has handed everything to the operating system when a write returns."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file.fileno(), rest) :]
        return len(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing waits."""
