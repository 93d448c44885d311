"""What becomes of a closed sweep beside the estimate: handed over, joined with another, made into messages, sent."""

import importlib.util

import numpy as np

from edfv_ros.bench.clock import Work, least_seconds
from edfv_ros.bench.made_up import START_US, random_events, rig_of, track_of
from edfv_ros.bench.rows import Group, Row
from edfv_ros.outputs.cloud import cloud_points
from edfv_ros.rig import Rig
from edfv_ros.rig.rays import pixel_rays
from edfv_ros.volume import VolumeRing
from edfv_ros.volume.slots import make_slot

_EVENTS = 1_000_000
_PARTS = 4


def measure(width_px: int, height_px: int, *, quick: bool) -> Group:
    """Milliseconds for one sweep; messages are left out where ROS 2 is not installed."""
    rig = rig_of(width_px, height_px)
    works = _volume_works(rig, 20_000 if quick else _EVENTS)
    if importlib.util.find_spec("rclpy"):
        works |= _message_works(rig)
    seconds = least_seconds(works, 1 if quick else 5)
    reference = seconds.pop("memcpy")
    return Group(
        f"sweep-{width_px}x{height_px}",
        f"a sweep of {width_px} x {height_px} and {rig.bins.count} bins, beside its events and its estimate, ms",
        f"memcpy of its volume, {reference * 1e3:.3g} ms",
        tuple(Row(name, s * 1e3, "ms", s / reference) for name, s in seconds.items()),
    )


def _volume_works(rig: Rig, events: int) -> dict[str, Work]:
    width, height = rig.camera.resolution
    size = (rig.bins.count, height, width)
    drawn = random_events(rig, events, 1)
    sweep = track_of(rig, 1).sweeps(rig.bins)[0]
    ring = VolumeRing(rig.bins, rig.camera.resolution)
    slots = [make_slot(rig.bins.count, width, height, "cpu", _PARTS) for _ in range(3)]
    edges = np.linspace(0, events, rig.bins.count + 1).astype(np.int64)
    for slot in slots[:2]:
        slot.add(drawn, edges, 1)
    counts, copy, floats = slots[0].counts(), np.empty(size, np.int16), np.empty(size, np.float32)

    def open_and_close() -> None:
        ring.open(sweep)
        ring.close().release()

    return {
        "memcpy": lambda: np.copyto(copy, counts),
        "opened and closed, hot pixels looked for": open_and_close,
        "the newest parts of two sweeps joined": lambda: slots[2].join((slots[0], slots[1]), _PARTS // 2),
        "to float32": lambda: np.copyto(floats, counts),
    }


def _message_works(rig: Rig) -> dict[str, Work]:
    """Messages of a depth image, and what publishing the largest of them costs, which is mostly serialising."""
    from rclpy.serialization import serialize_message

    from edfv_ros.nodes import messages

    width, height = rig.camera.resolution
    draw = np.random.default_rng(0)
    depth_m = draw.random((height, width), np.float32)
    rays = pixel_rays(rig.camera)
    header = messages.header(START_US, rig.camera.optical_frame)

    def cloud() -> object:
        points = cloud_points(depth_m, rays, depth_m, depth_m, depth_m)
        return messages.point_cloud(header, points)

    depth, points = messages.float_image(header, depth_m), cloud()
    return {
        "message of the depth": lambda: messages.float_image(header, depth_m),
        "message of the points": cloud,
        "depth serialised": lambda: serialize_message(depth),
        "points serialised": lambda: serialize_message(points),
    }
