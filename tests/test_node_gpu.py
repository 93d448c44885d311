"""What the driver's library is asked, and what becomes of its answers: a library of our own in its place."""

import ctypes

import pytest

from edfv_ros.nodes import gpu
from edfv_ros.nodes.gpu import GpuMonitor, GpuState

MIB = 1 << 20
NOT_SUPPORTED = 3


class Driver:
    """NVML with three GPUs; the second one tells no memory, as an integrated one, the third no temperature."""

    def __init__(self, init=0):
        self._init = init

    def nvmlInit_v2(self):
        return self._init

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = 3
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        handle._obj.value = 1000 + index
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle, memory):
        if handle.value == 1001:
            return NOT_SUPPORTED
        ctypes.cast(memory, ctypes.POINTER(ctypes.c_ulonglong * 3)).contents[:] = [8192 * MIB, 7168 * MIB, 1024 * MIB]
        return 0

    def nvmlDeviceGetTemperature(self, handle, sensor, temperature):
        assert sensor == 0
        if handle.value == 1002:
            return NOT_SUPPORTED
        temperature._obj.value = 47
        return 0


def test_memory_and_temperature_of_those_that_tell(monkeypatch):
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: Driver())
    assert GpuMonitor().states() == [GpuState(0, 1024, 8192, 47), GpuState(2, 1024, 8192, None)]


def test_a_driver_that_does_not_start_has_no_gpus(monkeypatch):
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: Driver(init=9))
    assert GpuMonitor().states() == []


def test_no_driver_no_gpus(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu.ctypes, "CDLL", missing)
    assert GpuMonitor().states() == []


def test_a_genuine_driver_tells_what_can_be():
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        pytest.skip("there is no NVIDIA driver")
    for state in GpuMonitor().states():
        assert 0 <= state.used_mib <= state.total_mib
