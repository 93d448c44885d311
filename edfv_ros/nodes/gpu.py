"""How full and how warm NVIDIA GPUs are, as their driver's library says (NVML)."""

import ctypes
from dataclasses import dataclass
from typing import Final

_LIBRARY: Final = "libnvidia-ml.so.1"  # comes with the driver
_SUCCESS: Final = 0
_TEMPERATURE_OF_CHIP: Final = 0  # NVML_TEMPERATURE_GPU
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuState:
    """One GPU: memory that all programs together use, in MiB, and its temperature; None where it is not told."""

    index: int
    used_mib: int
    total_mib: int
    temperature_c: int | None


class _Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class GpuMonitor:
    """Asks the driver; without one, or without GPUs that tell (integrated ones do not), there are no states."""

    def __init__(self) -> None:
        self._nvml: ctypes.CDLL | None = None
        self._handles: dict[int, ctypes.c_void_p] = {}
        try:
            nvml = ctypes.CDLL(_LIBRARY)
        except OSError:
            return
        count = ctypes.c_uint()
        if nvml.nvmlInit_v2() != _SUCCESS or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS:
            return
        self._nvml = nvml
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == _SUCCESS:
                self._handles[index] = handle

    def states(self) -> list[GpuState]:
        """Every GPU now; takes well below a millisecond each."""
        nvml = self._nvml
        if nvml is None:
            return []
        states = []
        for index, handle in self._handles.items():
            memory, temperature = _Memory(), ctypes.c_uint()
            if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != _SUCCESS:
                continue
            told = nvml.nvmlDeviceGetTemperature(handle, _TEMPERATURE_OF_CHIP, ctypes.byref(temperature))
            temperature_c = temperature.value if told == _SUCCESS else None
            states.append(GpuState(index, memory.used // _MIB, memory.total // _MIB, temperature_c))
        return states
