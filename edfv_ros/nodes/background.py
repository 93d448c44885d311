"""Work that takes its time, awaited by callbacks that must not hold up the executor."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.task import Future

T = TypeVar("T")


class Background:
    """Runs work in threads and brings what comes of it back into the node's executor.

    Args:
        node: whose callbacks wait; somebody spins it.
    """

    def __init__(self, node: Node) -> None:
        self._finished: deque[Callable[[], None]] = deque()
        self._wake = node.create_guard_condition(self._deliver, ReentrantCallbackGroup())

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread of its own; other callbacks of the node run meanwhile.

        Await it in a callback of a reentrant group. What ``work`` raises comes out here. Where the node ends first,
        nothing comes.
        """
        future = Future()
        threading.Thread(target=self._work, args=(work, future), name="service", daemon=True).start()
        return await future

    def _work(self, work: Callable[[], T], future: Future) -> None:
        try:
            self._finished.append(partial(future.set_result, work()))
        except Exception as error:
            self._finished.append(partial(future.set_exception, error))
        with suppress(InvalidHandle):  # the node is gone, and nobody waits
            self._wake.trigger()

    def _deliver(self) -> None:
        """In the executor, which looks after those that wait when this has returned."""
        while self._finished:
            self._finished.popleft()()
