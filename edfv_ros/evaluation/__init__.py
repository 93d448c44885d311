"""How good depth is, against ground truth."""

from edfv_ros.evaluation.metrics import depth_metrics

__all__ = ["depth_metrics"]
