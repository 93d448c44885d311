"""Where the events can be trusted to carry depth: the SAME mask (Sparse Areas with Measurable Events)."""

import cv2
import numpy as np
from numpy.typing import NDArray

NEIGHBOURHOOD_SIGMA_PX = 2.0


def neighbourhood_events(event_count: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Mean events per pixel in a 2 px Gaussian neighbourhood, float32 [H, W]."""
    return cv2.GaussianBlur(event_count.astype(np.float32), (0, 0), NEIGHBOURHOOD_SIGMA_PX)


def robust_unit(image: NDArray[np.float32], low: float = 0.01, high: float = 0.99) -> NDArray[np.float32]:
    """Scale an image to 0..1 by quantiles, so that single outliers rescale nothing."""
    bottom, top = np.quantile(image, (low, high))
    if top <= bottom:
        return np.zeros_like(image)
    return np.clip((image - bottom) / (top - bottom), 0.0, 1.0).astype(np.float32)


def same_mask(
    event_count: NDArray[np.uint16],
    guide: NDArray[np.uint8] | None = None,
    *,
    min_density: float = 0.25,
    min_gradient: float = 0.1,
) -> NDArray[np.bool_]:
    """Mask of pixels with texture and events: ``dilate((|grad I| > e_I) & (density > e_e))``.

    The event density is relative to the sensor's own (its 75 % quantile over the image), so that the mask does not
    depend on one camera's contrast threshold, and the gradient is scaled by quantiles instead of minimum and maximum
    (compare Li et al., NeurIPS 2025, which uses 300 events in an 11x11 window and a min-max gradient).

    Args:
        event_count: uint16 [H, W], events of the sweeps used.
        guide: uint8 [H, W] intensity image, or None where the camera has no frames: then density alone decides.
        min_density: smallest event density, relative to the sensor's 75 % quantile.
        min_gradient: smallest gradient magnitude, on the guide's robust 0..1 scale.

    Returns:
        bool [H, W].
    """
    density = neighbourhood_events(event_count)
    reference = float(np.quantile(density, 0.75))
    mask = density > max(min_density * reference, 1e-6)
    if guide is not None:
        smooth = cv2.GaussianBlur(guide.astype(np.float32), (0, 0), 1.0)
        gradient = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
        mask &= robust_unit(gradient) >= min_gradient
    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
