"""The viewer without a display: what a saved file shows is what was computed."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import START_US, SWEEP_US, small_rig, write_rig, write_small_recording
from test_cli_basics import edfv
from test_cli_record import Camera
from test_cli_run import fails

from edfv_ros.events import EVENT_DTYPE
from edfv_ros.simulation import make_scene, write_recording
from edfv_ros.viewer.event_pictures import PICTURE_US, EventPictures

pytest.importorskip("rerun", reason="Rerun is not installed: it needs Python 3.11 or later")

from rerun.chunk import RrdReader

from edfv_ros.commands import view as view_command
from edfv_ros.viewer.pipeline_view import view_live
from edfv_ros.viewer.viewer import Viewer


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sweeps of random events. Not to be changed."""
    return write_small_recording(tmp_path_factory.mktemp("data") / "sweep")


def shown(path: Path, entity: str, component: str) -> list[tuple[int, Any]]:
    """What a file shows at an entity: unix microseconds and value of each row; time -1 where it is always there."""
    rows = []
    for chunk in RrdReader(path).stream().to_chunks():
        if chunk.entity_path != f"/{entity}":
            continue
        batch = chunk.to_record_batch()
        if component not in batch.schema.names:
            continue
        times = [-1] * batch.num_rows if chunk.is_static else [time.value // 1000 for time in batch.column("camera")]
        rows += list(zip(times, batch.column(component).to_pylist(), strict=True))
    return sorted(rows, key=lambda row: row[0])


def test_a_recording_is_shown_as_it_is_computed(tmp_path: Path) -> None:
    rig = small_rig(96, 72)
    write_recording(tmp_path / "scene", rig, make_scene("tabletop", 0, rig), sweeps=2)
    file = tmp_path / "scene.rrd"
    code, out, error = edfv("view", tmp_path / "scene", "--save", file, "--confidence", 0.0)
    assert code == 0, error
    assert "2 depth images" in out and f"rerun {file}" in out
    assert edfv("run", tmp_path / "scene", "--out", tmp_path / "depth")[0] == 0

    images = shown(file, "depth", "DepthImage:buffer")
    clouds = shown(file, "cloud", "Points3D:positions")
    sweeps = json.loads((tmp_path / "depth" / "report.json").read_text())["sweeps"]
    middles_us = [(sweep["start_us"] + sweep["end_us"]) // 2 for sweep in sweeps]
    assert [time_us for time_us, _ in images] == [time_us for time_us, _ in clouds] == middles_us
    for index in range(2):
        depth_m = np.load(tmp_path / "depth" / f"depth_{index:04d}.npy")
        known = np.isfinite(depth_m)
        assert known.mean() > 0.3
        image_m = np.frombuffer(bytes(images[index][1][0]), np.float32).reshape(depth_m.shape)
        np.testing.assert_array_equal(image_m, np.where(known, depth_m, 0.0))
        points_m = np.array(clouds[index][1], np.float32)
        np.testing.assert_array_equal(points_m[:, 2], depth_m[known])
        column_px = np.nonzero(known)[1]
        expected_m = (column_px - rig.camera.intrinsics.cx_px) / rig.camera.intrinsics.fx_px * depth_m[known]
        np.testing.assert_allclose(points_m[:, 0], expected_m, atol=1e-4)
    assert {value[0] for _, value in shown(file, "depth", "DepthImage:meter")} == {1.0}


def test_focus_and_events_are_shown_over_time(sweep: Path, tmp_path: Path) -> None:
    file = tmp_path / "sweep.rrd"
    assert edfv("view", sweep, "--save", file)[0] == 0
    focus = shown(file, "focus/vergence_dpt", "Scalars:scalars")
    assert focus[0] == (START_US, [pytest.approx(0.3)]) and focus[-1] == (START_US + 3 * SWEEP_US, [pytest.approx(4.2)])
    rates = [value[0] for _, value in shown(file, "rates/events_per_s", "Scalars:scalars") if value]
    assert np.mean(rates) == pytest.approx(30_000 / 0.3, rel=0.05)
    assert len(shown(file, "events", "Image:buffer")) == len(rates) == 9
    assert any("events in the sweep" in value[0] for _, value in shown(file, "statistics", "TextDocument:text"))


def test_it_opens_well_arranged(sweep: Path, tmp_path: Path) -> None:
    file = tmp_path / "sweep.rrd"
    assert edfv("view", sweep, "--save", file)[0] == 0
    reader = RrdReader(file)
    blueprints = reader.blueprints()
    assert len(blueprints) == 1 and len(reader.recordings()) == 1
    origins = set()
    for chunk in reader.stream(store=blueprints[0]).to_chunks():
        batch = chunk.to_record_batch()
        if "ViewBlueprint:space_origin" in batch.schema.names:
            origins |= {value[0].strip("/") for value in batch.column("ViewBlueprint:space_origin").to_pylist()}
    assert {"depth", "cloud", "events", "guide", "confidence", "focus", "statistics"} <= origins
    assert shown(file, "cloud", "ViewCoordinates:xyz") == [(-1, [[3, 2, 5]])], "right, down, forward"


def test_a_network_stream_is_shown(tmp_path: Path) -> None:
    camera, stop = Camera(), threading.Event()

    class CountingViewer(Viewer):
        depths = 0

        def show_latency(self, time_us: int, latency_ms: float) -> None:
            super().show_latency(time_us, latency_ms)
            CountingViewer.depths += 1
            if CountingViewer.depths == 3:
                stop.set()

    try:
        count = view_live(
            camera.uri,
            lambda: CountingViewer("live", tmp_path / "live.rrd"),
            rig_path=write_rig(camera.rig, tmp_path / "rig.yaml"),
            estimator="reversal",
            stop=stop,
        )
    finally:
        camera.close()
    assert count >= 3
    times_us = [time_us for time_us, _ in shown(tmp_path / "live.rrd", "depth", "DepthImage:buffer")]
    assert len(times_us) >= 3 and times_us == sorted(times_us)
    assert all((time_us - START_US) % SWEEP_US == SWEEP_US // 2 for time_us in times_us)
    assert len(shown(tmp_path / "live.rrd", "rates/latency_ms", "Scalars:scalars")) >= 3


def test_a_running_node_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from node_process import Observer, ros_context
    from rclpy.node import Node
    from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2

    from edfv_ros.nodes import messages
    from edfv_ros.outputs.cloud import cloud_points
    from edfv_ros.rig.rays import pixel_rays
    from edfv_ros.viewer.topics_view import TopicsView

    camera = small_rig().camera
    depth_m = np.full((camera.height_px, camera.width_px), 0.5, np.float32)
    depth_m[0, :3] = np.nan, np.inf, -np.inf
    header = messages.header(START_US, camera.optical_frame)
    ones = np.ones_like(depth_m)
    cloud = messages.point_cloud(header, cloud_points(depth_m, pixel_rays(camera), ones, ones, ones))
    outgoing = {
        "depth": (Image, messages.float_image(header, depth_m)),
        "points": (PointCloud2, cloud),
        "camera_info": (CameraInfo, messages.camera_info(header, camera)),
        "lens/state": (JointState, JointState(header=header, name=["focus"], position=[2.5])),
    }
    with ros_context() as (context, _), Viewer("node", tmp_path / "node.rrd") as viewer:
        observer = Observer(context)
        listener, node = Node("viewer", context=context), Node("camera", context=context)
        view = TopicsView(listener, viewer, "/left")
        observer.spin_also(listener)
        publishers = {name: node.create_publisher(kind, f"/left/{name}", 1) for name, (kind, _) in outgoing.items()}

        def publish_all() -> bool:
            for name, (_, message) in outgoing.items():
                publishers[name].publish(message)
            return view.depths >= 3

        assert observer.wait_for(publish_all, 120.0)
    file = tmp_path / "node.rrd"
    time_us, value = shown(file, "depth", "DepthImage:buffer")[0]
    known_m = np.where(np.isfinite(depth_m), depth_m, 0.0)
    assert time_us == START_US
    np.testing.assert_array_equal(np.frombuffer(bytes(value[0]), np.float32).reshape(depth_m.shape), known_m)
    assert len(shown(file, "cloud", "Points3D:positions")[0][1]) == depth_m.size - 3
    assert (START_US, [2.5]) in shown(file, "focus/vergence_dpt", "Scalars:scalars")
    assert shown(file, "cloud/camera", "Pinhole:resolution")[0][1] == [[64.0, 48.0]]


def test_a_node_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    code, out, error = edfv("view", "ros:left", "--save", tmp_path / "x.rrd", "--seconds", 0.3)
    assert code == 0 and out.startswith("ros:left: 0 depth images"), error


def test_what_cannot_be_shown(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "there is no display" in fails("view", sweep)
    assert "no such recording" in fails("view", tmp_path / "none", "--save", tmp_path / "x.rrd")
    assert "suffix .rrd" in fails("view", sweep, "--save", tmp_path / "x.txt")
    assert "--rig" in fails("view", "tcp://127.0.0.1:1", "--save", tmp_path / "x.rrd")
    assert "above 0" in fails("view", "camera:", "--seconds", 0)
    assert "is called 'guess'" in fails("view", sweep, "--estimator", "guess", "--save", tmp_path / "x.rrd")
    (tmp_path / "old.rrd").write_bytes(b"")
    assert "there is a file already" in fails("view", sweep, "--save", tmp_path / "old.rrd")
    monkeypatch.setattr(view_command.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'edfv_ros[view]'" in fails("view", sweep)


def test_pictures_of_events() -> None:
    pictures = EventPictures(4, 3)
    times_us = [0, 1, PICTURE_US - 1, PICTURE_US, 10 * PICTURE_US + 5, 11 * PICTURE_US]
    events = np.array(
        [(time_us, 1, 2, polarity) for time_us, polarity in zip(times_us, (0, 0, 1, 0, 1, 1), strict=True)], EVENT_DTYPE
    )
    found = [picture for part in (events[:2], events[2:]) for picture in pictures.add(part)]
    assert [(picture.end_us, picture.events) for picture in found] == [
        (PICTURE_US, 3),
        (2 * PICTURE_US, 1),
        (11 * PICTURE_US, 1),
    ]
    brighter, darker = found[0].image[2, 1], found[1].image[2, 1]
    assert brighter[0] > brighter[2] and darker[2] > darker[0], "the newest event: yellow or blue"
    assert found[0].events_per_s == pytest.approx(90.0, rel=1e-4)
    assert (found[0].image.reshape(-1, 3) == found[0].image[0, 0]).all(axis=1).sum() == 11
