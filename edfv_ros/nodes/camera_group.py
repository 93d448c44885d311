"""Several cameras beside each other: whose rig is whose, and that none gets in another's way. Imports no ROS."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from edfv_ros.errors import EdfvError, RigError
from edfv_ros.nodes.launch_arguments import LaunchError
from edfv_ros.recording import open_recording
from edfv_ros.rig import Rig, load_rig
from edfv_ros.share import config_file


@dataclass(frozen=True, slots=True)
class GroupedCamera:
    """One of several cameras, as it will be once its node runs.

    Attributes:
        suffix: what the launch arguments of this camera end with.
        namespace: of its node, without slashes around it.
        camera_name: in its frame ids.
        source: the node's parameter: camera, file, network or sim.
        address: the stream (network), the serial number (camera, empty for the first one found) or the recording.
        lens_port: device of its lens; empty where it has none of its own.
    """

    suffix: str
    namespace: str
    camera_name: str
    source: str
    address: str
    lens_port: str

    @classmethod
    def of(
        cls, suffix: str, *, rig: str, source: str, path: str, camera_name: str = "", namespace: str = ""
    ) -> "GroupedCamera":
        """What the parameters of a node and its rig come to; an empty namespace becomes the camera's name.

        Raises:
            LaunchError: there is no such rig or recording.
        """
        try:
            loaded = rig_in_use(rig, source, path)
        except EdfvError as error:
            raise LaunchError(f"camera {suffix}: {error}") from None
        name = camera_name or loaded.camera.name
        live = source in ("camera", "network")
        return cls(
            suffix,
            namespace.strip("/") or name,
            name,
            source,
            path or (loaded.camera.serial if source == "camera" else ""),
            loaded.lens.port if live else "",
        )


def rig_in_use(rig: str, source: str, path: str) -> Rig:
    """The rig that a node with these parameters will have, as its configure transition finds it.

    Raises:
        EdfvError: there is no such rig or recording.
    """
    rig_path = Path(rig).expanduser() if rig else None
    if source == "file":
        return open_recording(Path(path).expanduser(), rig_path).rig
    if rig_path is None and source != "sim":
        raise RigError(f"the parameter rig is empty: source {source} needs a rig file such as config/rig.yaml")
    return load_rig(rig_path or config_file("rig.yaml"))


def require_apart(cameras: Sequence[GroupedCamera]) -> None:
    """Check that no two cameras share a namespace, frames, a lens or a source of events.

    Raises:
        LaunchError: two do; the message names them, what they share and what to change.
    """
    for one, other in combinations(cameras, 2):
        problem = _clash(one, other)
        if problem:
            raise LaunchError(problem)


def _clash(one: GroupedCamera, other: GroupedCamera) -> str:
    """In which way two cameras would get in each other's way, one line; empty where they do not."""
    both = f"cameras {one.suffix} and {other.suffix}"

    def give(name: str) -> str:
        return f"give {name}{one.suffix} or {name}{other.suffix}"

    if one.camera_name == other.camera_name:
        advice = f"{give('camera_name')}, or change camera.name in a rig file"
        return f"{both} are both named {one.camera_name}, so that their frames would be one: {advice}"
    if one.namespace == other.namespace:
        return f"{both} are both in namespace {one.namespace}, so that their topics would be one: {give('namespace')}"
    if one.lens_port and _device(one.lens_port) == _device(other.lens_port):
        advice = "change lens.port in a rig file (edfv lens scan finds them)"
        return f"{both} have their lens at one port, {one.lens_port}: {advice}"
    if one.source != other.source or one.source not in ("camera", "network"):
        return ""
    if one.address == other.address and one.address:
        return f"{both} would both read {one.address}: {give('path')}"
    if not one.address or not other.address:
        nameless = (other if one.address else one).suffix
        advice = f"set camera.serial in its rig file, or give path{nameless}"
        return f"camera {nameless} has no serial number, so that it might open the other one's: {advice}"
    return ""


def _device(port: str) -> str:
    """The device behind a lens port: what may follow the name are the lens's options, and the name may be a link."""
    return os.path.realpath(port.partition("?")[0])
