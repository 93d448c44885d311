"""Training samples as compressed bytes. No pickle: reading a data set runs nothing.

A sample is a header in JSON and arrays one after another, each with the bytes of its numbers sorted by significance
(high bytes repeat), and events as steps in time, as one zstandard frame with a checksum.
"""

import json
import struct
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from edfv_ros.errors import SimulationError
from edfv_ros.rig import Rig
from edfv_ros.simulation.crops import TrainingSweeps

_LEVEL = 3
_HEADER_LENGTH = struct.Struct("<I")


def encode(sample: TrainingSweeps) -> bytes:
    """The same sample always gives the same bytes."""
    has_frame = sample.frame is not None
    header = {
        "seed": sample.seed,
        "split": sample.split,
        "kind": sample.kind,
        "rig": sample.rig.model_dump(mode="json", exclude_none=True),
        "threshold_on": sample.threshold_on,
        "threshold_off": sample.threshold_off,
        "rows": len(sample.track_us),
        "events": len(sample.t_us),
        "frame_us": sample.frame_us if has_frame else None,
    }
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    steps_us = np.diff(sample.t_us, prepend=np.uint32(0))
    address = (sample.pixel << np.uint32(1)) | sample.polarity
    arrays: list[NDArray[Any]] = [sample.track_us, sample.track_dpt, steps_us, address, sample.depth_m]
    parts = [_HEADER_LENGTH.pack(len(text)), text, *map(_by_significance, arrays)]
    if sample.frame is not None:
        parts.append(sample.frame.tobytes())
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(b"".join(parts))


def decode(data: bytes) -> TrainingSweeps:
    """The sample again, bit for bit.

    Raises:
        SimulationError: the bytes are damaged.
    """
    try:
        raw = zstandard.ZstdDecompressor().decompress(data)
        (length,) = _HEADER_LENGTH.unpack_from(raw)
        begin = _HEADER_LENGTH.size + length
        header = json.loads(raw[_HEADER_LENGTH.size : begin])
        rig = Rig.model_validate(header["rig"])
        width, height = rig.camera.resolution
        take = _Taker(raw, begin)
        rows, events = header["rows"], header["events"]
        track_us, track_dpt = take.numbers("<u4", rows), take.numbers("<f8", rows)
        steps_us, address = take.numbers("<u4", events), take.numbers("<u4", events)
        depth_m = take.numbers("<f4", 2 * height * width).reshape(2, height, width)
        has_frame = header["frame_us"] is not None
        return TrainingSweeps(
            seed=header["seed"],
            split=header["split"],
            kind=header["kind"],
            rig=rig,
            threshold_on=header["threshold_on"],
            threshold_off=header["threshold_off"],
            track_us=track_us,
            track_dpt=track_dpt,
            t_us=np.cumsum(steps_us, dtype=np.uint32),
            pixel=address >> np.uint32(1),
            polarity=(address & np.uint32(1)).astype(np.uint8),
            depth_m=depth_m,
            frame=take.numbers("u1", height * width).reshape(height, width) if has_frame else None,
            frame_us=header["frame_us"] if has_frame else 0,
        )
    except (zstandard.ZstdError, struct.error, ValueError, KeyError, TypeError) as problem:
        raise SimulationError(f"damaged training sample: {str(problem).splitlines()[0]}") from None


def _by_significance(values: NDArray[Any]) -> bytes:
    """All lowest bytes, then all of the next, ..."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return np.ascontiguousarray(little.reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T).tobytes()


class _Taker:
    """Takes arrays off a buffer, one after another."""

    def __init__(self, buffer: bytes, at: int) -> None:
        self._buffer = buffer
        self._at = at

    def numbers(self, dtype: str, count: int) -> NDArray[Any]:
        kind = np.dtype(dtype)
        planes = np.frombuffer(self._buffer, np.uint8, kind.itemsize * count, self._at).reshape(kind.itemsize, count)
        self._at += planes.size
        return np.ascontiguousarray(planes.T).view(kind).reshape(count)
