"""A serial port that is none: the device's end of a pseudo-terminal."""

import os
import termios
import tty
from pathlib import Path

from edfv_ros.errors import OutputError


class PseudoTerminal:
    """Raw bytes to and from whoever opens ``path``; it stays open while clients come and go.

    Args:
        link: a symbolic link to make to it, so that its name is known beforehand and survives :meth:`close` and a new
            terminal; an old link there is replaced.

    Attributes:
        path: what clients open.

    Raises:
        OutputError: the link cannot be made.
    """

    def __init__(self, link: Path | None = None) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._link = link
        if link is not None:
            self._make_link(link)

    def fileno(self) -> int:
        """For ``select``: readable when bytes have come."""
        return self._master

    def read(self) -> bytes:
        """What has come, empty for nothing."""
        try:
            return os.read(self._master, 4096)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> bool:
        """Send; false where nobody has read for so long that there is no room; what was unread is then gone too."""
        try:
            if os.write(self._master, data) == len(data):
                return True
        except BlockingIOError:
            pass  # as full as if only a part had gone
        termios.tcflush(self._slave, termios.TCIFLUSH)
        return False

    def close(self) -> None:
        """Hang up: clients see the device vanish, and the link with it."""
        if self._link is not None and self._link.is_symlink() and self._link.readlink() == Path(self.path):
            self._link.unlink()
        os.close(self._slave)
        os.close(self._master)

    def _make_link(self, link: Path) -> None:
        try:
            if link.is_symlink():
                link.unlink()
            link.symlink_to(self.path)
        except OSError as error:
            os.close(self._slave)
            os.close(self._master)
            raise OutputError(f"{link}: cannot link the port there: {error.strerror}; choose another path") from None
