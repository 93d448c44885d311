"""What a textured patch at a given depth does to dI/dv while the focus sweeps: the statistics of defocus.

A patch of sharp texture ``S`` at vergence ``1/z`` appears at focus ``v`` as ``H(f, c) S`` in the frequency domain,
with ``c = slope * |v - 1/z|`` and ``H(f, c) = 2 J1(pi f c) / (pi f c)`` the transfer function of a disc of diameter
``c`` (Goodman, "Introduction to Fourier Optics", ch. 6). The change over one vergence bin is therefore known up to
the texture's amplitude. Within a spatial frequency band, taking textures with the power spectrum of natural images
(amplitude falling as 1/f; Field, JOSA A 4, 1987), the changes over all bins follow a Gaussian whose covariance
depends on the depth alone. It holds both sides of the reversal, contrast inversion far out of focus, and the one
side that is left where a surface lies at the end of the sweep.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edfv_ros.optics import VergenceBins

_FREQUENCIES = 80
_PIXEL_APERTURE_SIGMA_PX = 0.3
_DEFOCUS_DIGITS = 9


@dataclass(frozen=True, eq=False)
class BandModel:
    """Signal subspaces of one spatial band, for every candidate vergence.

    Attributes:
        filters: float32 [bins, R], the candidates' scaled eigenvectors side by side.
        starts: int64 [candidates + 1], where each candidate's filters begin.
        log_determinant: float32 [candidates], of signal plus noise covariance over noise covariance.
    """

    filters: NDArray[np.float32]
    starts: NDArray[np.int64]
    log_determinant: NDArray[np.float32]


def disc_transfer(argument: NDArray[np.float64]) -> NDArray[np.float64]:
    """``2 J1(x) / x``, the transfer function of a disc at ``x = pi * frequency * diameter``.

    Gauss-Chebyshev quadrature of its integral over the chords of the disc, exact to rounding for the node count used.
    """
    nodes = int(np.max(np.abs(argument), initial=0.0)) + 24
    angle = np.arange(1, nodes + 1) * np.pi / (nodes + 1)
    weight = 2.0 / (nodes + 1) * np.sin(angle) ** 2
    out = np.zeros_like(argument)
    for position, w in zip(np.cos(angle), weight, strict=True):
        out += w * np.cos(argument * position)
    return out


@lru_cache(maxsize=8)
def band_models(
    blur_slope_px_per_dpt: float,
    bins: VergenceBins,
    candidates: tuple[float, ...],
    bands_px: tuple[tuple[float, float], ...],
    noise_ratio: float,
) -> tuple[BandModel, ...]:
    """Make the models of the bands ``G(fine) - G(coarse)`` of Gaussian-smoothed images; made once for a rig.

    Args:
        blur_slope_px_per_dpt: growth of the circle of confusion's diameter.
        bins: the vergence axis.
        candidates: bin positions a surface may have.
        bands_px: standard deviations of the fine and the coarse Gaussian in pixels; 0 is the image itself.
        noise_ratio: noise variance per bin over the mean signal energy of all bins.
    """
    slope_px_per_bin = blur_slope_px_per_dpt * bins.width_dpt
    frequency = np.linspace(0.5 / _FREQUENCIES, 0.5, _FREQUENCIES)
    edges = np.arange(bins.count + 1) - 0.5
    defocus_px = slope_px_per_bin * (edges[None, :] - np.array(candidates)[:, None])
    # candidates in steps of the bins have most of their defocus in common
    distinct_px, place = np.unique(defocus_px.round(_DEFOCUS_DIGITS), return_inverse=True)
    transfer = disc_transfer(np.pi * frequency[:, None] * distinct_px)[:, place.reshape(defocus_px.shape)]
    change = np.diff(transfer, axis=2)  # [frequency, candidate, bin]
    models = []
    for band_px in bands_px:
        fine, coarse, pixel = (
            np.exp(-2.0 * (np.pi * sigma * frequency) ** 2) for sigma in (*band_px, _PIXEL_APERTURE_SIGMA_PX)
        )
        # a ring of circumference ~ f of the plane, with power ~ 1 / f^2
        weight = frequency * ((fine - coarse) * pixel / frequency) ** 2
        weighted = change * np.sqrt(weight / weight.sum())[:, None, None]
        covariance = np.matmul(weighted.transpose(1, 2, 0), weighted.transpose(1, 0, 2))
        covariance /= np.trace(covariance, axis1=1, axis2=2).mean()
        models.append(_subspaces(covariance, noise_ratio))
    return tuple(models)


def _subspaces(covariance: NDArray[np.float64], noise_ratio: float) -> BandModel:
    filters, counts, log_determinants = [], [], []
    for matrix in covariance:
        values, vectors = np.linalg.eigh(matrix)
        keep = values > 0.1 * noise_ratio
        values, vectors = values[keep], vectors[:, keep]
        filters.append(vectors * np.sqrt(values / (values + noise_ratio)))
        counts.append(len(values))
        log_determinants.append(np.log1p(values / noise_ratio).sum())
    return BandModel(
        filters=np.ascontiguousarray(np.concatenate(filters, axis=1), np.float32),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        log_determinant=np.asarray(log_determinants, np.float32),
    )
