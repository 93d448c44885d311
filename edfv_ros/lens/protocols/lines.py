"""Protocols of text lines."""

_LONGEST_LINE = 256


def take_line(received: bytearray) -> str | None:
    """Take the first line that is not empty; LF or CRLF ends it. None where none is complete.

    What is no text becomes question marks, and of a line without an end only the last part is kept.
    """
    while (end := received.find(b"\n")) >= 0:
        line = received[:end].decode("ascii", "replace").strip()
        del received[: end + 1]
        if line:
            return line
    del received[:-_LONGEST_LINE]
    return None
