"""Run one node until Ctrl-C or SIGTERM, and end in order."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import rclpy

# What init, spin and transitions raise; rclpy has no public name for it. Nothing else of this project imports it.
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.signals import SignalHandlerOptions

from edfv_ros.errors import EdfvError
from edfv_ros.nodes.fast_dds import fast_dds_environment

BAD_INPUT = 2


class CancellableNode(LifecycleNode):
    """A lifecycle node whose transitions may take long."""

    def cancel(self) -> None:
        """Make a transition in progress fail soon; called from the main thread."""
        raise NotImplementedError


def run_node(make_node: Callable[[], CancellableNode]) -> int:
    """Spin a node in a thread of its own until a signal comes, then take it through its shutdown transition.

    rclpy's own handlers would shut ROS down under the node; here the node still can stop its devices in order, and
    further signals during that change nothing.

    Returns:
        The exit code of the process: 0 after a signal, 1 after a bug, 2 for wrong arguments or parameters.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        os.environ.update(fast_dds_environment())  # read when the first node is made
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
    except (EdfvError, RCLError) as error:
        print(f"depth_node: {' '.join(str(error).split())}", file=sys.stderr)
        rclpy.try_shutdown()
        return BAD_INPUT

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    failures: list[BaseException] = []

    def spin() -> None:
        try:
            while not stop.is_set():
                try:
                    executor.spin()
                except RCLError as error:  # rclpy raises it when somebody asks for a transition that is not possible
                    node.get_logger().error(" ".join(str(error).split()))
        except BaseException as error:
            failures.append(error)
            node.get_logger().fatal(f"unexpected {type(error).__name__}: {error}")
        finally:
            stop.set()

    spinner = threading.Thread(target=spin, name="executor")
    spinner.start()
    stop.wait()
    node.cancel()
    executor.shutdown()
    spinner.join()
    with suppress(RCLError):  # somebody has taken it through that transition before
        node.trigger_shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 1 if failures else 0
