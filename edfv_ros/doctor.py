"""What works on this machine, what is missing and what to do about it."""

import grp
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edfv_ros.errors import EdfvError
from edfv_ros.share import shared_file

Status = Literal["ok", "missing", "broken"]

INIVATION_USB_VENDOR = "152a"
PYTHON_OLDEST, PYTHON_NEWEST = (3, 10), (3, 12)
SHARED_MEMORY_WANTED_MIB = 256  # 64 for each process that publishes or shows depth (config/fastdds.xml)
CORES_WANTED = 2
NEEDED_PACKAGES = {
    "numpy": "numpy",
    "numba": "numba",
    "opencv-python-headless": "cv2",
    "dv-processing": "dv_processing",
    "lz4": "lz4",
    "mcap": "mcap",
    "zstandard": "zstandard",
    "pyserial": "serial",
    "pydantic": "pydantic",
    "PyYAML": "yaml",
    "threadpoolctl": "threadpoolctl",
    "typer": "typer",
    "rich": "rich",
    "matplotlib": "matplotlib",
}
UDEV_RULE_FOLDERS = (Path("/etc/udev/rules.d"), Path("/run/udev/rules.d"), Path("/usr/lib/udev/rules.d"))
UDEV_RULES = "udev/60-edfv.rules"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        group: heading it is shown under.
        name: the thing looked at.
        status: ``ok``; ``missing``, something optional is not there; ``broken``, something needed is.
        finding: what was found, a few words.
        advice: what to do, empty where nothing is to be done.
    """

    group: str
    name: str
    status: Status
    finding: str
    advice: str = ""


def examine() -> list[Check]:
    """Run every check. None needs a device, and none takes longer than importing the packages it looks at."""
    return [
        check_python(),
        *check_packages(),
        check_numba_cache(),
        check_cores(),
        check_memfd(),
        check_udev_rule(),
        *check_usb(),
        check_camera(),
        *check_serial_ports(),
        check_torch(),
        check_onnx_providers(),
        check_shipped_network(),
        *check_ros(),
    ]


def is_healthy(checks: Iterable[Check]) -> bool:
    """Whether everything needed works."""
    return all(check.status != "broken" for check in checks)


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """The interpreter is one the packages have wheels for."""
    finding = f"{version[0]}.{version[1]}, {platform.machine()}"
    if PYTHON_OLDEST <= version <= PYTHON_NEWEST:
        return Check("software", "Python", "ok", finding)
    oldest, newest = (".".join(map(str, bound)) for bound in (PYTHON_OLDEST, PYTHON_NEWEST))
    return Check("software", "Python", "broken", finding, f"use Python {oldest} to {newest}")


def check_packages(packages: dict[str, str] = NEEDED_PACKAGES) -> list[Check]:
    """Every needed package (distribution name to module name) is installed and loads."""
    return [_check_package(distribution, module) for distribution, module in packages.items()]


def _check_package(distribution: str, module: str) -> Check:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            return Check("software", distribution, "broken", "not installed", f"pip install {distribution}")
        return Check("software", distribution, "broken", f"{error.name} is not installed", f"pip install {error.name}")
    except (ImportError, OSError) as error:  # a shared library the wheel expects of the system
        reason = _first_line(error)
        advice = "apt install libatomic1" if "libatomic" in reason else f"pip install --force-reinstall {distribution}"
        return Check("software", distribution, "broken", f"does not load: {reason}", advice)
    return Check("software", distribution, "ok", _version(distribution) or "version unknown")


def check_numba_cache() -> Check:
    """Compiled kernels can be kept; where they cannot, numba refuses to define them."""
    advice = "export NUMBA_CACHE_DIR=<a writable folder>, or make the package's folder or the home folder writable"
    try:
        from edfv_ros.volume.kernels import accumulate
    except ImportError:
        return Check("software", "numba cache", "missing", "numba is not loaded, see above")
    except RuntimeError as error:
        return Check("software", "numba cache", "broken", _first_line(error), advice)
    return Check("software", "numba cache", "ok", accumulate.stats.cache_path)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_cores(cores: int | None = None) -> Check:
    """Capture and depth run in two processes."""
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    if cores >= CORES_WANTED:
        return Check("machine", "CPU cores", "ok", str(cores))
    return Check("machine", "CPU cores", "missing", str(cores), "expect lost events: capture and depth share this core")


def check_memfd() -> Check:
    """Anonymous shared memory: the ring that carries events from the capture process."""
    try:
        os.close(os.memfd_create("edfv-doctor"))
    except (AttributeError, OSError) as error:
        reason = getattr(error, "strerror", None) or "not offered"
        return Check("machine", "memfd", "broken", reason, "use Linux 3.17 or newer with memfd_create allowed")
    return Check("machine", "memfd", "ok", "available")


def check_udev_rule(folders: Sequence[Path] = UDEV_RULE_FOLDERS) -> Check:
    """A udev rule lets users open iniVation cameras."""
    for folder in folders:
        for rule in sorted(folder.glob("*.rules")):
            try:
                if INIVATION_USB_VENDOR in rule.read_text(errors="replace"):
                    return Check("camera", "udev rule", "ok", str(rule))
            except OSError:  # a rule that root alone may read says nothing about ours
                continue
    advice = (
        f"sudo cp {shared_file(UDEV_RULES) or UDEV_RULES} /etc/udev/rules.d/ && sudo udevadm control --reload "
        "&& sudo udevadm trigger, then plug the camera in again (docs/robot.md)"
    )
    return Check("camera", "udev rule", "missing", f"none for USB vendor {INIVATION_USB_VENDOR}", advice)


def check_usb(devices: Path = Path("/sys/bus/usb/devices"), nodes: Path = Path("/dev/bus/usb")) -> list[Check]:
    """Cameras on the USB, and whether this user may open them."""
    if not devices.is_dir():
        advice = "in a container: docker run -v /dev/bus/usb:/dev/bus/usb --device-cgroup-rule 'c 189:* rmw'"
        return [Check("camera", "USB", "missing", "no USB in this machine or container", advice)]
    checks = []
    for device in sorted(devices.iterdir()):
        if _attribute(device, "idVendor") != INIVATION_USB_VENDOR:
            continue
        bus, number = int(_attribute(device, "busnum") or 0), int(_attribute(device, "devnum") or 0)
        node = nodes / f"{bus:03d}" / f"{number:03d}"
        name = _attribute(device, "product") or device.name
        speed = f"{_attribute(device, 'speed') or '?'} Mbit/s"
        if os.access(node, os.R_OK | os.W_OK):
            checks.append(Check("camera", "USB", "ok", f"{name} at {node}, {speed}"))
        else:
            checks.append(Check("camera", "USB", "missing", f"{name}: no permission for {node}", "add the udev rule"))
    return checks or [Check("camera", "USB", "missing", "no iniVation camera", "plug one in, into a USB 3 port")]


def _attribute(device: Path, name: str) -> str:
    path = device / name
    return path.read_text().strip() if path.is_file() else ""


def check_camera() -> Check:
    """What dv-processing itself finds."""
    try:
        import dv_processing as dv
    except ImportError:
        return Check("camera", "dv-processing", "missing", "not loaded, see above")
    try:
        found = dv.io.camera.discover()
    except Exception as error:  # RuntimeError, IndexError, ValueError, OSError: whatever its C++ throws comes through
        advice = "update the camera's firmware in DV, check the cable"
        return Check("camera", "dv-processing", "missing", _first_line(error), advice)
    if not found:
        return Check("camera", "dv-processing", "missing", "finds no camera", "edfv run and edfv simulate need none")
    return Check("camera", "dv-processing", "ok", "finds " + ", ".join(_camera_name(camera) for camera in found))


def _camera_name(camera: object) -> str:
    parts = [str(getattr(camera, key)) for key in ("cameraModel", "serialNumber") if hasattr(camera, key)]
    return " ".join(parts) or str(camera)


def check_serial_ports(ports: Sequence[tuple[str, str]] | None = None) -> list[Check]:
    """Serial ports (device, description) a lens driver may be on, and whether this user may open them."""
    if ports is None:
        try:
            from serial.tools import list_ports
        except ImportError:
            return [Check("lens", "serial ports", "missing", "pyserial is not loaded, see above")]
        ports = sorted((port.device, port.description) for port in list_ports.comports())
    if not ports:
        advice = "plug the lens controller in, edfv lens scan says what it is; the virtual lens needs none"
        return [Check("lens", "serial ports", "missing", "none", advice)]
    return [_check_serial_port(device, description) for device, description in ports]


def _check_serial_port(device: str, description: str) -> Check:
    finding = description if description and description != "n/a" else "no description"
    if os.access(device, os.R_OK | os.W_OK):
        return Check("lens", device, "ok", finding)
    if (group := _group_to_join(device)) is None:
        return Check("lens", device, "missing", f"{finding}: no permission", "log out and in again, then it is yours")
    advice = f"sudo usermod -aG {group} $USER, log in again"
    return Check("lens", device, "missing", f"{finding}: no permission", advice)


def _group_to_join(device: str) -> str | None:
    """The group that may use a device; None where the user has joined it since logging in."""
    try:
        group = grp.getgrgid(Path(device).stat().st_gid)
        user = pwd.getpwuid(os.getuid()).pw_name
    except (OSError, KeyError):
        return "dialout"
    return None if user in group.gr_mem and group.gr_gid not in os.getgroups() else group.gr_name


def check_torch() -> Check:
    """A GPU that PyTorch can use; everything but speed works without."""
    driver = Path("/proc/driver/nvidia/version").is_file()
    if importlib.util.find_spec("torch") is None:
        if driver:
            return Check("GPU", "torch", "missing", "NVIDIA driver, no torch", "pip install 'edfv_ros[gpu]'")
        return Check("GPU", "torch", "missing", "no NVIDIA driver, no torch", "none needed: the CPU does the work")
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = _first_line(error)
        return Check("GPU", "torch", "missing", f"does not load: {reason}", "pip install --force-reinstall torch")
    if torch.cuda.is_available():
        return Check("GPU", "torch", "ok", f"{torch.__version__}, {torch.cuda.get_device_name(0)}")
    advice = "install a torch built for this driver's CUDA" if driver else "none needed: the CPU does the work"
    return Check("GPU", "torch", "missing", f"{torch.__version__} without a GPU", advice)


def check_onnx_providers() -> Check:
    """What ONNX Runtime can run networks on."""
    try:
        import onnxruntime
    except (ImportError, OSError):
        return Check("GPU", "ONNX Runtime", "missing", "not loaded: needed for networks", "pip install onnxruntime")
    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    return Check("GPU", "ONNX Runtime", "ok", ", ".join(providers))


def check_shipped_network() -> Check:
    """The depth network that comes with the package is there and whole, and what it would run on."""
    try:
        from edfv_ros.depth.models import EDPN, shipped_model
        from edfv_ros.depth.onnx_session import providers_here
    except (ImportError, RuntimeError):  # numba raises the latter where it has no place for its cache
        return Check("GPU", "depth network", "missing", "what it needs is not loaded, see above")
    try:
        shipped = shipped_model(EDPN)
    except EdfvError as error:
        advice = "edfv run --estimator reversal needs none; install the package again, or train one: edfv train"
        return Check("GPU", "depth network", "missing", str(error), advice)
    finding = f"{shipped.path.name}, {shipped.entry.precision}"
    try:
        provider = providers_here()[0].removesuffix("ExecutionProvider")
    except (ImportError, OSError):
        return Check("GPU", "depth network", "missing", f"{finding}: ONNX Runtime is not loaded, see above")
    return Check("GPU", "depth network", "ok", f"{finding}, on {provider}")


def check_ros(environment: dict[str, str] | None = None) -> list[Check]:
    """rclpy for the node, and the parts that only a ROS installation has."""
    environment = dict(os.environ) if environment is None else environment
    distribution = environment.get("ROS_DISTRO", "")
    if importlib.util.find_spec("rclpy") is None:
        advice = "source /opt/ros/<distribution>/setup.bash, or pip install 'edfv_ros[ros-wheels]'"
        return [Check("ROS 2", "rclpy", "missing", "not installed: no node, the edfv command works", advice)]
    try:
        importlib.import_module("rclpy")
    except ImportError as error:
        reason = _first_line(error)
        return [Check("ROS 2", "rclpy", "missing", f"does not load: {reason}", "use the Python that ROS was built for")]
    origin = f"ROS {distribution}" if distribution else f"wheels {_version('ros-rclpy') or _version('rclpy')}"
    checks = [Check("ROS 2", "rclpy", "ok", origin)]
    absent = [name for name in ("launch_ros", "tf2_msgs") if importlib.util.find_spec(name) is None]
    if absent:
        advice = "from a ROS installation only: apt install ros-<distribution>-launch-ros ros-<distribution>-tf2-msgs"
        checks.append(Check("ROS 2", "launch and tf", "missing", f"no {' and no '.join(absent)}", advice))
    else:
        checks.append(Check("ROS 2", "launch and tf", "ok", "launch_ros, tf2_msgs"))
    return [*checks, check_shared_memory()]


def check_shared_memory(path: Path = Path("/dev/shm"), wanted_mib: int = SHARED_MEMORY_WANTED_MIB) -> Check:
    """Room for Fast DDS, which carries depth images and clouds between processes. Nothing else is kept there."""
    name = str(path)
    advice = (
        f"Fast DDS wants {wanted_mib} MiB there for depth images and clouds: free some or mount it larger "
        "(docker run --shm-size=1g)"
    )
    if not path.is_dir() or not os.access(path, os.W_OK):
        return Check("ROS 2", name, "missing", "not writable", advice)
    free_mib = shutil.disk_usage(path).free // 2**20
    if free_mib < wanted_mib:
        return Check("ROS 2", name, "missing", f"{free_mib} MiB free", advice)
    return Check("ROS 2", name, "ok", f"{free_mib} MiB free")
