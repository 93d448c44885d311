"""Topics of a sweep, published in the test's process: what nobody asks for is not made."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from node_process import Observer, ros_context
from rclpy.lifecycle import LifecycleNode
from recordings import SWEEP_US, random_events, small_rig

from edfv_ros.depth import DepthEstimate
from edfv_ros.events.types import Frame
from edfv_ros.lens.sweep import FocusSweep
from edfv_ros.nodes import depth_topics
from edfv_ros.nodes.depth_topics import TOPICS, DepthTopics
from edfv_ros.nodes.messages import cloud_array, image_array
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.pipeline import DepthOutput
from edfv_ros.volume import SweepSnapshot, VolumeRing

RIG = small_rig()
SHAPE = (RIG.camera.height_px, RIG.camera.width_px)
EVENTS = random_events(5000, RIG, SWEEP_US)
FRAME = Frame(int(EVENTS["timestamp"][0]), 1000, np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint8).reshape(SHAPE))


def output(vergence_dpt=2.0, number=0, frame=None):
    """A sweep of random events, with the same depth everywhere."""
    start_us = float(EVENTS["timestamp"][0] + number * SWEEP_US)
    sweep = FocusSweep(np.array([start_us, start_us + SWEEP_US]), np.array([0.3, 4.2]), number)
    ring = VolumeRing(RIG.bins, RIG.camera.resolution)
    ring.open(sweep)
    ring.accumulate(EVENTS)
    volume = ring.close()
    vergence = np.full(SHAPE, vergence_dpt, np.float32)
    estimate = DepthEstimate(vergence, 1 / vergence, np.ones(SHAPE, np.float32), np.full(SHAPE, 0.1, np.float32))
    snapshot = SweepSnapshot(number, volume, None, frame)
    return DepthOutput(number, sweep, estimate, frame, volume.events, 1.0, snapshot)


class Camera:
    """The topics of an active node, and somebody who listens to some."""

    def __init__(self, context):
        self.node = LifecycleNode("camera", context=context)
        self.topics = DepthTopics(self.node)
        self.topics.configure(RIG.camera)
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.observer = Observer(context)

    def listen(self, *names):
        for name in names:
            self.observer.subscribe(TOPICS[name].kind, f"/{name}", 10)
        publishers = self.topics._publishers
        assert self.observer.wait_for(lambda: all(publishers[name].get_subscription_count() for name in names), 20.0)

    def publish(self, made, **parameters):
        """Publish a sweep and return what is received of it, by topic."""
        received = self.observer.received
        counts = {name: len(messages) for name, messages in received.items()}
        self.topics.publish(made, DepthParameters(**parameters))
        come = lambda: all(len(messages) > counts[name] for name, messages in received.items())  # noqa: E731
        assert self.observer.wait_for(come, 20.0)
        return {name.removeprefix("/"): messages[-1] for name, messages in received.items()}


@pytest.fixture
def camera():
    with ros_context() as (context, _):
        camera = Camera(context)
        yield camera
        camera.node.destroy_node()


def test_where_nobody_listens_nothing_is_made(camera, monkeypatch):
    monkeypatch.setattr(depth_topics, "SweepMessages", None)  # calling it would raise
    camera.topics.publish(output(), DepthParameters())


def test_what_nobody_listens_to_is_not_made(camera, monkeypatch):
    made = []
    for name, topic in TOPICS.items():
        make = lambda sweep, name=name, topic=topic: (made.append(name), topic.make(sweep))[1]  # noqa: E731
        monkeypatch.setitem(TOPICS, name, topic._replace(make=make))
    camera.listen("depth", "lens/state")
    camera.publish(output())
    assert made == ["depth", "lens/state"]


def test_intensity_is_the_frame_or_the_events(camera):
    camera.listen("points")
    with_frame, without = output(frame=FRAME), output()
    np.testing.assert_array_equal(cloud_array(camera.publish(with_frame)["points"])[..., 3], FRAME.image)
    points = cloud_array(camera.publish(without)["points"])
    np.testing.assert_array_equal(points[..., 3], without.snapshot.latest.event_count)
    assert points[..., 3].sum() == len(EVENTS)


def test_uncertainty_is_in_metres_to_first_order(camera):
    camera.listen("uncertainty")
    sigma_m = image_array(camera.publish(output(vergence_dpt=2.0))["uncertainty"])
    # dz = dv / v**2: what half a metre changes by, for a tenth of a dioptre
    np.testing.assert_allclose(sigma_m, (1 / 1.95 - 1 / 2.05) / 1.0, rtol=1e-3)
    np.testing.assert_allclose(sigma_m, 0.025, rtol=1e-6)
    beyond = image_array(camera.publish(output(vergence_dpt=2.0, number=1), far_m=0.4)["uncertainty"])
    assert np.isnan(beyond).all(), "where depth is +Inf"


def test_the_temporal_filter_takes_effect_with_the_next_sweep(camera):
    camera.listen("depth")
    camera.publish(output(2.0, 0), temporal_filter=0.5)
    mixed = image_array(camera.publish(output(2.1, 1), temporal_filter=0.5)["depth"])
    np.testing.assert_allclose(1 / mixed, 2.05, rtol=1e-5)
    plain = image_array(camera.publish(output(2.2, 2), temporal_filter=0.0)["depth"])
    np.testing.assert_allclose(1 / plain, 2.2, rtol=1e-5)


def test_the_event_image_and_the_slice_are_of_the_sweep(camera):
    camera.listen("event_image", "volume/slice")
    made = output()
    received = camera.publish(made, volume_slice_bin=5)
    np.testing.assert_array_equal(image_array(received["volume/slice"]), made.snapshot.latest.counts[5])
    picture = image_array(received["event_image"])
    np.testing.assert_array_equal(picture.any(axis=2), made.snapshot.latest.event_count > 0)
