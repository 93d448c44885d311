import numpy as np

from edfv_ros.depth.vector_math import exp_row, log_row


def test_exponentials() -> None:
    values = np.linspace(-80.0, 80.0, 20_001).astype(np.float32)
    out = np.empty_like(values)
    exp_row(values, np.empty(len(values), np.int32), out)
    np.testing.assert_allclose(out, np.exp(values.astype(np.float64)), rtol=4e-7)


def test_logarithms() -> None:
    values = np.concatenate([np.logspace(-37, 38, 20_001), np.linspace(0.5, 2.0, 20_001)]).astype(np.float32)
    out = np.empty_like(values)
    log_row(values, np.empty_like(values), out)
    np.testing.assert_allclose(out, np.log(values.astype(np.float64)), rtol=2e-7, atol=2e-7)
