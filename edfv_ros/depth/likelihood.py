"""How well each candidate vergence explains the intensity change around each pixel."""

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from edfv_ros.depth.blur_model import band_models
from edfv_ros.optics import VergenceBins

CELL_PX = 2
"""The likelihood is kept on a grid of cells of this many pixels: it is smooth, and a quarter of the work."""

BANDS_PX = ((0.0, 1.0), (1.118, 2.12), (2.12, 4.12), (4.12, 8.1))
"""Standard deviations of the Gaussians whose differences make the bands; 1.118 is 1.0 after halving the image."""

STEP_BINS = 0.5
"""Spacing of the candidates."""

MARGIN_BINS = 0.5
"""How far beyond the centres of the outer bins a surface may lie: 0.5 is the end of the sweep."""

WINDOW_PX = 2.0
"""Standard deviation of the neighbourhood that shares a depth."""

NOISE_RATIO = 0.1
"""Noise variance per bin over the mean signal energy of all bins."""

FLOOR = 0.03
"""Residual energy of events that no surface causes, in squared counts over the sweep."""

LEAK = 0.2
LEAK_PX = 8.0
"""Blur carries intensity over from strong texture nearby, at its own depth: this share of the energy around a patch
(within this standard deviation) says nothing about the patch."""

_CHUNK_PIXELS = 1024  # projections of a chunk stay in the cache
_CHANNELS = 128  # OpenCV filters no more at once


def cell_grid(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the cells of a picture: even numbers, so that the last ones may lie beyond it."""
    rows, columns = (-(-size // (2 * CELL_PX)) * 2 for size in (height, width))
    return rows, columns


class DepthLikelihood:
    """Log likelihood of candidate vergences given the intensity change of a sweep.

    Every band is tested against the subspaces of :mod:`~edfv_ros.depth.blur_model` with the texture's amplitude
    unknown (profiled out over a neighbourhood), which makes the score independent of contrast and threshold.

    Args:
        blur_slope_px_per_dpt: growth of the circle of confusion's diameter.
        bins: the vergence axis.
        candidates: how many; half a bin apart if None.
    """

    def __init__(self, blur_slope_px_per_dpt: float, bins: VergenceBins, candidates: int | None = None) -> None:
        count = round((bins.count - 1 + 2 * MARGIN_BINS) / STEP_BINS) + 1 if candidates is None else candidates
        self.candidates = np.linspace(-MARGIN_BINS, bins.count - 1 + MARGIN_BINS, count)
        self._blas = ThreadpoolController()
        self._buffers = Buffers()
        self._models = band_models(blur_slope_px_per_dpt, bins, tuple(self.candidates.tolist()), BANDS_PX, NOISE_RATIO)
        self._log_determinants = np.stack([model.log_determinant for model in self._models]) / np.float32(bins.count)

    def __call__(self, change: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score the candidates.

        Args:
            change: float32 [H, W, bins], change of log intensity per bin in contrast thresholds.

        Returns:
            float32 [rows, columns, candidates], log likelihood per bin up to a constant, overwritten by the next call.
            Cells beyond the image continue it: there are an even number of rows and columns.
        """
        height, width, bins = change.shape
        rows, columns = cell_grid(width, height)
        padded = self._buffers.get("padded", rows * CELL_PX, columns * CELL_PX, bins)
        bottom, right = padded.shape[0] - height, padded.shape[1] - width
        cv2.copyMakeBorder(change, 0, bottom, 0, right, cv2.BORDER_REPLICATE, dst=padded)
        with self._blas.limit(limits=1, user_api="blas"):  # its threads would fight the pipeline for the cores
            energies = self._band_energies(padded)
        floors = np.stack(
            [FLOOR + LEAK * cv2.GaussianBlur(energy[:, :, -1], (0, 0), LEAK_PX / CELL_PX) for energy in energies]
        )
        score = self._buffers.get("score", rows, columns, len(self.candidates))
        _log_likelihood(energies, self._log_determinants, floors, score)
        return score

    def _band_energies(self, change: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Unexplained energy of the four bands around each cell, float32 [rows, columns, candidates + 1]."""
        rows, columns, bins = change.shape[0] // CELL_PX, change.shape[1] // CELL_PX, change.shape[2]
        smooth = self._smooth(change, BANDS_PX[0][1], "smooth")
        cells = _halve(smooth, self._buffers.get("cells", rows, columns, bins))
        finest = np.subtract(change, smooth, out=smooth)
        middle = self._smooth(cells, _step_sigma(BANDS_PX[1], CELL_PX), "middle")
        low = self._smooth(middle, _step_sigma(BANDS_PX[2], CELL_PX), "low")
        lowest = self._smooth(low, _step_sigma(BANDS_PX[3], CELL_PX), "lowest")
        bands = (
            np.subtract(cells, middle, out=cells),
            np.subtract(middle, low, out=middle),
            _halve(np.subtract(low, lowest, out=lowest), self._buffers.get("quarter", rows // 2, columns // 2, bins)),
        )
        raw = (self._finest_energy(finest), *(self._energy(band, k + 1) for k, band in enumerate(bands)))
        widths_px = [max(WINDOW_PX, coarse_px) for _, coarse_px in BANDS_PX]
        first, second, third = (self._smooth(raw[k], widths_px[k] / CELL_PX, f"pooled {k}") for k in range(3))
        fourth = self._smooth(raw[3], widths_px[3] / (2 * CELL_PX), "pooled 3")
        return first, second, third, _double(fourth, self._buffers.get("doubled", *first.shape))

    def _finest_energy(self, band: NDArray[np.float32]) -> NDArray[np.float32]:
        """Energy per cell of the finest band, from the two pixels of a diagonal: the others say the same."""
        energy = self._energy(band[0::2, 0::2], 0)
        energy += self._energy(band[1::2, 1::2], 0, "other diagonal")
        energy *= 0.5
        return energy

    def _energy(self, band: NDArray[np.float32], index: int, name: str = "") -> NDArray[np.float32]:
        """Energy that each candidate's subspace leaves unexplained, and all of it in the last place."""
        model = self._models[index]
        rows, columns, bins = band.shape
        flat = np.ascontiguousarray(band).reshape(-1, bins)
        out = self._buffers.get(f"energy {index} {name}", rows, columns, len(model.log_determinant) + 1)
        flat_out = out.reshape(len(flat), -1)
        projection = self._buffers.get(f"projection {index}", _CHUNK_PIXELS, model.filters.shape[1])
        for begin in range(0, len(flat), _CHUNK_PIXELS):
            chunk = flat[begin : begin + _CHUNK_PIXELS]
            np.matmul(chunk, model.filters, out=projection[: len(chunk)])
            _unexplained(chunk, projection, model.starts, flat_out[begin : begin + _CHUNK_PIXELS])
        return out

    def _smooth(self, image: NDArray[np.float32], sigma: float, name: str) -> NDArray[np.float32]:
        out = self._buffers.get(name, *image.shape)
        if image.shape[2] <= _CHANNELS:
            return cv2.GaussianBlur(image, (0, 0), sigma, dst=out)
        for begin in range(0, image.shape[2], _CHANNELS):
            part = np.ascontiguousarray(image[:, :, begin : begin + _CHANNELS])
            out[:, :, begin : begin + _CHANNELS] = cv2.GaussianBlur(part, (0, 0), sigma).reshape(part.shape)
        return out


class Buffers:
    """Large float32 arrays kept from sweep to sweep: fresh memory costs more than what is computed in it."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[np.float32]] = {}

    def get(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The array of that name, with whatever it held."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            array = self._arrays[name] = np.zeros(shape, np.float32)
        return array


def _step_sigma(band: tuple[float, float], cell_px: int) -> float:
    return float(np.sqrt(band[1] ** 2 - band[0] ** 2)) / cell_px


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
    energies: tuple[NDArray[np.float32], ...],
    log_determinants: NDArray[np.float32],
    floors: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Sum over the bands, with one logarithm for all.

    The determinant counts by the share of signal in the energy: where nothing happens, no candidate is preferred.
    """
    height, width, candidates = out.shape
    weights = np.zeros(len(energies), np.float32)
    for y in range(height):
        for x in range(width):
            for c in range(candidates):
                out[y, x, c] = 1.0
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


def _halve(image: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels."""
    np.add(image[0::2, 0::2], image[1::2, 0::2], out=out)
    out += image[0::2, 1::2]
    out += image[1::2, 1::2]
    out *= 0.25
    return out


@nb.njit(nogil=True, cache=True, fastmath=True)
def _double(image: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear interpolation to twice the size, cell centres kept where they are."""
    height, width, channels = image.shape
    near, far = np.float32(0.75), np.float32(0.25)
    for y in range(out.shape[0]):
        row = y // 2
        row2 = min(max(row + 2 * (y % 2) - 1, 0), height - 1)
        for x in range(out.shape[1]):
            column = x // 2
            column2 = min(max(column + 2 * (x % 2) - 1, 0), width - 1)
            for c in range(channels):
                own = near * image[row, column, c] + far * image[row, column2, c]
                other = near * image[row2, column, c] + far * image[row2, column2, c]
                out[y, x, c] = near * own + far * other
    return out
