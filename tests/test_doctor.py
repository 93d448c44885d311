"""The checks of edfv doctor on machines made up of folders."""

import grp
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edfv_ros import doctor
from edfv_ros.doctor import Check


def test_python_versions() -> None:
    assert doctor.check_python((3, 11)).status == "ok"
    too_old = doctor.check_python((3, 8))
    assert too_old.status == "broken" and "3.10 to 3.12" in too_old.advice


def test_packages() -> None:
    present, absent = doctor.check_packages({"numpy": "numpy", "no-such-thing": "no_such_thing"})
    assert present.status == "ok" and present.finding[0].isdigit()
    assert (absent.status, absent.advice) == ("broken", "pip install no-such-thing")


def test_a_package_whose_system_library_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_camera_library.py").write_text(
        "raise ImportError('libatomic.so.1: cannot open shared object file: No such file or directory')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (check,) = doctor.check_packages({"fake": "fake_camera_library"})
    assert check.status == "broken" and "libatomic1" in check.advice


def test_cores() -> None:
    assert doctor.check_cores(4).status == "ok"
    assert doctor.check_cores(1).status == "missing"


def test_shared_memory(tmp_path: Path) -> None:
    assert doctor.check_shared_memory(tmp_path, wanted_mib=0).status == "ok"
    small, absent = doctor.check_shared_memory(tmp_path, wanted_mib=2**40), doctor.check_shared_memory(tmp_path / "no")
    for check in (small, absent):
        assert (check.group, check.status) == ("ROS 2", "missing"), "only Fast DDS keeps anything there"
        assert "Fast DDS" in check.advice and "--shm-size" in check.advice
    assert doctor.check_memfd().status == "ok"


def test_the_network_runtime_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    check = doctor.check_onnx_providers()
    assert check.status == "missing" and "needed for networks" in check.finding and check.advice
    assert "onnxruntime" not in doctor.NEEDED_PACKAGES


@pytest.mark.parametrize(
    "error", [RuntimeError("USB error\nsecond line"), IndexError(), ValueError("no such name"), OSError(5, "no access")]
)
def test_whatever_the_camera_library_raises_is_a_finding(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    dv = pytest.importorskip("dv_processing", reason="dv-processing is not installed")

    def discover() -> None:
        raise error

    monkeypatch.setattr(dv.io.camera, "discover", discover)
    check = doctor.check_camera()
    assert check.status == "missing" and check.finding and "\n" not in check.finding and check.advice


def test_numba_cache() -> None:
    check = doctor.check_numba_cache()
    assert check.status == "ok" and Path(check.finding).is_dir()


def test_numba_without_a_place_for_its_cache(tmp_path: Path) -> None:
    """In a process of its own: neither the package's folders nor the home folder nor NUMBA_CACHE_DIR take a file."""
    package = tmp_path / "edfv_ros"
    shutil.copytree(doctor.__file__.rpartition("/")[0], package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (folder / "__pycache__").touch()
    no_folder = tmp_path / "file"
    no_folder.touch()
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(no_folder / "below"))
    code = "from edfv_ros.doctor import check_numba_cache as c; x = c(); print(x.status, x.finding, x.advice, sep='|')"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | places | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    status, finding, advice = ended.stdout.strip().split("|")
    assert status == "broken" and "cannot cache" in finding and "NUMBA_CACHE_DIR" in advice


def test_udev_rule(tmp_path: Path) -> None:
    missing = doctor.check_udev_rule([tmp_path, tmp_path / "absent"])
    assert missing.status == "missing"
    rules = Path(missing.advice.split()[2])
    (tmp_path / rules.name).write_bytes(rules.read_bytes())
    found = doctor.check_udev_rule([tmp_path])
    assert found.status == "ok" and rules.name in found.finding


@pytest.fixture
def usb(tmp_path: Path) -> tuple[Path, Path]:
    """A USB with a hub and one camera on it, whose device node is not there yet."""
    devices, nodes = tmp_path / "devices", tmp_path / "bus"
    hub, camera = devices / "usb1", devices / "1-1"
    hub.mkdir(parents=True)
    camera.mkdir()
    (hub / "idVendor").write_text("1d6b\n")
    for name, value in {"idVendor": "152a", "busnum": "1", "devnum": "7", "product": "DAVIS", "speed": "5000"}.items():
        (camera / name).write_text(value + "\n")
    return devices, nodes


def test_usb_camera_without_permission(usb: tuple[Path, Path]) -> None:
    (check,) = doctor.check_usb(*usb)
    assert check.status == "missing" and "001/007" in check.finding and "udev" in check.advice


def test_usb_camera_with_permission(usb: tuple[Path, Path]) -> None:
    (usb[1] / "001").mkdir(parents=True)
    (usb[1] / "001" / "007").write_bytes(b"")
    (check,) = doctor.check_usb(*usb)
    assert check.status == "ok" and "DAVIS" in check.finding and "5000 Mbit/s" in check.finding


def test_no_usb(tmp_path: Path) -> None:
    (empty,) = doctor.check_usb(tmp_path)
    (absent,) = doctor.check_usb(tmp_path / "absent")
    assert empty.finding == "no iniVation camera"
    assert "container" in absent.finding


def test_serial_ports() -> None:
    master, port = os.openpty()
    try:
        good, bad = doctor.check_serial_ports([(os.ttyname(port), "Lens"), ("/dev/absent", "n/a")])
    finally:
        os.close(master)
        os.close(port)
    assert (good.status, good.finding) == ("ok", "Lens")
    assert bad.status == "missing" and "dialout" in bad.advice
    (none,) = doctor.check_serial_ports([])
    assert none.finding == "none"


def test_a_port_of_another_group_names_it_or_the_new_login_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = tmp_path / "ttyUSB0"
    port.write_bytes(b"")
    members: list[str] = []
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(doctor.grp, "getgrgid", lambda number: grp.struct_group(("uucp", "x", 987_654, members)))
    (stranger,) = doctor.check_serial_ports([(str(port), "Lens")])
    assert stranger.advice == "sudo usermod -aG uucp $USER, log in again"
    members.append(pwd.getpwuid(os.getuid()).pw_name)
    (joined,) = doctor.check_serial_ports([(str(port), "Lens")])
    assert joined.advice.startswith("log out and in again")


def test_only_what_is_needed_makes_a_machine_unhealthy() -> None:
    ok, missing, broken = (Check("group", "name", status, "") for status in ("ok", "missing", "broken"))
    assert doctor.is_healthy([ok, missing])
    assert not doctor.is_healthy([ok, broken])


def test_everything_missing_comes_with_advice() -> None:
    checks = doctor.examine()
    assert {check.group for check in checks} == {"software", "machine", "camera", "lens", "GPU", "ROS 2"}
    for check in checks:
        assert check.finding and "\n" not in check.finding + check.advice
        assert check.advice or check.status == "ok" or "see above" in check.finding, check
