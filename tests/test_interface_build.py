"""Interface packages made on the spot, used by two processes."""

import subprocess
import sys
from importlib import import_module

import pytest

pytest.importorskip("rclpy", reason="ROS is not installed: neither a ROS environment nor the ros-wheels extra")

from interface_build import EVENT_CAMERA_MSGS, environment_with, interface_folder
from node_process import Observer, ros_context
from rclpy.action import ActionClient

from edfv_ros.bags.messages import read_event_packet

COUNTING = {"action/Count.action": "uint32 up_to\n---\nuint32[] counted\nstring message\n---\nuint32 counted\n"}

PUBLISHER = """
import rclpy, time
from event_camera_msgs.msg import EventPacket
rclpy.init()
node = rclpy.create_node("publisher")
publisher = node.create_publisher(EventPacket, "events", 10)
while True:
    message = EventPacket(height=3, width=4, seq=7, time_base=2**40 + 1, encoding="mono")
    message.header.stamp.sec = 12
    message.events.frombytes(bytes(range(16)))
    publisher.publish(message)
    time.sleep(0.05)
"""

SERVER = """
import rclpy
from rclpy.action import ActionServer
from counting_interfaces.action import Count
def count(goal):
    for number in range(goal.request.up_to):
        goal.publish_feedback(Count.Feedback(counted=number))
    goal.succeed()
    return Count.Result(counted=list(range(goal.request.up_to)), message="done")
rclpy.init()
node = rclpy.create_node("server")
server = ActionServer(node, Count, "count", count)
rclpy.spin(node)
"""


@pytest.fixture
def ros():
    with ros_context() as (context, domain_id):
        yield Observer(context), domain_id


def start(code, domain_id, folder):
    environment = dict(environment_with(folder), ROS_DOMAIN_ID=str(domain_id))
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


def end(process):
    process.kill()
    process.wait()


def test_a_packet_of_events_goes_from_process_to_process(ros):
    folder = interface_folder("event_camera_msgs", EVENT_CAMERA_MSGS)
    from event_camera_msgs.msg import EventPacket

    observer, domain_id = ros
    raw = []
    observer.subscribe(EventPacket, "events", 10)
    observer.node.create_subscription(EventPacket, "events", raw.append, 10, raw=True)
    publisher = start(PUBLISHER, domain_id, folder)
    try:
        assert observer.wait_for(lambda: observer.received["events"] and raw, 30.0)
    finally:
        end(publisher)
    message = observer.received["events"][0]
    assert (message.header.stamp.sec, message.height, message.width) == (12, 3, 4)
    packet = read_event_packet(raw[0])
    assert (packet.width_px, packet.height_px, packet.encoding) == (4, 3, "mono")
    assert (packet.sequence, packet.time_base_ns) == (7, 2**40 + 1)
    assert packet.data.tobytes() == message.events.tobytes() == bytes(range(16))


def test_an_action_runs_between_two_processes(ros):
    folder = interface_folder("counting_interfaces", COUNTING)
    Count = import_module("counting_interfaces.action").Count

    observer, domain_id = ros
    server = start(SERVER, domain_id, folder)
    try:
        client = ActionClient(observer.node, Count, "count")
        assert observer.wait_for(client.server_is_ready, 30.0)
        feedback = []
        accepted = client.send_goal_async(Count.Goal(up_to=3), feedback_callback=feedback.append)
        assert observer.wait_for(accepted.done, 10.0)
        result = accepted.result().get_result_async()
        assert observer.wait_for(result.done, 10.0)
    finally:
        end(server)
    assert list(result.result().result.counted) == [0, 1, 2]
    assert {item.feedback.counted for item in feedback} <= {0, 1, 2}
