"""Ctrl-C between two steps, never within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def postponed_interrupts() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C and SIGTERM instead of ending what runs; a second one ends it at once.

    Yields:
        Whether there was one. Only the main thread is told of signals; in another one there never is. A signal that is
        ignored stays so.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    noted = [number for number in _SIGNALS if previous[number] not in (signal.SIG_IGN, None)]
    for number in noted:
        signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        for number in noted:
            signal.signal(number, previous[number])
