"""Exponential and logarithm of rows of numbers in vector instructions, which those of the C library are not.

Polynomials of S. Moshier's Cephes library (``expf``, ``logf``).
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray


@nb.njit(nogil=True, cache=True, fastmath=True)
def exp_row(values: NDArray[np.float32], bits: NDArray[np.int32], out: NDArray[np.float32]) -> None:
    """Exponentials of numbers from -80 to 80, to 4e-7 of themselves.

    Args:
        values, out: float32 [n]; may be the same.
        bits: int32 [n], scratch.
    """
    powers = bits.view(np.float32)
    count = values.shape[0]
    for i in range(count):
        x = values[i]
        power = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
        bits[i] = (np.int32(power) + np.int32(127)) << np.int32(23)
        x = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
        p = np.float32(1.9875691500e-4)
        p = p * x + np.float32(1.3981999507e-3)
        p = p * x + np.float32(8.3334519073e-3)
        p = p * x + np.float32(4.1665795894e-2)
        p = p * x + np.float32(1.6666665459e-1)
        p = p * x + np.float32(5.0000001201e-1)
        out[i] = p * x * x + x + np.float32(1.0)
    for i in range(count):
        out[i] *= powers[i]


@nb.njit(nogil=True, cache=True, fastmath=True)
def log_row(values: NDArray[np.float32], mantissa: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Natural logarithms of positive normal numbers, to 2e-7 of themselves or absolutely, whichever is larger.

    Args:
        values, out: float32 [n]; different arrays.
        mantissa: float32 [n], scratch.
    """
    given = values.view(np.int32)
    bits = mantissa.view(np.int32)
    count = values.shape[0]
    for i in range(count):
        # the mantissa is brought to sqrt(1/2)..sqrt(2): 0x3f3504f3 is the bit pattern of sqrt(1/2)
        power = (given[i] - np.int32(0x3F3504F3)) >> np.int32(23)
        bits[i] = given[i] - (power << np.int32(23))
        out[i] = np.float32(power)
    for i in range(count):
        x = mantissa[i] - np.float32(1.0)
        power = out[i]
        p = np.float32(7.0376836292e-2)
        p = p * x + np.float32(-1.1514610310e-1)
        p = p * x + np.float32(1.1676998740e-1)
        p = p * x + np.float32(-1.2420140846e-1)
        p = p * x + np.float32(1.4249322787e-1)
        p = p * x + np.float32(-1.6668057665e-1)
        p = p * x + np.float32(2.0000714765e-1)
        p = p * x + np.float32(-2.4999993993e-1)
        p = p * x + np.float32(3.3333331174e-1)
        square = x * x
        p = p * x * square - np.float32(2.12194440e-4) * power - np.float32(0.5) * square
        out[i] = x + p + np.float32(0.693359375) * power
