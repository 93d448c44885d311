"""The checks of edfv doctor on machines made up of folders."""

import os
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
    assert doctor.check_shared_memory(tmp_path, needed_mib=0).status == "ok"
    assert doctor.check_shared_memory(tmp_path, needed_mib=2**40).status == "broken"
    assert doctor.check_shared_memory(tmp_path / "absent").status == "broken"
    assert doctor.check_memfd().status == "ok"


def test_udev_rule(tmp_path: Path) -> None:
    assert doctor.check_udev_rule([tmp_path, tmp_path / "absent"]).status == "missing"
    (tmp_path / "65-inivation.rules").write_text(doctor.UDEV_RULE + "\n")
    found = doctor.check_udev_rule([tmp_path])
    assert found.status == "ok" and "65-inivation.rules" in found.finding


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
