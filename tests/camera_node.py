"""A depth node in a process of its own with a simulated camera and lens, and what it can be asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_process import ROOT, NodeProcess, Observer, ros_context
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import SetBool, Trigger

from edfv_ros.nodes.simulated_camera import SimulatedCamera

START_S = 240.0  # where what numba compiles is not in its cache yet
ANSWER_S = 120.0
NODE = "/depth_node"


class Camera:
    """A node, and what it is asked."""

    def __init__(self, observer, process):
        self.observer, self.process = observer, process
        self.depth, self.lens = observer.received["/depth"], observer.received["/lens/state"]
        self._clients = {}
        self._parameters = AsyncParameterClient(observer.node, NODE)

    def start(self, name, on=None):
        """The future of an answer."""
        kind = Trigger if on is None else SetBool
        if name not in self._clients:
            self._clients[name] = self.observer.node.create_client(kind, f"{NODE}/{name}")
        client = self._clients[name]
        assert self.observer.wait_for(client.service_is_ready, START_S), self.process.log
        return client.call_async(kind.Request() if on is None else kind.Request(data=on))

    def ask(self, name, on=None):
        future = self.start(name, on)
        assert self.observer.wait_for(future.done, ANSWER_S), self.process.log
        return future.result()

    def set(self, **values):
        assert self.observer.wait_for(self._parameters.services_are_ready, START_S)
        future = self._parameters.set_parameters_atomically(
            [Parameter(name, value=value) for name, value in values.items()]
        )
        assert self.observer.wait_for(future.done, ANSWER_S), self.process.log
        return future.result().result

    def change(self, transition):
        client = self.observer.node.create_client(ChangeState, f"{NODE}/change_state")
        assert self.observer.wait_for(client.service_is_ready, START_S)
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        assert self.observer.wait_for(future.done, ANSWER_S), self.process.log
        return future.result().success

    def wait_for_depth(self, count=1):
        wanted = len(self.depth) + count
        assert self.observer.wait_for(lambda: len(self.depth) >= wanted, ANSWER_S), self.process.log

    def wait_for_turn(self, vergence_dpt):
        """Wait for a sweep that ends there."""

        def has_come():
            return self.lens and round(self.lens[-1].position[0], 2) == vergence_dpt

        assert self.observer.wait_for(has_come, ANSWER_S), self.process.log

    def wait_for_turns(self, turns_dpt):
        """Wait for sweeps of both ways, and see that there are no others."""
        del self.lens[:]

        def seen():
            return {round(message.position[0], 2) for message in self.lens}

        assert self.observer.wait_for(lambda: seen() >= turns_dpt, ANSWER_S), self.process.log
        assert seen() == turns_dpt

    def settle(self):
        """Wait until no image comes any more."""
        count = -1
        while count != len(self.depth):
            count = len(self.depth)
            self.listen(1.0)

    def listen(self, seconds):
        self.observer.wait_for(lambda: False, seconds)


@contextmanager
def running_camera(folder: Path) -> Iterator[Camera]:
    """A camera of 96 x 64 pixels that sweeps 0.3 to 4.2 dpt, twice in 0.2 s; its rig file goes into the folder."""
    data = yaml.safe_load((ROOT / "config/rig.yaml").read_text(encoding="utf-8"))
    data["camera"] |= {"width_px": 96, "height_px": 64}
    data["camera"]["intrinsics"] |= {"cx_px": 47.5, "cy_px": 31.5}
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with (
        SimulatedCamera(["--rig", str(path), "--wait"], timeout_s=START_S) as simulated,
        ros_context() as (context, domain_id),
    ):
        data["lens"]["port"] = simulated.lens_port
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        observer = Observer(context)
        observer.subscribe(Image, "/depth", 10)
        observer.subscribe(JointState, "/lens/state", 10)
        parameters = {"source": "network", "path": simulated.uri, "rig": str(path), "estimator": "reversal"}
        with NodeProcess(domain_id, parameters) as process:
            camera = Camera(observer, process)
            assert observer.wait_for(lambda: camera.depth, START_S), process.log
            yield camera
            assert process.stop() == 0
            assert process.leftover_processes() == []
            assert "Traceback" not in process.log
