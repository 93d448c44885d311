"""The demonstration, on a small sensor."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from edfv_ros.demo.sample import saturating_sum

ROOT = Path(__file__).parents[1]


def run_demo(*arguments):
    command = [sys.executable, "-m", "edfv_ros.demo", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_it_ends_with_rates_errors_a_picture_and_a_cloud(tmp_path):
    data = yaml.safe_load((ROOT / "config/rig.yaml").read_text(encoding="utf-8"))
    data["camera"] |= {"width_px": 160, "height_px": 120}
    data["camera"]["intrinsics"] |= {"cx_px": 79.5, "cy_px": 59.5}
    rig = tmp_path / "rig.yaml"
    rig.write_text(yaml.safe_dump(data), encoding="utf-8")
    out = tmp_path / "out"
    result = run_demo("--out", out, "--seconds", 1, "--rig", rig)
    assert result.returncode == 0, result.stdout + result.stderr
    for words in ("lens/state", "median error", "confidence above 0.5", "demo.png", "points.ply"):
        assert words in result.stdout
    picture = cv2.imread(str(out / "demo.png"))
    assert picture.shape[0] > 600 and len(np.unique(picture)) > 100
    header, _, body = (out / "points.ply").read_bytes().partition(b"end_header\n")
    points = int(header.partition(b"element vertex ")[2].split()[0])
    assert points > 2000
    assert len(body) == 16 * points


def test_a_missing_rig_is_one_line(tmp_path):
    result = run_demo("--out", tmp_path, "--rig", tmp_path / "none.yaml")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "no such rig file" in line


def test_event_counts_of_two_sweeps_stay_at_the_highest_count():
    total = saturating_sum(np.array([1, 40_000, 65_535], np.uint16), np.array([2, 40_000, 65_535], np.uint16))
    assert total.dtype == np.uint16
    assert total.tolist() == [3, 65_535, 65_535]
