"""A node that is configured, activated and cleaned up again and again holds no more than at first."""

import gc
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from node_process import ros_context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from recordings import small_rig, write_rig, write_small_recording

from edfv_ros.nodes.depth_node import DepthNode

SUCCESS = TransitionCallbackReturn.SUCCESS
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Held:
    """What this process holds now."""

    def __init__(self):
        gc.collect()
        self.memory_mib = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MIB
        self.descriptors = len(list(Path("/proc/self/fd").iterdir()))
        self.threads = sorted(thread.name for thread in threading.enumerate())
        self.children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        self.native_threads = len(list(Path("/proc/self/task").iterdir()))
        maps = Path("/proc/self/maps").read_text().splitlines()
        self.shared_memory = sorted({line.split()[-1] for line in maps if "/dev/shm/" in line or "memfd:" in line})

    def assert_no_more_than(self, before, *, memory_mib):
        assert self.threads == before.threads
        assert self.children == before.children
        assert self.native_threads <= before.native_threads
        assert self.descriptors <= before.descriptors
        assert self.shared_memory == before.shared_memory
        assert self.memory_mib - before.memory_mib < memory_mib


@pytest.fixture
def make_node():
    nodes = []
    with ros_context() as (context, _):

        def make(**values):
            overrides = [Parameter(name, value=value) for name, value in {"autostart": False, **values}.items()]
            nodes.append(DepthNode(context=context, parameter_overrides=overrides))
            return nodes[-1]

        yield make
        for node in nodes:
            with suppress(RuntimeError):
                node.trigger_shutdown()
            node.destroy_node()


def configure_and_clean_up(node):
    assert node.trigger_configure() is SUCCESS
    assert node.trigger_cleanup() is SUCCESS


def test_a_hundred_times_configured_and_cleaned_up(make_node, tmp_path):
    rig = write_rig(small_rig(), tmp_path / "rig.yaml")
    node = make_node(source="network", path="tcp://127.0.0.1:9", rig=str(rig), estimator="reversal")
    for _ in range(20):  # caches fill, memory pools reach their size
        configure_and_clean_up(node)
    before = Held()
    for _ in range(100):
        configure_and_clean_up(node)
    Held().assert_no_more_than(before, memory_mib=4.0)


def test_networks_are_given_back(make_node, tmp_path):
    rig = write_rig(small_rig(), tmp_path / "rig.yaml")
    node = make_node(source="network", path="tcp://127.0.0.1:9", rig=str(rig), estimator="edpn")
    for _ in range(3):
        configure_and_clean_up(node)
    before = Held()
    for _ in range(8):  # each loads megabytes of weights and work space
        configure_and_clean_up(node)
    Held().assert_no_more_than(before, memory_mib=16.0)


def test_sources_are_given_back(make_node, tmp_path):
    recording = write_small_recording(tmp_path / "recording")
    node = make_node(source="file", path=str(recording), loop=True, estimator="reversal")

    def run_once():
        assert node.trigger_configure() is SUCCESS
        for _ in range(2):
            assert node.trigger_activate() is SUCCESS
            assert node.trigger_deactivate() is SUCCESS
        assert node.trigger_cleanup() is SUCCESS

    for _ in range(3):
        run_once()
    before = Held()
    for _ in range(5):
        run_once()
    Held().assert_no_more_than(before, memory_mib=16.0)
