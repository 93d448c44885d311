"""Who may import whom, by importing for real."""

import json
import subprocess
import sys

import pytest


def loaded_by(module: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after importing one."""
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


OFFLINE = (
    "edfv_ros.simulation",
    "edfv_ros.evaluation",
    "edfv_ros.offline",
    "edfv_ros.demo",
    "edfv_ros.commands",
    "edfv_ros.viewer",
)


@pytest.mark.parametrize("module", ["edfv_ros.pipeline", "edfv_ros.depth.reversal", "edfv_ros.lens.sync"])
def test_the_way_of_the_data_knows_no_ros_and_no_torch(module: str) -> None:
    loaded = loaded_by(module)
    assert not {"rclpy", "torch", "rerun", *OFFLINE} & loaded


def test_the_node_runs_without_what_is_offline() -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    loaded = loaded_by("edfv_ros.nodes.depth_node")
    assert not {"torch", "rerun", *OFFLINE} & loaded


def test_the_simulation_shares_nothing_with_the_estimator() -> None:
    loaded = loaded_by("edfv_ros.simulation.live")
    assert not {name for name in loaded if name.startswith(("edfv_ros.volume", "edfv_ros.depth", "edfv_ros.pipeline"))}


def test_the_capture_process_starts_light() -> None:
    assert not {"numba", "cv2", "rclpy", "matplotlib", "mcap", "edfv_ros.lens"} & loaded_by(
        "edfv_ros.events.capture_process"
    )


def test_bags_are_read_and_written_without_ros() -> None:
    assert not {"rclpy", "sensor_msgs", "edfv_ros.nodes", "edfv_ros.depth"} & loaded_by("edfv_ros.bags.packing")
