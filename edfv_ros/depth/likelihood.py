"""How well each candidate vergence explains the intensity change around each pixel."""

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from edfv_ros.depth.blur_model import BandModel, band_models
from edfv_ros.optics import VergenceBins

CELL_PX = 2
"""The likelihood is kept on a grid of cells of this many pixels: it is smooth, and a quarter of the work."""

BANDS_PX = ((0.0, 1.0), (1.118, 2.12), (2.12, 4.12), (4.12, 8.1))
"""Standard deviations of the Gaussians whose differences make the bands; 1.118 is 1.0 after halving the image."""

LEAK = 0.2
LEAK_PX = 8.0
"""Blur carries intensity over from strong texture nearby, at its own depth: this share of the energy around a patch
(within this standard deviation) says nothing about the patch."""

_CHUNK_PIXELS = 1024  # projections of a chunk stay in the cache
_CHANNELS = 64  # OpenCV filters at most 128 at once


class DepthLikelihood:
    """Log likelihood of candidate vergences given the intensity change of a sweep.

    Every band is tested against the subspaces of :mod:`~edfv_ros.depth.blur_model` with the texture's amplitude
    unknown (profiled out over a neighbourhood), which makes the score independent of contrast and threshold.

    Args:
        blur_slope_px_per_dpt: growth of the circle of confusion's diameter.
        bins: the vergence axis.
        step: spacing of the candidates in bins.
        margin: bins beyond either end of the sweep that a surface may lie at.
        noise_ratio: noise variance per bin over the mean signal energy of all bins.
        floor: residual energy of events that no surface causes, in squared counts over the sweep.
        window_px: standard deviation of the neighbourhood that shares a depth.
    """

    def __init__(
        self,
        blur_slope_px_per_dpt: float,
        bins: VergenceBins,
        *,
        step: float = 0.5,
        margin: float = 0.5,
        noise_ratio: float = 0.1,
        floor: float = 0.03,
        window_px: float = 2.0,
    ) -> None:
        self.candidates = np.arange(-margin, bins.count - 1 + margin + step / 2, step)
        self._blas = ThreadpoolController()
        self._floor = floor
        self._window_px = window_px
        self._models = band_models(blur_slope_px_per_dpt, bins, tuple(self.candidates.tolist()), BANDS_PX, noise_ratio)
        self._log_determinants = np.stack([model.log_determinant for model in self._models]) / np.float32(bins.count)

    def __call__(self, change: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score the candidates.

        Args:
            change: float32 [H, W, bins], change of log intensity per bin in contrast thresholds.

        Returns:
            float32 [ceil(H / 2), ceil(W / 2), candidates], log likelihood per bin up to a constant.
        """
        with self._blas.limit(limits=1, user_api="blas"):  # its threads would fight the pipeline for the cores
            return self._score(_pad_to_multiple(change, 2 * CELL_PX))

    def _score(self, change: NDArray[np.float32]) -> NDArray[np.float32]:
        smooth = _smooth(change, BANDS_PX[0][1])
        cells = _halve(smooth)
        middle = _smooth(cells, _step_sigma(BANDS_PX[1], CELL_PX))
        low = _smooth(middle, _step_sigma(BANDS_PX[2], CELL_PX))
        lowest = _smooth(low, _step_sigma(BANDS_PX[3], CELL_PX))
        energies = (
            self._finest_energy(change - smooth),
            _residual_energy(cells - middle, self._models[1]),
            _residual_energy(middle - low, self._models[2]),
            _residual_energy(_halve(low - lowest), self._models[3]),
        )
        first, second, third = (
            _smooth(energy, max(self._window_px, coarse_px) / CELL_PX)
            for energy, (_, coarse_px) in zip(energies[:3], BANDS_PX[:3], strict=True)
        )
        fourth = _double(_smooth(energies[3], max(self._window_px, BANDS_PX[3][1]) / (2 * CELL_PX)))
        energies = (first, second, third, fourth)
        floors = np.stack(
            [self._floor + LEAK * cv2.GaussianBlur(energy[:, :, -1], (0, 0), LEAK_PX / CELL_PX) for energy in energies]
        )
        return _log_likelihood(energies, self._log_determinants, floors)

    def _finest_energy(self, band: NDArray[np.float32]) -> NDArray[np.float32]:
        """Energy per cell of the finest band, from the two pixels of a diagonal: the others say the same."""
        model = self._models[0]
        energy = _residual_energy(band[0::2, 0::2], model)
        energy += _residual_energy(band[1::2, 1::2], model)
        energy *= 0.5
        return energy


def _step_sigma(band: tuple[float, float], cell_px: int) -> float:
    return float(np.sqrt(band[1] ** 2 - band[0] ** 2)) / cell_px


def _residual_energy(change: NDArray[np.float32], model: BandModel) -> NDArray[np.float32]:
    """Energy that each candidate's subspace leaves unexplained, and all of it in the last place."""
    height, width, bins = change.shape
    flat = np.ascontiguousarray(change).reshape(-1, bins)
    out = np.empty((len(flat), len(model.log_determinant) + 1), np.float32)
    projection = np.empty((_CHUNK_PIXELS, model.filters.shape[1]), np.float32)
    for begin in range(0, len(flat), _CHUNK_PIXELS):
        chunk = flat[begin : begin + _CHUNK_PIXELS]
        np.matmul(chunk, model.filters, out=projection[: len(chunk)])
        _unexplained(chunk, projection, model.starts, out[begin : begin + _CHUNK_PIXELS])
    return out.reshape(height, width, -1)


@nb.njit(nogil=True, cache=True, fastmath=True)
def _unexplained(
    change: NDArray[np.float32],
    projection: NDArray[np.float32],
    starts: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    candidates = starts.shape[0] - 1
    for pixel in range(change.shape[0]):
        total = np.float32(0.0)
        for b in range(change.shape[1]):
            total += change[pixel, b] * change[pixel, b]
        for c in range(candidates):
            explained = np.float32(0.0)
            for r in range(starts[c], starts[c + 1]):
                explained += projection[pixel, r] * projection[pixel, r]
            out[pixel, c] = max(total - explained, np.float32(0.0))
        out[pixel, candidates] = total


@nb.njit(nogil=True, cache=True, fastmath=True)
def _log_likelihood(
    energies: tuple[NDArray[np.float32], ...], log_determinants: NDArray[np.float32], floors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sum over the bands, with one logarithm for all.

    The determinant counts by the share of signal in the energy: where nothing happens, no candidate is preferred.
    """
    height, width, channels = energies[0].shape
    candidates = channels - 1
    out = np.empty((height, width, candidates), np.float32)
    for y in range(height):
        for x in range(width):
            for c in range(candidates):
                out[y, x, c] = 1.0
            weights = np.zeros(len(energies), np.float32)
            for k in range(len(energies)):
                energy = energies[k][y, x]
                small = floors[k, y, x]
                weights[k] = energy[candidates] / (energy[candidates] + small)
                for c in range(candidates):
                    out[y, x, c] *= energy[c] + small
            for c in range(candidates):
                determinant = np.float32(0.0)
                for k in range(len(energies)):
                    determinant += weights[k] * log_determinants[k, c]
                out[y, x, c] = -np.log(out[y, x, c]) - determinant
    return out


def _smooth(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    if image.shape[2] <= _CHANNELS:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    out = np.empty_like(image)
    for begin in range(0, image.shape[2], _CHANNELS):
        part = np.ascontiguousarray(image[:, :, begin : begin + _CHANNELS])
        out[:, :, begin : begin + _CHANNELS] = cv2.GaussianBlur(part, (0, 0), sigma).reshape(part.shape)
    return out


def _halve(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return 0.25 * (image[0::2, 0::2] + image[1::2, 0::2] + image[0::2, 1::2] + image[1::2, 1::2])


def _double(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear interpolation to twice the size, cell centres kept where they are."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = np.empty((2 * image.shape[0], *padded.shape[1:]), np.float32)
    rows[0::2] = 0.25 * padded[:-2] + 0.75 * padded[1:-1]
    rows[1::2] = 0.75 * padded[1:-1] + 0.25 * padded[2:]
    out = np.empty((rows.shape[0], 2 * image.shape[1], image.shape[2]), np.float32)
    out[:, 0::2] = 0.25 * rows[:, :-2] + 0.75 * rows[:, 1:-1]
    out[:, 1::2] = 0.75 * rows[:, 1:-1] + 0.25 * rows[:, 2:]
    return out


def _pad_to_multiple(image: NDArray[np.float32], multiple: int) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    bottom, right = -height % multiple, -width % multiple
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge") if bottom or right else image
