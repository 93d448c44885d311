"""Depth estimators: a closed sweep in, metric depth with confidence out."""

from edfv_ros.depth.estimator import (
    ESTIMATORS,
    DepthEstimate,
    DepthEstimator,
    EstimatorKind,
    Need,
    check_estimator,
    check_streams,
    estimators_with,
    open_estimator,
)

__all__ = [
    "ESTIMATORS",
    "DepthEstimate",
    "DepthEstimator",
    "EstimatorKind",
    "Need",
    "check_estimator",
    "check_streams",
    "estimators_with",
    "open_estimator",
]
