"""ONNX operators to choose from, known without loading torch."""

from enum import Enum


class SamplingOperator(str, Enum):
    """The ONNX operator that deformable convolutions become; the numbers are the same.

    ``DEFORM_CONV`` takes two thirds of the time on a CPU, and ONNX Runtime 1.25 or later.
    """

    DEFORM_CONV = "deform-conv"
    GRID_SAMPLE = "grid-sample"
