"""A camera for the latency figures, in a process of its own: events and trigger edges over a local socket, on time."""

import json
import sys
import time

import numpy as np

from edfv_ros.bench.made_up import random_events, rig_of
from edfv_ros.events import NetworkSender, Packet, SourceInfo
from edfv_ros.events.types import TRIGGER_DTYPE, TriggerType

_PERIOD_S = 0.002
_WAIT_S = 60.0


def main() -> int:
    """Stream until the receiver goes or the time is over; the settings are JSON on the command line."""
    settings = json.loads(sys.argv[1])
    rig = rig_of(settings["width_px"], settings["height_px"], frequency_hz=settings["frequency_hz"])
    rate_hz, seconds = settings["events_per_s"], settings["seconds"]
    pool = random_events(rig, max(1, int(rate_hz * rig.sweep.duration_us * 1e-6)), 1)
    info = SourceInfo(rig.camera.model, *rig.camera.resolution, ("events", "triggers"), live=True)
    with NetworkSender(f"unix://{settings['socket']}", info) as sender:
        print("ready", flush=True)
        if not sender.wait_for_receiver(_WAIT_S):
            return 1
        start_us = time.time_ns() // 1000
        sent, turns = 0, 0
        while (elapsed_s := time.time() - start_us * 1e-6) < seconds:
            until = int(elapsed_s * rate_hz)
            places = np.arange(sent, until)
            events = pool[places % len(pool)]
            events["timestamp"] = start_us + (places * (1e6 / rate_hz)).astype(np.int64)
            passed = int(elapsed_s * 1e6 / rig.sweep.duration_us) + 1
            edges = [
                (start_us + turn * rig.sweep.duration_us, TriggerType.RISING_EDGE) for turn in range(turns, passed)
            ]
            if not sender.send(Packet(events, np.array(edges, TRIGGER_DTYPE))):
                return 0
            sent, turns = until, passed
            time.sleep(_PERIOD_S)
    return 0
