"""Work that takes its time, awaited by a callback that must not hold up the executor."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.task import Future

T = TypeVar("T")


async def in_background(node: Node, work: Callable[[], T]) -> T:
    """Run ``work`` in a thread of its own; other callbacks of the node run meanwhile.

    Await it in a callback of a reentrant group, of a node that an executor spins. What ``work`` raises comes out here.
    """
    future = Future(executor=node.executor)
    future.add_done_callback(lambda _: None)  # only a future with a callback wakes the executor when it is done

    def run() -> None:
        with suppress(InvalidHandle):  # the executor has been shut down, and nobody waits any more
            try:
                result = work()
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

    threading.Thread(target=run, name="service", daemon=True).start()
    return await future
