"""How well each candidate vergence explains the intensity change around each pixel."""

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from edfv_ros.depth.blur_model import band_models
from edfv_ros.depth.vector_math import log_row
from edfv_ros.depth.workers import Workers
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

_CHUNK_CELLS = 512  # projections of a chunk stay in the cache


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
        workers: threads to do it with.
    """

    def __init__(
        self, blur_slope_px_per_dpt: float, bins: VergenceBins, candidates: int | None, workers: Workers
    ) -> None:
        count = round((bins.count - 1 + 2 * MARGIN_BINS) / STEP_BINS) + 1 if candidates is None else candidates
        self.candidates = np.linspace(-MARGIN_BINS, bins.count - 1 + MARGIN_BINS, count)
        self._workers = workers
        self._blas = ThreadpoolController()
        self._buffers = Buffers()
        self._models = band_models(blur_slope_px_per_dpt, bins, tuple(self.candidates.tolist()), BANDS_PX, NOISE_RATIO)
        self._filters = [np.ascontiguousarray(model.filters.T) for model in self._models]
        self._log_determinants = np.stack([model.log_determinant for model in self._models]) / np.float32(bins.count)

    def __call__(self, change: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score the candidates.

        Args:
            change: float32 [bins, CELL_PX * rows, CELL_PX * columns], change of log intensity per bin in contrast
                thresholds; rows and columns are even.

        Returns:
            float32 [candidates, rows, columns], log likelihood per bin up to a constant, overwritten by the next call.
        """
        bands = self._bands(change)
        with self._blas.limit(limits=1, user_api="blas"):  # the threads are ours already
            energies = self._energies(bands)
        pooled = self._pooled(energies)
        floors = np.stack([FLOOR + LEAK * cv2.GaussianBlur(energy[-1], (0, 0), LEAK_PX / CELL_PX) for energy in pooled])
        score = self._buffers.get("score", len(self.candidates), *pooled.shape[2:])
        self._workers.share(
            lambda first, last: _log_likelihood(pooled, self._log_determinants, floors, first, last, score),
            score.shape[1],
        )
        return score

    def _bands(self, change: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """The bands of each bin's picture, float32 [bins, rows, columns]: the finest twice, from the two pixels of a
        cell's diagonal (the others say the same), two more, and the last in cells twice as large."""
        bins, rows, columns = change.shape[0], change.shape[1] // CELL_PX, change.shape[2] // CELL_PX
        bands = tuple(self._buffers.get(f"band {index}", bins, rows, columns) for index in range(4))
        coarsest = self._buffers.get("band 4", bins, rows // 2, columns // 2)
        sigmas = [_step_sigma(band, CELL_PX) for band in BANDS_PX[1:]]

        def split(first: int, last: int) -> None:
            smooth = np.empty_like(change[0])
            cells, middle, low, lowest = np.empty((4, rows, columns), np.float32)
            for b in range(first, last):
                cv2.GaussianBlur(change[b], (0, 0), BANDS_PX[0][1], dst=smooth)
                _split_finest(change[b], smooth, bands[0][b], bands[1][b], cells)
                cv2.GaussianBlur(cells, (0, 0), sigmas[0], dst=middle)
                cv2.GaussianBlur(middle, (0, 0), sigmas[1], dst=low)
                cv2.GaussianBlur(low, (0, 0), sigmas[2], dst=lowest)
                np.subtract(cells, middle, out=bands[2][b])
                np.subtract(middle, low, out=bands[3][b])
                _halve(np.subtract(low, lowest, out=low), coarsest[b])

        self._workers.share(split, bins)
        return *bands, coarsest

    def _energies(self, bands: tuple[NDArray[np.float32], ...]) -> tuple[NDArray[np.float32], ...]:
        """Energy that each candidate's subspace leaves unexplained in each band, and all of it in the last place,
        float32 [candidates + 1, rows, columns]."""
        models = (0, 0, 1, 2, 3)
        count = len(self.candidates) + 1
        energies = tuple(
            self._buffers.get(f"energy {index}", count, *band.shape[1:]) for index, band in enumerate(bands)
        )
        flat = [
            (band.reshape(len(band), -1), energy.reshape(count, -1))
            for band, energy in zip(bands, energies, strict=True)
        ]
        chunks = [
            (index, begin) for index, (band, _) in enumerate(flat) for begin in range(0, band.shape[1], _CHUNK_CELLS)
        ]

        def explain(first: int, last: int) -> None:
            most = max(len(filters) for filters in self._filters)
            projection = np.empty((most, _CHUNK_CELLS), np.float32)
            for index, begin in chunks[first:last]:
                (band, energy), filters = flat[index], self._filters[models[index]]
                cells = band[:, begin : begin + _CHUNK_CELLS]
                part = projection[: len(filters), : cells.shape[1]]
                np.matmul(filters, cells, out=part)
                _unexplained(band, projection, self._models[models[index]].starts, begin, energy)

        self._workers.share(explain, len(chunks))
        return energies

    def _pooled(self, energies: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
        """Energies of the neighbourhoods that share a depth, float32 [4 bands, candidates + 1, rows, columns]."""
        first, second, middle, low, coarsest = energies
        pooled = self._buffers.get("pooled", 4, *first.shape)
        sigmas = [max(WINDOW_PX, coarse_px) / CELL_PX for _, coarse_px in BANDS_PX]

        def pool(begin: int, end: int) -> None:
            coarse = np.empty_like(coarsest[0])
            for c in range(begin, end):
                both = np.add(first[c], second[c], out=first[c])
                both *= np.float32(0.5)
                for k, energy in enumerate((both, middle[c], low[c])):
                    cv2.GaussianBlur(energy, (0, 0), sigmas[k], dst=pooled[k, c])
                cv2.GaussianBlur(coarsest[c], (0, 0), sigmas[3] / 2, dst=coarse)
                _double(coarse, pooled[3, c])

        self._workers.share(pool, len(first))
        return pooled


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
def _split_finest(
    image: NDArray[np.float32],
    smooth: NDArray[np.float32],
    upper_left: NDArray[np.float32],
    lower_right: NDArray[np.float32],
    cells: NDArray[np.float32],
) -> None:
    """What smoothing takes from two pixels of each cell, and the means of what it leaves."""
    rows, columns = cells.shape
    quarter = np.float32(0.25)
    for row in range(rows):
        y = CELL_PX * row
        for column in range(columns):
            x = CELL_PX * column
            upper_left[row, column] = image[y, x] - smooth[y, x]
            lower_right[row, column] = image[y + 1, x + 1] - smooth[y + 1, x + 1]
            upper, lower = smooth[y, x] + smooth[y, x + 1], smooth[y + 1, x] + smooth[y + 1, x + 1]
            cells[row, column] = quarter * (upper + lower)


@nb.njit(nogil=True, cache=True, fastmath=True)
def _halve(image: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Means of 2 x 2 pixels."""
    quarter = np.float32(0.25)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            upper, lower = (
                image[2 * y, 2 * x] + image[2 * y, 2 * x + 1],
                image[2 * y + 1, 2 * x] + image[2 * y + 1, 2 * x + 1],
            )
            out[y, x] = quarter * (upper + lower)


@nb.njit(nogil=True, cache=True, fastmath=True)
def _unexplained(
    band: NDArray[np.float32],
    projection: NDArray[np.float32],
    starts: NDArray[np.int64],
    begin: int,
    out: NDArray[np.float32],
) -> None:
    """Energy of the cells from ``begin`` on that the candidates' subspaces do not hold.

    Args:
        band: float32 [bins, cells].
        projection: float32 [filters, chunk], of the chunk's cells.
        starts: int64 [candidates + 1], each candidate's first filter.
        begin: first cell of the chunk.
        out: float32 [candidates + 1, cells].
    """
    candidates = starts.shape[0] - 1
    count = min(projection.shape[1], band.shape[1] - begin)
    total = np.zeros(count, np.float32)
    explained = np.empty(count, np.float32)
    for b in range(band.shape[0]):
        for p in range(count):
            total[p] += band[b, begin + p] * band[b, begin + p]
    for c in range(candidates):
        explained[:] = np.float32(0.0)
        for r in range(starts[c], starts[c + 1]):
            for p in range(count):
                explained[p] += projection[r, p] * projection[r, p]
        for p in range(count):
            out[c, begin + p] = max(total[p] - explained[p], np.float32(0.0))
    for p in range(count):
        out[candidates, begin + p] = total[p]


@nb.njit(nogil=True, cache=True, fastmath=True)
def _log_likelihood(
    energies: NDArray[np.float32],
    log_determinants: NDArray[np.float32],
    floors: NDArray[np.float32],
    first_row: int,
    last_row: int,
    out: NDArray[np.float32],
) -> None:
    """Sum over the bands, with one logarithm for all.

    The determinant counts by the share of signal in the energy: where nothing happens, no candidate is preferred.
    """
    bands, _, _, width = energies.shape
    candidates = out.shape[0]
    weights = np.empty((bands, width), np.float32)
    product = np.empty(width, np.float32)
    scratch = np.empty(width, np.float32)
    logarithm = np.empty(width, np.float32)
    for y in range(first_row, last_row):
        for k in range(bands):
            for x in range(width):
                everything = energies[k, candidates, y, x]
                weights[k, x] = everything / (everything + floors[k, y, x])
        for c in range(candidates):
            for x in range(width):
                product[x] = energies[0, c, y, x] + floors[0, y, x]
            for k in range(1, bands):
                for x in range(width):
                    product[x] *= energies[k, c, y, x] + floors[k, y, x]
            log_row(product, scratch, logarithm)
            for k in range(bands):
                for x in range(width):
                    logarithm[x] += weights[k, x] * log_determinants[k, c]
            for x in range(width):
                out[c, y, x] = -logarithm[x]


@nb.njit(nogil=True, cache=True, fastmath=True)
def _double(image: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Linear interpolation to twice the size, cell centres kept where they are."""
    height, width = image.shape
    near, far = np.float32(0.75), np.float32(0.25)
    line = np.empty(width + 2, np.float32)
    for y in range(out.shape[0]):
        row = y // 2
        other = min(max(row + 2 * (y % 2) - 1, 0), height - 1)
        for x in range(width):
            line[x + 1] = near * image[row, x] + far * image[other, x]
        line[0], line[width + 1] = line[1], line[width]
        for x in range(width):
            out[y, 2 * x] = near * line[x + 1] + far * line[x]
            out[y, 2 * x + 1] = near * line[x + 1] + far * line[x + 2]
