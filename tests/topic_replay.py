"""A sweep recording as the topics of a camera's driver and a lens's: run as a process, in place of both drivers.

Goes on until it is killed: what was lost on the way comes again.

usage: topic_replay.py RECORDING [--encoding libcaer] [--pace X] [--camera-epoch-us US] [--no-lens]
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import rclpy
from event_camera_msgs.msg import EventPacket as EventPacketMessage
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState

from edfv_ros.bags import event_packets, messages
from edfv_ros.bags.messages import EventPacket, Header
from edfv_ros.events import open_source

PACKET_US = 2000


def libcaer_words(events):
    """Base in nanoseconds and words of the encoding that libcaer_driver sends, from its description."""
    first_us = int(events["timestamp"][0])
    words = np.empty((len(events), 2), "<u4")
    x, y, polarity = (events[name].astype(np.uint32) for name in ("x", "y", "polarity"))
    words[:, 0] = (x << 17) | (y << 2) | (polarity << 1) | 1
    words[:, 1] = events["timestamp"] - first_us
    return first_us * 1000, words


def made_up_image(size):
    """uint8 [H, W] that rises from left to right."""
    return np.broadcast_to(np.linspace(0, 255, size[0]).astype(np.uint8), (size[1], size[0]))


ENCODERS = {"mono": event_packets.encode_events, "libcaer": libcaer_words}


class Drivers:
    """Publishers of /dvs/events, /dvs/triggers, /dvs/image_raw and /lens/set_point."""

    def __init__(self, encoding, camera_epoch_us):
        self.node = rclpy.create_node("drivers")
        best_effort = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._events = self.node.create_publisher(EventPacketMessage, "/dvs/events", best_effort)
        self._triggers = self.node.create_publisher(EventPacketMessage, "/dvs/triggers", best_effort)
        self._images = self.node.create_publisher(Image, "/dvs/image_raw", 10)
        self._focus = self.node.create_publisher(JointState, "/lens/set_point", 1000)
        self._encoding = encoding
        self._epoch_ns = camera_epoch_us * 1000
        self._sequence = {"events": 0, "triggers": 0}

    def wait(self, lens):
        """Until somebody listens to the events, and to the lens where it is to speak."""
        while not (self._events.get_subscription_count() and (self._focus.get_subscription_count() or not lens)):
            time.sleep(0.05)
        time.sleep(0.3)  # the other side of a match may come later

    def send_events(self, events, size):
        base_ns, words = ENCODERS[self._encoding](events)
        # A camera whose clock is another is stamped by the host, when its packet ends.
        stamp_ns = int(events["timestamp"][-1]) * 1000 if self._epoch_ns else base_ns
        self._send("events", self._events, self._encoding, (stamp_ns, base_ns), words, size)

    def send_triggers(self, triggers, size):
        base_ns, words = event_packets.encode_triggers(triggers)
        self._send("triggers", self._triggers, event_packets.TRIGGER, (base_ns, base_ns), words, size)

    def _send(self, kind, publisher, encoding, times_ns, words, size):
        stamp_ns, base_ns = times_ns
        number = self._sequence[kind]
        self._sequence[kind] += 1
        data = np.ascontiguousarray(words).reshape(-1).view(np.uint8)
        header = Header(stamp_ns, "camera")
        packet = EventPacket(header, size[1], size[0], number, base_ns - self._epoch_ns, encoding, data)
        publisher.publish(messages.event_packet(packet))

    def send_image(self, time_us, size):
        self._images.publish(
            messages.image(Header(time_us * 1000, "camera"), np.ascontiguousarray(made_up_image(size)))
        )

    def send_focus(self, time_us, vergence_dpt):
        self._focus.publish(messages.focus_state(Header(time_us * 1000, "lens"), vergence_dpt))


class Replay:
    """A recording, again and again, each time later by its own duration; it must end with the focus where it begins."""

    def __init__(self, recording, drivers, *, pace, lens):
        self._recording = recording
        self._drivers = drivers
        self._pace = pace
        track = np.loadtxt(recording / "lens.csv", delimiter=",", skiprows=1)
        self._rows = [(int(time_us), vergence_dpt) for time_us, vergence_dpt in track] if lens else []
        self._start_us, self._period_us = int(track[0, 0]), int(track[-1, 0] - track[0, 0])
        self._start_s = time.monotonic()

    def run(self, number):
        """Send the recording for the ``number``-th time."""
        later_us = number * self._period_us
        rows = self._rows[1:] if number else self._rows[:]  # the first is the last of the time before
        source = open_source(str(self._recording))
        size = source.info.width_px, source.info.height_px
        while (packet := source.read()) is not None:
            triggers = packet.triggers[packet.triggers["timestamp"] < self._start_us + self._period_us]
            if len(triggers):
                triggers["timestamp"] += later_us
                self._drivers.send_triggers(triggers, size)
            for events in self._slices(packet.events):
                self._wait_until(int(events["timestamp"][0]) + later_us)
                while rows and rows[0][0] <= events["timestamp"][-1]:
                    time_us, vergence_dpt = rows.pop(0)
                    self._drivers.send_focus(time_us + later_us, vergence_dpt)
                self._drivers.send_image(int(events["timestamp"][0]) + later_us, size)
                events["timestamp"] += later_us
                self._drivers.send_events(events, size)
        source.close()
        for time_us, vergence_dpt in rows:
            self._drivers.send_focus(time_us + later_us, vergence_dpt)

    def _slices(self, events):
        """Copies of what lies within the recording's track, PACKET_US long."""
        times_us = events["timestamp"]
        if not len(events):
            return
        for low_us in range(int(times_us[0]), min(int(times_us[-1]) + 1, self._start_us + self._period_us), PACKET_US):
            high_us = min(low_us + PACKET_US, self._start_us + self._period_us)
            first, last = np.searchsorted(times_us, [low_us, high_us])
            if last > first:
                yield events[first:last].copy()

    def _wait_until(self, time_us):
        time.sleep(max(0.0, self._start_s + (time_us - self._start_us) * 1e-6 / self._pace - time.monotonic()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("recording", type=Path)
    parser.add_argument("--encoding", choices=ENCODERS, default="libcaer")
    parser.add_argument("--pace", type=float, default=1.0)
    parser.add_argument("--camera-epoch-us", type=int, default=0)
    parser.add_argument("--no-lens", action="store_true")
    arguments = parser.parse_args()
    rclpy.init()
    drivers = Drivers(arguments.encoding, arguments.camera_epoch_us)
    drivers.wait(not arguments.no_lens)
    replay = Replay(arguments.recording, drivers, pace=arguments.pace, lens=not arguments.no_lens)
    for number in itertools.count():
        replay.run(number)


if __name__ == "__main__":
    main()
