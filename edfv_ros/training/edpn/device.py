"""Where a network is trained, and in which precision."""

from dataclasses import dataclass
from typing import Literal

import torch

from edfv_ros.errors import EdfvError

DeviceChoice = Literal["auto", "cpu", "cuda"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class TrainingDevice:
    """Where and how to compute.

    Attributes:
        name: torch's, ``cpu`` or ``cuda``.
        description: for people.
        bfloat16: whether convolutions run in it; weights and losses never do.
    """

    name: str
    description: str
    bfloat16: bool

    @property
    def precision(self) -> str:
        return "bfloat16" if self.bfloat16 else "float32"


def choose_device(device: DeviceChoice, precision: PrecisionChoice) -> TrainingDevice:
    """Where to train; ``auto`` is CUDA where there is one, and bfloat16 where the hardware has it.

    Raises:
        EdfvError: CUDA was asked for and is not there.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        reason = "finds no GPU" if torch.version.cuda else "is built without CUDA"
        raise EdfvError(
            f"device cuda: torch {torch.__version__} {reason}: install a driver and a torch with CUDA, or use cpu"
        )
    if has_cuda and device != "cpu":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return TrainingDevice("cuda", torch.cuda.get_device_name(), _bfloat16(precision, native))
    native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # nothing public says so in all versions
    threads = torch.get_num_threads()
    return TrainingDevice("cpu", f"CPU, {threads} thread{'s' * (threads > 1)}", _bfloat16(precision, native))


def _bfloat16(precision: PrecisionChoice, native: bool) -> bool:
    return precision == "bfloat16" or (precision == "auto" and native)
