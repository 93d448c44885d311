"""The bytes of ROS 2 messages: plain CDR, as every rmw writes it (OMG DDSI-RTPS 2.5, section 10; XCDR version 1).

A message is a header of four bytes, then its fields in order, each primitive aligned to its own size as counted from
behind that header.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HEADER: Final = b"\0\1\0\0"  # plain CDR, little endian
_HEADER_BYTES: Final = len(_HEADER)
_BYTE_ORDERS: Final = {b"\0\0": ">", b"\0\1": "<"}


class CdrError(ValueError):
    """The bytes are not a message of the type that was expected."""


class CdrWriter:
    """Writes the fields of one message, little endian."""

    def __init__(self) -> None:
        self._buffer = bytearray(_HEADER)

    def __bytes__(self) -> bytes:
        return bytes(self._buffer)

    def put(self, kind: str, *values: float) -> None:
        """Append numbers of one kind, a letter of :mod:`struct`."""
        self._align(struct.calcsize(f"<{kind}"))
        self._buffer += struct.pack(f"<{len(values)}{kind}", *values)

    def put_string(self, text: str) -> None:
        """Append a string."""
        data = text.encode() + b"\0"
        self.put("I", len(data))
        self._buffer += data

    def put_array(self, values: NDArray[np.generic]) -> None:
        """Append an array of fixed length, without its length."""
        if values.size:
            self._align(values.itemsize)
            self._buffer += np.ascontiguousarray(values).reshape(-1).view(np.uint8).data

    def put_sequence(self, values: NDArray[np.generic]) -> None:
        """Append an array of any length."""
        self.put("I", values.size)
        self.put_array(values)

    def _align(self, size: int) -> None:
        self._buffer += b"\0" * (-(len(self._buffer) - _HEADER_BYTES) % size)


class CdrReader:
    """Reads the fields of one message.

    Raises:
        CdrError: the bytes end too early, or are not plain CDR.
    """

    def __init__(self, data: bytes) -> None:
        order = _BYTE_ORDERS.get(data[:2])
        if order is None or len(data) < _HEADER_BYTES:
            raise CdrError("not a message in plain CDR")
        self._order = order
        self._data = memoryview(data)
        self._at = _HEADER_BYTES

    def get(self, kind: str) -> int:
        """Read a whole number of a kind, a letter of :mod:`struct`."""
        size = struct.calcsize(f"<{kind}")
        return int(struct.unpack(f"{self._order}{kind}", self._take(size, size))[0])

    def get_string(self) -> str:
        """Read a string."""
        data = bytes(self._take(self.get("I"), 1))
        try:
            return data.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            raise CdrError("a text in it is not UTF-8") from None

    def get_array(self, dtype: str, count: int) -> NDArray[np.generic]:
        """Read an array of fixed length as a read-only view [count]; ``dtype`` without byte order."""
        kind = np.dtype(self._order + dtype)
        return np.frombuffer(self._take(count * kind.itemsize, kind.itemsize if count else 1), kind)

    def get_sequence(self, dtype: str) -> NDArray[np.generic]:
        """Read an array of any length as a read-only view."""
        return self.get_array(dtype, self.get("I"))

    def _take(self, size: int, alignment: int) -> memoryview:
        start = self._at + -(self._at - _HEADER_BYTES) % alignment
        if start + size > len(self._data):
            raise CdrError("a message in it is too short")
        self._at = start + size
        return self._data[start : self._at]
